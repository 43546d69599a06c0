"""Mini-batches: samples dealt in order or shuffled, in the sheet as in an ordinary PyTorch training."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xlsxwriter.utility import xl_cell_to_rowcol

import packages
from gradsheet import generate, verify
from gradsheet.backends import arrays
from gradsheet.backends.latex import derivation
from gradsheet.backends.latex_document import to_html, to_markdown
from gradsheet.backends.workbook_layout import Plan, cell
from gradsheet.check.examine import check
from gradsheet.cli import main
from gradsheet.compiler import compile_network
from gradsheet.engines import CellError, ironcalc, libreoffice
from gradsheet.errors import NetworkError, WorkbookError
from gradsheet.examples import EXAMPLES
from gradsheet.network import Network, batches, load, parse, to_toml
from gradsheet.optimizers import OPTIMIZERS, SCHEDULES
from gradsheet.sweep import sweep
from strategies import networks
from test_workbook import DIVERGING
from training import dealt, trained_by_torch

needs_libreoffice = pytest.mark.skipif(libreoffice.find() is None, reason="LibreOffice is not installed")
XOR = EXAMPLES["xor"]
MODES = {"full": (None, None), "fixed": (3, None), "shuffled": (3, 5)}
"""Batch size and seed; of 4 samples, batches of 3 straddle the epochs."""
COMBINATIONS = list(zip(OPTIMIZERS, cycle(SCHEDULES), cycle(["shuffled", "fixed", "shuffled", "full"])))


def batched(network: Network, size: int | None, seed: int | None = None) -> Network:
    return replace(network, batch_size=size, shuffle_seed=seed)


def written(folder: Path, network: Network, **arguments) -> Path:
    """A workbook of the network with wrong cached values, so that only recalculation can be right."""
    options = {"steps": 6, "learning_rates": (0.1, 1.0), **arguments}
    generate.write_workbook(network, folder / "plain.xlsx", **options)
    return packages.poisoned(folder / "plain.xlsx", folder / "poisoned.xlsx")


def place(network: Network, name: str, step: int, steps: int = 6) -> str:
    """The cell of a quantity in Backprop, as it is called there."""
    table = Plan(compile_network(network), steps, 2).backprop
    return table.address(name, table.first_row + step).replace("$", "")


# ---------------------------------------------------------------- whole trainings


def largest_difference(
    folder: Path, optimizer: str, schedule: str, mode: str, engine: str, steps: int = 50
) -> float:
    """Of all weights, losses and smoothed losses of a recalculated sheet, from what PyTorch trains.

    Relative, but to 1e-3 at least.
    """
    network = batched(XOR.learning(optimizer, schedule), *MODES[mode])
    path = written(folder, network, learning_rate=0.05, steps=steps, learning_rates=(0.01,))
    cells = verify.ENGINES[engine].recalculate(path)["Backprop"]
    plan = Plan(compile_network(network), steps, 1)
    size, seed = MODES[mode]
    expected = trained_by_torch(network, 0.05, dealt(4, size or 4, steps, seed))
    columns = dict(zip(plan.program.trained, expected.weights.T, strict=True))
    columns["E_total"] = expected.losses
    if size is not None:
        smoothed = [expected.losses[0]]
        for loss in expected.losses[1:]:
            smoothed.append(0.9 * smoothed[-1] + 0.1 * loss)
        columns["E_smooth"] = np.array(smoothed)
    differences = []
    for name, column in columns.items():
        for row, wanted in enumerate(column, plan.backprop.first_row):
            found = cells[row, plan.backprop.columns[name]]
            differences.append(abs(found - wanted) / max(abs(wanted), 1e-3))
    return float(max(differences))


@pytest.mark.parametrize(("optimizer", "schedule", "mode"), COMBINATIONS)
def test_fifty_recalculated_steps_are_those_of_torch(tmp_path, optimizer, schedule, mode):
    assert largest_difference(tmp_path, optimizer, schedule, mode, "ironcalc") < 1e-9


@needs_libreoffice
@pytest.mark.libreoffice
def test_fifty_steps_in_libreoffice_are_those_of_torch_and_proved(tmp_path):
    assert largest_difference(tmp_path, "adamw", "cosine", "shuffled", "libreoffice") < 1e-9
    verdict = verify.verify(tmp_path / "poisoned.xlsx", ("libreoffice",))
    assert verdict.proved, verify.to_text(verdict)


# ---------------------------------------------------------------- dealing


@given(
    samples=st.integers(1, 9),
    size=st.integers(1, 9),
    seed=st.none() | st.integers(0, 2**63 - 1),
)
def test_every_epoch_sees_every_sample_once_and_every_batch_is_full(samples, size, seed):
    size = min(size, samples)
    network = batched(
        replace(XOR, inputs=((0.0, 0.0),) * samples, targets=((0.0,),) * samples), size, seed
    )
    found = list(islice(batches(network), 3 * samples))
    assert found == [tuple(n + 1 for n in batch) for batch in dealt(samples, size, 3 * samples, seed)]
    cards = [number for batch in found for number in batch]
    for epoch in range(3 * size):
        assert Counter(cards[epoch * samples : (epoch + 1) * samples]) == Counter(range(1, samples + 1))


def test_a_batch_of_all_samples_trains_like_the_full_batch():
    full, batch = (compile_network(n) for n in (XOR, batched(XOR, 4)))
    one, other = (arrays.train(program, 20, 0.5, record=full.trained) for program in (full, batch))
    for name in full.trained:
        np.testing.assert_array_equal(one[name], other[name])


def test_many_learning_rates_at_once_are_the_runs_one_by_one():
    program = compile_network(batched(XOR.learning("adam"), 3, 7))
    rates = np.array([0.01, 0.1, 0.5])
    together = arrays.train(program, 8, rates)
    for k, rate in enumerate(rates):
        for name, rows in arrays.train(program, 8, float(rate)).items():
            np.testing.assert_allclose(together[name][:, k], rows, rtol=1e-9, err_msg=name)


def test_a_sweep_compares_the_smoothed_losses():
    network = batched(XOR, 3, 7)
    result = sweep(network, [0.1, 0.5], 9)
    for k, rate in enumerate((0.1, 0.5)):
        alone = arrays.train(compile_network(network), 9, rate)["E_smooth"]
        np.testing.assert_allclose(result.losses[:, k, 0], alone, rtol=1e-12)


# ---------------------------------------------------------------- the proof


@st.composite
def batched_networks(draw: st.DrawFn) -> Network:
    """Small networks with any batch size, any order and any way to learn."""
    network = draw(networks(max_layers=2, max_neurons=2, max_samples=4))
    names = draw(st.sampled_from([*OPTIMIZERS])), draw(st.sampled_from([*SCHEDULES]))
    size, seed = draw(st.integers(1, network.samples)), draw(st.none() | st.integers(0, 99))
    smoothing = draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))
    return batched(network, size, seed).learning(*names, {"smoothing": smoothing})


@given(network=batched_networks(), rate=st.sampled_from([0.01, 0.3, 2.0]))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_network_and_its_batches_are_proved(tmp_path, network, rate):
    verdict = verify.verify(written(tmp_path, network, learning_rate=rate))
    assert verdict.proved, verify.to_text(verdict)


@settings(max_examples=30)
@given(batched_networks())
def test_toml_keeps_the_batches(network):
    assert parse(to_toml(network)) == network


@settings(max_examples=10)
@given(batched_networks())
def test_a_batch_can_be_derived_in_writing(network):
    program = compile_network(network)
    values = next(arrays.iterations(program, 1, network.learning_rate))
    page = to_html(derivation(program, {k: float(v) for k, v in values.items()}, network.learning_rate))
    assert "Each update sees a batch of" in page
    assert "smoothed loss" in page


def test_a_diverging_run_is_flagged_and_no_cell_overflows(tmp_path):
    path = written(tmp_path, batched(DIVERGING, 1), learning_rate=1e4, steps=60, learning_rates=(1e5,))
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)
    cells = ironcalc.recalculate(path)
    assert not any(isinstance(value, CellError) for sheet in cells.values() for value in sheet.values())
    assert "diverged: the learning rate is too large; the weights are held" in cells["Backprop"].values()


@pytest.mark.parametrize("name", ["n[2]", "i1[2]", "t1[3]", "E_smooth"])
def test_a_wrong_cell_and_a_pasted_one_are_named(tmp_path, name):
    network = batched(XOR, 3)
    path, where = written(tmp_path, network), place(network, name, 2)
    table = Plan(compile_network(network), 6, 2).backprop
    number = ironcalc.recalculate(path)["Backprop"][table.first_row + 2, table.columns[name]]
    # The number that the order gives depends on no input: pasted, it stays right.
    for changed in (1 + number / 4, *([] if name == "n[2]" else [number])):
        wrong = packages.with_number(path, tmp_path / "wrong.xlsx", where, changed)
        runs = verify.verify(wrong).runs
        named = {(d.cell, d.quantity) for run in runs for d in run.differences}
        assert (where.split("!")[1], name) in named


def test_edited_samples_and_dealt_numbers_are_followed_and_proved(tmp_path):
    network = batched(XOR, 3, 5)
    path = written(tmp_path, network)
    edited = packages.with_number(path, tmp_path / "edited.xlsx", "Samples!B8", 0.25)
    edited = packages.with_number(edited, tmp_path / "again.xlsx", place(network, "n[1]", 0), 1.0)
    cells = ironcalc.recalculate(edited)["Backprop"]
    table = Plan(compile_network(network), 6, 2).backprop
    assert cells[table.first_row, table.columns["i1[1]"]] == 0.25
    verdict = verify.verify(edited)
    assert verdict.proved, verify.to_text(verdict)


@pytest.mark.parametrize("number", [0.0, 5.0, 1.5])
def test_a_number_of_no_sample_is_refused(tmp_path, number):
    network = batched(XOR, 3, 5)
    path = written(tmp_path, network)
    wrong = packages.with_number(path, tmp_path / "wrong.xlsx", place(network, "n[3]", 4), number)
    with pytest.raises(WorkbookError, match="number of a sample, a whole number from 1 to 4; type one"):
        verify.verify(wrong)


# ---------------------------------------------------------------- the sheet


def test_the_order_is_a_formula_and_data_are_looked_up(tmp_path):
    network = batched(XOR, 3)
    formulas = ironcalc.formulas(written(tmp_path, network))["Backprop"]
    table = Plan(compile_network(network), 6, 2).backprop
    row = table.first_row
    assert formulas[row, table.columns["n[1]"]] == "=MOD(($A11-1)*3,4)+1"
    assert formulas[row + 1, table.columns["n[3]"]] == "=MOD(($A12-1)*3+2,4)+1"
    assert formulas[row, table.columns["i2[1]"]].replace("@", "") == "=INDEX(Samples!$C$8:$C$11,B11)"
    assert formulas[row + 1, table.columns["E_smooth"]].startswith("=smoothing*")


def test_shuffled_numbers_are_inputs(tmp_path):
    network = batched(XOR, 3, 5)
    path = written(tmp_path, network)
    table = Plan(compile_network(network), 6, 2).backprop
    formulas, cells = ironcalc.formulas(path)["Backprop"], ironcalc.recalculate(path)["Backprop"]
    for step, batch in enumerate(dealt(4, 3, 6, 5)):
        for slot, number in enumerate(batch, 1):
            where = table.first_row + step, table.columns[f"n[{slot}]"]
            assert where not in formulas
            assert cells[where] == number + 1


# ---------------------------------------------------------------- what is refused, and the command line


@pytest.mark.parametrize(
    ("size", "seed", "message"),
    [
        (0, None, r"batch_size: 0 is not a whole number from 1 to 4, the number of samples; give one"),
        (5, None, r"batch_size: 5 is not a whole number from 1 to 4"),
        (True, None, r"batch_size: True is not a whole number"),
        (2, -1, r"shuffle_seed: -1 is not a whole number from 0, such as shuffle_seed = 1"),
        (None, 1, r"shuffle_seed: .*no batch_size is given; give one"),
    ],
)
def test_wrong_batches_are_refused(size, seed, message):
    with pytest.raises(NetworkError, match=message):
        batched(XOR, size, seed)


@pytest.mark.parametrize(("size", "seed"), [(1, None), (3, 5)])
def test_lessons_with_batches_are_graded(tmp_path, size, seed):
    network, path = batched(XOR, size, seed), tmp_path / "lesson.xlsx"
    generate.write_workbook(network, path, steps=6, learning_rates=(0.1,))
    assert check(path).outcome == "correct"
    generate.write_exercise(network, path, steps=6)
    assert {finding.cause for finding in check(path).findings} == {"not filled in"}
    generate.write_mistake(network, path, "other-gradient", steps=6)
    (finding,) = check(path).findings
    assert finding.quantity == "update of w3"
    assert "another weight's gradient" in finding.cause


@pytest.mark.parametrize("name", ["n[2]", "i1[1]", "t1[2]"])
def test_check_finds_wrong_data_of_a_batch(tmp_path, name):
    network, path, other = batched(XOR, 2), tmp_path / "a.xlsx", tmp_path / "b.xlsx"
    generate.write_workbook(network, path, steps=6, learning_rates=(0.1,))
    cell = place(network, name, 3)
    formula = ironcalc.formulas(path)["Backprop"][xl_cell_to_rowcol(cell.partition("!")[2])]
    right = formula.removeprefix("=").replace("@", "")  # which IronCalc adds
    packages.with_formula(path, other, cell, f"1*({right})")
    assert check(other).outcome == "correct"
    for wrong in ("0.5+0.25", f"{right}+0.25"):
        packages.with_formula(path, other, cell, wrong)
        (finding,) = check(other).findings
        assert (finding.quantity, f"Backprop!{finding.cells}") == (name, cell)
        assert (finding.expected, finding.cause) == (
            f"={right}",
            "these are not the data that belong there",
        )
    packages.with_number(path, other, cell, 0.125)
    (finding,) = check(other).findings
    assert finding.cause.startswith("a number was pasted")


def test_the_derivation_shows_the_update_of_a_weight_that_moves():
    program = compile_network(batched(XOR, 2, None).learning("adam"))
    values = {name: float(v) for name, v in next(arrays.iterations(program, 1, 0.1)).items()}
    assert (values["dE_dw1"], values["dE_dw2"] == 0) == (0, False)  # both samples have i1 = 0
    text = to_markdown(derivation(program, values, 0.1))
    assert "In numbers, for $w_2$:" in text


@pytest.mark.parametrize(("dampening", "says"), [(0.3, True), (0.0, False)])
def test_the_derivation_says_that_the_first_gradient_is_not_dampened(dampening, says):
    program = compile_network(XOR.learning("momentum", settings={"dampening": dampening}))
    values = {name: float(v) for name, v in next(arrays.iterations(program, 1, 0.1)).items()}
    text = to_markdown(derivation(program, values, 0.1))
    assert ("In the first, the gradient counts in full." in text) == says


def test_an_update_with_the_moments_of_another_weight_is_found_in_batches(tmp_path):
    network, path = batched(XOR, 2, 3).learning("adam"), tmp_path / "right.xlsx"
    plan = generate.write_workbook(network, path, steps=6, learning_rates=(0.1,))
    table, row = plan.backprop, plan.backprop.first_row + 2
    formula = ironcalc.formulas(path)["Backprop"][row, table.columns["w1"]]
    for state in ("m_", "v_"):
        own, other = (cell(row - 1, table.columns[f"{state}{weight}"]) for weight in ("w1", "w2"))
        formula = formula.replace(own, other)
    place = cell(row, table.columns["w1"])
    text = formula.removeprefix("=").replace("<", "&lt;")
    verdict = check(packages.with_formula(path, tmp_path / "wrong.xlsx", f"Backprop!{place}", text))
    (finding,) = verdict.findings
    assert (finding.quantity, finding.cells) == ("update of w1", place)


def test_the_command_line_takes_batches_and_epochs(tmp_path):
    out = tmp_path / "xor.xlsx"
    options = ["--batch-size", "3", "--shuffle", "5", "--set", "smoothing=0.8", "--epochs", "5"]
    result = CliRunner().invoke(main, ["workbook", "xor", "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    plan = verify.read_plan(out, ironcalc.recalculate(out))
    assert plan.program.network == batched(XOR, 3, 5).learning(settings={"smoothing": 0.8})
    assert plan.steps == 7  # 20 samples in batches of 3
    toml = tmp_path / "own.toml"
    toml.write_text(to_toml(plan.program.network))
    assert load(toml) == plan.program.network
    result = CliRunner().invoke(main, ["sweep", "xor", "--steps", "5", *options])
    assert result.exit_code == 2
    assert "leave out one of the two flags" in result.output
