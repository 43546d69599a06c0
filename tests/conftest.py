"""What all tests share: Hypothesis draws the same examples in every run, so a red test stays red."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the processors: one thread each, set
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads PyTorch

from hypothesis import settings

settings.register_profile("default", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2000)  # --hypothesis-profile=thorough
settings.load_profile("default")
