"""Read MNIST from where it lies: the copy that travels with the package, or a folder of idx files.

Needs NumPy only. `gradsheet.mnist.download` fetches such a folder, `gradsheet.mnist.utils` makes
tensors of what is read here.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import math
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gradsheet.errors import InputError

Bytes = npt.NDArray[np.uint8]

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of MNIST's own files, decompressed."""

LARGEST = 64 * 1024**2
"""Bytes: no decompressed file may be larger, whatever a compressed one says."""

OPENERS: dict[str, Any] = {"": open, ".gz": gzip.open, ".xz": lzma.open}
"""How a file is read, by the end of its name."""


@dataclass(frozen=True)
class Digits:
    """A data set as its files hold it: images uint8 (n, 28, 28), labels uint8 (n,), 0 to 9."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes


def packaged() -> Digits:
    """The MNIST that is part of this package: 60,000 training images, 10,000 test images.

    Raises `InputError` when a file is not what it was, by its SHA-256.
    """
    with resources.as_file(resources.files("gradsheet.mnist") / "data") as folder:
        return read_folder(folder, SHA256)


def read_folder(folder: Path, sha256: dict[str, str] | None = None) -> Digits:
    """The four idx files in a folder, plain or compressed (.gz, .xz).

    ``sha256`` holds the sums that the decompressed files must have, by their names.

    Raises `InputError` for a file that is missing, damaged or not of this kind.
    """
    sums = sha256 or {}
    arrays = {role: _read(folder, name, sums.get(name)) for role, name in FILES.items()}
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if (images.ndim, labels.ndim) != (3, 1) or len(images) != len(labels):
            raise InputError(
                f"{folder}: {FILES[f'{part}_images']} and {FILES[f'{part}_labels']} hold "
                f"{images.shape} and {labels.shape}, not as many images as labels; fetch both again"
            )
    return Digits(**arrays)


def find_file(folder: Path, name: str) -> Path | None:
    """The file of this name in a folder, plain or compressed; ``None`` if there is none."""
    paths = (folder / f"{name}{suffix}" for suffix in OPENERS)
    return next((path for path in paths if path.is_file()), None)


def _read(folder: Path, name: str, sha256: str | None) -> Bytes:
    path = find_file(folder, name)
    if path is None:
        raise InputError(f"{folder}: has no {name}, neither plain nor as .gz or .xz; download it")
    data = decompress(path)
    if sha256 is not None and (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise InputError(
            f"{path}: is not the published file (its SHA-256 is {found[:12]}…, not {sha256[:12]}…); "
            "delete it and fetch it again"
        )
    return parse_idx(data, path)


def decompress(path: Path) -> bytes:
    """What a plain, .gz or .xz file holds; raises `InputError` for one that is damaged or too large."""
    suffix = path.suffix if path.suffix in OPENERS else ""
    try:
        with OPENERS[suffix](path, "rb") as file:
            data: bytes = file.read(LARGEST + 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it and fetch it again") from None
    if len(data) > LARGEST:
        raise InputError(f"{path}: holds more than {LARGEST:,} bytes, so it is no file of this kind")
    return data


def parse_idx(data: bytes, where: Path) -> Bytes:
    """The array of bytes in an idx file: images of shape (n, 28, 28), or labels of shape (n,).

    An idx file is 0, 0, 8 (for bytes), the number of axes, the length of each as a big-endian 32-bit
    number, and the bytes.

    Raises `InputError` when it is something else.
    """
    axes = data[3] if data[:3] == b"\x00\x00\x08" and len(data) > 3 else 0
    if len(data) < 4 + 4 * axes:
        axes = 0
    shape = tuple(int(length) for length in np.frombuffer(data[4 : 4 + 4 * axes], dtype=">u4"))
    body = np.frombuffer(data[4 + 4 * axes :], dtype=np.uint8)
    if len(shape) not in (1, 3) or len(body) != math.prod(shape):
        raise InputError(
            f"{where}: is not an idx file of images or labels ({len(data):,} bytes, beginning with "
            f"{data[:8]!r}); delete it and fetch it again"
        )
    if len(shape) == 3 and shape[1:] != (28, 28):
        raise InputError(f"{where}: holds images of {shape[1]} × {shape[2]}, not of 28 × 28")
    if len(shape) == 1 and len(body) and body.max() > 9:
        raise InputError(f"{where}: holds the label {body.max()}, but labels are 0 to 9")
    return body.reshape(shape).copy()  # a copy, because PyTorch needs an array it may write to
