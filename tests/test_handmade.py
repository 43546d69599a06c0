"""The builder of hand-made sheets, held against PyTorch: right is right there, and wrong is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from xlsxwriter.utility import xl_cell_to_rowcol, xl_rowcol_to_cell

from gradsheet.engines import ironcalc
from handmade import ACTIVATIONS, MISTAKES, Mistake, Sheet, Table, Truth, build, flawed, mistakes, specs

KINDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": lambda x: x,
}
NOWHERE = float("nan")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("handmade")


def place(sheet: Sheet, table: Table, name: str, iteration: int) -> tuple[int, int]:
    """Where a quantity stands, from the Truth alone."""
    column = table.columns[name]
    if sheet.data == "cells" and name in sheet.data_names:
        return xl_cell_to_rowcol(column)
    if sheet.transposed:
        return int(column) - 1, table.first_row - 1 + iteration
    return table.first_row - 1 + iteration, xl_cell_to_rowcol(f"{column}1")[1]


def differences(sheet: Sheet, truth: Truth, table: Table) -> dict[str, dict[str, float]]:
    """By quantity and cell, how far the recalculated number is from what PyTorch makes of its row.

    A row is judged on its own data and weights. An updated weight is judged on its step of the row in
    which its gradient stands, with that gradient as it is shown.
    """
    cells = ironcalc.recalculate(truth.path)[table.sheet]

    def number(name: str, iteration: int) -> float:
        value = cells.get(place(sheet, table, name, iteration))
        return value if isinstance(value, float | int) else NOWHERE

    def column(name: str) -> torch.Tensor:
        return torch.tensor([number(name, k) for k in range(sheet.rows)], dtype=torch.float64)

    weights = {name: column(name).requires_grad_() for name in sheet.parameters}
    values, outputs = {}, [column(f"i{k}") for k in range(1, sheet.sizes[0] + 1)]
    for layer in sheet.layers:
        sums = []
        for j in sheet.neurons(layer):
            total = torch.zeros(sheet.rows, dtype=torch.float64)
            for k, value in enumerate(outputs, 1):
                total = total + weights[sheet.weight(layer, j, k)] * value
            if bias := sheet.bias(layer, j):
                total = total + weights[bias]
            total.retain_grad()
            sums.append(total)
            values[sheet.sum(layer, j)] = total
        outputs = [KINDS[ACTIVATIONS[sheet.activations[layer]].kind](each) for each in sums]
        for j, output in enumerate(outputs, 1):
            if sheet.output(layer, j).startswith("a_"):
                values[sheet.output(layer, j)] = output
    targets = [column(f"t{k}") for k in range(1, sheet.sizes[-1] + 1)]
    losses = [
        (target - output) ** 2 * (0.5 if "half" in sheet.loss else 1)
        for target, output in zip(targets, outputs, strict=True)
    ]
    values |= {f"E{k}": loss for k, loss in enumerate(losses, 1)}
    loss = torch.stack(losses).mean(0) if "mean" in sheet.loss else torch.stack(losses).sum(0)
    loss.sum().backward()
    values["E_total"] = loss
    sums_of_all = {name: value for name, value in values.items() if value.retains_grad}
    for name, value in {**weights, **sums_of_all}.items():
        assert value.grad is not None
        values[f"dE/d{name}"] = value.grad

    found: dict[str, dict[str, float]] = {}

    def judge(name: str, iteration: int, wanted: float, scale: float) -> None:
        shown = number(name, iteration)
        error = abs(shown - wanted) / max(abs(wanted), abs(shown), scale)
        if shown != shown:
            error = 0.0 if wanted != wanted else float("inf")
        found.setdefault(name, {})[xl_rowcol_to_cell(*place(sheet, table, name, iteration))] = error

    for name, value in values.items():
        if name in table.columns:
            for iteration, wanted in enumerate(value.tolist()):
                judge(name, iteration, wanted, 1e-4)
    later = 1 if sheet.updates == "next row" else 0
    for name in sheet.parameters:
        updated = name if later else f"{name} new"
        for iteration in range(sheet.rows + sheet.tail - 1 if later else sheet.rows):
            gradient = number(f"dE/d{name}", iteration)
            wanted = number(name, iteration) - table.learning_rate * gradient
            judge(updated, iteration + later, wanted, 1e-4)
            if not later and iteration + 1 < sheet.rows + sheet.tail:
                judge(name, iteration + 1, number(updated, iteration), 1e-4)
    return found


@settings(max_examples=40)
@given(sheet=specs())
def test_a_right_sheet_is_what_pytorch_computes(folder: Path, sheet: Sheet) -> None:
    sheet = replace(sheet, pasted=None)
    truth = build(folder / "right.xlsx", sheet)
    assert not truth.errors
    for table in truth.tables:
        found = differences(sheet, truth, table)
        assert set(table.columns) - set(found) <= {
            *sheet.data_names,
            "step",
            "learning rate",
            *sheet.parameters,
        }
        for name, errors in found.items():
            assert max(errors.values()) < truth.tolerance, name


@settings(max_examples=40)
@given(drawn=flawed())
def test_a_planted_mistake_is_wrong_in_its_cells_and_nowhere_else(
    folder: Path, drawn: tuple[Sheet, Mistake]
) -> None:
    sheet, mistake = drawn
    sheet = replace(sheet, pasted=None)
    truth = build(folder / "wrong.xlsx", sheet, mistake)
    assert truth.errors
    planted = {cell for error in truth.errors for cell in error.cells}
    follows = {name for error in truth.errors for name in error.follows}
    found = differences(sheet, truth, truth.tables[-1])
    for name, errors in found.items():
        for cell, error in errors.items():
            if cell not in planted and name not in follows:
                assert error < truth.tolerance, (name, cell)
    for error in truth.errors:
        if error.quantity not in (*follows, *sheet.data_names) and not mistake.numbers_stay:
            named = error.quantity.removeprefix("update of ")
            judged = found.get(f"{named} new" if f"{named} new" in found else named, {})
            for cell in error.visible(1e-4):
                assert judged[cell] > 1e-11, (error.quantity, cell)


def test_the_plain_sheet_is_typed_as_the_course_types_it(folder: Path) -> None:
    truth = build(folder / "plain.xlsx", Sheet(rows=3))
    typed = ironcalc.formulas(truth.path)["Sheet1"]
    table = truth.tables[0]
    second = {name: typed.get(place(Sheet(), table, name, 1)) for name in table.columns}
    assert second["w3"] == "=G4-$F$2*Z4"
    assert second["h2"] == "=C5*G5+D5*H5"
    assert second["a_h2"] == "=1/(1+EXP(-K5))"
    assert second["E1"] == "=0.5*(A5-R5)^2"
    assert second["dE/dw3"] == "=((R5-A5)*R5*(1-R5)*N5+(T5-B5)*T5*(1-T5)*P5)*L5*(1-L5)*C5"
    assert second["dE/dw6"] == "=(R5-A5)*R5*(1-R5)*L5"


ROOMY = Sheet(sizes=(2, 2, 2), biases=("each", "each"), tail=True, junk=("formulas",), rate_in_name=True)


@pytest.mark.parametrize("cause", MISTAKES)
def test_every_cause_can_be_planted_and_seen(folder: Path, cause: str) -> None:
    variants = [
        ROOMY,
        replace(ROOMY, activations=("relu", "identity")),
        replace(ROOMY, rate="beside", data="cells", block_column=40),
        replace(ROOMY, rate="beside", data="absolute", block_column=40, updates="same row"),
    ]
    planted = [(sheet, mistake) for sheet in variants for mistake in mistakes(sheet, cause)]
    seen = []
    for sheet, mistake in planted[:: max(1, len(planted) // 5)]:
        truth = build(folder / "cause.xlsx", sheet, mistake)
        assert {error.cause for error in truth.errors} == {cause}
        assert all(error.shown != error.expected for error in truth.errors)
        seen.append(mistake.numbers_stay or any(error.visible() for error in truth.errors))
    assert any(seen)  # not each: the mask of a ReLU that is never negative changes no number


def test_a_pasted_sheet_has_rounded_numbers_and_no_formulas(folder: Path) -> None:
    sheet = Sheet(pasted=5)
    truth = build(folder / "pasted.xlsx", sheet, mistakes(sheet, "wrong sign")[0])
    assert not ironcalc.formulas(truth.path)["Sheet1"]
    cells = ironcalc.recalculate(truth.path)["Sheet1"]
    live = ironcalc.recalculate(build(folder / "live.xlsx", replace(sheet, pasted=None)).path)["Sheet1"]
    first = place(sheet, truth.tables[0], "dE/dw1", 0)
    assert cells[first] == float(f"{live[first]:.5g}")
    assert truth.errors[0].visible(truth.tolerance)
