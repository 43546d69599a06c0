"""Networks of more than twelve weights: ranges in the formulas, blocks of columns that fold away."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import openpyxl
import pytest

import packages
from gradsheet import generate
from gradsheet.backends.workbook_layout import (
    BACKPROP,
    FORMULAS_LARGE,
    SAMPLES,
    Plan,
    area,
    cell,
    sheet_notation,
)
from gradsheet.check.examine import check
from gradsheet.compiler import compile_network
from gradsheet.engines import ironcalc
from gradsheet.examples import EXAMPLES
from gradsheet.expression import SUMMED_TEXT, Reference, add, apply, render
from gradsheet.network import MOST_WRITTEN_OUT, Layer, Network, bias_names, weight_names

IRIS = EXAMPLES["iris"]
SEEN = {"as written": IRIS, "standardised": replace(IRIS, standardize=("inputs",))}


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


def test_every_quantity_has_one_column_and_every_datum_one_cell_of_samples(iris):
    _, plan, _, sheets = iris
    data = [q.name for q in plan.program.of_role("data")]
    assert sorted([*plan.names, *data]) == sorted(q.name for q in plan.program.quantities)
    found = {name: sheets[SAMPLES][plan.sample_cell(name)] for name in data}
    assert found == {name: plan.program.initial[name] for name in data}
    assert found["i3[2]"] == IRIS.inputs[1][2]


def test_batches_keep_the_columns_of_their_data():
    plan = Plan(compile_network(replace(IRIS, batch_size=2)), 4, 1)
    assert {"n[2]", "i4[2]", "t3[1]"} <= set(plan.names)
    assert plan.data_once == ()


@pytest.mark.parametrize("name", SEEN)
def test_formulas_read_the_data_in_samples_and_are_proved(tmp_path, name):
    pytest.importorskip("torch")
    from gradsheet import verify

    path = tmp_path / "a.xlsx"
    plan = generate.write_workbook(SEEN[name], path, steps=3, learning_rates=(0.05,))
    columns = [column for i, column in plan.samples.seen.items() if i.startswith("i")]
    assert columns[0] == (1 if name == "as written" else 12)
    third = plan.samples.first_row + 2
    inputs = f"{SAMPLES}!{area(third, columns[0], third, columns[-1])}"
    for table in (plan.backprop, *plan.workings):
        weights = [table.columns[f"w{k}"] for k in (1, 4)]
        row, bias = table.first_row + 1, cell(table.first_row + 1, table.columns["b1"])
        found = ironcalc.formulas(path)[table.sheet][row, table.columns["h1[3]"]]
        own = ":".join(cell(row, column) for column in weights)
        assert found == f"=SUMPRODUCT({own},{inputs})+{bias}"
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)
    assert check(path).outcome == "correct"


def test_a_sample_taken_for_another_is_found(iris, tmp_path):
    pytest.importorskip("torch")
    from gradsheet import verify

    path, plan, formulas, _ = iris
    place = (plan.backprop.first_row + 2, plan.backprop.columns["dE_dw1"])
    second, third = (
        plan.address(f"i1[{k}]", plan.backprop.first_row).removeprefix(SAMPLES) for k in (2, 3)
    )
    formula = formulas[BACKPROP][place].removeprefix("=")
    assert second in formula
    address = cell(*place)
    formula = formula.replace(second, third)
    wrong = packages.with_formula(path, tmp_path / "a.xlsx", f"{BACKPROP}!{address}", formula)
    finding = check(wrong).findings[0]
    assert (finding.cells, finding.quantity) == (address, "dE/dw1")
    differences = verify.verify(wrong).runs[0].differences
    assert [(one.sheet, one.cell) for one in differences] == [(BACKPROP, address)]


def test_plain_gradient_descent_is_proved_without_loading_pytorchs_compiler(iris):
    pytest.importorskip("torch")
    code = (
        "import sys, pathlib; from gradsheet.verify import verify; "
        "assert verify(pathlib.Path(sys.argv[1])).proved; assert 'torch._dynamo' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code, str(iris[0])], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("name", SEEN)
def test_an_exercise_is_graded_and_shows_the_data_too(tmp_path, name):
    path = tmp_path / "a.xlsx"
    plan = generate.write_exercise(SEEN[name], path, blank=("forward", "gradients"), steps=3)
    assert ironcalc.recalculate(path)[SAMPLES][plan.samples.first_row, 1] == IRIS.inputs[0][0]
    verdict = check(path)
    assert {finding.cause for finding in verdict.findings} == {"not filled in"}
    blank = plan.program.of_role("forward", "loss", "gradient", "delta")
    assert len(verdict.findings) == len(blank)


def test_gradient_check_takes_a_dozen_weights_of_all_layers_and_says_so(iris):
    _, plan, _, sheets = iris
    cells = sheets["Gradient check"]
    trained = plan.program.trained
    assert len(trained) == 35
    assert "so 12 of the 35 weights and biases are measured" in cells[2, 0]
    assert [cells[10 + k, 0] for k in range(13) if (10 + k, 0) in cells] == list(plan.checked)
    assert [cells[10 + k, 6] for k in range(12)] == ["OK"] * 12
    assert cells[7, 0] == "all of these"
    assert Plan(compile_network(EXAMPLES["xor"]), 2, 1).checked == tuple(
        compile_network(EXAMPLES["xor"]).trained
    )


@pytest.mark.parametrize(
    ("sizes", "count"), [((4, 8, 3), 12), ((13, 1), 12), ((3, 3, 2, 2, 3), 12), ((2,) * 8, 21)]
)
@pytest.mark.parametrize("biases", ["each", "frozen", "none"])
def test_the_checked_weights_are_of_every_layer(sizes, count, biases):
    layers = tuple(
        Layer(
            "tanh",
            ((0.1,) * inputs,) * neurons,
            () if biases == "none" else (0.1,) * neurons,
            train_biases=biases == "each",
        )
        for inputs, neurons in pairwise(sizes)
    )
    network = Network("n", layers, "huber", ((1.0,) * sizes[0],), ((0.0,) * sizes[-1],))
    plan = Plan(compile_network(network), 2, 1)
    assert len(plan.checked) == count
    assert list(plan.checked) == sorted(plan.checked, key=plan.program.trained.index)
    for rows, own in zip(weight_names(network), bias_names(network), strict=True):
        assert {rows[0][0], rows[-1][-1]} <= set(plan.checked)
        assert not own or (own[-1] in plan.checked) == (biases == "each")


def test_few_learning_rates_around_the_networks_own_are_compared(tmp_path):
    assert generate.default_rates(EXAMPLES["seed"]) == generate.LEARNING_RATES
    assert generate.default_rates(IRIS, 0.5) == (0.125, 0.5, 2.0)
    plan = generate.write_workbook(IRIS, tmp_path / "a.xlsx", steps=3)
    sheets = ironcalc.recalculate(tmp_path / "a.xlsx")
    cells, own = sheets["Learning rates"], IRIS.learning_rate
    assert [cells[plan.RATES_ROW, k] for k in (1, 2, 3)] == [own / 4, own, own * 4]
    last = sheets[BACKPROP][plan.backprop.last_row, plan.backprop.columns["E_total"]]
    assert cells[plan.RATES_ROW + 1, 2] == pytest.approx(last, rel=1e-12)


def test_the_comparison_takes_what_the_table_leaves_of_eighty_thousand_formulas():
    layers = (
        Layer("tanh", ((0.1,) * 4,) * 8, (0.1,) * 8),
        Layer("identity", ((0.1,) * 8,) * 3, (0.1,) * 3),
    )
    inputs, targets = ((0.1, 0.2, 0.3, 0.4),) * 10, ((1.0, 0.0, 0.0),) * 10
    network = Network("4-8-3", layers, "softmax_cross_entropy", inputs, targets)
    plan = Plan(compile_network(network), 100, 3)
    assert plan.formulas == pytest.approx(FORMULAS_LARGE, rel=0.1)
    assert plan.comparison_steps == 17
    assert Plan(compile_network(IRIS), 100, 3).comparison_steps == 80


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
    rows = 4 if sheet == "Workings" else 2 * 12
    moved = 0 if sheet == "Workings" else 2 * 10 * IRIS.samples  # a moved weight stands elsewhere
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


def test_backprop_says_where_the_data_are(iris):
    _, plan, _, sheets = iris
    cells = sheets[BACKPROP]
    assert cells[plan.summary_row, 2] == "the data are in Samples"
    legend = [cells.get((plan.summary_row + 3, column)) for column in range(2, 8)]
    assert legend == ["weights", "forward pass", "loss", "gradients", "shared δ", None]


def test_a_very_wide_table_opens_folded(tmp_path):
    wide = Network("wide", IRIS.layers, IRIS.loss, IRIS.inputs * 2, IRIS.targets * 2)
    plan = generate.write_workbook(wide, tmp_path / "wide.xlsx", steps=2, learning_rates=(0.05,))
    sheet = openpyxl.load_workbook(tmp_path / "wide.xlsx")["Backprop"]
    hidden = {d.min - 1 for d in sheet.column_dimensions.values() if d.hidden}
    assert hidden >= {plan.backprop.columns["h1[1]"]}
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
