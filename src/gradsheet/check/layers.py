"""From neurons to layers: sums that read the outputs of other neurons make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from gradsheet.check.labels import Label, natural, number_of
from gradsheet.check.neurons import OF_ONE_SUM, Neuron
from gradsheet.check.reader import Key, NotUnderstood, Reader, Source


@dataclass(frozen=True)
class Layers:
    """The network of a table: inputs, and by layer its neurons, weights, biases and activation.

    ``weights`` is by layer, neuron and input; ``biases`` by layer: none, one a neuron, or one that all
    share. ``doubt`` says what speaks against an activation that is only assumed, for the layer
    ``assumed``: it counts only where all that follows from it is right.
    """

    inputs: tuple[Source, ...]
    neurons: tuple[tuple[Neuron, ...], ...]
    weights: tuple[tuple[tuple[Key, ...], ...], ...]
    biases: tuple[tuple[Source, ...], ...]
    activations: tuple[str, ...]
    assumed: int | None = None
    doubt: str = ""

    @property
    def sizes(self) -> tuple[int, ...]:
        return (len(self.inputs), *map(len, self.neurons))


def arrange(reader: Reader, neurons: Sequence[Neuron], parameters: Mapping[int, str]) -> list[Layers]:
    """Possible readings of a table as a dense network, the most likely first.

    There are two where the formulas fit one network, but the numbering of most weights another; and
    one for each activation of a layer in which none is known.

    Raises `NotUnderstood`.
    """
    layers = _by_depth(reader, neurons)
    inputs = _inputs(reader, layers[0])
    sources: list[list[object]] = [list(inputs)]
    sources += [[id(neuron) for neuron in layer] for layer in layers[:-1]]
    owner = {place: id(neuron) for neuron in neurons for place in neuron.places}
    observed: dict[tuple[int, int, int], Key] = {}
    for depth, layer in enumerate(layers):
        for j, neuron in enumerate(layer):
            for parameter, source in neuron.terms:
                known: object = source
                if depth and isinstance(source, Key):
                    known = owner.get(source.place if source.place is not None else -1)
                if known in sources[depth]:
                    where = (depth, j, sources[depth].index(known))
                    observed.setdefault(where, parameter)
    sizes = [len(inputs), *map(len, layers)]
    wanted = [
        (depth, j, i)
        for depth, layer in enumerate(layers)
        for j in range(len(layer))
        for i in range(sizes[depth])
    ]
    bijective = set(observed) == set(wanted) and len(set(observed.values())) == len(wanted)
    readings = [observed] if bijective else []
    numbered = _by_number(parameters, sizes, observed)
    if numbered is not None and numbered != observed:
        readings.append(numbered)
    if not readings:
        raise NotUnderstood(
            f"its {len(neurons)} neurons do not fit together as dense layers with one weight per input"
        )
    biases = _biases(layers, parameters)
    known, assumed, doubt = _activations(reader, layers)
    return [
        Layers(
            tuple(inputs),
            tuple(map(tuple, layers)),
            tuple(
                tuple(tuple(weights[d, j, i] for i in range(sizes[d])) for j in range(len(layer)))
                for d, layer in enumerate(layers)
            ),
            biases,
            activations,
            assumed,
            doubt,
        )
        for weights in readings
        for activations in known
    ]


def _by_depth(reader: Reader, neurons: Sequence[Neuron]) -> list[list[Neuron]]:
    owner = {place: neuron for neuron in neurons for place in neuron.places}
    depths: dict[int, int] = {}

    def depth(neuron: Neuron, above: tuple[int, ...] = ()) -> int:
        if id(neuron) in above:
            raise NotUnderstood("its neurons feed each other in a circle")
        if id(neuron) not in depths:
            found = Counter(
                depth(owner[source.place], (*above, id(neuron))) + 1
                if isinstance(source, Key) and source.place in owner
                else 0
                for _, source in neuron.terms
            )
            depths[id(neuron)] = max(found, key=lambda d: (found[d], d))
        return depths[id(neuron)]

    if not neurons:
        raise NotUnderstood("no weighted sum of inputs was found in it")
    for neuron in neurons:
        depth(neuron)
    layers = [[n for n in neurons if depths[id(n)] == d] for d in range(max(depths.values()) + 1)]
    if not all(layers):
        raise NotUnderstood("one of its layers has no neurons")
    return [_in_order(reader, layer) for layer in layers]


def _in_order(reader: Reader, layer: list[Neuron]) -> list[Neuron]:
    labels = reader.table.labels
    numbers = [
        next((n for p in neuron.places if (n := number_of(labels.get(p))) is not None), None)
        for neuron in layer
    ]
    if None in numbers or len(set(numbers)) < len(layer):
        return sorted(layer, key=lambda neuron: min(neuron.places))
    return [layer[k] for k in np.argsort(np.array(numbers, dtype=int))]


def _inputs(reader: Reader, layer: Sequence[Neuron]) -> list[Source]:
    uses = Counter(source for neuron in layer for source in {source for _, source in neuron.terms})
    count = Counter(len(neuron.terms) for neuron in layer).most_common(1)[0][0]

    def labelled(source: Source) -> bool:
        label = _label(reader, source)
        return label is not None and label.kind == "input"

    best = sorted(uses, key=lambda source: (-uses[source], not labelled(source)))[:count]
    numbers = [number_of(_label(reader, source)) for source in best]
    if all(map(labelled, best)) and None not in numbers and len(set(numbers)) == len(best):
        return [best[k] for k in np.argsort(np.array(numbers, dtype=int))]
    order = list(uses)
    return sorted(
        best, key=lambda s: (s.place is None, s) if isinstance(s, Key) else (True, order.index(s))
    )


def _label(reader: Reader, source: Source) -> Label | None:
    if isinstance(source, Key) and source.place is not None:
        return reader.table.labels.get(source.place)
    return None


def _by_number(
    parameters: Mapping[int, str],
    sizes: Sequence[int],
    observed: Mapping[tuple[int, int, int], Key],
) -> dict[tuple[int, int, int], Key] | None:
    """The weights as their numbers run, where that agrees with most formulas: neuron by neuron
    (h1 = w1·i1 + w2·i2) or input by input (h1 = w1·i1 + w3·i2), up or down."""
    names = {place: name for place, name in parameters.items() if not name.startswith("b")}
    places = sorted(names, key=lambda place: natural(names[place]))
    if len(places) != sum(a * b for a, b in pairwise(sizes)):
        return None
    best: tuple[int, dict[tuple[int, int, int], Key]] = (0, {})
    for order in (places, places[::-1]):
        for neuron_first in (True, False):
            assigned: dict[tuple[int, int, int], Key] = {}
            rest = iter(order)
            for depth, (inputs, outputs) in enumerate(pairwise(sizes)):
                outer, inner = (outputs, inputs) if neuron_first else (inputs, outputs)
                for a in range(outer):
                    for b in range(inner):
                        j, i = (a, b) if neuron_first else (b, a)
                        assigned[depth, j, i] = Key(next(rest))
            agreeing = sum(assigned[where] == key for where, key in observed.items())
            if agreeing > best[0]:
                best = (agreeing, assigned)
    return best[1] if best[0] > 0.6 * len(best[1]) else None


def _biases(
    layers: Sequence[Sequence[Neuron]], parameters: Mapping[int, str]
) -> tuple[tuple[Source, ...], ...]:
    """The biases of every layer as the formulas add them; where these do not fit together, or leave
    one out, as the biases are numbered."""
    try:
        biases = tuple(_biases_of_layer(layer) for layer in layers)
        shared = Counter(bias for own in biases for bias in own if isinstance(bias, Key))
        if any(count > 1 for count in shared.values()):
            raise NotUnderstood("two of its layers add the same bias")
    except NotUnderstood:
        numbered = _biases_by_number(layers, parameters)
        if numbered is None:
            raise
        return numbered
    named = {Key(place) for place, name in parameters.items() if name.startswith("b")}
    if named - shared.keys():
        return _biases_by_number(layers, parameters) or biases
    return biases


def _biases_by_number(
    layers: Sequence[Sequence[Neuron]], parameters: Mapping[int, str]
) -> tuple[tuple[Source, ...], ...] | None:
    """One bias a neuron, or one a layer, as they are numbered, where most neurons add theirs."""
    names = {place: name for place, name in parameters.items() if name.startswith("b")}
    order = [Key(place) for place in sorted(names, key=lambda place: natural(names[place]))]
    found: tuple[tuple[Source, ...], ...]
    if len(order) == sum(map(len, layers)):
        rest = iter(order)
        found = tuple(tuple(islice(rest, len(layer))) for layer in layers)
    elif len(order) == len(layers):
        found = tuple((bias,) for bias in order)
    else:
        return None
    agreeing = sum(
        neuron.biases == [own[k % len(own)]]
        for layer, own in zip(layers, found, strict=True)
        for k, neuron in enumerate(layer)
    )
    return found if agreeing > 0.6 * sum(map(len, layers)) else None


def _biases_of_layer(layer: Sequence[Neuron]) -> tuple[Source, ...]:
    lists = [neuron.biases for neuron in layer]
    if any(len(biases) > 1 for biases in lists):
        raise NotUnderstood("a neuron adds more than one number to its weighted sum")
    given = [biases[0] for biases in lists if biases]
    if len(given) * 2 < len(layer) or not given:
        return ()
    if len(set(given)) == 1 and len(layer) > 1:
        return (given[0],)
    if len(given) == len(layer) == len(set(given)):
        return tuple(given)
    raise NotUnderstood("some neurons of a layer have a bias and others have none")


def _activations(
    reader: Reader, layers: Sequence[Sequence[Neuron]]
) -> tuple[list[tuple[str, ...]], int | None, str]:
    """The activations by layer; where those of one layer are none that is known, all that they may be,
    the layer, and what was found in it."""
    everywhere = Counter(n.activation for layer in layers for n in layer if n.activation)
    found: list[str] = []
    unknown: list[tuple[int, str]] = []
    for depth, layer in enumerate(layers):
        counts = Counter("identity" if neuron.place is None else neuron.activation for neuron in layer)
        known = {name: count for name, count in counts.items() if name is not None}
        if not known or 2 * counts[None] > len(layer):
            place = next(n.place for n in layer if n.place is not None)
            formula = reader.book.formula(reader.usual(place).home)  # type: ignore[union-attr]
            where = reader.table.name(place)
            unknown.append((depth, f"the activation in column {where} is none that is known: {formula}"))
            found.append("")
            continue
        found.append(max(known, key=lambda name: (known[name], everywhere[name])))
    if not unknown:
        return [tuple(found)], None, ""
    (depth, doubt), *more = unknown
    if more:
        raise NotUnderstood(doubt)
    slopes = (name for name in OF_ONE_SUM if name != "identity")
    possible = [(*found[:depth], name, *found[depth + 1 :]) for name in slopes]
    return possible, depth, doubt
