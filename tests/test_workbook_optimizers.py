"""The workbook that compares optimizers: recalculated, every training is that of torch.optim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from click.testing import CliRunner
from openxml_audit import OpenXmlValidator, predict
from xlsxwriter.utility import xl_cell_to_rowcol

import packages
from gradsheet import generate, verify
from gradsheet.backends.workbook_layout import cell
from gradsheet.backends.workbook_optimizers import Comparison
from gradsheet.cli import main
from gradsheet.engines import CellError, ironcalc, libreoffice
from gradsheet.errors import InputError, NetworkError, TooLargeError, WorkbookError
from gradsheet.examples import EXAMPLES
from gradsheet.network import Network
from gradsheet.optimizers import OPTIMIZERS
from test_workbook import DIVERGING
from training import trained_by_torch

pytest.importorskip("torch")
needs_libreoffice = pytest.mark.skipif(libreoffice.find() is None, reason="LibreOffice is not installed")
SEED = EXAMPLES["seed"]
THREE = ("sgd", "momentum", "adam")


def written(
    folder: Path, network: Network, optimizers: Sequence[str], rates: Sequence[float], steps: int = 8
) -> tuple[Path, Comparison]:
    """A workbook with wrong cached values, so that only recalculation can be right."""
    compared = generate.comparison(network, optimizers, steps)
    generate.write_comparison(compared, folder / "plain.xlsx", rates)
    return packages.poisoned(folder / "plain.xlsx", folder / "poisoned.xlsx"), compared


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three optimizers of the seed, with and without wrong cached values, and its places."""
    folder = tmp_path_factory.mktemp("three")
    path, compared = written(folder, SEED, THREE, (1.0, 0.5, 0.1))
    return folder / "plain.xlsx", path, compared


def differing(path: Path) -> set[tuple[str, str]]:
    verdict = verify.verify(path)
    return {(d.sheet, d.cell) for run in verdict.runs for d in run.differences}


def test_twenty_recalculated_steps_of_every_optimizer_are_those_of_torch(tmp_path):
    path, compared = written(tmp_path, SEED, list(OPTIMIZERS), [0.05] * len(OPTIMIZERS), 20)
    cells = ironcalc.recalculate(path)["Trainings"]
    for training in compared.trainings:
        table, optimizer = training.table, training.program.network.optimizer
        found = [
            [cells[table.first_row + step, table.columns[f"w{k}"]] for k in range(1, 9)]
            for step in range(20)
        ]
        expected = trained_by_torch(SEED.learning(optimizer), 0.05, [[0]] * 20).weights
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12, err_msg=optimizer)
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)


NETWORKS = {
    "schedule": EXAMPLES["xor"].learning(schedule="cosine"),
    "weight decay": DIVERGING.learning(settings={"weight_decay": 0.02}),
    "frozen biases": EXAMPLES["mazur"],
    "batches in order": replace(EXAMPLES["xor"], batch_size=3),
    "shuffled batches, standardised": replace(
        EXAMPLES["iris"], batch_size=2, shuffle_seed=1, standardize=("inputs",)
    ),
    "standardised": replace(EXAMPLES["line"], standardize=("inputs", "targets")),
    "large": EXAMPLES["iris"],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_is_proved(tmp_path, name):
    path, _ = written(tmp_path, NETWORKS[name], THREE, (0.1, 40.0, 0.01))
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)
    cells = ironcalc.recalculate(path)
    assert not any(isinstance(value, CellError) for sheet in cells.values() for value in sheet.values())


def test_a_column_is_as_wide_as_the_name_of_its_optimizer(tmp_path):
    path, _ = written(tmp_path, SEED, ("sgd", "momentum_velocity"), (0.5, 0.5), 3)
    widths = openpyxl.load_workbook(path)["Optimizers"].column_dimensions
    assert widths["B"].width < 15
    assert widths["C"].width > len("momentum_velocity") + 2


@needs_libreoffice
@pytest.mark.libreoffice
def test_libreoffice_agrees(three):
    verdict = verify.verify(three[1], ("ironcalc", "libreoffice"))
    assert verdict.proved, verify.to_text(verdict)
    assert verdict.runs[0].compared == verdict.runs[2].compared


def test_every_formula_carries_the_value_that_recalculation_gives(three):
    plain, poisoned, compared = three
    sheets = ironcalc.recalculate(poisoned)
    cached = packages.cached_values(plain)
    for sheet, cells in cached.items():
        for place, value in cells.items():
            right = sheets[sheet][xl_cell_to_rowcol(place)]
            if isinstance(right, str):
                assert value == right, (sheet, place)
            else:
                assert float(value) == pytest.approx(right, rel=1e-10, abs=1e-13), (sheet, place)
    counted = sum(map(len, cached.values()))
    assert compared.formulas == pytest.approx(counted, rel=0.1)


def test_excel_is_expected_to_open_it_without_repair(three):
    result = OpenXmlValidator().validate(str(three[0]))
    assert result.errors == []
    assert predict(result).headline == "Microsoft Excel: expected to open cleanly (no findings)"


def test_the_best_is_named_and_those_that_diverge(tmp_path):
    path, compared = written(tmp_path, DIVERGING, ("sgd", "momentum", "nesterov"), (0.05, 40, 1e-3), 30)
    row = compared.final_row
    cells = ironcalc.recalculate(path)["Optimizers"]
    assert [cells.get((row + 1, column), "") for column in (1, 2, 3)] == ["best", "diverged", ""]
    assert cells[row + 2, 1] == "sgd"
    rates = {("Optimizers", *t.setting_cell("learning_rate")): 1e3 for t in compared.trainings}
    assert ironcalc.recalculate(path, rates)["Optimizers"][row + 2, 1] == "none: all diverge"


def test_each_optimizer_has_the_input_cells_of_its_own_hyperparameters(three):
    _, poisoned, compared = three
    cells = ironcalc.recalculate(poisoned)["Optimizers"]
    rows = {cells[row, 0]: [cells.get((row, column)) for column in (1, 2, 3)] for row in range(4, 9)}
    assert rows == {
        "learning rate η": [1.0, 0.5, 0.1],
        "momentum μ": [None, 0.9, None],
        "beta1 β1": [None, None, 0.9],
        "beta2 β2": [None, None, 0.999],
        "epsilon ε": [None, None, 1e-8],
    }
    before = ironcalc.recalculate(poisoned)["Optimizers"]
    momentum = ("Optimizers", *compared.trainings[1].setting_cell("momentum"))
    after = ironcalc.recalculate(poisoned, {momentum: 0.5})["Optimizers"]
    row = compared.final_row
    assert [after[row, k] == before[row, k] for k in (1, 2, 3)] == [True, False, True]


# ---------------------------------------------------------------- what is wrong is named


def test_a_number_pasted_over_any_kind_of_formula_is_named(three, tmp_path):
    _, path, compared = three
    adam, losses = compared.trainings[2].table, compared.losses
    sheets = ironcalc.recalculate(path)
    for sheet, row, column in (
        ("Trainings", adam.first_row + 3, adam.columns["v_w3"]),
        ("Trainings", adam.first_row + 3, adam.columns["w3"]),
        ("Trainings", adam.first_row, adam.columns["w1"]),
        ("Optimizers", losses.first_row + 2, 3),
        ("Optimizers", compared.final_row, 1),
    ):
        place = cell(row, column)
        number = sheets[sheet][row, column]
        pasted = packages.with_number(path, tmp_path / "pasted.xlsx", f"{sheet}!{place}", number)
        assert (sheet, place) in differing(pasted)


@pytest.mark.parametrize(
    ("row", "column", "formula"),
    [(1, 2, '""'), (1, 1, '"best"'), (2, 1, '"momentum"'), (5, 2, "B4")],
    ids=["verdict", "best", "best optimizer", "name over the losses"],
)
def test_a_wrong_word_is_named(three, tmp_path, row, column, formula):
    _, path, compared = three
    cells = ironcalc.recalculate(path)["Optimizers"]
    right = cells.get((compared.final_row + row, column), "")
    if row == 1:
        formula = '"wrong"' if right == formula.strip('"') else formula
    place = cell(compared.final_row + row, column)
    wrong = packages.with_formula(path, tmp_path / "wrong.xlsx", f"Optimizers!{place}", formula)
    assert ("Optimizers", place) in differing(wrong)


def test_edited_inputs_are_proved_and_unusable_ones_refused(three, tmp_path):
    _, path, compared = three
    edited = packages.with_number(path, tmp_path / "edited.xlsx", "Start!F5", 0.7)
    assert verify.verify(edited).proved
    beta = cell(*compared.trainings[2].setting_cell("beta1"))
    for place, number, message in (
        (f"Optimizers!{beta}", 2.0, r"cells of Optimizers cannot be used: .*beta1 is 2, but"),
        (
            "Optimizers!B5",
            -1.0,
            r"Optimizers!B5 holds -1.0, but it is an input cell and needs a number gr",
        ),
        ("Optimizers!C4", 1.0, r"Optimizers!C4 should be 'momentum', but holds .*; the columns"),
        ("Network!B5", 3.0, "its sheet Network was edited and cannot be read"),
    ):
        wrong = packages.with_number(path, tmp_path / "wrong.xlsx", place, number)
        with pytest.raises(WorkbookError, match=message):
            verify.verify(wrong)


def test_what_cannot_be_compared_is_refused_before_anything_is_written():
    with pytest.raises(
        TooLargeError, match=r"about 6\d\d,\d+ formulas, .*; use --steps 4\d{3} or less, or fewer"
    ):
        generate.comparison(SEED, THREE, 5000)
    with pytest.raises(NetworkError, match="'lion' is not known"):
        generate.comparison(SEED, ("sgd", "lion"), 10)
    with pytest.raises(InputError, match="steps: 1 is too few"):
        generate.comparison(SEED, THREE, 1)


def test_the_command_line_writes_it_with_the_best_rate_of_each(tmp_path):
    sheet, out = tmp_path / "compared.xlsx", tmp_path / "sweep.csv"
    common = ["sweep", "xor", "--steps", "5", "--out", str(out), "--workbook", str(sheet)]
    result = CliRunner().invoke(main, [*common, "--optimizers", "sgd,adam", "--learning-rates", "0.1,1"])
    assert result.exit_code == 0, result.output
    assert f"wrote {sheet} (" in result.output
    best = [float(line.split("rate ")[1].split(",")[0]) for line in result.output.splitlines()[-2:]]
    cells = ironcalc.recalculate(sheet)["Optimizers"]
    assert [cells[4, 1], cells[4, 2]] == best
    result = CliRunner().invoke(main, ["verify", str(sheet)])
    assert result.exit_code == 0, result.output
    assert "ironcalc, as it stands\n" in result.output
    result = CliRunner().invoke(main, common)
    assert result.exit_code == 2
    assert "--workbook: compares optimizers; name them, as --optimizers sgd,adam" in result.output
