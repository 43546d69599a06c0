"""The formula of every cell of a network's workbook.

`workbook_plan` says where a number stands; here stands how it is computed. Formulas hold no numbers of
the network: those are in cells, where the user can change them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gradsheet.backends.workbook_layout import cell
from gradsheet.mnist import workbook_places as at
from gradsheet.mnist.workbook_places import Place, absolute, span
from gradsheet.mnist.workbook_plan import Maps, Packed, Part, Plan

Formula = tuple[int, int, str]
"""Row, column and text of a formula, without its sheet."""


def all_formulas(plan: Plan) -> Iterator[tuple[str, Iterator[Formula]]]:
    """Every formula of the workbook by sheet, in the order in which one depends on another."""
    yield at.DIGITS, iter([(*at.PICK_PLACE, _pick_formula(plan.entries))])
    yield at.DIGIT, _pixel_formulas(plan.entries)
    for part in plan.parts:
        if part.packed is not None and part.packed.own:
            yield part.packed.sheet, _packed_formulas(part.packed)
        yield part.maps.sheet, _map_formulas(plan, part)
    yield at.SOFTMAX, _softmax_formulas(plan.parts[-1].maps)
    yield at.DIGIT, _listed(_result_formulas(plan.entries))
    yield at.EXPLAIN, _listed(_explain_formulas(plan))


def _listed(formulas: dict[Place, str]) -> Iterator[Formula]:
    return ((*place, text) for place, text in formulas.items())


# ---------------------------------------------------------------- the layers


def _map_formulas(plan: Plan, part: Part) -> Iterator[Formula]:
    """Every formula of a block's own sheet: channel by channel, row by row."""
    channels, rows, columns = part.block.shape
    windows = [[_window(part, row, column) for column in range(columns)] for row in range(rows)]
    for channel in range(channels):
        for row in range(rows):
            for column in range(columns):
                if part.layer is None:
                    seen_cell = f"{at.DIGIT}!{cell(*at.seen(row, column))}"
                    text, is_sum = f"({seen_cell}/255-{at.MEAN_CELL})/{at.DEVIATION_CELL}", False
                elif part.packed is not None:
                    text, is_sum = _weighted_sum(part, channel, windows[row][column])
                else:
                    text, is_sum = _pooled(part, channel, row, column), False
                text = _with_elementwise(plan, part, channel, text, is_sum)
                yield (*part.maps.place(channel, row, column), f"={text}")


def _window(part: Part, row: int, column: int) -> str | None:
    """The window of a number that is a weighted sum; None where all of it is padding."""
    if part.layer is None or part.packed is None:
        return None
    start, kernel = part.layer.window_start(row, column), part.layer.kernel
    touches = all(
        -size < first < inputs
        for first, size, inputs in zip(start, kernel, part.block.source[1:], strict=True)
    )
    return part.packed.window(start, kernel) if touches else None


def _weighted_sum(part: Part, channel: int, window: str | None) -> tuple[str, bool]:
    """Window · kernel + bias, and whether it is a sum."""
    weights, terms = part.weights, []
    if window is not None:
        terms.append(f"SUMPRODUCT({window},{weights.kernels(channel, channel)})")
    if part.layer is not None and part.layer.bias and part.block.layer is not None:
        terms.append(cell(*weights.single((part.block.layer, "bias"), channel), weights.sheet))
    return "+".join(terms) or "0", len(terms) > 1


def _pooled(part: Part, channel: int, row: int, column: int) -> str:
    """The largest number, or the mean, of a window of the tile itself."""
    assert part.layer is not None
    assert part.source is not None
    first_row, first_column = part.layer.window_start(row, column)
    rows, columns = part.layer.kernel
    first = part.source.place(channel, first_row, first_column)
    last = part.source.place(channel, first_row + rows - 1, first_column + columns - 1)
    name = "MAX" if part.layer.kind == "MaxPool2d" else "AVERAGE"
    return f"{name}({part.source.sheet}!{cell(*first)}:{cell(*last)})"


def _with_elementwise(plan: Plan, part: Part, channel: int, text: str, is_sum: bool) -> str:
    """The text with the layers around it that change each number on its own."""
    weights = part.weights
    for number in part.block.then:
        if plan.layers[number].kind == "ReLU":
            text, is_sum = f"MAX(0,{text})", False
        else:
            gain, shift = (
                cell(*weights.single((number, name), channel), weights.sheet)
                for name in ("gain", "shift")
            )
            text, is_sum = f"{f'({text})' if is_sum else text}*{gain}+{shift}", True
    return text


def _packed_formulas(packed: Packed) -> Iterator[Formula]:
    """Every link of a packed input: channel by channel, row by row."""
    channels, rows, columns = packed.maps.shape
    for channel in range(channels):
        for row in range(rows):
            for column in range(columns):
                source = packed.maps.place(channel, row, column)
                yield (*packed.place(channel, row, column), f"={packed.maps.sheet}!{cell(*source)}")


# ---------------------------------------------------------------- the sheets Digits, Digit and Softmax


def _pixel_formulas(entries: int) -> Iterator[Formula]:
    """The pixels of the sheet Digit: what is painted, else the pixel of the picked entry."""
    pick = cell(*at.PICK_PLACE, at.DIGITS)
    for row in range(at.SIDE):
        for column in range(at.SIDE):
            paint = cell(*at.painted(row, column))
            pixels = span(at.pixel(0, row, column), at.pixel(entries - 1, row, column), at.DIGITS)
            yield (*at.seen(row, column), f'=IF({paint}="",INDEX({pixels},{pick}),{paint})')


def _pick_formula(entries: int) -> str:
    texts = span((at.ENTRY_ROW, 0), (at.ENTRY_ROW + entries - 1, 0), at.DIGITS)
    return f"=MATCH({cell(*at.CHOICE, at.DIGIT)},{texts},0)"


def _softmax_formulas(logits: Maps) -> Iterator[Formula]:
    """Three columns of the sheet Softmax; the largest logit is subtracted, so that no EXP overflows."""
    first, last = at.softmax_place(0, 1), at.softmax_place(at.CLASSES - 1, 1)
    largest = f"MAX({absolute(*first)}:{absolute(*last)})"
    total = f"SUM({absolute(first[0], 2)}:{absolute(last[0], 2)})"
    for digit in range(at.CLASSES):
        row, column = at.softmax_place(digit, 1)
        yield row, column, f"={logits.sheet}!{cell(*logits.place(digit))}"
        yield row, 2, f"=EXP({cell(row, 1)}-{largest})"
        yield row, 3, f"={cell(row, 2)}/{total}"


def _result_formulas(entries: int) -> dict[Place, str]:
    """The results on the sheet Digit: digit read, true label, verdict, probabilities and logits."""
    logits = span(at.softmax_place(0, 1), at.softmax_place(at.CLASSES - 1, 1), at.SOFTMAX)
    labels = span((at.ENTRY_ROW, 1), (at.ENTRY_ROW + entries - 1, 1), at.DIGITS)
    read, label = cell(*at.READ_PLACE), cell(*at.LABEL_PLACE)
    formulas = {
        at.READ_PLACE: f"=MATCH(MAX({logits}),{logits},0)-1",
        at.LABEL_PLACE: f"=INDEX({labels},{cell(*at.PICK_PLACE, at.DIGITS)})",
        at.VERDICT_PLACE: f'=IF({label}="?","",IF({label}={read},"right","misread"))',
    }
    for digit in range(at.CLASSES):
        row = at.PROBABILITY_ROW + digit
        formulas[row, at.RESULT_COLUMN + 1] = f"={at.SOFTMAX}!{cell(*at.softmax_place(digit, 3))}"
        formulas[row, at.RESULT_COLUMN + 2] = f"={at.SOFTMAX}!{cell(*at.softmax_place(digit, 1))}"
    return formulas


# ---------------------------------------------------------------- the sheet Explain

_FACT = {name: absolute(*place) for name, place in at.FACTS.items()}
_LAYER, _CHANNEL, _ROW, _COLUMN = (
    absolute(*place) for place in (at.LAYER_CELL, at.CHANNEL_CELL, at.ROW_CELL, at.COLUMN_CELL)
)


def _explain_formulas(plan: Plan) -> dict[Place, str]:
    """Every formula of the sheet Explain."""
    return _facts(plan) | _terms(plan) | _steps(plan)


def _by_layer(plan: Plan, write: Callable[[Part], str]) -> str:
    """What ``write`` says of the layer that the user picked; what is alike is written once."""
    *others, last = [(part.block.name, write(part)) for part in plan.weighted]
    text = last[1]
    for name, choice in reversed(others):
        if choice != text or text.startswith("IF("):
            text = f'IF({_LAYER}="{name}",{choice},{text})'
    return text


def _facts(plan: Plan) -> dict[Place, str]:
    """The sizes of the picked layer, and the greatest numbers that the user may type."""
    formulas: dict[Place, str] = {}
    last = at.LAYER_ROW + len(plan.layers) - 1
    sheets = span((at.LAYER_ROW, 2), (last, 2), at.LAYERS)
    for name, place in at.FACTS.items():
        if name in at.LAYER_COLUMNS:
            listed = at.LAYER_COLUMNS.index(name)
            values = span((at.LAYER_ROW, listed), (last, listed), at.LAYERS)
            formulas[place] = f"=INDEX({values},MATCH({_LAYER},{sheets},0))"
    formulas |= {
        at.FACTS["first row"]: f"={_ROW}*{_FACT['stride rows']}-{_FACT['padding rows']}",
        at.FACTS["first column"]: f"={_COLUMN}*{_FACT['stride columns']}-{_FACT['padding columns']}",
        at.FACTS[
            "products"
        ]: f"={_FACT['kernel rows']}*{_FACT['kernel columns']}*{_FACT['channels in']}",
    }
    sizes = ("channels out", "rows out", "columns out")
    for (row, _), size in zip((at.CHANNEL_CELL, at.ROW_CELL, at.COLUMN_CELL), sizes, strict=True):
        formulas[row, 2] = f"={_FACT[size]}-1"
    return formulas


def _terms(plan: Plan) -> dict[Place, str]:
    """One line a product: its place in the input, the input, the weight, and the product."""
    first, channels = plan.first_term_row, _FACT["channels in"]
    first_row, first_column = _FACT["first row"], _FACT["first column"]
    width = f"({_FACT['kernel columns']}*{channels})"

    def input_of(part: Part) -> str:
        assert part.packed is not None
        return f"INDEX({part.packed.inside},{{y}}+1,{{x}}*{channels}+{{c}}+1)"

    def weight_of(part: Part) -> str:
        kernels = part.weights.kernels(0, part.weights.channels - 1)
        return (
            f"INDEX({kernels},{_CHANNEL}*{_FACT['kernel rows']}+{{y}}-{first_row}+1,"
            f"({{x}}-{first_column})*{channels}+{{c}}+1)"
        )

    inputs, weights = _by_layer(plan, input_of), _by_layer(plan, weight_of)
    formulas: dict[Place, str] = {}
    for row in range(first, first + plan.terms):
        term, y, x, c, value, weight = (cell(row, column) for column in range(6))
        texts = (
            f"{first_row}+INT({term}/{width})",
            f"{first_column}+INT(({term}-({y}-{first_row})*{width})/{channels})",
            f"{term}-(({y}-{first_row})*{_FACT['kernel columns']}+{x}-{first_column})*{channels}",
            f"IF(OR({y}<0,{x}<0,{y}>={_FACT['rows in']},{x}>={_FACT['columns in']}),0,"
            f"{inputs.format(y=y, x=x, c=c)})",
            weights.format(y=y, x=x, c=c),
            f"{value}*{weight}",
        )
        for column, text in enumerate(texts, 1):
            formulas[row, column] = f'=IF({term}>={_FACT["products"]},"",{text})'
    return formulas


def _steps(plan: Plan) -> dict[Place, str]:
    """From the sum of the products to the number of the cell, and whether the cell holds the same."""
    first, result = plan.first_term_row, plan.result_row
    formulas = {
        (at.SUM_ROW, 1): f"=SUM({cell(first, 6)}:{cell(first + plan.terms - 1, 6)})",
        (at.SUM_ROW + 1, 1): f"={cell(at.SUM_ROW, 1)}+{cell(at.SUM_ROW + 1, 2)}",
        (at.SUM_ROW + 1, 2): "="
        + _by_layer(plan, lambda part: _single(part, part.block.layer, "bias", "0")),
    }
    for step, row in enumerate(range(at.SUM_ROW + 2, result)):
        formulas |= _step(plan, step, row)
    value, held = cell(result - 1, 1), cell(result, 1)
    formulas[result, 1] = "=" + _by_layer(plan, _held)
    formulas[result + 1, 1] = f'=IF(ABS({value}-{held})<=1E-9*MAX(1,ABS({held})),"equal","different")'
    return formulas


def _step(plan: Plan, step: int, row: int) -> dict[Place, str]:
    """The layers number ``step`` of those behind the sum: their kind, result, gain and shift."""

    def number(part: Part) -> int | None:
        return part.block.then[step] if step < len(part.block.then) else None

    def kind(part: Part) -> str:
        at = number(part)
        return '""' if at is None else f'"{plan.layers[at].kind}"'

    name, before, gain, shift = (cell(row, 0), cell(row - 1, 1), cell(row, 2), cell(row, 3))
    batch_norm = f'IF({name}="BatchNorm2d",{before}*{gain}+{shift},{before})'
    return {
        (row, 0): "=" + _by_layer(plan, kind),
        (row, 1): f'=IF({name}="ReLU",MAX(0,{before}),{batch_norm})',
        (row, 2): "=" + _by_layer(plan, lambda part: _single(part, number(part), "gain", '""')),
        (row, 3): "=" + _by_layer(plan, lambda part: _single(part, number(part), "shift", '""')),
    }


def _single(part: Part, number: int | None, name: str, without: str) -> str:
    """A bias, gain or shift of the picked channel; ``without`` where the layer has none."""
    weights = part.weights
    if number is None or (number, name) not in weights.singles:
        return without
    return f"INDEX({weights.column((number, name))},{_CHANNEL}*{weights.kernel[0]}+1)"


def _held(part: Part) -> str:
    """The cell itself, on the sheet of its maps."""
    maps = part.maps
    top, left = maps.place(0)
    sheet = span((0, 0), maps.end, maps.sheet)
    if maps.is_row:
        return f"INDEX({sheet},{top + 1},{left + 1}+{_CHANNEL})"
    down, right = maps.pitch
    tile_row = f"INT({_CHANNEL}/{maps.across})"
    return (
        f"INDEX({sheet},{top + 1}+{down}*{tile_row}+{_ROW},"
        f"{left + 1}+{right}*({_CHANNEL}-{maps.across}*{tile_row})+{_COLUMN})"
    )
