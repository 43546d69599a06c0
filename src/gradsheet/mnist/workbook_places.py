"""Where everything but the layers stands in the workbook of a network that reads digits.

These cells are the same for every network; `workbook_plan` places the layers. Rows and columns count
from 0.
"""

from __future__ import annotations

from gradsheet.backends.workbook_layout import area, cell, quote

DIGIT, EXPLAIN, README, DIGITS, LAYERS, SOFTMAX = (
    "Digit", "Explain", "Read me", "Digits", "Layers", "Softmax",
)  # fmt: skip

SIDE, CLASSES = 28, 10
MOST_WEIGHTED = 60
"""Layers with weights: the sheet Explain picks one by nested IFs, of which Excel allows 64."""
HEAD = 3
"""Rows over the first one that holds numbers, on the sheets of maps, weights and packed inputs."""
Place = tuple[int, int]


def absolute(row: int, column: int) -> str:
    """The absolute A1 name of a cell on its own sheet."""
    return cell(row, column, "").removeprefix("!")


def span(first: Place, last: Place, sheet: str) -> str:
    """The absolute A1 name of a range with its sheet."""
    return f"{quote(sheet)}!{area(*first, *last)}"


# ---------------------------------------------------------------- the sheets Digit, Digits and Softmax

CHOICE = (3, 1)
GRID_ROW, SEEN_COLUMN, RESULT_COLUMN, PAINT_COLUMN = 5, 1, 30, 35
READ_PLACE, LABEL_PLACE, VERDICT_PLACE = (
    (5, RESULT_COLUMN),
    (6, RESULT_COLUMN + 2),
    (8, RESULT_COLUMN + 2),
)
PROBABILITY_ROW = 12
"""The row of the sheet Digit where the probability of the digit 0 stands."""

PICK_PLACE, ENTRY_ROW, PIXEL_COLUMN = (1, 1), 4, 3
"""On the sheet Digits: the number of the picked entry; where entries begin, and their pixels."""


def seen(row: int, column: int) -> Place:
    """The cell of the sheet Digit that holds a pixel as the network sees it."""
    return GRID_ROW + row, SEEN_COLUMN + column


def painted(row: int, column: int) -> Place:
    """The cell of the sheet Digit into which the user may type a pixel."""
    return GRID_ROW + row, PAINT_COLUMN + column


def pixel(entry: int, row: int, column: int) -> Place:
    """The cell of the sheet Digits with a pixel of an entry."""
    return ENTRY_ROW + entry, PIXEL_COLUMN + SIDE * row + column


def softmax_place(digit: int, column: int) -> Place:
    """Column 1 holds the logit, 2 its exponential, 3 the probability."""
    return HEAD + 1 + digit, column


# ---------------------------------------------------------------- the sheet Layers

LAYER_COLUMNS = (
    "number", "layer", "sheet", "channels in", "rows in", "columns in", "kernel rows", "kernel columns",
    "stride rows", "stride columns", "padding rows", "padding columns", "channels out", "rows out",
    "columns out", "bias",
)  # fmt: skip
LAYER_ROW = 4
"""The row of the sheet Layers where the first layer stands."""

MEAN_PLACE, DEVIATION_PLACE = (2, 5), (2, 8)
MEAN_CELL, DEVIATION_CELL = cell(*MEAN_PLACE, LAYERS), cell(*DEVIATION_PLACE, LAYERS)
"""What is subtracted from a grey value of 0 to 1, and divided by."""


# ---------------------------------------------------------------- the sheet Explain

LAYER_CELL, CHANNEL_CELL, ROW_CELL, COLUMN_CELL = ((row, 1) for row in (3, 4, 5, 6))
"""What the user types on the sheet Explain."""
FACTS_COLUMN = 9
FACTS = {
    name: (row, FACTS_COLUMN)
    for row, name in enumerate(
        ("channels in", "rows in", "columns in", "kernel rows", "kernel columns", "stride rows",
         "stride columns", "padding rows", "padding columns", "channels out", "rows out", "columns out",
         "first row", "first column", "products"), 3)
}  # fmt: skip
"""Where the sizes of the explained layer stand on the sheet Explain."""
SUM_ROW = 9
TERM_ROW = 20
"""The row of the sheet Explain where the first product stands."""
