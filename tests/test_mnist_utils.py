"""The data of the CNN: splits that do not overlap, distortions that stay what they are called."""

from __future__ import annotations

import math
import socket

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from gradsheet.errors import InputError  # noqa: E402
from gradsheet.mnist.recipes import LIMITS, RECIPES, Recipe, find_recipe  # noqa: E402
from gradsheet.mnist.splits import Split, normalise  # noqa: E402
from gradsheet.mnist.utils import SHARED, Batches, augment, prepare_mnist  # noqa: E402

STILL = Recipe("still")


@pytest.fixture(scope="module")
def mnist():
    return prepare_mnist()


def distorted(image: torch.Tensor, groups: int = 200, **numbers: float) -> torch.Tensor:
    """One copy of an image for each of many distortions."""
    generator = torch.Generator().manual_seed(0)
    copies = image.expand(groups * SHARED, 28, 28)
    return augment(copies, Recipe("test", **numbers), generator)[::SHARED]


def blank() -> torch.Tensor:
    return torch.zeros(28, 28, dtype=torch.uint8)


def centres(images: torch.Tensor) -> torch.Tensor:
    """Centres of mass, (n, 2): row and column."""
    mass, place = images.sum((1, 2)), torch.arange(28.0)
    return torch.stack([images.sum(2) @ place / mass, images.sum(1) @ place / mass], dim=1)


def directions(images: torch.Tensor) -> torch.Tensor:
    """The angle of the main axis of every image, in degrees from the vertical."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    centre = centres(images)
    dy, dx = y - centre[:, 0, None, None], x - centre[:, 1, None, None]
    xx, yy, xy = ((images * product).sum((1, 2)) for product in (dx * dx, dy * dy, dx * dy))
    return torch.rad2deg(torch.atan2(2 * xy, yy - xx) / 2)


# ---------------------------------------------------------------- splits


def test_the_splits_are_the_60000_and_10000_images_of_mnist_and_do_not_overlap(mnist):
    assert [len(mnist.train), len(mnist.validation), len(mnist.test)] == [55_000, 5_000, 10_000]
    assert len(mnist.all_training) == 60_000
    counts = torch.bincount(mnist.all_training.labels).tolist()
    assert counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # published
    kept = {image.tobytes() for image in mnist.train.images.numpy()}
    held = {image.tobytes() for image in mnist.validation.images.numpy()}
    assert len(kept) + len(held) == 60_000  # no image is there twice
    assert not kept & held


def test_the_held_out_images_are_the_same_for_ever(mnist):
    assert mnist.validation.labels[:12].tolist() == [9, 3, 5, 4, 7, 4, 9, 6, 8, 8, 7, 4]
    assert torch.equal(prepare_mnist().validation.images, mnist.validation.images)


def test_the_normalised_training_images_have_mean_0_and_deviation_1(mnist):
    pixels = normalise(mnist.all_training.images)
    assert pixels.shape == (60_000, 1, 28, 28)
    assert abs(pixels.mean().item()) < 2e-3  # the usual four digits of mean and deviation
    assert abs(pixels.std().item() - 1) < 2e-3


def test_only_a_split_for_training_may_be_trained_on(mnist):
    purposes = [mnist.train, mnist.validation, mnist.all_training, mnist.test]
    assert [split.may_be_trained_on for split in purposes] == [True, False, True, False]


def test_images_and_labels_that_do_not_fit_are_refused():
    images = torch.zeros(3, 28, 28, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"labels: 2 for 3 images"):
        Split("train", images, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(InputError, match=r"images: torch\.float32 of shape"):
        Split("train", images.float(), torch.zeros(3, dtype=torch.int64))


def test_nothing_is_fetched_from_the_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert len(prepare_mnist().test) == 10_000


# ---------------------------------------------------------------- distortions


def test_a_recipe_without_distortions_leaves_the_images_as_they_are(mnist):
    images = mnist.train.images[:130]  # no multiple of those that share a distortion
    copies = augment(images, STILL, torch.Generator().manual_seed(0))
    assert copies.shape == images.shape
    assert torch.allclose(copies, images.float(), atol=0.01)  # float32 coordinates, of 255


def test_a_translation_moves_by_so_many_pixels_at_most_and_uses_them_all():
    image = blank()
    image[12:16, 12:16] = 255
    moved = centres(distorted(image, translation=3)) - 13.5
    assert moved.abs().max() <= 3.001
    assert (moved.amax(0) > 2.7).all()
    assert (moved.amin(0) < -2.7).all()
    assert abs(moved.mean().item()) < 0.3  # standard error 0.09


def test_a_rotation_turns_by_so_many_degrees_at_most_about_the_centre():
    bar = blank()
    bar[4:24, 13:15] = 255
    copies = distorted(bar, rotation=20)
    angles = directions(copies)
    assert 18 < angles.max() < 20.5
    assert -20.5 < angles.min() < -18
    assert torch.allclose(centres(copies), torch.tensor(13.5), atol=0.05)


def test_a_scale_stretches_each_axis_on_its_own_by_the_share_given():
    square = blank()
    square[9:19, 9:19] = 255
    copies = distorted(square, scale=0.2) / 255
    tall, wide = copies.amax(2).sum(1), copies.amax(1).sum(1)  # of 10 pixels
    for side in (tall, wide):
        assert 10 / 1.2 - 0.3 < side.min() < 9
        assert 11.5 < side.max() < 10 / 0.8 + 0.3
    assert abs(np.corrcoef(tall, wide)[0, 1]) < 0.3


def test_a_shear_leans_a_bar_by_its_share_of_the_height():
    bar = blank()
    bar[4:24, 13:15] = 255
    leaning = torch.tan(torch.deg2rad(directions(distorted(bar, shear=0.2))))
    assert 0.17 < leaning.max() < 0.21
    assert -0.21 < leaning.min() < -0.17


def test_an_elastic_displacement_bends_a_straight_bar():
    bar = blank()
    bar[2:26, 13:15] = 255
    place = torch.arange(28.0)

    def bend(images):
        columns = (images @ place / images.sum(2))[:, 6:22]
        rows = torch.arange(16.0)
        line = torch.stack([torch.ones(16), rows], dim=1)
        fitted = (line @ torch.linalg.lstsq(line, columns.T).solution).T
        return (columns - fitted).abs().amax(1)

    assert bend(distorted(bar, rotation=10)).max() < 0.2
    assert bend(distorted(bar, elastic=1)).mean() > 0.2


def test_a_crop_enlarges_the_centre_of_its_share_of_the_images():
    square = blank()
    square[9:19, 9:19] = 255
    sides = (distorted(square, crop=20, crop_probability=0.25) / 255).amax(2).sum(1)
    enlarged = sides > 12
    assert torch.allclose(sides[enlarged], torch.tensor(14.0), atol=0.5)
    assert torch.allclose(sides[~enlarged], torch.tensor(10.0), atol=0.1)
    assert 0.25 - 0.12 < enlarged.float().mean() < 0.25 + 0.12  # 4 standard errors


def test_distorted_images_stay_between_black_and_white(mnist):
    copies = augment(mnist.train.images[:2000], RECIPES["best"], torch.Generator().manual_seed(0))
    assert copies.min() >= 0
    assert copies.max() < 255.001  # float32 weights add up to 1 but for rounding


# ---------------------------------------------------------------- batches


def labelled(count: int = 1000) -> Split:
    """Every image says which one it is: its last digit on the left, the others on the right."""
    numbers = torch.arange(count)
    images = torch.zeros(count, 28, 28, dtype=torch.uint8)
    images[:, :, :14] = (numbers % 10 * 25)[:, None, None].to(torch.uint8)
    images[:, :, 14:] = (numbers // 10 * 2)[:, None, None].to(torch.uint8)
    return Split("train", images, numbers % 10)


def numbers_in(batches: Batches, epoch: int) -> list[int]:
    found = []
    for images, labels in batches.epoch(epoch):
        pixels = (images * 0.3081 + 0.1307) * 255
        assert torch.equal((pixels[:, 0, 14, 7] / 25).round().long(), labels)
        found += (10 * (pixels[:, 0, 14, 21] / 2).round().long() + labels).tolist()
    return found


def test_every_image_comes_once_an_epoch_with_its_own_label():
    batches = Batches(labelled(), Recipe("test", batch_size=100, translation=1), seed=0)
    assert len(batches) == 10
    assert sorted(numbers_in(batches, 0)) == list(range(1000))
    assert numbers_in(batches, 0) != numbers_in(batches, 1)


def test_images_that_fill_no_batch_are_left_out():
    batches = Batches(labelled(), Recipe("test", batch_size=300), seed=0)
    assert [len(labels) for _, labels in batches.epoch(0)] == [300] * 3
    assert len(batches) == 3


def test_the_same_seed_and_epoch_give_the_same_batches_and_others_do_not(mnist):
    split = Split("train", mnist.train.images[:500], mnist.train.labels[:500])

    def first(seed, epoch):
        return next(Batches(split, RECIPES["best"], seed).epoch(epoch))[0]

    assert torch.equal(first(1, 2), first(1, 2))
    assert not torch.equal(first(1, 2), first(1, 3))
    assert not torch.equal(first(1, 2), first(2, 2))


def test_the_distortions_are_half_as_large_in_the_calm_epochs():
    square = blank()
    square[12:16, 12:16] = 255
    images = square.expand(2000, 28, 28)
    split = Split("train", images, torch.zeros(2000, dtype=torch.int64))
    recipe = Recipe("test", epochs=5, batch_size=1000, translation=4, calm=0.4)
    furthest = []
    for epoch in range(5):
        pixels = torch.cat([batch for batch, _ in Batches(split, recipe, 0).epoch(epoch)])
        moved = centres((pixels[:, 0] * 0.3081 + 0.1307).clamp(0)) - 13.5
        furthest.append(moved.abs().max().item())
    assert all(2.5 < distance < 4.05 for distance in furthest[:3])
    assert all(1.2 < distance < 2.05 for distance in furthest[3:])


# ---------------------------------------------------------------- recipes


@pytest.mark.parametrize("name", LIMITS)
def test_a_number_that_cannot_be_used_is_named(name):
    for value in (LIMITS[name][0] - 1, LIMITS[name][1] + 1, math.nan):
        with pytest.raises(InputError, match=f"^{name}: .*give a number from"):
            find_recipe("best", **{name: value})


def test_an_unknown_choice_is_named():
    with pytest.raises(InputError, match="optimizer: 'sgd' is not known; use adam or muon"):
        find_recipe("best", optimizer="sgd")
    with pytest.raises(InputError, match="recipe: 'fast' is not known; choose one of quick, best, seed"):
        find_recipe("fast")
