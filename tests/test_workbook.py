"""The workbook as a spreadsheet program sees it: text, formulas, values, looks and limits."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace

import openpyxl
import pytest
from openxml_audit import OpenXmlValidator, predict
from xlsxwriter.utility import xl_cell_to_rowcol

import packages
from gradsheet import generate
from gradsheet.backends.workbook_layout import Plan, SampleTable
from gradsheet.compiler import compile_network, least_quantities
from gradsheet.engines import CellError, ironcalc, libreoffice
from gradsheet.errors import InputError, TooLargeError
from gradsheet.examples import EXAMPLES
from gradsheet.network import Layer, Network, parse

DIVERGING = Network(
    name="linear",
    description="A linear network that diverges with a large learning rate",
    layers=(Layer("identity", ((0.5, -0.4),)), Layer("identity", ((0.3,), (0.2,)))),
    loss="mean_squared_error",
    inputs=((1.0, 2.0), (-3.0, 0.5)),
    targets=((1.0, 0.0), (0.0, 2.0)),
    learning_rate=0.05,
)
NETWORKS = {
    **EXAMPLES,
    "linear": DIVERGING,
    "adam": EXAMPLES["seed"].learning("adam", "cosine"),
    "batches": replace(EXAMPLES["iris"], batch_size=4, shuffle_seed=2, standardize=("inputs",)).learning(
        "rmsprop"
    ),
    "momentum": DIVERGING.learning("momentum", "step", {"dampening": 0.1, "weight_decay": 0.01}),
}
SEED_HEADERS = (
    "iteration t1 t2 i1 i2 w1 w2 w3 w4 h1 a_h1 h2 a_h2 w5 w6 w7 w8 o1 a_o1 o2 a_o2 E1 E2 E_total "
    "∂E/∂w1 ∂E/∂w2 ∂E/∂w3 ∂E/∂w4 ∂E/∂w5 ∂E/∂w6 ∂E/∂w7 ∂E/∂w8"
)


@pytest.fixture(scope="module")
def workbooks(tmp_path_factory):
    """Every example and a diverging network, 12 iterations each."""
    folder = tmp_path_factory.mktemp("workbooks")
    for name, network in NETWORKS.items():
        # iris is chaotic beyond 0.2: rounding errors double with every iteration
        rates = {
            "linear": (0.05, 0.2, 40.0),
            "momentum": (0.01, 0.05, 40.0),
            "iris": (0.02, 0.05, 0.1),
            "micrograd": (0.02, 0.05, 0.06, 0.08, 0.1, 0.2),
            "moons": (0.01, 0.02, 0.05),
            "iris-adam": (0.02, 0.05, 0.1),
        }.get(name, generate.LEARNING_RATES)
        generate.write_workbook(network, folder / f"{name}.xlsx", steps=12, learning_rates=rates)
    return folder


@pytest.fixture(scope="module")
def seed(tmp_path_factory):
    """The course's workbook as `gradsheet workbook` writes it: 100 iterations."""
    path = tmp_path_factory.mktemp("seed") / "seed.xlsx"
    generate.write_workbook(EXAMPLES["seed"], path)
    return path


def row_of(sheets, sheet, row):
    cells = {column: value for (r, column), value in sheets[sheet].items() if r == row}
    return [cells[column] for column in sorted(cells)]


def test_backprop_has_the_headers_of_the_course_in_its_order(seed):
    sheets = ironcalc.recalculate(seed)
    headers = row_of(sheets, "Backprop", Plan.HEADER_ROW)
    assert " ".join(headers[:32]) == SEED_HEADERS
    assert headers[32:] == ["δ_o1", "δ_o2", "δ_h1", "δ_h2"]


def test_backprop_says_over_each_column_how_it_is_computed(seed):
    cells = ironcalc.recalculate(seed)["Backprop"]
    words = {
        cells[Plan.HEADER_ROW, column]: cells[Plan.HEADER_ROW - 1, column] for column in range(1, 36)
    }
    assert words["a_h1"] == "a_h1 = σ(h1)"
    assert words["o1"] == "o1 = w5·a_h1 + w6·a_h2"
    assert words["w5"] == "next row: w5 − η·∂E/∂w5"
    assert words["∂E/∂w3"] == "∂E/∂w3 = δ_h2·i1"


def test_the_recalculated_first_row_holds_the_published_numbers_of_the_course(tmp_path, seed):
    cells = ironcalc.recalculate(packages.poisoned(seed, tmp_path / "poisoned.xlsx"))["Backprop"]
    row = {cells[Plan.HEADER_ROW, c]: cells[Plan.HEADER_ROW + 1, c] for c in range(1, 36)}
    published = {
        "h1": 0.0275, "a_h1": 0.5068745667645342, "a_h2": 0.5106234010049637,
        "o1": 0.4325303571580474, "a_o2": 0.6304808354506348, "E1": 0.005668753727943837,
        "E_total": 0.014181377937891659, "∂E/∂w1": 0.000316993395910, "∂E/∂w3": 0.000351776321591,
        "∂E/∂w5": 0.012880818631628, "∂E/∂w8": 0.015522308119995,
    }  # fmt: skip
    assert {name: row[name] for name in published} == pytest.approx(published, rel=1e-11)
    iterations = [cells[Plan.HEADER_ROW + k, 0] for k in range(1, 101)]
    assert iterations == list(range(1, 101))
    assert (Plan.HEADER_ROW + 101, 0) not in cells


@pytest.mark.parametrize("name", NETWORKS)
def test_every_formula_carries_the_value_that_recalculation_gives(workbooks, tmp_path, name):
    path = workbooks / f"{name}.xlsx"
    sheets = ironcalc.recalculate(packages.poisoned(path, tmp_path / "poisoned.xlsx"))
    formulas = ironcalc.formulas(path)
    checked = 0
    for sheet, cells in packages.cached_values(path).items():
        assert len(cells) == len(formulas[sheet])
        for place, cached in cells.items():
            value = sheets[sheet][xl_cell_to_rowcol(place)]
            if isinstance(value, float):
                # The two round differently in the last digit, which 12 iterations make worse; a slope
                # divides that by 2ε, and the share of the allowed difference by another 1e-10.
                slope = sheet == "Gradient check" and place[0] in "DEF"
                near = pytest.approx(value, rel=1e-10, abs=0.1 if slope else 1e-13)
                assert float(cached) == near, (sheet, place)
            else:
                assert cached == str(value), (sheet, place)
            checked += 1
    assert checked > 1000


@pytest.mark.parametrize("name", NETWORKS)
def test_no_cell_shows_an_error(workbooks, name):
    sheets = ironcalc.recalculate(workbooks / f"{name}.xlsx")
    assert [v for cells in sheets.values() for v in cells.values() if isinstance(v, CellError)] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_formulas_use_only_what_all_spreadsheet_programs_compute_alike(workbooks, name):
    allowed = [
        "EXP",
        "LN",
        "TANH",
        "SQRT",
        "MAX",
        "MIN",
        "IF",
        "ABS",
        "SUM",
        "AVERAGE",
        "SUMPRODUCT",
        "COS",
        "INT",
        "INDEX",
        "MATCH",
        "AND",
        "IFERROR",
    ]
    for cells in ironcalc.formulas(workbooks / f"{name}.xlsx").values():
        for formula in cells.values():
            assert set(re.findall(r"([A-Z][A-Z0-9.]*)\(", formula)) <= set(allowed), formula
            assert not re.search(r"[-+*/^(,=<>]-[^(M]*\^", formula), formula  # -A1^2 is (−A1)²
            assert "[" not in formula


def test_only_inputs_targets_weights_and_learning_rates_are_typed_numbers(seed):
    sheets, formulas = ironcalc.recalculate(seed), ironcalc.formulas(seed)
    typed = {
        sheet: sorted(
            place
            for place, value in cells.items()
            if isinstance(value, float) and place not in formulas[sheet]
        )
        for sheet, cells in sheets.items()
    }
    first = Plan.HEADER_ROW + 1
    assert typed["Backprop"] == [
        (Plan.RATE_ROW, Plan.RATE_COLUMN),
        *((first, column) for column in (0, 1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 16)),
    ]
    assert typed["Workings"] == []
    assert typed["Derivation"] == []
    rates = [(Plan.RATES_ROW, column) for column in range(1, 7)]
    assert [place for place in typed["Learning rates"] if place[1] < 7] == rates
    assert typed["Gradient check"] == [(3, 1), (4, 1), (5, 1)]


def test_a_new_learning_rate_changes_all_later_rows_and_the_verdict(seed):
    before = ironcalc.recalculate(seed)["Backprop"]
    after = ironcalc.recalculate(seed, {("Backprop", 2, 1): 0.001})["Backprop"]
    weights = range(5, 9)
    for row in range(Plan.HEADER_ROW + 2, Plan.HEADER_ROW + 101):
        assert all(before[row, column] != after[row, column] for column in weights)
    assert before[5, 1] == after[5, 1] == "the loss falls"


def test_a_diverging_rate_is_flagged_and_shown_without_errors(workbooks):
    sheets = ironcalc.recalculate(workbooks / "linear.xlsx")
    verdicts = [sheets["Learning rates"].get((Plan.RATES_ROW + 2, column), "") for column in (1, 2, 3)]
    assert verdicts[2] == "diverged"
    assert "best" in verdicts[:2]
    sheets = ironcalc.recalculate(workbooks / "linear.xlsx", {("Backprop", 2, 1): 40.0})
    assert sheets["Backprop"][5, 1].startswith("diverged")
    everywhere = {("Learning rates", Plan.RATES_ROW, column): 40.0 for column in (1, 2, 3)}
    sheets = ironcalc.recalculate(workbooks / "linear.xlsx", everywhere)
    assert sheets["Learning rates"][Plan.RATES_ROW + 3, 1] == "none: all diverge"
    values = [v for cells in sheets.values() for v in cells.values()]
    assert not any(isinstance(value, CellError) for value in values)


def test_the_linear_chart_draws_a_diverging_loss_only_up_to_its_cut(workbooks):
    program = compile_network(DIVERGING)
    plan = Plan(program, 12, 3)
    sheets = ironcalc.recalculate(workbooks / "linear.xlsx")
    table = plan.workings[2]
    rows = range(table.first_row, table.last_row + 1)
    drawn = [sheets["Workings"][row, table.columns[plan.CHART]] for row in rows]
    losses = [sheets["Workings"][row, table.columns["E_total"]] for row in rows]
    assert max(losses) > 1e15
    assert max(drawn) == 2 * losses[0]


@pytest.mark.parametrize(
    ("name", "iteration"), [("seed", 12), ("xor", 5), ("iris", 7), ("linear", 2), ("mazur", 1)]
)
def test_the_gradient_check_agrees_in_the_row_that_is_picked(workbooks, name, iteration):
    sheets = ironcalc.recalculate(workbooks / f"{name}.xlsx", {("Gradient check", 3, 1): iteration})
    cells = sheets["Gradient check"]
    parameters = Plan(compile_network(NETWORKS[name]), 12, 1).checked
    assert cells[7, 1] == "OK"
    assert [cells[10 + k, 6] for k in range(len(parameters))] == ["OK"] * len(parameters)
    assert [cells[10 + k, 0] for k in range(len(parameters))] == list(parameters)


def test_the_gradient_check_finds_the_wrong_neurons_derivative(tmp_path, seed):
    # The commonest mistake in hand-made sheets: a_h1·(1 − a_h1) where a_h2·(1 − a_h2) belongs. It is
    # off by 2.6e-4, and nothing betrays it in the loss curve.
    cells = ironcalc.recalculate(seed)["Backprop"]
    delta = next(c for c in range(36) if cells.get((Plan.HEADER_ROW, c)) == "δ_h2")
    formula = ironcalc.formulas(seed)["Backprop"][Plan.HEADER_ROW + 1, delta].removeprefix("=")
    wrong = formula.replace("M10", "K10")
    assert wrong != formula
    path = packages.with_formula(seed, tmp_path / "wrong.xlsx", "Backprop!AJ10", wrong)
    checked = ironcalc.recalculate(path)["Gradient check"]
    verdicts = {checked[10 + k, 0]: checked[10 + k, 6] for k in range(8)}
    assert [name for name, verdict in verdicts.items() if verdict == "WRONG"] == ["w3", "w4"]
    assert checked[7, 1] == "WRONG"


def test_the_critical_rates_are_those_of_the_hessian_by_autograd(seed):
    torch = pytest.importorskip("torch")
    weights = torch.tensor([0.15, 0.2, 0.25, 0.3, 0.4, 0.45, 0.5, 0.55], dtype=torch.float64)

    def loss(w):
        hidden = torch.sigmoid(w[:4].reshape(2, 2) @ torch.tensor([0.05, 0.1], dtype=torch.float64))
        return 0.5 * ((0.5 - torch.sigmoid(w[4:].reshape(2, 2) @ hidden)) ** 2).sum()

    hessian = torch.autograd.functional.hessian(loss, weights)
    cells = ironcalc.recalculate(seed)["Learning rates"]
    expected = 2 / float(torch.linalg.eigvalsh(hessian)[-1])
    assert cells[3, 12] == pytest.approx(expected, rel=1e-6)  # central differences of the gradient


@pytest.mark.parametrize("name", NETWORKS)
def test_excel_is_expected_to_open_it_without_repair(workbooks, tmp_path, name):
    path = tmp_path / "small.xlsx"  # the audit takes its time for every cell
    generate.write_workbook(NETWORKS[name], path, steps=2, learning_rates=(0.1, 40.0))
    result = OpenXmlValidator().validate(str(path))
    assert result.errors == []
    assert predict(result).headline == "Microsoft Excel: expected to open cleanly (no findings)"


def test_names_that_look_like_formulas_or_links_stay_text(tmp_path):
    names = ("=1+1", "+2", "-3", "@SUM(A1)")
    network = replace(
        EXAMPLES["iris"],
        name='=HYPERLINK("http://example.org")',
        description="http://example.org <b>&amp;</b>",
        input_names=names,
    )
    path = tmp_path / "names.xlsx"
    generate.write_workbook(network, path, steps=2, learning_rates=(0.1,))
    sheets = ironcalc.recalculate(path)
    assert sheets["Backprop"][0, 0] == 'Back-propagation, live: =HYPERLINK("http://example.org")'
    words = row_of(sheets, "Samples", SampleTable.HEADER_ROW - 1)
    assert [name in words for name in names] == [True] * 4
    book = openpyxl.load_workbook(path)
    external = [
        cell.coordinate
        for sheet in book.worksheets
        for row in sheet.iter_rows()
        for cell in row
        if cell.hyperlink is not None and cell.hyperlink.target
    ]
    assert external == []
    assert OpenXmlValidator().validate(str(path)).errors == []


def test_the_network_can_be_read_back_from_its_sheet(workbooks):
    for name, network in NETWORKS.items():
        cells = ironcalc.recalculate(workbooks / f"{name}.xlsx")["Network"]
        last = max(row for row, _ in cells)
        lines = [cells.get((row, 0), "") for row in range(6, last + 1)]
        assert parse("\n".join(lines)) == network


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        generate.write_workbook(EXAMPLES["xor"], tmp_path / f"{name}.xlsx", steps=3)
    assert (tmp_path / "one.xlsx").read_bytes() == (tmp_path / "two.xlsx").read_bytes()


def test_inputs_are_validated_and_the_header_is_frozen(seed):
    book = openpyxl.load_workbook(seed)
    sheet = book["Backprop"]
    assert sheet.freeze_panes == "B10"
    assert book.defined_names["learning_rate"].attr_text == "Backprop!$B$3"
    (rule,) = sheet.data_validations.dataValidation
    assert (str(rule.sqref), rule.type, rule.operator, rule.formula1) == (
        "B3", "decimal", "greaterThan", "0",
    )  # fmt: skip
    assert "greater than 0" in rule.prompt
    rules = book["Gradient check"].data_validations.dataValidation
    assert ("B4", "whole", "1", "100") in [(str(r.sqref), r.type, r.formula1, r.formula2) for r in rules]
    assert sheet.print_title_rows == "$8:$9"
    assert book.sheetnames[:5] == [
        "Backprop", "Learning rates", "Predict", "Gradient check", "Derivation",
    ]  # fmt: skip


def test_the_charts_read_the_live_cells(seed):
    with zipfile.ZipFile(seed) as package:
        charts = {
            name: package.read(name).decode()
            for name in package.namelist()
            if re.fullmatch(r"xl/charts/chart[0-9]+\.xml", name)
        }
    assert len(charts) == 3
    series = {name: re.findall(r"<c:yVal>.*?<c:f>(.*?)</c:f>", xml) for name, xml in charts.items()}
    assert series["xl/charts/chart1.xml"] == ["Backprop!$X$10:$X$109"]
    assert [len(found) for found in series.values()] == [1, 6, 6]
    names = re.findall(r"<c:tx><c:strRef><c:f>(.*?)</c:f>", charts["xl/charts/chart2.xml"])
    assert names == [f"'Learning rates'!${letter}$4" for letter in "BCDEFG"]
    assert "<c:logBase" in charts["xl/charts/chart3.xml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1}, "steps: 1 is too few"),
        ({"learning_rate": 0.0}, "0.0 must be greater than 0"),
        ({"learning_rate": math.nan}, "nan is not finite"),
        ({"learning_rates": (0.1, -1.0)}, "-1.0 must be greater than 0"),
        ({"learning_rates": tuple(range(1, 60))}, "59 cannot be told apart"),
    ],
)
def test_numbers_that_cannot_be_used_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        generate.write_workbook(EXAMPLES["seed"], tmp_path / "no.xlsx", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_workbook_too_large_is_refused_with_its_count_and_the_way_to_shrink_it(tmp_path):
    with pytest.raises(TooLargeError, match=r"about 7[0-9]{2},[0-9]{3} formulas.*use --steps 1[0-9]{4}"):
        generate.write_workbook(EXAMPLES["seed"], tmp_path / "no.xlsx", steps=20_000)
    with pytest.raises(TooLargeError, match="more rows than"):
        generate.write_workbook(EXAMPLES["cs231n"], tmp_path / "no.xlsx", steps=2_000_000)
    wide = EXAMPLES["iris"]
    wide = replace(wide, inputs=wide.inputs * 200, targets=wide.targets * 200)
    with pytest.raises(TooLargeError, match=r"would be 1[67],[0-9]{3} columns wide.*use fewer"):
        generate.write_workbook(wide, tmp_path / "no.xlsx")
    wide = replace(wide, inputs=wide.inputs[:15], targets=wide.targets[:15])
    with pytest.raises(TooLargeError, match="columns wide"):  # the sheet Workings
        generate.write_workbook(wide, tmp_path / "no.xlsx", steps=2, learning_rates=range(1, 51))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NETWORKS)
def test_the_least_width_is_never_more_than_the_width(name):
    network = NETWORKS[name]
    assert least_quantities(network) <= len(Plan(compile_network(network), 2, 1).names)


def test_a_failed_write_leaves_the_old_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "kept.xlsx"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("gradsheet.backends.workbook.write_network", fail)
    with pytest.raises(OSError, match="disk full"):
        generate.write_workbook(EXAMPLES["cs231n"], path, steps=2)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_formula_count_is_about_right(workbooks, name):
    rates = 3 if name in ("linear", "iris", "momentum", "moons", "iris-adam") else 6
    plan = Plan(compile_network(NETWORKS[name]), 12, rates)
    counted = sum(len(cells) for cells in ironcalc.formulas(workbooks / f"{name}.xlsx").values())
    assert plan.formulas == pytest.approx(counted, rel=0.1)


@pytest.mark.skipif(
    libreoffice.find() is None or shutil.which("pdftotext") is None,
    reason="LibreOffice is not installed",
)
@pytest.mark.libreoffice
def test_a_loss_of_thousands_fits_into_its_cell(tmp_path):
    network = EXAMPLES["bowl"].learning("sgd")
    plan = generate.write_workbook(network, tmp_path / "a.xlsx", steps=16, learning_rates=(0.6,))
    values, table = ironcalc.recalculate(tmp_path / "a.xlsx")["Backprop"], plan.backprop
    losses = [
        values[row, table.columns["E_total"]] for row in range(table.first_row, table.last_row + 1)
    ]
    assert any(1e4 < loss < 1e5 for loss in losses)
    pdf = libreoffice.convert(tmp_path / "a.xlsx", "pdf", tmp_path)
    text = subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True)
    assert "###" not in text.stdout
