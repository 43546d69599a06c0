"""Read a digit from a picture that anyone made, and tell which one it is.

The network knows only what MNIST looks like: light ink on black, scaled to fit 20 × 20 pixels, its
centre of mass in the middle of 28 × 28. `read_digit` brings a picture into this form step by step: its
grey values; the brightness of the paper; what differs from it, which is ink; the ink without specks;
its place and size.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import nn

from gradsheet.errors import InputError, TooLargeError
from gradsheet.mnist.model import predict_probabilities

FORMATS = ("PNG", "JPEG", "BMP", "GIF")

SIDE, BOX = 28, 20
"""Pixels: of an image, and of the box in it that the digit fits into."""

WORKING_SIZE = 500
"""Larger pictures are first shrunk to so many pixels, which also averages the noise of a camera."""

LEAST_CONTRAST = 12.0
"""Of 255: what differs less from the paper is not seen as ink."""

STRONG = 0.3
"""The share of the full contrast from which a pixel is surely ink, and no shadow and no soft edge."""

SMALLEST = 4
"""Pixels: a smaller piece of ink is noise, even if there is no larger one."""

SPECK = 0.02
"""The share of the largest piece of ink below which another piece is dirt, not a part of the digit."""

Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Prediction:
    """The most probable digit, and the probability of each of the ten."""

    digit: int
    probabilities: tuple[float, ...]


def predict(model: nn.Module, images: torch.Tensor) -> list[Prediction]:
    """Say which digits uint8 images (n, 28, 28) show, such as `read_digit` returns.

    Raises `InputError` for tensors of another kind.
    """
    if images.dtype != torch.uint8 or images.shape[1:] != (SIDE, SIDE):
        raise InputError(
            f"images: {images.dtype} of shape {tuple(images.shape)}, but the model reads uint8 of shape "
            f"(n, {SIDE}, {SIDE}); stack what read_digit returns"
        )
    probabilities = predict_probabilities(model, images)
    return [Prediction(int(row.argmax()), tuple(row.tolist())) for row in probabilities]


def read_digit(path: Path) -> torch.Tensor:
    """The digit in a PNG, JPEG, BMP or GIF picture as MNIST would show it: uint8 of shape (28, 28).

    The digit may be dark on light or light on dark, of any size and anywhere in the picture; the light
    may be uneven. The border of the picture must show the paper, though ink may touch it.

    Raises `InputError` for a file that is no such picture or shows nothing, and `TooLargeError` for one
    with too many pixels.
    """
    ink = _ink(_grey(_open(path)))
    strong = ink > STRONG * _full(ink)
    digit = _without_specks(strong)
    if not digit.any():
        raise InputError(
            f"{path}: shows no digit; give a picture of one that stands out from the paper around it"
        )
    ink[strong & ~digit] = 0
    return torch.from_numpy(_centred(ink, digit))


# ---------------------------------------------------------------- from a file to grey values


def _open(path: Path) -> Image.Image:
    """The picture, upright and not too large, of mode RGBA, or F if it had 16 bits of grey."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged EXIF data, for one
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as file:
                file.draft(None, (WORKING_SIZE, WORKING_SIZE))  # shrinks a JPEG while it is decoded
                image = ImageOps.exif_transpose(file)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise TooLargeError(
            f"{path}: has more than {Image.MAX_IMAGE_PIXELS:,} pixels; shrink the picture first"
        ) from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: is no PNG, JPEG, BMP or GIF picture; convert it to PNG") from None
    except Exception as error:  # Pillow raises many kinds for a damaged file
        if isinstance(error, OSError) and error.strerror:
            reason = f"cannot be opened ({error.strerror}); give the path of a picture"
        else:
            reason = f"is damaged ({error}); save the picture again"
        raise InputError(f"{path}: {reason}") from None
    if image.mode.startswith("I"):
        image = Image.fromarray(np.asarray(image).astype(np.float32) / 257)
    else:
        image = image.convert("RGBA")
    image.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.BOX)
    return image


def _grey(image: Image.Image) -> Array:
    """Grey values from 0 (black) to 255: the colour channel that varies most.

    What is visible of a picture is its paper if it covers more than half of it, and more of the same
    comes behind it. Else it is ink, and what contrasts with it comes behind: that cannot always be
    white, for a drawing program may save white strokes without their black board.
    """
    pixels = np.asarray(image, dtype=np.float64)
    if image.mode == "F":
        return pixels
    colours, opacity = pixels[:, :, :3], pixels[:, :, 3:] / 255
    visible = colours[opacity[:, :, 0] > 0.5]
    typical = float(np.median(visible)) if len(visible) else 0.0
    contrast = 255.0 if typical < 128 else 0.0
    behind = typical if opacity.mean() > 0.5 else contrast
    shown = behind + (colours - behind) * opacity
    return shown[:, :, shown.std(axis=(0, 1)).argmax()]


# ---------------------------------------------------------------- from grey values to ink


def _ink(grey: Array) -> Array:
    """How far each pixel differs from the paper in the direction of ink; 0 where that may be noise.

    Noise and uneven light differ from the paper in both directions alike, ink in one. So the other
    direction shows how far noise goes. Dark ink reflects a share of the light that falls on the paper,
    so it is divided by that light.
    """
    paper = _paper(grey)
    darker, lighter = np.maximum(paper - grey, 0), np.maximum(grey - paper, 0)
    if (darker**2).sum() > (lighter**2).sum():
        light = np.maximum(paper, LEAST_CONTRAST) / 255
        ink, other = darker / light, lighter / light
    else:
        ink, other = lighter, darker
    noise = 2.5 * np.quantile(other, 0.95)  # 4.1 standard deviations, where it is normal
    ink = np.maximum(ink - noise, 0)
    return ink if ink.max() >= LEAST_CONTRAST else np.zeros_like(ink)


def _paper(grey: Array) -> Array:
    """The brightness of the paper everywhere: a quadratic surface through the border of the picture.

    Starts at the border's median. Tukey's biweight then ignores what is far from the surface, which is
    ink that touches the border, even if that is nearly half of it.
    """
    height, width = grey.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=2)
    border = np.ones(grey.shape, dtype=bool)
    border[1:-1, 1:-1] = False
    known, values = terms[border], grey[border]
    surface = np.full_like(values, np.median(values))
    for _ in range(20):
        distance = np.abs(values - surface)
        weights = np.maximum(1 - (distance / max(1, 6 * np.median(distance))) ** 2, 0)
        coefficients = np.linalg.lstsq(known * weights[:, None], values * weights)[0]
        surface = known @ coefficients
    paper: Array = terms @ coefficients
    return paper


def _without_specks(mask: Mask) -> Mask:
    """The connected pieces that are not tiny beside the largest one, and all that lies between them."""
    pieces = _pieces(mask)
    least = max(SMALLEST, SPECK * max(map(len, pieces), default=0))
    places = [place for piece in pieces if len(piece) >= least for place in piece]
    kept = np.zeros_like(mask)
    if places:
        (top, left), (bottom, right) = np.min(places, axis=0), np.max(places, axis=0)
        inside = np.s_[top : bottom + 1, left : right + 1]
        kept[inside] = mask[inside]  # also the bits of a broken stroke
    return kept


def _pieces(mask: Mask) -> list[list[tuple[int, ...]]]:
    """The places in a mask; those that touch, if only by a corner, are together."""
    left = set(map(tuple, np.argwhere(mask).tolist()))
    pieces = []
    while left:
        piece = [left.pop()]
        for row, column in piece:  # grows on the way
            around = {(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)} & left
            left -= around
            piece.extend(around)
        pieces.append(piece)
    return pieces


def _full(ink: Array) -> float:
    """The value of a pixel that is all ink: the median of the upper half of the range."""
    return float(np.median(ink[ink >= ink.max() / 2]))


# ---------------------------------------------------------------- from ink to MNIST's form


def _centred(ink: Array, digit: Mask) -> Pixels:
    """The ink, scaled so that the digit fits its box, the centre of mass on pixel (14, 14)."""
    rows, columns = np.nonzero(digit)
    scale = (max(np.ptp(rows), np.ptp(columns)) + 1) / BOX
    margin = (SIDE - BOX) / 2 * scale
    top, left = rows.min() - margin, columns.min() - margin
    image = _window(ink, top, left, scale)
    place, mass = np.arange(SIDE), image.sum()
    # By whole pixels, as in MNIST: an image of its own test set comes back as it is.
    top += scale * np.round(image.sum(axis=1) @ place / mass - SIDE // 2)
    left += scale * np.round(image.sum(axis=0) @ place / mass - SIDE // 2)
    image = _window(ink, top, left, scale)
    grey: Pixels = np.round(255 * image / image.max()).astype(np.uint8)
    return grey


def _window(ink: Array, top: float, left: float, scale: float) -> Array:
    """28 × 28 pixels from (top, left) on, each an average over scale × scale; 0 beyond the picture."""
    height, width = ink.shape
    return _shares(top, scale, height) @ ink @ _shares(left, scale, width).T


def _shares(start: float, scale: float, length: int) -> Array:
    """The share of each of ``length`` pixels in the averages over 28 intervals: (28, length)."""
    ends = start + scale * np.arange(SIDE + 1)[:, None]
    pixels = np.arange(length)
    overlaps = np.minimum(ends[1:], pixels + 1) - np.maximum(ends[:-1], pixels)
    shares: Array = np.maximum(overlaps, 0) / scale
    return shares
