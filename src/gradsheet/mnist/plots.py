"""Pictures of the data, of a training, and of what a trained model reads right and wrong.

The ``draw`` functions return a matplotlib figure; `gradsheet.plots.save` writes it. Images and labels
are arrays or tensors. matplotlib and PyTorch are imported when something is drawn, without pyplot, so
nothing global changes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradsheet.plots import BLACK, BLUE, GREY, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradsheet.mnist.model import History, Net

LIGHT = "#aaaaaa"

COLUMNS = 10
"""Images in a row of a grid."""

MAP_COLUMNS = 16
"""Feature maps in a row: all numbers of maps are multiples of it."""

Array = npt.NDArray[Any]

# ---------------------------------------------------------------- images in a grid


def _mosaic(tiles: Array, columns: int, gap: int = 2, below: int = 0) -> Array:
    """Images (n, height, width) in rows, as one float image; NaN, which is drawn white, between them.

    ``below`` is room for words under each image, in pixels.
    """
    count, height, width = tiles.shape
    rows = math.ceil(count / columns)
    grid = np.full((rows, columns, height + gap + below, width + gap), np.nan)
    for k, tile in enumerate(tiles):
        grid[k // columns, k % columns, :height, :width] = tile
    whole = grid.swapaxes(1, 2).reshape(rows * grid.shape[2], columns * grid.shape[3])
    return whole[: whole.shape[0] - gap, : whole.shape[1] - gap]


def _bare(axes: Axes) -> Axes:
    """Without frame and ticks, for a picture that needs no axes."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


# ---------------------------------------------------------------- the data


def draw_samples(images: Any, labels: Any) -> Figure:
    """The first ten images of each digit, a row a digit: uint8 (n, 28, 28) with labels (n,)."""
    from matplotlib.figure import Figure

    images, labels = np.asarray(images), np.asarray(labels)
    tiles = np.full((10, COLUMNS, 28, 28), np.nan)
    for digit in range(10):
        chosen = images[labels == digit][:COLUMNS]
        tiles[digit, : len(chosen)] = chosen
    figure = Figure(figsize=(6, 6.15), layout="constrained")
    axes = _bare(figure.add_subplot())
    axes.imshow(_mosaic(tiles.reshape(-1, 28, 28), COLUMNS), cmap="gray", vmin=0, vmax=255)
    axes.set_yticks([30 * digit + 13.5 for digit in range(10)], [str(digit) for digit in range(10)])
    axes.tick_params(length=0, labelsize=12)
    axes.set_title(f"the first ten of each digit, of {len(labels):,} images")
    return figure


# ---------------------------------------------------------------- the training


def draw_curves(history: History) -> Figure:
    """Loss and share of misread images after every epoch, both on logarithmic axes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    loss, error = figure.subplots(1, 2)
    epochs = np.arange(1, len(history.loss) + 1)
    loss.plot(epochs, history.loss, color=BLUE, marker=".")
    loss.set(title="loss of the training batches", ylabel="loss")
    curves = {"training batches, as distorted": (history.accuracy, BLUE, ".")}
    if history.validation_accuracy:
        curves["validation images"] = (history.validation_accuracy, VERMILION, "s")
    for name, (accuracy, colour, marker) in curves.items():
        misread = 100 * (1 - np.asarray(accuracy))
        label = f"{name}: {misread[-1]:.2f}% at the end" if len(misread) else name
        error.plot(epochs, misread, color=colour, marker=marker, markersize=5, label=label)
    error.set(title="misread images", ylabel="misread, %")
    error.legend(framealpha=1, edgecolor="none")  # opaque: no grid line through the words
    for axes in (loss, error):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
        axes.grid(color=GREY, alpha=0.25)
        if any((np.asarray(line.get_ydata()) > 0).any() for line in axes.lines):
            axes.set_yscale("log", nonpositive="mask")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
    return figure


# ---------------------------------------------------------------- right and wrong


def draw_confusion(labels: Any, predictions: Any) -> Figure:
    """How often each digit is read as each: counts in 10 × 10 cells, and the shares read right.

    Only the errors are coloured: the counts on the diagonal are a thousand times theirs.
    """
    from matplotlib.figure import Figure

    labels, predictions = np.asarray(labels), np.asarray(predictions)
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (labels, predictions), 1)
    right = np.diag(counts)
    wrong = counts - np.diag(right)
    figure = Figure(figsize=(7.6, 7), layout="constrained")
    axes = figure.add_subplot()
    top = max(wrong.max(), 1)
    axes.imshow(np.where(np.eye(10) == 1, np.nan, wrong), cmap="Oranges", vmin=0, vmax=1.6 * top)
    for (digit, read), count in np.ndenumerate(counts):
        colour = BLUE if digit == read else BLACK if count else LIGHT
        axes.text(read, digit, f"{count:,}", ha="center", va="center", color=colour)
    for digit in range(10):
        for total, place in ((counts[digit].sum(), (10, digit)), (counts[:, digit].sum(), (digit, 10))):
            share = f"{right[digit] / total:.1%}" if total else "–"
            axes.text(*place, share, ha="center", va="center", color=BLUE, fontsize=9)
    ticks = [*range(10), 10]
    axes.set_xticks(ticks, [*map(str, range(10)), "right, of\nthis digit"])
    axes.set_yticks(ticks, [*map(str, range(10)), "right, of what\nis read so"])
    axes.set(xlim=(-0.5, 10.5), ylim=(10.5, -0.5), xlabel="digit read", ylabel="digit shown")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.hlines(np.arange(11) - 0.5, -0.5, 9.5, color=GREY, linewidth=0.4)
    axes.vlines(np.arange(11) - 0.5, -0.5, 9.5, color=GREY, linewidth=0.4)
    axes.set_title(_score(len(labels), int(wrong.sum())))
    return figure


def draw_errors(images: Any, labels: Any, probabilities: Any, most: int = 60) -> Figure:
    """The misread images, the surest mistakes first: each digit, what it is read as, and how surely.

    ``probabilities`` (n, 10) are those of the digits, of which the greatest is what is read; no more
    than ``most`` images are drawn.
    """
    from matplotlib.figure import Figure

    images, labels, probabilities = map(np.asarray, (images, labels, probabilities))
    read, sureness = probabilities.argmax(axis=1), probabilities.max(axis=1)
    misread = np.flatnonzero(read != labels)
    shown = misread[np.argsort(-sureness[misread], kind="stable")][:most]
    rows = math.ceil(len(shown) / COLUMNS)
    figure = Figure(figsize=(11, 0.6 + 1.38 * rows), layout="constrained")
    title = _score(len(labels), len(misread))
    if len(shown) < len(misread):
        title += f"; the {len(shown):,} surest mistakes"
    figure.suptitle(title + ("\ndigit → what it is read as, how surely" if rows else ""))
    if rows:
        axes = _bare(figure.add_subplot())
        axes.imshow(_mosaic(images[shown], COLUMNS, 4, below=8), cmap="gray", vmin=0, vmax=255)
        for k, index in enumerate(shown):
            words = f"{labels[index]} → {read[index]}, {sureness[index]:.0%}"
            place = 32 * (k % COLUMNS) + 13.5, 40 * (k // COLUMNS) + 32.5
            axes.text(*place, words, ha="center", va="center", fontsize=10)
    return figure


def _score(count: int, misread: int) -> str:
    share = f" ({misread / count:.2%})" if count else ""
    return f"{misread:,} of {count:,} images misread{share}"


# ---------------------------------------------------------------- inside the network


def draw_feature_maps(model: Net, image: Any) -> Figure:
    """What the network makes of a uint8 image (28, 28): feature maps after its blocks, probabilities."""
    import torch
    from matplotlib.figure import Figure

    from gradsheet.mnist.model import predict_probabilities

    pixels, blocks = np.asarray(image), list[Array]()
    hooks = [
        layer.register_forward_hook(lambda _, __, output: blocks.append(output[0].cpu().numpy()))
        for layer in model.modules()
        if isinstance(layer, torch.nn.BatchNorm2d)
    ]
    try:
        probabilities = predict_probabilities(model, torch.as_tensor(pixels)[None])[0].tolist()
    finally:
        for hook in hooks:
            hook.remove()

    rows = [len(maps) // MAP_COLUMNS for maps in blocks]
    heights = 2.4, 0.56 * sum(rows) + 0.28 * len(rows) + 0.25
    figure = Figure(figsize=(9, sum(heights)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    head, body = parts
    seen, chart = head.subplots(1, 2, width_ratios=(1, 2.6))
    _bare(seen).imshow(pixels, cmap="gray", vmin=0, vmax=255)
    seen.set_title("what the network sees", fontsize=10)
    digit = int(np.argmax(probabilities))
    bars = chart.bar(range(10), probabilities, color=[BLUE if k == digit else GREY for k in range(10)])
    chart.bar_label(bars, [f"{p:.1%}" for p in probabilities], fontsize=8)
    chart.set_xticks(range(10))
    chart.set(xlim=(-0.6, 9.6), ylim=(0, 1.12), yticks=(0, 0.5, 1), ylabel="probability")
    chart.spines[["top", "right"]].set_visible(False)
    chart.set_title(f"read as {digit}", fontsize=10)
    body.suptitle("feature maps, each block on its own scale; dark: small, yellow: large", fontsize=10)
    strips = body.subplots(len(rows), 1, height_ratios=rows)
    for k, (axes, maps) in enumerate(zip(strips, blocks, strict=True)):
        count, height, width = maps.shape
        enlarged = np.kron(maps, np.ones((1, round(30 / height), round(30 / width))))
        limits = np.quantile(maps, [0, 0.998])  # without a few very bright points the rest shows more
        mosaic = _mosaic(enlarged, MAP_COLUMNS)
        _bare(axes).imshow(mosaic, cmap="viridis", vmin=limits[0], vmax=limits[1])
        axes.set_title(f"block {k + 1}: {count} maps of {height} × {width}", fontsize=10, loc="left")
    return figure
