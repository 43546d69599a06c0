"""Pictures of digits, training and mistakes: what stands in them, and where."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gradsheet.errors import InputError
from gradsheet.mnist import plots
from gradsheet.plots import save


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def picture(axes) -> np.ndarray:
    (image,) = axes.images
    return np.ma.filled(image.get_array().astype(float), np.nan)


def some_images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)


@pytest.fixture(params=["array", "tensor"])
def given(request):
    """Hands arrays over as they are, or as tensors."""
    if request.param == "array":
        return np.asarray
    return pytest.importorskip("torch").as_tensor


# ---------------------------------------------------------------- samples


def test_samples_show_the_first_ten_of_each_digit_in_its_row(given):
    images, labels = some_images(1200), np.random.default_rng(1).integers(0, 10, 1200)
    (axes,) = plots.draw_samples(given(images), given(labels)).axes
    assert axes.get_title() == "the first ten of each digit, of 1,200 images"
    assert [label.get_text() for label in axes.get_yticklabels()] == list("0123456789")
    shown = picture(axes)
    assert shown.shape == (298, 298)
    for digit, place in enumerate(axes.get_yticks()):
        top = 30 * digit
        assert top < place < top + 27
        for k, image in enumerate(images[labels == digit][:10]):
            np.testing.assert_array_equal(shown[top : top + 28, 30 * k : 30 * k + 28], image)


def test_samples_leave_the_place_of_missing_digits_empty():
    (axes,) = plots.draw_samples(some_images(3), [4, 7, 4]).axes
    filled = ~np.isnan(picture(axes))
    assert filled.sum() == 3 * 28 * 28
    assert filled[4 * 30 : 4 * 30 + 28, :58].sum() == 2 * 28 * 28


# ---------------------------------------------------------------- curves


def history(accuracy, validation=(), loss=None):
    loss = np.linspace(1, 0.1, len(accuracy)) if loss is None else loss
    return SimpleNamespace(
        loss=list(loss), accuracy=list(accuracy), validation_accuracy=list(validation)
    )


def test_curves_show_loss_and_share_of_misread_images_by_epoch():
    figure = plots.draw_curves(history([0.9, 0.98, 0.99], [0.95, 0.985, 0.9925], loss=[0.5, 0.2, 0.07]))
    loss, error = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch", "epoch"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "misread, %"]
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]
    np.testing.assert_array_equal(loss.lines[0].get_xydata(), [[1, 0.5], [2, 0.2], [3, 0.07]])
    training, validation = error.lines
    np.testing.assert_allclose(training.get_ydata(), [10, 2, 1])
    np.testing.assert_allclose(validation.get_ydata(), [5, 1.5, 0.75])
    assert training.get_color() != validation.get_color()
    assert training.get_marker() != validation.get_marker()  # told apart without colours
    assert [text.get_text() for text in error.get_legend().get_texts()] == [
        "training batches, as distorted: 1.00% at the end",
        "validation images: 0.75% at the end",
    ]


def test_the_axes_of_curves_are_labelled_with_plain_numbers_at_whole_epochs():
    figure = plots.draw_curves(history([0.7, 0.97, 0.993]))
    figure.draw_without_rendering()
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1, 2, 3]
    low, high = figure.axes[1].get_ylim()
    labels = {
        float(text.get_text()): place
        for text, place in zip(
            figure.axes[1].get_yticklabels(), figure.axes[1].get_yticks(), strict=True
        )
        if low <= place <= high
    }
    assert set(labels) == {1, 2, 3, 5, 10, 20, 30}
    assert list(labels) == pytest.approx(list(labels.values()))


def test_curves_without_validation_have_one_line():
    _, error = plots.draw_curves(history([0.9, 0.95])).axes
    assert len(error.lines) == len(error.get_legend().get_texts()) == 1


@pytest.mark.parametrize("accuracy", [[1.0], [0.9, 1.0], [1.0, 1.0], []])
def test_curves_of_a_perfect_short_or_empty_training_are_drawn(accuracy, tmp_path):
    save(plots.draw_curves(history(accuracy)), tmp_path / "curves.png")  # a warning is an error
    assert (tmp_path / "curves.png").stat().st_size > 0


# ---------------------------------------------------------------- confusion

LABELS = np.repeat(np.arange(9), [1500, 10, 10, 10, 10, 10, 10, 10, 10])  # there is no 9
READ = LABELS.copy()
READ[:3] = 6
READ[1500] = 7
READ[1512:1515] = 9


def test_the_confusion_matrix_counts_every_pair_in_its_cell(given):
    (axes,) = plots.draw_confusion(given(LABELS), given(READ)).axes
    assert axes.get_title() == "7 of 1,580 images misread (0.44%)"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("digit read", "digit shown")
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    for digit in range(10):
        for read in range(10):
            count = sum((digit == LABELS) & (read == READ))
            assert cells[read, digit] == f"{count:,}"
    assert cells[0, 0] == "1,497"
    assert cells[6, 0] == "3"
    assert (cells[10, 0], cells[10, 1], cells[10, 9]) == ("99.8%", "90.0%", "–")  # of this digit
    assert (cells[6, 10], cells[9, 10], cells[5, 10]) == (
        "76.9%",
        "0.0%",
        "100.0%",
    )  # of what is read so
    assert len(cells) == 120


def test_the_diagonal_does_not_drown_the_errors():
    (axes,) = plots.draw_confusion(LABELS, READ).axes
    colours = picture(axes)
    assert np.isnan(np.diag(colours)).all()
    assert colours[0, 6] == 3
    assert colours[1, 7] == 1
    assert 3 < axes.images[0].norm.vmax < 6  # the errors span the scale, not the 1,497


def test_words_in_the_confusion_matrix_stand_out_from_their_cells():
    (axes,) = plots.draw_confusion(LABELS, READ).axes
    (image,) = axes.images
    for text in axes.texts:
        x, y = text.get_position()
        if x < 10 and y < 10 and x != y and text.get_text() != "0":
            behind = image.cmap(image.norm(image.get_array()[y, x]))[:3]
            assert text.get_color() == "#000000"
            # a lower bound of the luminance, of which 0.175 and black make WCAG's contrast of 4.5
            assert np.dot([0.2126, 0.7152, 0.0722], np.power(behind, 2.4)) > 0.175


def test_a_matrix_without_errors_is_drawn(tmp_path):
    figure = plots.draw_confusion([1, 2], [1, 2])
    save(figure, tmp_path / "confusion.png")
    assert figure.axes[0].get_title() == "0 of 2 images misread (0.00%)"


# ---------------------------------------------------------------- errors


def misread(count: int, wrong: int):
    """Images labelled 3, of which some are read as 5, the later the surer."""
    probabilities = np.zeros((count, 10))
    probabilities[:, 3] = 1
    sure = np.linspace(0.6, 0.99, wrong)
    probabilities[:wrong, 5], probabilities[:wrong, 3] = sure, 1 - sure
    return some_images(count), np.full(count, 3), probabilities


def test_errors_are_shown_the_surest_first_with_label_reading_and_probability(given):
    images, labels, probabilities = misread(50, 14)
    figure = plots.draw_errors(given(images), given(labels), given(probabilities))
    assert figure.get_suptitle() == (
        "14 of 50 images misread (28.00%)\ndigit → what it is read as, how surely"
    )
    (axes,) = figure.axes
    assert texts(axes) == [f"3 → 5, {p:.0%}" for p in np.linspace(0.99, 0.6, 14)]
    shown = picture(axes)
    for k, text in enumerate(axes.texts):
        x, y = 32 * (k % 10), 40 * (k // 10)
        np.testing.assert_array_equal(shown[y : y + 28, x : x + 28], images[13 - k])
        assert x < text.get_position()[0] < x + 28
        assert y + 28 < text.get_position()[1] < y + 40


def test_more_errors_than_wanted_are_cut_off_and_it_is_said():
    figure = plots.draw_errors(*misread(2000, 1500), most=12)
    assert figure.get_suptitle().startswith(
        "1,500 of 2,000 images misread (75.00%); the 12 surest mistakes\n"
    )
    assert len(figure.axes[0].texts) == 12
    assert texts(figure.axes[0])[0] == "3 → 5, 99%"


def test_no_error_is_a_title_without_pictures(tmp_path):
    figure = plots.draw_errors(*misread(20, 0))
    save(figure, tmp_path / "errors.png")
    assert figure.get_suptitle() == "0 of 20 images misread (0.00%)"
    assert figure.axes == []


# ---------------------------------------------------------------- feature maps


@pytest.fixture(scope="module")
def maps_figure():
    torch = pytest.importorskip("torch")
    from gradsheet.mnist.model import Net

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net(0.5).train()
    image = torch.as_tensor(some_images(1)[0])
    return model, image, plots.draw_feature_maps(model, image)


def test_the_input_is_shown_and_the_probabilities_are_bars(maps_figure):
    from gradsheet.mnist.model import predict_probabilities

    model, image, figure = maps_figure
    seen, chart = figure.axes[:2]
    np.testing.assert_array_equal(picture(seen), image)
    probabilities = predict_probabilities(model, image[None])[0].numpy()
    heights = [bar.get_height() for bar in chart.patches]
    np.testing.assert_allclose(heights, probabilities, rtol=1e-6)  # float32, in Python's numbers
    assert texts(chart) == [f"{p:.1%}" for p in probabilities]
    assert chart.get_title() == f"read as {probabilities.argmax()}"
    colours = [bar.get_facecolor() for bar in chart.patches]
    assert colours.count(colours[int(probabilities.argmax())]) == 1


def test_the_maps_of_the_six_blocks_are_those_that_the_network_computes(maps_figure):
    import torch

    from gradsheet.mnist.model import evaluating
    from gradsheet.mnist.splits import normalise

    model, image, figure = maps_figure
    strips = figure.axes[2:]
    assert [axes.get_title(loc="left") for axes in strips] == [
        "block 1: 32 maps of 28 × 28",
        "block 2: 16 maps of 28 × 28",
        "block 3: 16 maps of 16 × 16",
        "block 4: 32 maps of 16 × 16",
        "block 5: 16 maps of 8 × 8",
        "block 6: 128 maps of 4 × 4",
    ]
    values, expected = normalise(image[None]), []
    with torch.no_grad(), evaluating(model):
        for layer in model.features:
            values = layer(values)
            if isinstance(layer, torch.nn.BatchNorm2d):
                expected.append(values[0].numpy())
    for axes, maps in zip(strips, expected, strict=True):
        shown, enlargement = picture(axes), {28: 1, 16: 2, 8: 4, 4: 8}[maps.shape[1]]
        side = enlargement * maps.shape[1]
        for k, one in enumerate(maps):
            y, x = (side + 2) * (k // 16), (side + 2) * (k % 16)
            tile = shown[y : y + side : enlargement, x : x + side : enlargement]
            np.testing.assert_array_equal(tile, one)


def test_drawing_leaves_the_model_as_it_was(maps_figure):
    model, _, _ = maps_figure
    assert model.training
    assert not any(layer._forward_hooks for layer in model.modules())


# ---------------------------------------------------------------- files


def test_pictures_are_written_as_their_name_says_or_refused(tmp_path):
    figure = plots.draw_confusion([1, 2], [1, 3])
    for name, beginning in {"a.png": b"\x89PNG", "b.svg": b"<?xml", "c.pdf": b"%PDF-"}.items():
        save(figure, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(beginning)
    with pytest.raises(InputError, match="'jpg' is not a format"):
        save(figure, tmp_path / "d.jpg")
    assert len(list(tmp_path.iterdir())) == 3


def test_arrays_are_drawn_without_torch_and_without_pyplot():
    code = """
import sys
from gradsheet.mnist import plots
from gradsheet.plots import save
assert not {"matplotlib", "torch"} & set(sys.modules)
plots.draw_confusion([1, 2], [1, 3])
assert "matplotlib" in sys.modules
assert not {"matplotlib.pyplot", "torch"} & set(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
