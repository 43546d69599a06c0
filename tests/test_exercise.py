"""Exercises: what is blank, what is not, and that filling it in gives the right workbook."""

from __future__ import annotations

import ironcalc as engine
import numpy as np
import openpyxl
import pytest
from click.testing import CliRunner
from openxml_audit import OpenXmlValidator
from xlsxwriter.utility import xl_cell_to_rowcol, xl_col_to_name

import packages
from gradsheet import generate
from gradsheet.backends.workbook_layout import Plan
from gradsheet.check.examine import check
from gradsheet.cli import main
from gradsheet.compiler import compile_network
from gradsheet.engines import CellError, ironcalc, libreoffice
from gradsheet.errors import InputError, WorkbookError
from gradsheet.examples import EXAMPLES
from strategies import PLAIN

STEPS = 6
CHOICES = [
    ("gradients", "updates"),
    ("gradients",),
    ("updates",),
    ("forward",),
    ("forward", "gradients", "updates"),
]
ROLES = {"forward": ("forward", "loss"), "gradients": ("delta", "gradient"), "updates": ("parameter",)}


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """The formulas of every example's ordinary table, by cell, and the values that they give."""
    folder = tmp_path_factory.mktemp("right")
    found = {}
    for name, network in PLAIN.items():
        path = folder / f"{name}.xlsx"
        generate.write_workbook(network, path, steps=STEPS, learning_rates=(0.1,))
        found[name] = ironcalc.formulas(path)["Backprop"], ironcalc.recalculate(path)["Backprop"]
    return found


def written(folder, example, blank):
    path = folder / "exercise.xlsx"
    return path, generate.write_exercise(EXAMPLES[example], path, blank=blank, steps=STEPS)


@pytest.mark.parametrize("blank", CHOICES, ids=",".join)
@pytest.mark.parametrize("example", PLAIN)
def test_exactly_the_named_groups_are_blank_and_all_else_is_as_ever(tmp_path, right, example, blank):
    path, plan = written(tmp_path, example, blank)
    formulas, _ = right[example]
    found, cells = ironcalc.formulas(path)["Backprop"], ironcalc.recalculate(path)["Backprop"]
    table = plan.backprop
    wanted = {
        place
        for group in blank
        for quantity in compile_network(EXAMPLES[example]).of_role(*ROLES[group])
        if group != "updates" or quantity.name in plan.program.trained
        for row in range(table.first_row, table.last_row + 1)
        if (place := (row, table.columns[quantity.name])) in formulas
    }
    assert found == {place: text for place, text in formulas.items() if place not in wanted}
    assert [place for place in wanted if cells.get(place)] == []


@pytest.mark.parametrize("blank", CHOICES, ids=",".join)
@pytest.mark.parametrize("example", PLAIN)
def test_an_exercise_shows_what_recalculation_gives_with_blanks_as_0(tmp_path, example, blank):
    path, _ = written(tmp_path, example, blank)
    sheets = ironcalc.recalculate(packages.poisoned(path, tmp_path / "poisoned.xlsx"))
    assert not any(isinstance(v, CellError) for cells in sheets.values() for v in cells.values())
    for sheet, cells in packages.cached_values(path).items():
        for place, cached in cells.items():
            value = sheets[sheet][xl_cell_to_rowcol(place)]
            if isinstance(value, str):
                assert cached == value, (sheet, place)
            else:
                # a slope divides the rounding of two losses by 2ε, the share that by another 1e-10
                slope = sheet == "Gradient check" and place[0] in "DEF"
                near = pytest.approx(value, rel=1e-9, abs=0.1 if slope else 1e-13)
                assert float(cached) == near, (sheet, place)


@pytest.mark.parametrize("blank", CHOICES, ids=",".join)
@pytest.mark.parametrize("example", PLAIN)
def test_who_fills_it_in_gets_the_numbers_of_the_ordinary_workbook(tmp_path, right, example, blank):
    path, _ = written(tmp_path, example, blank)
    formulas, values = right[example]
    model = engine.load_from_xlsx(str(path))
    given = ironcalc.formulas(path)["Backprop"]
    for (row, column), formula in formulas.items():
        if (row, column) not in given:
            model.set_user_input(0, row + 1, column + 1, formula)
    model.evaluate()
    filled = [model.get_cell_value(0, row + 1, column + 1) for row, column in formulas]
    expected = [values[place] for place in formulas]
    numbers = [k for k, value in enumerate(expected) if isinstance(value, float)]
    np.testing.assert_allclose([filled[k] for k in numbers], [expected[k] for k in numbers], rtol=1e-12)
    if "forward" not in blank:
        names = [sheet["name"] for sheet in model.get_worksheets_properties()]
        assert model.get_cell_value(names.index("Gradient check"), 8, 2) == "OK"  # all weights


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_states_are_blank_and_graded(tmp_path, optimizer):
    """Filled in right it is correct; with a state of a weight forgotten, that column is named."""
    network = EXAMPLES["seed"].learning(optimizer=optimizer)
    ordinary, path = tmp_path / "right.xlsx", tmp_path / "exercise.xlsx"
    generate.write_workbook(network, ordinary, steps=STEPS, learning_rates=(0.1,))
    plan = generate.write_exercise(network, path, blank=("states", "updates"), steps=STEPS)
    formulas, given = (ironcalc.formulas(p)["Backprop"] for p in (ordinary, path))
    table, states = plan.backprop, [q.name for q in plan.program.of_role("state")]
    assert states
    blank = {column for _, column in formulas.keys() - given.keys()}
    assert blank == {table.columns[name] for name in (*states, *plan.program.trained)}
    judged = {}
    for name, left in {"all": None, "one": table.columns[states[0]]}.items():
        book = openpyxl.load_workbook(path)
        for (row, column), formula in formulas.items():
            if column in blank and column != left:
                book["Backprop"].cell(row + 1, column + 1, formula)
        book.save(tmp_path / f"{name}.xlsx")
        judged[name] = check(tmp_path / f"{name}.xlsx")
    assert judged["all"].outcome == "correct"
    assert judged["one"].outcome == "wrong"
    letters = xl_col_to_name(table.columns[states[0]])
    assert any(f"{letters}{table.first_row + 1}" in str(f) for f in judged["one"].findings)


def test_states_of_plain_descent_are_refused(tmp_path):
    with pytest.raises(InputError, match="sgd remembers nothing"):
        generate.write_exercise(EXAMPLES["seed"], tmp_path / "x.xlsx", blank=("states",))
    assert not list(tmp_path.iterdir())


def test_gradient_check_tells_a_student_which_gradients_are_still_wrong(tmp_path):
    path, _ = written(tmp_path, "seed", ("gradients", "updates"))
    assert ironcalc.recalculate(path)["Gradient check"][7, 1] == "WRONG"


@pytest.mark.parametrize("blank", CHOICES, ids=",".join)
def test_no_sheet_and_no_words_give_the_answers_away(tmp_path, blank):
    path, plan = written(tmp_path, "seed", blank)
    sheets = ironcalc.recalculate(path)
    check = [] if "forward" in blank else ["Gradient check"]
    assert list(sheets) == ["Backprop", *check, "Network"]
    words = [str(value) for cells in sheets.values() for value in cells.values()]
    answers = {
        "forward": "h1 = w1·i1 + w2·i2",
        "gradients": "∂E/∂w3 = δ_h2·i1",
        "updates": "next row: w5 − η·∂E/∂w5",
    }
    assert {group for group, answer in answers.items() if answer in words} == set(answers) - set(blank)
    over = [sheets["Backprop"].get((Plan.HEADER_ROW - 1, c)) for c in plan.backprop.columns.values()]
    assert "yours to fill in" in over


def test_the_cells_to_fill_in_look_like_neither_an_input_nor_a_formula(tmp_path):
    path, _ = written(tmp_path, "seed", ("gradients", "updates"))
    sheet = openpyxl.load_workbook(path)["Backprop"]
    blank, typed, formula = (sheet[place] for place in ("Y10", "F10", "X10"))
    assert blank.border.left.style == "dashed"
    assert blank.number_format == formula.number_format == "0.00000000"
    assert len({item.fill.fgColor.rgb for item in (blank, typed, formula)}) == 3
    assert sheet["F11"].fill.fgColor.rgb == blank.fill.fgColor.rgb
    assert sheet["I7"].value == "yours to fill in"
    assert "gradsheet check FILE" in sheet["C4"].value


def test_verify_says_in_one_sentence_that_an_exercise_is_for_check(tmp_path):
    pytest.importorskip("torch")
    from gradsheet import verify

    path, _ = written(tmp_path, "seed", ("updates", "gradients"))
    with pytest.raises(WorkbookError, match="is an exercise, whose gradients, updates are a student's"):
        verify.verify(path)
    result = CliRunner().invoke(main, ["verify", str(path)])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "`gradsheet check`" in result.stderr


def test_excel_is_expected_to_open_an_exercise_without_repair(tmp_path):
    path, _ = written(tmp_path, "mazur", ("forward", "gradients", "updates"))
    assert OpenXmlValidator().validate(str(path)).errors == []


@pytest.mark.skipif(libreoffice.find() is None, reason="LibreOffice is not installed")
@pytest.mark.libreoffice
def test_libreoffice_takes_a_blank_for_0_as_well(tmp_path):
    path, _ = written(tmp_path, "iris", ("forward", "gradients", "updates"))
    one, other = (program.recalculate(path)["Backprop"] for program in (ironcalc, libreoffice))
    assert one == other


def test_the_command_line_writes_exercises(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(main, ["workbook", "xor", "--steps", "2", *arguments])

    assert run("--exercise").output == "wrote xor-exercise.xlsx\n"
    default = (tmp_path / "xor-exercise.xlsx").read_bytes()
    assert run("--blank", "updates, gradients", "--out", "same.xlsx").output == "wrote same.xlsx\n"
    assert (tmp_path / "same.xlsx").read_bytes() == default
    for arguments, sentence in (
        (("--blank", "loss"), "blank: 'loss' is not known; give one or more of forward, gradients"),
        (("--blank", ""), "blank: '' is not known"),
        (("--exercise", "--mistake", "wrong-sign"), "an exercise holds no mistake"),
        (("--exercise", "--learning-rates", "1"), "compares none; leave the flag out"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert sentence in result.stderr


def test_an_exercise_that_leaves_nothing_blank_is_refused(tmp_path):
    with pytest.raises(InputError, match="blank: nothing is named"):
        generate.write_exercise(EXAMPLES["seed"], tmp_path / "x.xlsx", blank=())
