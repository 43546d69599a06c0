"""The built-in networks, by name: where every command starts when it is given nothing else."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradsheet.errors import InputError
from gradsheet.network import Layer, Network, load, load_table, parse, to_toml

_TWO_TWO_TWO = (((0.15, 0.20), (0.25, 0.30)), ((0.40, 0.45), (0.50, 0.55)))

_SEED = Network(
    name="seed",
    description="The course's 2-2-2 network: sigmoid twice, half squared error, no biases",
    layers=(Layer("sigmoid", _TWO_TWO_TWO[0]), Layer("sigmoid", _TWO_TWO_TWO[1])),
    loss="half_squared_error",
    inputs=((0.05, 0.10),),
    targets=((0.5, 0.5),),
    learning_rate=1.0,
)

_MAZUR = Network(
    name="mazur",
    description="Mazur's step-by-step example: the same weights, one frozen shared bias per layer",
    layers=(
        Layer("sigmoid", _TWO_TWO_TWO[0], (0.35,), shared_bias=True, train_biases=False),
        Layer("sigmoid", _TWO_TWO_TWO[1], (0.60,), shared_bias=True, train_biases=False),
    ),
    loss="half_squared_error",
    inputs=((0.05, 0.10),),
    targets=((0.01, 0.99),),
    learning_rate=0.5,
)

_XOR = parse("""
name = "xor"
description = "Exclusive or, the classic that needs a hidden layer: 2-3-1, four samples"
loss = "binary_cross_entropy"
learning_rate = 1.0
seed = 1
inputs = [[0, 0], [0, 1], [1, 0], [1, 1]]
targets = [0, 1, 1, 0]

[[layers]]
neurons = 3
activation = "tanh"
biases = true

[[layers]]
neurons = 1
activation = "sigmoid"
biases = true
""")

_CS231N = Network(
    name="cs231n",
    description="The single neuron of CS231n; the target makes ∂E/∂a = 1, as in the notes",
    layers=(Layer("sigmoid", ((2.0, -3.0),), (-3.0,)),),
    loss="half_squared_error",
    inputs=((-1.0, -2.0),),
    targets=((-0.2689414213699951,),),
    learning_rate=1.0,
)

_IRIS = parse("""
name = "iris"
description = "Three kinds of iris from four measures in cm: 4-4-3, softmax, six flowers"
loss = "softmax_cross_entropy"
learning_rate = 0.1
seed = 1
input_names = ["sepal length", "sepal width", "petal length", "petal width"]
output_names = ["setosa", "versicolor", "virginica"]
inputs = [
    [5.1, 3.5, 1.4, 0.2],
    [4.9, 3.0, 1.4, 0.2],
    [7.0, 3.2, 4.7, 1.4],
    [6.4, 3.2, 4.5, 1.5],
    [6.3, 3.3, 6.0, 2.5],
    [5.8, 2.7, 5.1, 1.9],
]
targets = [0, 0, 1, 1, 2, 2]

[[layers]]
neurons = 4
activation = "tanh"
biases = true

[[layers]]
neurons = 3
activation = "identity"
biases = true
""")

EXAMPLES: Mapping[str, Network] = {
    network.name: network for network in (_SEED, _MAZUR, _XOR, _CS231N, _IRIS)
}


def find(example_or_file: str) -> Network:
    """A built-in example by its name, or a network from a TOML file by its path.

    Raises `InputError` when it is neither.
    """
    if example_or_file in EXAMPLES:
        return EXAMPLES[example_or_file]
    return load(_path(example_or_file))


def find_table(example_or_file: str) -> dict[str, Any]:
    """What `find` reads as it stands in TOML, by key; a file needs no samples."""
    if example_or_file in EXAMPLES:
        return tomllib.loads(to_toml(EXAMPLES[example_or_file]))
    return load_table(_path(example_or_file))


def _path(example_or_file: str) -> Path:
    path = Path(example_or_file)
    if path.suffix.lower() == ".toml" or os.path.exists(example_or_file):  # False for an endless name
        return path
    raise InputError(
        f"{example_or_file}: is neither an example ({', '.join(EXAMPLES)}) nor a file; "
        "give one of these names or the path of a .toml file"
    )
