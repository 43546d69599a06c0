"""Learning-rate sweeps and their plots, against PyTorch, plain Python loops and published numbers."""

from __future__ import annotations

import csv
import io
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from gradsheet import plots
from gradsheet import sweep as sweeps
from gradsheet.backends import arrays
from gradsheet.compiler import compile_network
from gradsheet.errors import InputError, NetworkError
from gradsheet.examples import EXAMPLES
from gradsheet.expression import DIVERGENCE_LIMIT
from gradsheet.network import Layer, Network
from gradsheet.sweep import parse_learning_rates, sweep, write_csv

LINE = Network(
    name="line",
    layers=(Layer("identity", [[0.5]], [0.0]),),
    loss="mean_squared_error",
    inputs=[[1.0], [2.0], [-1.5]],
    targets=[[1.0], [0.5], [2.0]],
)
"""A straight line through three points: its loss is a parabola, so it can diverge."""

STEEP = (Layer("identity", [[1e6]]),) * 30
HALVES = (Layer("identity", [[1.0], [-1.0]]), Layer("identity", [[1.0, 1.0]]))
PERFECT = Network("perfect", (Layer("identity", [[1.0]]),), "mean_squared_error", [[1.0]], [[1.0]])
INFINITE = Network("infinite", STEEP, "mean_squared_error", [[1.0]], [[0.0]])
UNDEFINED = Network("undefined", (*STEEP, *STEEP, *HALVES), "mean_squared_error", [[1.0]], [[0.0]])
HUGE = Network("huge", (PERFECT.layers[0], *STEEP[:25]), "mean_squared_error", [[1e3]], [[0.0]])
"""Odd networks: a first loss of 0, ∞, NaN (∞ − ∞), and 1e306, where the update overflows."""


def module_of(network: Network) -> torch.nn.Sequential:
    activations = {
        "sigmoid": torch.nn.Sigmoid(),
        "tanh": torch.nn.Tanh(),
        "identity": torch.nn.Identity(),
    }
    parts: list[torch.nn.Module] = []
    for layer in network.layers:
        linear = torch.nn.Linear(layer.fan_in, layer.neurons, bias=bool(layer.biases)).double()
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(layer.weights, dtype=torch.float64))
            if layer.biases:
                linear.bias.copy_(torch.tensor(layer.biases, dtype=torch.float64))
        parts += [linear, activations[layer.activation]]
    return torch.nn.Sequential(*parts)


def loss_of(network: Network, outputs: torch.Tensor) -> torch.Tensor:
    targets = torch.tensor(network.targets, dtype=torch.float64)
    match network.loss:
        case "half_squared_error":
            return 0.5 * ((targets - outputs) ** 2).sum()
        case "mean_squared_error":
            return torch.nn.functional.mse_loss(outputs, targets)
        case "binary_cross_entropy":
            return torch.nn.functional.binary_cross_entropy(outputs, targets)
        case _:
            return torch.nn.functional.cross_entropy(outputs, targets)


def pytorch_losses(network: Network, rate: float, steps: int) -> list[float]:
    model = module_of(network)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(network, model(torch.tensor(network.inputs, dtype=torch.float64)))
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    return losses


def line_losses(rate: float, steps: int) -> list[float]:
    """LINE trained with plain Python numbers, until its loss reaches the limit."""
    points = [(x, t) for (x,), (t,) in zip(LINE.inputs, LINE.targets, strict=True)]
    w, b = 0.5, 0.0
    losses: list[float] = []
    while len(losses) < steps and not (losses and losses[-1] >= 1e15):
        errors = [w * x + b - t for x, t in points]
        losses.append(sum(e * e for e in errors) / 3)
        w -= rate * sum(2 * e * x for e, (x, _) in zip(errors, points, strict=True)) / 3
        b -= rate * sum(2 * e for e in errors) / 3
    return losses


# ---------------------------------------------------------------- learning rates


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("0.1, 0.2,0.5", (0.1, 0.2, 0.5)),
        ("2,0.5,2, 0.50", (2.0, 0.5)),
        ("0.5:2:4", (0.5, 1.0, 1.5, 2.0)),
        ("0.5:2:4lin", (0.5, 1.0, 1.5, 2.0)),
        (" 1 : 4 : 3 log , 1e6", (1.0, 2.0, 4.0, 1e6)),
        ("3, 1:3:3, 0.1", (3.0, 1.0, 2.0, 0.1)),
    ],
)
def test_learning_rates_are_read_in_order_without_repeats(text: str, rates: tuple[float, ...]) -> None:
    # geomspace goes through logarithms: inner points carry a rounding or two
    assert parse_learning_rates(text) == pytest.approx(rates, rel=1e-15)


def test_a_log_range_has_equal_factors_and_both_exact_ends() -> None:
    rates = parse_learning_rates("1e-3:1e2:2000log")
    assert len(rates) == 2000
    assert (rates[0], rates[-1]) == (1e-3, 1e2)
    factors = np.array(rates[1:]) / np.array(rates[:-1])
    np.testing.assert_allclose(factors, 1e5 ** (1 / 1999), rtol=1e-13)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a number; separate numbers"),
        ("0.1,,0.2", "'' is not a number"),
        ("0.1, fast", "'fast' is not a number"),
        ("0.1 0.2", "'0.1 0.2' is not a number"),
        ("0", "0.0 must be greater than 0"),
        ("-0.5", "-0.5 must be greater than 0"),
        ("nan", "nan is not finite"),
        ("inf", "inf is not finite"),
        ("1000001", "1000001.0 is beyond 1e\\+06.*give a smaller one"),
        ("1:2", "'1:2' is not a range; write start:stop:count"),
        ("1:2:3:4", "'1:2:3:4' is not a range"),
        ("1:2:3cubic", "'1:2:3cubic' is not a range"),
        ("1:2:2.5", "'1:2:2.5' is not a range"),
        ("1:2:" + "9" * 5000, "is not a range"),
        ("1:x:3", "'x' is not a number"),
        ("0:2:3", "0.0 must be greater than 0"),
        ("1:inf:3log", "inf is not finite"),
        ("1:2e6:3", "2000000.0 is beyond 1e\\+06"),
        ("1:2:1", "counts 1 rates; give a count from 2 to 1,000,000"),
        ("1:2:1000001", "counts 1,000,001 rates"),
        ("2:1:5", "'2:1:5' does not rise; put the smaller end first"),
        ("1:1:5log", "'1:1:5log' does not rise"),
        ("1:2:600000,3:4:600000", "more than 1,000,000 are given"),
    ],
)
def test_a_wrong_learning_rate_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_learning_rates(text)


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("name", ["seed", "xor", "iris"])
def test_losses_equal_a_pytorch_loop(name: str) -> None:
    network, rates, steps = EXAMPLES[name], (0.1, 0.02, 0.05), 30
    expected = np.array([pytorch_losses(network, rate, steps) for rate in rates])
    result = sweep(network, rates, steps)
    assert result.losses is not None
    # float64, but sums in another order: 30 steps at rates that converge keep well within 1e-12
    np.testing.assert_allclose(result.losses[:, :, 0].T, expected, rtol=1e-12, atol=0)
    np.testing.assert_allclose(result.final_losses[:, 0], expected[:, -1], rtol=1e-12, atol=0)
    np.testing.assert_allclose(result.lowest_losses[:, 0], expected.min(axis=1), rtol=1e-12, atol=0)
    np.testing.assert_allclose(result.first_losses, expected[0, 0], rtol=1e-12, atol=0)
    assert not result.diverged.any()


def test_mazurs_losses_stand_one_iteration_after_each_update() -> None:
    result = sweep(EXAMPLES["mazur"], [0.5], 101)
    assert result.losses is not None
    losses = result.losses[:, 0, 0]
    # as many digits as the reference numbers have
    assert losses[0] == pytest.approx(0.298371108760003, abs=1e-15)
    assert losses[1] == pytest.approx(0.291027773693599, abs=1e-15)
    assert losses[2] == pytest.approx(0.283547133122, abs=1e-12)
    assert losses[100] == result.final_losses[0, 0] == pytest.approx(0.0200468282, abs=1e-10)


def test_divergence_is_flagged_in_the_iteration_of_a_plain_loop() -> None:
    rates, steps = (0.1, 0.6, 1.0, 30.0), 80
    result = sweep(LINE, rates, steps)
    assert result.losses is not None
    for r, rate in enumerate(rates):
        expected = line_losses(rate, steps)
        reached = expected[-1] >= DIVERGENCE_LIMIT
        assert result.diverged_at[r, 0] == (len(expected) if reached else 0)
        # 80 steps that grow or shrink roundings alike: relative to the loss they stay small
        np.testing.assert_allclose(result.losses[: len(expected), r, 0], expected, rtol=1e-11)
    assert result.diverged[:, 0].tolist() == [False, True, True, True]
    assert result.best_rate == 0.1


def test_a_loss_that_is_not_finite_counts_as_diverged_at_once() -> None:
    for network in (INFINITE, UNDEFINED):
        result = sweep(network, [0.1, 1.0], 3)
        assert not np.isfinite(result.first_losses).any()
        assert (result.diverged_at == 1).all()
        assert math.isnan(result.critical_rate)
        assert result.best_rate is None


def test_seeds_are_the_redrawn_networks_and_reproducible() -> None:
    network, rates, steps = EXAMPLES["xor"], (0.1, 1.0, 3.0), 20
    result = sweep(network, rates, steps, seeds=4)
    assert result.seeds == (1, 2, 3, 4)
    assert result.losses is not None
    assert result.losses.shape == (20, 3, 4)
    for s, seed in enumerate(result.seeds):
        alone = sweep(network.redrawn(seed), rates, steps)
        assert alone.losses is not None
        # NumPy may take a scalar or a vector instruction for the same exp: the last digit can differ
        np.testing.assert_allclose(result.losses[:, :, s], alone.losses[:, :, 0], rtol=1e-13)
        assert result.critical_rates[s] == pytest.approx(alone.critical_rate, rel=1e-12)
    assert len(np.unique(result.first_losses)) == 4
    assert result.critical_rate == np.median(result.critical_rates)
    again = sweep(network, rates, steps, seeds=4)
    np.testing.assert_array_equal(again.losses, result.losses)


def test_frozen_shared_biases_stay_in_every_seed() -> None:
    result = sweep(EXAMPLES["mazur"], [0.5], 5, seeds=2)
    for s, seed in enumerate(result.seeds):
        network = EXAMPLES["mazur"].redrawn(seed)
        assert [layer.biases for layer in network.layers] == [(0.35,), (0.60,)]
        assert result.final_losses[0, s] == pytest.approx(
            sweep(network, [0.5], 5).final_losses[0, 0], rel=1e-13
        )


def test_chunks_do_not_change_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = np.geomspace(0.05, 5, 25)
    whole = sweep(LINE, rates, 60, seeds=3)
    monkeypatch.setattr(sweeps, "CHUNK", 7)  # borders fall between the seeds of one rate
    parts = sweep(LINE, rates, 60, seeds=3)
    assert whole.diverged.any()
    assert not whole.diverged.all()
    np.testing.assert_array_equal(parts.diverged_at, whole.diverged_at)
    np.testing.assert_allclose(parts.final_losses, whole.final_losses, rtol=1e-12)
    np.testing.assert_allclose(parts.lowest_losses, whole.lowest_losses, rtol=1e-12)


def test_many_rates_keep_a_summary_of_the_same_training() -> None:
    program = compile_network(LINE)
    rates = np.geomspace(0.05, 2, 13)
    result = sweep(program, rates, 40)
    losses = arrays.train(program, 40, rates, record=["E_total"])["E_total"]
    assert result.losses is None
    np.testing.assert_array_equal(result.final_losses[:, 0], losses[-1])
    np.testing.assert_array_equal(result.lowest_losses[:, 0], losses.min(axis=0))
    assert result.first_losses == losses[0, 0]
    assert sweep(program, rates[:12], 40).losses is not None


def test_curves_too_long_for_a_spreadsheet_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "ROWS_LIMIT", 24)
    assert sweep(LINE, [0.1, 0.2], 6, seeds=2).losses is not None
    assert sweep(LINE, [0.1, 0.2], 7, seeds=2).losses is None


@pytest.mark.parametrize(
    ("rates", "steps", "seeds", "message"),
    [
        ([], 5, 0, "0 are given; give from 1 to 1,000,000"),
        ([0.1, math.nan], 5, 0, "nan is not finite"),
        ([0.1], 0, 0, "steps: 0 is not a whole number from 1 to 1,000,000"),
        ([0.1], 1.5, 0, "steps: 1.5 is not a whole number"),
        ([0.1], True, 0, "steps: True is not a whole number"),
        ([0.1], 5, -1, "seeds: -1 is not a whole number from 0 to 1,000"),
        ([0.1], 5, 1001, "seeds: 1001 is not"),
    ],
)
def test_a_sweep_out_of_range_is_refused(
    rates: list[float], steps: int, seeds: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sweep(LINE, rates, steps, seeds)


def test_a_short_sweep_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    sweep(LINE, [0.1], 5)
    assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------- critical rate


@pytest.mark.parametrize("name", ["seed", "xor", "iris"])
def test_the_critical_rate_is_two_over_the_largest_eigenvalue_of_pytorchs_hessian(name: str) -> None:
    network = EXAMPLES[name]
    model = module_of(network)
    inputs = torch.tensor(network.inputs, dtype=torch.float64)
    shapes = {key: value.shape for key, value in model.named_parameters()}

    def loss(flat: torch.Tensor) -> torch.Tensor:
        pieces = flat.split([shape.numel() for shape in shapes.values()])
        parameters = {k: p.view(shapes[k]) for k, p in zip(shapes, pieces, strict=True)}
        return loss_of(network, torch.func.functional_call(model, parameters, (inputs,)))

    point = torch.cat([value.detach().flatten() for value in model.parameters()])
    hessian = torch.autograd.functional.hessian(loss, point)
    expected = 2 / torch.linalg.eigvalsh(hessian)[-1].item()
    # ours are central differences of the gradient: about nine digits
    assert sweep(network, [0.1], 1).critical_rate == pytest.approx(expected, rel=1e-7)


def test_a_parabola_is_left_beyond_its_critical_rate_and_not_before() -> None:
    critical = sweep(LINE, [0.1], 1).critical_rate
    result = sweep(LINE, [0.99 * critical, 1.01 * critical], 2000)
    assert result.diverged[:, 0].tolist() == [False, True]
    assert result.final_losses[0, 0] < result.first_losses[0]


# ---------------------------------------------------------------- summary and CSV


def test_the_summary_names_best_and_critical_rate_and_counts_what_diverged() -> None:
    result = sweep(LINE, [4.0, 0.1, 1.0], 60)
    assert sweeps.summary(result).splitlines() == [
        f"best learning rate: 0.1, with a final loss of {line_losses(0.1, 60)[-1]:.6g} at iteration 60",
        f"critical learning rate: {result.critical_rate:.6g} (2/λmax at the initial weights)",
        "diverged: 2 of 3 runs, the smallest learning rate among them is 1",
    ]
    seeds = sweeps.summary(sweep(LINE, [0.1, 0.2], 60, seeds=3))
    assert "with a median final loss of" in seeds
    assert seeds.endswith("diverged: 0 of 6 runs")
    lost = sweeps.summary(sweep(INFINITE, [0.1], 5))
    assert "best learning rate: none, because all diverged" in lost
    assert "critical learning rate: none" in lost


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_of_few_rates_holds_every_iteration_exactly(tmp_path: Path) -> None:
    result = sweep(LINE, [0.1, 30.0], 12)
    assert result.losses is not None
    write_csv(result, tmp_path / "sweep.csv")
    text = (tmp_path / "sweep.csv").read_text(encoding="utf-8")
    assert text.startswith("learning_rate,seed,iteration,loss,diverged\n0.1,,1,")
    rows = read(tmp_path / "sweep.csv")
    assert [(float(row["learning_rate"]), int(row["iteration"])) for row in rows] == [
        (rate, iteration) for rate in (0.1, 30.0) for iteration in range(1, 13)
    ]
    assert [float(row["loss"]) for row in rows] == result.losses[:, :, 0].T.flatten().tolist()
    fell = len(line_losses(30.0, 12))
    assert 1 < fell < 12
    assert [row["diverged"] for row in rows] == ["false"] * (12 + fell - 1) + ["true"] * (13 - fell)


def test_csv_of_seeds_names_the_seed(tmp_path: Path) -> None:
    result = sweep(LINE, [0.1, 0.2], 3, seeds=2)
    assert result.losses is not None
    write_csv(result, tmp_path / "sweep.csv")
    rows = read(tmp_path / "sweep.csv")
    assert [row["seed"] for row in rows] == ["1"] * 3 + ["2"] * 3 + ["1"] * 3 + ["2"] * 3
    assert float(rows[-1]["loss"]) == result.losses[2, 1, 1]


def test_csv_of_many_rates_holds_a_row_per_run(tmp_path: Path) -> None:
    rates = np.geomspace(0.1, 30, 20)
    result = sweep(LINE, rates, 30, seeds=2)
    write_csv(result, tmp_path / "sweep.csv")
    rows = read(tmp_path / "sweep.csv")
    assert list(rows[0]) == [
        "learning_rate",
        "seed",
        "first_loss",
        "lowest_loss",
        "final_loss",
        "diverged_at",
    ]
    assert [float(row["learning_rate"]) for row in rows] == np.repeat(rates, 2).tolist()
    assert [int(row["seed"]) for row in rows] == [1, 2] * 20
    assert [float(row["first_loss"]) for row in rows] == result.first_losses.tolist() * 20
    assert [float(row["lowest_loss"]) for row in rows] == result.lowest_losses.flatten().tolist()
    assert [float(row["final_loss"]) for row in rows] == result.final_losses.flatten().tolist()
    assert [int(row["diverged_at"] or 0) for row in rows] == result.diverged_at.flatten().tolist()
    assert {row["diverged_at"] == "" for row in rows} == {True, False}


def test_a_csv_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> object:
        yield (0.1, "", 1, 0.5, "false")
        raise OSError("the disk is full")

    (tmp_path / "sweep.csv").write_text("old", encoding="utf-8")
    monkeypatch.setattr(sweeps, "_iteration_rows", failing)
    with pytest.raises(OSError, match="the disk is full"):
        write_csv(sweep(LINE, [0.1], 5), tmp_path / "sweep.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.csv"]
    assert (tmp_path / "sweep.csv").read_text(encoding="utf-8") == "old"


# ---------------------------------------------------------------- plots


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_plots_are_written_in_the_format_of_their_name(tmp_path: Path) -> None:
    result = sweep(LINE, [0.1, 1.0], 30)
    plots.plot_loss_curves(result, tmp_path / "curves.png")
    plots.plot_loss_curves(result, tmp_path / "curves.SVG")
    plots.plot_final_losses(result, tmp_path / "final.pdf")
    beginnings = {"curves.png": b"\x89PNG\r\n\x1a\n", "curves.SVG": b"<?xml", "final.pdf": b"%PDF-"}
    assert {path.name for path in tmp_path.iterdir()} == set(beginnings)
    for name, beginning in beginnings.items():
        assert (tmp_path / name).read_bytes().startswith(beginning)


@pytest.mark.parametrize(("name", "said"), [("sweep.jpg", "'jpg'"), ("sweep", "'no ending'")])
def test_a_plot_of_another_format_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: {said} is not a format.*end the name with .png"):
        plots.plot_sweep(sweep(LINE, [0.1], 3), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_few_rates_are_drawn_as_curves_and_many_as_final_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(plots, "plot_loss_curves", lambda *_: drawn.append("curves"))
    monkeypatch.setattr(plots, "plot_final_losses", lambda *_: drawn.append("final"))
    for count in (12, 13):
        plots.plot_sweep(sweep(LINE, np.geomspace(0.1, 1, count), 3), tmp_path / "sweep.png")
    assert drawn == ["curves", "final"]


def test_curves_show_the_losses_with_labels_on_both_axes() -> None:
    result = sweep(EXAMPLES["seed"], [0.1, 2.0, 0.5], 100)
    assert result.losses is not None
    figure = plots.draw_loss_curves(result)
    assert figure.get_suptitle() == "seed (2-2-2), half squared error"
    assert legend_of(figure) == ["0.1", "2", "0.5"]
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log"]
    for axes in figure.axes:
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("iteration", "loss")
        curves = [line.get_ydata() for line in axes.lines]
        np.testing.assert_array_equal(curves, result.losses[:, :, 0].T)
    shades = [sum(line.get_color()[:3]) for line in figure.axes[0].lines]
    assert shades[0] < shades[2] < shades[1]  # lighter as the rates rise


def test_rates_that_differ_late_are_told_apart() -> None:
    close = sweep(LINE, [0.12345678, 0.12345699, 0.5], 3)
    assert legend_of(plots.draw_loss_curves(close)) == ["0.1234568", "0.123457", "0.5"]


def test_a_diverged_curve_ends_in_a_cross_and_does_not_ruin_the_linear_axis() -> None:
    result = sweep(LINE, [0.1, 1.0], 60)
    fell = len(line_losses(1.0, 60))
    figure = plots.draw_loss_curves(result)
    assert legend_of(figure) == ["0.1", f"1: diverged at iteration {fell}"]
    for axes in figure.axes:
        kept, cut, cross = axes.lines
        assert np.isfinite(kept.get_ydata()).all()
        assert np.isfinite(cut.get_ydata()).tolist() == [True] * fell + [False] * (60 - fell)
        assert cross.get_marker() == "x"
        assert cross.get_xdata().tolist() == [fell]
        assert cross.get_ydata().tolist() == [1]  # of the height of the axes
    assert figure.axes[0].get_ylim() == pytest.approx((0, 2 * result.first_losses[0]))


def test_seeds_are_drawn_as_median_and_range() -> None:
    result = sweep(EXAMPLES["xor"], [0.5, 2.0], 50, seeds=5)
    assert result.losses is not None
    figure = plots.draw_loss_curves(result)
    assert figure.legends[0].get_title().get_text().endswith("median and range of 5 seeds")
    for axes in figure.axes:
        for r, (line, band) in enumerate(zip(axes.lines, axes.collections, strict=True)):
            np.testing.assert_array_equal(line.get_ydata(), np.median(result.losses[:, r], axis=1))
            heights = band.get_paths()[0].vertices[:, 1]
            assert heights.min() == result.losses[:, r].min()
            assert heights.max() == result.losses[:, r].max()


def test_seeds_that_diverged_are_counted() -> None:
    result = sweep(LINE, [0.1, 1.0], 60, seeds=3)
    first = result.diverged_at[1].min()
    assert legend_of(plots.draw_loss_curves(result)) == [
        "0.1",
        f"1: 3 of 3 diverged, first at iteration {first}",
    ]
    labels = legend_of(plots.draw_final_losses(result))
    assert "median of 3 seeds" in labels
    assert "diverged, height: share of the seeds" in labels
    assert "median of 1 seed" in legend_of(plots.draw_final_losses(sweep(LINE, [0.1], 3, seeds=1)))


def test_a_sweep_without_curves_says_so() -> None:
    with pytest.raises(InputError, match="13 learning rates over 3 steps keeps no curves"):
        plots.draw_loss_curves(sweep(LINE, np.geomspace(0.1, 1, 13), 3))


def test_final_losses_are_drawn_with_the_critical_and_the_best_rate() -> None:
    rates = np.geomspace(1e-2, 10, 50)[::-1]  # drawn in rising order all the same
    result = sweep(LINE, rates, 100)
    figure = plots.draw_final_losses(result)
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate η", "loss at iteration 100")
    curve, before, star, critical = axes.lines
    np.testing.assert_array_equal(curve.get_xdata(), rates[::-1])
    expected = np.where(result.diverged, np.nan, result.final_losses)[::-1, 0]
    np.testing.assert_array_equal(curve.get_ydata(), expected)
    assert before.get_ydata() == [result.first_losses[0]] * 2
    assert star.get_xdata() == [rates[np.argmin(result.final_losses)]]
    assert critical.get_xdata() == [result.critical_rate] * 2
    assert f"critical rate 2/λmax: {result.critical_rate:.4g}" in legend_of(figure)
    assert "diverged" in legend_of(figure)


def test_just_the_diverged_rates_are_shaded() -> None:
    rates = [0.1, 0.2, 1.0, 2.0, 4.0]
    result = sweep(LINE, rates, 60, seeds=2)
    (axes,) = plots.draw_final_losses(result).axes
    (shade,) = axes.patches
    values, edges, _ = shade.get_data()
    assert values.tolist() == result.diverged.mean(axis=1).tolist() == [0, 0, 1, 1, 1]
    assert ((edges[:-1] < rates) & (rates < edges[1:])).all()
    assert edges[2] == pytest.approx(math.sqrt(0.2 * 1.0))  # half-way on a logarithmic axis


def test_a_critical_rate_that_is_infinite_or_off_the_axis_is_not_drawn_in() -> None:
    dead = Network(
        "dead", (Layer("relu", [[-1.0]]),), "half_squared_error", inputs=[[1.0]], targets=[[1.0]]
    )
    result = sweep(dead, [0.1, 1.0], 5)
    assert result.critical_rate == math.inf
    assert not any("critical" in label for label in legend_of(plots.draw_final_losses(result)))
    figure = plots.draw_final_losses(sweep(EXAMPLES["seed"], [0.1, 1.0], 5))
    assert "critical rate 2/λmax: 74.76 (outside)" in legend_of(figure)
    assert figure.axes[0].get_xlim()[1] < 74


def test_a_loss_of_zero_is_drawn_at_the_lower_edge_of_the_logarithmic_axis() -> None:
    exact = Network("exact", (Layer("identity", [[0.5]]),), "half_squared_error", [[1.0]], [[1.0]])
    result = sweep(exact, [0.1, 1.0], 5)  # a rate of 1 lands in the minimum with the first step
    assert result.final_losses[1, 0] == 0.0
    (axes,) = plots.draw_final_losses(result).axes
    assert axes.lines[0].get_ydata()[1] == axes.get_ylim()[0] > 0


@pytest.mark.parametrize("seeds", [0, 4])
@pytest.mark.parametrize("network", [LINE, PERFECT, INFINITE, UNDEFINED, HUGE], ids=lambda n: n.name)
def test_any_sweep_can_be_drawn(network: Network, seeds: int) -> None:
    # warnings are errors here: no empty logarithmic axis, no infinite limits, no collapsed layout
    for rates, steps in (([0.1], 1), ([1e6, 0.1, 0.6], 30)):
        result = sweep(network, rates, steps, seeds)
        for draw in (plots.draw_loss_curves, plots.draw_final_losses):
            draw(result).savefig(io.BytesIO(), dpi=20)


def test_a_name_is_plain_text_whatever_it_holds(tmp_path: Path) -> None:
    name = "$\\frac{$ _a_ = 🧠 " + 90 * "x"  # broken mathematics, and a letter the font lacks
    result = sweep(replace(LINE, name=name), [0.1], 3)
    assert plots.draw_final_losses(result).get_suptitle() == name[:39] + "… (1-1), mean squared error"
    plots.plot_sweep(result, tmp_path / "sweep.png")


def test_a_plot_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Figure, path: Path, **_: object) -> None:
        path.write_bytes(b"half of a picture")
        raise OSError("the disk is full")

    monkeypatch.setattr(Figure, "savefig", failing)
    with pytest.raises(OSError, match="the disk is full"):
        plots.plot_sweep(sweep(LINE, [0.1], 3), tmp_path / "sweep.png")
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_is_imported_for_drawing_only_and_pyplot_never(tmp_path: Path) -> None:
    code = f"""
import sys
from gradsheet import examples, plots, sweep
result = sweep.sweep(examples.EXAMPLES["seed"], [0.5], 3)
assert "matplotlib" not in sys.modules
plots.plot_sweep(result, {str(tmp_path / "sweep.png")!r})
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- several optimizers


def test_a_comparison_is_a_sweep_per_optimizer(tmp_path):
    rates = (0.01, 0.1, 1.0)
    found = sweeps.compare(EXAMPLES["xor"], ("sgd", "adam", "sgd"), rates, 20)
    assert list(found) == ["sgd", "adam"]
    for name, one in found.items():
        alone = sweep(EXAMPLES["xor"].learning(name), rates, 20)
        np.testing.assert_array_equal(one.losses, alone.losses)
    sweeps.write_comparison_csv(found, tmp_path / "c.csv")
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))
    assert [row["optimizer"] for row in rows] == ["sgd"] * 60 + ["adam"] * 60
    assert float(rows[-1]["loss"]) == found["adam"].losses[-1, 2, 0]
    first, second = sweeps.comparison_summary(found).splitlines()
    assert re.fullmatch(r"sgd   best learning rate \S+, final loss \S+", first)
    assert second.startswith("adam  best learning rate")
    dealt = sweeps.compare(replace(EXAMPLES["xor"], batch_size=2), ("sgd",), rates, 5, seeds=3)
    assert ", median final smoothed loss 0." in sweeps.comparison_summary(dealt)


def test_every_optimizer_of_a_comparison_takes_the_settings_that_it_knows():
    settings = {"momentum": 0.5, "weight_decay": 0.1}
    found = sweeps.compared(LINE, ("sgd", "momentum", "adam"), settings)
    assert [dict(one.hyperparameters) for one in found.values()] == [
        {"weight_decay": 0.1},
        settings,
        {"weight_decay": 0.1},
    ]
    with pytest.raises(NetworkError, match=r"'alpha' is not one of sgd .*; it belongs to rmsprop"):
        sweeps.compared(LINE, ("sgd", "momentum"), {"alpha": 0.9})
    with pytest.raises(NetworkError, match=r"momentum is 1\.5, but must be"):
        sweeps.compared(LINE, ("sgd", "momentum"), {"momentum": 1.5})


def test_a_comparison_is_drawn_with_a_line_and_a_star_for_each():
    found = sweeps.compare(LINE, ("sgd", "momentum"), (0.01, 0.1, 50.0), 100)
    (axes,) = plots.draw_comparison(found).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines if line.get_label()[0] != "_"}
    assert [re.split("[,:]", label)[0] for label in lines] == [
        "sgd",
        "momentum",
        "loss before training",
    ]
    drawn = next(iter(lines.values()))
    assert np.isnan(drawn[-1]), "it diverges there"
    assert drawn[0] == found["sgd"].final_losses[0, 0]


def test_plots_of_mini_batches_say_that_their_losses_are_smoothed():
    dealt = replace(EXAMPLES["xor"], batch_size=2)
    one, many = (sweep(dealt, np.linspace(0.1, 1, count), 5) for count in (2, 20))
    compared = sweeps.compare(dealt, ("sgd",), (0.1, 1.0), 5)
    assert plots.draw_loss_curves(one).axes[0].get_ylabel() == "smoothed loss"
    assert plots.draw_final_losses(many).axes[0].get_ylabel() == "smoothed loss at iteration 5"
    assert plots.draw_comparison(compared).axes[0].get_ylabel() == "smoothed loss at iteration 5"


def test_the_command_line_compares_optimizers(tmp_path):
    from click.testing import CliRunner

    from gradsheet.cli import main

    out, plot = tmp_path / "c.csv", tmp_path / "c.png"
    common = ["sweep", "xor", "--steps", "5", "--out", str(out), "--plot", str(plot)]
    result = CliRunner().invoke(main, [*common, "--optimizers", "sgd, adam"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].startswith("adam  best")
    assert plot.stat().st_size > 1000
    for wrong, message in (
        (["--optimizers", "sgd,lion"], "'lion' is not known"),
        (["--optimizers", "sgd", "--optimizer", "adam"], "leave out one of the two flags"),
    ):
        result = CliRunner().invoke(main, [*common, *wrong])
        assert result.exit_code == 2
        assert message in result.output
