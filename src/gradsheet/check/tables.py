"""Find the tables of a sheet: a line of headers, and beside it one line of numbers per iteration.

Usually the headers stand in a row and the iterations below it; a table may also be turned, with its
headers in a column and its iterations to the right. A *line* is a row, or a column of a turned table;
a *place* is a position in it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from openpyxl.utils import column_index_from_string, get_column_letter

from gradsheet.check.formula import Cell
from gradsheet.check.labels import Label, read_label
from gradsheet.check.sheets import Book, Sheet, texts
from gradsheet.errors import InputError

FEWEST_HEADERS = 4
"""A line with fewer words of the trade is no header line."""
GAP = 3
"""Lines without numbers that may stand between the headers and the first iteration."""
LONGEST = 20_000
"""Iterations of one table that are read."""


@dataclass(frozen=True)
class Table:
    """A table of iterations.

    ``header`` is the line of the headers, ``lines`` those of the iterations; ``headers`` gives the text
    and ``labels`` the meaning over each place, where there are any. ``turned`` tells that lines are
    columns of the sheet.
    """

    sheet: Sheet
    header: int
    lines: tuple[int, ...]
    headers: Mapping[int, str]
    labels: Mapping[int, Label]
    turned: bool = False

    def cell(self, place: int, iteration: int) -> Cell:
        """The cell of a place in an iteration, counted from 0."""
        line = self.lines[iteration]
        return self.sheet.cell(place, line) if self.turned else self.sheet.cell(line, place)

    def locate(self, cell: Cell) -> tuple[int, int] | None:
        """Place and iteration of a cell, or None where it lies outside the iterations."""
        if cell.sheet.casefold() != self.sheet.name.casefold():
            return None
        line, place = (cell.column, cell.row) if self.turned else (cell.row, cell.column)
        iteration = self._iterations.get(line)
        return None if iteration is None else (place, iteration)

    @cached_property
    def _iterations(self) -> Mapping[int, int]:
        return {line: iteration for iteration, line in enumerate(self.lines)}

    @cached_property
    def places(self) -> tuple[int, ...]:
        """All places that hold a number or a formula in some iteration, in order."""
        lines = set(self.lines)
        found = set()
        for row, column in self.sheet.values:
            line, place = (column, row) if self.turned else (row, column)
            if line in lines:
                found.add(place)
        return tuple(sorted(found))

    def name(self, place: int) -> str:
        """What the sheet calls a place: the letters of a column, or the number of a row."""
        return str(place + 1) if self.turned else get_column_letter(place + 1)


def find_tables(
    book: Book, sheet: Sheet, told: Mapping[str, str] | None = None
) -> Iterator[list[Table]]:
    """The tables of a sheet that speak of a network, from the top; the likeliest way to see them first.

    ``told`` gives columns by quantity, such as ``{"w3": "G"}``, and outdoes the headers. Where there are
    no headers that can be read, the formulas themselves show where a table is.
    """
    given = _told(told or {})
    # A column of labels beside single numbers is a list of settings: a table has a network's weights
    # and what is computed from them. Of two ways, upright and turned, the one comes first that explains
    # more formulas.
    ways = [
        [table for table in _tables(sheet, turned=turned) if given or _computes(table)]
        for turned in (False, True)
    ]
    for tables in sorted(ways, key=_explained, reverse=True):
        if tables:
            yield [replace(table, labels=_overruled(table, given)) for table in tables]
    by_formulas = _by_formulas(sheet, given)
    if by_formulas:
        yield by_formulas


def _explained(tables: Sequence[Table]) -> int:
    """How many labelled cells of the second iteration hold numbers, of which formulas count double."""
    total = 0
    for table in tables:
        for place in table.labels:
            cell = table.cell(place, min(1, len(table.lines) - 1))
            total += (cell.row, cell.column) in table.sheet.values
            total += (cell.row, cell.column) in table.sheet.formulas
    return total


def _told(columns: Mapping[str, str]) -> dict[int, Label]:
    given = {}
    for name, letters in columns.items():
        label = read_label(name)
        if label is None:
            raise InputError(
                f"--map: {name!r} is not the name of a quantity; "
                "use names such as w3, h1, a_h1, t1, E1, dE/dw3"
            )
        given[column_index_from_string(letters) - 1] = label
    return given


def _overruled(table: Table, given: Mapping[int, Label]) -> dict[int, Label]:
    kept = {place: label for place, label in table.labels.items() if label not in given.values()}
    return {**kept, **{place: label for place, label in given.items() if place in table.places}}


def _by_formulas(sheet: Sheet, given: Mapping[int, Label]) -> list[Table]:
    """The largest block of rows that were filled down, where no headers tell what it is."""
    by_column: dict[int, dict[int, str]] = defaultdict(dict)
    for (row, column), text in sheet.patterns.items():
        by_column[column][row] = text
    spans: Counter[tuple[int, int]] = Counter()
    for rows in by_column.values():
        start = None
        for row in sorted(rows):
            if start is None or rows.get(row - 1) != rows[row]:
                start = row
            if rows.get(row + 1) != rows[row] and row > start:
                spans[start, row] += 1
    if not spans:
        return []
    (first, last), columns = max(spans.items(), key=lambda item: (item[1], item[0][1] - item[0][0]))
    if columns < FEWEST_HEADERS and not given:
        return []
    if any((first - 1, column) in sheet.formulas for column in by_column):
        first -= 1  # the updates are filled down from the second iteration on
    lines = tuple(range(first, min(last + 1, first + LONGEST)))
    headers = {
        column: value
        for (row, column), value in sheet.values.items()
        if row == first - 1 and isinstance(value, str)
    }
    table = Table(sheet, max(first - 1, 0), lines, headers, {}, False)
    return [replace(table, labels=_overruled(table, given))]


def _computes(table: Table) -> bool:
    kinds = Counter(label.kind for label in table.labels.values())
    has_formula = any(
        (table.cell(place, iteration).row, table.cell(place, iteration).column) in table.sheet.formulas
        for place in table.labels
        for iteration in range(min(2, len(table.lines)))
    )
    computed = kinds["forward"] + kinds["gradient"] + kinds["loss"] + kinds["total"] + kinds["slope"]
    if not has_formula and (len(table.lines) == 1 or table.turned):  # or it is a list of settings
        return kinds["parameter"] >= 2 and kinds["forward"] >= 2 and kinds["gradient"] >= 2
    return kinds["parameter"] >= 1 and computed >= 1


def _tables(sheet: Sheet, *, turned: bool) -> list[Table]:
    words: dict[int, dict[int, str]] = defaultdict(dict)
    for row, column, text in texts(sheet):
        line, place = (column, row) if turned else (row, column)
        if (row, column) not in sheet.formulas and len(text) <= 60:
            words[line][place] = text
    meanings = {
        line: {place: label for place, text in entries.items() if (label := read_label(text))}
        for line, entries in words.items()
        if len(entries) >= FEWEST_HEADERS
    }
    numbers: dict[int, set[int]] = defaultdict(set)
    for (row, column), value in sheet.values.items():
        if isinstance(value, int | float) or (row, column) in sheet.formulas:
            line, place = (column, row) if turned else (row, column)
            numbers[line].add(place)
    headers = _header_lines(meanings, numbers)
    patterns: dict[int, dict[int, str]] = defaultdict(dict)
    for (row, column), text in sheet.patterns.items():
        line, place = (column, row) if turned else (row, column)
        patterns[line][place] = text
    tables = []
    for position, header in enumerate(headers):
        limit = headers[position + 1] if position + 1 < len(headers) else math.inf
        for group in _groups(meanings[header]):
            lines = _lines(header, limit, set(group), numbers, patterns)
            if lines:
                labels = _without_repeats(group, lines, numbers)
                spoken = {place: words[header][place] for place in words[header]}
                tables.append(Table(sheet, header, lines, spoken, labels, turned))
    return _joined(tables)


def _header_lines(
    meanings: Mapping[int, Mapping[int, Label]], numbers: Mapping[int, set[int]]
) -> list[int]:
    """The lines of headers; of two with no numbers between, such as names over rules in words, the one
    that names more."""
    found: list[int] = []
    for line in sorted(line for line, labels in meanings.items() if len(labels) >= FEWEST_HEADERS):
        if found and not any(found[-1] <= between < line for between in numbers):
            if len(set(meanings[found[-1]].values())) > len(set(meanings[line].values())):
                continue
            found.pop()
        found.append(line)
    return found


def _groups(labels: Mapping[int, Label]) -> Iterator[dict[int, Label]]:
    """The headers of one line, cut apart where a second table begins beside the first."""
    places = sorted(labels)
    weights = [place for place in places if labels[place].kind == "parameter"]
    first = next((labels[place] for place in weights), None)
    starts = [place for place in weights if labels[place] == first]
    if len(starts) < 2:
        yield dict(labels)
        return
    # Tables beside each other repeat all their headers: cut where the first header comes again.
    repeats = Counter(labels.values())
    repeated = [place for place in places if repeats[labels[place]] == len(starts)]
    if len(repeated) < len(starts) * FEWEST_HEADERS:
        yield dict(labels)
        return
    head = labels[repeated[0]]
    cuts = [place for place in repeated if labels[place] == head]
    for cut, end in zip(cuts, [*cuts[1:], math.inf], strict=True):
        yield {place: labels[place] for place in places if cut <= place < end}


def _lines(
    header: int,
    limit: float,
    places: set[int],
    numbers: Mapping[int, set[int]],
    patterns: Mapping[int, Mapping[int, str]],
) -> tuple[int, ...]:
    """The lines of the iterations: those after the header that are filled and compute the same.

    Lines may stand apart: a line belongs to the table where half of its formulas are those that most
    lines hold, so that averages below a table are told from a training that goes on. Lines without a
    formula belong to it only where they follow on.
    """
    fewest = max(2, len(places) // 4)
    filled = sorted(
        line for line in numbers if header < line < limit and len(numbers[line] & places) >= fewest
    )
    if not filled or filled[0] > header + GAP + 1:
        return ()
    own = {
        line: {p: text for p, text in patterns.get(line, {}).items() if p in places} for line in filled
    }
    usual = {
        place: Counter(own[line][place] for line in filled if place in own[line]).most_common(1)[0][0]
        for place in {place for formulas in own.values() for place in formulas}
    }
    lines: list[int] = []
    for line in filled:
        alike = sum(usual[place] == text for place, text in own[line].items())
        follows = not lines or line == lines[-1] + 1 or _same_stride(lines, line)
        if 2 * alike >= len(own[line]) if own[line] else follows:
            lines.append(line)
    return tuple(lines[:LONGEST])


def _same_stride(lines: Sequence[int], line: int) -> bool:
    return len(lines) == 1 or line - lines[-1] == lines[-1] - lines[-2]


def _without_repeats(
    labels: Mapping[int, Label], lines: Sequence[int], numbers: Mapping[int, set[int]]
) -> dict[int, Label]:
    """One place per meaning: of two, the one that is filled in more iterations, then the first."""
    filled = {place: sum(place in numbers[line] for line in lines) for place in labels}
    best: dict[Label, int] = {}
    for place, label in labels.items():
        if filled[place] and (label not in best or filled[place] > filled[best[label]]):
            best[label] = place
    return {place: label for label, place in sorted(best.items(), key=lambda item: item[1])}


def _joined(tables: Sequence[Table]) -> list[Table]:
    """Tables of one iteration each, under each other with equal headers, are one table in blocks."""
    kept: list[Table] = []
    for table in tables:
        before = kept[-1] if kept else None
        if (
            before is not None
            and len(table.lines) == 1
            and before.labels == table.labels
            and _same_stride(before.lines, table.lines[0])
        ):
            lines = (*before.lines, *table.lines)
            kept[-1] = Table(
                table.sheet, before.header, lines, before.headers, before.labels, table.turned
            )
        else:
            kept.append(table)
    return kept
