"""The sheets of a CNN's workbook: how they look, what the user may type, and what stands in words."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xlsxwriter
from xlsxwriter.format import Format

from gradsheet.backends.workbook_cells import INPUT as INPUT_LOOK
from gradsheet.backends.workbook_cells import Sheet, Styles
from gradsheet.mnist import workbook_places as at
from gradsheet.mnist.layers import Parameters
from gradsheet.mnist.workbook_formulas import all_formulas
from gradsheet.mnist.workbook_places import span
from gradsheet.mnist.workbook_plan import Packed, Part, Plan, layer_table
from gradsheet.mnist.workbook_values import Cell, Question, Values

PAPER, INK, LIGHT_INK = "#FFFFFF", "#08306B", "#9ECAE1"
"""Colours of the least and the largest number; the light one where black digits stand on it."""
HIDDEN = ";;;"
"""The number format that shows no number, so that a coloured cell is a pixel."""
PIXEL = 17
"""Side of a pixel on the sheet Digit, in screen pixels."""
TABS = {"start": "#1F5F99", "maps": "#08306B", "weights": "#3F6B27", "links": "#9A9A9A"}


@dataclass(frozen=True)
class Entry:
    """One line of the drop-down: its text, the true digit or "?", and the grey values (28, 28)."""

    text: str
    label: int | str
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Content:
    """What is put into a workbook besides formulas: digits, numbers, values, and lines of Read me.

    ``normalisation`` are the mean and the standard deviation of the pixels.
    """

    entries: tuple[Entry, ...]
    pick: int
    parameters: Parameters
    normalisation: tuple[float, float]
    question: Question
    values: Values
    about: tuple[str, ...]


def write_sheets(path: Path, plan: Plan, content: Content, advance: Callable[[int], Any]) -> None:
    """Write the workbook to ``path``; ``advance`` is told how many formulas were written.

    The same arguments give the same bytes.
    """
    book = xlsxwriter.Workbook(
        str(path),
        {
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
            # Columns are as wide as so many digits of this font. Arial has a twin of the same widths
            # wherever it is missing, so that square cells are square in every program.
            "default_format_properties": {"font_name": "Arial", "font_size": 10},
        },
    )
    try:
        book.set_properties(
            {"title": "A neural network that reads digits, live", "created": datetime(2000, 1, 1)}
        )
        book.set_calc_mode("auto")
        styles = Styles(book)
        names = [at.DIGIT, at.EXPLAIN, at.README, *(part.maps.sheet for part in plan.parts), at.SOFTMAX]
        names += [part.weights.sheet for part in plan.parts if not part.weights.is_empty]
        names += [part.packed.sheet for part in plan.weighted if part.packed and part.packed.own]
        sheets = {name: Sheet(book, name, styles) for name in (*names, at.DIGITS, at.LAYERS)}
        _digit(book, sheets[at.DIGIT], content)
        _explain(sheets[at.EXPLAIN], plan, content)
        _read_me(sheets[at.README], content)
        for part in plan.parts:
            _maps(sheets[part.maps.sheet], plan, part)
            if not part.weights.is_empty:
                _weights(book, sheets[part.weights.sheet], part, content.parameters)
            if part.packed is not None:
                _packed(sheets[part.packed.sheet], part.packed, part)
        _softmax(sheets[at.SOFTMAX])
        _digits(sheets[at.DIGITS], content)
        _layers(sheets[at.LAYERS], plan, content)
        looks = _looks(plan, styles)
        for name, formulas in all_formulas(plan):
            sheet, values, look = sheets[name], content.values[name], looks[name]
            count = 0
            for row, column, text in formulas:
                value = _cached(values[row, column])
                sheet.xlsx.write_formula(row, column, text, look(row, column), value)
                count += 1
            advance(count)
    finally:
        book.close()


def _cached(value: Cell) -> Cell:
    """A value as it is stored beside its formula: 15 digits, as spreadsheet programs do it."""
    return value if isinstance(value, str) else float(f"{value:.15g}")


Look = Callable[[int, int], Format]
"""The format of a formula, by row and column."""


def _looks(plan: Plan, styles: Styles) -> dict[str, Look]:
    """How the formulas of each sheet look."""

    def same(**properties: Any) -> Look:
        style = styles(**properties)
        return lambda row, column: style

    looks = {
        at.DIGIT: _digit_look(styles),
        at.EXPLAIN: _explain_look(plan, styles),
        at.DIGITS: same(bold=True),
        at.SOFTMAX: same(num_format="0.000000000"),
    }
    for part in plan.parts:
        shown = {"num_format": "0.000", "font_size": 9, "align": "center"}
        looks[part.maps.sheet] = same(**shown) if part.maps.is_row else same(num_format=HIDDEN)
        if part.packed is not None and part.packed.own:
            looks[part.packed.sheet] = same(num_format="0.00", font_size=7, font_color="#595959")
    return looks


def _digit_look(styles: Styles) -> Look:
    centred = {"align": "center", "valign": "vcenter"}
    frame = {"border_color": "#BFBFBF"}

    def look(row: int, column: int) -> Format:
        if column < at.RESULT_COLUMN:
            edges = {
                "top": row == at.GRID_ROW,
                "bottom": row == at.GRID_ROW + at.SIDE - 1,
                "left": column == at.SEEN_COLUMN,
                "right": column == at.SEEN_COLUMN + at.SIDE - 1,
            }
            lines = {side: 1 for side, at_edge in edges.items() if at_edge}
            return styles(num_format=HIDDEN, **lines, **frame)
        if (row, column) == at.READ_PLACE:
            return styles(bold=True, font_size=54, font_color=INK, border=1, **frame, **centred)
        if (row, column) == at.LABEL_PLACE:
            return styles(bold=True, font_size=20, **centred)
        if (row, column) == at.VERDICT_PLACE:
            return styles(bold=True, font_size=12, font_color="#404040", **centred)
        return styles(num_format="0.0%" if column == at.RESULT_COLUMN + 1 else "0.000", font_size=10)

    return look


def _explain_look(plan: Plan, styles: Styles) -> Look:
    def look(row: int, column: int) -> Format:
        if column == at.FACTS_COLUMN or (column == 2 and row < at.SUM_ROW):
            return styles(num_format="0", align="left", indent=1, font_color="#595959")
        if row >= plan.first_term_row and column < 4:
            return styles(num_format="0", align="center")
        if row >= plan.result_row and column == 1:
            return styles(num_format="0.000000000", bold=True, align="right")
        return styles(num_format="0.000000000")

    return look


# ---------------------------------------------------------------- Digit


def _digit(book: Any, sheet: Sheet, content: Content) -> None:
    styles, xlsx = sheet.styles, sheet.xlsx
    sheet.text(0, 1, "A neural network that reads digits: every number below is live", styles.title)
    label = {"bold": True, "font_color": TABS["start"]}
    sheet.text(2, at.SEEN_COLUMN, "1  Pick one of the digits, or your own drawing", styles(**label))
    sheet.text(2, at.RESULT_COLUMN, "The network reads", styles(**label))
    sheet.text(
        2, at.PAINT_COLUMN, "2  Paint over it: type 0 (paper) to 255 (ink) into cells", styles(**label)
    )
    chosen = styles(bold=True, align="center", **INPUT_LOOK)
    xlsx.merge_range(*at.CHOICE, at.CHOICE[0], at.CHOICE[1] + at.SIDE - 1, "", chosen)
    sheet.text(*at.CHOICE, content.entries[content.pick].text, chosen)
    xlsx.data_validation(
        *at.CHOICE,
        *at.CHOICE,
        {
            "validate": "list",
            "source": "="
            + span((at.ENTRY_ROW, 0), (at.ENTRY_ROW + len(content.entries) - 1, 0), at.DIGITS),
            "error_title": "Not in the list",
            "error_message": "Pick an entry of the list.",
        },
    )
    sheet.text(4, at.SEEN_COLUMN, "what the network sees", styles.note)
    sheet.text(4, at.PAINT_COLUMN, "empty cells leave the picked digit as it is", styles.note)
    brush = styles(num_format=HIDDEN, bg_color="#FFFFE5", border=4, border_color="#D9D08C")
    for row in range(at.SIDE):
        for column in range(at.SIDE):
            xlsx.write_blank(*at.painted(row, column), None, brush)
    paint = (*at.painted(0, 0), *at.painted(at.SIDE - 1, at.SIDE - 1))
    xlsx.data_validation(
        *paint,
        {
            "validate": "decimal",
            "criteria": "between",
            "minimum": 0,
            "maximum": 255,
            "error_title": "Not a grey value",
            "error_message": "Type a number from 0 (paper) to 255 (ink), or clear the cell.",
        },
    )
    grey = {"type": "2_color_scale", "min_type": "num", "max_type": "num", "min_value": 0}
    grey |= {"max_value": 255, "min_color": "#FFFFFF", "max_color": "#000000"}
    xlsx.conditional_format(*at.seen(0, 0), *at.seen(at.SIDE - 1, at.SIDE - 1), grey)
    xlsx.conditional_format(*paint, grey)
    _results(book, sheet)
    lines = (
        "Pick a digit in the yellow cell. Some of the hundred are misread by this network; which ones "
        "they are stands in the list.",
        "Paint with numbers: select cells on the right, type 255, and fill them with Ctrl+Enter (in "
        "LibreOffice Alt+Enter). Clear them to have the picked digit back. For a drawing of your own, "
        "pick the last entry first.",
        "The other sheets show every number on the way: Input, then layer after layer, each cell one "
        "short formula. Explain takes one cell apart. Read me says more.",
    )
    sheet.texts(at.GRID_ROW + at.SIDE + 1, 1, lines, styles.note)
    xlsx.set_column_pixels(0, 0, 16)
    xlsx.set_column_pixels(at.SEEN_COLUMN, at.SEEN_COLUMN + at.SIDE - 1, PIXEL)
    xlsx.set_column_pixels(at.SEEN_COLUMN + at.SIDE, at.SEEN_COLUMN + at.SIDE, 24)
    for offset, width in enumerate((60, 170, 90, 12, 12)):
        xlsx.set_column_pixels(at.RESULT_COLUMN + offset, at.RESULT_COLUMN + offset, width)
    xlsx.set_column_pixels(at.PAINT_COLUMN, at.PAINT_COLUMN + at.SIDE - 1, PIXEL)
    for row in range(at.GRID_ROW, at.GRID_ROW + at.SIDE):
        xlsx.set_row_pixels(row, PIXEL)
    xlsx.set_tab_color(TABS["start"])
    xlsx.activate()
    xlsx.set_selection(*at.CHOICE, at.CHOICE[0], at.CHOICE[1] + at.SIDE - 1)
    _one_page(sheet)


def _results(book: Any, sheet: Sheet) -> None:
    """The digit that is read, the true one, and ten probabilities as cells, bars and columns."""
    styles, xlsx = sheet.styles, sheet.xlsx
    look = _digit_look(styles)
    xlsx.merge_range(
        *at.READ_PLACE, at.READ_PLACE[0] + 4, at.READ_PLACE[1] + 1, "", look(*at.READ_PLACE)
    )
    xlsx.merge_range(
        *at.LABEL_PLACE, at.LABEL_PLACE[0] + 1, at.LABEL_PLACE[1], "", look(*at.LABEL_PLACE)
    )
    sheet.text(
        at.LABEL_PLACE[0] - 1,
        at.LABEL_PLACE[1],
        "true digit",
        styles(align="center", font_color="#595959"),
    )
    head = styles(bold=True, bottom=1, font_size=10)
    for offset, name in enumerate(("digit", "probability", "logit")):
        sheet.text(at.PROBABILITY_ROW - 1, at.RESULT_COLUMN + offset, name, head)
    last = at.PROBABILITY_ROW + at.CLASSES - 1
    for digit in range(at.CLASSES):
        sheet.number(
            at.PROBABILITY_ROW + digit, at.RESULT_COLUMN, digit, styles(bold=True, align="center")
        )
    bars = {"type": "data_bar", "bar_color": "#6BAED6", "bar_solid": True, "min_type": "num"}
    bars |= {"max_type": "num", "min_value": 0, "max_value": 1}
    xlsx.conditional_format(at.PROBABILITY_ROW, at.RESULT_COLUMN + 1, last, at.RESULT_COLUMN + 1, bars)
    chart = book.add_chart({"type": "column"})
    chart.add_series(
        {
            "categories": [at.DIGIT, at.PROBABILITY_ROW, at.RESULT_COLUMN, last, at.RESULT_COLUMN],
            "values": [at.DIGIT, at.PROBABILITY_ROW, at.RESULT_COLUMN + 1, last, at.RESULT_COLUMN + 1],
            "fill": {"color": "#2171B5"},
            "gap": 40,
        }
    )
    chart.set_title({"name": "probability of each digit", "name_font": {"size": 10, "bold": False}})
    chart.set_legend({"none": True})
    chart.set_y_axis(
        {
            "min": 0,
            "max": 1,
            "num_format": "0%",
            "major_gridlines": {"visible": True, "line": {"color": "#E5E5E5"}},
        }
    )
    chart.set_x_axis({"num_font": {"size": 9}})
    chart.set_size({"width": 320, "height": PIXEL * (at.SIDE + at.GRID_ROW - last - 1) - 6})
    xlsx.insert_chart(last + 1, at.RESULT_COLUMN, chart, {"object_position": 2, "y_offset": 6})


# ---------------------------------------------------------------- Explain and Read me


def _explain(sheet: Sheet, plan: Plan, content: Content) -> None:
    styles, xlsx, question = sheet.styles, sheet.xlsx, content.question
    sheet.text(0, 0, "Explain: where one number comes from", styles.title)
    sheet.text(
        1, 0, "Type a layer, a channel and a position, counted from 0; the sheet takes that cell apart.",
        styles.note,
    )  # fmt: skip
    typed = styles(bold=True, align="center", **INPUT_LOOK)
    sheet.text(at.LAYER_CELL[0], 0, "layer", styles.label)
    sheet.text(*at.LAYER_CELL, question.block, typed)
    names = [part.block.name for part in plan.weighted]
    xlsx.data_validation(
        *at.LAYER_CELL,
        *at.LAYER_CELL,
        {"validate": "list", "source": names, "error_message": "Pick a layer of the list."},
    )
    sheet.text(at.LAYER_CELL[0], 2, "at most", styles.hint)
    for place, name, number in zip(
        (at.CHANNEL_CELL, at.ROW_CELL, at.COLUMN_CELL),
        ("channel", "row", "column"),
        (question.channel, question.row, question.column),
        strict=True,
    ):
        sheet.text(place[0], 0, name, styles.label)
        sheet.number(*place, number, typed)
        rule = {"validate": "integer", "criteria": "between", "minimum": 0}
        rule |= {"maximum": f"=$C${place[0] + 1}", "error_title": "No such place"}
        rule["error_message"] = "Type a whole number from 0 to the number on the right."
        xlsx.data_validation(*place, *place, rule)
    sheet.text(2, at.FACTS_COLUMN - 1, "of this layer (see the sheet Layers)", styles.note)
    for name, (row, column) in at.FACTS.items():
        sheet.text(row, column - 1, name, styles(font_color="#595959"))
    sheet.text(at.SUM_ROW, 0, "sum of the products", styles.label)
    sheet.text(at.SUM_ROW + 1, 0, "plus the bias", styles.label)
    if plan.steps:
        sheet.text(
            at.SUM_ROW + 1,
            4,
            "← the bias; under it gain and shift of BatchNorm2d: · gain + shift",
            styles.hint,
        )
    sheet.text(plan.result_row, 0, "the cell itself holds", styles.label)
    sheet.text(plan.result_row + 1, 0, "the two are", styles.label)
    first = plan.first_term_row
    head = styles.header("forward")
    words = ("product", "row of the input", "column", "channel", "input", "weight", "input · weight")
    for column, name in enumerate(words):
        sheet.text(first - 1, column, name, head)
    for term in range(plan.terms):
        sheet.number(first + term, 0, term, styles(num_format="0", align="center", font_color="#8C8C8C"))
    for column in (5, 6):
        xlsx.conditional_format(first, column, first + plan.terms - 1, column, _signed_scale())
    xlsx.conditional_format(first, 4, first + plan.terms - 1, 4, _map_scale(LIGHT_INK))
    xlsx.set_column(0, 0, 22)
    xlsx.set_column(1, 6, 15)
    xlsx.set_column(8, 8, 16)
    xlsx.freeze_panes(first, 0)
    xlsx.set_tab_color(TABS["start"])
    sheet.print_portrait()


def _read_me(sheet: Sheet, content: Content) -> None:
    styles = sheet.styles
    row = 0
    for paragraph in content.about:
        style = styles.title if row == 0 else None
        if paragraph.startswith("# "):
            row, paragraph, style = row + 1, paragraph[2:], styles.heading
        for line in textwrap.wrap(paragraph, 110):
            sheet.text(row, 0, line, style)
            row += 1
    sheet.xlsx.set_column(0, 0, 110)
    sheet.xlsx.set_tab_color(TABS["start"])
    sheet.print_portrait()


# ---------------------------------------------------------------- layers


def _map_scale(ink: str = INK) -> dict[str, Any]:
    return {"type": "2_color_scale", "min_color": PAPER, "max_color": ink}


def _signed_scale() -> dict[str, Any]:
    """Red below 0, blue above it."""
    colours = {"min_color": "#EF8A62", "mid_color": PAPER, "max_color": "#67A9CF"}
    return {"type": "3_color_scale", "mid_type": "num", "mid_value": 0, **colours}


def _size(part: Part) -> int:
    """Side of a cell on a sheet of maps, in screen pixels: a tile takes about 190, at most 24 a cell."""
    if part.block.shape[0] == 1:
        return PIXEL
    return max(5, min(24, 190 // part.block.shape[2]))


def _maps(sheet: Sheet, plan: Plan, part: Part) -> None:
    """The frame of a block's sheet: titles, colours and padding; its formulas come later."""
    styles, xlsx, maps = sheet.styles, sheet.xlsx, part.maps
    channels, rows, columns = part.block.shape
    numbers = [n for n in (part.block.layer, *part.block.then) if n is not None]
    kinds = ", ".join(plan.layers[number].kind for number in numbers) or "the grey values, normalised"
    plural = "s" if channels > 1 else ""
    if maps.is_row:
        what = f"{channels} number{plural}; white is the least, blue the most."
    else:
        what = (
            f"{channels} map{plural} of {rows} × {columns}; white is a map's least, dark blue its most."
        )
    sheet.text(0, 0, f"{part.block.name}: {kinds}", styles.title)
    sheet.text(1, 0, f"{what} {_in_words(plan, part)}", styles.note)
    small = styles(font_size=8, font_color="#595959")
    for channel in range(channels):
        row, column = maps.place(channel)
        if not maps.is_row:
            sheet.text(row - 1 - maps.margin.top, column, f"channel {channel}", small)
            xlsx.conditional_format(row, column, row + rows - 1, column + columns - 1, _map_scale())
        else:
            sheet.number(
                row - 1, column, channel, styles(font_size=8, align="center", font_color="#595959")
            )
    last_row, last_column = maps.end
    if maps.is_row:
        xlsx.conditional_format(*maps.place(0), last_row, last_column, _map_scale(LIGHT_INK))
        xlsx.set_column_pixels(1, last_column, 60 if channels <= 16 else 44)
    else:
        size = _size(part)
        xlsx.set_column_pixels(0, last_column + maps.margin.right, size)
        for channel in range(0, channels, maps.across):
            top = maps.place(channel)[0]
            for row in range(top - maps.margin.top, top + rows + maps.margin.bottom):
                xlsx.set_row_pixels(row, size)
    xlsx.set_tab_color(TABS["maps"])
    _one_page(sheet)


def _in_words(plan: Plan, part: Part) -> str:
    """The formula of a block's cells, in words."""
    words, is_sum = "sum of window · weights", False
    if part.layer is None:
        words = "(grey value / 255 − mean) / deviation"
    elif part.layer.kind in ("MaxPool2d", "AvgPool2d"):
        words = f"the {'largest number' if part.layer.kind == 'MaxPool2d' else 'mean'} of the window"
    elif part.layer.bias:
        words, is_sum = f"{words} + bias", True
    for number in part.block.then:
        if plan.layers[number].kind == "ReLU":
            words, is_sum = f"MAX(0, {words})", False
        else:
            words, is_sum = f"{f'({words})' if is_sum else words} · gain + shift", True
    return f"A cell is {words}."


def _packed(sheet: Sheet, packed: Packed, part: Part) -> None:
    """The frame of a packed input, or the padding around the one map that serves as it is."""
    styles, channels = sheet.styles, packed.maps.shape[0]
    look = styles(font_size=7, num_format="0", bg_color="#EDEDED", font_color="#8C8C8C", align="center")
    for row, column in packed.paddings():
        sheet.number(row, column, 0, look)
    if not packed.own:
        return
    sheet.text(0, 0, f"{packed.sheet}: what {part.block.name} reads, linked from {packed.maps.sheet}",
               styles.label)  # fmt: skip
    sheet.text(1, 0, f"column = x · {channels} + channel, so a window of all channels is one range; "
                     "padding is grey", styles.note)  # fmt: skip
    sheet.xlsx.set_column_pixels(1, packed.end[1], 28)
    _one_page(sheet)
    sheet.xlsx.set_tab_color(TABS["links"])


def _weights(book: Any, sheet: Sheet, part: Part, parameters: Parameters) -> None:
    weights, styles, xlsx, block = part.weights, sheet.styles, sheet.xlsx, part.block.name
    sheet.text(0, 0, f"{weights.sheet}: the weights of {block}", styles.title)
    head, plain = styles.header("parameter"), styles(num_format="General", font_size=9)
    sheet.text(at.HEAD, 0, "channel", head)
    for channel in range(weights.channels):
        sheet.number(weights.row(channel), 0, channel, styles(bold=True, align="center"))
    for key, places in part.weight_places():
        for place, value in zip(places, parameters[key].ravel().tolist(), strict=True):
            sheet.number(*place, value, plain)
    for single in weights.singles:
        number, name = single
        sheet.text(at.HEAD, weights.single(single, 0)[1], name, head)
        several = [other for _, other in weights.singles].count(name) > 1
        title = f"{block}_{name}_{number}" if several else f"{block}_{name}"
        book.define_name(title, "=" + weights.column(single))
    xlsx.freeze_panes(at.HEAD + 1, 1)
    xlsx.set_tab_color(TABS["weights"])
    _one_page(sheet)
    if not weights.terms:
        return
    rows, columns, sources = weights.kernel
    words = f"A channel's kernel: {rows} rows, and columns of x · {sources} + channel of the input. "
    sheet.text(1, 0, f"{words}Names: {block}_weight and so on", styles.note)
    book.define_name(f"{block}_weight", "=" + weights.kernels(0, weights.channels - 1))
    small = styles(font_size=8, font_color="#595959")
    for x in range(columns):
        for source in range(sources):
            text = f"x{x} c{source}" if columns > 1 else f"c{source}"
            sheet.text(at.HEAD, weights.weight(0, source, 0, x)[1], text, small)
    last = weights.weight(weights.channels - 1, sources - 1, rows - 1, columns - 1)
    xlsx.conditional_format(*weights.weight(0, 0, 0, 0), *last, _signed_scale())


def _softmax(sheet: Sheet) -> None:
    styles = sheet.styles
    sheet.text(0, 0, "Softmax: from logits to probabilities", styles.title)
    sheet.text(1, 0, "EXP(logit − largest logit), divided by the sum of all ten", styles.note)
    for column, name in enumerate(("digit", "logit", "EXP", "probability")):
        sheet.text(at.HEAD, column, name, styles.header("forward"))
    for digit in range(at.CLASSES):
        sheet.number(at.softmax_place(digit, 0)[0], 0, digit, styles(bold=True, align="center"))
    sheet.xlsx.set_column(0, 3, 14)
    sheet.xlsx.set_tab_color(TABS["maps"])
    sheet.print_portrait()


# ---------------------------------------------------------------- Digits and Layers


def _digits(sheet: Sheet, content: Content) -> None:
    styles = sheet.styles
    sheet.text(0, 0, "Digits: what the drop-down of the sheet Digit lists, a row each", styles.label)
    sheet.text(at.PICK_PLACE[0], 0, "number of the picked row", styles.note)
    for column, name in enumerate(("entry", "true digit")):
        sheet.text(at.ENTRY_ROW - 1, column, name, styles.header("data"))
    sheet.text(
        at.ENTRY_ROW - 1, at.PIXEL_COLUMN, "grey values, row after row; empty cells are 0", styles.note
    )
    for number, entry in enumerate(content.entries):
        sheet.text(at.ENTRY_ROW + number, 0, entry.text)
        if isinstance(entry.label, str):
            sheet.text(at.ENTRY_ROW + number, 1, entry.label)
        else:
            sheet.number(at.ENTRY_ROW + number, 1, entry.label)
        for row, column in np.argwhere(entry.pixels).tolist():
            sheet.number(*at.pixel(number, row, column), int(entry.pixels[row, column]))
    sheet.xlsx.set_column(0, 0, 34)
    _one_page(sheet)
    sheet.xlsx.freeze_panes(at.ENTRY_ROW, 2)
    sheet.xlsx.set_tab_color(TABS["links"])


def _layers(sheet: Sheet, plan: Plan, content: Content) -> None:
    styles = sheet.styles
    sheet.text(2, 0, "A grey value g becomes (g / 255 − mean) / deviation:", styles.note)
    for (row, column), name, value in zip(
        (at.MEAN_PLACE, at.DEVIATION_PLACE), ("mean", "deviation"), content.normalisation, strict=True
    ):
        sheet.text(row, column - 1, name, styles(bold=True, align="right"))
        sheet.number(row, column, value, styles(num_format="0.0000", align="left"))
    sheet.text(0, 0, "Layers: the network, from its input to the logits", styles.title)
    sheet.text(1, 0, "A row is a layer of PyTorch's; \"none\" changes no number of a trained network. "
                     "gradsheet verify reads this list.", styles.note)  # fmt: skip
    table: list[Sequence[str | int]] = [at.LAYER_COLUMNS, *layer_table(plan)]
    head = styles(bold=True, font_color="#FFFFFF", bg_color="#1F5F99", text_wrap=True, align="center")
    for number, line in enumerate(table):
        for column, entry in enumerate(line):
            if isinstance(entry, str):
                sheet.text(at.LAYER_ROW - 1 + number, column, entry, head if number == 0 else None)
            else:
                sheet.number(at.LAYER_ROW - 1 + number, column, entry, styles(align="center"))
    sheet.xlsx.set_column(0, len(at.LAYER_COLUMNS), 12)
    sheet.xlsx.set_row(at.LAYER_ROW - 1, 30)
    sheet.xlsx.set_tab_color(TABS["links"])
    sheet.print_landscape(at.LAYER_ROW - 1, at.LAYER_ROW - 1)


def _one_page(sheet: Sheet) -> None:
    sheet.xlsx.set_landscape()
    sheet.xlsx.set_paper(9)
    sheet.xlsx.set_margins(0.3, 0.3, 0.3, 0.4)
    sheet.xlsx.fit_to_pages(1, 1)
