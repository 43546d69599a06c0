"""The built-in networks, by name: where every command starts when it is given nothing else."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradsheet.errors import InputError
from gradsheet.model_files import check_file, is_model, read_model
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

_XOR_MOMENTUM = replace(
    _XOR,
    name="xor-momentum",
    description="Exclusive or with momentum: half the learning rate of xor, and sooner there",
    learning_rate=0.5,
    optimizer="momentum",
)

_MICROGRAD = Network(
    name="micrograd",
    description="Karpathy's tanh neuron of the micrograd lecture; the target makes ∂E/∂o = 1",
    layers=(Layer("tanh", ((-3.0, 1.0),), (6.8813735870195432,)),),
    loss="half_squared_error",
    inputs=((2.0, 0.0),),
    targets=((-0.2928932188134524,),),
    learning_rate=0.1,
)

# ½·Σ(w·x)² over these samples is 0.1·w1² + 2·w2²: (0.4² + 0.2²)/2 = 0.1 and 2²/2 = 2.
_BOWL = Network(
    name="bowl",
    description="Momentum in Dive into Deep Learning's valley 0.1·w1² + 2·w2², from (−5, −2)",
    layers=(Layer("identity", ((-5.0, -2.0),)),),
    loss="half_squared_error",
    inputs=((0.4, 0.0), (0.2, 0.0), (0.0, 2.0)),
    targets=((0.0,), (0.0,), (0.0,)),
    learning_rate=0.6,
    optimizer="momentum",
    hyperparameters={"momentum": 0.5},
)

# random.Random(1).sample(range(1, 21), 8), sorted; y = 2·x + 30
_LINE = parse("""
name = "line"
description = "The line y = 2·x + 30 from slope and intercept 1, as in fast.ai's sheet; Adam"
loss = "mean_squared_error"
learning_rate = 2.0
optimizer = "adam"
input_names = ["x"]
output_names = ["y"]
inputs = [[3], [4], [5], [8], [9], [13], [15], [19]]
targets = [36, 38, 40, 46, 48, 56, 60, 68]

[[layers]]
activation = "identity"
weights = [[1.0]]
biases = [1.0]
""")

# (cos φ, sin φ), (1 − cos φ, ½ − sin φ) for φ = 0, π/7, …, π; added: gauss(0, 0.1) of random.Random(20)
_MOONS = parse("""
name = "moons"
description = "Two half moons that no line separates: 2-4-1 with RMSProp, 16 samples"
loss = "binary_cross_entropy"
learning_rate = 0.05
optimizer = "rmsprop"
seed = 4
inputs = [
    [1.13, -0.09],
    [0.02, 0.28],
    [0.89, 0.58],
    [0.27, -0.05],
    [0.57, 0.75],
    [0.11, -0.11],
    [0.29, 1.03],
    [0.88, -0.51],
    [-0.2, 1.06],
    [1.3, -0.52],
    [-0.75, 0.84],
    [1.66, -0.39],
    [-0.79, 0.5],
    [1.94, 0.08],
    [-0.94, 0.14],
    [1.97, 0.65],
]
targets = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]

[[layers]]
neurons = 4
activation = "tanh"
biases = true

[[layers]]
neurons = 1
activation = "sigmoid"
biases = true
""")

_IRIS_ADAM = replace(
    _IRIS,
    name="iris-adam",
    description="Three kinds of iris with Adam: nine flowers, from the weights of iris",
    inputs=(
        *((5.1, 3.5, 1.4, 0.2), (4.9, 3.0, 1.4, 0.2), (4.7, 3.2, 1.3, 0.2)),
        *((7.0, 3.2, 4.7, 1.4), (6.4, 3.2, 4.5, 1.5), (6.9, 3.1, 4.9, 1.5)),
        *((6.3, 3.3, 6.0, 2.5), (5.8, 2.7, 5.1, 1.9), (7.1, 3.0, 5.9, 2.1)),
    ),
    targets=(*((1, 0, 0),) * 3, *((0, 1, 0),) * 3, *((0, 0, 1),) * 3),
    optimizer="adam",
)

EXAMPLES: Mapping[str, Network] = {
    network.name: network
    for network in (
        *(_SEED, _MAZUR, _XOR, _CS231N, _IRIS, _MICROGRAD),
        *(_XOR_MOMENTUM, _BOWL, _LINE, _MOONS, _IRIS_ADAM),
    )
}


def find(example_or_file: str) -> Network:
    """A built-in example by its name, or a network from a TOML file by its path.

    Raises `InputError` when it is neither.
    """
    if example_or_file in EXAMPLES:
        return EXAMPLES[example_or_file]
    path = _path(example_or_file)
    if is_model(path):
        check_file(path)
        raise InputError(
            f"{path}: holds layers and weights, but no samples; give them with --data FILE.csv "
            "--target COLUMN"
        )
    return load(path)


def find_table(example_or_file: str, activations: Sequence[str] = ()) -> dict[str, Any]:
    """What `find` reads as it stands in TOML, by key; a file needs no samples, and may be one of
    `read_model`, to which ``activations`` belong."""
    if example_or_file in EXAMPLES:
        return tomllib.loads(to_toml(EXAMPLES[example_or_file]))
    path = _path(example_or_file)
    return read_model(path, activations) if is_model(path) else load_table(path)


def _path(example_or_file: str) -> Path:
    path = Path(example_or_file)
    if path.suffix.lower() == ".csv":
        raise InputError(
            f"{path}: holds samples, not a network; give it as --data {path} --target COLUMN"
        )
    if path.suffix.lower() == ".toml" or os.path.exists(example_or_file):  # False for an endless name
        return path
    raise InputError(
        f"{example_or_file}: is neither an example ({', '.join(EXAMPLES)}) nor a file; "
        "give one of these names or the path of a .toml, .pt2 or .safetensors file"
    )
