"""PyTorch on both sides of a workbook: a trained model becomes layers, and layers a float64 model.

The numbers are rounded once, to nine significant digits, which a cell holds without loss; the float64
model computes with the very same numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gradsheet.errors import InputError
from gradsheet.mnist.layers import Array, Layer, Parameters, Shape
from gradsheet.mnist.model import tuned_for_training
from gradsheet.mnist.splits import MEAN, STANDARD_DEVIATION

DIGITS = 9
"""Significant digits of a weight in a sheet: enough to give back any float32."""

SUPPORTED = (
    "a workbook takes an nn.Sequential of Conv2d (zero padding, no groups, no dilation), ReLU, "
    "BatchNorm2d (with running statistics), MaxPool2d and AvgPool2d (without padding), Dropout, "
    "Flatten and Linear"
)


def rounded(values: Any) -> Array:
    """Numbers of a tensor or an array as float64, to `DIGITS` significant digits."""
    values = np.asarray(values, dtype=np.float64)
    flat = [float(f"{value:.{DIGITS}g}") for value in values.ravel().tolist()]
    return np.array(flat).reshape(values.shape)


def read_model(
    model: nn.Sequential, input_shape: Shape = (1, 28, 28)
) -> tuple[tuple[Layer, ...], Parameters]:
    """The layers of a trained model, and its numbers, rounded.

    Sequentials within it are opened. Batch normalisation becomes one gain and one shift a channel.

    Raises `InputError` for a layer that a workbook does not support, layers that do not fit each other,
    or weights that are not finite.
    """
    layers: list[Layer] = []
    parameters: dict[tuple[int, str], Array] = {}
    shape, flat = input_shape, False
    for module in _leaves(model):
        number = len(layers)
        layer = _layer(module, number, shape)
        if layer.kind == "Linear" and not flat:
            raise InputError(
                f"layer {number}, Linear: reads one row of numbers; put a Flatten before it"
            )
        if layer.kind not in ("Linear", "ReLU", "Dropout", "Flatten") and flat:
            raise InputError(f"layer {number}, {layer.kind}: cannot follow Flatten; put it before")
        expected = _inputs(module)
        found = int(np.prod(shape)) if layer.kind == "Linear" else shape[0]
        if expected not in (None, found):
            raise InputError(
                f"layer {number}, {layer.kind}: reads {expected} channels, but {found} come from the "
                "layer before; make the two equal"
            )
        flat = flat or layer.kind == "Flatten"
        for name, values in _numbers(module, layer, shape).items():
            if not np.isfinite(values).all():
                raise InputError(f"layer {number}, {layer.kind}: its {name} is not finite; train again")
            parameters[number, name] = values
        layers.append(layer)
        shape = layer.shape_after(shape)
    return tuple(layers), parameters


def _leaves(model: nn.Module) -> list[nn.Module]:
    if not isinstance(model, nn.Sequential):
        return [model]
    return [leaf for child in model for leaf in _leaves(child)]


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _layer(module: nn.Module, number: int, shape: Shape) -> Layer:
    """One module as a layer, or an `InputError` that names what is not supported."""
    kind, reason = type(module).__name__, ""
    if isinstance(module, nn.Conv2d) and kind == "Conv2d":
        if module.groups != 1:
            reason = f"groups={module.groups}"
        elif _pair(module.dilation) != (1, 1):
            reason = f"dilation={module.dilation}"
        elif module.padding_mode != "zeros":
            reason = f"padding_mode={module.padding_mode!r}"
        elif isinstance(module.padding, str):
            reason = f"padding={module.padding!r} (give it in numbers)"
        else:
            sizes = (_pair(module.kernel_size), _pair(module.stride), _pair(module.padding))
            return Layer(kind, module.out_channels, *sizes, module.bias is not None)
    elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and kind in ("MaxPool2d", "AvgPool2d"):
        if _pair(module.padding) != (0, 0):
            reason = f"padding={module.padding}"
        elif module.ceil_mode:
            reason = "ceil_mode=True"
        elif _pair(getattr(module, "dilation", 1)) != (1, 1):
            reason = f"dilation={module.dilation}"
        elif getattr(module, "return_indices", False) or getattr(module, "divisor_override", None):
            reason = "return_indices or divisor_override"
        else:
            return Layer(kind, shape[0], _pair(module.kernel_size), _pair(module.stride))
    elif isinstance(module, nn.BatchNorm2d) and kind == "BatchNorm2d":
        if module.running_mean is not None:
            return Layer(kind, shape[0])
        reason = "track_running_stats=False"
    elif isinstance(module, nn.Linear) and kind == "Linear":
        return Layer(kind, module.out_features, shape[1:], bias=module.bias is not None)
    elif isinstance(module, nn.Flatten):
        if (module.start_dim, module.end_dim) == (1, -1):
            return Layer(kind, shape[0])
        reason = f"start_dim={module.start_dim}, end_dim={module.end_dim}"
    elif kind in ("ReLU", "Dropout"):
        return Layer(kind, shape[0])
    else:
        reason = "this kind of layer"
    raise InputError(f"layer {number}, {kind}: {reason} is not supported; {SUPPORTED}")


def _inputs(module: nn.Module) -> int | None:
    """How many channels, or numbers, a module was made to read."""
    for name in ("in_channels", "in_features", "num_features"):
        if hasattr(module, name):
            return int(getattr(module, name))
    return None


def _numbers(module: Any, layer: Layer, shape: Shape) -> dict[str, Array]:
    """The rounded numbers of a module, under the names that `Parameters` explains."""

    def array(tensor: torch.Tensor) -> Array:
        return np.asarray(tensor.detach().cpu().double().numpy(), dtype=np.float64)

    if layer.kind in ("Conv2d", "Linear"):
        weight = array(module.weight)
        numbers = {"weight": rounded(weight.reshape(layer.outputs, -1, *layer.kernel))}
        return numbers | ({"bias": rounded(array(module.bias))} if layer.bias else {})
    if layer.kind == "BatchNorm2d":
        ones = np.ones(shape[0])
        scale = array(module.weight) if module.affine else ones
        gain = rounded(scale / np.sqrt(array(module.running_var) + module.eps))
        offset = array(module.bias) if module.affine else 0 * ones
        return {"gain": gain, "shift": rounded(offset - array(module.running_mean) * gain)}
    return {}


# ---------------------------------------------------------------- the reference


def make_reference(layers: Sequence[Layer], parameters: Parameters, input_shape: Shape) -> nn.Sequential:
    """The network as PyTorch's own modules, in float64, ready to evaluate."""
    modules: list[nn.Module] = []
    shape = input_shape
    for number, layer in enumerate(layers):
        modules.append(_module(layer, shape))
        names = {"gain": "weight", "shift": "bias"}
        for name in ("weight", "bias", "gain", "shift"):
            if (number, name) in parameters:
                own = getattr(modules[-1], names.get(name, name))
                own.data = torch.from_numpy(np.array(parameters[number, name])).reshape(own.shape)
        shape = layer.shape_after(shape)
    return nn.Sequential(*modules).double().eval().requires_grad_(False)


def _module(layer: Layer, shape: Shape) -> nn.Module:
    if layer.kind == "Conv2d":
        sizes = (layer.kernel, layer.stride, layer.padding)
        return nn.Conv2d(shape[0], layer.outputs, *sizes, bias=layer.bias)
    if layer.kind == "Linear":
        return nn.Linear(int(np.prod(shape)), layer.outputs, bias=layer.bias)
    if layer.kind == "BatchNorm2d":
        return nn.BatchNorm2d(layer.outputs, eps=0.0)  # of mean 0 and variance 1: gain and shift alone
    if layer.kind == "MaxPool2d":
        return nn.MaxPool2d(layer.kernel, layer.stride)
    if layer.kind == "AvgPool2d":
        return nn.AvgPool2d(layer.kernel, layer.stride)
    return {"ReLU": nn.ReLU(), "Dropout": nn.Dropout(), "Flatten": nn.Flatten()}[layer.kind]


def normalised(pixels: Array) -> torch.Tensor:
    """Grey values 0 to 255, (n, rows, columns), as float64 input (n, 1, rows, columns)."""
    return (
        torch.from_numpy(np.asarray(pixels, dtype=np.float64))[:, None] / 255 - MEAN
    ) / STANDARD_DEVIATION


def layer_outputs(reference: nn.Sequential, pixels: npt.NDArray[Any]) -> list[Array]:
    """What one image of grey values (rows, columns) becomes: normalised, then after every layer.

    Each array has the shape (channels, rows, columns), or (numbers,) after Flatten.
    """
    values = normalised(np.asarray(pixels)[None])
    outputs = [values]
    for module in reference:
        values = module(values)
        outputs.append(values)
    return [np.asarray(output[0].numpy()) for output in outputs]


def classify(
    reference: nn.Sequential, images: torch.Tensor, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """The digit that the network reads in each of the uint8 images (n, rows, columns): int64 (n,).

    Channels-last, and in batches whose largest tensor is still kept by `tuned_for_training`.
    """
    model = copy.deepcopy(reference).to(dtype)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts = []
    with tuned_for_training():
        for batch in torch.split(images, 250):
            values = normalised(batch.numpy()).to(dtype).to(memory_format=torch.channels_last)
            parts.append(model(values).argmax(1))
    return torch.cat(parts)
