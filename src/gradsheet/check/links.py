"""What holds between tables: each learns at its own rate, and takes from another what it names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gradsheet.check.formula import Area, Cell, Reference, leaves
from gradsheet.check.judge import Judgement, judge
from gradsheet.check.labels import begins_with_rate
from gradsheet.check.rates import labelled_rate
from gradsheet.check.reader import Key
from gradsheet.check.reading import Reading, new_name
from gradsheet.check.verdict import Finding

FEWEST_LINKS = 3
"""Weights that a table takes from another one: fewer do not tell what was meant."""


def at_own_rates(judgements: Sequence[Judgement]) -> list[Judgement]:
    """The judgements, but tables that learn at the rate of another table, while another number stands
    beside their own "learning rate" and nothing reads it, are judged by their own."""
    uses = Counter(judgement.reading.rate for judgement in judgements)
    found = []
    for judgement in judgements:
        reading = judgement.reading
        own = labelled_rate(reading.reader)
        if own is not None and uses[reading.rate] > 1 and not uses[own] and _is_left_out(reading, own):
            judgement = judge(replace(reading, rate=own))
        found.append(judgement)
    return found


def _is_left_out(reading: Reading, own: Key) -> bool:
    """Whether a single number over the table, or before it, is another learning rate than the one that
    is used, and nothing reads it. Of several numbers in a row none is the table's own."""
    book, rate, table, cell = reading.reader.book, reading.rate, reading.table, own.cell
    if not isinstance(rate, Key) or rate.cell is None or cell is None:
        return False
    beside = table.sheet.cell(cell.row, cell.column + 1)
    heads = (cell.column if table.turned else cell.row) < table.lines[0]
    listed = not math.isnan(book.number(beside))
    differs = book.number(cell) != book.number(rate.cell)
    text = _text_before(reading, cell)
    spoken = begins_with_rate(text) and not text.strip().casefold().startswith(("α", "alpha"))
    return heads and differs and not listed and spoken and not _is_read(reading, own)


def _text_before(reading: Reading, cell: Cell) -> str:
    """The nearest text to the left of a cell, or over it: a lone n, or α, names no rate."""
    values = reading.table.sheet.values
    places = [(cell.row, cell.column - left) for left in range(1, 5)]
    places += [(cell.row - up, cell.column) for up in (1, 2)]
    return next((text for p in places if isinstance(text := values.get(p), str)), "")


def _is_read(reading: Reading, key: Key) -> bool:
    """Whether any formula of the workbook reads a cell outside the tables."""
    book = reading.reader.book
    for sheet in book.sheets.values():
        for place in sheet.formulas:
            home = sheet.cell(*place)
            tree = book.tree(home)
            for leaf in leaves(tree) if tree is not None else ():
                if isinstance(leaf, Reference) and leaf.at(home) == key.cell:
                    return True
                if isinstance(leaf, Area) and key.cell in leaf.at(home)[0]:
                    return True
    return key.cell in book.names.values()


@dataclass(frozen=True)
class _Link:
    """A weight that the first iteration takes from another table: from which quantity there, and from
    which iteration."""

    weight: str
    cell: Cell
    source: Reading
    name: str
    iteration: int


def wrong_links(judgements: Sequence[Judgement]) -> Iterator[Finding]:
    """Weights that a table takes from another column of another table, while most take their own."""
    readings = [judgement.reading for judgement in judgements]
    for reading in readings:
        links = list(_links(reading, readings))
        new = 2 * sum(link.name == new_name(link.weight) for link in links) > len(links)
        wrong = [link for link in links if link.name != (new_name(link.weight) if new else link.weight)]
        if len(links) < FEWEST_LINKS or 2 * len(wrong) >= len(links):
            continue
        for link in wrong:
            name = new_name(link.weight) if new else link.weight
            right = (each for each in links if each not in wrong and name in each.source.keys)
            pattern = next(right, None)
            if pattern is not None:  # or it is a larger network, begun from a smaller one
                yield _finding(reading, link, pattern, name)


def _links(reading: Reading, readings: Sequence[Reading]) -> Iterator[_Link]:
    book = reading.reader.book
    for name in sorted(reading.updated):
        place = reading.keys[name].place
        if place is None:
            continue
        cell = reading.table.cell(place, 0)
        tree = book.tree(cell)
        if not isinstance(tree, Reference):
            continue
        for source in readings:
            where = source.table.locate(tree.at(cell)) if source is not reading else None
            if where is None:
                continue
            held = source.quantities.get(Key(where[0]))
            if held is not None:
                yield _Link(name, cell, source, held, where[1])


def _finding(reading: Reading, link: _Link, pattern: _Link, name: str) -> Finding:
    """``name`` belongs there, in the row of the ``pattern``, a link that is right."""
    book, source = reading.reader.book, pattern.source
    place = source.keys[name].place
    assert place is not None
    wanted = source.table.cell(place, pattern.iteration)
    held, right = book.number(link.cell), book.number(wanted)
    taken = link.name.replace("new_", "new ")
    cause = f"the first {link.weight} is taken from {taken} of {link.source.table.sheet.name}"
    return Finding(
        reading.table.sheet.name,
        link.weight,
        link.cell.address,
        1,
        book.formula(link.cell) or "",
        "='" + wanted.sheet.replace("'", "''") + f"'!{wanted.address}",
        f"{cause}, iteration {link.iteration + 1}, while most take their own",
        abs(held - right) / max(abs(held), abs(right), 1e-300) if math.isfinite(held - right) else None,
    )
