"""`gradsheet check` on sheets that learn by momentum, Adam and the like: hand-made ones, and our own."""

from __future__ import annotations

from itertools import cycle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl.utils import get_column_letter, range_boundaries

import optimizer_sheets
from gradsheet import generate
from gradsheet.backends.workbook_layout import BACKPROP, Plan
from gradsheet.check.examine import check
from gradsheet.compiler import compile_network
from gradsheet.engines import ironcalc
from gradsheet.errors import InputError
from gradsheet.examples import EXAMPLES
from gradsheet.mistakes import LEARNING_MISTAKES, MISTAKES
from gradsheet.network import Network
from gradsheet.optimizers import OPTIMIZERS
from optimizer_sheets import HEADERS, RULES, Sheet, build


def wrong_cells(verdict) -> set[str]:
    found = set()
    for finding in verdict.findings:
        for part in finding.cells.split(","):
            left, top, right, bottom = range_boundaries(part)
            found |= {
                f"{get_column_letter(column)}{row}"
                for column in range(left, right + 1)
                for row in range(top, bottom + 1)
            }
    return found


# ---------------------------------------------------------------- hand-made sheets

LAYOUTS = [
    Sheet(rule, headers=headers, late=late, same_row=same_row, counter=counter, corrected=corrected)
    for rule, headers, (late, same_row, counter, corrected) in zip(
        [rule for rule in RULES for _ in range(2)],
        cycle(HEADERS),
        cycle([(False, False, 1, True), (True, False, 0, True), (False, True, 0, False)]),
        strict=False,
    )
]


@pytest.mark.parametrize("sheet", LAYOUTS, ids=lambda s: f"{s.rule}, {s.headers}, late {s.late}")
def test_a_right_sheet_is_correct_and_its_optimizer_is_named(tmp_path, sheet):
    build(tmp_path / "a.xlsx", sheet)
    verdict = check(tmp_path / "a.xlsx")
    assert (verdict.outcome, verdict.findings) == ("correct", ())
    notes = " ".join(verdict.understood[0].notes).casefold()
    words = {"decay": "weight decay", "average": "momentum as an average", "velocity": "velocity"}
    first = sheet.rule.removeprefix("minus ").split()[0]
    assert "it learns by" in notes
    assert words.get(first, first) in notes


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("mistake", optimizer_sheets.MISTAKES)
def test_exactly_the_wrong_cells_are_named(tmp_path, mistake, typed):
    found = 0
    layouts = cycle([(False, False), (True, False), (False, True)])
    for n, (rule, (late, same_row)) in enumerate(zip(RULES, layouts, strict=False)):
        corrected = n % 2 == 0 if "bias" not in mistake else mistake.endswith("of one")
        sheet = Sheet(rule, late=late, same_row=same_row, corrected=corrected, typed=typed)
        wrong = build(tmp_path / "a.xlsx", sheet, mistake)
        if wrong is None:
            continue
        found += 1
        verdict = check(tmp_path / "a.xlsx")
        assert (verdict.outcome, wrong_cells(verdict)) == ("wrong", wrong), sheet
    assert found


def test_adam_without_bias_correction_is_called_so(tmp_path):
    build(tmp_path / "a.xlsx", Sheet("adam", corrected=False), "no bias correction")
    verdict = check(tmp_path / "a.xlsx")
    assert {finding.cause for finding in verdict.findings} == {
        LEARNING_MISTAKES["no-bias-correction"].description
    }
    finding = next(f for f in verdict.findings if f.quantity == "update of w1")
    assert finding.shown == "=G8-$C$1*AH8/(SQRT(AP8)+$C$4)"
    assert finding.expected == "=G8-$C$1*(AH8/(1-$C$2^B8)/(SQRT(AP8/(1-$C$3^B8))+$C$4))"


def test_what_the_missing_correction_does_to_learning_is_told(tmp_path):
    torch = pytest.importorskip("torch")
    build(tmp_path / "a.xlsx", Sheet("adam", corrected=False), "no bias correction")
    weights = torch.tensor(optimizer_sheets.INITIAL, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.05, betas=(0.9, 0.99), eps=1e-8)
    inputs, targets = torch.tensor([[0.05, 0.1], [0.01, 0.99]], dtype=torch.float64)
    for step in range(8):
        hidden = torch.sigmoid(weights[:4].reshape(2, 2) @ inputs)
        loss = 0.5 * ((torch.sigmoid(weights[4:].reshape(2, 2) @ hidden) - targets) ** 2).sum()
        if step < 7:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    (effect,) = check(tmp_path / "a.xlsx").effects
    assert f"with the right formulas it is {loss.item():.9g} " in effect


def test_averages_that_begin_with_other_numbers_have_no_bias_to_correct(tmp_path):
    """As in sheets that go on with what an earlier run remembered: no mistake, but no known rule."""
    import openpyxl

    build(tmp_path / "a.xlsx", Sheet("adam", corrected=False, late=True), "no bias correction")
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    for row in book["training"].iter_rows(min_row=8, max_row=8):
        for cell in row:
            if cell.value == 0:
                cell.value = 0.01
    book.save(tmp_path / "b.xlsx")
    assert check(tmp_path / "a.xlsx").outcome == "wrong"
    assert check(tmp_path / "b.xlsx").outcome == "not understood"


sheets = st.builds(
    Sheet,
    st.sampled_from(list(RULES)),
    headers=st.sampled_from(list(HEADERS)),
    late=st.booleans(),
    counter=st.sampled_from((0, 1)),
    corrected=st.booleans(),
    typed=st.booleans(),
    top=st.sampled_from((5, 6, 9)),
    left=st.sampled_from((0, 1, 2)),
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sheet=sheets, mistake=st.sampled_from((None, *optimizer_sheets.MISTAKES)))
def test_drawn_sheets_are_judged_exactly(tmp_path, sheet, mistake):
    wrong = build(tmp_path / "a.xlsx", sheet, mistake)
    if wrong is not None:
        verdict = check(tmp_path / "a.xlsx")
        assert (verdict.outcome, wrong_cells(verdict)) == ("wrong" if wrong else "correct", wrong)


# ---------------------------------------------------------------- our own workbooks


def learning(optimizer: str, example: str = "seed", schedule: str = "constant") -> Network:
    settings = {"momentum": {"dampening": 0.3}, "adam": {"weight_decay": 0.05}}.get(optimizer, {})
    return EXAMPLES[example].learning(optimizer, schedule, settings)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_workbook_with_any_optimizer_is_correct(tmp_path, optimizer, schedule):
    path = tmp_path / "a.xlsx"
    network = learning(optimizer, schedule=schedule)
    generate.write_workbook(network, path, steps=6, learning_rates=(0.1,))
    verdict = check(path)
    assert (verdict.outcome, verdict.reason) == ("correct", "")


CASES = [
    (mistake, optimizer, schedule)
    for mistake in ("wrong-sign", "other-gradient", "sliding-learning-rate", *LEARNING_MISTAKES)
    for optimizer, schedule in zip(OPTIMIZERS, cycle(["constant", "warmup"]), strict=False)
]


@pytest.mark.parametrize(("mistake", "optimizer", "schedule"), CASES)
def test_planted_mistakes_are_found_exactly(tmp_path, mistake, optimizer, schedule):
    network, wrong, right = (
        learning(optimizer, schedule=schedule),
        tmp_path / "a.xlsx",
        tmp_path / "b.xlsx",
    )
    try:
        generate.write_mistake(network, wrong, mistake, steps=6)
    except InputError as error:
        assert "does not fit" in str(error)  # noqa: PT017  (which mistakes fit is tested elsewhere)
        return
    generate.write_workbook(network, right, steps=6, learning_rates=(0.1,))
    planted, correct = (ironcalc.formulas(path)[BACKPROP] for path in (wrong, right))
    plan = Plan(compile_network(network), 6, 0)
    width = len(plan.names)
    differing = {
        f"{get_column_letter(column + 1)}{row + 1}"
        for (row, column), formula in planted.items()
        if row > plan.header_row and column <= width and formula != correct[row, column]
    }
    verdict = check(wrong)
    found = wrong_cells(verdict)
    if mistake == "sliding-learning-rate":  # its first row still reads the right cell
        first = str(plan.backprop.first_row + 2)
        differing = {cell for cell in differing if not cell.endswith(first)}
    assert (verdict.outcome, found) == ("wrong", differing)
    if mistake in LEARNING_MISTAKES:
        assert {f.cause for f in verdict.findings} == {MISTAKES[mistake].description}


@pytest.mark.parametrize(
    ("mistake", "optimizers"),
    [
        ("no-bias-correction", {"adam", "adamw"}),
        ("epsilon-inside-root", {"adagrad", "rmsprop", "adam", "adamw"}),
        ("dampening-forgotten", {"momentum", "momentum_average", "adam", "adamw"}),
        ("decay-coupled", {"adamw"}),
    ],
)
def test_a_mistake_of_an_optimizer_fits_those_that_have_a_place_for_it(mistake, optimizers):
    plans = {name: Plan(compile_network(learning(name)), 2, 0) for name in OPTIMIZERS}
    assert {name for name, plan in plans.items() if MISTAKES[mistake].plant(plan)} == optimizers


def test_an_exercise_with_adam_is_graded(tmp_path):
    path = tmp_path / "a.xlsx"
    generate.write_exercise(learning("adam"), path, steps=4)
    verdict = check(path)
    assert verdict.outcome == "wrong"
    assert {finding.cause for finding in verdict.findings} == {"not filled in"}
