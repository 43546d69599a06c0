"""Draw what a sweep found: its loss curves, or the final loss against the learning rate.

The ``draw`` functions return a matplotlib figure, the ``plot`` functions write it to a file. matplotlib
is imported when something is drawn, without pyplot, so nothing global changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradsheet.errors import InputError
from gradsheet.expression import DIVERGENCE_LIMIT, Array
from gradsheet.files import replacing
from gradsheet.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")

# Okabe and Ito's palette, told apart by colour-blind readers too.
BLACK, GREY, BLUE, VERMILION = "#000000", "#888888", "#0072b2", "#d55e00"
COLOURS = (BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", BLACK)
LEGEND: Any = {"loc": "outside right center", "alignment": "left", "frameon": False}


def picture_format(path: Path) -> str:
    """``png``, ``svg`` or ``pdf``, by the end of the file's name.

    Raises `InputError` for any other.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise InputError(
            f"{path}: {suffix or 'no ending'!r} is not a format that plots are written in; "
            "end the name with .png, .svg or .pdf"
        )
    return suffix


def plot_sweep(sweep: Sweep, path: Path) -> None:
    """Write the loss curves where the sweep kept them (few learning rates), else the final losses."""
    if sweep.losses is None:
        plot_final_losses(sweep, path)
    else:
        plot_loss_curves(sweep, path)


def plot_loss_curves(sweep: Sweep, path: Path) -> None:
    """Write `draw_loss_curves` to a .png, .svg or .pdf file; raises `InputError` if that fails."""
    save(draw_loss_curves(sweep), path)


def plot_final_losses(sweep: Sweep, path: Path) -> None:
    """Write `draw_final_losses` to a .png, .svg or .pdf file; raises `InputError` if that fails."""
    save(draw_final_losses(sweep), path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a .png, .svg or .pdf file; raises `InputError` if that fails."""
    picture = picture_format(path)
    with replacing(path) as temporary, warnings.catch_warnings():
        # A network's name may hold letters the font lacks; they are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(temporary, format=picture, dpi=150)


# ---------------------------------------------------------------- loss curves


def draw_loss_curves(sweep: Sweep) -> Figure:
    """The loss of every iteration, a curve a learning rate, on a linear and on a logarithmic axis.

    With several runs the curve is their median and the band their range. Where a run diverged, its
    curve ends and a × stands at the upper edge.

    Raises `InputError` for a sweep that kept no curves.
    """
    from matplotlib import colormaps
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    if sweep.losses is None:
        raise InputError(
            f"a sweep of {len(sweep.learning_rates):,} learning rates over {sweep.steps:,} steps keeps "
            "no curves; draw its final losses, or give fewer"
        )
    figure, (linear, logarithmic) = _figure(sweep, panels=2)
    losses = np.where(np.isnan(sweep.losses), np.inf, sweep.losses)
    worst = np.max(losses, where=losses < DIVERGENCE_LIMIT, initial=0.0)
    first = float(np.median(sweep.first_losses))
    ceilings = {linear: np.fmin(2 * first, 1.05 * worst), logarithmic: np.fmin(1000 * first, 2 * worst)}

    # From dark to light as the rates rise: tells the order even without colours.
    ranks = np.argsort(np.argsort(sweep.learning_rates)) / max(len(sweep.learning_rates) - 1, 1)
    iterations = np.arange(1, sweep.steps + 1)
    labels = _rate_labels(sweep)
    entries = []
    for r, colour in enumerate(colormaps["viridis"](0.9 * ranks)):
        typical = np.median(losses[:, r], axis=1)
        typical[1:][typical[:-1] >= DIVERGENCE_LIMIT] = np.nan
        ends = sweep.diverged_at[r][sweep.diverged[r]]
        for axes, ceiling in ceilings.items():
            if sweep.seeds:
                # Agg cannot fill far beyond the picture
                low, high = (np.clip(f(losses[:, r], axis=1), 0, 10 * ceiling) for f in (np.min, np.max))
                axes.fill_between(iterations, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(iterations, typical, color=colour, marker=_dot(sweep.steps))
            if len(ends):  # at the upper edge, because the loss itself is far above it
                upper = axes.get_xaxis_transform()
                marks = axes.plot(ends, [1] * len(ends), "x", color=colour, transform=upper)
                marks[0].set_clip_on(False)
        label = labels[r] + _divergence_label(ends, sweep.seeds)
        entries.append(Line2D([], [], color=colour, marker="x" if len(ends) else "", label=label))

    linear.set_ylim(0, ceilings[linear] or 1.0)
    if worst > 0:
        logarithmic.set_yscale("log", nonpositive="mask")
        logarithmic.set_ylim(top=ceilings[logarithmic])
    for axes in ceilings:
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
        axes.set_ylabel(_loss_of(sweep))
    linear.set_title("linear axis")
    logarithmic.set_title("logarithmic axis")
    title = "learning rate η" + (f"\nmedian and range of {_count(sweep)}" if sweep.seeds else "")
    figure.legend(handles=entries, title=title, **LEGEND)
    return figure


def _rate_labels(sweep: Sweep) -> list[str]:
    """The learning rates with 6 digits, or as many as tell them apart."""
    for digits in range(6, 18):
        labels = [f"{rate:.{digits}g}" for rate in sweep.learning_rates]
        if len(set(labels)) == len(labels):
            break
    return labels


def _divergence_label(ends: Array, seeds: tuple[int, ...]) -> str:
    if not len(ends):
        return ""
    if not seeds:
        return f": diverged at iteration {ends[0]}"
    return f": {len(ends)} of {len(seeds)} diverged, first at iteration {ends.min()}"


# ---------------------------------------------------------------- final losses


def draw_final_losses(sweep: Sweep) -> Figure:
    """The final loss against the learning rate, both axes logarithmic.

    With several runs the line is their median and the band their range. Marked are the best learning
    rate, the critical one, and where runs diverged.
    """
    figure, (axes,) = _figure(sweep, panels=1)
    order = np.argsort(sweep.learning_rates)
    rates = sweep.learning_rates[order]
    typical = sweep.typical_losses[order]
    diverged = sweep.diverged[order]
    edges = _edges(rates)

    # A loss of 0, which a logarithmic axis lacks, is drawn at the lower edge.
    shown = typical[(typical > 0) & (typical < np.inf)]
    floor = shown.min() / 2 if len(shown) else 0.0
    if sweep.seeds:
        final = sweep.final_losses[order]
        low = np.min(final, axis=1, where=~diverged, initial=np.inf)
        high = np.max(final, axis=1, where=~diverged, initial=floor)
        band = np.maximum(low, floor), high
        axes.fill_between(rates, *band, where=low <= high, color=BLUE, alpha=0.2, lw=0, label="range")
    axes.plot(
        rates,
        np.where(typical < np.inf, np.maximum(typical, floor), np.nan),
        color=BLUE,
        marker=_dot(len(rates)),
        label=f"median of {_count(sweep)}" if sweep.seeds else "final loss",
    )
    first = float(np.median(sweep.first_losses))
    axes.axhline(first, color=GREY, linestyle=":", label=f"loss before training: {first:.3g}")
    if (best := sweep.best_rate) is not None:
        label = f"best rate: {best:.4g}, loss {typical.min():.3g}"
        star = axes.plot(best, max(typical.min(), floor), "*", color=BLACK, markersize=12, label=label)
        star[0].set_clip_on(False)
    if np.isfinite(critical := sweep.critical_rate):
        outside = "" if edges[0] <= critical <= edges[-1] else " (outside)"
        label = f"critical rate 2/λmax: {critical:.4g}{outside}"
        axes.axvline(critical, color=BLACK, linestyle="--", linewidth=1, label=label)
    if diverged.any():
        axes.stairs(
            diverged.mean(axis=1),
            edges,
            fill=True,
            color=VERMILION,
            alpha=0.25,
            transform=axes.get_xaxis_transform(),
            label="diverged" + (", height: share of the seeds" if sweep.seeds else ""),
        )

    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    if len(shown):
        axes.set_yscale("log")
        axes.set_ylim(floor, 2 * np.fmin(shown.max(), 1000 * first))
    axes.set_xlabel("learning rate η")
    axes.set_ylabel(f"{_loss_of(sweep)} at iteration {sweep.steps:,}")
    figure.legend(**LEGEND)
    return figure


# ---------------------------------------------------------------- optimizers


def draw_comparison(sweeps: Mapping[str, Sweep]) -> Figure:
    """The final loss against the learning rate, a line an optimizer, both axes logarithmic.

    A star marks the best rate of each; a line ends where runs diverge.
    """
    one = next(iter(sweeps.values()))
    figure, (axes,) = _figure(one, panels=1)
    for colour, (name, sweep) in zip(cycle(COLOURS), sweeps.items(), strict=False):
        order = np.argsort(sweep.learning_rates)
        rates, typical = sweep.learning_rates[order], sweep.typical_losses[order]
        shown = np.where((typical > 0) & (typical < np.inf), typical, np.nan)
        best, at = sweep.best_rate, ""
        if best is not None:
            axes.plot(best, np.nanmin(shown), "*", color=colour, markersize=12, clip_on=False)
            at = f", best at {best:.4g}"
        axes.plot(rates, shown, color=colour, marker=_dot(len(rates)), label=name + at)
    first = float(np.median(one.first_losses))
    axes.axhline(first, color=GREY, linestyle=":", label=f"loss before training: {first:.3g}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("learning rate η")
    axes.set_ylabel(f"{_loss_of(one)} at iteration {one.steps:,}")
    figure.legend(**LEGEND)
    return figure


def plot_comparison(sweeps: Mapping[str, Sweep], path: Path) -> None:
    """Write `draw_comparison` to a .png, .svg or .pdf file; raises `InputError` if that fails."""
    save(draw_comparison(sweeps), path)


def _edges(rates: Array) -> Array:
    """The bounds between neighbouring rates, half-way on a logarithmic axis: one more than rates."""
    if len(rates) == 1:
        return np.array([rates[0] / 2, rates[0] * 2])
    logs = np.log(rates)
    middles = (logs[:-1] + logs[1:]) / 2
    outer = 2 * logs[[0, -1]] - middles[[0, -1]]
    return np.asarray(np.exp(np.concatenate([outer[:1], middles, outer[1:]])))


def _dot(points: int) -> str:
    """A dot on every point of a curve, as long as they do not run into one another."""
    return "." if points <= 40 else ""


def _figure(sweep: Sweep, panels: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    network = sweep.network
    name, sizes, loss = (
        _short(network.name),
        _short(network.architecture),
        network.loss.replace("_", " "),
    )
    figure.suptitle(f"{name} ({sizes}), {loss}", parse_math=False)  # a $ in a name is just a $
    return figure, [figure.add_subplot(1, panels, k + 1) for k in range(panels)]


def _loss_of(sweep: Sweep) -> str:
    return "loss" if sweep.network.batch_size is None else "smoothed loss"


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _count(sweep: Sweep) -> str:
    return "1 seed" if len(sweep.seeds) == 1 else f"{len(sweep.seeds)} seeds"
