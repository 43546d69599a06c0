"""What a user writes: layers, activations, loss, samples, initial weights. Checked here; no calculus.

A `Network` is built from plain numbers, from a TOML file (`load`) or from TOML text (`parse`), and is
complete and valid once it exists. Everything it holds is immutable.
"""

from __future__ import annotations

import json
import math
import random
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from gradsheet.errors import InputError, NetworkError
from gradsheet.optimizers import OPTIMIZERS, SCHEDULES, SMOOTHING, Hyperparameter

ACTIVATIONS = (
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "identity",
    "softplus",
    "elu",
    "gelu",
    "silu",
    "softmax",
)
KINKED = ("relu", "leaky_relu")
"""Activations without a slope at 0."""
BOUNDED = ("sigmoid", "tanh", "softmax")
"""Activations whose outputs stay between two bounds, whatever the sums."""
LOSSES = (
    "half_squared_error",
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "softmax_cross_entropy",
)
CLASS_LOSSES = ("categorical_cross_entropy", "softmax_cross_entropy")
"""Losses whose targets are shares of classes: the first of a softmax layer, the second of plain sums."""
MAGNITUDE_LIMIT = 1e6
"""Largest number a network may hold: beyond it, squares and products overflow in a sheet."""

MOST_WRITTEN_OUT = 12
"""Of a network with more weights, sheets and derivation show layers as ranges and matrices."""

SHARES_TOLERANCE = 1e-12
"""The gradient of a softmax is p − t only where the targets t sum to 1, up to this much rounding."""

RAW_LIMIT = 1e12
"""The same for numbers that are standardised first."""
SPREAD_LIMIT = 1e9
"""How many times its standard deviation a column's largest number may be, or digits of it are lost."""
RESERVED_NAMES = re.compile(
    r"η|η_t|t|rate|learning_rate|iteration|E_total|E_smooth|[a-z]_[wb]\d+"
    r"|(dE_d|∂E/∂|delta_|δ_)?([aemZ]_)?[hiotwbEepmZ]\d*(_\d+)?(\[\d+\])?"
)
"""What quantities are called: no name for an input or an output."""

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Layer:
    """One dense layer: ``activation(weights · input + biases)``.

    ``weights`` has one row per neuron and one column per input. ``biases`` is empty for a layer
    without biases, has one value per neuron, or, where ``shared_bias`` is set, the one value that
    all neurons of the layer share. ``train_biases`` false keeps the biases as they are. Lists and
    NumPy arrays are taken as well, and kept as tuples.

    Raises `NetworkError` when anything does not fit.
    """

    activation: str
    weights: Matrix
    biases: tuple[float, ...] = ()
    shared_bias: bool = False
    train_biases: bool = True

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            shown, known = _shown(self.activation), ", ".join(ACTIVATIONS)
            raise NetworkError(f"activation: {shown} is not known; use one of {known}")
        for key in ("shared_bias", "train_biases"):
            if not isinstance(getattr(self, key), bool):
                raise NetworkError(f"{key}: {_shown(getattr(self, key))} must be true or false")
        object.__setattr__(self, "weights", _matrix(self.weights, "weights"))
        object.__setattr__(self, "biases", _row(self.biases, "biases"))
        _check_widths(self.weights, "weights", self.fan_in, "as in its first row")
        allowed = (1,) if self.shared_bias else (0, self.neurons)
        if len(self.biases) not in allowed:
            raise NetworkError(
                f"biases: has {len(self.biases)} values for {self.neurons} neurons; give "
                + ("exactly the one that is shared" if self.shared_bias else "one per neuron")
            )
        if self.activation == "softmax" and self.neurons < 2:
            raise NetworkError(
                "activation: a softmax of one neuron is always 1; give the layer at least 2 neurons, "
                "or make its activation 'sigmoid'"
            )

    @property
    def neurons(self) -> int:
        return len(self.weights)

    @property
    def fan_in(self) -> int:
        return len(self.weights[0])


@dataclass(frozen=True)
class Network:
    """A small dense network with its samples, its loss and how it learns.

    ``inputs`` is (samples × inputs), ``targets`` (samples × outputs); for the losses of classes a row of
    targets is a distribution over them. Those of the two that ``standardize`` names are standardised
    column by column before the network sees them: less their mean, divided by their standard deviation
    (the one that divides by the number of samples). The gradient is that of all samples, or with a
    ``batch_size`` that of so many, dealt one after the other (see `batches`) as they stand, or shuffled
    from ``shuffle_seed``.
    ``optimizer`` and ``schedule`` are names of `gradsheet.optimizers`; ``hyperparameters`` holds those
    of theirs that are not at their default, given as a mapping or as pairs.
    ``seed`` names the seed from which missing weights were drawn, or is None when all were given.

    Raises `NetworkError` when anything does not fit.
    """

    name: str
    layers: tuple[Layer, ...]
    loss: str
    inputs: Matrix
    targets: Matrix
    learning_rate: float = 0.5
    optimizer: str = "sgd"
    schedule: str = "constant"
    hyperparameters: Mapping[str, float] | tuple[tuple[str, float], ...] = ()
    description: str = ""
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    seed: int | None = None
    batch_size: int | None = None
    shuffle_seed: int | None = None
    standardize: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, wanted in (
            ("layers", "a list of layers"),
            ("input_names", "a list of names, such as ['length', 'width']"),
            ("output_names", "a list of names, such as ['rose', 'tulip']"),
            ("standardize", "a list, such as ['inputs']"),
        ):
            object.__setattr__(self, key, tuple(_sequence(getattr(self, key), key, wanted)))
        for key in ("inputs", "targets"):
            matrix = _matrix(getattr(self, key), key, _limit(self.standardize, key))
            object.__setattr__(self, key, matrix)
        object.__setattr__(self, "learning_rate", _number(self.learning_rate, "learning_rate"))
        object.__setattr__(self, "hyperparameters", _hyperparameters(self))
        _check(self)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of inputs, then neurons of every layer: (2, 2, 2) for the course's network."""
        return (self.layers[0].fan_in, *(layer.neurons for layer in self.layers))

    @property
    def architecture(self) -> str:
        """The sizes as people write them: ``2-2-2``."""
        return "-".join(map(str, self.sizes))

    @property
    def is_large(self) -> bool:
        """Whether it has too many weights for every one of them to be written out."""
        return sum(layer.neurons * layer.fan_in for layer in self.layers) > MOST_WRITTEN_OUT

    @property
    def samples(self) -> int:
        return len(self.inputs)

    @cached_property
    def seen_inputs(self) -> Matrix:
        """The inputs as the network sees them: standardised, or as they are."""
        return _standardized(self.inputs) if "inputs" in self.standardize else self.inputs

    @cached_property
    def seen_targets(self) -> Matrix:
        """The targets as the network sees them: standardised, or as they are."""
        return _standardized(self.targets) if "targets" in self.standardize else self.targets

    @property
    def slots(self) -> int:
        """How many samples one update sees: all, or those of a batch."""
        return self.samples if self.batch_size is None else self.batch_size

    @property
    def summary(self) -> str:
        """One line of words: architecture, activations, loss, samples."""
        activations = ", ".join(layer.activation.replace("_", " ") for layer in self.layers)
        samples = "one sample" if self.samples == 1 else f"{self.samples} samples"
        if self.batch_size is not None:
            samples += f", {'shuffled ' if self.shuffle_seed is not None else ''}batches of {self.slots}"
        elif self.samples > 1:
            samples += ", full batch"
        words = f"{self.architecture}, {activations}; {self.loss.replace('_', ' ')}; {samples}"
        if self.optimizer != "sgd":
            words += f"; {OPTIMIZERS[self.optimizer].words}"
        if self.schedule != "constant":
            words += f"; learning rate {SCHEDULES[self.schedule].words}"
        return words

    @property
    def settings(self) -> Mapping[str, float]:
        """All hyper-parameters by name, but the learning rate."""
        defaults = {name: each.default for name, each in self.known_settings.items()}
        return defaults | dict(self.hyperparameters)

    @property
    def settings_in_use(self) -> Mapping[str, float]:
        """The settings without optional ones of 0, which leave no trace in the rules."""
        known = self.known_settings
        return {name: v for name, v in self.settings.items() if v or not known[name].optional}

    @property
    def known_settings(self) -> Mapping[str, Hyperparameter]:
        """What the hyper-parameters of optimizer, schedule and smoothed loss are."""
        optimizer, schedule = OPTIMIZERS[self.optimizer], SCHEDULES[self.schedule]
        smoothing = {} if self.batch_size is None else {"smoothing": SMOOTHING}
        return {**optimizer.hyperparameters, **schedule.hyperparameters, **smoothing}

    @property
    def is_plain(self) -> bool:
        """Whether it is plain gradient descent of the full batch with a constant learning rate."""
        known = (self.optimizer, self.schedule) == ("sgd", "constant")
        return known and self.batch_size is None and not self.settings_in_use

    def learning(
        self,
        optimizer: str | None = None,
        schedule: str | None = None,
        settings: Mapping[str, float] | None = None,
    ) -> Network:
        """The same network with another optimizer, schedule or hyper-parameters.

        Those given before are kept where the new optimizer and schedule know them.

        Raises `NetworkError` for what is not known or out of range.
        """
        chosen = replace(
            self,
            optimizer=self.optimizer if optimizer is None else choice(optimizer, "optimizer"),
            schedule=self.schedule if schedule is None else choice(schedule, "schedule"),
            hyperparameters=(),
        )
        kept = {k: v for k, v in dict(self.hyperparameters).items() if k in chosen.known_settings}
        return replace(chosen, hyperparameters=kept | dict(settings or {}))

    def redrawn(self, seed: int) -> Network:
        """The same network with all weights and trained biases drawn anew from ``seed``."""
        generator = random.Random(seed)
        layers = []
        for layer in self.layers:
            weights, biases = _draw(generator, layer.neurons, layer.fan_in, len(layer.biases))
            kept = layer.biases if not layer.train_biases else biases
            layers.append(replace(layer, weights=weights, biases=kept))
        return replace(self, layers=tuple(layers), seed=seed)


# ---------------------------------------------------------------- names


def input_name(index: int) -> str:
    """``i1`` is the first input; indices count from 1, as on paper."""
    return f"i{index}"


def target_name(index: int) -> str:
    """``t1`` is the target of the first output."""
    return f"t{index}"


def layer_name(network: Network, layer: int) -> str:
    """``h`` for the hidden layer (``h2`` for the second of several), ``o`` for the output layer."""
    if layer == len(network.layers) - 1:
        return "o"
    return f"h{layer + 1}" if len(network.layers) > 2 else "h"


def sum_name(network: Network, layer: int, neuron: int) -> str:
    """The weighted sum of a neuron: ``h1`` (``h2_1`` with several hidden layers) or ``o1``."""
    name = layer_name(network, layer)
    return f"{name}{neuron}" if len(name) == 1 else f"{name}_{neuron}"


def activation_name(network: Network, layer: int, neuron: int) -> str:
    """A neuron's output: ``a_h1``; the sum itself where the activation is the identity."""
    name = sum_name(network, layer, neuron)
    return name if network.layers[layer].activation == "identity" else f"a_{name}"


def of_sample(name: str, sample: int, samples: int) -> str:
    """``h1`` where there is one sample, ``h1[2]`` for the second of several."""
    return name if samples == 1 else f"{name}[{sample}]"


def weight_names(network: Network) -> list[list[list[str]]]:
    """Names by layer, neuron and input, numbered through the network: w1, w2, …"""
    names, number = [], 0
    for layer in network.layers:
        rows = []
        for _ in range(layer.neurons):
            rows.append([f"w{number + k}" for k in range(1, layer.fan_in + 1)])
            number += layer.fan_in
        names.append(rows)
    return names


def bias_names(network: Network) -> list[list[str]]:
    """Names by layer and neuron: b1, b2, …; neurons that share a bias share its name."""
    names, number = [], 0
    for layer in network.layers:
        count = len(layer.biases)
        own = [f"b{number + k}" for k in range(1, count + 1)]
        names.append(own * layer.neurons if layer.shared_bias else own)
        number += count
    return names


# ---------------------------------------------------------------- samples and batches


def mean_and_deviation(column: Sequence[float]) -> tuple[float, float]:
    """The mean, and the standard deviation that divides by the number of values.

    >>> mean_and_deviation([1.0, 3.0])
    (2.0, 1.0)
    """
    mean = math.fsum(column) / len(column)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in column) / len(column))


def _standardized(matrix: Matrix) -> Matrix:
    columns = []
    for column in zip(*matrix, strict=True):
        mean, deviation = mean_and_deviation(column)
        columns.append([(value - mean) / deviation for value in column])
    return tuple(zip(*columns, strict=True))


def batches(network: Network) -> Iterator[tuple[int, ...]]:
    """Which samples, by their numbers from 1, each update sees: one batch after the other, without end.

    They are dealt like cards; when all are dealt, they are dealt anew, and shuffled anew where they are
    shuffled. So a batch may hold the last samples of one epoch and the first of the next, and every
    batch is full.
    """
    batch: list[int] = []
    generator = random.Random(network.shuffle_seed)
    while True:
        order = list(range(1, network.samples + 1))
        if network.shuffle_seed is not None:
            generator.shuffle(order)
        for number in order:
            batch.append(number)
            if len(batch) == network.slots:
                yield tuple(batch)
                batch = []


def dealt_values(network: Network, batch: Iterable[int]) -> list[dict[str, float]]:
    """Per slot of a batch, by name: the sample's number (if batches are dealt), targets and inputs."""
    slots = []
    for slot, number in enumerate(batch, 1):
        values = {} if network.batch_size is None else {"n": float(number)}
        values |= {target_name(k): t for k, t in enumerate(network.seen_targets[number - 1], 1)}
        values |= {input_name(k): i for k, i in enumerate(network.seen_inputs[number - 1], 1)}
        slots.append({of_sample(name, slot, network.slots): v for name, v in values.items()})
    return slots


# ---------------------------------------------------------------- checks


def _hyperparameters(network: Network) -> tuple[tuple[str, float], ...]:
    """The given hyper-parameters, checked and in order; without those at their default."""
    for key, value, table in (
        ("optimizer", network.optimizer, tuple(OPTIMIZERS)),
        ("schedule", network.schedule, tuple(SCHEDULES)),
    ):
        if value not in table:
            raise NetworkError(f"{key}: {_shown(value)} is not known; use one of {', '.join(table)}")
    known = network.known_settings
    try:
        given = dict(network.hyperparameters)
    except (TypeError, ValueError):
        raise NetworkError(
            f"hyperparameters: {_shown(network.hyperparameters)} is not a table of names and numbers, "
            "such as momentum = 0.9"
        ) from None
    for name in given:
        if name not in known:
            users = [key for key, each in OPTIMIZERS.items() if name in each.hyperparameters]
            users += [key for key, each in SCHEDULES.items() if name in each.hyperparameters]
            users += ["mini-batches (batch_size)"] * (name == "smoothing")
            whose = f"it belongs to {', '.join(users)}" if users else "no optimizer or schedule has it"
            raise NetworkError(
                f"hyperparameters: {_shown(name)} is not one of {network.optimizer} with a "
                f"{network.schedule} learning rate; {whose}; known are {', '.join(known) or 'none'}"
            )
        given[name] = _number(given[name], f"hyperparameters: {name}")
        setting = known[name]
        whole = "a whole number" if setting.whole else "a number"
        fits = setting.least <= given[name] <= setting.most
        if not fits or (setting.whole and given[name] != int(given[name])):
            raise NetworkError(
                f"hyperparameters: {name} is {given[name]:g}, but must be {whole} from "
                f"{setting.least:g} to {setting.most:g}"
            )
    return tuple((n, given[n]) for n in known if n in given and given[n] != known[n].default)


def _check(network: Network) -> None:
    _check_text(network.name, "name")
    if not network.name.strip():
        raise NetworkError("name: is empty; give the network a name, such as name = 'my network'")
    _check_text(network.description, "description")
    if network.loss not in LOSSES:
        raise NetworkError(f"loss: {_shown(network.loss)} is not known; use one of {', '.join(LOSSES)}")
    if not network.layers:
        raise NetworkError("layers: there is none; give at least the output layer")
    for number, layer in enumerate(network.layers, 1):
        if not isinstance(layer, Layer):
            raise NetworkError(f"layers[{number}]: {_shown(layer)} is not a Layer; make it one")
    if network.learning_rate <= 0:
        raise NetworkError(
            f"learning_rate: {network.learning_rate} must be greater than 0, or nothing is learnt"
        )
    if network.seed is not None:
        _check_seed(network.seed)
    _check_batches(network)
    for number, (before, layer) in enumerate(pairwise(network.layers), 2):
        where = f"layers[{number}].weights"
        _check_widths(layer.weights, where, before.neurons, "one per neuron of the layer before")
    first, last = network.layers[0], network.layers[-1]
    _check_widths(network.inputs, "inputs", first.fan_in, "one per input")
    _check_widths(network.targets, "targets", last.neurons, "one per neuron of the last layer")
    if len(network.inputs) != len(network.targets):
        raise NetworkError(
            f"targets: {len(network.targets)} rows for {len(network.inputs)} rows of inputs; "
            "give one row of targets per sample"
        )
    _check_loss(network)
    _check_names(network)
    _check_standardize(network)


def _check_standardize(network: Network) -> None:
    named = (("inputs", network.input_names), ("targets", network.output_names))
    for key in network.standardize:
        if key not in ("inputs", "targets"):
            raise NetworkError(f"standardize: {_shown(key)} is not known; use inputs, targets or both")
    if network.standardize and len(network.inputs) == 1:
        raise NetworkError(
            "standardize: a single sample has no standard deviation to divide by; give two or more"
        )
    if "targets" in network.standardize and network.loss.endswith("cross_entropy"):
        raise NetworkError(
            f"standardize: the targets of {network.loss} are shares, which stay as they are; leave "
            "targets out"
        )
    for key, names in named:
        columns = zip(*getattr(network, key), strict=True) if key in network.standardize else ()
        for number, column in enumerate(columns, 1):
            if mean_and_deviation(column)[1] * SPREAD_LIMIT <= max(map(abs, column)):
                name = repr(names[number - 1]) if names else f"column {number}"
                raise NetworkError(
                    f"{key}: {name} is the same in every sample, {column[0]!r}, but for rounding at "
                    "most, and to standardise it is to divide by 0; leave it out"
                )


def _check_batches(network: Network) -> None:
    size = network.batch_size
    if size is None:
        if network.shuffle_seed is not None:
            raise NetworkError(
                "shuffle_seed: shuffles what is dealt into batches, but no batch_size is given; give one"
            )
        return
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= network.samples:
        raise NetworkError(
            f"batch_size: {_shown(size)} is not a whole number from 1 to {network.samples}, the number "
            "of samples; give one, or leave it out for the full batch"
        )
    if network.shuffle_seed is not None:
        _check_seed(network.shuffle_seed, "shuffle_seed")


def _check_loss(network: Network) -> None:
    last = network.layers[-1]
    if network.loss == "binary_cross_entropy":
        if last.activation != "sigmoid":
            raise NetworkError(
                f"loss: binary_cross_entropy needs outputs between 0 and 1, but the last layer's "
                f"activation is {last.activation!r}; make it 'sigmoid'"
            )
        for number, row in enumerate(network.targets, 1):
            if not all(0 <= value <= 1 for value in row):
                raise NetworkError(
                    f"targets: row {number} is {_shown(list(row))}, but binary_cross_entropy needs "
                    "targets between 0 and 1"
                )
    if network.loss == "softmax_cross_entropy":
        if last.activation != "identity":
            raise NetworkError(
                "loss: softmax_cross_entropy applies the softmax itself, but the last layer's "
                f"activation is {last.activation!r}; make it 'identity'"
                + (", or the loss 'categorical_cross_entropy'" if last.activation == "softmax" else "")
            )
        if last.neurons < 2:
            raise NetworkError(
                "loss: softmax_cross_entropy needs at least 2 outputs, one per class; "
                "for one output use binary_cross_entropy"
            )
    if network.loss == "categorical_cross_entropy" and last.activation != "softmax":
        raise NetworkError(
            "loss: categorical_cross_entropy needs outputs that are shares of a whole, but the last "
            f"layer's activation is {last.activation!r}; make it 'softmax'"
            + (", or the loss 'softmax_cross_entropy'" if last.activation == "identity" else "")
        )
    if network.loss in CLASS_LOSSES:
        for number, row in enumerate(network.targets, 1):
            if abs(sum(row) - 1) > SHARES_TOLERANCE or min(row) < 0:
                raise NetworkError(
                    f"targets: row {number} is {_shown(list(row))}, but {network.loss} needs "
                    f"shares that are not negative and sum to 1, and not to {sum(row)!r} "
                    "(or class numbers from 0)"
                )


def _check_names(network: Network) -> None:
    taken: dict[str, str] = {}
    counts = (
        ("input_names", network.input_names, network.layers[0].fan_in),
        ("output_names", network.output_names, network.layers[-1].neurons),
    )
    for key, names, wanted in counts:
        if names and len(names) != wanted:
            raise NetworkError(f"{key}: has {len(names)} names, but {wanted} are needed")
        for name in names:
            _check_text(name, key)
            if not name.strip():
                raise NetworkError(f"{key}: a name is empty; give every name some letters")
            if name in taken:
                raise NetworkError(
                    f"{key}: {name!r} clashes with a name in {taken[name]}; make the names differ"
                )
            if RESERVED_NAMES.fullmatch(name):
                raise NetworkError(
                    f"{key}: {name!r} clashes with a quantity of the network; use a plain word"
                )
            taken[name] = key


def _check_text(value: object, where: str) -> None:
    if not isinstance(value, str):
        raise NetworkError(f"{where}: {_shown(value)} is not text; put it in quotes")
    # what TOML or the XML of a workbook cannot hold
    if re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", value):
        raise NetworkError(
            f"{where}: {_shown(value)} holds a line break or another control character; remove it"
        )
    if len(value) > 1000:
        raise NetworkError(f"{where}: has {len(value)} characters; use at most 1000")


def _check_seed(seed: object, where: str = "seed") -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise NetworkError(f"{where}: {_shown(seed)} is not a whole number from 0, such as {where} = 1")


def _shown(value: object) -> str:
    """A value for a message: cut short, and safe for an integer that Python refuses to print."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 80 else text[:80] + "…"


def _check_widths(matrix: Matrix, where: str, columns: int, reason: str) -> None:
    for number, row in enumerate(matrix, 1):
        if len(row) != columns:
            raise NetworkError(
                f"{where}: row {number} has {len(row)} values, but {columns} are needed, {reason}"
            )


def _matrix(value: Any, where: str, limit: float = MAGNITUDE_LIMIT) -> Matrix:
    rows = _sequence(value, where, "a list of rows, such as [[0.1, 0.2]]")
    if not rows:
        raise NetworkError(f"{where}: is empty; give at least one row, such as [[0.1, 0.2]]")
    matrix = tuple(_row(row, f"{where}: row {number}", limit) for number, row in enumerate(rows, 1))
    if not matrix[0]:
        raise NetworkError(f"{where}: row 1 is empty; give at least one number")
    return matrix


def _row(value: Any, where: str, limit: float = MAGNITUDE_LIMIT) -> tuple[float, ...]:
    entries = _sequence(value, where, "a list of numbers, such as [0.1, 0.2]")
    return tuple(_number(entry, where, limit) for entry in entries)


def _sequence(value: Any, where: str, wanted: str) -> list[Any] | tuple[Any, ...]:
    if hasattr(value, "tolist"):  # a NumPy array or a tensor
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise NetworkError(f"{where}: {_shown(value)} must be {wanted}")
    return value


def _number(value: Any, where: str, limit: float = MAGNITUDE_LIMIT) -> float:
    if hasattr(value, "tolist"):  # a NumPy number
        value = value.tolist()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NetworkError(f"{where}: {_shown(value)} is not a number; give one such as 0.5")
    if value != value or value in (math.inf, -math.inf):
        raise NetworkError(f"{where}: {value!r} is missing or not finite; give a number")
    if abs(value) > limit:
        raise NetworkError(
            f"{where}: {_shown(value)} is beyond ±{limit:g}, where a sheet overflows; rescale it"
        )
    return float(value)


# ---------------------------------------------------------------- drawing weights


def _draw(
    generator: random.Random, neurons: int, fan_in: int, biases: int
) -> tuple[Matrix, tuple[float, ...]]:
    """Uniform in ±1/√fan_in, PyTorch's default for a linear layer; 4 decimals, as a sheet shows."""
    bound = 1 / math.sqrt(fan_in)

    def value() -> float:
        return round(generator.uniform(-bound, bound), 4)

    weights = tuple(tuple(value() for _ in range(fan_in)) for _ in range(neurons))
    return weights, tuple(value() for _ in range(biases))


# ---------------------------------------------------------------- TOML

_NETWORK_KEYS = [
    "name",
    "description",
    "loss",
    "learning_rate",
    "optimizer",
    "schedule",
    "hyperparameters",
    "batch_size",
    "shuffle_seed",
    "seed",
    "inputs",
    "targets",
    "input_names",
    "output_names",
    "standardize",
    "layers",
]
_LAYER_KEYS = ("neurons", "activation", "weights", "biases", "shared_bias", "train_biases")


def load(path: Path) -> Network:
    """Read a network from a TOML file; every error names the file.

    Raises `InputError` for a file that cannot be read, `NetworkError` for what it says.
    """
    table = load_table(path)
    try:
        return from_table(table)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None


def load_table(path: Path) -> dict[str, Any]:
    """The table in a TOML file, which need not be a whole network; errors as of `load`."""
    text = read_text(path, "UTF-8 text")
    try:
        return _table(text)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None


def read_text(path: Path, kind: str) -> str:
    """The text of a file in UTF-8, of a ``kind`` that it can be saved as; `InputError` if it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the name") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file in UTF-8; save it as {kind}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def parse(text: str) -> Network:
    """Build a network from TOML text in the form that `to_toml` writes.

    Weights (and ``biases = true``) that are not given are drawn from ``seed``.
    """
    return from_table(_table(text))


def _table(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NetworkError(f"is not valid TOML: {error}; mend that place") from None
    except (ValueError, RecursionError):  # thousands of digits, or of brackets
        raise NetworkError("is not a network: a number or a list in it is far too long") from None


def from_table(table: Mapping[str, Any]) -> Network:
    """Build a network from what stands in its TOML, by key."""
    _check_keys(table, _NETWORK_KEYS, "")
    settings = table.get("hyperparameters")
    for key in settings if isinstance(settings, dict) else ():
        if key in _NETWORK_KEYS:  # in TOML a head takes in all that stands below it
            raise NetworkError(
                f"{key}: stands below [hyperparameters], so it is read as one; move it up"
            )
    for key in ("name", "loss", "inputs", "targets", "layers"):
        if key not in table:
            raise NetworkError(f"{key}: is missing; add it (see `gradsheet examples --show seed`)")
    seed = table.get("seed")
    if seed is not None:
        _check_seed(seed)
    generator = None if seed is None else random.Random(seed)
    standardize = tuple(_sequence(table.get("standardize", ()), "standardize", "such as ['inputs']"))
    inputs = _matrix(table["inputs"], "inputs", _limit(standardize, "inputs"))
    if not isinstance(table["layers"], list) or not table["layers"]:
        raise NetworkError("layers: needs at least one [[layers]] table, the output layer")
    fan_in = len(inputs[0])
    layers = []
    for number, entry in enumerate(table["layers"], 1):
        layers.append(_layer(entry, f"layers[{number}]", fan_in, generator))
        fan_in = layers[-1].neurons
    loss = choice(table["loss"], "loss")
    return Network(
        name=table["name"],
        description=table.get("description", ""),
        layers=tuple(layers),
        loss=loss,
        inputs=inputs,
        targets=_targets(table["targets"], loss, fan_in, _limit(standardize, "targets")),
        standardize=standardize,
        learning_rate=table.get("learning_rate", 0.5),
        optimizer=choice(table.get("optimizer", "sgd"), "optimizer"),
        schedule=choice(table.get("schedule", "constant"), "schedule"),
        hyperparameters=table.get("hyperparameters", ()),
        input_names=table.get("input_names", ()),
        output_names=table.get("output_names", ()),
        seed=seed,
        batch_size=table.get("batch_size"),
        shuffle_seed=table.get("shuffle_seed"),
    )


def _check_keys(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise NetworkError(f"{where}{key}: is not a known key; known are {', '.join(known)}")


def _layer(entry: object, where: str, fan_in: int, generator: random.Random | None) -> Layer:
    if not isinstance(entry, dict):
        raise NetworkError(f"{where}: is not a table; write it as [[layers]] with keys below")
    _check_keys(entry, _LAYER_KEYS, f"{where}.")
    shared = entry.get("shared_bias", False)
    weights = None
    if "weights" in entry:
        weights = _matrix(entry["weights"], f"{where}.weights")
    neurons = entry.get("neurons", len(weights) if weights else None)
    if neurons is None:
        raise NetworkError(f"{where}: give weights, or neurons to have the weights drawn")
    if isinstance(neurons, bool) or not isinstance(neurons, int) or not 1 <= neurons <= 1000:
        raise NetworkError(f"{where}.neurons: {_shown(neurons)} is not a whole number from 1 to 1000")
    if weights is not None and len(weights) != neurons:
        raise NetworkError(
            f"{where}.weights: has {len(weights)} rows for {neurons} neurons; give one per neuron"
        )
    given = entry.get("biases", False)
    count = 0 if given is False else 1 if shared else neurons
    drawn: tuple[Matrix, tuple[float, ...]] = ((), ())
    if weights is None or given is True:
        if generator is None:
            raise NetworkError(
                f"{where}: {'weights' if weights is None else 'biases'} are not given; "
                "give them, or a seed = 1 at the top from which they are drawn"
            )
        drawn = _draw(generator, neurons, fan_in, count)
    if isinstance(given, bool):
        given = drawn[1] if given else ()
    elif shared and not isinstance(given, list):
        given = [given]
    try:
        return Layer(
            activation=choice(entry.get("activation", "sigmoid"), "activation"),
            weights=drawn[0] if weights is None else weights,
            biases=given,
            shared_bias=shared,
            train_biases=entry.get("train_biases", True),
        )
    except NetworkError as error:
        raise NetworkError(f"{where}.{error}") from None


def choice(value: object, where: str) -> str:
    """A name such as ``half_squared_error``; spaces, hyphens and capitals are forgiven."""
    if not isinstance(value, str):
        raise NetworkError(f"{where}: {_shown(value)} is not text; put it in quotes")
    return re.sub(r"[\s-]+", "_", value.strip()).lower()


def _limit(standardize: tuple[str, ...], key: str) -> float:
    """The largest number that inputs or targets may hold."""
    return RAW_LIMIT if key in standardize else MAGNITUDE_LIMIT


def _targets(value: object, loss: str, outputs: int, limit: float) -> Matrix:
    """Rows of targets; class numbers from 0 become one-hot rows."""
    if not isinstance(value, list) or not value:
        raise NetworkError("targets: must be a list with one entry per sample")
    if any(isinstance(entry, list) for entry in value):
        return _matrix(value, "targets", limit)
    if outputs == 1:
        return _matrix([[entry] for entry in value], "targets", limit)
    rows = []
    for number, label in enumerate(value, 1):
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < outputs:
            raise NetworkError(
                f"targets: label {_shown(label)} of sample {number} is out of range; with {outputs} "
                f"outputs, labels are whole numbers from 0 to {outputs - 1}"
            )
        rows.append(tuple(1.0 if k == label else 0.0 for k in range(outputs)))
    return tuple(rows)


def to_toml(network: Network) -> str:
    """The network as commented TOML that `parse` reads back to an equal network."""
    lines = [
        f"name = {_text(network.name)}",
        f"description = {_text(network.description)}",
        "",
        f"# one of: {', '.join(LOSSES)}",
        f"loss = {_text(network.loss)}",
        f"learning_rate = {network.learning_rate!r}",
    ]
    if not network.is_plain:
        lines += [
            f"# one of: {', '.join(OPTIMIZERS)}",
            f"optimizer = {_text(network.optimizer)}",
            f"# one of: {', '.join(SCHEDULES)}",
            f"schedule = {_text(network.schedule)}",
        ]
    if network.batch_size is not None:
        lines += ["# samples in a batch, one batch an update", f"batch_size = {network.batch_size}"]
    if network.shuffle_seed is not None:
        lines += ["# they are shuffled from this seed", f"shuffle_seed = {network.shuffle_seed}"]
    if network.seed is not None:
        lines += ["# weights that are not given are drawn from this seed", f"seed = {network.seed}"]
    for key, names in (("input_names", network.input_names), ("output_names", network.output_names)):
        if names:
            lines.append(f"{key} = [{', '.join(map(_text, names))}]")
    if network.standardize:
        lines.append(f"standardize = [{', '.join(map(_text, network.standardize))}]")
    lines += ["", "# one row per sample", *_rows("inputs", network.inputs)]
    lines += _rows("targets", network.targets)
    if not network.is_plain and network.settings:
        lines += ["", "[hyperparameters]"]
        for name, value in network.settings.items():
            lines.append(f"{name} = {value!r}  # {network.known_settings[name].meaning}")
    for layer in network.layers:
        lines += [
            "",
            "[[layers]]",
            f"# one of: {', '.join(ACTIVATIONS)}",
            f"activation = {_text(layer.activation)}",
            "# one row per neuron, one value per input",
            *_rows("weights", layer.weights),
        ]
        if layer.biases:
            lines.append(f"biases = {_numbers(layer.biases)}")
        if layer.shared_bias:
            lines.append("shared_bias = true  # all neurons of the layer share the one bias")
        if not layer.train_biases:
            lines.append("train_biases = false  # the biases stay as they are")
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # JSON strings are TOML strings


def _numbers(values: Iterable[float]) -> str:
    return "[" + ", ".join(repr(float(value)) for value in values) + "]"


def _rows(key: str, matrix: Matrix) -> list[str]:
    if len(matrix) == 1:
        return [f"{key} = [{_numbers(matrix[0])}]"]
    return [f"{key} = [", *(f"    {_numbers(row)}," for row in matrix), "]"]
