"""Reading MNIST: the copy in the package is the published one, and no damaged file passes for digits."""

from __future__ import annotations

import gzip
import lzma
import socket
import tracemalloc
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradsheet.errors import InputError
from gradsheet.mnist.sources import (
    FILES,
    LARGEST,
    Digits,
    decompress,
    find_file,
    packaged,
    parse_idx,
    read_folder,
)

# ---------------------------------------------------------------- a small folder


def idx(array: np.ndarray) -> bytes:
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "train_images": random.integers(256, size=(5, 28, 28), dtype=np.uint8),
        "train_labels": random.integers(10, size=5, dtype=np.uint8),
        "test_images": random.integers(256, size=(3, 28, 28), dtype=np.uint8),
        "test_labels": random.integers(10, size=3, dtype=np.uint8),
    }


PACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


def small_folder(path: Path, suffix: str = "") -> Path:
    path.mkdir(exist_ok=True)
    for role, array in arrays().items():
        (path / f"{FILES[role]}{suffix}").write_bytes(PACK[suffix](idx(array)))
    return path


# ---------------------------------------------------------------- the copy in the package


@pytest.fixture(scope="module")
def mnist() -> Digits:
    def forbidden(*_):
        raise AssertionError("a connection was opened")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", forbidden)
        return packaged()


def test_the_package_holds_mnist_and_needs_no_network(mnist):
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    # What everybody who has ever counted them found: the digits 0 to 9 in each part.
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(mnist.train_labels).tolist() == train
    assert np.bincount(mnist.test_labels).tolist() == test
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def test_the_package_is_not_believed_without_its_sums(tmp_path, monkeypatch):
    small_folder(tmp_path / "data", ".xz")  # right in form, and not MNIST
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.xz: is not the published file"):
        packaged()


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize("suffix", PACK)
def test_a_folder_is_read_plain_or_compressed(tmp_path, suffix):
    digits = read_folder(small_folder(tmp_path, suffix))
    for role, array in arrays().items():
        read = getattr(digits, role)
        assert read.dtype == np.uint8
        assert (read == array).all()
        assert read.flags.writeable  # or PyTorch warns


def test_every_file_may_be_packed_in_its_own_way(tmp_path):
    for suffix, (role, array) in zip(["", ".gz", ".xz", ".gz"], arrays().items(), strict=True):
        (tmp_path / f"{FILES[role]}{suffix}").write_bytes(PACK[suffix](idx(array)))
    assert (read_folder(tmp_path).test_labels == arrays()["test_labels"]).all()


@pytest.mark.parametrize("name", FILES.values())
def test_a_missing_file_is_named(tmp_path, name):
    (small_folder(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=f"has no {name}, neither plain nor as .gz or .xz; download it"):
        read_folder(tmp_path)
    assert find_file(tmp_path, name) is None


def test_the_sum_is_that_of_the_decompressed_file(tmp_path):
    folder = small_folder(tmp_path, ".gz")
    sums = {FILES["train_labels"]: "0" * 64}
    with pytest.raises(InputError, match=r"train-labels-idx1-ubyte\.gz: is not .*, not 000000000000…"):
        read_folder(folder, sums)


# ---------------------------------------------------------------- damaged files

LABELS = idx(np.arange(10, dtype=np.uint8).repeat(50))


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
@pytest.mark.parametrize(
    "damage",
    [flipped, lambda data: data[:-6], lambda data: data[:15], lambda data: b"<html>" + data],
    ids=["one byte", "the end", "nearly all", "the beginning"],
)
def test_a_damaged_compressed_file_is_named(tmp_path, suffix, damage):
    path = tmp_path / f"labels{suffix}"
    path.write_bytes(damage(PACK[suffix](LABELS)))
    with pytest.raises(InputError, match=rf"labels\{suffix}: cannot be read .*; delete it and fetch"):
        decompress(path)


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        decompress(tmp_path)


def test_a_decompression_bomb_is_refused_before_it_fills_the_memory(tmp_path):
    member = gzip.compress(bytes(LARGEST // 4), compresslevel=1)
    path = tmp_path / "bomb.gz"
    path.write_bytes(member * 40)  # 640 MB in 3 MB
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"bomb.gz: holds more than {LARGEST:,} bytes"):
            decompress(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (
        peak < 3 * LARGEST
    )  # the pieces, their sum, and a little; the whole would be ten times as much


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not an idx file of images or labels \\(0 bytes"),
        (b"\x00\x00\x08", "is not an idx file"),
        (b"\x1f\x8b" + LABELS, "is not an idx file"),
        (b"\x00\x00\x0d" + LABELS[3:], "is not an idx file"),  # of floats
        (LABELS[:-1], "is not an idx file of images or labels \\(507 bytes, beginning with"),
        (LABELS + b"\x00", "is not an idx file"),
        (idx(np.zeros((2, 3), dtype=np.uint8)), "is not an idx file"),
        (idx(np.zeros((2, 28, 27), dtype=np.uint8)), "holds images of 28 × 27, not of 28 × 28"),
        (idx(np.array([3, 10, 4], dtype=np.uint8)), "holds the label 10, but labels are 0 to 9"),
    ],
)
def test_what_is_no_idx_file_of_digits_is_refused(data, reason):
    with pytest.raises(InputError, match=f"here: {reason}"):
        parse_idx(data, Path("here"))


@pytest.mark.parametrize("lengths", [1, 2, 4, 6, 11])
def test_a_header_that_ends_too_early_is_refused(lengths):
    with pytest.raises(InputError, match="here: is not an idx file"):
        parse_idx(b"\x00\x00\x08\x03" + bytes(lengths), Path("here"))


@given(st.binary(max_size=40), st.sampled_from([b"", b"\x00\x00\x08\x01", b"\x00\x00\x08\x03"]))
def test_any_bytes_are_read_or_refused(tail, beginning):
    data = beginning + tail
    try:
        array = parse_idx(data, Path("here"))
    except InputError:
        return
    assert idx(array) == data
