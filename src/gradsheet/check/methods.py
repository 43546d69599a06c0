"""What is no mistake, but another method than plain gradient descent with one learning rate.

A schedule of the learning rate, or one for each layer, is right; on another optimizer, a batch of
samples, or gradients of another loss no verdict is given.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from gradsheet.check.causes import UNEXPLAINED
from gradsheet.check.formula import Reference, Unreadable
from gradsheet.check.judge import LEAST, LIVE_TOLERANCE, Judgement, Wrong, judge
from gradsheet.check.labels import begins_with_rate
from gradsheet.check.reader import Formula, Key, same
from gradsheet.check.reading import Reading, is_backward, new_name
from gradsheet.check.verdict import Finding
from gradsheet.compiler import gradient_name

# ---------------------------------------------------------------- batches


def updates_in_batches(reading: Reading) -> bool:
    """Whether the weights change once in several rows, by what the samples of those rows add up to."""
    if reading.complete or not reading.updated:
        return False
    return all(_by_turns(reading, name) or _sums_rows(reading, name) for name in reading.updated)


def _by_turns(reading: Reading, name: str) -> bool:
    """Whether a weight is copied from row to row, and again and again changed in between."""
    table, place = reading.table, reading.keys[name].place
    if place is None:
        return False
    formulas = [reading.reader.formula(place, k) for k in range(1, len(table.lines))]
    copies = [f is not None and isinstance(f.tree, Reference) for f in formulas]
    for formula in formulas:
        if formula is not None and isinstance(formula.tree, Reference):
            found = table.locate(formula.tree.at(formula.home))
            if found is not None and found[0] != place:
                return False
    return sum(a != b for a, b in pairwise(copies)) >= 3


def _sums_rows(reading: Reading, name: str) -> bool:
    """Whether an update reads the gradients of several rows."""
    place = reading.keys[name].place
    for k in range(1, len(reading.table.lines) if place is not None else 0):
        assert place is not None
        shifts = defaultdict(set)
        for key in _keys(reading, reading.reader.formula(place, k)):
            if is_backward(reading.name_of(key) or ""):
                shifts[key.place].add(key.shift)
        if any(len(rows) > 1 for rows in shifts.values()):
            return True
    return False


def _keys(reading: Reading, formula: Formula | None) -> list[Key]:
    if formula is None:
        return []
    try:
        return reading.reader.keys(formula)
    except Unreadable:
        return []


# ---------------------------------------------------------------- learning rates of their own


def at_typed_rate(judgement: Judgement) -> Judgement:
    """Where the learning rate stands in no cell, the judgement by the one that most updates have typed
    in, or the steps that they add."""
    reading = judgement.reading
    if isinstance(reading.rate, Key):
        return judgement
    rates: Counter[float] = Counter()
    for name in reading.updated:
        key = reading.keys.get(new_name(name), reading.keys[name])
        formula = reading.reader.usual(key.place) if key.place is not None else None
        rate = _rate_in(reading, name, formula) if formula is not None else None
        if rate is not None:
            rates[round(rate, 9)] += 1
    if not rates:
        return judgement
    rate, count = rates.most_common(1)[0]
    if rate == reading.rate or 2 * count <= len(reading.updated):
        return judgement
    return judge(replace(reading, rate=rate))


def with_own_rates(judgement: Judgement) -> Judgement:
    """The judgement without the updates that have a learning rate of their own.

    That is one for all weights of a row, as in a schedule; or one for all weights of a layer, typed or
    in another cell that is labelled as a learning rate. It may be 0 where a formula is judged by its
    value, as IF(MOD(ROW(),4)=0,…) is: then the weights wait for another row.
    """
    reading = judgement.reading
    if not reading.is_plain:
        return judgement
    wrong = {w.name.removeprefix("new_"): w for w in judgement.wrong if reading.is_update(w.name)}
    rates: dict[int, dict[str, float]] = defaultdict(dict)  # by iteration and weight
    for name, each in wrong.items():
        for k in each.iterations if each.kind == "formula" else ():
            rate = _own_rate(reading, each, k)
            if rate is not None:
                rates[k][name] = rate
    groups = [set(reading.updated)]
    layers = {reading.program[name].layer for name in reading.updated}
    groups += [{n for n in reading.updated if reading.program[n].layer == layer} for layer in layers]
    accepted = {
        (name, k)
        for k, by_name in rates.items()
        for group in groups
        if len(group) > 1
        and group <= by_name.keys()
        and same([by_name[n] for n in group], by_name[min(group)])
        for name in group
    }
    values = {k for each in wrong.values() if each.kind == "value" for k in each.iterations}
    accepted |= {
        (name, k)
        for k in values
        for group in groups
        if len(group) > 1 and _share_a_rate(reading, group, k)
        for name in group
    }
    if not accepted:
        return judgement
    kept = []
    for each in judgement.wrong:
        if reading.is_update(each.name):
            name = each.name.removeprefix("new_")
            iterations = tuple(k for k in each.iterations if (name, k) not in accepted)
            if not iterations:
                continue
            each = replace(each, iterations=iterations)
        kept.append(each)
    note = "some updates have a learning rate of their own, the same for all weights of a row or layer"
    reading = replace(reading, notes=(*reading.notes, note), steady=False)
    return replace(judgement, reading=reading, wrong=tuple(kept))


def _share_a_rate(reading: Reading, parameters: Collection[str], k: int) -> bool:
    """Whether the numbers of an iteration say that all these weights were updated at one learning rate,
    by formulas."""
    book, cells = reading.reader.book, []
    for name in parameters:
        new, weight = reading.keys.get(new_name(name)), reading.keys[name]
        before = k - 1 if new is None else k
        read = ((weight, before), (reading.keys.get(gradient_name(name)), before), (new or weight, k))
        places = [(key.place, row) for key, row in read if key is not None and key.place is not None]
        cells.append([reading.table.cell(place, row) for place, row in places])
    if any(len(each) < 3 or book.formula(each[-1]) is None for each in cells):
        return False
    weights, slopes, results = np.array([[book.number(c) for c in each] for each in cells]).T
    slopes = slopes * math.copysign(1, reading.factor)
    steepest = np.abs(slopes).argmax()
    with np.errstate(all="ignore"):
        rate = (weights - results)[steepest] / slopes[steepest]
    expected = weights - rate * slopes
    near = np.abs(results - expected) <= LIVE_TOLERANCE * np.maximum(np.abs(expected), LEAST)
    return bool(0 <= rate < math.inf and near.all())


def _own_rate(reading: Reading, wrong: Wrong, k: int) -> float | None:
    """The factor of an update w − factor·∂E/∂w: of the learning rate where the update reads it; None
    where it is no such update, or the factor stands in a cell that nothing calls a learning rate."""
    formula = reading.reader.formula(wrong.place, k)
    return None if formula is None else _rate_in(reading, wrong.name.removeprefix("new_"), formula)


def _rate_in(reading: Reading, parameter: str, formula: Formula) -> float | None:
    """See `_own_rate`."""
    world = reading.worlds[0 if new_name(parameter) in reading.keys else -1]
    try:
        step = world[parameter] - reading.found(formula)
    except Unreadable:
        return None
    with np.errstate(all="ignore"):
        factor = step / (abs(reading.factor) * world[gradient_name(parameter)])
    keys = _keys(reading, formula)
    outside = [key for key in keys if key.place is None and reading.name_of(key) is None]
    if reading.rate in outside:
        factor = factor / reading.rate_draws
    elif isinstance(reading.rate, Key) or outside:
        labelled = [key for key in outside if key.cell and begins_with_rate(_beside(reading, key))]
        if len(labelled) != len(outside) or not outside:
            return None
    known = np.isfinite(factor)
    if not known.any() or not same(factor[known], factor[known][0]) or factor[known][0] <= 0:
        return None
    return float(factor[known][0])


def _beside(reading: Reading, key: Key) -> str:
    """The text that stands before a cell, or over it."""
    assert key.cell is not None
    sheet = reading.reader.book.sheet(key.cell.sheet)
    for up, left in ((0, 1), (0, 2), (1, 0)):
        value = sheet.values.get((key.cell.row - up, key.cell.column - left)) if sheet else None
        if isinstance(value, str):
            return value
    return ""


# ---------------------------------------------------------------- other methods


def other_method(judgement: Judgement, findings: Sequence[Finding]) -> tuple[list[Finding], list[str]]:
    """The findings that come from another method, and what is said of each method instead.

    ``findings`` are those of ``judgement.wrong``, one each.
    """
    reading = judgement.reading
    if reading.complete:
        return [], []
    pairs = list(zip(judgement.wrong, findings, strict=True))
    strange: list[Finding] = []
    reasons: list[str] = []
    for found, words in (
        (
            _other_rule(reading, pairs),
            "its weights are not updated by gradient descent with one learning rate",
        ),
        (
            _other_gradients(reading, pairs),
            "its gradients are not those of its loss, for no reason that is known",
        ),
        (_penalty(reading, pairs), "its loss holds more than the errors of the outputs"),
    ):
        if found:
            strange += found
            first = found[0]
            reasons.append(
                f"{first.sheet}: {words}, but as in {first.cells.split(':')[0]}: {first.shown}"
            )
    return strange, reasons


Pairs = Sequence[tuple[Wrong, Finding]]


def _other_rule(reading: Reading, pairs: Pairs) -> list[Finding]:
    """The findings on updates where none follows gradient descent, nor a known mistake in it."""
    updates = [
        (wrong, finding)
        for wrong, finding in pairs
        if reading.is_update(wrong.name) and wrong.kind != "pasted"
    ]
    strange = [
        finding
        for wrong, finding in updates
        if finding.cause.startswith(UNEXPLAINED) or _reads_more(reading, wrong)
    ]
    most = 2 * len(updates) > len(reading.updated)
    enough = len(strange) == len(updates) and (
        len(updates) >= max(2, len(reading.updated))
        or (most and all(_reads_more(reading, wrong) for wrong, _ in updates))
    )
    return strange if enough else _other_rule_of_layers(reading, updates)


def _other_rule_of_layers(reading: Reading, updates: Pairs) -> list[Finding]:
    """The findings on updates of a layer all of whose weights learn by columns of their own."""
    layers: dict[int | None, set[str]] = defaultdict(set)
    for name in reading.updated:
        layers[reading.program[name].layer].add(name)
    more = {
        wrong.name.removeprefix("new_"): finding
        for wrong, finding in updates
        if _reads_more(reading, wrong)
    }
    whole = [weights for weights in layers.values() if len(weights) > 1 and weights <= more.keys()]
    return [finding for name, finding in more.items() if any(name in weights for weights in whole)]


def _reads_more(reading: Reading, wrong: Wrong) -> bool:
    """Whether an update reads columns that are neither part of the network nor data, or its own weight
    in two iterations, as momentum does."""
    own = reading.keys[wrong.name.removeprefix("new_")].place
    shifts = set()
    for key in _keys(reading, reading.reader.formula(wrong.place, wrong.iterations[-1])):
        if key.place is None or key.place in reading.reader.constant:
            continue
        if reading.name_of(key) is None and key != reading.rate:
            return True
        if key.place == own:
            shifts.add(key.shift)
    return len(shifts) > 1


def _other_gradients(reading: Reading, pairs: Pairs) -> list[Finding]:
    """The findings on gradients where all of them are wrong and none follows a known mistake."""
    columns = [name for name in reading.keys if name.startswith("dE_d") and name[4:] in reading.updated]
    strange = {
        wrong.name: finding
        for wrong, finding in pairs
        if wrong.name in columns and finding.cause.startswith(UNEXPLAINED)
    }
    return list(strange.values()) if len(strange) == len(columns) >= 2 else []


def _penalty(reading: Reading, pairs: Pairs) -> list[Finding]:
    """The findings on a total loss that reads the weights themselves, as a penalty on them does."""
    parameters = {q.name for q in reading.program.of_role("parameter")}
    return [
        finding
        for wrong, finding in pairs
        if wrong.name == reading.program.loss
        and finding.cause.startswith(UNEXPLAINED)
        and any(
            reading.name_of(key) in parameters
            for key in _keys(reading, reading.reader.formula(wrong.place, wrong.iterations[-1]))
        )
    ]
