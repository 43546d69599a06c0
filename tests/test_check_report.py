"""What `check` prints and writes, from verdicts that are made up here."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from gradsheet.check import report
from gradsheet.check.verdict import Finding, LearningRate, Understood, Verdict

COLUMNS = {"i1": "C", "w1": "Y", "w2": "Z", "w3": "AA", "w4": "AB", "h1": "D", "η": "G11", "dE/dw9": "X"}
TABLE = Understood(
    sheet="Sheet1",
    header_row=21,
    rows=(22, 121),
    layout="a row per iteration",
    architecture="2-2-2, no biases",
    activation="sigmoid",
    loss="½ (t − a)², summed",
    learning_rate=LearningRate("G11", 0.5),
    columns=COLUMNS,
    notes=("The values of column C were pasted.",),
)
LONG = "=" + "+".join(f"(R{row}-A{row})*R{row}*(1-R{row})*N{row}" for row in range(22, 34))
FINDING = Finding(
    sheet="Sheet1",
    quantity="dE/dw3",
    cells="Z22:Z89",
    count=68,
    shown="=(R22-A22)*J22*(1-J22)*C22",
    expected="=(R22-A22)*L22*(1-L22)*C22",
    cause="the wrong neuron's derivative",
    max_relative_error=2.624e-4,
)
WRONG = Verdict(
    file="anna.xlsx",
    outcome="wrong",
    understood=(TABLE,),
    findings=(FINDING, replace(FINDING, quantity="dE/dw4", cells="AA22:AA89", shown=LONG)),
    effects=("The final loss is 0.0241 instead of 0.0239.",),
    notes=("Sheet2 holds no table.",),
)
CORRECT = Verdict("ben.xlsx", "correct", (TABLE,))
OPEN = Verdict("eve.xlsm", "not understood", reason="no table was found")
BROKEN = Verdict("dan.xlsx", "unusable", reason="it is encrypted")
CLASS = (WRONG, CORRECT, OPEN, BROKEN)

HOSTILE = '<script>alert("1")</script>&amp;\x1b[2J\u202e\ud800\n\'"'


def hostile(text: str) -> Verdict:
    """A verdict in which everything that comes from a stranger is ``text``."""
    table = replace(
        TABLE, sheet=text, layout=text, architecture=text, activation=text, loss=text,
        learning_rate=LearningRate(text, 1.0), columns={text: text}, notes=(text,),
    )  # fmt: skip
    finding = Finding(text, text, text, 1, text, text, text, None)
    return Verdict(text, "wrong", (table,), (finding,), (text,), (text,))


# ---------------------------------------------------------------- the terminal


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (WRONG, "WRONG: 2 columns (136 cells)"),
        (replace(WRONG, findings=(replace(FINDING, count=1),)), "WRONG: 1 column (1 cell)"),
        (
            replace(WRONG, findings=(FINDING, replace(FINDING, cells="Z90"))),
            "WRONG: 1 column (136 cells)",
        ),
        (CORRECT, "CORRECT: nothing wrong in 1 table"),
        (OPEN, "NOT UNDERSTOOD: no table was found"),
        (BROKEN, "UNUSABLE: it is encrypted"),
    ],
)
def test_the_last_line_is_the_verdict(verdict, sentence):
    assert report.to_text(verdict, 90).splitlines()[-1] == sentence


def test_the_text_says_how_the_table_was_read():
    text = report.to_text(WRONG, 90)
    assert "Sheet1, header in row 21, rows 22 to 121" in text
    for fact in (
        "a row per iteration",
        "2-2-2, no biases",
        "sigmoid",
        "½ (t − a)², summed",
        "0.5, in G11",
    ):
        assert fact in text
    assert "The values of column C were pasted." in text
    assert "Sheet2 holds no table." in text
    assert "The final loss is 0.0241 instead of 0.0239." in text


def test_neighbouring_columns_whose_names_count_up_are_one_entry():
    assert "i1 C, w1…w4 Y:AB, h1 D, η G11, dE/dw9 X" in report.to_text(CORRECT, 90)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (LearningRate(None, 0.5), "0.5, typed into the formulas"),
        (LearningRate(None, None), "not found"),
    ],
)
def test_a_learning_rate_without_a_cell_is_said_to_have_none(rate, words):
    assert words in report.to_text(
        replace(CORRECT, understood=(replace(TABLE, learning_rate=rate),)), 90
    )


@pytest.mark.parametrize("width", [40, 60, 110])
def test_no_line_is_wider_than_the_terminal_and_no_formula_is_cut(width):
    text = report.to_text(WRONG, width)
    assert max(map(len, text.splitlines())) <= width
    assert LONG in re.sub(r"\n +", "", text)
    assert "=(R22-A22)*L22*(1-L22)*C22" in re.sub(r"\n +", "", text)


def test_a_formula_without_operators_is_wrapped_too():
    name = "=" + "very_long_name_" * 10
    text = report.to_text(replace(WRONG, findings=(replace(FINDING, shown=name),)), 50)
    assert max(map(len, text.splitlines())) <= 50
    assert name in re.sub(r"\n +", "", text)


def test_the_same_mistake_on_several_sheets_is_told_once():
    findings = (FINDING, replace(FINDING, sheet="It's 2", max_relative_error=0.5), FINDING)
    text = report.to_text(replace(WRONG, findings=findings), 90)
    assert text.count("the wrong neuron's derivative") == 1
    assert "1. dE/dw3 is wrong in 204 cells: Sheet1!Z22:Z89, 'It''s 2'!Z22:Z89, Sheet1!Z22:Z89" in text
    assert "up to 50 %" in text


def test_an_empty_cell_is_said_to_hold_nothing():
    text = report.to_text(replace(WRONG, findings=(replace(FINDING, shown=""),)), 90)
    assert re.search("stands there: +nothing", text)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, ""),
        (float("nan"), ""),
        (float("inf"), "without bound (0 belongs there)"),
        (2.624e-4, "up to 0.026 %"),
        (1.6e-6, "up to 0.00016 %"),
        (0.05, "up to 5 %"),
        (0.996, "up to 100 %"),
        (12.5, "up to 1,250 %"),
        (1e20, "up to 1.0e+22 %"),
    ],
)
def test_the_size_of_an_error_in_words(error, words):
    assert report.error_size(error) == words


def test_nothing_that_steers_a_terminal_gets_through():
    for text in (report.to_text(hostile(HOSTILE), 90), report.class_table([hostile(HOSTILE)])):
        assert "<script>" in text
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)
        text.encode()


def test_the_class_table_has_a_line_for_every_file_and_the_totals():
    lines = report.class_table(CLASS).splitlines()
    assert re.split("  +", lines[0]) == ["file", "verdict", "findings", "wrong cells", "what"]
    assert re.split("  +", lines[2]) == [
        "anna.xlsx", "wrong", "2", "136", "dE/dw3, dE/dw4: the wrong neuron's derivative",
    ]  # fmt: skip
    assert re.split("  +", lines[3]) == ["ben.xlsx", "correct"]
    assert re.split("  +", lines[4]) == ["eve.xlsm", "not understood", "no table was found"]
    assert lines[-1] == "4 files: 1 correct, 1 wrong, 1 not understood, 1 unusable"


# ---------------------------------------------------------------- the table for a spreadsheet


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_the_csv_has_a_line_for_every_file():
    table = [
        dict(zip(rows(report.to_csv(CLASS))[0], row, strict=True)) for row in rows(report.to_csv(CLASS))
    ]
    assert table[1] == {
        "file": "anna.xlsx",
        "verdict": "wrong",
        "findings": "2",
        "wrong cells": "136",
        "sheets understood": "Sheet1",
        "networks": "2-2-2, no biases",
        "learning rates": "0.5",
        "mistakes in words": "dE/dw3, dE/dw4: the wrong neuron's derivative",
        "reason": "",
    }
    assert [row["reason"] for row in table[2:]] == ["", "no table was found", "it is encrypted"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", " =", "＝", "a;=", "a; -"])
def test_no_cell_of_the_csv_can_become_a_formula(start):
    # A program may split at commas or, in many countries, at semicolons.
    text = report.to_csv([hostile(f"{start}HYPERLINK(1)")])
    for separator in ",;":
        cells = [cell for row in csv.reader(io.StringIO(text), delimiter=separator) for cell in row]
        assert any("HYPERLINK" in cell for cell in cells)
        assert [cell for cell in cells if cell.strip()[:1] in "=+-@＝" and cell.strip()] == []


# ---------------------------------------------------------------- the page


class Page(HTMLParser):
    """Reads a page and refuses one whose elements do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.links, self.marks, self.open = "", [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src", "action", "style")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if "mark" in self.open:
            self.marks.append(data)


def test_the_page_says_everything():
    text = Page(report.to_html(CLASS)).text
    for verdict in CLASS:
        assert verdict.file in text
        assert report.conclusion(verdict) in text
    for words in (*WRONG.effects, *WRONG.notes, *TABLE.notes, LONG, FINDING.expected, "up to 0.026 %"):
        assert words in text
    assert "w1…w4\u00a0Y:AB" in text


def test_the_page_marks_where_the_two_formulas_differ():
    page = Page(report.to_html([replace(WRONG, findings=(FINDING,))]))
    assert page.marks == ["J22", "J22", "L22", "L22"]


def test_a_space_is_no_difference():
    finding = replace(FINDING, shown="= A1 + B1", expected="=A1+C1")
    marks = Page(report.to_html([replace(WRONG, findings=(finding,))])).marks
    assert [mark.strip() for mark in marks] == ["B1", "C1"]


def test_two_very_long_formulas_are_not_compared():
    finding = replace(FINDING, shown="=" + "A1+" * 40_000, expected="=A1")
    assert Page(report.to_html([replace(WRONG, findings=(finding,))])).marks == []


def test_a_page_for_several_files_begins_with_links_to_them():
    page = Page(report.to_html(CLASS))
    assert page.links == ["#file-1", "#file-2", "#file-3", "#file-4"]
    assert "table" in page.tags
    assert "4 files: 1 correct, 1 wrong, 1 not understood, 1 unusable" in page.text
    assert "table" not in Page(report.to_html([WRONG])).tags


def test_what_strangers_wrote_stays_text_in_the_page():
    for verdicts in ([hostile(HOSTILE)], [hostile(HOSTILE), CORRECT]):
        page = report.to_html(verdicts)
        assert set(Page(page).tags) == set(
            Page(report.to_html([WRONG, CORRECT][: len(verdicts)])).tags
        ) - {"mark"}
        assert '<script>alert("1")</script>&amp;\ufffd[2J\ufffd\ufffd \'"' in Page(page).text
        page.encode()


def test_the_page_fetches_nothing_and_runs_nothing():
    page = report.to_html(CLASS)
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img|\son\w+=", page)
    assert "default-src 'none'" in page


def test_the_page_can_be_read_in_the_dark_and_on_paper():
    page = report.to_html(CLASS)
    assert "@media screen and (prefers-color-scheme: dark)" in page
    assert "@media print" in page
