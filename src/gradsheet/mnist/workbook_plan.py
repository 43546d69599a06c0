"""Where every number of a network stands in its workbook.

A `Plan` follows from the layers alone, so that the writer, the proof and the size check all speak of the
same cells. Rows, columns, channels and numbers of layers count from 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from gradsheet.backends.workbook_layout import FORMULAS_REFUSE, MOST_COLUMNS, cell
from gradsheet.errors import InputError, TooLargeError
from gradsheet.mnist import workbook_places as at
from gradsheet.mnist.layers import (
    ELEMENTWISE,
    SILENT,
    WEIGHTED,
    WINDOWS,
    Block,
    Layer,
    Shape,
    make_blocks,
)
from gradsheet.mnist.workbook_places import Place, span


@dataclass(frozen=True)
class Margin:
    """How many cells of padding the windows of a layer reach beyond its input, on each side."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


@dataclass(frozen=True)
class Maps:
    """The cells of a block's numbers: a tile for every channel, or one row where maps are one cell.

    ``margin`` are the cells of padding around a tile that is alone on its sheet.
    """

    sheet: str
    shape: Shape
    margin: Margin = Margin()

    @property
    def is_row(self) -> bool:
        return self.shape[1:] == (1, 1)

    @property
    def across(self) -> int:
        """Tiles beside each other."""
        return 8 if self.shape[0] <= 64 else 16

    @property
    def pitch(self) -> Place:
        """Rows and columns from one tile to the next."""
        return self.shape[1] + 2, self.shape[2] + 1

    def place(self, channel: int, row: int = 0, column: int = 0) -> Place:
        """Row and column of a number; of padding, where it is outside the map."""
        if self.is_row:
            return at.HEAD + 1 + row, 1 + channel + column
        down, right = divmod(channel, self.across)
        return (
            at.HEAD + 1 + self.margin.top + down * self.pitch[0] + row,
            1 + self.margin.left + right * self.pitch[1] + column,
        )

    @property
    def end(self) -> Place:
        """The last cell."""
        channels, rows, columns = self.shape
        row, _ = self.place(channels - 1, rows - 1, columns - 1)
        _, column = self.place(min(channels, self.across) - 1, rows - 1, columns - 1)
        return (row, channels) if self.is_row else (row, column)


@dataclass(frozen=True)
class Packed:
    """The cells that a layer's windows read: column = x · channels + channel, so a window is one range.

    ``maps`` are those that they link to. Where these are one row, or one channel, they serve as they
    are, and there is no sheet of its own (``own`` is false).
    """

    sheet: str
    maps: Maps
    margin: Margin
    own: bool

    def place(self, channel: int, row: int, column: int) -> Place:
        if not self.own:
            return self.maps.place(channel, row, column)
        channels = self.maps.shape[0]
        return at.HEAD + self.margin.top + row, 1 + (self.margin.left + column) * channels + channel

    def window(self, first: Place, kernel: Place) -> str:
        """The range, with its sheet, of a window that begins at (row, column) of the input."""
        channels = self.maps.shape[0]
        start = self.place(0, *first)
        end = self.place(channels - 1, first[0] + kernel[0] - 1, first[1] + kernel[1] - 1)
        return f"{self.sheet}!{cell(*start)}:{cell(*end)}"

    @property
    def inside(self) -> str:
        """The absolute range of all that is not padding."""
        channels, rows, columns = self.maps.shape
        return span(self.place(0, 0, 0), self.place(channels - 1, rows - 1, columns - 1), self.sheet)

    @property
    def end(self) -> Place:
        """The last cell, padding included."""
        channels, rows, columns = self.maps.shape
        return self.place(channels - 1, rows - 1 + self.margin.bottom, columns - 1 + self.margin.right)

    def paddings(self) -> Iterator[Place]:
        """Every cell of padding."""
        channels, rows, columns = self.maps.shape
        margin = self.margin
        for row in range(-margin.top, rows + margin.bottom):
            for column in range(-margin.left, columns + margin.right):
                if not (0 <= row < rows and 0 <= column < columns):
                    for channel in range(channels):
                        yield self.place(channel, row, column)


@dataclass(frozen=True)
class Weights:
    """The cells of a block's weights: a row a channel for its single numbers, its kernel beside them.

    ``singles`` are (number of the layer, name), such as (0, "bias"); ``kernel`` is (rows, columns,
    inputs), (1, 0, 0) for a block that multiplies its window with no weights.
    """

    sheet: str
    channels: int
    singles: tuple[tuple[int, str], ...]
    kernel: tuple[int, int, int]

    @property
    def terms(self) -> int:
        """How many weights a channel's kernel has."""
        return math.prod(self.kernel)

    @property
    def is_empty(self) -> bool:
        """Whether there is no such sheet, for want of numbers."""
        return not self.singles and not self.terms

    def row(self, channel: int) -> int:
        return at.HEAD + 1 + channel * self.kernel[0]

    def single(self, single: tuple[int, str], channel: int) -> Place:
        return self.row(channel), 1 + self.singles.index(single)

    def weight(self, channel: int, source: int, row: int, column: int) -> Place:
        return self.row(channel) + row, len(self.singles) + 2 + column * self.kernel[2] + source

    def kernels(self, first: int, last: int) -> str:
        """The range of the kernels of some channels; of one: as its window stands in the input."""
        rows, columns, sources = self.kernel
        return span(
            self.weight(first, 0, 0, 0),
            self.weight(last, sources - 1, rows - 1, columns - 1),
            self.sheet,
        )

    def column(self, single: tuple[int, str]) -> str:
        """The range of a single number over all channels, with the empty rows between."""
        first = self.single(single, 0)
        return span(first, (self.row(self.channels) - 1, first[1]), self.sheet)


@dataclass(frozen=True)
class Part:
    """A block with all its cells.

    ``layer`` is the one that reads windows, ``source`` the maps that it reads them from: both None for
    the input. ``packed`` are their cells in the order of the weights; None where none are multiplied.
    """

    block: Block
    layer: Layer | None
    source: Maps | None
    maps: Maps
    packed: Packed | None
    weights: Weights

    def weight_places(self) -> Iterator[tuple[tuple[int, str], list[Place]]]:
        """The cells of each array of the block's numbers, in the array's order (see `Parameters`)."""
        weights = self.weights
        for single in weights.singles:
            yield single, [weights.single(single, channel) for channel in range(weights.channels)]
        if weights.terms and self.block.layer is not None:
            rows, columns, sources = weights.kernel
            places = [
                weights.weight(channel, source, y, x)
                for channel in range(weights.channels)
                for source in range(sources)
                for y in range(rows)
                for x in range(columns)
            ]
            yield (self.block.layer, "weight"), places


@dataclass(frozen=True)
class Plan:
    """The workbook of a network that reads ``entries`` digits, one of them the user's own drawing.

    Raises `InputError` for a network that does not read 28 × 28 grey values as ten classes, and
    `TooLargeError` for one whose workbook would be too large.
    """

    layers: tuple[Layer, ...]
    entries: int

    def __post_init__(self) -> None:
        last = self.parts[-1]
        if last.block.shape != (at.CLASSES, 1, 1) or last.layer is None:
            raise InputError(
                f"the network gives {' × '.join(map(str, last.block.shape))} numbers, but there are ten "
                "digits to tell apart; end it with a layer that gives ten, such as Linear(…, 10)"
            )
        if len(self.weighted) > at.MOST_WEIGHTED:
            raise TooLargeError(
                f"the network has {len(self.weighted)} layers with weights, but the limit is "
                f"{at.MOST_WEIGHTED}; use fewer layers"
            )
        widest = max(map(_columns, self.parts))
        if widest > MOST_COLUMNS:
            raise TooLargeError(
                f"a sheet of the workbook would be {widest:,} columns wide, but the limit is "
                f"{MOST_COLUMNS:,}; use fewer channels"
            )
        if self.formulas > FORMULAS_REFUSE:
            raise TooLargeError(
                f"the workbook would have about {self.formulas:,} formulas, more than the "
                f"{FORMULAS_REFUSE:,} that open comfortably; use fewer channels, or pooling early on"
            )

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """All blocks in order; the first is the input."""
        parts: list[Part] = []
        blocks = make_blocks(self.layers, (1, at.SIDE, at.SIDE))
        margins = [*(self._margin(block) for block in blocks), Margin()]
        for block, margin, next_margin in zip(blocks, margins[:-1], margins[1:], strict=True):
            layer = None if block.layer is None else self.layers[block.layer]
            alone = block.shape[0] == 1 and block.shape[1:] != (1, 1)
            maps = Maps(block.name, block.shape, next_margin if alone else Margin())
            source = parts[-1].maps if parts else None
            packed = None
            if source is not None and layer is not None and layer.kind in WEIGHTED:
                serves = margin == Margin() if source.is_row else source.shape[0] == 1
                packed = Packed(
                    source.sheet if serves else f"{block.name}_in", source, margin, not serves
                )
            parts.append(Part(block, layer, source, maps, packed, self._weights(block, layer)))
        return tuple(parts)

    def _weights(self, block: Block, layer: Layer | None) -> Weights:
        kernel, singles = (1, 0, 0), []
        if block.layer is not None and layer is not None and layer.kind in WEIGHTED:
            kernel = (*layer.kernel, block.source[0])
            singles = [(block.layer, "bias")] if layer.bias else []
        for number in block.then:
            if self.layers[number].kind == "BatchNorm2d":
                singles += [(number, "gain"), (number, "shift")]
        return Weights(f"{block.name}_w", block.shape[0], tuple(singles), kernel)

    def _margin(self, block: Block) -> Margin:
        """How far the windows reach; one that lies in the padding alone is no formula's."""
        if block.layer is None:
            return Margin()
        layer, reach = self.layers[block.layer], []
        ends = layer.window_start(block.shape[1] - 1, block.shape[2] - 1)
        for axis, (size, kernel) in enumerate(zip(block.source[1:], layer.kernel, strict=True)):
            starts = range(-layer.padding[axis], ends[axis] + 1, layer.stride[axis])
            inside = [start for start in starts if -kernel < start < size]
            reach += [max([0, *(-start for start in inside)])]
            reach += [max([0, *(start + kernel - size for start in inside)])]
        return Margin(*reach)

    @property
    def weighted(self) -> tuple[Part, ...]:
        """The blocks that multiply a window with weights."""
        return tuple(part for part in self.parts if part.packed is not None)

    @property
    def terms(self) -> int:
        """The products of the largest window."""
        return max(part.weights.terms for part in self.weighted)

    @property
    def steps(self) -> int:
        """The most elementwise layers in a block that has weights."""
        return max(len(part.block.then) for part in self.weighted)

    @property
    def result_row(self) -> int:
        """The row of the sheet Explain with the result, under the sum, the bias and the steps."""
        return at.SUM_ROW + 2 + self.steps

    @property
    def first_term_row(self) -> int:
        """The row of the sheet Explain with the first product."""
        return max(at.TERM_ROW, self.result_row + 5)

    @property
    def formulas(self) -> int:
        """How many formulas the workbook has but those of the sheets Digit and Explain."""
        total = at.SIDE * at.SIDE + 3 * at.CLASSES
        for part in self.parts:
            total += math.prod(part.block.shape)
            if part.packed is not None and part.packed.own:
                total += math.prod(part.block.source)
        return total


def _columns(part: Part) -> int:
    """How wide the widest sheet of a block is."""
    weights = part.weights
    inputs = 0 if part.packed is None else part.packed.end[1] + 1
    kernels = len(weights.singles) + 2 + weights.kernel[1] * weights.kernel[2]
    return max(part.maps.end[1] + 1, inputs, kernels)


# ---------------------------------------------------------------- the network as a table


def layer_table(plan: Plan) -> list[list[str | int]]:
    """The layers as the sheet Layers lists them; `read_layers` is the way back."""
    sheets: dict[int, str] = {}
    for part in plan.parts:
        block = part.block
        if block.layer is not None:
            sheets[block.layer] = block.name
        sheets |= dict.fromkeys(block.then, block.name)
    rows: list[list[str | int]] = []
    shape: Shape = (1, at.SIDE, at.SIDE)
    for number, layer in enumerate(plan.layers):
        after = layer.shape_after(shape)
        sizes = (*layer.kernel, *layer.stride, *layer.padding)
        rows.append(
            [number, layer.kind, sheets.get(number, "none"), *shape, *sizes, *after, int(layer.bias)]
        )
        shape = after
    return rows


def read_layers(rows: Sequence[Sequence[object]]) -> tuple[Layer, ...]:
    """The layers that a table lists; `ValueError` for one that no gradsheet wrote."""
    layers = []
    for row in rows:
        kind = str(row[1])
        numbers = [int(str(value).removesuffix(".0")) for value in row[6:13]]
        kernel, stride, padding = (tuple(numbers[k : k + 2]) for k in (0, 2, 4))
        if kind not in (*WINDOWS, *ELEMENTWISE, *SILENT):
            raise ValueError(f"{kind!r} is no layer")
        if min(*kernel, *stride) < 1 or min(padding) < 0 or not 1 <= numbers[6] <= MOST_COLUMNS:
            raise ValueError(f"the sizes of layer {row[0]} cannot be")
        layers.append(Layer(kind, numbers[6], kernel, stride, padding, float(str(row[15])) == 1))  # type: ignore[arg-type]
    return tuple(layers)
