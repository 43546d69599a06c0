"""Hypothesis strategies that the tests share."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from gradsheet.examples import EXAMPLES
from gradsheet.network import ACTIVATIONS, CLASS_LOSSES, LOSSES, Layer, Network

WORDS = st.text("abcxyz äß漢=+'\"\\<&", min_size=1, max_size=12).filter(str.strip)
"""Names as users may choose them, with what TOML, XML and spreadsheets treat specially."""

PLAIN = {name: network for name, network in EXAMPLES.items() if network.is_plain}
"""The examples that learn by plain gradient descent, which is what `gradsheet check` grades."""


def numbers(bound: int = 2) -> st.SearchStrategy[float]:
    """Numbers of two decimals in ±bound: as people type them, and 0 and repeats are frequent."""
    return st.integers(-100 * bound, 100 * bound).map(lambda hundredths: hundredths / 100)


def matrices(rows: int, columns: int) -> st.SearchStrategy[tuple[tuple[float, ...], ...]]:
    row = st.tuples(*[numbers()] * columns)
    return st.tuples(*[row] * rows)


def shares(count: int) -> st.SearchStrategy[tuple[float, ...]]:
    """A distribution over ``count`` classes, often one-hot."""
    parts = st.lists(st.integers(0, 3), min_size=count, max_size=count).filter(any)
    return parts.map(lambda row: tuple(part / sum(row) for part in row))


@st.composite
def layers(draw: st.DrawFn, neurons: int, fan_in: int, activations: tuple[str, ...]) -> Layer:
    kind = draw(st.sampled_from(["none", "neuron", "shared"]))
    count = {"none": 0, "neuron": neurons, "shared": 1}[kind]
    return Layer(
        activation=draw(st.sampled_from([a for a in activations if neurons > 1 or a != "softmax"])),
        weights=draw(matrices(neurons, fan_in)),
        biases=draw(st.tuples(*[numbers()] * count)),
        shared_bias=kind == "shared",
        train_biases=draw(st.booleans()),
    )


@st.composite
def networks(
    draw: st.DrawFn, max_layers: int = 3, max_neurons: int = 4, max_samples: int = 4
) -> Network:
    """Valid networks: every activation and loss, all kinds of biases, trained or frozen."""
    several = [name for name in LOSSES if max_neurons > 1 or name not in CLASS_LOSSES]
    loss = draw(st.sampled_from(several))
    sizes = draw(st.lists(st.integers(1, max_neurons), min_size=2, max_size=max_layers + 1))
    samples = draw(st.integers(1, max_samples))
    last_activations = ACTIVATIONS
    row = st.tuples(*[numbers()] * sizes[-1])
    if loss == "binary_cross_entropy":
        last_activations = ("sigmoid",)
        row = row.map(lambda values: tuple(abs(value) / 2 for value in values))
    if loss in CLASS_LOSSES:
        last_activations = ("identity" if loss == "softmax_cross_entropy" else "softmax",)
        sizes[-1] = max(2, sizes[-1])
        row = shares(sizes[-1])
    hidden = [draw(layers(n, fan_in, ACTIVATIONS)) for fan_in, n in pairwise(sizes[:-1])]
    last = draw(layers(sizes[-1], sizes[-2], last_activations))
    named = draw(st.booleans())
    names = [f"{draw(WORDS)} {k}" for k in range(sizes[0] + sizes[-1])] if named else []
    return Network(
        name=draw(WORDS),
        description=draw(st.just("") | WORDS),
        layers=(*hidden, last),
        loss=loss,
        inputs=draw(matrices(samples, sizes[0])),
        targets=draw(st.tuples(*[row] * samples)),
        input_names=tuple(names[: sizes[0]]),
        output_names=tuple(names[sizes[0] :]),
        learning_rate=draw(st.sampled_from([0.01, 0.1, 0.5, 1.0])),
        seed=draw(st.none() | st.integers(0, 9)),
    )
