"""`gradsheet check` on sheets that learn by momentum, Adam and the like: hand-made ones, and our own."""

from __future__ import annotations

import re
from itertools import cycle

import openpyxl
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


# ---------------------------------------------------------------- a chain of two neurons, with biases

CHAIN = {
    "w1": (0.4, ""),
    "w3": (0.2, ""),
    "b1": (0.3, ""),
    "w2": (0.5, ""),
    "b2": (0.1, ""),
    "h1": "{w1}*{i1}+{w3}*{i2}+{b1}",
    "a_h1": "MAX(0,{h1})",
    "o1": "{w2}*{a_h1}+{b2}",
    "E": "0.5*({t1}-{o1})^2",
    "dE/db2": "{o1}-{t1}",
    "dE/dw2": "{dE/db2}*{a_h1}",
    "dE/db1": "{dE/db2}*{w2}*IF({h1}>0,1,0)",
    "dE/dw1": "{dE/db1}*{i1}",
    "dE/dw3": "{dE/db1}*{i2}",
}
LEARNT = ("w1", "w3", "b1", "w2", "b2")
ADAM = {
    "m": "{b1!}*{-m}+(1-{b1!})*{g}",
    "v": "{b2!}*{-v}+(1-{b2!})*{sq}",
}
POWERS = {"b1^t": ("={b1!}", "{-b1^t}*{b1!}"), "b2^t": ("={b2!}", "{-b2^t}*{b2!}")}


def write_chain(path, step, states=None, columns=None, edit=None, **settings):
    """A sheet of 10 rows below an empty one, and its cells by name. In a template {x} stands for the
    cell of x in the same row, {-x} in the row above, {x!} for a setting; {g}, {w} and {m} are of the
    own weight. Columns may have a first cell of their own. ``edit`` changes formulas by name."""
    usual = {"lr": 0.05, "b1": 0.9, "b2": 0.99, "eps": 1e-8}
    settings = {**usual, "i1": 0.8, "i2": 0.6, "t1": 0.9, **settings}
    found = {**(columns or {}), **CHAIN}
    letters = tuple(states or {})
    for weight in LEARNT:
        own = {"g": f"dE/d{weight}", "w": weight} | {x: f"{x}({weight})" for x in (*letters, "sq")}

        def of(template, own=own):
            return re.sub(r"\{(-?)(\w+)\}", lambda m: f"{{{m[1]}{own.get(m[2], m[2])}}}", template)

        if "{sq}" in "".join((states or {}).values()):
            found[own["sq"]] = of("{g}^2")
        found |= {own[x]: of(template) for x, template in (states or {}).items()}
        taken = of(step(weight) if callable(step) else step)
        if columns is not None and "steps" in columns:
            found[f"Δ{weight}"], taken = taken, f"{{Δ{weight}}}"
        taken = re.sub(r"\{(?!\w+!)([^}]+)\}", r"{-\1}", taken)
        found[weight] = (CHAIN[weight][0], f"{{-{weight}}}-{taken}")
    found.pop("steps", None)
    found |= edit(found) if edit else {}
    names = list(found)
    book = openpyxl.Workbook()
    page = book.active
    for n, (name, value) in enumerate(settings.items()):
        page.cell(1, 1 + 2 * n, {"lr": "learning rate"}.get(name, name))
        page.cell(1, 2 + 2 * n, value)

    def address(match, row):
        sign, name, setting = match[1], match[2], match[3]
        if setting or (name in settings and name not in found):
            return f"${get_column_letter(2 + 2 * list(settings).index(name))}$1"
        return f"{get_column_letter(1 + names.index(name))}{row - bool(sign)}"

    cells = {}
    for column, (name, what) in enumerate(found.items(), 1):
        page.cell(3, column, name)
        for row in range(5, 15):
            first, usual = what if isinstance(what, tuple) else (None, what)
            value = first if row == 5 and first is not None else "=" + usual
            if isinstance(value, str):
                value = re.sub(r"\{(-?)([^!}]+)(!?)\}", lambda m, row=row: address(m, row), value)
            cells[name, row] = page.cell(row, column, value).coordinate
    book.save(path)
    return cells


CORRECTED = "{lr!}*{m}/(1-{b1^t})/(SQRT({v}/(1-{b2^t}))+{eps!})"
DECAYING = {"m": "{b1!}*{-m}+{g}+{lam!}*{w}"}
RIGHT_CHAINS = {
    "powers of β in columns, and squares": (
        {"step": CORRECTED, "states": ADAM, "columns": POWERS},
        "Adam with beta1 0.9, beta2 0.99, epsilon 1e-08",
    ),
    "a learning rate that falls, and momentum": (
        {
            "step": "{lr_t}*{m}",
            "states": {"m": "{b1!}*{-m}+{g}"},
            "columns": {"lr_t": ("={lr!}", "{-lr_t}*0.98")},
        },
        "momentum 0.9",
    ),
    "a velocity with a learning rate that falls": (
        {
            "step": "{m}",
            "states": {"m": "{b1!}*{-m}+{lr_t}*{g}"},
            "columns": {"t": (1, "{-t}+1"), "lr_t": "{lr!}/(1+0.1*{t})"},
        },
        "velocity",
    ),
    "decay beside a running sum that nothing uses": (
        {
            "step": "{lr!}*({g}+{lam!}*{w})",
            "columns": {"sum": ("={dE/dw1}", "{-sum}+{dE/dw1}")},
            "lam": 0.01,
        },
        "weight decay 0.01",
    ),
    "biases that do not decay": (
        {"step": "{lr!}*{m}", "states": {"m": "{b1!}*{-m}+{g}+{lam!}*{w}"}, "lam": 0.01},
        "its biases do not decay",
    ),
    "an average of gradients": (
        {"step": "{lr!}*{m}", "states": {"m": "{b1!}*{-m}+(1-{b1!})*{g}"}},
        "momentum as an average",
    ),
    "a learning rate that is typed beside an ε in a cell": (
        {"step": "0.05*{g}/(SQRT({v})+{eps!})", "states": {"v": "{b2!}*{-v}+(1-{b2!})*{g}^2"}},
        "RMSProp",
    ),
    "a velocity with the learning rate typed into it": (
        {"step": "{m}", "states": {"m": "0.9*{-m}+0.1*{g}"}},
        "momentum",
    ),
    "steps in columns": (
        {"step": CORRECTED, "states": ADAM, "columns": {**POWERS, "steps": ""}},
        "Adam",
    ),
}


@pytest.mark.parametrize("name", RIGHT_CHAINS)
def test_a_right_chain_is_correct(tmp_path, name):
    how, words = RIGHT_CHAINS[name]

    def bare(found):
        kept = {"m(b1)", "m(b2)"}
        return {n: re.sub(r"\+\{lam!\}\*\{b\d\}", "", found[n]) for n in kept & set(found)}

    write_chain(tmp_path / "a.xlsx", edit=bare, **how)
    verdict = check(tmp_path / "a.xlsx")
    assert (verdict.outcome, verdict.findings) == ("correct", ())
    assert words in " ".join(verdict.understood[0].notes)


def test_a_wrong_step_is_named_where_it_stands(tmp_path):
    def edit(found):
        return {"Δw1": found["Δw1"].replace("SQRT", "")}

    columns = {**POWERS, "steps": ""}
    cells = write_chain(tmp_path / "a.xlsx", CORRECTED, ADAM, columns, edit)
    verdict = check(tmp_path / "a.xlsx")
    assert wrong_cells(verdict) == {cells["Δw1", row] for row in range(5, 15)}


def test_the_first_row_is_judged_where_1_minus_β_has_a_cell(tmp_path):
    def edit(found):
        return {"m(w1)": found["m(w1)"].replace("dE/dw1", "dE/dw3")}

    states = {"m": "{b1!}*{-m}+{c!}*{g}"}
    cells = write_chain(tmp_path / "a.xlsx", "{lr!}*{m}", states, edit=edit, c=0.1)
    assert wrong_cells(check(tmp_path / "a.xlsx")) == {cells["m(w1)", row] for row in range(5, 15)}


def test_a_wrong_power_is_named(tmp_path):
    cells = write_chain(tmp_path / "a.xlsx", CORRECTED, ADAM, POWERS)
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    page = book.active
    page[cells["b1^t", 9]] = page[cells["b1^t", 9]].value + "^1"
    book.save(tmp_path / "a.xlsx")
    assert check(tmp_path / "a.xlsx").outcome == "correct"
    page[cells["b1^t", 9]] = page[cells["b1^t", 9]].value + "+0*1+0.1"
    book.save(tmp_path / "a.xlsx")
    assert check(tmp_path / "a.xlsx").outcome != "correct"


def test_a_pasted_number_does_not_hide_another_method(tmp_path):
    step = "{lr!}*{g}/(1+ABS({m}))"
    cells = write_chain(tmp_path / "a.xlsx", step, {"m": "{b1!}*{-m}+{g}"})
    assert check(tmp_path / "a.xlsx").outcome == "not understood"
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    book.active[cells["w1", 9]] = 0.7
    book.save(tmp_path / "a.xlsx")
    assert wrong_cells(check(tmp_path / "a.xlsx")) == {cells["w1", 9]}


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


@pytest.mark.parametrize("unused", [False, True])
def test_momentum_in_one_layer_only_is_another_method(tmp_path, unused):
    import openpyxl

    build(tmp_path / "a.xlsx", Sheet("momentum"))
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    sheet = book["training"]
    for weight, slope, state in zip(
        "GHIJ", ("Z", "AA", "AB", "AC"), ("AH", "AI", "AJ", "AK"), strict=True
    ):
        for row in range(9, 16):
            sheet[f"{weight}{row}"] = f"={weight}{row - 1}-$C$1*{slope}{row - 1}"
        for row in range(7, 16 if not unused else 7):
            sheet[f"{state}{row}"] = None
    book.save(tmp_path / "a.xlsx")
    assert check(tmp_path / "a.xlsx").outcome == "not understood"


# ---------------------------------------------------------------- other workbooks of our own


def test_several_weights_that_are_paired_wrongly_are_named(tmp_path):
    generate.write_mistake(EXAMPLES["iris"], tmp_path / "a.xlsx", "wrong-pairing", steps=4)
    causes = {finding.cause for finding in check(tmp_path / "a.xlsx").findings}
    assert causes == {"wrong pairing: w18, w19 stand where w21, w25 belong"}


def test_a_workbook_that_compares_optimizers_is_left_to_verify(tmp_path):
    compared = generate.comparison(EXAMPLES["seed"], ["sgd", "adam"], 4)
    generate.write_comparison(compared, tmp_path / "a.xlsx", [0.5, 0.1])
    verdict = check(tmp_path / "a.xlsx")
    assert verdict.outcome == "not understood"
    assert "gradsheet verify proves that" in verdict.reason
