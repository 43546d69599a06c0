"""`gradsheet check` against sheets whose truth is known: drawn by Hypothesis, planted, or made by hand.

The sheets come from handmade.py, which shares no code with gradsheet and is itself held against PyTorch.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gradsheet import generate
from gradsheet.check import batch
from gradsheet.check.examine import check
from gradsheet.check.formula import Cell, evaluate, parse, write
from gradsheet.check.labels import read_label, read_rate
from gradsheet.check.verdict import Verdict, to_json
from gradsheet.cli import main
from gradsheet.engines import ironcalc
from gradsheet.errors import InputError
from gradsheet.examples import EXAMPLES
from gradsheet.mistakes import MISTAKES
from handmade import Mistake, Sheet, Truth, build, flawed, mistakes, specs
from strategies import PLAIN

COURSE = Sheet()
"""The layout that the course shows: 2-2-2, sigmoid, an iteration a row."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("check")


def quantities(verdict: Verdict) -> set[tuple[str, str]]:
    return {(finding.sheet, finding.quantity) for finding in verdict.findings}


def cells_of(ranges: str) -> list[str]:
    """The cells of ``Z22:Z24,Z30``."""
    sheet = openpyxl.Workbook().active
    found = []
    for part in ranges.split(","):
        block = sheet[part] if ":" in part else ((sheet[part],),)
        found += [cell.coordinate for row in block for cell in row]
    return found


# ---------------------------------------------------------------- drawn sheets


@settings(max_examples=60)
@given(sheet=specs())
def test_a_right_sheet_of_any_kind_is_understood_and_correct(folder: Path, sheet: Sheet) -> None:
    truth = build(folder / "right.xlsx", sheet)
    verdict = check(truth.path)
    if sheet.pasted and verdict.outcome == "not understood":
        return  # few digits, or a dead ReLU, may leave too little to go by
    assert verdict.outcome == "correct", (verdict.reason, verdict.findings[:1])
    assert len(verdict.understood) == len(truth.tables)
    for table, read in zip(truth.tables, verdict.understood, strict=True):
        assert read.architecture == "-".join(map(str, sheet.sizes))
        assert read.rows == (table.first_row, table.last_row) or sheet.transposed
        assert read.learning_rate.cell == table.learning_rate_cell or sheet.rate in ("typed", "column")
        if not sheet.pasted:
            named = {name: column for name, column in table.columns.items() if name not in _UNNAMED}
            assert set(named.values()) <= set(read.columns.values())


_UNNAMED = ("step", "learning rate")
"""Columns that are no part of the network; in a table of one row they are cells beside it."""


@settings(max_examples=100)
@given(drawn=flawed())
def test_a_planted_mistake_is_found_and_nothing_else(folder: Path, drawn: tuple[Sheet, Mistake]) -> None:
    sheet, mistake = drawn
    truth = build(folder / "wrong.xlsx", sheet, mistake)
    assume(any(error.visible(max(1e-6, truth.tolerance)) for error in truth.errors))
    verdict = check(truth.path)
    wanted = {(error.sheet, error.quantity) for error in truth.errors}
    if sheet.pasted and any(quantity[0] in "it" for _, quantity in wanted):
        return  # data that was pasted is what it is
    if verdict.outcome == "not understood":
        alone = min(sheet.sizes[1:]) == 1 and not wanted & _backward(truth)
        assert sheet.pasted or alone, verdict.reason
        return
    assert verdict.outcome == "wrong"
    follows = {(error.sheet, name) for error in truth.errors for name in error.follows}
    if sheet.pasted:
        assert quantities(verdict) & (wanted | follows)
    else:
        assert wanted <= quantities(verdict) <= wanted | follows
        found = {(finding.sheet, finding.quantity): finding for finding in verdict.findings}
        for error in truth.errors:
            cells = set(cells_of(found[error.sheet, error.quantity].cells))
            assert set(error.visible(max(1e-6, truth.tolerance))) <= cells <= set(error.cells)


def _backward(truth: Truth) -> set[tuple[str, str]]:
    return {(e.sheet, e.quantity) for e in truth.errors if e.quantity.startswith(("dE", "update"))}


# ---------------------------------------------------------------- causes


def of_cause(sheet: Sheet, cause: str) -> Mistake:
    return mistakes(sheet, cause)[0]


RELU = replace(COURSE, activations=("relu", "sigmoid"))
SAME_ROW = replace(COURSE, updates="same row", gradients="deltas")
NEAR_RATE = replace(COURSE, rate="beside")
BIASED = replace(COURSE, biases=("each", "each"))


@pytest.mark.parametrize(
    ("cause", "sheet", "words"),
    [
        ("wrong neuron's slope", COURSE, r"wrong neuron's derivative: a_h\d·\(1 − a_h\d\) stands where"),
        ("wrong pairing of weights", COURSE, r"wrong pairing of weights: w\d stands where w\d belongs"),
        ("missing brackets", COURSE, r"brackets are missing around"),
        ("missing ReLU mask", RELU, r"ReLU mask of h\d is missing: its slope is 0 below 0"),
        ("updated weights too early", SAME_ROW, r"updated w\d.* used too early"),
        (
            "another weight's gradient",
            COURSE,
            r"another weight's gradient: dE/dw\d stands where dE/dw\d",
        ),
        ("t*a for a-t", COURSE, r"t\d·a_o\d stands where a_o\d − t\d belongs"),
        ("sliding learning-rate reference", NEAR_RATE, r"reference to the learning rate slides away"),
        ("learning rate from another cell", COURSE, r"learning rate is read from another cell"),
        ("constants pasted over formulas", COURSE, r"a number was pasted over the formula"),
        ("repeated rows", COURSE, r"so (that rows repeat|it repeats)"),
        ("bias never updated", BIASED, r"the bias is never updated"),
        ("wrong sign", COURSE, r"sign is wrong|wrong way round"),
        ("missing minus in sigmoid", COURSE, r"the minus sign in EXP\(−x\) is missing"),
        ("wrong weight", COURSE, r"wrong pairing of weights: w\d stands where w\d belongs"),
    ],
)
def test_a_known_mistake_is_named(folder: Path, cause: str, sheet: Sheet, words: str) -> None:
    truth = build(folder / "known.xlsx", sheet, of_cause(sheet, cause))
    verdict = check(truth.path)
    assert any(re.search(words, finding.cause) for finding in verdict.findings), verdict.findings


def test_what_belongs_there_is_told_in_the_users_own_references(folder: Path) -> None:
    """The formula that is proposed, put into the cell, makes the sheet correct."""
    truth = build(folder / "mend.xlsx", COURSE, of_cause(COURSE, "wrong neuron's slope"))
    verdict = check(truth.path)
    book = openpyxl.load_workbook(truth.path)
    for finding in verdict.findings:
        first, last = re.findall(r"\d+", finding.cells)[0], re.findall(r"\d+", finding.cells)[-1]
        letters = re.match(r"[A-Z]+", finding.cells)
        assert letters is not None
        for row in range(int(first), int(last) + 1):
            mended = re.sub(rf"(?<=[A-Z]){first}\b", str(row), finding.expected)
            book[finding.sheet][f"{letters[0]}{row}"] = mended
    book.save(folder / "mended.xlsx")
    assert check(folder / "mended.xlsx").outcome == "correct"


def test_the_effect_is_the_loss_that_the_right_sheet_reaches(folder: Path) -> None:
    mistake = of_cause(COURSE, "another weight's gradient")
    wrong, right = (build(folder / f"{n}.xlsx", COURSE, m) for n, m in (("w", mistake), ("r", None)))
    table = right.tables[0]
    row, column = (
        table.last_row - 1,
        openpyxl.utils.column_index_from_string(table.columns["E_total"]) - 1,
    )
    final = ironcalc.recalculate(right.path)[table.sheet][row, column]
    (effect,) = check(wrong.path).effects
    assert f"with the right formulas it is {final:.9g}" in effect


def test_formula_text_beside_the_table_that_disagrees_is_a_remark_and_no_mistake(folder: Path) -> None:
    sheet = replace(COURSE, junk=("formulas",))
    truth = build(folder / "text.xlsx", sheet, of_cause(sheet, "formula text disagrees"))
    verdict = check(truth.path)
    assert verdict.outcome == "correct"
    assert any("which is not what belongs there" in note for note in verdict.notes)
    assert not check(build(folder / "fine.xlsx", sheet).path).notes


def test_a_name_that_states_another_learning_rate_is_a_mistake(folder: Path) -> None:
    truth = build(folder / "learning_rate_0.7.xlsx", COURSE)
    (finding,) = check(truth.path).findings
    assert (finding.quantity, finding.expected) == ("learning rate", "0.7")
    named = folder / f"learning_rate_{truth.tables[0].learning_rate:g}.xlsx"
    assert check(truth.path.rename(named)).outcome == "correct"


# ---------------------------------------------------------------- no guessed verdict


def edited(truth: Truth, change: Callable[[Any, Any], None]) -> Path:
    """A copy of a sheet after ``change(worksheet, table)``."""
    book = openpyxl.load_workbook(truth.path)
    change(book[truth.tables[0].sheet], truth.tables[0])
    path = truth.path.with_name("edited.xlsx")
    book.save(path)
    return path


def test_another_optimizer_is_not_judged(folder: Path) -> None:
    def momentum(sheet: Any, table: Any) -> None:
        width = sheet.max_column
        for number in range(1, 9):
            weight, gradient = table.columns[f"w{number}"], table.columns[f"dE/dw{number}"]
            speed = openpyxl.utils.get_column_letter(width + number)
            sheet[f"{speed}{table.header_row}"] = f"v{number}"
            for row in range(table.first_row, table.last_row + 1):
                before = f"0.9*{speed}{row - 1}+" if row > table.first_row else ""
                sheet[f"{speed}{row}"] = f"={before}{gradient}{row}"
                if row > table.first_row:
                    step = f"0.5*{speed}{row - 1}/(1+ABS({speed}{row - 1}))"
                    sheet[f"{weight}{row}"] = f"={weight}{row - 1}-{step}"

    verdict = check(edited(build(folder / "m.xlsx", COURSE), momentum))
    assert (verdict.outcome, verdict.findings) == ("not understood", ())
    assert "not updated by gradient descent with one learning rate" in verdict.reason


def test_an_unknown_activation_is_not_judged(folder: Path) -> None:
    def steps(sheet: Any, table: Any) -> None:
        for row in range(table.first_row, table.last_row + 1):
            for total, output in (("h1", "a_h1"), ("h2", "a_h2")):
                sheet[f"{table.columns[output]}{row}"] = f"=IF({table.columns[total]}{row}>=0,1,0)"

    verdict = check(edited(build(folder / "s.xlsx", COURSE), steps))
    assert verdict.outcome == "not understood"
    assert "the activation in column" in verdict.reason


def test_updates_after_a_batch_of_rows_are_not_judged(folder: Path) -> None:
    def batches(sheet: Any, table: Any) -> None:
        for row in range(table.first_row + 1, table.last_row + 1):
            for number in range(1, 9):
                weight, gradient = table.columns[f"w{number}"], table.columns[f"dE/dw{number}"]
                new = f"={weight}{row - 1}"
                if (row - table.first_row) % 2 == 0:
                    new += f"-0.5*AVERAGE({gradient}{row - 2}:{gradient}{row - 1})"
                sheet[f"{weight}{row}"] = new

    verdict = check(edited(build(folder / "b.xlsx", COURSE), batches))
    assert (verdict.outcome, verdict.findings) == ("not understood", ())
    assert "once in several rows" in verdict.reason


def test_a_softmax_is_not_judged(folder: Path) -> None:
    def softmax(sheet: Any, table: Any) -> None:
        for row in range(table.first_row, table.last_row + 1):
            exps = [f"EXP({table.columns[total]}{row})" for total in ("o1", "o2")]
            for own, output in zip(exps, ("a_o1", "a_o2"), strict=True):
                sheet[f"{table.columns[output]}{row}"] = f"={own}/({'+'.join(exps)})"

    verdict = check(edited(build(folder / "x.xlsx", COURSE), softmax))
    assert (verdict.outcome, verdict.findings) == ("not understood", ())
    assert "as a softmax does" in verdict.reason


def test_steps_in_place_of_gradients_are_a_convention(folder: Path) -> None:
    def steps(sheet: Any, table: Any) -> None:
        rate = re.sub(r"([A-Z]+)(\d+)", r"$\1$\2", table.learning_rate_cell)
        for number in range(1, 9):
            weight, step = table.columns[f"w{number}"], table.columns[f"dE/dw{number}"]
            sheet[f"{step}{table.header_row}"] = f"Δw{number}"
            for row in range(table.first_row, table.last_row + 1):
                sheet[f"{step}{row}"] = f"=-{rate}*({sheet[f'{step}{row}'].value[1:]})"
                if row > table.first_row:
                    sheet[f"{weight}{row}"] = f"={weight}{row - 1}+{step}{row - 1}"

    assert check(edited(build(folder / "d.xlsx", COURSE), steps)).outcome == "correct"


def test_an_error_that_is_a_difference_is_no_wrong_loss(folder: Path) -> None:
    def differences(sheet: Any, table: Any) -> None:
        for row in range(table.first_row, table.last_row + 1):
            for k in "12":
                target, output = table.columns[f"t{k}"], table.columns[f"a_o{k}"]
                sheet[f"{table.columns[f'E{k}']}{row}"] = f"={target}{row}-{output}{row}"
            errors = [f"{table.columns[f'E{k}']}{row}^2" for k in "12"]
            sheet[f"{table.columns['E_total']}{row}"] = f"=0.5*({'+'.join(errors)})"

    assert check(edited(build(folder / "e.xlsx", COURSE), differences)).outcome == "correct"


def test_a_workbook_of_something_else_is_not_understood(folder: Path) -> None:
    book = openpyxl.Workbook()
    for row in range(1, 40):
        book.active.append([row, f"=A{row}*2", f"=SUM(A$1:B{row})", f"=C{row}/B{row}"])
    book.save(folder / "other.xlsx")
    verdict = check(folder / "other.xlsx")
    assert (verdict.outcome, verdict.understood, verdict.findings) == ("not understood", (), ())
    assert verdict.reason


# ---------------------------------------------------------------- headers, or none


def test_without_headers_the_formulas_tell_what_the_columns_are(folder: Path) -> None:
    def clear(sheet: Any, table: Any) -> None:
        for cell in sheet[table.header_row]:
            cell.value = None

    mistake = of_cause(COURSE, "wrong neuron's slope")
    truth = build(folder / "bare.xlsx", COURSE, mistake)
    verdict = check(edited(truth, clear))
    assert [finding.cells for finding in verdict.findings] == [error.range for error in truth.errors]
    assert len(verdict.understood[0].columns) >= len(truth.tables[0].columns) - 1


def test_a_map_outdoes_the_headers(folder: Path) -> None:
    def swap(sheet: Any, table: Any) -> None:
        first, second = (
            sheet[f"{table.columns[name]}{table.header_row}"] for name in ("dE/dw1", "dE/dw2")
        )
        first.value, second.value = second.value, first.value

    truth = build(folder / "swapped.xlsx", COURSE)
    columns = truth.tables[0].columns
    path = edited(truth, swap)
    assert check(path).outcome == "wrong"
    told = {"dE/dw1": columns["dE/dw1"], "dE/dw2": columns["dE/dw2"]}
    assert check(path, columns=told).outcome == "correct"


@pytest.mark.parametrize(
    "text",
    ["∂E/∂w1", "∂E_total/∂W1", "∂E_t/∂W1", "∂E∂W1", "E∂w1", "Edw1", "δE_tot/δw1", "𝟃E/𝟃w1",
     "dE_total / dw1", "Etotaldw1", "dw1", "ΔE/Δw1", "dE/dw_1", "grad w1", "∂Е/∂w1"],
)  # fmt: skip
def test_every_spelling_of_a_gradient_is_read(text: str) -> None:
    label = read_label(text)
    assert label is not None
    assert (label.kind, label.key) == ("gradient", "w1")


@pytest.mark.parametrize("text", ["η", "ƞ", "ͷ", "LR", "L.R", "lr =", "learningRate=", "α", "eta", "n",
                                  "learning rate:  η =", "h", "Learning Rate (η)"])  # fmt: skip
def test_every_spelling_of_a_learning_rate_is_read(text: str) -> None:
    assert read_rate(text)


@pytest.mark.parametrize(
    "text", ["hello", "Summary", "0.5", "", "h1 = w1*i1 + w2*i2", "Learning objectives"]
)
def test_other_words_are_no_labels(text: str) -> None:
    assert read_label(text) is None
    assert not read_rate(text)


# ---------------------------------------------------------------- gradsheet's own lessons


@pytest.mark.parametrize("name", PLAIN)
def test_a_workbook_of_gradsheet_is_correct(folder: Path, name: str) -> None:
    generate.write_workbook(EXAMPLES[name], folder / "own.xlsx", steps=6)
    assert check(folder / "own.xlsx").outcome == "correct"


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", PLAIN)
def test_every_mistake_that_can_be_planted_is_found(folder: Path, name: str, mistake: str) -> None:
    try:
        generate.write_mistake(EXAMPLES[name], folder / "planted.xlsx", mistake, steps=12)
    except InputError:
        pytest.skip("does not apply to this network")
    verdict = check(folder / "planted.xlsx")
    assert verdict.outcome == "wrong"
    assert all(finding.cause for finding in verdict.findings)


def test_mazurs_page_prints_the_losses_of_the_other_rule(folder: Path) -> None:
    """docs/mazur.md: his weights follow from his formulas, his losses from updates too early."""

    def cells(name: str) -> Callable[[str, int], float]:
        sheet = ironcalc.recalculate(folder / name)["Backprop"]
        columns = {value: place[1] for place, value in sheet.items() if place[0] == 8}
        return lambda quantity, step: sheet[9 + step, columns[quantity]]  # type: ignore[return-value]

    mazur = EXAMPLES["mazur"]
    generate.write_mistake(mazur, folder / "early.xlsx", "updated-weights-too-early", steps=10_001)
    generate.write_workbook(mazur, folder / "right.xlsx", steps=10_001, learning_rates=[0.5])
    early, right = cells("early.xlsx"), cells("right.xlsx")
    assert right("w1", 1) == pytest.approx(0.149780716, abs=5e-10)
    assert right("E_total", 1) == pytest.approx(0.291027774, abs=5e-10)
    assert early("w1", 1) == pytest.approx(0.149817639, abs=5e-10)
    assert early("E_total", 1) == pytest.approx(0.291027924, abs=5e-10)
    assert right("a_o1", 10_000) == pytest.approx(0.015913620, abs=5e-10)
    assert early("a_o1", 10_000) == pytest.approx(0.015912196, abs=5e-10)
    assert early("a_o2", 10_000) == pytest.approx(0.984065734, abs=5e-10)


@pytest.mark.parametrize(
    "blank", [["gradients"], ["updates"], ["forward"], ["forward", "gradients", "updates"]]
)
def test_an_exercise_is_graded_by_what_is_filled_in(folder: Path, blank: list[str]) -> None:
    generate.write_exercise(EXAMPLES["seed"], folder / "exercise.xlsx", blank=blank, steps=5)
    verdict = check(folder / "exercise.xlsx")
    assert verdict.outcome == "wrong"
    assert {finding.cause for finding in verdict.findings} == {"not filled in"}
    generate.write_workbook(EXAMPLES["seed"], folder / "solution.xlsx", steps=5)
    solution = openpyxl.load_workbook(folder / "solution.xlsx")["Backprop"]
    book = openpyxl.load_workbook(folder / "exercise.xlsx")
    for row in book["Backprop"].iter_rows(min_row=10):
        for cell in row:
            if cell.value is None:
                cell.value = solution[cell.coordinate].value
    book.save(folder / "solved.xlsx")
    assert check(folder / "solved.xlsx").outcome == "correct"


# ---------------------------------------------------------------- formulas, against a spreadsheet engine

_VALUES = {"A1": 0.7, "B1": -1.3, "C1": 2.0, "A2": 0.25, "B2": 3.0, "C2": -0.5}
_LEAVES = st.sampled_from([*_VALUES, "$A$1", "B$2", "$C1", "0.5", "2", "3", "1.5E-1", "50%"])


def _operators(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map("".join),
        st.tuples(inner, st.sampled_from(["^2", "^3", "%"])).map("".join),
        inner.map("({})".format),
        inner.map("-{}".format),
        st.tuples(st.sampled_from(["EXP", "TANH", "ABS", "SUM"]), inner).map("{0[0]}({0[1]})".format),
        st.tuples(inner, inner, inner).map(lambda p: f"IF({p[0]}>{p[1]},{p[2]},0)"),
        st.sampled_from(["SUM(A1:C2)", "SUMPRODUCT(A1:C1,A2:C2)", "AVERAGE(A1:C1)", "MIN(A1:B2,0.1)",
                         "SUMXMY2(A1:C1,A2:C2)", "POWER(A1,2)", "SUMSQ(A1:B1)"]),
    )  # fmt: skip


@settings(max_examples=30)
@given(texts=st.lists(st.recursive(_LEAVES, _operators, max_leaves=8), min_size=20, max_size=20))
def test_a_formula_means_what_a_spreadsheet_engine_computes(folder: Path, texts: list[str]) -> None:
    """The reading of every formula, and of the formula printed again, against IronCalc."""
    texts = [text for text in texts if not text.startswith("-") or "^" not in text]
    book = openpyxl.Workbook()
    for name, value in _VALUES.items():
        book.active[name] = value
    home = Cell("Sheet", 9, 9)
    for number, text in enumerate(texts, 10):
        book.active[f"J{number}"] = f"={text}"
        book.active[f"K{number}"] = write(parse(f"={text}", home), home)
    book.save(folder / "formulas.xlsx")
    found = ironcalc.recalculate(folder / "formulas.xlsx")["Sheet"]

    def read(cell: Cell | str) -> Any:
        assert isinstance(cell, Cell)
        return _VALUES.get(cell.address, "")

    for row, text in enumerate(texts, 9):
        value = found[row, 9]
        if isinstance(value, float) and abs(value) < 1e12:
            assert float(evaluate(parse(f"={text}", home), home, read)) == pytest.approx(
                value, 1e-9, 1e-12
            )
            assert found[row, 10] == pytest.approx(value, 1e-9, 1e-12), text


@pytest.mark.parametrize(
    ("text", "value"), [("=-A1^2", 0.49), ("=2^3^2", 64), ("=2^-1", 0.5), ("=1-2-3", -4)]
)
def test_operators_bind_as_in_a_sheet(text: str, value: float) -> None:
    home = Cell("Sheet", 0, 5)
    assert float(evaluate(parse(text, home), home, lambda cell: 0.7)) == pytest.approx(value)


# ---------------------------------------------------------------- the command


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0) -> Any:
        result = CliRunner().invoke(main, ["check", *map(str, arguments)])
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return run


WRONG = of_cause(COURSE, "wrong neuron's slope")


def test_a_class_is_checked_at_once_and_one_bad_file_stops_nothing(run: Any, tmp_path: Path) -> None:
    inside = tmp_path / "class"
    inside.mkdir()
    build(inside / "anna.xlsx", COURSE)
    build(inside / "ben.xlsx", COURSE, WRONG)
    (inside / "carl.xlsx").write_bytes(b"PK\x03\x04 cut off")
    openpyxl.Workbook().save(inside / "dora.xlsm")
    (inside / "~$ben.xlsx").write_bytes(b"a lock file")
    result = run("class", "--csv", "grades.csv", "--report", "report.html", code=1)
    assert "1 correct, 1 wrong, 1 unusable, 1 not understood" in result.output.replace(
        "1 not understood, 1 unusable", "1 unusable, 1 not understood"
    )
    lines = (tmp_path / "grades.csv").read_text(encoding="utf-8-sig").splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == [
        "correct",
        "wrong",
        "unusable",
        "not understood",
    ]
    assert "ben.xlsx" in (tmp_path / "report.html").read_text(encoding="utf-8")
    found = json.loads(run("class", "--json", code=1).stdout)
    assert [entry["verdict"] for entry in found] == ["correct", "wrong", "unusable", "not understood"]


def test_exit_codes(run: Any, tmp_path: Path) -> None:
    build(tmp_path / "right.xlsx", COURSE)
    build(tmp_path / "wrong.xlsx", COURSE, WRONG)
    (tmp_path / "bad.xlsx").write_text("a,b\n1,2\n")
    openpyxl.Workbook().save(tmp_path / "empty.xlsx")
    run("right.xlsx")
    run("wrong.xlsx", code=1)
    run("bad.xlsx", code=2)
    run("empty.xlsx", code=3)
    run("right.xlsx", "bad.xlsx", "empty.xlsx", code=2)


def test_json_has_the_documented_shape(run: Any, tmp_path: Path) -> None:
    truth = build(tmp_path / "wrong.xlsx", COURSE, WRONG)
    found = json.loads(run("wrong.xlsx", "--json", code=1).stdout)
    assert found == to_json(check(Path("wrong.xlsx")))
    (table,), findings = found["understood"], found["findings"]
    error = truth.errors[0]
    assert table["learning_rate"] == {"cell": truth.tables[0].learning_rate_cell,
                                      "value": truth.tables[0].learning_rate}  # fmt: skip
    assert findings[0]["shown"] == error.shown
    assert findings[0]["cells"] == error.range
    assert findings[0]["count"] == len(error.cells)
    assert findings[0]["max_relative_error"] == pytest.approx(max(error.relative_errors), rel=1e-6)


def test_an_annotated_copy_can_be_written(run: Any, tmp_path: Path) -> None:
    build(tmp_path / "wrong.xlsx", COURSE, WRONG)
    run("wrong.xlsx", "--annotate", "marked.xlsx", code=1)
    assert "gradsheet findings" in openpyxl.load_workbook(tmp_path / "marked.xlsx").sheetnames


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.xlsx"], "there is no such file"),
        (["right.xlsx", "--sheet", "Nope"], "has no sheet 'Nope'; its sheets are 'Sheet1'"),
        (["right.xlsx", "--map", "w3"], "--map: 'w3' is not of the form w3=G"),
        (["right.xlsx", "--map", "banana=G"], "'banana' is not the name of a quantity"),
        (["right.xlsx", "right.xlsx", "--annotate", "x.xlsx"], "takes one workbook at a time"),
        (["right.xlsx", "--report", "no/such/folder.html"], "does not exist; create it first"),
        ([".", "--csv", "right.xlsx/x"], "does not exist; create it first"),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    run: Any, tmp_path: Path, arguments: list[str], message: str
) -> None:
    build(tmp_path / "right.xlsx", COURSE)
    output = run(*arguments, code=2).output
    assert message in " ".join(output.split())
    assert list(tmp_path.iterdir()) == [tmp_path / "right.xlsx"]


def test_a_file_that_takes_too_long_is_given_up(folder: Path) -> None:
    build(folder / "slow.xlsx", COURSE)
    (verdict,) = batch.check_all([folder / "slow.xlsx"], time_limit=0.001)
    assert (verdict.outcome, verdict.exit_code) == ("unusable", 2)
    assert "takes more than 0.001 seconds" in verdict.reason


def _ended(path: Path, sheet: str | None, columns: Mapping[str, str]) -> Verdict:
    """What `batch` runs in a process of its own, with an engine that ends the process."""
    if path.name == "bad.xlsx":
        os._exit(1)
    return batch._check(path, sheet, columns)


def test_a_file_that_crashes_the_engine_does_not_stop_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [build(folder / name, COURSE).path for name in ("bad.xlsx", "right.xlsx")]
    monkeypatch.setattr(batch, "_check", _ended)
    verdicts = list(batch.check_all(paths))
    assert [verdict.outcome for verdict in verdicts] == ["unusable", "correct"]
    assert "broke down" in verdicts[0].reason


def test_check_works_without_pytorch(folder: Path) -> None:
    path = build(folder / "right.xlsx", COURSE).path
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from gradsheet.check.examine import check; from pathlib import Path\n"
        f"print(check(Path({str(path)!r})).outcome)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "correct"
