"""A feed-forward network as a workbook needs it: layers with their shapes, and blocks of them.

Nothing here depends on PyTorch or on a sheet: `gradsheet.mnist.reference` makes layers of a PyTorch
model and computes with them, `gradsheet.mnist.workbook_plan` gives them cells. Shapes are (channels,
rows, columns); a linear layer is a convolution whose kernel is as large as its input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradsheet.errors import InputError

Array = npt.NDArray[np.float64]
Shape = tuple[int, int, int]
Parameters = Mapping[tuple[int, str], Array]
"""The numbers of a network, by number of the layer and name: ``weight`` (outputs, inputs, rows, columns)
and ``bias`` (outputs,) of a convolution or a linear layer, ``gain`` and ``shift`` (channels,) of batch
normalisation, which multiplies by the one and adds the other."""

WINDOWS = {"Conv2d": "Conv", "MaxPool2d": "MaxPool", "AvgPool2d": "AvgPool", "Linear": "Linear"}
"""Layers that read windows: each begins a block, whose sheet has this name and a number."""
WEIGHTED = ("Conv2d", "Linear")
ELEMENTWISE = ("ReLU", "BatchNorm2d")
"""Layers that change each number on its own: they join the block before them."""
SILENT = ("Dropout", "Flatten")
"""Layers without effect on the numbers of a trained network."""


@dataclass(frozen=True)
class Layer:
    """One layer; ``kind`` is the name of PyTorch's class, pairs are (rows, columns).

    ``outputs`` is the number of channels that come out.
    """

    kind: str
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    bias: bool = False

    def shape_after(self, shape: Shape) -> Shape:
        """The shape that comes out when ``shape`` goes in."""
        if self.kind not in WINDOWS:
            return shape
        rows, columns = (
            (size + 2 * padding - kernel) // stride + 1
            for size, padding, kernel, stride in zip(
                shape[1:], self.padding, self.kernel, self.stride, strict=True
            )
        )
        return self.outputs, rows, columns

    def window_start(self, row: int, column: int) -> tuple[int, int]:
        """Where the window of a number begins, in rows and columns of the input; negative in padding."""
        return row * self.stride[0] - self.padding[0], column * self.stride[1] - self.padding[1]


@dataclass(frozen=True)
class Block:
    """A layer that reads windows and the elementwise ones behind it: the numbers of one sheet.

    ``layer`` is its number, None for the input itself; ``then`` are the numbers of the others.
    """

    name: str
    layer: int | None
    then: tuple[int, ...]
    source: Shape
    shape: Shape


def make_blocks(layers: Sequence[Layer], input_shape: Shape) -> tuple[Block, ...]:
    """The blocks of a network; the first is its input.

    Raises `InputError` for layers that do not fit each other.
    """
    blocks = [Block("Input", None, (), input_shape, input_shape)]
    counts = dict.fromkeys(WINDOWS, 0)
    shape = input_shape
    for number, layer in enumerate(layers):
        if layer.kind in WINDOWS:
            counts[layer.kind] += 1
            source, shape = shape, layer.shape_after(shape)
            if min(shape) < 1:
                raise InputError(
                    f"layer {number}, {layer.kind}: its window of {layer.kernel[0]} × {layer.kernel[1]} "
                    f"does not fit into {source[1]} × {source[2]} cells; use a smaller kernel"
                )
            name = f"{WINDOWS[layer.kind]}{counts[layer.kind]}"
            blocks.append(Block(name, number, (), source, shape))
        elif layer.kind in ELEMENTWISE:
            last = blocks[-1]
            blocks[-1] = Block(last.name, last.layer, (*last.then, number), last.source, shape)
    return tuple(blocks)
