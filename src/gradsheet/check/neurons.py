"""From the formulas of a table to its neurons.

The formulas have the last word; labels help. A column is a *sum* where it is linear in the parameters
with other cells as coefficients, an *activation* where it is a known function of one sum.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, permutations
from typing import Any

import numpy as np

from gradsheet.check.formula import Apply, Cell, Reference, Unreadable, subtrees, with_part
from gradsheet.check.labels import natural, number_of, plain, read_label
from gradsheet.check.reader import TRIALS, Formula, Key, NotUnderstood, Reader, Source, points, same
from gradsheet.expression import OPERATIONS, Array
from gradsheet.network import ACTIVATIONS


@dataclass
class Neuron:
    """A neuron as the sheet has it: the places of its sum and of its output (either may be missing), its
    terms (parameter, source), its biases, and its activation where it is a known one."""

    sum_place: int | None
    place: int | None
    terms: list[tuple[Key, Source]]
    biases: list[Source]
    activation: str | None = None

    @property
    def places(self) -> tuple[int, ...]:
        return tuple(p for p in (self.place, self.sum_place) if p is not None)


OF_ONE_SUM = tuple(name for name in ACTIVATIONS if name != "softmax")
"""The activations that a column shows by itself: a softmax needs the sums of its whole layer."""

_Z = np.array([-2.3, -1.1, -0.4, 0.3, 0.9, 2.1])
_DUMMY = Reference("\0", 0, 0, True, True)  # stands for a sum that was cut out of a formula
_DUMMY_KEY = Key(None, 0, Cell("\0", 0, 0))


def labelled_cells(reader: Reader, kind: str) -> dict[int, Key]:
    """Numbers outside the table with a label of a kind to the left or above: their keys by number."""
    found: dict[int, Key] = {}
    for (row, column), text in sorted(reader.table.sheet.values.items()):
        label = read_label(text) if isinstance(text, str) and len(text) <= 60 else None
        if label is None or label.kind != kind or not label.key.isdigit():
            continue
        for down, right in ((0, 1), (1, 0)):
            cell = reader.table.sheet.cell(row + down, column + right)
            key = reader.key(cell, 0)
            if key.place is None and not math.isnan(reader.book.number(cell)):
                found.setdefault(int(label.key), key)
                break
    return dict(sorted(found.items()))


def known_activation(values: Any) -> str | None:
    """The activation that gives these values at `_Z`."""
    for name in OF_ONE_SUM:
        if same(values, _Z if name == "identity" else OPERATIONS[name].value(_Z)):
            return name
    return None


def find_parameters(reader: Reader) -> dict[int, str]:
    """The places of weights and biases with their names: by their headers, or because each is what it
    was in the iteration before, changed by something else, and is used."""
    labels = reader.table.labels
    named = {place: label.key for place, label in labels.items() if label.kind == "parameter"}
    used = {place for other in reader.table.places for place in reader.reads(other)}
    for place in reader.table.places:
        formula, header = reader.usual(place), reader.table.headers.get(place, "")
        if place in named or place not in used or formula is None:
            continue
        label = labels.get(place)
        if label is None and read_label(header):
            continue  # of another table, beside this one
        if label is not None and label.kind not in ("total", "loss", "forward"):
            continue
        try:
            keys = reader.keys(formula)
        except Unreadable:
            continue
        if Key(place, -1) in keys and any(key.place not in (place, None) for key in keys):
            if not _keeps_itself(reader, formula, keys, Key(place, -1)):
                continue  # an average, as of momentum
            match = re.fullmatch(r"([uv])\[?_?(\d.*)", plain(header))
            key = match[1] + re.sub(r"[^a-z0-9]+", "_", match[2]).strip("_") if match else ""
            named[place] = key or f"w{len(named) + 1}"
    repeated = {name for name, count in Counter(named.values()).items() if count > 1}
    for place in [place for place, name in named.items() if name in repeated]:
        named[place] += f"_{reader.table.name(place)}"
    return named


def _keeps_itself(reader: Reader, formula: Formula, keys: Sequence[Key], own: Key) -> bool:
    """Whether a formula is the value before plus something else, not a share of it."""
    values: dict[Key, Any] = dict(points(keys))
    try:
        change = reader.value(formula, {**values, own: values[own] + 1.0}) - reader.value(
            formula, values
        )
    except (Unreadable, TypeError):
        return True
    return same(change, 1.0)


def find_neurons(reader: Reader, parameters: Iterable[int]) -> list[Neuron]:
    """All neurons of a table, in the order of their columns."""
    return _NeuronFinder(reader, parameters).find() or _NumberFinder(reader, parameters).find()


class _NeuronFinder:
    def __init__(self, reader: Reader, parameters: Iterable[int]) -> None:
        self.reader = reader
        self.parameters = {Key(place) for place in parameters}
        names = reader.table.labels
        self.biases = {Key(p) for p in parameters if p in names and names[p].key.startswith("b")}
        self.by_place: dict[int, Neuron] = {}

    def find(self) -> list[Neuron]:
        labels = self.reader.table.labels
        skipped = ("gradient", "slope", "loss", "total", "new", "rate", "step", "parameter", "target")
        waiting = {}
        for place in self.reader.table.places:
            formula = self.reader.usual(place)
            if formula is not None and (place not in labels or labels[place].kind not in skipped):
                waiting[place] = formula
        found = True
        while found:  # an activation is known only after its sum
            found = False
            for place, formula in list(waiting.items()):
                try:
                    if self.classify(place, formula):
                        del waiting[place]
                        found = True
                except Unreadable:
                    del waiting[place]
        for place, formula in waiting.items():
            self.refuse_softmax(place, formula)
            self.hand_over(place, formula)
        unique = {id(neuron): neuron for neuron in self.by_place.values()}
        return self.without_backward(list(unique.values()))

    def hand_over(self, place: int, formula: Formula) -> None:
        """An output that was computed from the sum of another neuron, a_h2 = σ(h1), belongs to the one
        neuron of the layer that has none."""
        label = self.reader.table.labels.get(place)
        if label is not None and label.kind != "forward":
            return
        try:
            read = [self.by_place[k.place or 0] for k in self.reader.keys(formula) if k in self.sums]
            if len(read) != 1 or read[0].place is None:
                return
            if known_activation(self.reader.value(formula, {Key(read[0].sum_place): _Z})) is None:
                return
        except Unreadable:
            return
        other = read[0]
        inputs = {source for _, source in other.terms}
        without = {
            id(neuron): neuron
            for neuron in self.by_place.values()
            if neuron.place is None and {source for _, source in neuron.terms} == inputs
        }
        if len(without) != 1:
            return
        neuron = next(iter(without.values()))
        number = number_of(label)
        if number is not None and number == self.number(other.sum_place) != self.number(other.place):
            # the one that took its place is the wrong one
            neuron.place, other.place = other.place, place
        else:
            neuron.place = place
        for each in (neuron, other):
            self.by_place[each.place or 0] = each

    def number(self, place: int | None) -> int | None:
        return number_of(self.reader.table.labels.get(place if place is not None else -1))

    def refuse_softmax(self, place: int, formula: Formula) -> None:
        """An output that reads several sums, and nothing else, is no activation of one neuron."""
        try:
            keys = self.reader.keys(formula)
        except Unreadable:
            return
        label = self.reader.table.labels.get(place)
        named = label is None or label.kind == "forward"
        if named and len(keys) > 1 and all(Key(k.place) in self.sums and k.shift == 0 for k in keys):
            raise NotUnderstood(
                f"column {self.reader.table.name(place)} reads several neurons, as a softmax does"
            )

    @property
    def sums(self) -> set[Key]:
        return {Key(n.sum_place) for n in self.by_place.values() if n.sum_place is not None}

    def classify(self, place: int, formula: Formula) -> bool:
        """Try to read a place as a sum, as an activation of a known sum, or as both in one."""
        keys = self.reader.keys(formula)
        if self.parameters.intersection(keys):
            neuron = self.linear(formula)
            if neuron is not None:
                neuron.sum_place = place
            else:
                neuron = self.composite(formula)
                if neuron is None:
                    return False
                neuron.place = place
            self.by_place[place] = neuron
            return True
        sums = [key for key in keys if key.place in self.by_place]
        if len(sums) != 1 or any(key.place is not None and key not in sums for key in keys):
            return False
        neuron = self.by_place[sums[0].place or 0]
        label = self.reader.table.labels.get(place)
        activation = known_activation(self.reader.value(formula, {sums[0]: _Z}))
        if sums[0] != Key(neuron.sum_place) or neuron.place is not None:
            return False
        named = label is not None and label.kind == "forward"
        if not activation and not named and self.is_loss(formula, sums[0]):
            return False
        neuron.place, neuron.activation = place, activation
        self.by_place[place] = neuron
        return True

    def is_loss(self, formula: Formula, key: Key) -> bool:
        """Whether a function of one sum is a parabola: a loss with its target typed in."""
        values = self.reader.value(formula, {key: _Z})
        return same(np.polyval(np.polyfit(_Z, np.broadcast_to(values, _Z.shape), 2), _Z), values)

    def linear(self, formula: Formula, sign: float = 1.0) -> Neuron | None:
        """A sum's terms and biases, or None where the formula is no sum (times ``sign``)."""
        keys = self.reader.keys(formula)
        parameters = [key for key in keys if key in self.parameters]
        others = [key for key in keys if key not in self.parameters]
        values = points(keys)
        moved = {key: value + 0.7 * (key in self.parameters) for key, value in values.items()}
        neuron = Neuron(None, None, [], [])
        rest = sign * self.reader.value(formula, values)
        for key in parameters:
            slope = sign * self.slope(formula, values, key)
            if not same(slope, sign * self.slope(formula, moved, key)):
                return None  # a product of parameters
            if same(1 + slope, 1.0):
                continue  # it cancels out, as in a change since the start, w − w
            rest = rest - slope * values[key]
            # two where one weight stands in two terms; a minus between terms is a mistake to be named
            sources = _adding_up_to(slope, others, values) or _adding_up_to(-slope, others, values)[:1]
            if len(sources) == 1 and self.is_one(sources[0]) and key in self.biases:
                neuron.biases.append(key)
            elif sources:
                neuron.terms += [(key, source) for source in sources]
            elif same(slope, 1.0):
                neuron.biases.append(key)
            elif same(slope, np.broadcast_to(slope, TRIALS)[0]):
                neuron.terms.append((key, float(np.broadcast_to(slope, TRIALS)[0])))
            else:
                return None
        if not same(1 + rest, 1.0):
            fixed: Source | None = next((o for o in others if same(rest, values[o])), None)
            if fixed is None and same(rest, np.broadcast_to(rest, TRIALS)[0]):
                fixed = float(np.broadcast_to(rest, TRIALS)[0])
            if fixed is None:
                return None
            neuron.biases.append(fixed)
        return neuron if neuron.terms else None

    def is_one(self, key: Key) -> bool:
        """Whether a cell is the input 1 that some draw for a bias."""
        cell = key.cell if key.place is None else self.reader.table.cell(key.place, 0)
        fixed = key.place is None or key.place in self.reader.constant
        return fixed and cell is not None and self.reader.book.number(cell) == 1

    def slope(self, formula: Formula, values: Mapping[Key, Array], key: Key) -> Any:
        moved = {**values, key: values[key] + 1.0}
        return self.reader.value(formula, moved) - self.reader.value(formula, values)

    def composite(self, formula: Formula) -> Neuron | None:
        """A sum inside an activation, such as 1/(1+EXP(-(w1*i1+w2*i2)))."""
        wanted = self.parameters.intersection(self.reader.keys(formula))
        for part in subtrees(formula.tree):
            inner = formula._replace(tree=part)
            if not isinstance(part, Apply) or not wanted <= set(self.reader.keys(inner)):
                continue
            outer = formula._replace(tree=with_part(formula.tree, part, _DUMMY))
            if any(key.place is not None for key in self.reader.keys(outer)):
                continue
            for sign in (1.0, -1.0):  # the minus of EXP(-x) may be spread over the terms
                neuron = self.linear(inner, sign)
                if neuron is not None:
                    values = self.reader.value(outer, {_DUMMY_KEY: sign * _Z})
                    neuron.activation = known_activation(values)
                    if neuron.activation is not None:
                        return neuron
        return None

    def without_backward(self, neurons: list[Neuron]) -> list[Neuron]:
        """Leave out what looks like a sum but belongs to the backward pass: δ_o1·w5 + δ_o2·w7 comes
        after the sums that w5 and w7 are for."""
        behind = {id(neuron): self.reader.behind(neuron.places[-1]) for neuron in neurons}

        def uses(neuron: Neuron) -> set[Key]:
            return {parameter for parameter, _ in neuron.terms}

        return [
            neuron
            for neuron in neurons
            if not uses(neuron)
            <= {
                parameter
                for other in neurons
                if other is not neuron and behind[id(neuron)].intersection(other.places)
                for parameter in uses(other)
            }
        ]


def _adding_up_to(slope: Any, others: Sequence[Key], values: Mapping[Key, Array]) -> list[Key]:
    """The one cell, or the two, that a slope is the value, or the sum, of."""
    single = next((other for other in others if same(slope, values[other])), None)
    if single is not None:
        return [single]
    pairs = combinations(others, 2)
    return next(([a, b] for a, b in pairs if same(slope, values[a] + values[b])), [])


class _NumberFinder:
    """Finds the neurons of a table that was pasted as values: by the numbers, with the headers' help."""

    MOST_ROWS = 12
    MOST_TRIALS = 50_000
    LEAST_AGREEMENT = 0.6  # the others may hold a mistake

    def __init__(self, reader: Reader, parameters: Iterable[int]) -> None:
        table = reader.table
        rows = range(min(len(table.lines), self.MOST_ROWS))
        labels = table.labels
        self.weights = [Key(p) for p in parameters if p in labels and labels[p].key[0] != "b"]
        self.weights.sort(key=lambda key: natural(labels[key.place or 0].key))
        self.biases = [Key(p) for p in parameters if p in labels and Key(p) not in self.weights]
        self.inputs = [Key(p) for p in labels if labels[p].kind == "input"]
        self.inputs = self.inputs or list(labelled_cells(reader, "input").values())
        self.forward = [Key(p) for p in labels if labels[p].kind == "forward"]
        self.numbers: dict[Key, Array] = {}
        for key in (*self.weights, *self.biases, *self.inputs, *self.forward):
            cells = (key.cell if key.place is None else table.cell(key.place, k) for k in rows)
            self.numbers[key] = np.array([reader.book.number(cell) for cell in cells if cell])

    def find(self) -> list[Neuron]:
        outputs: dict[Key, tuple[Key, str]] = {}
        for key in self.forward:
            for other in self.forward:
                name = self.activation(key, other)
                if name is not None:
                    outputs.setdefault(key, (other, name))
        taken = {other for other, _ in outputs.values()}
        waiting = [key for key in self.forward if key not in taken]
        neurons: list[Neuron] = []
        sources, unused = list(self.inputs), list(self.weights)
        while waiting and sources:
            layer: dict[Key, Neuron] = {}
            for key in waiting:
                neuron = self.sum(key, sources, unused)
                if neuron is not None:
                    if key in outputs:
                        neuron.place, neuron.activation = outputs[key][0].place, outputs[key][1]
                    layer[key] = neuron
                    unused = [w for w in unused if w not in [weight for weight, _ in neuron.terms]]
            if not layer:
                break
            neurons += layer.values()
            waiting = [key for key in waiting if key not in layer]
            sources = [Key(neuron.places[0]) for neuron in layer.values()]
        return neurons

    def activation(self, key: Key, other: Key) -> str | None:
        """The activation that makes the numbers of one column those of the other."""
        if key == other:
            return None
        for name in OF_ONE_SUM:
            if name != "identity":
                values = OPERATIONS[name].value(self.numbers[key])
                if self.agreement(values, self.numbers[other], 1) > self.LEAST_AGREEMENT:
                    return name
        return None

    def sum(self, key: Key, sources: Sequence[Key], weights: Sequence[Key]) -> Neuron | None:
        """The weights, and the bias if any, that make a column the weighted sum of the sources."""
        trials = list(islice(permutations(weights, len(sources)), self.MOST_TRIALS))
        trials.sort(key=lambda chosen: list(chosen) != [w for w in weights if w in chosen])
        best: tuple[float, Neuron | None] = (self.LEAST_AGREEMENT, None)
        for bias in (None, *self.biases):
            for chosen in trials:
                total = 0.0 if bias is None else self.numbers[bias]
                for weight, source in zip(chosen, sources, strict=True):
                    total = total + self.numbers[weight] * self.numbers[source]
                agreement = self.agreement(total, self.numbers[key], len(sources))
                if agreement > best[0]:
                    terms: list[tuple[Key, Source]] = list(zip(chosen, sources, strict=True))
                    best = (agreement, Neuron(key.place, None, terms, [] if bias is None else [bias]))
                if agreement == 1:
                    return best[1]
        return best[1]

    def agreement(self, computed: Any, shown: Any, terms: int) -> float:
        """The share of rows that agree as far as the printed digits go (at worst four decimals)."""
        known = ~np.isnan(computed) & ~np.isnan(shown)
        if not known.any():
            return 0.0
        decimals = [len(f"{value:.12f}".rstrip("0").partition(".")[2]) for value in shown[known]]
        unit = min(1e-4, 10.0 ** (1 - float(np.median(decimals))))
        close = np.abs(computed - shown)[known] <= 2 * (1 + terms) * unit
        return float(close.mean())
