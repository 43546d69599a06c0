"""Columns without a known header that hold δ, and other parts of the chain rule."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradsheet.check.formula import Unreadable
from gradsheet.check.reader import Formula, Key, Reader, same
from gradsheet.check.reading import KnownValues, Reading, new_name


def with_helper_columns(reading: Reading) -> Reading:
    """Find out which columns without a known header hold δ and other parts of the chain rule.

    A column is one where it computes it; or where everything that is wrong and reads the column would be
    right if it did: then the mistake lies in that column, and not in those that read it.
    """
    reading = _by_label(reading)
    while True:
        found = _next_helpers(reading)
        if not found:
            return reading
        reading = replace(reading, quantities={**reading.quantities, **found})


def _by_label(reading: Reading) -> Reading:
    """Columns of δ that were pasted as values: by their headers, such as δ_h1 or ∂E/∂h1."""
    table, program = reading.table, reading.program
    sums = {}
    for key, name in reading.quantities.items():
        label = table.labels.get(key.place) if key.place is not None else None
        if label is not None and label.kind == "forward" and f"delta_{name}" in program:
            sums[label.key] = f"delta_{name}"
    found = {}
    for place, label in table.labels.items():
        if label.kind == "slope" and reading.reader.usual(place) is None:
            by = re.sub(r"[^a-z0-9σ]", "", re.sub(r"^.*(?:∂|delta|/d|^d)_?", "", label.key))
            if by in sums:
                found[Key(place)] = sums[by]
    return replace(reading, quantities={**reading.quantities, **found})


def _next_helpers(reading: Reading) -> dict[Key, str]:
    """All columns that are right, else the first one that is wrong."""
    reader = reading.reader
    placed = set(reading.quantities.values())
    candidates = [q.name for q in reading.program.of_role("delta") if q.name not in placed]
    candidates += [name for name in reading.states if not {name, reading.states[name]} & placed]
    unknown: dict[int, Formula] = {}
    for place in reader.table.places:
        label = reader.table.labels.get(place)
        formula = reader.usual(place)
        known = Key(place) in reading.quantities or place in reader.constant
        if formula is not None and not known and (label is None or label.kind == "slope"):
            unknown[place] = formula
    learning = _around_memory(reader, unknown)
    possible = {
        place: [name for name in candidates if reading.is_state(name) or place not in learning]
        for place in unknown
    }
    matches: list[tuple[Key, str]] = []
    found: dict[Key, str] = {}
    for place, formula in unknown.items():
        try:
            values = reading.found(formula)
        except Unreadable:
            continue
        matches += [(Key(place), n) for n in possible[place] if same(values, reading.expected(n))]
    taken: set[str] = set()
    for key, name in matches:
        own = reading.states.get(name, name)
        # ∂E/∂a may be a δ without its slope, or another neuron's: then what reads it is wrong
        if own not in taken and key not in found and _readers_right(reading, key, reading.known):
            taken.add(own)
            found[key] = name
    if found:
        return found
    for place in unknown:
        if _readers_right(reading, Key(place), reading.known):
            continue
        healing = [
            name
            for name in possible[place]
            if _readers_right(reading, Key(place), _healed(reading, {place: name}))
        ]
        if healing:
            return {Key(place): max(healing, key=lambda name: _was_meant(reading, place, name))}
    return dict(matches[:1]) or _turned(reading, unknown, candidates)


def _around_memory(reader: Reader, places: Iterable[int]) -> set[int]:
    """The columns that follow from themselves in the row above, those that they read, and those that
    read them: they belong to an optimizer, and hold no δ."""
    read = {place: set(reader.reads(place)) for place in places}
    remembering = {place for place in read if reader.remembers(place)}
    found = remembering.union(*(read[place] for place in remembering))
    return found | {place for place, others in read.items() if others & remembering}


def _turned(
    reading: Reading, unknown: Mapping[int, Formula], candidates: Sequence[str]
) -> dict[Key, str]:
    """A δ with the wrong sign, t − a in place of a − t, that stands in several columns: what reads them
    is right only when all are healed at once."""
    turned: dict[int, str] = {}
    for place, formula in unknown.items():
        try:
            values = reading.found(formula)
        except Unreadable:
            continue
        names = [name for name in candidates if same(-values, reading.expected(name))]
        if len(names) == 1:
            turned[place] = names[0]
    if len(turned) < 2:
        return {}
    healed = _healed(reading, turned)
    for place, name in turned.items():
        if not _readers_right(reading, Key(place), reading.known) and all(
            _readers_right(reading, Key(other), healed) for other in turned
        ):
            return {Key(place): name}
    return {}


def _was_meant(reading: Reading, place: int, name: str) -> int:
    """How far a wrong column shows what it should hold: in one of its rows, or but for the sign."""
    first, usual = reading.reader.formula(place, 0), reading.reader.usual(place)
    if first is not None and reading.is_right(name, first):
        return 2
    try:
        return int(usual is not None and same(-reading.found(usual), reading.expected(name)))
    except Unreadable:
        return 0


def _healed(reading: Reading, places: Mapping[int, str]) -> KnownValues:
    """The random networks as if these places held the quantities, in this iteration and the last."""
    return KnownValues(
        reading,
        {
            Key(place, shift): np.asarray(reading.expected(name, shift))
            for place, name in places.items()
            for shift in (-1, 0)
        },
    )


def _readers_right(reading: Reading, key: Key, known: Mapping[Key, Any]) -> bool:
    """Whether all quantities that read a column, directly or not, come out right with these values."""
    reader = reading.reader
    assert key.place is not None
    for other, name in reading.quantities.items():
        if other.place is None or other.place in reader.constant:
            continue
        formula = reader.usual(other.place)
        if formula is None or key.place not in _all_behind(reading, other.place, name):
            continue
        if not reading.is_right(name, formula, known):
            return False
    return True


def _all_behind(reading: Reading, place: int, name: str) -> set[int]:
    """All places that a place reads, directly or through others; for an update those of the iteration
    before, unless it only copies a new weight that stands there."""
    reader = reading.reader
    if name not in reading.updated or new_name(name) in reading.keys:
        return reader.behind(place)
    formula = reader.usual(place)
    try:
        keys = reader.keys(formula) if formula is not None else []
    except Unreadable:
        return set()
    shifts = (-1,) if reading.is_plain else (-1, 0)
    read = {key.place for key in keys if key.place not in (None, place) and key.shift in shifts}
    return {behind for each in read if each is not None for behind in (each, *reader.behind(each))}
