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

from gradsheet.mnist.sources import Digits, packaged
from gradsheet.mnist.splits import Split, normalise

HELD_OUT = 5_000
SPLIT_SEED = 0

SHARED = 100
"""So many images get the same random transformation, other images and another one in every epoch: one
sampling grid for all of them makes augmentation five times faster than a grid for each."""


@dataclass(frozen=True)
class Mnist:
    """The data set, split: 55,000 images to train on, 5,000 to select with, 10,000 for the final test."""

    train: Split
    validation: Split
    test: Split

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

    The validation images are drawn from the training images by a fixed seed, the same for ever.
    """
    digits = packaged() if digits is None else digits
    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SPLIT_SEED))
    held_out, kept = order[:HELD_OUT], order[HELD_OUT:]
    return Mnist(
        train=Split("train", images[kept], labels[kept]),
        validation=Split("validation", images[held_out], labels[held_out]),
        test=Split(
            "test",
            torch.from_numpy(digits.test_images),
            torch.from_numpy(digits.test_labels).long(),
        ),
    )


@dataclass(frozen=True)
class Augmentation:
    """A random distortion: how far each part of it may go, to both sides.

    ``rotation`` is in degrees, ``translation`` in pixels, ``scale`` and ``shear`` are shares.
    ``elastic`` is the standard deviation, in pixels, of a smooth random displacement. With probability
    ``crop_probability`` an image is cut to its central ``crop`` pixels and enlarged again.
    """

    rotation: float = 0.0
    translation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    crop: int = 28
    crop_probability: float = 0.0

    def grids(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Where each output pixel comes from, in ±1 over an image: shape (count, 28, 28, 2)."""

        def draw(limit: float) -> torch.Tensor:
            return (2 * torch.rand(count, generator=generator) - 1) * limit

        angle = draw(math.radians(self.rotation))
        cosine, sine = torch.cos(angle), torch.sin(angle)
        wide, high, shear = 1 + draw(self.scale), 1 + draw(self.scale), draw(self.shear)
        shift = torch.stack([draw(self.translation / 14), draw(self.translation / 14)], dim=1)
        cropped = torch.rand(count, generator=generator) < self.crop_probability
        zoom = torch.where(cropped, self.crop / 28, 1.0)
        rotation = torch.stack([cosine, -sine, sine, cosine], dim=1).reshape(count, 2, 2)
        stretch = torch.stack([wide, shear, torch.zeros(count), high], dim=1).reshape(count, 2, 2)
        linear = rotation @ stretch * zoom[:, None, None]
        maps = torch.cat([linear, shift.unsqueeze(2)], dim=2)
        grids = functional.affine_grid(maps, [count, 1, 28, 28], align_corners=False)
        if self.elastic:
            coarse = torch.randn(count, 2, 6, 6, generator=generator) * self.elastic / 14
            smooth = functional.interpolate(coarse, (28, 28), mode="bicubic", align_corners=False)
            grids += smooth.permute(0, 2, 3, 1)
        return grids

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Distorted copies of images, float32 in their own range and shape (n, 28, 28).

        `SHARED` consecutive images share one distortion, so shuffle before and after.
        """
        groups = math.ceil(len(images) / SHARED)
        padding = groups * SHARED - len(images)
        pixels = functional.pad(images.float(), (0, 0, 0, 0, 0, padding)).reshape(groups, SHARED, 28, 28)
        moved = functional.grid_sample(pixels, self.grids(groups, generator), align_corners=False)
        return moved.reshape(-1, 28, 28)[: len(images)]


@dataclass(frozen=True)
class Batches:
    """Shuffled, augmented, normalised training batches: the same for the same seed and epoch."""

    split: Split
    batch_size: int
    augmentation: Augmentation
    seed: int

    def __len__(self) -> int:
        """Batches an epoch; the last images of an epoch that fill no batch are left out of it."""
        return len(self.split) // self.batch_size

    def epoch(self, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (images, labels) of one epoch, float32 (batch, 1, 28, 28) and int64 (batch,)."""
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + number)
        count = len(self.split)
        drawn = torch.randperm(count, generator=generator)  # who shares a distortion
        moved = self.augmentation(self.split.images[drawn], generator)
        labels = self.split.labels[drawn]
        order = torch.randperm(count, generator=generator)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield normalise(moved[chosen]), labels[chosen]
