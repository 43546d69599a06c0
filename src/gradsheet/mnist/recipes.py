"""Ways to train the network: every number of every recipe, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gradsheet.errors import InputError


def _number(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Recipe:
    """All the numbers of a way to train; the last eight say how the training images are distorted.

    Raises `InputError` for a number that cannot be used.
    """

    name: str
    epochs: int = _number(20, "passes over the training images")
    batch_size: int = _number(128, "images a step")
    optimizer: str = _number("adam", "adam, or muon (for the convolution weights; Adam for the rest)")
    learning_rate: float = _number(1e-3, "Adam's learning rate")
    beta1: float = _number(0.9, "Adam's decay of the mean gradient")
    beta2: float = _number(0.999, "Adam's decay of the mean squared gradient")
    muon_learning_rate: float = _number(0.02, "Muon's learning rate")
    muon_momentum: float = _number(0.95, "Muon's Nesterov momentum")
    muon_weight_decay: float = _number(0.0, "Muon's weight decay")
    schedule: str = _number("linear", "linear: warm up, then fall to 0; step: a tenth after decay_epoch")
    warmup: float = _number(0.2, "share of all steps in which the learning rates rise (linear)")
    decay_epoch: int = _number(15, "epoch after which the learning rate is a tenth (step)")
    label_smoothing: float = _number(0.0, "share of the target spread over all digits")
    dropout: float = _number(0.0, "share of the values that dropout sets to 0")
    rotation: float = _number(0.0, "degrees to either side")
    translation: float = _number(0.0, "pixels to either side, along both axes")
    scale: float = _number(0.0, "share by which width and height may differ")
    shear: float = _number(0.0, "sideways shift, as a share of the height")
    elastic: float = _number(0.0, "pixels (standard deviation) of a smooth random displacement")
    crop: int = _number(28, "pixels of the centre that are enlarged to the whole image")
    crop_probability: float = _number(0.0, "share of the images that are cropped so")
    calm: float = _number(0.0, "share of the epochs, at the end, with distortions half as large")

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise InputError(f"{name}: {value!r} is not known; use {' or '.join(choices)}")
        for name, (low, high) in LIMITS.items():
            if not low <= (value := getattr(self, name)) <= high:
                raise InputError(
                    f"{name}: {value:g} cannot be used; give a number from {low:g} to {high:g}"
                )

    def in_epoch(self, number: int) -> Recipe:
        """The recipe with the distortions of an epoch, counted from 0."""
        if number < (1 - self.calm) * self.epochs:
            return self
        return replace(self, **{name: getattr(self, name) / 2 for name in DISTORTIONS})


DISTORTIONS = ("rotation", "translation", "scale", "shear", "elastic")

CHOICES = {"optimizer": ("adam", "muon"), "schedule": ("linear", "step")}

LIMITS = {
    "epochs": (1, 10_000),
    "batch_size": (2, 60_000),
    "learning_rate": (0, 100),
    "beta1": (0, 0.9999),
    "beta2": (0, 0.999999),
    "muon_learning_rate": (0, 100),
    "muon_momentum": (0, 0.9999),
    "muon_weight_decay": (0, 100),
    "warmup": (0, 1),
    "decay_epoch": (0, 10_000),
    "label_smoothing": (0, 0.99),
    "dropout": (0, 0.99),
    "rotation": (0, 180),
    "translation": (0, 28),
    "scale": (0, 0.9),
    "shear": (0, 10),
    "elastic": (0, 28),
    "crop": (1, 28),
    "crop_probability": (0, 1),
    "calm": (0, 1),
}


_BEST = Recipe(
    name="best",
    epochs=19,
    batch_size=128,
    optimizer="muon",
    learning_rate=0.005,
    beta2=0.99,
    muon_learning_rate=0.02,
    muon_weight_decay=0.02,
    label_smoothing=0.05,
    rotation=10,
    translation=2,
    scale=0.1,
    shear=0.1,
    calm=0.4,
)

RECIPES: Mapping[str, Recipe] = {
    "quick": replace(
        _BEST,
        name="quick",
        epochs=6,
        rotation=8,
        translation=1.5,
        scale=0.08,
        shear=0.08,
    ),
    "best": _BEST,
    "seed": Recipe(  # the course's own
        name="seed",
        epochs=20,
        batch_size=16,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="step",
        decay_epoch=15,
        dropout=0.1,
        rotation=15,
        crop=22,
        crop_probability=0.1,
    ),
}


def find_recipe(name: str, **changes: Any) -> Recipe:
    """A recipe by its name, with some numbers changed, which then also shows in its name.

    Raises `InputError` for an unknown name or a number that cannot be used.
    """
    if name not in RECIPES:
        raise InputError(f"recipe: {name!r} is not known; choose one of {', '.join(RECIPES)}")
    recipe = replace(RECIPES[name], **changes)
    return recipe if recipe == RECIPES[name] else replace(recipe, name=f"{name}, changed")
