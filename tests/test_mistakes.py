"""Planted mistakes: each is where it should be, shows true numbers, and is found by `verify`."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from openxml_audit import OpenXmlValidator
from xlsxwriter.utility import xl_cell_to_rowcol

import packages
from gradsheet import generate, mistakes
from gradsheet.backends.workbook_layout import Plan, formula_templates
from gradsheet.cli import main
from gradsheet.compiler import compile_network
from gradsheet.engines import CellError, ironcalc, libreoffice
from gradsheet.errors import InputError, WorkbookError
from gradsheet.examples import EXAMPLES
from gradsheet.mistakes import LEARNING_MISTAKES, MISTAKES
from gradsheet.network import Layer, Network
from strategies import PLAIN, networks

STEPS = 12
PAIRS = [(m, e) for m, e in product(MISTAKES, PLAIN) if e in mistakes.fitting_examples(m)]
RELU = Network(
    name="masked",
    layers=(Layer("relu", ((0.5, -0.4), (-0.3, 0.1))), Layer("sigmoid", ((0.3, 0.2),))),
    loss="half_squared_error",
    inputs=((1.0, 0.5),),  # h1 = 0.3 is active, h2 = -0.25 is not
    targets=((1.0,),),
)


def right_values(network: Network, steps: int) -> dict[tuple[int, int], float]:
    """The table of the workbook without a mistake, by cell."""
    plan, trace = generate._prepared(network, None, steps, (), force=False)
    table = plan.backprop
    return {
        (table.first_row + step, column): float(trace.table[name][step])
        for name, column in table.columns.items()
        for step in range(steps)
    }


def formulas_of(path) -> dict[str, str]:
    return {
        (row, column): formula
        for (row, column), formula in ironcalc.formulas(path)["Backprop"].items()
        if row > Plan.HEADER_ROW
    }


def test_there_is_a_mistake_for_every_example():
    assert {example for _, example in PAIRS} == set(PLAIN)
    without = {name for name in MISTAKES if not mistakes.fitting_examples(name)}
    assert without <= {"missing-mask", *LEARNING_MISTAKES}


@pytest.mark.parametrize(("mistake", "example"), PAIRS)
def test_a_planted_mistake_shows_true_numbers_and_they_are_not_the_right_ones(
    tmp_path, mistake, example
):
    path = tmp_path / "wrong.xlsx"
    generate.write_mistake(EXAMPLES[example], path, mistake, steps=STEPS)
    sheets = ironcalc.recalculate(packages.poisoned(path, tmp_path / "poisoned.xlsx"))
    values = [value for cells in sheets.values() for value in cells.values()]
    assert not any(isinstance(value, CellError) for value in values)
    for sheet, cells in packages.cached_values(path).items():
        for place, cached in cells.items():
            value = sheets[sheet][xl_cell_to_rowcol(place)]
            # IronCalc gave these values, so nothing but the number of printed digits can differ.
            same = float(cached) == pytest.approx(value, rel=1e-14) if place != "B6" else cached == value
            assert same, (sheet, place)
    right = right_values(EXAMPLES[example], STEPS)
    changed = [
        place
        for place, value in right.items()
        if abs(sheets["Backprop"][place] - value) > 1e-6 * max(1e-6, abs(value))
    ]
    assert bool(changed) == MISTAKES[mistake].changes_numbers


@pytest.mark.parametrize(("mistake", "example"), PAIRS)
def test_verify_finds_every_planted_mistake(tmp_path, mistake, example):
    pytest.importorskip("torch")
    from gradsheet import verify

    path = tmp_path / "wrong.xlsx"
    generate.write_mistake(EXAMPLES[example], path, mistake, steps=STEPS)
    plain, changed = verify.verify(path).runs
    # Pasted numbers are right until an input changes: only the second run can find them.
    assert bool(plain.differing) == MISTAKES[mistake].changes_numbers
    assert changed.differing > 0


def test_verify_of_a_planted_mistake_exits_with_1_and_of_a_mended_one_with_0(tmp_path):
    pytest.importorskip("torch")
    wrong, mended = tmp_path / "wrong.xlsx", tmp_path / "mended.xlsx"
    generate.write_mistake(EXAMPLES["seed"], wrong, "other-gradient", steps=2)
    packages.with_formula(wrong, mended, "Backprop!H11", "H10-learning_rate*AA10")
    assert CliRunner().invoke(main, ["verify", str(wrong)]).exit_code == 1
    result = CliRunner().invoke(main, ["verify", str(mended)])
    assert (result.exit_code, result.output.splitlines()[-1][:6]) == (0, "PROVED")


def test_no_ordinary_workbook_passes_as_a_lesson_to_get_around_the_proof(tmp_path):
    pytest.importorskip("torch")
    from gradsheet import verify

    path = tmp_path / "right.xlsx"
    generate.write_workbook(EXAMPLES["seed"], path, steps=2)
    packages.with_number(path, tmp_path / "edited.xlsx", "Network!B5", 0.0)
    with pytest.raises(WorkbookError, match=r"Network was edited .*counts no learning rates"):
        verify.verify(tmp_path / "edited.xlsx")


PLANTED = {  # a cell of the wrong workbook, what stands there, and what would be right
    "wrong-neuron": ("AJ11", "=(AG11*O11+AH11*Q11)*K11*(1-K11)", "=(AG11*O11+AH11*Q11)*M11*(1-M11)"),
    "wrong-pairing": ("AI11", "=(AG11*N11+AH11*O11)*K11*(1-K11)", "=(AG11*N11+AH11*P11)*K11*(1-K11)"),
    "missing-brackets": ("AG11", "=S11-B11*S11*(1-S11)", "=(S11-B11)*S11*(1-S11)"),
    "missing-slope": ("AJ11", "=AG11*O11+AH11*Q11", "=(AG11*O11+AH11*Q11)*M11*(1-M11)"),
    "updated-weights-too-early": (
        "AI11",
        "=(AG11*N12+AH11*P12)*K11*(1-K11)",
        "=(AG11*N11+AH11*P11)*K11*(1-K11)",
    ),
    "other-gradient": ("H11", "=H10-learning_rate*Y10", "=H10-learning_rate*AA10"),
    "target-times-output": ("AG11", "=B11*S11*S11*(1-S11)", "=(S11-B11)*S11*(1-S11)"),
    "sliding-learning-rate": ("F12", "=F11-AL11*Y11", "=F11-learning_rate*Y11"),
    "unanchored": ("AG11", "=($S$10-B11)*$S$10*(1-$S$10)", "=(S11-B11)*S11*(1-S11)"),
    "pasted-constants": ("Y16", None, "=AI16*D16"),
    "repeated-rows": ("F16", "=F15", "=F15-learning_rate*Y15"),
    "wrong-sign": ("F11", "=F10+learning_rate*Y10", "=F10-learning_rate*Y10"),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_mistake_of_the_courses_network_is_the_one_that_people_make(tmp_path, mistake):
    place, wrong, right = PLANTED[mistake]
    generate.write_workbook(EXAMPLES["seed"], tmp_path / "right.xlsx", steps=STEPS)
    generate.write_mistake(EXAMPLES["seed"], tmp_path / "wrong.xlsx", mistake, steps=STEPS)
    assert formulas_of(tmp_path / "right.xlsx")[xl_cell_to_rowcol(place)] == right
    assert formulas_of(tmp_path / "wrong.xlsx").get(xl_cell_to_rowcol(place)) == wrong


def test_a_reference_points_elsewhere_without_touching_those_that_look_alike():
    formula = mistakes._pointed("=AN11*N11-N110*N11", "N11", "$N$10")
    assert formula == "=AN11*$N$10-N110*$N$10"


def test_every_mistake_that_the_courses_network_can_have_is_in_the_table_above():
    assert set(PLANTED) == {mistake for mistake, example in PAIRS if example == "seed"}


@pytest.mark.parametrize(
    ("mistake", "columns", "first_row"),
    [
        ("wrong-neuron", {"δ_h2"}, 1),
        ("missing-slope", {"δ_h1", "δ_h2"}, 1),
        ("updated-weights-too-early", {"δ_h1", "δ_h2"}, 1),
        ("other-gradient", {"w3"}, 2),
        ("pasted-constants", {"∂E/∂w1"}, 7),
        ("repeated-rows", {f"w{k}" for k in range(1, 9)}, 7),
    ],
)
def test_nothing_but_the_planted_cells_is_wrong(tmp_path, mistake, columns, first_row):
    generate.write_workbook(EXAMPLES["seed"], tmp_path / "right.xlsx", steps=STEPS)
    generate.write_mistake(EXAMPLES["seed"], tmp_path / "wrong.xlsx", mistake, steps=STEPS)
    right, wrong = (formulas_of(tmp_path / f"{name}.xlsx") for name in ("right", "wrong"))
    headers = ironcalc.recalculate(tmp_path / "wrong.xlsx")["Backprop"]
    places = [place for place, formula in right.items() if wrong.get(place) != formula]
    assert {headers[Plan.HEADER_ROW, column] for _, column in places} == columns
    rows = range(Plan.HEADER_ROW + first_row, Plan.HEADER_ROW + STEPS + 1)
    assert {row for row, _ in places} == set(rows)
    assert set(wrong) <= set(right)


@pytest.mark.parametrize("mistake", PLANTED)
def test_the_workbook_does_not_tell_where_the_mistake_is(tmp_path, mistake):
    generate.write_workbook(EXAMPLES["seed"], tmp_path / "right.xlsx", steps=3)
    generate.write_mistake(EXAMPLES["seed"], tmp_path / "wrong.xlsx", mistake, steps=3)
    right, wrong = (ironcalc.recalculate(tmp_path / f"{name}.xlsx") for name in ("right", "wrong"))
    assert list(wrong) == ["Backprop", "Network"]
    for column in range(36):
        over = (Plan.HEADER_ROW - 1, column)
        assert wrong["Backprop"].get(over) == right["Backprop"].get(over)
    words = [str(value) for cells in wrong.values() for value in cells.values()]
    assert not any(mistake in text for text in words)
    assert any(text.startswith("Your task: one mistake is planted") for text in words)


def test_a_missing_mask_lets_a_gradient_through_an_inactive_neuron(tmp_path):
    path = tmp_path / "wrong.xlsx"
    plan = generate.write_mistake(RELU, path, "missing-mask", steps=3)
    cells, table = ironcalc.recalculate(path)["Backprop"], plan.backprop
    assert cells[table.first_row, table.columns["a_h2"]] == 0
    assert cells[table.first_row, table.columns["dE_dw3"]] != 0
    assert right_values(RELU, 3)[table.first_row, table.columns["dE_dw3"]] == 0


def test_a_mistake_that_makes_no_difference_is_refused_and_nothing_is_written(tmp_path):
    active = Network("active", (Layer("relu", ((0.5,),)),), "half_squared_error", ((1.0,),), ((1.0,),))
    with pytest.raises(InputError, match="missing-mask changes no number of the network active"):
        generate.write_mistake(active, tmp_path / "x.xlsx", "missing-mask")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mistake", "example", "sentence"),
    [
        (
            "wrong-pairing",
            "xor",
            "two or more neurons in a hidden layer .* use one of seed, mazur, iris",
        ),
        ("bias-never-updated", "mazur", "needs biases that are trained; use one of xor, cs231n, iris"),
        ("missing-mask", "seed", "needs a layer with ReLU; no example is like that: change one"),
        ("typo", "seed", "mistake: 'typo' is not known; use one of wrong-neuron, wrong-pairing"),
    ],
)
def test_a_mistake_that_does_not_fit_says_what_it_needs(tmp_path, mistake, example, sentence):
    with pytest.raises(InputError, match=sentence):
        generate.write_mistake(EXAMPLES[example], tmp_path / "x.xlsx", mistake)


@given(network=networks())
@settings(max_examples=100)
def test_a_mistake_that_fits_any_network_changes_a_formula_of_its_table(network):
    plan = Plan(compile_network(network), 2, 0)
    table = plan.backprop
    right = {
        (name, step): template.format(r=table.first_row + step + 1, p=table.first_row + step)
        for name, templates in formula_templates(plan, table, "learning_rate").items()
        for step, template in enumerate(templates)
        if template is not None
    }
    for name, mistake in MISTAKES.items():
        rewrite = mistake.plant(plan)
        if rewrite is not None:
            wrong = {place: rewrite(*place, formula, 1.5) for place, formula in right.items()}
            assert wrong != right, name


@pytest.mark.parametrize("mistake", ["sliding-learning-rate", "pasted-constants"])
def test_excel_is_expected_to_open_it_without_repair(tmp_path, mistake):
    generate.write_mistake(EXAMPLES["seed"], tmp_path / "x.xlsx", mistake, steps=3)
    assert OpenXmlValidator().validate(str(tmp_path / "x.xlsx")).errors == []


@pytest.mark.skipif(libreoffice.find() is None, reason="LibreOffice is not installed")
@pytest.mark.libreoffice
@pytest.mark.parametrize("mistake", ["sliding-learning-rate", "updated-weights-too-early"])
def test_libreoffice_takes_the_empty_cells_of_a_mistake_for_0_as_well(tmp_path, mistake):
    generate.write_mistake(EXAMPLES["seed"], tmp_path / "x.xlsx", mistake, steps=4)
    one, other = (engine.recalculate(tmp_path / "x.xlsx") for engine in (ironcalc, libreoffice))
    places = [place for place, value in one["Backprop"].items() if isinstance(value, float)]
    values = [[cells["Backprop"][place] for place in places] for cells in (one, other)]
    np.testing.assert_allclose(*values, rtol=1e-12)


def test_the_command_line_lists_the_mistakes_and_plants_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = CliRunner().invoke(main, ["examples", "--mistakes"]).output.splitlines()
    assert [line.split()[0] for line in lines] == list(MISTAKES)
    assert all(len(line) <= 100 for line in lines)
    result = CliRunner().invoke(main, ["workbook", "xor", "--mistake", "wrong-sign", "--steps", "3"])
    assert (result.exit_code, result.output) == (0, "wrote xor-mistake.xlsx\n")
    result = CliRunner().invoke(main, ["workbook", "--mistake", "wrong-sign", "--learning-rates", "1"])
    assert result.exit_code == 2
    assert "compares none" in result.stderr
