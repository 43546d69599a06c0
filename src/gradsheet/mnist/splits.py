"""Images with their purpose, so that none can be used for something else; and their normal form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from gradsheet.errors import InputError

MEAN, STANDARD_DEVIATION = 0.1307, 0.3081
"""Of the pixels of the 60,000 training images, from 0 to 1; the values that everybody uses."""

Purpose = Literal["train", "validation", "train and validation", "test"]


@dataclass(frozen=True)
class Split:
    """Images and labels with their purpose.

    ``images`` is uint8 of shape (n, 28, 28), 0 background to 255 ink; ``labels`` int64 of shape (n,).

    Raises `InputError` when the two do not fit.
    """

    purpose: Purpose
    images: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.shape[1:] != (28, 28):
            raise InputError(
                f"images: {self.images.dtype} of shape {tuple(self.images.shape)}, but uint8 images of "
                "28 × 28 are needed"
            )
        if self.labels.shape != self.images.shape[:1]:
            raise InputError(
                f"labels: {len(self.labels)} for {len(self.images)} images; give one for each image"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def may_be_trained_on(self) -> bool:
        return self.purpose.startswith("train")


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Grey values 0 to 255, shape (n, 28, 28), as float32 of mean 0 and deviation 1: (n, 1, 28, 28)."""
    scaled = images.unsqueeze(1).float() / 255
    return (scaled - MEAN) / STANDARD_DEVIATION
