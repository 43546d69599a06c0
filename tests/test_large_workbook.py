"""Networks of more than twelve weights: ranges in the formulas, blocks of columns that fold away."""

from __future__ import annotations

import re

import openpyxl
import pytest

from gradsheet import generate
from gradsheet.backends.workbook_layout import Plan, cell, sheet_notation
from gradsheet.compiler import compile_network
from gradsheet.engines import ironcalc
from gradsheet.examples import EXAMPLES
from gradsheet.expression import SUMMED_TEXT, Reference, add, apply, render
from gradsheet.network import MOST_WRITTEN_OUT, Layer, Network

IRIS = EXAMPLES["iris"]


def one_layer(neurons: int) -> Network:
    """Three inputs, so 3 · neurons weights."""
    weights = ((0.1, -0.2, 0.3),) * neurons
    return Network("n", (Layer("tanh", weights),), "huber", ((1.0, 2.0, 3.0),), ((0.0,) * neurons,))


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "iris.xlsx"
    plan = generate.write_workbook(IRIS, path, steps=4, learning_rates=(0.05,))
    formulas = {
        sheet: {place: text.replace("@", "") for place, text in cells.items()}
        for sheet, cells in ironcalc.formulas(path).items()
    }
    return path, plan, formulas, ironcalc.recalculate(path)


def test_up_to_twelve_weights_are_written_out():
    assert MOST_WRITTEN_OUT == 12
    assert Plan(compile_network(one_layer(4)), 2, 1).blocks == ()
    assert Plan(compile_network(one_layer(5)), 2, 1).blocks != ()
    assert [name for name, network in EXAMPLES.items() if network.is_large][:1] == ["iris"]


def test_every_quantity_has_one_column(iris):
    _, plan, _, _ = iris
    assert sorted(plan.names) == sorted(q.name for q in plan.program.quantities)


def spans(plan, row, sheet, *names):
    columns = plan.backprop.columns
    first, last = columns[names[0]], columns[names[-1]]
    assert [columns[name] for name in names] == list(range(first, last + 1))
    return f"{cell(row, first)}:{cell(row, last)}"


def test_a_sum_is_one_sumproduct_of_its_weights_and_its_inputs(iris):
    _, plan, formulas, _ = iris
    table, row = plan.backprop, plan.backprop.first_row + 1
    weights = spans(plan, row, "", *(f"w{k}" for k in range(21, 25)))
    sources = spans(plan, row, "", *(f"a_h{k}[3]" for k in range(1, 5)))
    bias = cell(row, table.columns["b6"])
    found = formulas["Backprop"][row, table.columns["o2[3]"]]
    assert found == f"=SUMPRODUCT({weights},{sources})+{bias}"
    powers = spans(plan, row, "", "e1[2]", "e2[2]", "e3[2]")
    assert formulas["Backprop"][row, table.columns["Z[2]"]] == f"=SUM({powers})"
    deltas = spans(plan, row, "", *(f"delta_o2[{k}]" for k in range(1, 7)))
    assert formulas["Backprop"][row, table.columns["dE_db6"]] == f"=SUM({deltas})"


@pytest.mark.parametrize("sheet", ["Workings", "Gradient check"])
def test_the_other_sheets_write_sums_in_ranges_too(iris, sheet):
    _, _, formulas, _ = iris
    found = [text for text in formulas[sheet].values() if "SUMPRODUCT(" in text]
    sums = IRIS.samples * 7  # a row
    rows = 4 if sheet == "Workings" else 2 * 35
    moved = 0 if sheet == "Workings" else 2 * 28 * IRIS.samples  # a moved weight stands elsewhere
    assert len(found) == rows * sums - moved


def test_words_name_a_sum_by_what_its_terms_have_in_common(iris):
    _, plan, _, sheets = iris
    row = plan.header_row - 1
    words = {name: sheets["Backprop"][row, c] for name, c in plan.backprop.columns.items()}
    assert words["h1[1]"] == "h1[1] = Σ w·i + b1"
    assert words["o3[6]"] == "o3[6] = Σ w·a_h + b7"
    assert words["dE_dw17"] == "∂E/∂w17 = Σ δ_o1·a_h1"
    assert words["dE_db1"] == "∂E/∂b1 = Σ δ_h1"
    assert words["delta_h1[2]"] == "δ_h1[2] = (Σ δ_o·w)·(1 − a_h1[2]²)"
    assert words["m[1]"] == "m[1] = max(o)"
    assert not [text for text in words.values() if "…" in text]


def test_columns_fold_by_block_and_leave_weights_gradients_and_loss(iris):
    path, plan, _, sheets = iris
    sheet = openpyxl.load_workbook(path)["Backprop"]
    level = {}
    for dimension in sheet.column_dimensions.values():
        for column in range(dimension.min, dimension.max + 1):
            level[column - 1] = dimension.outlineLevel
    for block in plan.blocks:
        columns = [plan.backprop.columns[name] for name in block.names]
        assert {level[column] for column in columns} == {int(block.detail)}
        assert sheets["Backprop"][plan.header_row - 2, columns[0]] == block.title
    shown = {
        plan.program[name].role for block in plan.blocks if not block.detail for name in block.names
    }
    assert shown == {"loss", "parameter", "gradient"}
    assert sheet.freeze_panes == f"C{plan.backprop.first_row + 1}"


def test_a_very_wide_table_opens_folded(tmp_path):
    wide = Network("wide", IRIS.layers, IRIS.loss, IRIS.inputs * 2, IRIS.targets * 2)
    plan = generate.write_workbook(wide, tmp_path / "wide.xlsx", steps=2, learning_rates=(0.05,))
    sheet = openpyxl.load_workbook(tmp_path / "wide.xlsx")["Backprop"]
    hidden = {d.min - 1 for d in sheet.column_dimensions.values() if d.hidden}
    assert hidden >= {plan.backprop.columns["t1[1]"]}
    assert not hidden & {0, 1, plan.backprop.columns["w1"], plan.backprop.columns["E_total"]}


def test_ranges_are_made_only_of_cells_side_by_side():
    places = {"w1": "B{r}", "w2": "C{r}", "w3": "D{r}", "x1": "'A b'!$F$3", "x2": "'A b'!$G$3",
              "x3": "'A b'!$I$3", "n": "rate"}  # fmt: skip
    notation = sheet_notation(places.__getitem__, ranges=True)
    w1, w2, w3, x1, x2, x3, n = map(Reference, places)
    for expression, text in (
        (add(w1 * x1, w2 * x2), "SUMPRODUCT(B{r}:C{r},'A b'!$F$3:$G$3)"),
        (add(w1 * x1, w2 * x2, n), "SUMPRODUCT(B{r}:C{r},'A b'!$F$3:$G$3)+rate"),
        (add(w1 * x1, w2 * x3), "B{r}*'A b'!$F$3+C{r}*'A b'!$I$3"),
        (add(w2, w1), "C{r}+B{r}"),
        (add(w1, x2), "B{r}+'A b'!$G$3"),
        (add(w1, w2, w3) * n, "SUM(B{r}:D{r})*rate"),
        (n - add(w1, w2, w3), "rate-SUM(B{r}:D{r})"),
        (apply("detached_max", w1, w2, w3), "MAX(B{r}:D{r})"),
        (w1 * 2 + w2 * 2, "2*B{r}+2*C{r}"),
    ):
        assert render(expression, notation) == text
    assert render(add(w1, w2, w3) * n, SUMMED_TEXT) == "(Σ w)·n"
    assert not re.search("SUM", render(add(w1, w2), sheet_notation(places.__getitem__)))
