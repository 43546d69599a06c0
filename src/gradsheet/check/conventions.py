"""What is not as usual all over a table is a convention, and no mistake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gradsheet import network as net
from gradsheet.check.formula import Reference as SheetReference
from gradsheet.check.formula import Unreadable
from gradsheet.check.losses import nice
from gradsheet.check.reader import Key, same
from gradsheet.check.reading import DRAWS, KnownValues, Reading, new_name
from gradsheet.compiler import gradient_name
from gradsheet.expression import Array


def _values_of(reading: Reading, key: Key) -> Array | None:
    """What a column computes in the random networks, its gradients not taken for right."""
    formula = reading.reader.usual(key.place) if key.place is not None else None
    if formula is None:
        return None
    try:
        values = reading.reader.value(formula, KnownValues(reading, backward=False))
        return np.asarray(np.broadcast_to(np.asarray(values, dtype=float), DRAWS))
    except (Unreadable, TypeError, ValueError):
        return None


def without_steps(reading: Reading) -> Reading:
    """Columns that hold ±η·∂E/∂w are steps on the way to the update, or how the weights changed: no
    gradients. Of those with a header that says so, most have to hold steps."""
    gradients = {key: name for key, name in reading.quantities.items() if name.startswith("dE_d")}
    steps, changes = set(), set()
    rate = reading.rate_draws if isinstance(reading.rate, Key) else _typed_into_steps(reading, gradients)
    for key, name in gradients.items():
        values, parameter = _values_of(reading, key), name.removeprefix("dE_d")
        if values is None or parameter not in reading.updated:
            continue
        step = None if rate is None else rate * reading.expected(name)
        change = reading.worlds[0][parameter] - reading.worlds[-1][parameter]
        if same(values, change) or same(values, -change):
            changes.add(key)
        elif step is not None and (same(values, step) or same(values, -step)):
            steps.add(key)
    if 2 * len(steps) > len(gradients) and len(steps) > 1:
        steps = set(gradients)
    else:
        steps = changes | {key for key in steps if key.place not in reading.table.labels}
    if not steps:
        return reading
    kept = {key: name for key, name in reading.quantities.items() if key not in steps}
    note = "columns that hold the steps η·∂E/∂w, or how weights changed, are judged by the updates"
    return replace(reading, quantities=kept, notes=(*reading.notes, note))


def _typed_into_steps(reading: Reading, gradients: Mapping[Key, str]) -> float | None:
    """The learning rate that most columns of steps −η·∂E/∂w have typed in, or None."""
    rates: Counter[float] = Counter()
    for key, name in gradients.items():
        values, expected = _values_of(reading, key), reading.expected(name)
        if reading.rate is None and values is not None and np.abs(expected).max() > 0:
            rates[nice(float(np.dot(values, expected) / np.dot(expected, expected)))] += 1
    if not rates:
        return None
    rate, count = rates.most_common(1)[0]
    return -rate if rate < 0 and 2 * count > len(gradients) else None


def without_differences(reading: Reading) -> Reading:
    """Columns that are called errors and hold t − a are no losses."""
    losses = {
        key: name for key, name in reading.quantities.items() if name[0] == "E" and name[1:].isdigit()
    }
    plain = set()
    world = reading.worlds[0]
    last = len(reading.program.network.layers) - 1
    for key, name in losses.items():
        output = net.activation_name(reading.program.network, last, int(name[1:]))
        values, difference = _values_of(reading, key), world[f"t{name[1:]}"] - world[output]
        if values is not None and (same(values, difference) or same(values, -difference)):
            plain.add(key)
    if not plain or len(plain) < len(losses):
        return reading
    kept = {key: name for key, name in reading.quantities.items() if key not in plain}
    note = "the columns named like errors hold t − a, not a loss"
    return replace(reading, quantities=kept, notes=(*reading.notes, note))


def without_fixed(reading: Reading) -> Reading:
    """Weights of a layer that are all copied down, and have no gradients, are not trained; nor is any
    weight where all are copied down beside other data: then each row is a sample."""
    layers: dict[int | None, set[str]] = {}
    for name in reading.updated:
        layers.setdefault(reading.program[name].layer, set()).add(name)
    copied = [names for names in layers.values() if all(_is_copied(reading, n) for n in names)]
    data = (reading.keys[q.name] for q in reading.program.of_role("data") if q.name in reading.keys)
    changes = any(key.place is not None and key.place not in reading.reader.constant for key in data)
    samples = changes and len(copied) == len(layers)
    if not samples:
        copied = [names for names in copied if not any(gradient_name(n) in reading.keys for n in names)]
    kept = {name for names in copied for name in names}
    if not kept:
        return reading
    updates = tuple(u for u in reading.program.updates if u.parameter not in kept)
    note = "the same weights in all rows" if samples else f"kept as they are: {', '.join(sorted(kept))}"
    return replace(
        reading, program=replace(reading.program, updates=updates), notes=(*reading.notes, note)
    )


def _is_copied(reading: Reading, name: str) -> bool:
    """Whether a weight's column only copies what stands above."""
    place = reading.keys[name].place
    if place is None or new_name(name) in reading.keys:
        return False
    formulas = [reading.reader.formula(place, k) for k in range(1, len(reading.table.lines))]
    above = [
        isinstance(f.tree, SheetReference) and reading.reader.key(f.tree.at(f.home), f.iteration)
        for f in formulas
        if f is not None
    ]
    return bool(above) and all(key and key.place == place and key.shift < 0 for key in above)


def with_factor(reading: Reading) -> Reading:
    """Gradient columns that all hold the same multiple of the gradient follow a convention."""
    ratios: list[float] = []
    gradients = [(key, name) for key, name in reading.quantities.items() if name.startswith("dE_d")]
    for key, name in gradients:
        found = _values_of(reading, key)
        expected = reading.expected(name)
        slopes = np.abs(expected) > 0  # a ReLU may have none
        if found is not None and slopes.any() and same(found * slopes, found):
            ratio = found[slopes] / expected[slopes]
            if same(ratio, ratio[0]):
                ratios.append(nice(float(ratio[0])))
    if len(ratios) < 2:
        return reading
    common, count = Counter(ratios).most_common(1)[0]
    if common in (0.0, 1.0) or 2 * count <= len(gradients):
        return reading
    note = f"all gradients are {common:g} times those of the loss as it is written: a convention"
    scaled = replace(reading, factor=common, notes=(*reading.notes, note))
    # t − a in place of a − t is a convention only where the updates add what the others subtract
    return scaled if common > 0 or _mostly_descends(scaled) else reading


def _mostly_descends(reading: Reading) -> bool:
    """Whether most updates that the sheet has go downhill."""
    right = []
    for name in reading.updated:
        key = reading.keys.get(new_name(name), reading.keys[name])
        formula = reading.reader.usual(key.place) if key.place is not None else None
        if formula is not None and formula.iteration + (new_name(name) in reading.keys) > 0:
            written = new_name(name) if new_name(name) in reading.keys else name
            right.append(reading.is_right(written, formula))
    return 2 * sum(right) >= len(right)
