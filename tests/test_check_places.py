"""`gradsheet check` names the column that holds the mistake, not those that only read it.

Every sheet is the course's own with one mistake, often filled down from the second iteration on while
the first is right, so that the formulas of a column do not all say the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from gradsheet.check.examine import check
from gradsheet.check.verdict import Verdict
from handmade import Sheet, Table, build

COURSE = Sheet()
BIASES = Sheet(biases=("each", "each"))
DELTAS = Sheet(gradients="deltas")
SINGLE = Sheet(sizes=(2, 1, 1))

Rule = Callable[[str, Callable[[str, int], str], int], str]
"""``rule(formula, at, row)`` is the new formula; ``at`` gives the address of a quantity in a row."""


def replaced(name: str, by: str) -> Rule:
    """A quantity of the row read as another one of the same row."""
    return lambda formula, at, row: re.sub(rf"\b{at(name, row)}\b", at(by, row), formula)


def without(name: str) -> Rule:
    """The last term of a sum left out."""
    return lambda formula, at, row: re.sub(rf"\+{at(name, row)}\b", "", formula)


def text(old: str, new: str) -> Rule:
    def rule(formula: str, at: Callable[[str, int], str], row: int) -> str:
        assert old in formula
        return formula.replace(old, new)

    return rule


def planted(tmp_path: Path, sheet: Sheet, name: str, rule: Rule, first: int = 0) -> tuple[Verdict, str]:
    """The verdict on a sheet with a mistake in a column, and the cells that are wrong."""
    truth = build(tmp_path / "sheet.xlsx", sheet)
    table = truth.tables[0]
    rows = range(table.first_row + first, table.last_row + 1)
    change(truth.path, table, name, rule, rows)
    return check(truth.path), f"{table.columns[name]}{rows[0]}:{table.columns[name]}{rows[-1]}"


def change(path: Path, table: Table, name: str, rule: Rule, rows: range) -> None:
    def at(quantity: str, row: int) -> str:
        return f"{table.columns[quantity]}{row}"

    book = openpyxl.load_workbook(path)
    for row in rows:
        cell = book[table.sheet][at(name, row)]
        before = str(cell.value)
        cell.value = rule(before, at, row)
        assert cell.value != before
    book.save(path)


def places(verdict: Verdict) -> list[tuple[str, str]]:
    return [(finding.quantity, finding.cells) for finding in verdict.findings]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("sheet", "name", "rule"),
    [
        (COURSE, "a_h2", replaced("h2", "h1")),
        (COURSE, "a_h1", replaced("h1", "h2")),
        (BIASES, "a_o1", replaced("o1", "o2")),
        (COURSE, "h1", replaced("w2", "w1")),
        (COURSE, "o2", replaced("w7", "w3")),
        (BIASES, "h2", replaced("b2", "b1")),
        (BIASES, "h2", without("b2")),
        (BIASES, "o2", replaced("b4", "b1")),
        (COURSE, "E1", text("0.5*", "")),
        (COURSE, "E_total", replaced("E2", "E1")),
        (Sheet(loss="half mean"), "E_total", replaced("E2", "E1")),
        (SINGLE, "a_h1", text("EXP(-", "EXP(")),
        (SINGLE, "a_o1", text("1/(1+", "1/1+(")),
        (DELTAS, "dE/dh1", replaced("w5", "w6")),
    ],
)
def test_a_mistake_is_named_where_it_stands(
    tmp_path: Path, sheet: Sheet, name: str, rule: Rule, first: int
) -> None:
    verdict, cells = planted(tmp_path, sheet, name, rule, first)
    assert [found for _, found in places(verdict)] == [cells]


def test_two_deltas_with_the_wrong_sign_are_named(tmp_path: Path) -> None:
    """t − a in both δ of the outputs: what reads them is right only when both are mended."""
    truth = build(tmp_path / "sheet.xlsx", DELTAS)
    table = truth.tables[0]
    rows = range(table.first_row, table.last_row + 1)
    for k in (1, 2):
        change(truth.path, table, f"dE/do{k}", turned(f"a_o{k}", f"t{k}"), rows)
    wanted = [
        (f"dE/do{k}", "{0}{1}:{0}{2}".format(table.columns[f"dE/do{k}"], rows[0], rows[-1]))
        for k in (1, 2)
    ]
    assert places(check(truth.path)) == wanted


def turned(a: str, t: str) -> Rule:
    def rule(formula: str, at: Callable[[str, int], str], row: int) -> str:
        target = re.search(rf"{at(a, row)}-([$A-Z0-9]+)", formula)
        assert target, (formula, t)
        return formula.replace(target[0], f"{target[1]}-{at(a, row)}")

    return rule


def test_the_weight_of_the_row_above_in_a_mistaken_delta_beside_inline_updates(tmp_path: Path) -> None:
    """δ_h1 has no gradient column that reads it: only the updates of the next row do."""
    truth = build(tmp_path / "sheet.xlsx", DELTAS)
    table = truth.tables[0]
    rows = range(table.first_row, table.last_row + 1)
    book = openpyxl.load_workbook(truth.path)
    cells = book[table.sheet]
    sources = {"w1": "i1", "w2": "i2", "w3": "i1", "w4": "i2"}
    sources |= {"w5": "a_h1", "w6": "a_h2", "w7": "a_h1", "w8": "a_h2"}
    deltas = dict(zip(sources, ("h1", "h1", "h2", "h2", "o1", "o1", "o2", "o2"), strict=True))
    for name, source in sources.items():
        gradient = table.columns[f"dE/d{name}"]
        for row in rows:
            at = {n: f"{table.columns[n]}{row}" for n in (name, source, f"dE/d{deltas[name]}")}
            if row < rows[-1]:
                cells[f"{table.columns[name]}{row + 1}"] = (
                    f"={at[name]}-$F$2*{at[f'dE/d{deltas[name]}']}*{at[source]}"
                )
            cells[f"{gradient}{row}"] = None
        cells[f"{gradient}{table.header_row}"] = None
    book.save(truth.path)
    assert check(truth.path).outcome == "correct"
    change(truth.path, table, "dE/dh1", replaced("w5", "w6"), rows)
    column = table.columns["dE/dh1"]
    assert places(check(truth.path)) == [("dE/dh1", f"{column}{rows[0]}:{column}{rows[-1]}")]


def test_what_one_output_adds_to_a_hidden_activation_has_a_column_of_its_own(tmp_path: Path) -> None:
    """∂E1/∂a_h1 and ∂E2/∂a_h1 beside their sum, as in the best-known worked example."""
    truth = build(tmp_path / "sheet.xlsx", DELTAS)
    table = truth.tables[0]
    rows = range(table.first_row, table.last_row + 1)
    book = openpyxl.load_workbook(truth.path)
    cells = book[table.sheet]
    free = cells.max_column + 1
    letters = [openpyxl.utils.get_column_letter(free + k) for k in range(4)]
    parts = [("1", "1", "w5"), ("2", "1", "w7"), ("1", "2", "w6"), ("2", "2", "w8")]
    for letter, (output, hidden, weight) in zip(letters, parts, strict=True):
        cells[f"{letter}{table.header_row}"] = f"∂E{output}/∂out_h{hidden}"
        for row in rows:
            delta = f"{table.columns[f'dE/do{output}']}{row}"
            cells[f"{letter}{row}"] = f"={delta}*{table.columns[weight]}{row}"
    for row in rows:
        for hidden, (first, second) in enumerate((letters[:2], letters[2:]), 1):
            a = f"{table.columns[f'a_h{hidden}']}{row}"
            cells[f"{table.columns[f'dE/dh{hidden}']}{row}"] = (
                f"=({first}{row}+{second}{row})*{a}*(1-{a})"
            )
    book.save(truth.path)
    assert check(truth.path).outcome == "correct"
    for row in rows[1:]:
        cell = f"{letters[1]}{row}"
        cells[cell] = cells[cell].value.replace(table.columns["w7"], table.columns["w8"])
    book.save(truth.path)
    wanted = ("dE2/da_h1", f"{letters[1]}{rows[1]}:{letters[1]}{rows[-1]}")
    assert places(check(truth.path)) == [wanted]


def test_an_update_without_its_rate_is_wrong_and_not_the_gradient(tmp_path: Path) -> None:
    verdict, cells = planted(tmp_path, COURSE, "w6", text("$F$2*", ""), 1)
    assert places(verdict) == [("update of w6", cells)]


@pytest.mark.parametrize("own", ["another's", "sign"])
def test_a_mistake_in_a_step_is_named_there_and_not_in_the_update(tmp_path: Path, own: str) -> None:
    """Δw = −η·∂E/∂w in columns of their own, and updates w + Δw."""
    truth = build(tmp_path / "sheet.xlsx", COURSE)
    table = truth.tables[0]
    rows = range(table.first_row, table.last_row + 1)
    book = openpyxl.load_workbook(truth.path)
    cells = book[table.sheet]
    free = cells.max_column + 1
    steps = {f"w{k}": openpyxl.utils.get_column_letter(free + k - 1) for k in range(1, 9)}
    for name, letter in steps.items():
        cells[f"{letter}{table.header_row}"] = f"Δ{name}"
        for row in rows:
            cells[f"{letter}{row}"] = f"=-$F$2*{table.columns[f'dE/d{name}']}{row}"
            if row < rows[-1]:
                cells[f"{table.columns[name]}{row + 1}"] = f"={table.columns[name]}{row}+{letter}{row}"
    book.save(truth.path)
    assert check(truth.path).outcome == "correct"
    for row in rows:
        gradient = f"{table.columns['dE/dw4' if own == 'sign' else 'dE/dw3']}{row}"
        cells[f"{steps['w4']}{row}"] = f"=$F$2*{gradient}" if own == "sign" else f"=-$F$2*{gradient}"
    book.save(truth.path)
    (finding,) = check(truth.path).findings
    assert (finding.quantity, finding.cells) == (
        "update of w4",
        f"{steps['w4']}{rows[0]}:{steps['w4']}{rows[-1]}",
    )
    assert finding.expected == f"=-($F$2*{table.columns['dE/dw4']}{rows[0]})"


def test_of_pasted_losses_the_wrong_one_is_named_and_not_their_mean(tmp_path: Path) -> None:
    truth = build(tmp_path / "sheet.xlsx", Sheet(loss="half mean", gradients="deltas", pasted=6))
    table = truth.tables[0]
    rows = range(table.first_row, table.last_row + 1)
    book = openpyxl.load_workbook(truth.path)
    cells = book[table.sheet]
    for row in rows:
        cells[f"{table.columns['E1']}{row}"] = 0
        second = cells[f"{table.columns['E2']}{row}"].value
        cells[f"{table.columns['E_total']}{row}"] = float(f"{second / 2:.6g}")
    book.save(truth.path)
    column = table.columns["E1"]
    assert places(check(truth.path)) == [("E1", f"{column}{rows[0]}:{column}{rows[-1]}")]


def test_rules_in_words_may_stand_under_the_headers(tmp_path: Path) -> None:
    truth = build(tmp_path / "sheet.xlsx", COURSE)
    table = truth.tables[0]
    book = openpyxl.load_workbook(truth.path)
    cells = book[table.sheet]
    cells.move_range(
        f"A{table.first_row}:{openpyxl.utils.get_column_letter(cells.max_column)}{table.last_row}",
        rows=1,
        translate=True,
    )
    for name, column in table.columns.items():
        cells[f"{column}{table.first_row}"] = "w - η*∂E/∂w" if name[0] == "w" else "given"
    book.save(truth.path)
    verdict = check(truth.path)
    assert (verdict.outcome, verdict.reason) == ("correct", "")


# ---------------------------------------------------------------- between tables


def at_one_rate(tmp_path: Path) -> tuple[Path, Table, Any]:
    """Two sheets with a learning rate each; the second learns at that of the first."""
    truth = build(tmp_path / "sheet.xlsx", Sheet(learning_rates=(0.5, 2.0)))
    assert check(truth.path).outcome == "correct"
    first, second = truth.tables
    book = openpyxl.load_workbook(truth.path)
    for k in range(1, 9):
        for row in range(second.first_row + 1, second.last_row + 1):
            cell = book[second.sheet][f"{second.columns[f'w{k}']}{row}"]
            cell.value = cell.value.replace("$F$2", f"'{first.sheet}'!$F$2")
    book.save(truth.path)
    return truth.path, second, book


def test_a_second_training_at_the_rate_of_the_first_is_a_mistake(tmp_path: Path) -> None:
    path, second, _ = at_one_rate(tmp_path)
    verdict = check(path)
    assert [finding.quantity for finding in verdict.findings] == [f"update of w{k}" for k in range(1, 9)]
    assert {finding.sheet for finding in verdict.findings} == {second.sheet}


def test_one_rate_for_all_sheets_is_right_where_none_says_otherwise(tmp_path: Path) -> None:
    path, second, book = at_one_rate(tmp_path)
    book[second.sheet]["E2"], book[second.sheet]["F2"] = None, None
    book.save(path)
    verdict = check(path)
    assert (verdict.outcome, verdict.findings) == ("correct", ())


@pytest.mark.parametrize("cell", ["F200", "F2"])
def test_learning_rates_that_are_only_listed_are_nobodys_own(tmp_path: Path, cell: str) -> None:
    """Below the table, or several in a row: what was tried, say."""
    path, second, book = at_one_rate(tmp_path)
    cells = book[second.sheet]
    cells["E2"], cells["F2"] = None, None
    cells[cell].offset(0, -1).value, cells[cell].offset(0, 1).value = "learning rate", 1.0
    cells[cell] = 2.0
    if cell == "F200":
        cells[cell].offset(0, 1).value = None
    book.save(path)
    verdict = check(path)
    assert (verdict.outcome, verdict.findings) == ("correct", ())


@pytest.mark.parametrize("taken", ["w6", "w7"])
def test_a_sheet_that_goes_on_with_another_weight_is_a_mistake(tmp_path: Path, taken: str) -> None:
    """The second sheet begins with the last weights of the first: w7 with those of ``taken``."""
    truth = build(tmp_path / "sheet.xlsx", Sheet(learning_rates=(0.5, 2.0)))
    first, second = truth.tables
    book = openpyxl.load_workbook(truth.path)
    for k in range(1, 9):
        source = taken if k == 7 else f"w{k}"
        cell = f"{second.columns[f'w{k}']}{second.first_row}"
        book[second.sheet][cell] = f"='{first.sheet}'!{first.columns[source]}{first.last_row}"
    book.save(truth.path)
    wanted = [] if taken == "w7" else [("w7", f"{second.columns['w7']}{second.first_row}")]
    assert places(check(truth.path)) == wanted


def test_a_larger_network_may_begin_with_the_weights_of_a_smaller_one(tmp_path: Path) -> None:
    """The first sheet has no w8: the w8 of the second begins with what that calls w9."""
    truth = build(tmp_path / "sheet.xlsx", Sheet(learning_rates=(0.5, 2.0)))
    first, second = truth.tables
    book = openpyxl.load_workbook(truth.path)
    for k in range(1, 9):
        cell = f"{second.columns[f'w{k}']}{second.first_row}"
        book[second.sheet][cell] = f"='{first.sheet}'!{first.columns[f'w{k}']}{first.last_row}"
    for name, header in (("w8", "w9"), ("dE/dw8", "∂E/∂w9")):
        book[first.sheet][f"{first.columns[name]}{first.header_row}"] = header
    book.save(truth.path)
    verdict = check(truth.path)
    assert (verdict.outcome, verdict.findings) == ("correct", ())


# ---------------------------------------------------------------- rates, steps and biases of other kinds


def with_inline_updates(tmp_path: Path, rate: str) -> tuple[Path, Table]:
    """No columns of gradients: they stand in the updates, with the rate."""
    truth = build(tmp_path / "sheet.xlsx", COURSE)
    table = truth.tables[0]
    book = openpyxl.load_workbook(truth.path)
    cells = book[table.sheet]
    for k in range(1, 9):
        gradient = table.columns[f"dE/dw{k}"]
        for row in range(table.first_row, table.last_row + 1):
            inner = str(cells[f"{gradient}{row}"].value)[1:]
            if row < table.last_row:
                weight = table.columns[f"w{k}"]
                cells[f"{weight}{row + 1}"] = f"={weight}{row}-{rate}*({inner})"
            cells[f"{gradient}{row}"] = None
        cells[f"{gradient}{table.header_row}"] = None
    book.save(truth.path)
    return truth.path, table


def test_one_mistake_among_updates_with_a_typed_rate_is_named_alone(tmp_path: Path) -> None:
    path, table = with_inline_updates(tmp_path, "0.5")
    assert check(path).outcome == "correct"
    rows = range(table.first_row + 1, table.last_row + 1)
    read_above: Rule = lambda formula, at, row: re.sub(  # noqa: E731
        rf"\b{at('i1', row - 1)}\b", at("i2", row - 1), formula
    )
    constants = {
        n: str(openpyxl.load_workbook(path)[table.sheet][table.columns[n] + "5"].value)
        for n in ("i1", "i2")
    }
    assert constants["i1"] != constants["i2"]
    change(path, table, "w3", read_above, rows)
    column = table.columns["w3"]
    assert places(check(path)) == [("update of w3", f"{column}{rows[0]}:{column}{rows[-1]}")]


@pytest.mark.parametrize("header", ["Δw1", "dw1", "change"])
def test_how_a_weight_changed_is_no_gradient(tmp_path: Path, header: str) -> None:
    path, table = with_inline_updates(tmp_path, "$F$2")
    book = openpyxl.load_workbook(path)
    cells = book[table.sheet]
    column, weight = table.columns["dE/dw1"], table.columns["w1"]
    cells[f"{column}{table.header_row}"] = header
    for row in range(table.first_row + 1, table.last_row + 1):
        cells[f"{column}{row}"] = f"={weight}{row}-{weight}{row - 1}"
    book.save(path)
    verdict = check(path)
    assert (verdict.outcome, verdict.findings) == ("correct", ())


@pytest.mark.parametrize("name", ["α", "n", "h"])
def test_a_letter_over_a_table_is_not_for_sure_its_rate(tmp_path: Path, name: str) -> None:
    path, second, book = at_one_rate(tmp_path)
    cells = book[second.sheet]
    cells["E2"], cells["F2"] = name, 0.01
    book.save(path)
    assert check(path).findings == ()


def test_biases_may_be_weights_of_an_input_of_ones(tmp_path: Path) -> None:
    truth = build(tmp_path / "sheet.xlsx", BIASES)
    table = truth.tables[0]
    book = openpyxl.load_workbook(truth.path)
    cells = book[table.sheet]
    ones = openpyxl.utils.get_column_letter(cells.max_column + 2)
    cells[f"{ones}{table.header_row}"] = "one"
    for row in range(table.first_row, table.last_row + 1):
        cells[f"{ones}{row}"] = 1
        for total, bias in (("h1", "b1"), ("h2", "b2"), ("o1", "b3"), ("o2", "b4")):
            cell, b = cells[f"{table.columns[total]}{row}"], f"{table.columns[bias]}{row}"
            cell.value = re.sub(rf"\b{b}\b", f"{b}*{ones}{row}", cell.value)
    book.save(truth.path)
    verdict = check(truth.path)
    assert (verdict.outcome, verdict.findings, verdict.reason) == ("correct", (), "")


@pytest.mark.parametrize("name", ["h1", "o2"])
def test_a_minus_between_the_terms_of_a_sum_is_named(tmp_path: Path, name: str) -> None:
    verdict, cells = planted(tmp_path, COURSE, name, text("+", "-"))
    assert places(verdict) == [(name, cells)]


def test_a_step_that_is_subtracted_where_the_others_are_added_is_wrong_in_the_update(
    tmp_path: Path,
) -> None:
    truth = build(tmp_path / "sheet.xlsx", COURSE)
    table = truth.tables[0]
    rows = range(table.first_row, table.last_row + 1)
    book = openpyxl.load_workbook(truth.path)
    cells = book[table.sheet]
    for k in range(1, 9):
        letter = openpyxl.utils.get_column_letter(cells.max_column + 1)
        cells[f"{letter}{table.header_row}"] = f"Δw{k}"
        weight = table.columns[f"w{k}"]
        for row in rows:
            cells[f"{letter}{row}"] = f"=-$F$2*{table.columns[f'dE/dw{k}']}{row}"
            if row < rows[-1]:
                cells[f"{weight}{row + 1}"] = f"={weight}{row}{'-' if k == 4 else '+'}{letter}{row}"
    book.save(truth.path)
    column = table.columns["w4"]
    assert places(check(truth.path)) == [("update of w4", f"{column}{rows[1]}:{column}{rows[-1]}")]


def test_layers_that_were_not_found_are_no_wrong_loss(tmp_path: Path) -> None:
    """The second layer has weights without a name that is known: its losses depend on more."""
    truth = build(tmp_path / "sheet.xlsx", Sheet(updates="same row"))
    table = truth.tables[0]
    book = openpyxl.load_workbook(truth.path)
    cells = book[table.sheet]
    for k in range(5, 9):
        cells[f"{table.columns[f'w{k}']}{table.header_row}"] = f"wg{k}q"
        for name in (f"dE/dw{k}", f"w{k} new"):
            if name in table.columns:
                cells[f"{table.columns[name]}{table.header_row}"] = f"{name[:3]} wg{k}q"
    for name in ("o1", "o2", "a_o1", "a_o2"):
        cells[f"{table.columns[name]}{table.header_row}"] = f"q {name}"
    book.save(truth.path)
    assert check(truth.path).findings == ()


def test_a_wrong_loss_of_changing_data_is_named(tmp_path: Path) -> None:
    """0.5·t − a² for 0.5·(t − a)², with another sample in every row."""
    truth = build(tmp_path / "sheet.xlsx", Sheet(sizes=(2, 2, 1)))
    table = truth.tables[0]
    rows = range(table.first_row, table.last_row + 1)
    book = openpyxl.load_workbook(truth.path)
    cells = book[table.sheet]
    for k, name in enumerate(("i1", "i2", "t1")):
        for row in rows:
            cells[f"{table.columns[name]}{row}"] = (7 * row + 3 * k) % 10 / 10
    book.save(truth.path)
    assert check(truth.path).outcome == "correct"
    loss = next(name for name in ("E1", "E_total") if name in table.columns)
    for row in rows:
        target, output = (f"{table.columns[name]}{row}" for name in ("t1", "a_o1"))
        cells[f"{table.columns[loss]}{row}"] = f"=0.5*{target}-{output}^2"
    book.save(truth.path)
    column = table.columns[loss]
    assert f"{column}{rows[0]}:{column}{rows[-1]}" in [cells for _, cells in places(check(truth.path))]
