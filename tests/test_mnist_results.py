"""What was measured is what was promised, and the weights that ship are those that were measured."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from PIL import Image, ImageOps

torch = pytest.importorskip("torch")
from gradsheet.mnist.export import load_weights, shipped_weights  # noqa: E402
from gradsheet.mnist.model import evaluate  # noqa: E402
from gradsheet.mnist.predict import predict, read_digit  # noqa: E402
from gradsheet.mnist.utils import prepare_mnist  # noqa: E402

RESULTS = json.loads((Path(__file__).parent.parent / "results" / "mnist.json").read_text())


def runs(recipe: str) -> list[dict]:
    """The runs on all 60,000 training images."""
    final = [run for run in RESULTS["runs"] if run["trained_on"] == "train and validation"]
    return [run for run in final if run["recipe"] == recipe]


@pytest.fixture(scope="module")
def model():
    return load_weights(shipped_weights())


@pytest.fixture(scope="module")
def test_split():
    return prepare_mnist().test


def test_the_shipped_weights_score_what_their_run_scored(model, test_split):
    (shipped,) = (run for run in runs("best") if run["seed"] == 0)
    misread = len(evaluate(model, test_split).errors)
    assert abs(misread - round(10_000 * (1 - shipped["test_accuracy"]))) <= 1  # other processors round
    assert misread <= 62


def test_the_recipe_best_reaches_what_it_must():
    accuracies = [run["test_accuracy"] for run in runs("best")]
    assert len(accuracies) >= 5
    assert mean(accuracies) >= 0.9948
    assert min(accuracies) >= 0.9938
    assert max(run["epochs"] for run in runs("best")) <= 19


def test_the_recipe_quick_reaches_what_it_must_in_the_time_it_has():
    assert len(runs("quick")) >= 3
    assert mean(run["test_accuracy"] for run in runs("quick")) >= 0.9933
    assert max(run["train_seconds"] for run in runs("quick")) <= 150


def test_the_courses_recipe_was_evaluated_on_images_it_was_not_trained_on():
    assert [run["epochs"] for run in runs("seed")][:1] == [20]


def test_an_epoch_is_several_times_shorter_than_in_the_usual_ways():
    ways = RESULTS["speed"]["ways"]
    assert ways["course's way"]["mean_ratio"] >= 3
    assert ways["classic way"]["mean_ratio"] >= 2.5


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        ImageOps.invert,
        lambda image: ImageOps.invert(image).resize((280, 280), Image.Resampling.BICUBIC),
        lambda image: ImageOps.expand(
            ImageOps.invert(image).resize((90, 90)), (10, 70, 140, 20), fill=255
        ),
    ],
    ids=["as it is", "dark on light", "ten times larger", "off the centre"],
)
def test_predict_reads_pictures_of_test_digits_however_they_are_drawn(
    model, test_split, change, tmp_path
):
    digits = []
    for k in range(200):
        change(Image.fromarray(np.asarray(test_split.images[k]))).save(tmp_path / "digit.png")
        digits.append(read_digit(tmp_path / "digit.png"))
    found = [prediction.digit for prediction in predict(model, torch.stack(digits))]
    right = sum(a == b for a, b in zip(found, test_split.labels[:200].tolist(), strict=True))
    assert right >= 197
