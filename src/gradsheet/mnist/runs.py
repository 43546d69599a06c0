"""One run from beginning to end: train, evaluate, and leave everything about it in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from gradsheet.environment import describe
from gradsheet.errors import InputError
from gradsheet.files import replacing
from gradsheet.mnist import plots
from gradsheet.mnist.export import model_card, save_weights
from gradsheet.mnist.model import Evaluation, History, Net, evaluate, train
from gradsheet.mnist.recipes import Recipe
from gradsheet.mnist.utils import Batches, Mnist
from gradsheet.plots import save

CHECKPOINT, WEIGHTS, NUMBERS = "last.pt", "weights.safetensors", "numbers.json"
"""Files in a run's folder: to go on training from, to share, and what was measured."""


@dataclass(frozen=True)
class Run:
    """A trained model, how it was trained, and how it does on the test images.

    ``averaged`` is the evaluation with test-time augmentation.
    """

    recipe: Recipe
    seed: int
    trained_on: str
    model: Net
    history: History
    evaluation: Evaluation
    averaged: Evaluation


def run(
    mnist: Mnist,
    recipe: Recipe,
    *,
    seed: int = 0,
    all_training: bool = False,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Train a new model and evaluate it once, at the end, on the test images.

    ``all_training`` trains on the validation images too, so that no validation accuracy is measured.
    The other arguments, and the errors raised, are those of `train`.
    """
    split = mnist.all_training if all_training else mnist.train
    if len(split) < recipe.batch_size:
        raise InputError(
            f"batch_size: {recipe.batch_size:,} is more than the {len(split):,} images; use less"
        )
    model = new_model(recipe, seed)
    history = train(
        model,
        Batches(split, recipe, seed),
        recipe,
        validation=None if all_training else mnist.validation,
        seed=seed,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
    )
    return Run(
        recipe,
        seed,
        split.purpose,
        model,
        history,
        evaluate(model, mnist.test),
        evaluate(model, mnist.test, tta=True),
    )


def new_model(recipe: Recipe, seed: int) -> Net:
    """An untrained model: the same weights for the same seed, whatever was drawn before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net(recipe.dropout)


def measured(run: Run) -> dict[str, Any]:
    """The numbers of a run, as they stand in results/mnist.json; accuracies are shares of 1.

    ``validation_accuracy`` is that of the last epoch, null when the model was trained on all images;
    ``train_seconds`` are those of the training alone, without any evaluation.
    """
    history = run.history
    images = sum(s * n for s, n in zip(history.seconds, history.images_per_second, strict=True))
    environment = describe("torch", "gradsheet")
    return {
        "recipe": run.recipe.name,
        "seed": run.seed,
        "epochs": len(history.loss),
        "trained_on": run.trained_on,
        "validation_accuracy": history.validation_accuracy[-1] if history.validation_accuracy else None,
        "test_accuracy": run.evaluation.accuracy,
        "test_accuracy_tta": run.averaged.accuracy,
        "train_seconds": round(sum(history.seconds), 2),
        "images_per_second": round(images / sum(history.seconds), 1),
        "hardware": f"{environment['processor']}, {environment['cores']} cores, {environment['system']}",
        "versions": {name: environment[name] for name in ("python", "torch", "gradsheet")},
        "date": environment["date"],
    }


def write(run: Run, mnist: Mnist, folder: Path) -> Iterator[Path]:
    """Write weights, numbers and pictures into a folder, for MNIST a model card too; yield each path."""
    numbers = measured(run)
    save_weights(run.model, folder / WEIGHTS, {k: json.dumps(v) for k, v in numbers.items()})
    yield folder / WEIGHTS
    everything = {
        **numbers,
        "settings": asdict(run.recipe),
        "history": asdict(run.history),
        "misread": run.evaluation.errors.tolist(),
    }
    _write_text(folder / NUMBERS, json.dumps(everything, indent=1) + "\n")
    yield folder / NUMBERS
    if mnist.is_original:
        _write_text(folder / "model_card.md", model_card(numbers, run.recipe))
        yield folder / "model_card.md"
    test, read = mnist.test, run.evaluation
    pictures = {
        "samples.png": plots.draw_samples(mnist.train.images, mnist.train.labels),
        "curves.png": plots.draw_curves(run.history),
        "confusion.png": plots.draw_confusion(read.labels, read.predictions),
        "errors.png": plots.draw_errors(test.images, test.labels, read.probabilities),
    }
    for name, figure in pictures.items():
        save(figure, folder / name)
        yield folder / name


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
