"""What `check` prints and writes: a verdict as text for the terminal, as a page to send, as a table.

File names, sheet names, labels and formulas come from strangers: none of them may reach the terminal
as a control sequence, the page as HTML, or the table as a formula.
"""

from __future__ import annotations

import csv
import difflib
import html
import io
import math
import re
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gradsheet.check.verdict import Finding, Outcome, Understood, Verdict

# ---------------------------------------------------------------- words that all reports share


def plain(text: str) -> str:
    """A stranger's text on one line, without what would steer a terminal or break an XML file."""
    return _UNPRINTABLE.sub("\ufffd", re.sub(r"\s", " ", text))


_UNPRINTABLE = re.compile(  # controls, changes of the direction of writing, halves, what is no character
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def counted(number: int, noun: str) -> str:
    """``1 cell``, ``1,000 cells``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def conclusion(verdict: Verdict) -> str:
    """The verdict in one line, such as ``WRONG: 2 columns (136 cells)``."""
    if verdict.outcome == "wrong":
        columns = len({(finding.sheet, finding.quantity) for finding in verdict.findings})
        wrong = f"{counted(columns, 'column')} ({counted(wrong_cells(verdict), 'cell')})"
        return f"WRONG: {wrong}"
    if verdict.outcome == "correct":
        return f"CORRECT: nothing wrong in {counted(len(verdict.understood), 'table')}"
    return f"{verdict.outcome.upper()}: {plain(verdict.reason)}"


def wrong_cells(verdict: Verdict) -> int:
    return sum(finding.count for finding in verdict.findings)


def error_size(error: float | None) -> str:
    """A relative error in words; "" where it could not be measured."""
    if error is None or math.isnan(error):
        return ""
    if math.isinf(error):
        return "without bound (0 belongs there)"
    percent = 100 * error
    if percent >= 10:
        return f"up to {percent:,.0f} %" if percent < 1e9 else f"up to {percent:.1e} %"
    return f"up to {percent:.2g} %"


def grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings of one quantity and one cause together: the same mistake on several sheets."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.quantity, finding.cause), []).append(finding)
    return list(groups.values())


def place(finding: Finding) -> str:
    """Sheet and cells, as a formula would write them: ``Sheet1!Z22:Z121``, ``'My sheet'!A1``."""
    name = plain(finding.sheet)
    if not re.fullmatch(r"[^\W\d]\w*", name):
        name = "'" + name.replace("'", "''") + "'"
    return f"{name}!{plain(finding.cells)}"


def _largest(group: Sequence[Finding]) -> str:
    sizes = [f.max_relative_error for f in group if f.max_relative_error is not None]
    return error_size(max(sizes, default=None))


def _in_words(verdict: Verdict) -> str:
    """All mistakes in one line: ``dE/dw3, dE/dw4: the wrong neuron's derivative; …``."""
    causes: dict[str, dict[str, None]] = {}
    for finding in verdict.findings:
        causes.setdefault(plain(finding.cause), {})[plain(finding.quantity)] = None
    return "; ".join(
        ", ".join(_runs([(quantity, "") for quantity in quantities])) + (f": {cause}" if cause else "")
        for cause, quantities in causes.items()
    )


def _facts(table: Understood) -> list[tuple[str, str]]:
    """How a table was read: pairs of a name and what was understood."""
    rate = table.learning_rate
    where = "typed into the formulas" if rate.cell is None else f"in {rate.cell}"
    value = "not found" if rate.value is None else f"{rate.value:g}, {where}"
    facts = {
        "layout": table.layout,
        "network": table.architecture,
        "activation": table.activation,
        "loss": table.loss,
        "learning rate": value,
    }
    pairs = (plain(run).replace(" ", _TIED) for run in _runs(list(table.columns.items())))
    found = [(name, plain(fact)) for name, fact in facts.items() if fact]
    return [*found, ("columns", ", ".join(pairs))]


_TIED = "\N{NO-BREAK SPACE}"


def _heading(table: Understood) -> str:
    first, last = table.rows
    return f"{plain(table.sheet)}, header in row {table.header_row}, rows {first} to {last}"


def _runs(columns: Sequence[tuple[str, str]]) -> list[str]:
    """Columns on one line: ``w1…w4 E:H`` for four neighbours whose names count up."""
    found: list[str] = []
    start = 0
    for end in range(1, len(columns) + 1):
        if end < len(columns) and columns[end] == _after(*columns[end - 1]):
            continue
        (name, column), (last_name, last_column) = columns[start], columns[end - 1]
        if end - start > 2:
            name, column = f"{name}…{last_name}", column and f"{column}:{last_column}"
            found.append(f"{name} {column}".strip())
        else:
            found += [" ".join(entry).strip() for entry in columns[start:end]]
        start = end
    return found


def _after(name: str, column: str) -> tuple[str, str] | None:
    """The quantity and the column that come next: ``("w2", "F")`` after ``("w1", "E")``."""
    match = re.fullmatch(r"(.*?)([0-9]{1,9})", name)
    if match is None or not re.fullmatch(r"[A-Z]{0,3}", column):
        return None
    head = column.rstrip("Z")
    after = head and head[:-1] + chr(ord(head[-1]) + 1)
    after = (after or ("A" if column else "")) + "A" * (len(column) - len(head))
    return f"{match[1]}{int(match[2]) + 1}", after


# ---------------------------------------------------------------- the terminal


def to_text(verdict: Verdict, width: int | None = None) -> str:
    """The verdict for a terminal of ``width`` columns (by default as wide as the terminal is)."""
    width = max(40, width or min(110, shutil.get_terminal_size().columns))
    return "\n".join(_text_lines(verdict, width))


def _text_lines(verdict: Verdict, width: int) -> Iterator[str]:
    yield from _wrapped(plain(verdict.file), width, "")
    for table in verdict.understood:
        yield ""
        yield from _wrapped(_heading(table), width, "  ")
        for name, fact in _facts(table):
            yield from _wrapped(fact, width, f"    {name:<15}")
        for note in table.notes:
            yield from _wrapped(plain(note), width, f"    {'note':<15}")
    for number, group in enumerate(grouped(verdict.findings), 1):
        first = group[0]
        yield ""
        head = f"{number}. "
        count = counted(sum(finding.count for finding in group), "cell")
        places = ", ".join(place(finding) for finding in group)
        yield from _wrapped(f"{plain(first.quantity)} is wrong in {count}: {places}", width, head)
        for name, text in (
            ("stands there:", plain(first.shown) or "nothing"),
            ("belongs there:", plain(first.expected)),
            ("error:", _largest(group)),
            ("cause:", plain(first.cause)),
        ):
            if text:
                yield from _wrapped(text, width, f"   {name:<15}")
    for name, sentences in (("What it does to learning:", verdict.effects), ("Notes:", verdict.notes)):
        if sentences:
            yield ""
            yield name
        for sentence in sentences:
            yield from _wrapped(plain(sentence), width, "  ")
    yield ""
    yield from _wrapped(conclusion(verdict), width, "")


def _wrapped(text: str, width: int, head: str) -> Iterator[str]:
    """Lines of text after ``head``; the others begin below it. A formula breaks at operators."""
    if text.startswith("="):
        room = width - len(head)
        line = ""
        for piece in re.findall(r"[^-+*/^,;(]*[-+*/^,;(]?", text):
            if line and len(line) + len(piece) > room:
                yield head + line
                head, line = " " * len(head), ""
            line += piece
            while len(line) > room:  # a single word that is longer than the line
                yield head + line[:room]
                head, line = " " * len(head), line[room:]
        yield head + line
    else:
        indent = " " * len(head)
        lines = textwrap.wrap(text, width, initial_indent=head, subsequent_indent=indent)
        yield from (line.replace(_TIED, " ") for line in lines)


_COLUMNS = ("file", "verdict", "findings", "wrong cells", "what")


def class_table(verdicts: Sequence[Verdict]) -> str:
    """A line for every file and a line of totals, for the terminal."""
    rows = [_COLUMNS, *(_class_row(verdict) for verdict in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for file, outcome, findings, cells, words in rows:
        numbers = f"{findings:>{widths[2]}}  {cells:>{widths[3]}}"
        words = textwrap.shorten(words, 60, placeholder=" …")
        lines.append(f"{file:<{widths[0]}}  {outcome:<{widths[1]}}  {numbers}  {words}".rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join((*lines, "", _totals(verdicts)))


def _class_row(verdict: Verdict) -> tuple[str, ...]:
    findings = str(len(verdict.findings) or "")
    cells = f"{wrong_cells(verdict):,}" if verdict.findings else ""
    words = _in_words(verdict) or plain(verdict.reason)
    return plain(verdict.file), verdict.outcome, findings, cells, words


def _totals(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.outcome for verdict in verdicts)
    parts = [f"{counts[outcome]} {outcome}" for outcome in _COLOURS if counts[outcome]]
    return f"{counted(len(verdicts), 'file')}: {', '.join(parts)}"


# ---------------------------------------------------------------- a table to open in a spreadsheet


_CSV_COLUMNS = (
    "file",
    "verdict",
    "findings",
    "wrong cells",
    "sheets understood",
    "networks",
    "learning rates",
    "mistakes in words",
    "reason",
)


def to_csv(verdicts: Iterable[Verdict]) -> str:
    """One line a file. Write it as UTF-8 with a byte order mark, or Excel reads another encoding."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_CSV_COLUMNS)
    for verdict in verdicts:
        tables = verdict.understood
        rates = [f"{t.learning_rate.value:g}" for t in tables if t.learning_rate.value is not None]
        cells = (
            verdict.file,
            verdict.outcome,
            str(len(verdict.findings)),
            str(wrong_cells(verdict)),
            _listed(table.sheet for table in tables),
            _listed(table.architecture for table in tables),
            _listed(rates),
            _in_words(verdict),
            verdict.reason,
        )
        writer.writerow(_no_formula(plain(cell).strip()) for cell in cells)
    return text.getvalue()


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))  # each once


def _no_formula(text: str) -> str:
    """Text that no spreadsheet takes for a formula, not even one that splits lines at semicolons."""
    return re.sub(r"(^|;)(\s*)(?=[-=+@＝＋－＠])", r"\1\2'", text)


# ---------------------------------------------------------------- a page to send

_COLOURS: Mapping[Outcome, str] = {
    "correct": "good",
    "wrong": "bad",
    "not understood": "open",
    "unusable": "open",
}

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --paper: #ffffff; --soft: #f3f4f6; --line: #d4d6da;
  --dim: #5a5d63; --good: #1a6b34; --bad: #b3261e; --open: #7a5600; --mark: #ffd9d3; --fix: #c9f0d3; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #ececee; --paper: #17181a;
  --soft: #232528; --line: #43464c; --dim: #a9adb5; --good: #7fd79a; --bad: #ff9d93; --open: #f0c060;
  --mark: #6b2620; --fix: #1d5230; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.3rem; margin: 0; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; } h4 { font-size: 1rem; margin: .8rem 0 .4rem; }
h1, h2, h4, td, dd, p { overflow-wrap: anywhere; } p { margin: .3rem 0; }
section { border-top: 2px solid var(--line); margin-top: 2rem; padding-top: 1.2rem; }
table { border-collapse: collapse; width: 100%; margin-top: 1.2rem; font-size: .95rem; }
td:first-child { min-width: 9rem; } td:nth-child(2) { white-space: nowrap; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 600; white-space: nowrap; } .number { text-align: right; }
article { background: var(--soft); border-left: 4px solid var(--bad); padding: .7rem 1rem;
  margin: .8rem 0; break-inside: avoid; }
article h4 { margin-top: 0; } h4 span { font-weight: 400; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; }
dt { color: var(--dim); } dd { margin: 0; }
code { font: .92em/1.5 ui-monospace, monospace; }
mark { color: inherit; background: var(--mark); border-radius: 3px; }
mark.fix { background: var(--fix); }
.good, .bad, .open { font-weight: 700; } .good { color: var(--good); } .bad { color: var(--bad); }
.open { color: var(--open); } footer { margin-top: 2rem; color: var(--dim); } a { color: inherit; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } mark { font-weight: 700;
  text-decoration: underline; } }
"""


def to_html(verdicts: Sequence[Verdict]) -> str:
    """One page for all files, complete in itself: no scripts, nothing is fetched."""
    several = len(verdicts) != 1
    title = f"Check of {_totals(verdicts) if several else verdicts[0].file}"
    body = [f"<h1>{_escaped(title)}</h1>", *(_class_html(verdicts) if several else ())]
    for number, verdict in enumerate(verdicts, 1):
        heading = [f"<h2>{_escaped(verdict.file)}</h2>"] if several else []
        body += [f'<section id="file-{number}">', *heading, *_file_html(verdict), "</section>"]
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{_escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            *body,
            "<footer><p>Made by gradsheet check.</p></footer>\n</body>\n</html>\n",
        )
    )


def _escaped(text: str) -> str:
    return html.escape(plain(text))


def _class_html(verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield "<table>\n<tr>" + "".join(f"<th>{name}</th>" for name in _COLUMNS) + "</tr>"
    for number, verdict in enumerate(verdicts, 1):
        file, outcome, findings, cells, words = (html.escape(text) for text in _class_row(verdict))
        yield (
            f'<tr><td><a href="#file-{number}">{file}</a></td>'
            f'<td class="{_COLOURS[verdict.outcome]}">{outcome}</td>'
            f'<td class="number">{findings}</td><td class="number">{cells}</td><td>{words}</td></tr>'
        )
    yield "</table>"


def _file_html(verdict: Verdict) -> Iterator[str]:
    yield f'<p class="{_COLOURS[verdict.outcome]}">{html.escape(conclusion(verdict))}</p>'
    if verdict.findings:
        yield "<h3>What is wrong</h3>"
    for group in grouped(verdict.findings):
        yield from _finding_html(group)
    for heading, sentences in (("What it does to learning", verdict.effects), ("Notes", verdict.notes)):
        if sentences:
            yield f"<h3>{heading}</h3>"
            yield from (f"<p>{_escaped(sentence)}</p>" for sentence in sentences)
    if verdict.understood:
        yield "<h3>What was understood</h3>"
    for table in verdict.understood:
        yield f"<h4>{html.escape(_heading(table))}</h4>\n<dl>"
        facts = _facts(table) + [("note", plain(note)) for note in table.notes]
        yield from (f"<dt>{name}</dt><dd>{html.escape(fact)}</dd>" for name, fact in facts)
        yield "</dl>"


def _finding_html(group: Sequence[Finding]) -> Iterator[str]:
    first = group[0]
    shown, expected = _compared(plain(first.shown), plain(first.expected))
    count = counted(sum(finding.count for finding in group), "cell")
    places = ", ".join(place(finding) for finding in group)
    yield f"<article>\n<h4>{_escaped(first.quantity)} <span>is wrong in {count}</span></h4>\n<dl>"
    for name, content in (
        ("cells", html.escape(places)),
        ("stands there", f"<code>{shown}</code>" if shown else "nothing"),
        ("belongs there", f"<code>{expected}</code>" if expected else ""),
        ("error", html.escape(_largest(group))),
        ("cause", _escaped(first.cause)),
    ):
        if content:
            yield f"<dt>{name}</dt><dd>{content}</dd>"
    yield "</dl>\n</article>"


def _compared(shown: str, expected: str) -> tuple[str, str]:
    """Both formulas as HTML, with the words in which they differ marked."""
    words: list[list[str]] = [re.findall(r"[\w.$]+|\s+|.", text) for text in (shown, expected)]
    if max(map(len, words)) > 2_000:  # comparing takes the square of that
        return html.escape(shown), html.escape(expected)
    marked: list[list[str]] = [[], []]
    for kind, a, b, c, d in difflib.SequenceMatcher(
        None, words[0], words[1], autojunk=False
    ).get_opcodes():
        for side, (start, end), style in ((0, (a, b), ""), (1, (c, d), ' class="fix"')):
            text = html.escape("".join(words[side][start:end]))
            changed = kind != "equal" and text.strip()
            marked[side].append(f"<mark{style}>{text}</mark>" if changed else text)
    return "".join(marked[0]), "".join(marked[1])
