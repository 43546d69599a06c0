"""The sheet Predict: type an input, and see formula by formula what the trained network makes of it.

A network of two inputs gets a map as well: what it says of every point of a square, before and after the
training, each cell one formula of the whole network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from xlsxwriter.utility import xl_col_to_name

from gradsheet.backends.workbook_cells import GROUPS, Sheet
from gradsheet.backends.workbook_layout import (
    LONGEST_FORMULA,
    POINTS,
    SAMPLES,
    Plan,
    Trace,
    area,
    cell,
    layer_title,
    sheet_notation,
)
from gradsheet.compiler import Program
from gradsheet.expression import (
    SUMMED_TEXT,
    TEXT,
    Array,
    Expression,
    Reference,
    apply,
    label,
    references,
    render,
    substitute,
)
from gradsheet.network import (
    CLASS_LOSSES,
    Network,
    activation_name,
    bias_names,
    input_name,
    mean_and_deviation,
    of_sample,
    sum_name,
    target_name,
    weight_names,
)

REACH = 1.4
"""The maps reach at least so many times as far as the samples; a step is a round number."""
COLOURS = ("#6BAED6", "#FFFFFF", "#FD8D3C")
"""Of an output that is low, in the middle, high."""
CLASS_COLOURS = ("#9DC3E6", "#A9D18E", "#F8CBAD")
"""Of the first class, the one in the middle, the last."""

Place = tuple[int, int]


@dataclass(frozen=True)
class Shown:
    """A cell that shows a quantity: its place, counted from 0, and its formula."""

    name: str
    row: int
    column: int
    formula: str


@dataclass(frozen=True)
class Map:
    """A square of points; ``template`` holds ``{x}`` and ``{y}`` for the cells of the two inputs.

    ``step`` is the row of the table, counted from 0 or −1 for the last, whose weights it takes. The
    second input stands left of ``column``, from the largest in ``row`` down; the first one below.
    """

    title: str
    step: int
    row: int
    column: int
    template: str

    def formula(self, row: int, column: int) -> str:
        """That of a point, by its number down and to the right."""
        x = f"{xl_col_to_name(self.column + column)}${self.row + POINTS + 1}"
        y = f"${xl_col_to_name(self.column - 1)}{self.row + row + 1}"
        return self.template.replace("{x}", x).replace("{y}", y)


@dataclass(frozen=True)
class Prediction:
    """Where everything stands in the sheet Predict; computed from the plan of the workbook alone."""

    plan: Plan

    INPUT_ROW = 4
    """The row of the first input, counted from 0; the cells are in column 1."""

    @property
    def network(self) -> Network:
        return self.plan.program.network

    @property
    def inputs(self) -> Mapping[str, Place]:
        """The input cells, by the names that the inputs have in the program's first sample."""
        names = [self.named(input_name(k)) for k in range(1, self.network.sizes[0] + 1)]
        return {name: (self.INPUT_ROW + k, 1) for k, name in enumerate(names)}

    @property
    def typed(self) -> tuple[Place, ...]:
        """All input cells: the inputs, and the ranges of the maps."""
        ranges = [(row, column + k) for row, column in self.ranges for k in (0, 1)]
        return (*self.inputs.values(), *(ranges if self.maps else ()))

    def named(self, name: str) -> str:
        """A quantity of the first sample, whose formulas are those of all."""
        return of_sample(name, 1, self.network.slots)

    def seen(self, name: str, typed: str) -> str:
        """What the network sees of an input, where ``typed`` is the cell with the number as it is typed.

        An atom: a cell, or a formula in brackets.
        """
        units = self.units(name)
        return typed if units is None else f"(({typed}-{units[0]})/{units[1]})"

    def in_own_units(self, name: str, formula: str) -> str:
        """An output as its targets were written, where the network sees them standardised."""
        units = self.units(name)
        return formula if units is None else f"({formula})*{units[1]}+{units[0]}"

    def units(self, name: str) -> tuple[str, str] | None:
        """The cells of mean and standard deviation of what is standardised, an input or a target."""
        samples, base = self.plan.samples, name.partition("[")[0]
        if samples is None or base not in samples.centred:
            return None
        rows = (samples.MEAN_ROW, samples.DEVIATION_ROW)
        mean, deviation = (cell(row, samples.written[base], SAMPLES) for row in rows)
        return mean, deviation

    @property
    def predicts_class(self) -> bool:
        return self.network.loss in CLASS_LOSSES

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """What the network answers: shares where the loss is one of classes, else its outputs."""
        if self.network.loss == "softmax_cross_entropy":
            return tuple(self.named(f"p{k}") for k in range(1, self.network.sizes[-1] + 1))
        return tuple(self.sources(len(self.network.layers)))

    @cached_property
    def decisive(self) -> tuple[str, ...]:
        """What the maps show: the first output, or the sums whose largest is that of the class."""
        if not self.predicts_class:
            return self.outputs[:1]
        count, last = self.network.sizes[-1], len(self.network.layers) - 1
        return tuple(self.named(sum_name(self.network, last, k)) for k in range(1, count + 1))

    @property
    def answer_row(self) -> int:
        """The row of the first output."""
        return self.INPUT_ROW + self.network.sizes[0] + 2

    @property
    def class_row(self) -> int:
        """The row of the most probable class, or of the class at 0.5, under the outputs."""
        return self.answer_row + len(self.outputs)

    @property
    def range_row(self) -> int:
        """The row of the first input's range in the maps, from column 1 to column 2."""
        return self.class_row + 3

    @property
    def layers_row(self) -> int:
        return self.range_row + (4 if self.has_two_inputs else 0)

    @property
    def has_two_inputs(self) -> bool:
        return self.network.sizes[0] == 2

    # ------------------------------------------------------------ the forward pass

    def sources(self, layer: int) -> list[str]:
        """What a layer reads; beyond the last layer, the outputs."""
        if layer == 0:
            return list(self.inputs)
        count = self.network.layers[layer - 1].neurons
        return [self.named(activation_name(self.network, layer - 1, k)) for k in range(1, count + 1)]

    def layer_row(self, layer: int) -> int:
        """The row of a layer's title; below it are headers, inputs, neurons, and what a softmax adds."""
        heights = (4 + self.network.layers[k].neurons + len(self.whole_names(k)) for k in range(layer))
        return self.layers_row + sum(heights)

    def neuron_names(self, layer: int, neuron: int) -> list[str]:
        """What a neuron computes, in order; a softmax has a power and a share for each."""
        network, total = self.network, sum_name(self.network, layer, neuron)
        names = [total, f"e_{total}", activation_name(network, layer, neuron)]
        if network.loss == "softmax_cross_entropy" and layer == len(network.layers) - 1:
            names = [total, f"e{neuron}", f"p{neuron}"]
        known = dict.fromkeys(map(self.named, names))
        return [name for name in known if name in self.plan.program]

    def whole_names(self, layer: int) -> list[str]:
        """What a layer computes as a whole: largest sum and sum of powers of a softmax."""
        count = self.network.layers[layer].neurons
        own = {name for k in range(1, count + 1) for name in self.neuron_names(layer, k)}
        forward = self.plan.program.prediction
        return [q.name for q in forward if q.layer == layer and q.name not in own]

    @cached_property
    def shown(self) -> tuple[Shown, ...]:
        """All cells of the forward pass: weights, inputs and results of every layer, and the answer."""
        cells: list[Shown] = []
        places: dict[str, Place] = {}
        # what the next layer reads, and where it stands
        sources = [(name, self.seen(name, cell(*place))) for name, place in self.inputs.items()]
        for layer in range(len(self.network.layers)):
            cells += self._layer(layer, sources, places)
            sources = [(name, cell(*places[name])) for name in self.sources(layer + 1)]
        answers = zip(range(self.answer_row, self.class_row), self.outputs, strict=True)
        cells += [Shown(name, row, 1, f"={cell(*places[name])}") for row, name in answers]
        return tuple(cells)

    def _layer(
        self, layer: int, sources: Sequence[tuple[str, str]], places: dict[str, Place]
    ) -> Iterator[Shown]:
        """The cells of a layer; its results are entered in ``places``."""
        network, table = self.network, self.plan.backprop
        spec, top = network.layers[layer], self.layer_row(layer)
        for column, (name, source) in enumerate(sources, 1):
            yield Shown(name, top + 2, column, f"={source}")
        read = {name: cell(top + 2, column) for column, (name, _) in enumerate(sources, 1)}
        results = spec.fan_in + 1 + bool(spec.biases)
        for neuron in range(1, spec.neurons + 1):
            for column, name in enumerate(self.neuron_names(layer, neuron), results):
                places[name] = (top + 2 + neuron, column)
        for row, name in enumerate(self.whole_names(layer), top + 3 + spec.neurons):
            places[name] = (row, 1)
        for neuron in range(1, spec.neurons + 1):
            row, biases = top + 2 + neuron, bias_names(network)[layer]
            own = [*weight_names(network)[layer][neuron - 1], *biases[neuron - 1 : neuron]]
            for column, name in enumerate(own, 1):
                yield Shown(name, row, column, f"={table.address(name, table.last_row)}")
                read[name] = cell(row, column)
            for name in self.neuron_names(layer, neuron):
                yield self._result(name, places, read)
        for name in self.whole_names(layer):
            yield self._result(name, places, read)

    def _result(self, name: str, places: Mapping[str, Place], read: Mapping[str, str]) -> Shown:
        here = {**{name: cell(*place) for name, place in places.items()}, **read}
        notation = sheet_notation(here.__getitem__, ranges=self.network.is_large)
        expression = self.plan.program[name].expression
        assert expression is not None
        return Shown(name, *places[name], f"={render(expression, notation)}")

    @cached_property
    def width(self) -> int:
        """How many columns the layers take."""
        layers = enumerate(self.network.layers)
        wide = (1 + spec.fan_in + 1 + len(self.neuron_names(k, 1)) for k, spec in layers)
        return max(5, *wide)

    # ------------------------------------------------------------ the maps

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        """Before and after the training; none where a formula would be too long for a cell."""
        if not self.has_two_inputs:
            return ()
        table, found = self.plan.backprop, []
        for title, step, row, number in (
            ("Before: the weights of the first row", 0, table.first_row, 0),
            ("After: the weights of the last row", -1, table.last_row, 1),
        ):
            template = self._template(row)
            if template is None:
                return ()
            column = self.width + 2 + number * (POINTS + 2)
            found.append(Map(title, step, 4, column, template))
        return tuple(found)

    def _template(self, row: int) -> str | None:
        table, program = self.plan.backprop, self.plan.program
        typed = dict(zip(self.inputs, ("{x}", "{y}"), strict=True))

        def reference(name: str) -> str:
            return self.seen(name, typed[name]) if name in typed else table.address(name, row)

        notation = sheet_notation(reference)
        names = self.decisive
        # The count is known before the text is made, which might take gigabytes.
        shortest = len("Backprop!$A$1*")
        if sum(_leaves(program, name, {}) for name in names) * shortest > 2 * LONGEST_FORMULA:
            return None
        texts = [render(_inlined(program, Reference(name)), notation) for name in names]
        answer = self.in_own_units(target_name(1), texts[0])
        formula = "=" + (_largest(texts) if self.predicts_class else answer)
        return formula if len(formula) <= LONGEST_FORMULA - 64 else None

    @property
    def ranges(self) -> tuple[Place, Place]:
        """The cells of the smallest of both inputs in the maps; the largest stand to their right."""
        return (self.range_row, 1), (self.range_row + 1, 1)

    def first_ranges(self) -> list[tuple[float, float]]:
        """The ranges as they are written: the samples and a margin."""
        return [_round_range(min(c), max(c)) for c in zip(*self.network.inputs, strict=True)]

    def axes(self, drawn: Map) -> Iterator[tuple[int, int, int, int, str]]:
        """The cells of the inputs beside a map: which input, which point, row, column and formula."""
        for number, place in enumerate(self.ranges):
            low, high = (f"${xl_col_to_name(place[1] + k)}${place[0] + 1}" for k in (0, 1))
            for point in range(POINTS):
                share = f"{point}*({high}-{low})/{POINTS - 1}"
                if number == 0:
                    yield 0, point, drawn.row + POINTS, drawn.column + point, f"={low}+{share}"
                else:
                    yield 1, point, drawn.row + point, drawn.column - 1, f"={high}-{share}"

    # ------------------------------------------------------------ the samples

    @property
    def samples_row(self) -> int:
        """The row of the first sample in the list beside the maps."""
        return self.layer_row(len(self.network.layers)) + 2

    def sample_formulas(self) -> Iterator[list[str]]:
        """Inputs and target of every sample, as they were written, and the trained answer."""
        count = self.network.sizes[-1] if self.predicts_class else 1
        for sample in range(1, self.network.samples + 1):
            row = self.samples_row + sample - 1
            x, y = (self.written(input_name(k), sample) for k in (1, 2))
            targets = [self.written(target_name(k), sample) for k in range(1, count + 1)]
            target = _largest(targets) if self.predicts_class else targets[0]
            answer = self.maps[-1].template.replace("{x}", cell(row, 1)).replace("{y}", cell(row, 2))
            yield [f"={x}", f"={y}", f"={target}", answer]

    def written(self, name: str, sample: int) -> str:
        """The cell with an input or a target of a sample, as it was written."""
        samples, table = self.plan.samples, self.plan.backprop
        if samples is None:
            return table.address(of_sample(name, sample, self.network.samples), table.first_row)
        return cell(samples.HEADER_ROW + sample, samples.written[name], SAMPLES)


def _round_range(low: float, high: float) -> tuple[float, float]:
    """A range around two numbers, the points of which are multiples of a round step."""
    least = REACH * ((high - low) or 1.0) / (POINTS - 1)
    tens = 10.0 ** math.floor(math.log10(least))
    step = next(tens * digit for digit in (1, 2, 2.5, 5, 10) if tens * digit >= least)
    first = round((low + high) / 2 / step) - (POINTS - 1) // 2
    return float(f"{first * step:.9g}"), float(f"{(first + POINTS - 1) * step:.9g}")


def _largest(texts: Sequence[str]) -> str:
    """The number, from 1, of the largest of some formulas; the first of several."""
    text = str(len(texts))
    for k in reversed(range(len(texts) - 1)):
        text = f"IF({texts[k]}>=MAX({','.join(texts[k + 1 :])}),{k + 1},{text})"
    return text


def _leaves(program: Program, name: str, known: dict[str, int]) -> int:
    """How many names the inlined formula of a quantity would hold."""
    if name not in known:
        inner = program[name].expression
        names = () if inner is None else references(inner)
        known[name] = sum(_leaves(program, other, known) for other in names) or 1
    return known[name]


def _inlined(program: Program, expression: Expression) -> Expression:
    """The formula in inputs and weights alone."""
    inner: dict[Expression, Expression] = {}
    for name in set(references(expression)):
        formula = program[name].expression
        if formula is not None:
            inner[Reference(name)] = _inlined(program, formula)
    return substitute(expression, inner) if inner else expression


# ---------------------------------------------------------------- writing


def write_predict(sheet: Sheet, plan: Plan, trace: Trace) -> None:
    """Write the sheet; the trace holds the values of the forward pass and of the maps."""
    prediction, styles = Prediction(plan), sheet.styles
    network = plan.program.network
    sheet.text(
        0, 0, f"Predict: what the trained network makes of any input: {network.name}", styles.title
    )
    note = "Type an input into the yellow cells. The weights are those of the last row of Backprop."
    sheet.text(1, 0, note, styles.note)
    _write_inputs(sheet, prediction)
    _write_layers(sheet, prediction)
    values = trace.predicted
    for shown in prediction.shown:
        role = plan.program[shown.name].role
        style = styles.number("forward" if role == "loss" else role)
        sheet.formula(shown.row, shown.column, shown.formula, values[shown.name], style)
    _write_answer(sheet, prediction, [values[name] for name in prediction.outputs])
    if prediction.has_two_inputs:
        _write_maps(sheet, prediction, trace)
    last_row = prediction.layer_row(len(network.layers))
    sheet.scientific_where_needed((prediction.layers_row, last_row), (1, prediction.width))
    sheet.scientific_where_needed((prediction.answer_row, prediction.class_row - 1), (1, 1))
    sheet.xlsx.set_column(0, 0, 24)
    sheet.xlsx.set_column(1, prediction.width, 11.5)
    sheet.print_landscape(0, 1)


def _write_inputs(sheet: Sheet, prediction: Prediction) -> None:
    network, styles = prediction.network, sheet.styles
    sheet.text(prediction.INPUT_ROW - 1, 0, "Input", styles.heading)
    for k, (row, column) in enumerate(prediction.inputs.values(), 1):
        name = f": {network.input_names[k - 1]}" if network.input_names else ""
        sheet.text(row, 0, f"{input_name(k)}{name}", styles.label)
        sheet.typed(row, column, network.inputs[0][k - 1])
    sheet.text(prediction.INPUT_ROW, 2, "← type another; here: sample 1", styles.hint)


def _write_answer(sheet: Sheet, prediction: Prediction, values: Sequence[float]) -> None:
    network, styles = prediction.network, sheet.styles
    row, last = prediction.answer_row, prediction.class_row - 1
    sheet.text(row - 1, 0, "Answer", styles.heading)
    names = class_names(network)
    for k, name in enumerate(names):
        sheet.text(row + k, 0, name, styles.label)
    bold = styles(bold=True, font_color=GROUPS["loss"][1], align="right")
    if prediction.predicts_class:
        shares, shown = area(row, 1, last, 1), area(row, 0, last, 0)
        formula = f"=INDEX({shown},MATCH(MAX({shares}),{shares},0))"
        sheet.text(last + 1, 0, "most probable", styles.label)
        largest = max(values)
        best = names[list(values).index(largest)] if largest == largest else "#NUM!"
        sheet.formula(last + 1, 1, formula, best, bold)
    elif network.loss == "binary_cross_entropy":
        sheet.text(row - 1, 2, "class at 0.5", styles.label)
        for k, value in enumerate(values):
            formula = f"=IF({cell(row + k, 1)}>=0.5,1,0)"
            sheet.formula(row + k, 2, formula, float(value >= 0.5), bold)
    elif "targets" in network.standardize:
        sheet.text(row - 1, 2, "as written", styles.label)
        number = styles(bold=True, font_color=GROUPS["loss"][1], num_format="General")
        for k, value in enumerate(values):
            formula = f"={prediction.in_own_units(target_name(k + 1), cell(row + k, 1))}"
            mean, deviation = mean_and_deviation([target[k] for target in network.targets])
            sheet.formula(row + k, 2, formula, value * deviation + mean, number)


def class_names(network: Network) -> tuple[str, ...]:
    """What the outputs are called in the sheet."""
    kind = "class" if network.loss in CLASS_LOSSES else "output"
    return network.output_names or tuple(f"{kind} {k}" for k in range(1, network.sizes[-1] + 1))


def _plain(name: str) -> str:
    """A quantity's label without the number of its sample, for it may be any."""
    return label(name).replace("[1]", "")


_SMALL_HEADER = {
    "bold": True,
    "font_color": "#FFFFFF",
    "align": "center",
    "valign": "vcenter",
    "shrink": True,
}


def _write_layers(sheet: Sheet, prediction: Prediction) -> None:
    network, styles = prediction.network, sheet.styles
    text = SUMMED_TEXT if network.is_large else TEXT
    small = styles(**_SMALL_HEADER, bg_color=GROUPS["forward"][1])
    for layer, spec in enumerate(network.layers):
        top = prediction.layer_row(layer)
        activation = spec.activation.replace("_", " ")
        sheet.text(top, 0, f"{layer_title(network, layer)}: {activation}", styles.heading)
        sheet.text(top + 1, 0, "neuron", styles.header("parameter"))
        headers = {"e": "exp(sum − m)", "p": "power/Z", "a": "power/Z"}
        if spec.activation not in ("identity", "softmax"):
            headers["a"] = render(apply(spec.activation, Reference("sum")), TEXT)
        for column, source in enumerate(prediction.sources(layer), 1):
            sheet.text(top + 1, column, f"from {_plain(source)}", styles.header("parameter"))
        if spec.biases:
            sheet.text(top + 1, spec.fan_in + 1, "bias", styles.header("parameter"))
        sheet.text(top + 2, 0, "what comes in", styles.label)
        results = spec.fan_in + 1 + bool(spec.biases)
        names = prediction.neuron_names(layer, 1)
        for column, name in enumerate(names, results):
            header = headers.get(name[0], "Σ w·x + b" if spec.biases else "Σ w·x")
            sheet.text(top + 1, column, header, small)
        for neuron in range(1, spec.neurons + 1):
            name = prediction.neuron_names(layer, neuron)[0]
            sheet.text(top + 2 + neuron, 0, _plain(name), styles.label)
        for row, name in enumerate(prediction.whole_names(layer), top + 3 + spec.neurons):
            sheet.text(row, 0, _plain(name), styles.label)
            expression = prediction.plan.program[name].expression
            assert expression is not None
            sheet.text(row, 2, f"= {render(expression, text)}".replace("[1]", ""), styles.hint)


def _write_maps(sheet: Sheet, prediction: Prediction, trace: Trace) -> None:
    styles = sheet.styles
    if not prediction.maps:
        sheet.text(
            prediction.range_row - 1,
            0,
            "No map: one formula of the whole network would be longer than the "
            f"{LONGEST_FORMULA:,} characters of a cell.",
            styles.note,
        )
        return
    sheet.text(prediction.range_row - 1, 0, "The maps go", styles.heading)
    for text, column in (("from", 1), ("to", 2)):
        sheet.text(prediction.range_row - 1, column, text, styles(italic=True, align="right"))
    ranges = prediction.first_ranges()
    for k, ((row, column), values) in enumerate(zip(prediction.ranges, ranges, strict=True), 1):
        sheet.text(row, 0, f"{input_name(k)}, {'to the right' if k == 1 else 'upwards'}", styles.label)
        for offset, value in enumerate(values):
            sheet.typed(row, column + offset, value)
    _write_samples(sheet, prediction, trace)
    for drawn, points in zip(prediction.maps, trace.maps, strict=True):
        _write_map(sheet, prediction, drawn, points, ranges)
    for row in range(prediction.maps[0].row, prediction.maps[0].row + POINTS):
        sheet.xlsx.set_row(row, 17.25)
    _write_legend(sheet, prediction)


def _write_map(
    sheet: Sheet,
    prediction: Prediction,
    drawn: Map,
    points: Array,
    ranges: Sequence[tuple[float, float]],
) -> None:
    """A map with its inputs beside it; a point shows a colour only, its number is hidden."""
    styles = sheet.styles
    axis = {"font_size": 7, "num_format": "0.0###", "font_color": "#595959", "shrink": True}
    looks = (styles(**axis, align="center"), styles(**axis, align="right", valign="vcenter"))
    hidden = styles(num_format=";;;", align="center", valign="vcenter", font_size=9, bold=True)
    sheet.text(drawn.row - 2, drawn.column, drawn.title, styles.heading)
    sheet.text(drawn.row - 1, drawn.column, _what_is_shown(prediction), styles.hint)
    for number, point, row, column, formula in prediction.axes(drawn):
        low, high = ranges[number]
        step = point * (high - low) / (POINTS - 1)
        sheet.formula(row, column, formula, (low + step, high - step)[number], looks[number])
    for (row, column), value in np.ndenumerate(points):
        place = (drawn.row + row, drawn.column + column)
        sheet.formula(*place, drawn.formula(row, column), float(value), hidden)
    square = (drawn.row, drawn.column, drawn.row + POINTS - 1, drawn.column + POINTS - 1)
    for condition, mark in _marks(prediction):
        look = styles(num_format=f"{mark};{mark};{mark}")
        rule = {"type": "formula", "criteria": _sample_is_near(prediction, drawn, condition)}
        sheet.xlsx.conditional_format(*square, {**rule, "format": look})
    sheet.xlsx.conditional_format(*square, _colours(prediction))
    sheet.xlsx.set_column(drawn.column - 1, drawn.column - 1, 6)
    sheet.xlsx.set_column(drawn.column, drawn.column + POINTS - 1, 2.6)


def _write_legend(sheet: Sheet, prediction: Prediction) -> None:
    """What the colours stand for, below the first map: in cells with the same colour scale."""
    row, column = prediction.maps[0].row + POINTS + 2, prediction.maps[0].column
    entries = [(bound, f"{bound:.6g}") for bound in _bounds(prediction)]
    look = sheet.styles(num_format=";;;")  # a cell of the map is too narrow for most numbers
    if prediction.predicts_class:
        entries = [(float(k), name) for k, name in enumerate(class_names(prediction.network), 1)]
        look = sheet.styles(num_format="General", align="center", shrink=True)
    for k, (value, name) in enumerate(entries):
        sheet.number(row + k, column, value, look)
        sheet.text(row + k, column + 1, name, sheet.styles.hint)
    last = row + len(entries) - 1
    sheet.xlsx.conditional_format(row, column, last, column, _colours(prediction))


def _what_is_shown(prediction: Prediction) -> str:
    if prediction.predicts_class:
        return "the most probable class; a digit marks a sample of that class"
    name = class_names(prediction.network)[0]
    if prediction.network.loss == "binary_cross_entropy":
        return f"{name}; ● a sample with target 1, ○ one with target 0"
    return f"{name}; ● a sample"


def _bounds(prediction: Prediction) -> tuple[float, float, float]:
    """The values of the three colours: the classes, or what the output can reach or its targets have."""
    network = prediction.network
    targets = [row[0] for row in network.targets]
    known = {"sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0)}
    low, high = min(targets), max(targets)
    if "targets" not in network.standardize:
        low, high = known.get(network.layers[-1].activation, (low, high))
    if prediction.predicts_class:
        low, high = 1.0, float(network.sizes[-1])
    if low == high:
        low, high = low - 1, high + 1
    return low, (low + high) / 2, high


def _colours(prediction: Prediction) -> dict[str, Any]:
    """The colour scale of the maps and of their legend."""
    colours = CLASS_COLOURS if prediction.predicts_class else COLOURS
    scale: dict[str, Any] = {"type": "3_color_scale"}
    ends = zip(("min", "mid", "max"), colours, _bounds(prediction), strict=True)
    for end, colour, bound in ends:
        scale |= {f"{end}_type": "num", f"{end}_color": colour, f"{end}_value": bound}
    return scale


def _marks(prediction: Prediction) -> list[tuple[str, str]]:
    """How samples are marked: a condition on their target, and a number format."""
    if prediction.predicts_class:
        return [(f"={k}", f'"{k}"') for k in range(1, prediction.network.sizes[-1] + 1)]
    if prediction.network.loss == "binary_cross_entropy":
        return [(">=0.5", '"●"'), ("<0.5", '"○"')]
    return [("", '"●"')]


def _sample_is_near(prediction: Prediction, drawn: Map, condition: str) -> str:
    """Whether the point is the nearest to a sample, of targets that meet the condition."""
    first, last = prediction.samples_row, prediction.samples_row + prediction.network.samples - 1
    x = f"{xl_col_to_name(drawn.column)}${drawn.row + POINTS + 1}"
    y = f"${xl_col_to_name(drawn.column - 1)}{drawn.row + 1}"
    tests = []
    for point, column, place in ((x, 1, prediction.ranges[0]), (y, 2, prediction.ranges[1])):
        samples = area(first, column, last, column)
        low, high = (f"${xl_col_to_name(place[1] + k)}${place[0] + 1}" for k in (0, 1))
        half = f"({high}-{low})/{2 * (POINTS - 1)}"
        tests += [f'{samples},">="&({point}-{half})', f'{samples},"<"&({point}+{half})']
    if condition:
        tests.append(f'{area(first, 3, last, 3)},"{condition}"')
    return f"=COUNTIFS({','.join(tests)})>0"


def _write_samples(sheet: Sheet, prediction: Prediction, trace: Trace) -> None:
    """The samples, with what they should give and what the trained network makes of them."""
    styles, top = sheet.styles, prediction.samples_row
    what = " (number of the class)" if prediction.predicts_class else ""
    sheet.text(top - 2, 0, f"Samples{what}", styles.heading)
    headers = ("sample", input_name(1), input_name(2), target_name(1), "answer")
    for column, header in enumerate(headers):
        role = "data" if column < 4 else "forward"
        sheet.text(top - 1, column, "target" if column == 3 else header, styles.header(role))
    # not "General": LibreOffice puts the format of the cell that a formula reads in its place
    written = {
        role: styles(num_format="0.0####", bg_color=GROUPS[role][2]) for role in ("data", "forward")
    }
    in_units = prediction.units(target_name(1)) is not None
    answer = written["forward"] if in_units else styles.number("forward")
    formulas = prediction.sample_formulas()
    for sample, (texts, values) in enumerate(zip(formulas, trace.sampled, strict=True), 1):
        row = top + sample - 1
        sheet.text(row, 0, str(sample), styles(align="center"))
        for column, formula in enumerate(texts, 1):
            style = answer if column == 4 else written["data"]
            if column > 2 and prediction.predicts_class:
                style = styles(num_format="0", bg_color=GROUPS["data" if column == 3 else "forward"][2])
            sheet.formula(row, column, formula, values[column - 1], style)
    corner, last = cell(top, 1), top + prediction.network.samples - 1
    large = f"=AND(ABS({corner})>=1000,ABS({corner})<1000000000)"
    rule = {"type": "formula", "criteria": large, "format": styles(num_format="0.0")}
    sheet.xlsx.conditional_format(top, 1, last, 4, rule)
    sheet.scientific_where_needed((top, last), (1, 4))
