"""The layers of a network from a model file: PyTorch's .pt2 (torch.export), or .safetensors.

Nothing that stands in a file is run. Of a .pt2 only the JSON and the plain numbers are read, and not by
`torch.export.load`, which unpickles other parts of it; files that are pickles as a whole are refused.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np

from gradsheet.errors import GradsheetError, InputError, MissingDependencyError, NetworkError
from gradsheet.expression import Array

SUFFIXES = (".pt2", ".safetensors")
PICKLES = (".pt", ".pth", ".pkl", ".ckpt", ".bin")
MOST_BYTES = 10_000_000
"""A network for a sheet has a few thousand weights; whatever is larger is something else."""
MOST_UNNUMBERED = 6
"""Up to so many layers whose names hold no number are put in the order in which their shapes fit."""


@dataclass(frozen=True)
class _Operation:
    """An activation of a .pt2: its name here, and the options under which it is the same function."""

    activation: str
    options: Mapping[str, tuple[object, ...]]
    required: tuple[str, ...] = ()


_OPERATIONS: Mapping[str, _Operation] = {
    "sigmoid": _Operation("sigmoid", {}),
    "tanh": _Operation("tanh", {}),
    "relu": _Operation("relu", {}),
    "leaky_relu": _Operation("leaky_relu", {"negative_slope": (0.01,)}),
    "softplus": _Operation("softplus", {"beta": (1,), "threshold": (20,)}),
    "elu": _Operation("elu", {"alpha": (1,), "scale": (1,), "input_scale": (1,)}),
    "gelu": _Operation("gelu", {"approximate": ("tanh",)}, required=("approximate",)),
    "silu": _Operation("silu", {}),
    "softmax": _Operation("softmax", {"dim": (-1, 1)}),
}
_SUPPORTED = f"Linear layers that follow one another, and {', '.join(_OPERATIONS)}"
_FLOATS = {7: "float32", 8: "float64"}  # torch._export.serde.schema.ScalarType


_Parameter = Callable[[str], tuple[Array, bool]]
"""The numbers of a parameter by its name, and whether it is trained."""


@dataclass(frozen=True)
class _Linear:
    """The numbers of a Linear layer; no biases where it has none."""

    name: str
    weights: Array  # (neurons, inputs)
    biases: Array | None  # (neurons,)
    activation: str | None = None
    train_biases: bool = True


def read_model(path: Path, activations: Sequence[str] = ()) -> dict[str, Any]:
    """The network of a .pt2 or .safetensors file as `network.parse` knows it in TOML, without samples.

    A .safetensors names no activations: ``activations`` are those of all layers, or the one of all
    layers but the last; or they stand in the file's metadata as ``activation``, with commas between. A
    last layer without one has the activation None, for that depends on the loss.

    Raises `InputError` for what is no such file, `NetworkError` for what a network cannot be.
    """
    check_file(path)
    try:
        if path.suffix.lower() == ".pt2":
            if activations:
                raise InputError("its activations stand in the file; leave out --activation")
            layers = _exported(path)
        else:
            layers = _named(path, activations)
    except (InputError, NetworkError) as error:
        raise type(error)(f"{path}: {error}") from None
    return {
        "name": path.stem,
        "description": f"The layers and weights of {path.name}",
        "standardize": [],  # it sees the data as it did before
        "layers": [_table(layer) for layer in layers],
    }


def is_model(path: Path) -> bool:
    """Whether the name is that of a model file, though it may be one that is refused."""
    return path.suffix.lower() in (*SUFFIXES, *PICKLES)


def check_file(path: Path) -> None:
    """Raise `InputError` for a file that is not opened at all."""
    if path.suffix.lower() in PICKLES:
        raise InputError(
            f"{path}: is a pickle, which can run any program when it is opened; save the model with "
            f"torch.export.save(torch.export.export(model, (x,)), '{path.stem}.pt2'), or its weights "
            "with safetensors"
        )
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the name") from None
    if size > MOST_BYTES:
        raise InputError(
            f"{path}: has {size / 1e6:,.0f} MB, but a network that fits a sheet has no more than "
            f"{MOST_BYTES / 1e6:.0f}; give a smaller one"
        )


def _table(layer: _Linear) -> dict[str, Any]:
    table = {"activation": layer.activation, "weights": layer.weights.tolist()}
    if layer.biases is None:
        return table
    return {**table, "biases": layer.biases.tolist(), "train_biases": layer.train_biases}


# ---------------------------------------------------------------- .pt2


def _exported(path: Path) -> list[_Linear]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            if sum(info.file_size for info in entries.values()) > 2 * MOST_BYTES:
                raise InputError("holds far more than a network that fits a sheet; give a smaller one")

            def read(name: str) -> bytes:
                return archive.read(entries[name])

            if read("byteorder") != b"little":
                raise InputError("was saved on a machine of another byte order; save it on this one")
            graph = json.loads(read("models/model.json"))["graph_module"]
            stored = json.loads(read("data/weights/model_weights_config.json"))["config"]
            return _layers(graph, lambda name: _parameter(name, stored[name], read))
    except GradsheetError:
        raise
    except Exception as error:  # a damaged file fails in any way
        raise InputError(
            f"cannot be read as a program of torch.export ({type(error).__name__}: {error}); save it "
            "again with torch.export.save"
        ) from None


def _layers(module: Mapping[str, Any], parameter: _Parameter) -> list[_Linear]:
    """The steps of an exported program, if each takes what the one before it gives, and nothing else."""
    graph = module["graph"]
    parameters: dict[object, str] = {}
    inputs: list[object] = []
    for spec in module["signature"]["input_specs"]:
        (kind, content), *_ = spec.items()
        if kind == "parameter":
            parameters[content["arg"]["name"]] = content["parameter_name"]
        elif kind == "user_input":
            inputs.append(_value(content["arg"]))
        else:
            named = f"{kind} {content.get(f'{kind}_name', '')}".rstrip()
            raise NetworkError(f"has a {named}, which a network has not; give {_SUPPORTED}")
    signal, *others = inputs
    if others or len(graph["outputs"]) != 1:
        raise NetworkError("has several inputs or outputs; give a model of one table of each")
    layers: list[_Linear] = []
    for node in graph["nodes"]:
        library, step, *_ = node["target"].removeprefix("torch.ops.").split(".")
        step = step.removesuffix("_")  # in place or not
        if library != "aten" or step not in ("linear", *_OPERATIONS):
            raise NetworkError(f"{step}: is not supported; give {_SUPPORTED}")
        (_, first), *options = [(each["name"], _value(each["arg"])) for each in node["inputs"]]
        if first != signal:
            raise NetworkError(f"{step}: takes more than the step before it gives; give {_SUPPORTED}")
        signal = _value(node["outputs"][0])
        if step == "linear":
            layers.append(_linear(dict(options), parameters, parameter))
        elif not layers or layers[-1].activation is not None:
            raise NetworkError(f"{step}: has no Linear layer of its own before it; put one there")
        else:
            layers[-1] = replace(layers[-1], activation=_activation(step, dict(options)))
    if not layers or _value(graph["outputs"][0]) != signal:
        raise NetworkError(f"does not end with its last step; give {_SUPPORTED}")
    names = [layer.name for layer in layers]
    for name in names:
        if names.count(name) > 1:
            raise NetworkError(f"layer {name}: is used twice, so its weights are shared; copy it")
    hidden = (replace(layer, activation=layer.activation or "identity") for layer in layers[:-1])
    return [*hidden, layers[-1]]


def _value(argument: Mapping[str, Any]) -> object:
    """The name of a tensor, or a plain value."""
    ((kind, content),) = argument.items()
    if kind == "as_none":
        return None
    return content["name"] if isinstance(content, dict) else content


def _linear(
    options: Mapping[str, object], parameters: Mapping[object, str], parameter: _Parameter
) -> _Linear:
    names = [parameters.get(options[key]) for key in ("weight", "bias") if options.get(key) is not None]
    if None in names:
        raise NetworkError(f"linear: its weights are computed, not stored; give {_SUPPORTED}")
    (weights, trained), *rest = [parameter(str(name)) for name in names]
    name = str(names[0]).removesuffix(".weight")
    if not trained:
        raise NetworkError(
            f"layer {name}: its weights are frozen, but a network trains all; unfreeze them"
        )
    biases, train_biases = rest[0] if rest else (None, True)
    return _Linear(name, weights, biases, train_biases=train_biases)


def _activation(step: str, options: Mapping[str, object]) -> str:
    known = _OPERATIONS[step]
    for option, wanted in known.options.items():
        value = options.get(option, None if option in known.required else wanted[0])
        if value not in wanted:
            shown = "left out" if value is None else repr(value)
            raise NetworkError(
                f"{step}: {option} is {shown}, which is not supported; use {option}={wanted[0]!r}"
            )
    return known.activation


def _parameter(name: str, stored: Mapping[str, Any], read: Callable[[str], bytes]) -> tuple[Array, bool]:
    meta = stored["tensor_meta"]
    if stored["use_pickle"] or meta is None:
        raise NetworkError(f"{name}: is stored as a pickle, which is not opened; save plain tensors")
    if meta["dtype"] not in _FLOATS:
        raise NetworkError(f"{name}: does not hold float32 or float64; save module.float()")
    shape, strides = ([int(each["as_int"]) for each in meta[key]] for key in ("sizes", "strides"))
    numbers = np.frombuffer(read(f"data/weights/{stored['path_name']}"), _FLOATS[meta["dtype"]])
    values = numbers.reshape(shape).astype(np.float64)
    if [stride * numbers.itemsize for stride in strides] != list(numbers.reshape(shape).strides):
        raise NetworkError(f"{name}: is stored as a view of other numbers; save it .contiguous()")
    return values, bool(meta["requires_grad"])


# ---------------------------------------------------------------- .safetensors


def _named(path: Path, activations: Sequence[str]) -> list[_Linear]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise MissingDependencyError(
            "safetensors is not installed, and the file is read with it; install it with: "
            "pip install 'gradsheet[mnist]'"
        ) from None
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            for name in names:
                layer, _, kind = name.rpartition(".")
                if kind not in ("weight", "bias") or f"{layer}.weight" not in names:
                    raise NetworkError(
                        f"{name}: is no weight or bias of a Linear layer; give {_SUPPORTED}"
                    )
                if file.get_slice(name).get_dtype() not in ("F32", "F64"):
                    raise NetworkError(f"{name}: does not hold float32 or float64; save module.float()")
            tensors = {name: file.get_tensor(name).astype(np.float64) for name in names}
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot be read as safetensors ({error}); save it again") from None
    layers = _in_order(_linears(tensors))
    in_file = [name.strip() for name in metadata.get("activation", "").split(",") if name.strip()]
    known = list(activations) or in_file
    if len(layers) > 1 and not known:
        raise InputError(
            f"holds {len(layers)} layers of weights, but no activations; say them with --activation, "
            "such as tanh"
        )
    if len(known) == 1:
        known *= len(layers) - 1
    if len(known) not in (len(layers) - 1, len(layers)):
        raise InputError(
            f"holds {len(layers)} layers, but {len(known)} activations are given; give one of all but "
            "the last layer, or one for each"
        )
    return [replace(layer, activation=a) for layer, a in zip(layers, [*known, None], strict=False)]


def _linears(tensors: Mapping[str, Array]) -> list[_Linear]:
    layers = []
    for name, tensor in tensors.items():
        prefix, _, kind = name.rpartition(".")
        if kind == "bias":
            continue
        biases = tensors.get(f"{prefix}.bias")
        if tensor.ndim != 2 or (biases is not None and biases.shape != tensor.shape[:1]):
            shown = " × ".join(map(str, tensor.shape))
            raise NetworkError(f"{name}: of {shown} numbers is no Linear layer; give {_SUPPORTED}")
        layers.append(_Linear(prefix, tensor, biases))
    if not layers:
        raise NetworkError(f"holds no weights; give {_SUPPORTED}")
    return layers


def _in_order(layers: Sequence[_Linear]) -> list[_Linear]:
    """The layers as they follow each other: by the numbers in their names, or as their shapes fit."""
    if all(re.search(r"\d", layer.name) for layer in layers):
        orders = [sorted(layers, key=_natural)]
    else:
        orders = list(map(list, permutations(layers))) if len(layers) <= MOST_UNNUMBERED else []
    fitting = [
        order
        for order in orders
        if all(a.weights.shape[0] == b.weights.shape[1] for a, b in pairwise(order))
    ]
    if len(fitting) != 1:
        shown = ", ".join(f"{x.name} ({x.weights.shape[1]} to {x.weights.shape[0]})" for x in layers)
        raise NetworkError(
            f"the order of its layers is not clear: {shown[:300]}; give them names with numbers in the "
            "order in which they follow each other, or save a .pt2"
        )
    return fitting[0]


def _natural(layer: _Linear) -> list[tuple[bool, int, str]]:
    """A key by which layer 10 follows layer 9."""
    parts = re.findall(r"\d+|\D+", layer.name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
