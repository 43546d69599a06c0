"""Download and prepare MNIST: splits, normalised batches, augmentation on whole tensors.

Nothing here is read or transformed image by image: the data set is one tensor in memory, and a random
rotation of ten thousand images is one call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from gradsheet.mnist.download import download_mnist
from gradsheet.mnist.recipes import Recipe
from gradsheet.mnist.sources import Digits, packaged
from gradsheet.mnist.splits import Split, normalise

__all__ = ["Batches", "Mnist", "augment", "download_mnist", "normalise", "prepare_mnist"]

HELD_OUT = 1 / 12
"""The share of the training images that is for validation: 5,000 of 60,000."""

SPLIT_SEED = 0

SHARED = 100
"""So many images get the same random transformation, other images and another one in every epoch: one
sampling grid for all of them costs far less than a grid for each."""


@dataclass(frozen=True)
class Mnist:
    """The data set: 55,000 images to train on, 5,000 to select with, 10,000 for the final test.

    ``is_original`` is false for another data set of the same form.
    """

    train: Split
    validation: Split
    test: Split
    is_original: bool

    @property
    def all_training(self) -> Split:
        """The first two together, for a final run whose settings are chosen already."""
        return Split(
            "train and validation",
            torch.cat([self.train.images, self.validation.images]),
            torch.cat([self.train.labels, self.validation.labels]),
        )


def prepare_mnist(digits: Digits | None = None) -> Mnist:
    """Split the data set that travels with the package, or another one of the same form.

    ``digits`` is what `sources.read_folder` reads, from the folder that `download_mnist` returns.
    The validation images are drawn from the training images by a fixed seed, the same for ever.
    """
    is_original = digits is None
    digits = packaged() if digits is None else digits
    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SPLIT_SEED))
    held_out, kept = order.tensor_split([round(HELD_OUT * len(order))])
    return Mnist(
        train=Split("train", images[kept], labels[kept]),
        validation=Split("validation", images[held_out], labels[held_out]),
        test=Split(
            "test",
            torch.from_numpy(digits.test_images),
            torch.from_numpy(digits.test_labels).long(),
        ),
        is_original=is_original,
    )


def sampling_grids(recipe: Recipe, count: int, generator: torch.Generator) -> torch.Tensor:
    """Random distortions: where each pixel comes from, in ±1 over an image: (count, 28, 28, 2)."""

    def draw(limit: float) -> torch.Tensor:
        return (2 * torch.rand(count, generator=generator) - 1) * limit

    angle = draw(math.radians(recipe.rotation))
    cosine, sine = torch.cos(angle), torch.sin(angle)
    wide, high, shear = 1 + draw(recipe.scale), 1 + draw(recipe.scale), draw(recipe.shear)
    shift = torch.stack([draw(recipe.translation / 14), draw(recipe.translation / 14)], dim=1)
    cropped = torch.rand(count, generator=generator) < recipe.crop_probability
    zoom = torch.where(cropped, recipe.crop / 28, 1.0)
    rotation = torch.stack([cosine, -sine, sine, cosine], dim=1).reshape(count, 2, 2)
    stretch = torch.stack([wide, shear, torch.zeros(count), high], dim=1).reshape(count, 2, 2)
    linear = rotation @ stretch * zoom[:, None, None]
    maps = torch.cat([linear, shift.unsqueeze(2)], dim=2)
    grids = functional.affine_grid(maps, [count, 1, 28, 28], align_corners=False)
    if recipe.elastic:
        coarse = torch.randn(count, 2, 6, 6, generator=generator) * recipe.elastic / 14
        smooth = functional.interpolate(coarse, (28, 28), mode="bicubic", align_corners=False)
        grids += smooth.permute(0, 2, 3, 1)
    return grids


def augment(images: torch.Tensor, recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """Randomly distorted copies of uint8 images: float32 from 0 to 255, shape (n, 28, 28).

    `SHARED` consecutive images share one distortion, so shuffle before and after.
    """
    groups = math.ceil(len(images) / SHARED)
    padding = groups * SHARED - len(images)
    pixels = functional.pad(images.float(), (0, 0, 0, 0, 0, padding)).reshape(groups, SHARED, 28, 28)
    grids = sampling_grids(recipe, groups, generator)
    moved = functional.grid_sample(pixels, grids, align_corners=False)
    return moved.reshape(-1, 28, 28)[: len(images)]


@dataclass(frozen=True)
class Batches:
    """Shuffled, augmented, normalised training batches: the same for the same seed and epoch."""

    split: Split
    recipe: Recipe
    seed: int

    def __len__(self) -> int:
        """Batches an epoch; the last images of an epoch that fill no batch are left out of it."""
        return len(self.split) // self.recipe.batch_size

    def epoch(self, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (images, labels) of one epoch, float32 (batch, 1, 28, 28) and int64 (batch,)."""
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + number)
        count, size = len(self.split), self.recipe.batch_size
        drawn = torch.randperm(count, generator=generator)  # who shares a distortion
        moved = augment(self.split.images[drawn], self.recipe.in_epoch(number), generator)
        labels = self.split.labels[drawn]
        order = torch.randperm(count, generator=generator)
        for chosen in torch.split(order, size)[: len(self)]:
            yield normalise(moved[chosen]), labels[chosen]
