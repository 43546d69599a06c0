"""What all tests share: Hypothesis draws the same examples in every run, so a red test stays red."""

from hypothesis import settings

settings.register_profile("default", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2000)  # --hypothesis-profile=thorough
settings.load_profile("default")
