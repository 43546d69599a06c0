"""Back-propagation sheets as students make them by hand, right or with one planted mistake.

`build` writes such a workbook and returns the `Truth` about it: where everything stands, and which cells
are wrong. Nothing here comes from gradsheet: the formulas are text templates as a student would type
them, so that `gradsheet check` can be judged by a source that shares no code with it. In a template
``{h1}`` is the cell of h1 in the same iteration, ``{-h1}`` in the one before, ``{+h1}`` in the next, and
``{~i1}`` the reference without ``$`` that slides when the formula is filled down.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import ironcalc
import xlsxwriter
from hypothesis import strategies as st
from xlsxwriter.utility import xl_col_to_name

# ---------------------------------------------------------------- what a sheet can look like


@dataclass(frozen=True)
class Activation:
    """One way to type an activation; an inexact one is right only to about 1e-9."""

    kind: str
    formula: str
    exact: bool = True


ACTIVATIONS: Mapping[str, Activation] = {
    "sigmoid": Activation("sigmoid", "1/(1+EXP(-{x}))"),
    "sigmoid, -1*": Activation("sigmoid", "(1/(1+EXP(-1*{x})))"),
    "sigmoid, EXP/(1+EXP)": Activation("sigmoid", "EXP({x})/(1+EXP({x}))"),
    "sigmoid, power": Activation("sigmoid", "(1+EXP(-{x}))^(-1)"),
    "sigmoid, 2.718281828": Activation("sigmoid", "1/(1+2.718281828^(-{x}))", exact=False),
    "tanh": Activation("tanh", "TANH({x})"),
    "tanh, EXP": Activation("tanh", "(EXP({x})-EXP(-{x}))/(EXP({x})+EXP(-{x}))"),
    "tanh, 2/(1+EXP)-1": Activation("tanh", "2/(1+EXP(-2*{x}))-1"),
    "relu": Activation("relu", "MAX(0,{x})"),
    "relu, IF": Activation("relu", "IF({x}>0,{x},0)"),
    "identity": Activation("identity", ""),  # has no column of its own
}
SLOPES: Mapping[str, tuple[str, ...]] = {
    "sigmoid": ("{a}*(1-{a})", "({a}-{a}^2)", "EXP(-{x})/(1+EXP(-{x}))^2"),
    "tanh": ("(1-{a}^2)", "(1-{a})*(1+{a})", "(1-TANH({x})^2)"),
    "relu": ("IF({x}>0,1,0)", "IF({a}>0,1,0)", "IF({x}<=0,0,1)"),
    "identity": ("", "", ""),
}
LOSSES = ("half sum", "sum", "mean", "half mean")  # of squared differences, over the outputs
BIASES = ("none", "each", "shared")  # no column; one a neuron; one a layer
NUMBERINGS = ("by neuron", "by source")  # h1 = w1 i1 + w2 i2; h1 = w1 i1 + w3 i2
ORDERS = ("course", "interleaved", "reversed", "gradients first", "weights first")
SUMS = ("{x}*{w}", "{w}*{x}", "({x}*{w})", "SUMPRODUCT")
RATES = ("left", "far left", "above", "beside", "name", "typed", "column")
DATA = ("constants", "row above", "absolute", "cells", "typed", "drift", "samples")
GRADIENTS = ("chain", "deltas", "bare deltas", "reuse")
UPDATES = ("next row", "same row", "beside gradient")  # the last two in columns of their own
JUNK = ("title", "merged", "formulas", "pairs", "block", "table of names", "loss again")

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "gradient": (
        "∂E/∂{}", "∂E_total/∂{}", "∂E_t/∂{}", "∂E∂{}", "E∂{}", "δE_tot/δ{}", "δE_total/δ{}",
        "\U0001d7c3E/\U0001d7c3{}", "dE_total / d{}", "Etotald{}", "d{}", "dE/d{}", "Ed{}",
    ),
    "activation": ("a_{}", "out_{}", "act_{}", "a{}", "out {}"),
    "loss": ("E{}", "e{}", "E_{}"),
    "total": ("E_tot", "E_total", "Etotal", "E_TOTAL", "E_Total", "E"),
    "join": ("", "_", " ", "subscript"),  # w1, w_1, w 1, w₁
    "case": ("", "upper", "weights", "outputs"),  # as is; all; only W1; only a_O1
    "rate": (
        "η", "η = ", "ƞ", "ͷ", "α", "eta", "n", "LR", "L.R", "lr =", "learning rate",
        "learningRate=", "Learning Rate:", "learning rate:  η = ", "learn", "h",
    ),
    "step": ("Step", "Iteration", "iter", "#", "epoch"),
    "new": ("{} new", "new {}", "{}_new", "{}'", "updated {}"),
    "delta": ("δ_{}", "δ{}", "delta_{}", "delta {}"),
}  # fmt: skip


@dataclass(frozen=True)
class Spelling:
    """How the sheet labels things; every field is one of the choices above."""

    gradient: str = "∂E/∂{}"
    activation: str = "a_{}"
    loss: str = "E{}"
    total: str = "E_total"
    join: str = ""
    case: str = ""
    look_alikes: bool = False  # Cyrillic letters that look like the Latin ones
    rate: str = "η = "
    step: str = "Step"
    new: str = "{} new"
    delta: str = "δ_{}"

    def label(self, name: str) -> str:
        """The header of a column, from its name in `Truth.columns`."""
        if name == "step":
            return self.step
        if name == "learning rate":
            return self.rate
        if name == "E_total":
            return self._letters(self.total)
        if name.startswith("dE/d"):
            text = self.gradient if name[4] in "wb" else self.delta
            return self._letters(text.format(self._symbol(name.removeprefix("dE/d"))))
        if name.endswith(" new"):
            return self._letters(self.new.format(self._symbol(name.removesuffix(" new"))))
        if name.startswith("a_"):
            return self._letters(self.activation.format(self._symbol(name.removeprefix("a_"))))
        if name.startswith("E"):
            return self._letters(self.loss.format(name[1:]))
        return self._letters(self._symbol(name))

    def _symbol(self, name: str) -> str:
        letter, number = name[0], name[1:]
        if letter in {"weights": "wb", "outputs": "o"}.get(self.case, ""):
            letter = letter.upper()
        if self.join == "subscript":
            return letter + number.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
        return letter + self.join + number

    def _letters(self, text: str) -> str:
        text = text.upper() if self.case == "upper" else text
        return text.translate(str.maketrans("aoEicx", "аоЕісх")) if self.look_alikes else text


@dataclass(frozen=True)
class Sheet:
    """A hand-made workbook: the network, how its formulas are typed, and where everything stands.

    ``sizes`` counts inputs, hidden neurons and outputs; ``activations`` and ``biases`` have one entry
    per layer of weights. ``header_row`` and ``first_column`` (from 1) are the least: what stands
    above or beside the table may need more room. ``learning_rates`` has one value per sheet.
    """

    sizes: tuple[int, ...] = (2, 2, 2)
    activations: tuple[str, ...] = ("sigmoid", "sigmoid")
    biases: tuple[str, ...] = ("none", "none")
    loss: str = "half sum"
    seed: int = 0  # of the initial weights and the data
    learning_rates: tuple[float, ...] = (0.5,)
    rows: int = 10  # complete iterations
    tail: bool = False  # a last row with the updated weights only
    # how it is typed
    numbering: str = "by neuron"
    sums: str = "{x}*{w}"
    half: str = "0.5*{}"  # or 1/2*{} or {}/2
    power: str = "({}-{})^2"  # or POWER({}-{},2)
    gradients: str = "chain"
    slope: int = 0  # which of SLOPES
    minus: bool = False  # -(t-a) for (a-t)
    backwards: bool = False  # the factors of a product in the other order
    spaces: bool = False
    updates: str = "next row"
    data: str = "constants"
    rate: str = "left"
    dollars: str = "$C$R"  # or C$R
    split_loss: bool = True  # E1, E2 have columns; else only E_total
    pasted: int | None = None  # all values, rounded to so many significant digits
    # where it stands
    order: str = "course"
    descending: bool = False  # w4, w3, w2, w1
    inputs_first: bool = False
    header_row: int = 3
    first_column: int = 1
    steps: bool = False
    gap: int = 0  # blank columns between groups
    block_column: int = 4  # of the learning rate and the data above the table, from its first column
    block_gap: int = 0  # blank rows between these and the table
    junk: tuple[str, ...] = ()
    transposed: bool = False  # an iteration a column
    rate_in_name: bool = False  # of the sheet
    spelling: Spelling = Spelling()

    @property
    def exact(self) -> bool:
        return all(ACTIVATIONS[name].exact for name in self.activations)

    @property
    def layers(self) -> range:
        return range(len(self.sizes) - 1)

    @property
    def last(self) -> int:
        return len(self.sizes) - 2

    def kind(self, layer: int) -> str:
        return ACTIVATIONS[self.activations[layer]].kind

    def neurons(self, layer: int) -> range:
        """Of a layer, from 1."""
        return range(1, self.sizes[layer + 1] + 1)

    def sources(self, layer: int) -> range:
        return range(1, self.sizes[layer] + 1)

    def sum(self, layer: int, neuron: int) -> str:
        """``h1`` (``h2_1`` where there are two hidden layers) or ``o1``."""
        if layer == self.last:
            return f"o{neuron}"
        return f"h{layer + 1}_{neuron}" if self.last > 1 else f"h{neuron}"

    def output(self, layer: int, neuron: int) -> str:
        name = self.sum(layer, neuron)
        return name if self.kind(layer) == "identity" else f"a_{name}"

    def source(self, layer: int, source: int) -> str:
        return self.output(layer - 1, source) if layer else f"i{source}"

    def weight(self, layer: int, neuron: int, source: int) -> str:
        before = sum(self.sizes[k] * self.sizes[k + 1] for k in range(layer))
        if self.numbering == "by neuron":
            return f"w{before + (neuron - 1) * self.sizes[layer] + source}"
        return f"w{before + (source - 1) * self.sizes[layer + 1] + neuron}"

    def bias(self, layer: int, neuron: int) -> str | None:
        counts = [
            {"none": 0, "each": self.sizes[k + 1], "shared": 1}[self.biases[k]] for k in self.layers
        ]
        if not counts[layer]:
            return None
        return f"b{sum(counts[:layer]) + (neuron if self.biases[layer] == 'each' else 1)}"

    def weights_of(self, layer: int) -> list[str]:
        names = [self.weight(layer, j, k) for j in self.neurons(layer) for k in self.sources(layer)]
        return sorted(names, key=_number)

    def biases_of(self, layer: int) -> list[str]:
        names = [self.bias(layer, j) for j in self.neurons(layer)]
        return list(dict.fromkeys(name for name in names if name))

    @cached_property
    def parameters(self) -> list[str]:
        return [name for k in self.layers for name in (*self.weights_of(k), *self.biases_of(k))]

    @cached_property
    def data_names(self) -> list[str]:
        targets = [f"t{k}" for k in self.neurons(self.last)]
        inputs = [f"i{k}" for k in self.sources(0)]
        return inputs + targets if self.inputs_first else targets + inputs

    @property
    def updated_in(self) -> str:
        """The name of the column in which ``{}`` is updated."""
        return "{}" if self.updates == "next row" else "{} new"

    @property
    def first_update(self) -> int:
        """The iteration whose row holds the first updated weight."""
        return 1 if self.updates == "next row" else 0

    @cached_property
    def initial(self) -> Mapping[str, float]:
        """The weights and biases of the first row, and the data."""
        draw = random.Random(self.seed)
        values = {name: draw.choice((1, 1, -1)) * draw.randint(5, 95) / 100 for name in self.parameters}
        return values | {
            name: draw.randint(1, 99) / 100 * (1 if name[0] == "t" else draw.choice((1, 1, -1)))
            for name in self.data_names
        }

    def datum(self, name: str, iteration: int) -> float:
        """The value of an input or target."""
        value = self.initial[name]
        if self.data == "drift" and name == self.data_names[-1]:
            return value + 1e-15 * iteration
        if self.data == "samples":  # as for XOR: all patterns of 0 and 1, in turn
            pattern = iteration % 2 ** self.sizes[0]
            bits = [pattern >> k & 1 for k in range(self.sizes[0])]
            return float(bits[int(name[1:]) - 1] if name[0] == "i" else sum(bits) == 1)
        return value


def _number(name: str) -> int:
    return int(re.sub(r"\D", "", name))


# ---------------------------------------------------------------- formulas


def _product(*factors: str) -> str:
    parts = [factor for factor in factors if factor]
    return "*".join(f"({part})" if k and part.startswith("-") else part for k, part in enumerate(parts))


def _sum(terms: list[str]) -> str:
    return "+".join(f"({term})" if k and term.startswith("-") else term for k, term in enumerate(terms))


class Formulas:
    """The templates of a right sheet; the keyword arguments of its methods are where slips happen."""

    def __init__(self, sheet: Sheet):
        self.sheet = sheet

    def product(self, *factors: str) -> str:
        return _product(*(reversed(factors) if self.sheet.backwards else factors))

    def weighted_sum(self, layer: int, neuron: int, weights: Mapping[int, str] | None = None) -> str:
        sheet = self.sheet
        names = {k: sheet.weight(layer, neuron, k) for k in sheet.sources(layer)} | dict(weights or {})
        form = SUMS[0] if sheet.sums == "SUMPRODUCT" else sheet.sums
        terms = [
            form.format(x=f"{{{sheet.source(layer, k)}}}", w=f"{{{name}}}") for k, name in names.items()
        ]
        text = "+".join(terms)
        sources = [sheet.source(layer, k) for k in sheet.sources(layer)]
        if sheet.sums == "SUMPRODUCT" and _side_by_side(sheet, sources, list(names.values())):
            ranges = (f"{{{each[0]}}}:{{{each[-1]}}}" for each in (sources, list(names.values())))
            text = f"SUMPRODUCT({','.join(ranges)})"
        bias = sheet.bias(layer, neuron)
        return f"{text}+{{{bias}}}" if bias else text

    def activation(self, layer: int, neuron: int) -> str:
        formula = ACTIVATIONS[self.sheet.activations[layer]].formula
        return formula.format(x=f"{{{self.sheet.sum(layer, neuron)}}}")

    def loss(self, neuron: int, square: str = "") -> str:
        output = self.sheet.output(self.sheet.last, neuron)
        square = square or self.sheet.power.format(f"{{t{neuron}}}", f"{{{output}}}")
        return self.sheet.half.format(square) if "half" in self.sheet.loss else square

    def total_loss(self, outputs: list[int] | None = None) -> str:
        count = self.sheet.sizes[-1]
        outputs = outputs or list(self.sheet.neurons(self.sheet.last))
        text = _sum([f"{{E{k}}}" if self.sheet.split_loss else self.loss(k) for k in outputs])
        return f"({text})/{count}" if "mean" in self.sheet.loss and count > 1 else text

    def difference(self, neuron: int) -> str:
        target, output = f"{{t{neuron}}}", f"{{{self.sheet.output(self.sheet.last, neuron)}}}"
        return f"-({target}-{output})" if self.sheet.minus else f"({output}-{target})"

    def coefficient(self) -> str:
        above = 1 if "half" in self.sheet.loss else 2
        below = self.sheet.sizes[-1] if "mean" in self.sheet.loss else 1
        if above == below:
            return ""
        return f"{above}" if below == 1 else f"{above}/{below}"

    def slope(self, layer: int, neuron: int) -> str:
        form = SLOPES[self.sheet.kind(layer)][self.sheet.slope]
        output, total = self.sheet.output(layer, neuron), self.sheet.sum(layer, neuron)
        return form.format(a=f"{{{output}}}", x=f"{{{total}}}")

    def delta(
        self,
        layer: int,
        neuron: int,
        *,
        slope: str | None = None,
        difference: str | None = None,
        weights: Mapping[int, str] | None = None,
        brackets: bool = True,
    ) -> str:
        """∂E/∂h of a neuron, all in one formula or from the δ columns of the layer behind."""
        slope = self.slope(layer, neuron) if slope is None else slope
        if layer == self.sheet.last:
            return self.product(self.coefficient(), difference or self.difference(neuron), slope)
        terms = []
        for k in self.sheet.neurons(layer + 1):
            name = weights[k] if weights else f"{{{self.sheet.weight(layer + 1, k, neuron)}}}"
            terms.append(self.product(self.signal(layer + 1, k), name))
        together = _sum(terms)
        if brackets and (len(terms) > 1 or self.sheet.minus):
            together = f"({together})"
        return self.product(together, slope)

    def signal(self, layer: int, neuron: int) -> str:
        if "deltas" in self.sheet.gradients:
            return f"{{dE/d{self.sheet.sum(layer, neuron)}}}"
        return self.delta(layer, neuron)

    def gradient(self, layer: int, neuron: int, source: int | None, signal: str = "") -> str:
        """Of a weight, or of the bias where ``source`` is None."""
        sheet = self.sheet
        if source is None:
            if sheet.biases[layer] == "each":
                return signal or self.signal(layer, neuron)
            return _sum([self.signal(layer, k) for k in sheet.neurons(layer)])
        factor = f"{{{sheet.source(layer, source)}}}"
        if sheet.gradients == "reuse" and not signal:
            if sheet.biases[layer] == "each":
                signal = f"{{dE/d{sheet.bias(layer, neuron)}}}"
            elif layer == 0 and source > 1 and sheet.data != "samples":
                return f"{{dE/d{sheet.weight(0, neuron, 1)}}}/{{i1}}*{factor}"
        return self.product(signal or self.signal(layer, neuron), factor)

    def update(self, name: str, gradient: str = "", sign: str = "-", rate: str = "") -> str:
        """A weight's new value."""
        before = "-" if self.sheet.updates == "next row" else ""
        rate = rate or (f"{{{before}learning rate}}" if self.sheet.rate == "column" else "{rate}")
        gradient = f"{{{before}dE/d{gradient or name}}}"
        step = f"{gradient}*{rate}" if self.sheet.backwards else f"{rate}*{gradient}"
        return f"{{{before}{name}}}{sign}{step}"

    def all(self) -> dict[str, str]:
        """The template of every column, as it stands in a row that is not the first."""
        sheet, found = self.sheet, {}
        for layer in sheet.layers:
            for j in sheet.neurons(layer):
                found[sheet.sum(layer, j)] = self.weighted_sum(layer, j)
                if sheet.kind(layer) != "identity":
                    found[sheet.output(layer, j)] = self.activation(layer, j)
                if "deltas" in sheet.gradients:
                    found[f"dE/d{sheet.sum(layer, j)}"] = self.delta(layer, j)
                for k in sheet.sources(layer):
                    found[f"dE/d{sheet.weight(layer, j, k)}"] = self.gradient(layer, j, k)
                if bias := sheet.bias(layer, j):
                    found[f"dE/d{bias}"] = self.gradient(layer, j, None)
        if sheet.split_loss:
            found |= {f"E{k}": self.loss(k) for k in sheet.neurons(sheet.last)}
        found["E_total"] = self.total_loss()
        for name in sheet.parameters:
            found[sheet.updated_in.format(name)] = self.update(name)
            if sheet.updates != "next row":
                found[name] = f"{{-{name} new}}"
        return found


# ---------------------------------------------------------------- places


def column_order(sheet: Sheet) -> list[str | None]:
    """The table's columns from left to right; None is a blank one."""

    def turned(names: list[str]) -> list[str]:
        return names[::-1] if sheet.descending else names

    def news(names: list[str]) -> list[str]:
        return [f"{name} new" for name in names]

    parameters: list[list[str]] = []
    passes: list[list[str]] = []
    forward: list[list[str]] = []
    for layer in sheet.layers:
        parameters.append(turned(sheet.weights_of(layer)) + sheet.biases_of(layer))
        sums = [sheet.sum(layer, j) for j in sheet.neurons(layer)]
        outputs = [sheet.output(layer, j) for j in sheet.neurons(layer)]
        both = [list(dict.fromkeys(pair)) for pair in zip(sums, outputs, strict=True)]
        passes.append([name for pair in both for name in pair])
        if sheet.order == "interleaved" and sheet.numbering == "by neuron":
            mixed = []
            for j, pair in zip(sheet.neurons(layer), both, strict=True):
                mixed += turned([sheet.weight(layer, j, k) for k in sheet.sources(layer)]) + pair
            forward.append(sheet.biases_of(layer) + mixed)
        else:
            forward += [parameters[-1], passes[-1]]
    losses = [f"E{k}" for k in sheet.neurons(sheet.last)] if sheet.split_loss else []
    deltas = [f"dE/d{sheet.sum(k, j)}" for k in reversed(sheet.layers) for j in sheet.neurons(k)]
    trained = turned(sorted((name for name in sheet.parameters if name[0] == "w"), key=_number))
    trained += [name for name in sheet.parameters if name[0] == "b"]
    gradients = [f"dE/d{name}" for name in trained]
    if sheet.updates == "beside gradient":
        gradients = [each for name in trained for each in (f"dE/d{name}", f"{name} new")]
    data = [] if sheet.data == "cells" else sheet.data_names
    start = ["step"] * sheet.steps + ["learning rate"] * (sheet.rate == "column")
    back = [deltas if "deltas" in sheet.gradients else [], gradients]
    end = [news(trained)] if sheet.updates == "same row" else []
    if sheet.order == "gradients first":
        groups = [start, *back[::-1], data, *forward, [*losses, "E_total"], *end]
    elif sheet.order == "weights first":
        groups = [start, *parameters, data, *passes, [*losses, "E_total"], *back, *end]
    else:
        groups = [start, data, *forward, [*losses, "E_total"], *back, *end]
        if sheet.order == "reversed":
            groups = [group[::-1] for group in reversed(groups)]
    columns: list[str | None] = []
    for group in filter(None, groups):
        columns += [None] * (sheet.gap if columns else 0) + list(group)
    return columns


def _side_by_side(sheet: Sheet, *groups: list[str]) -> bool:
    columns = column_order(sheet)
    return all(
        name in columns and columns.index(name) == columns.index(names[0]) + k
        for names in groups
        for k, name in enumerate(names)
    )


def _a1(row: int, column: int, row_fixed: bool = False, column_fixed: bool = False) -> str:
    return f"{'$' * column_fixed}{_letters(column)}{'$' * row_fixed}{row + 1}"


@cache
def _letters(column: int) -> str:
    return str(xl_col_to_name(column))


class Formula(str):
    """A cell's text that begins with ``=``."""


Place = tuple[int, int]  # row and column, from 0
Cells = dict[Place, str | float]  # `Formula`, or text, or number


class Layout:
    """Where everything of one sheet stands."""

    def __init__(self, sheet: Sheet, rate: float, wrong_text: tuple[str, str] = ("", "")):
        self.sheet = sheet
        self.columns = column_order(sheet)
        self.left = max(sheet.first_column - 1, 3 if "pairs" in sheet.junk else 0)
        self.fixed: Cells = {}
        self.merged: list[tuple[int, int, int]] = []
        self.single: dict[str, Place] = {}  # quantities that have one cell
        self.text_cell: Place | None = None
        label = sheet.spelling.label
        at = self.left + sheet.block_column

        junk: Cells = {}
        used = 0
        if "title" in sheet.junk:
            junk[used, 0] = "Back propagation, worked by hand"
            used += 1
        if "merged" in sheet.junk:
            junk[used, self.left] = "Training a small neural network"
            self.merged.append((used, self.left, self.left + 6))
            used += 1
        if "formulas" in sheet.junk:
            lines = list(formula_texts(sheet).items())
            for k, (name, line) in enumerate(lines):
                place = used + k // 2, self.left + (8 if k % 2 else 1)
                junk[place] = wrong_text[1] if name == wrong_text[0] else line
                if name == wrong_text[0]:
                    self.text_cell = place
            used += (len(lines) + 1) // 2
        if "block" in sheet.junk:
            pairs = [f" {name} = {sheet.initial[name]:g}" for name in sheet.parameters]
            junk[used, self.left + 2] = "\n".join(["Network", *pairs])
            used += 1
        if "table of names" in sheet.junk:  # a second row of labels, with numbers below
            for k, name in enumerate(sheet.data_names):
                junk[used, self.left + 1 + k] = label(name)
                junk[used + 1, self.left + 1 + k] = sheet.datum(name, 0)
            used += 3
        below: Cells = {}  # what stands right above the table
        height = 0
        if sheet.data == "absolute":
            for k, name in enumerate(sheet.data_names):
                below |= {(height + k, at): label(name), (height + k, at + 1): sheet.datum(name, 0)}
                self.single[f"{name} cell"] = height + k, at + 1
            height += len(sheet.data_names) + 1
        if sheet.data == "cells":
            for k, name in enumerate(sheet.data_names):
                below |= {(height, at + k): label(name), (height + 1, at + k): sheet.datum(name, 0)}
                self.single[name] = height + 1, at + k
            height += 3
        rate_label = sheet.spelling.rate
        if sheet.rate in ("left", "far left", "name"):
            value = height, at + (2 if sheet.rate == "far left" else 1)
            below |= {(height, at): rate_label, value: rate}
            self.single["rate"] = value
            height += 1
        if sheet.rate == "above":
            below |= {(height, at): rate_label, (height + 1, at): rate}
            self.single["rate"] = height + 1, at
            height += 2
        height += sheet.block_gap if height else 0
        self.top = max(sheet.header_row - 1, used + height + (1 if used or height else 0))
        lift = self.top - height
        self.fixed |= junk | {(row + lift, column): text for (row, column), text in below.items()}
        self.single = {name: (row + lift, column) for name, (row, column) in self.single.items()}
        if sheet.rate == "beside":
            row, column = self.top + 1, self.left + len(self.columns) + 2
            if sheet.transposed:
                row, column = self.top + len(self.columns) + 1, self.left
            self.fixed |= {(row, column): rate_label, (row, column + 1): rate}
            self.single["rate"] = row, column + 1
        if "pairs" in sheet.junk:  # such as "i1 | 0.05", beginning in the header's row
            for k, name in enumerate((*sheet.data_names, *sheet.parameters)):
                self.fixed[self.top + k, 0] = label(name)
                self.fixed[self.top + k, 1] = sheet.initial[name]
        for k, column_name in enumerate(self.columns):
            bare = sheet.gradients == "bare deltas" and re.match("dE/d[ho]", column_name or "")
            if column_name and not bare:
                self.fixed[self._place(k, -1)] = label(column_name)

    def _place(self, position: int, iteration: int) -> Place:
        if self.sheet.transposed:
            return self.top + position, self.left + 1 + iteration
        return self.top + 1 + iteration, self.left + position

    def cell(self, name: str, iteration: int) -> Place:
        return self._place(self.columns.index(name), iteration)

    def column(self, name: str) -> str:
        """Its letters; in a transposed sheet the number of its row; the address of a single cell."""
        if name in self.single:
            return _a1(*self.single[name])
        row, column = self.cell(name, 0)
        return str(row + 1) if self.sheet.transposed else _letters(column)

    def slide(self, name: str, steps: int) -> Place:
        row, column = self.single[name]
        return (row, column + steps) if self.sheet.transposed else (row + steps, column)

    def slides_over_text(self, name: str) -> bool:
        """Whether a reference without ``$`` would meet text when it is filled down."""
        path = (self.fixed.get(self.slide(name, k), 0) for k in range(self.sheet.rows + 2))
        return any(isinstance(each, str) for each in path)

    def render(self, template: str, iteration: int, rate: str) -> str:
        """The formula of a template in one iteration; ``rate`` is how the learning rate is typed."""

        def reference(match: re.Match[str]) -> str:
            marks, name = match.groups()
            if marks == "~":
                steps = iteration - (self.sheet.first_update if name == "rate" else 0)
                return _a1(*self.slide(name, steps))
            if name == "rate":
                return rate
            if name in self.single:
                return self.absolute(name)
            shift = marks.count("+") - marks.count("-")
            return _a1(*self.cell(name, iteration + shift))

        text = re.sub(r"\{([-+~]*)([^{}]+)\}", reference, template)
        if self.sheet.spaces:
            text = " " + re.sub(r"([*+])", r" \1 ", text)
        return "=" + text

    def absolute(self, name: str) -> str:
        every, across = self.sheet.dollars == "$C$R", self.sheet.transposed
        return _a1(*self.single[name], every or not across, every or across)


def formula_texts(sheet: Sheet) -> dict[str, str]:
    """What students note above the table, in words of the network: ``h1 = w1*i1 + w2*i2``."""
    found = {}
    for layer in sheet.layers:
        for j in sheet.neurons(layer):
            terms = [
                f"{sheet.weight(layer, j, k)}*{sheet.source(layer, k)}" for k in sheet.sources(layer)
            ]
            bias = sheet.bias(layer, j)
            name = sheet.sum(layer, j)
            found[name] = f"{name} = {' + '.join([*terms, *([bias] if bias else [])])}"
            if sheet.kind(layer) == "sigmoid":
                found[f"a_{name}"] = f"a_{name} = σ({name}) = 1/(1+exp(-{name}))"
    return found


# ---------------------------------------------------------------- mistakes


@dataclass(frozen=True)
class Mistake:
    """What a student got wrong: ``planted`` pairs the names of columns with the wrong templates.

    A template that begins with ``=`` is a number, typed without it. ``iterations`` (from 0) are the rows
    it is planted in; None is all that hold a formula. ``text`` is the name and the wrong line of a
    formula text, and ``sheet_name`` a name with another learning rate.
    """

    cause: str
    planted: tuple[tuple[str, str], ...] = ()
    iterations: tuple[int, ...] | None = None
    text: tuple[str, str] = ("", "")
    sheet_name: str = ""

    @property
    def numbers_stay(self) -> bool:
        return not self.planted


def _others(numbers: range, one: int) -> list[int]:
    return [number for number in numbers if number != one]


def _planted_delta(sheet: Sheet, layer: int, neuron: int, **slip: Any) -> Iterator[tuple[str, str]]:
    """A wrong δ: its own column, or every gradient formula of the neuron that holds it."""
    wrong = Formulas(sheet).delta(layer, neuron, **slip)
    if "deltas" in sheet.gradients:
        yield f"dE/d{sheet.sum(layer, neuron)}", wrong
        return
    for k in sheet.sources(layer):
        name = f"dE/d{sheet.weight(layer, neuron, k)}"
        yield name, Formulas(sheet).gradient(layer, neuron, k, signal=wrong)


def _wrong_slope(sheet: Sheet) -> Iterator[Mistake]:
    formulas = Formulas(sheet)
    for layer in sheet.layers:
        if sheet.kind(layer) == "identity":
            continue
        for j in sheet.neurons(layer):
            for other in _others(sheet.neurons(layer), j):
                planted = _planted_delta(sheet, layer, j, slope=formulas.slope(layer, other))
                yield Mistake("wrong neuron's slope", tuple(planted))


def _wrong_pairing(sheet: Sheet) -> Iterator[Mistake]:
    for layer in range(sheet.last):
        here, behind = sheet.neurons(layer), sheet.neurons(layer + 1)
        if len(behind) < 2:
            continue
        for j in here:
            if j <= len(behind) <= len(here):  # w5, w6 for w5, w7
                weights = {k: f"{{{sheet.weight(layer + 1, j, k)}}}" for k in behind}
                planted = _planted_delta(sheet, layer, j, weights=weights)
                yield Mistake("wrong pairing of weights", tuple(planted))


def _missing_brackets(sheet: Sheet) -> Iterator[Mistake]:
    formulas = Formulas(sheet)
    for layer in range(sheet.last):
        if len(sheet.neurons(layer + 1)) > 1 and not sheet.minus:
            for j in sheet.neurons(layer):
                planted = _planted_delta(sheet, layer, j, brackets=False)
                yield Mistake("missing brackets", tuple(planted))
    for j in sheet.neurons(sheet.last):
        output = sheet.output(sheet.last, j)
        bare = f"{{{output}}}-{{t{j}}}"
        wrongs = dict(_planted_delta(sheet, sheet.last, j, difference=bare))
        if bare not in wrongs.values():
            yield Mistake("missing brackets", tuple(wrongs.items()))
        if sheet.split_loss:
            wrong = formulas.loss(j, f"{{t{j}}}-{{{output}}}^2")
            yield Mistake("missing brackets", ((f"E{j}", wrong),))
    for layer in sheet.layers:
        if sheet.activations[layer] == "sigmoid":
            for j in sheet.neurons(layer):
                wrong = f"1/1+EXP(-{{{sheet.sum(layer, j)}}})"
                yield Mistake("missing brackets", ((sheet.output(layer, j), wrong),))


def _missing_mask(sheet: Sheet) -> Iterator[Mistake]:
    for layer in sheet.layers:
        if sheet.kind(layer) == "relu":
            for j in sheet.neurons(layer):
                planted = _planted_delta(sheet, layer, j, slope="")
                yield Mistake("missing ReLU mask", tuple(planted))


def _updated_too_early(sheet: Sheet) -> Iterator[Mistake]:
    if sheet.updates == "next row" and not sheet.tail:
        return  # the last row would need weights that are not there
    after = "{{+{}}}" if sheet.updates == "next row" else "{{{} new}}"
    for layer in range(sheet.last):
        for j in sheet.neurons(layer):
            behind = sheet.neurons(layer + 1)
            weights = {k: after.format(sheet.weight(layer + 1, k, j)) for k in behind}
            planted = _planted_delta(sheet, layer, j, weights=weights)
            yield Mistake("updated weights too early", tuple(planted))


def _another_gradient(sheet: Sheet) -> Iterator[Mistake]:
    for layer in sheet.layers:
        names = sheet.weights_of(layer)
        for name in names:
            for other in names:
                if other != name:
                    wrong = Formulas(sheet).update(name, gradient=other)
                    yield Mistake("another weight's gradient", ((sheet.updated_in.format(name), wrong),))


def _product_for_difference(sheet: Sheet) -> Iterator[Mistake]:
    formulas = Formulas(sheet)
    for j in sheet.neurons(sheet.last):
        product = f"({{t{j}}}*{{{sheet.output(sheet.last, j)}}})"
        planted = _planted_delta(sheet, sheet.last, j, difference=product)
        yield Mistake("t*a for a-t", tuple(planted))
        if sheet.split_loss:
            yield Mistake("t*a for a-t", ((f"E{j}", formulas.loss(j, f"{product}^2")),))


def _sliding_rate(sheet: Sheet) -> Iterator[Mistake]:
    layout = Layout(sheet, sheet.learning_rates[0])
    if "rate" not in layout.single or layout.slides_over_text("rate"):
        return
    for name in sheet.parameters:
        wrong = Formulas(sheet).update(name, rate="{~rate}")
        yield Mistake("sliding learning-rate reference", ((sheet.updated_in.format(name), wrong),))


def _rate_elsewhere(sheet: Sheet) -> Iterator[Mistake]:
    layout = Layout(sheet, sheet.learning_rates[0])
    if "rate" not in layout.single:
        return
    row, column = layout.cell(sheet.parameters[0], 0)
    elsewhere = _a1(row, column, True, True)
    for name in sheet.parameters:
        wrong = Formulas(sheet).update(name, rate=elsewhere)
        yield Mistake("learning rate from another cell", ((sheet.updated_in.format(name), wrong),))


def _unanchored(sheet: Sheet) -> Iterator[Mistake]:
    layout = Layout(sheet, sheet.learning_rates[0])
    if sheet.data == "absolute":
        for name in sheet.data_names:
            if not layout.slides_over_text(f"{name} cell"):
                yield Mistake("unanchored reference", ((name, f"{{~{name} cell}}"),))
    if sheet.data == "cells":
        for j in sheet.neurons(0):
            for k in sheet.sources(0):
                if not layout.slides_over_text(f"i{k}"):
                    name = sheet.sum(0, j)
                    wrong = Formulas(sheet).weighted_sum(0, j).replace(f"{{i{k}}}", f"{{~i{k}}}")
                    yield Mistake("unanchored reference", ((name, wrong),))


def _pasted_constants(sheet: Sheet) -> Iterator[Mistake]:
    first, last = sheet.parameters[0], sheet.parameters[-1]
    names = (sheet.sum(0, 1), f"dE/d{last}", sheet.updated_in.format(first))
    half = tuple(range(max(1, sheet.rows // 2), sheet.rows))
    for name in names if half else ():
        yield Mistake("constants pasted over formulas", ((name, "=0.3721"),), half)


def _repeated_rows(sheet: Sheet) -> Iterator[Mistake]:
    if sheet.rows < 4 or sheet.updates != "next row":
        return
    planted = []
    for name in sheet.parameters:
        wrong = re.sub(r"\{-([^{}]+)\}", r"{--\1}", Formulas(sheet).update(name))
        planted.append((name, wrong))
    yield Mistake("repeated rows", tuple(planted), (sheet.rows // 2,))


def _bias_never_updated(sheet: Sheet) -> Iterator[Mistake]:
    before = "-" if sheet.updates == "next row" else ""
    for layer in sheet.layers:
        for name in sheet.biases_of(layer):
            column = sheet.updated_in.format(name)
            yield Mistake("bias never updated", ((column, f"{{{before}{name}}}"),))
            yield Mistake("bias never updated", ((column, f"={sheet.initial[name]}"),))


def _wrong_sign(sheet: Sheet) -> Iterator[Mistake]:
    formulas = Formulas(sheet)
    for name in sheet.parameters:
        wrong = formulas.update(name, sign="+")
        yield Mistake("wrong sign", ((sheet.updated_in.format(name), wrong),))
    for j in sheet.neurons(sheet.last):
        reverse = f"({{t{j}}}-{{{sheet.output(sheet.last, j)}}})"
        planted = _planted_delta(sheet, sheet.last, j, difference=reverse)
        yield Mistake("wrong sign", tuple(planted))


def _one_cell(sheet: Sheet) -> Iterator[Mistake]:
    if sheet.rows < 3:
        return
    formulas, middle = Formulas(sheet), (sheet.rows // 2,)
    for layer in sheet.layers:
        for j in sheet.neurons(layer):
            for k in sheet.sources(layer):
                for other in _others(sheet.sources(layer), k):
                    signal = formulas.signal(layer, j)
                    wrong = formulas.gradient(layer, j, other, signal=signal)
                    name = f"dE/d{sheet.weight(layer, j, k)}"
                    yield Mistake("one cell mistyped", ((name, wrong),), middle)
            name = sheet.sum(layer, j)
            wrong = formulas.weighted_sum(layer, j).replace("+", "-", 1)
            if wrong != formulas.weighted_sum(layer, j):
                yield Mistake("one cell mistyped", ((name, wrong),), middle)


def _missing_minus(sheet: Sheet) -> Iterator[Mistake]:
    for layer in sheet.layers:
        if sheet.kind(layer) == "sigmoid":
            for j in sheet.neurons(layer):
                wrong = f"1/(1+EXP({{{sheet.sum(layer, j)}}}))"
                yield Mistake("missing minus in sigmoid", ((sheet.output(layer, j), wrong),))


def _wrong_weight(sheet: Sheet) -> Iterator[Mistake]:
    for layer in sheet.layers:
        for j in sheet.neurons(layer):
            for other in _others(sheet.neurons(layer), j):
                k = sheet.sources(layer)[-1]
                weights = {k: sheet.weight(layer, other, k)}
                wrong = Formulas(sheet).weighted_sum(layer, j, weights)
                yield Mistake("wrong weight", ((sheet.sum(layer, j), wrong),))


def _forgotten_output(sheet: Sheet) -> Iterator[Mistake]:
    outputs = list(sheet.neurons(sheet.last))
    if len(outputs) > 1:
        wrong = Formulas(sheet).total_loss(outputs[:-1])
        yield Mistake("E_total forgets an output", (("E_total", wrong),))


def _text_disagrees(sheet: Sheet) -> Iterator[Mistake]:
    if "formulas" in sheet.junk and len(sheet.neurons(0)) > 1:
        name, other = sheet.sum(0, 2), sheet.weight(0, 1, 1)
        line = formula_texts(sheet)[name].replace(f"{sheet.weight(0, 2, 1)}*", f"{other}*")
        yield Mistake("formula text disagrees", text=(name, line))


def _rate_differs_from_name(sheet: Sheet) -> Iterator[Mistake]:
    if sheet.rate_in_name:
        yield Mistake("learning rate differs from the name", sheet_name="learning rate 0.7")


MISTAKES: Mapping[str, Callable[[Sheet], Iterator[Mistake]]] = {
    "wrong neuron's slope": _wrong_slope,
    "wrong pairing of weights": _wrong_pairing,
    "missing brackets": _missing_brackets,
    "missing ReLU mask": _missing_mask,
    "updated weights too early": _updated_too_early,
    "another weight's gradient": _another_gradient,
    "t*a for a-t": _product_for_difference,
    "sliding learning-rate reference": _sliding_rate,
    "learning rate from another cell": _rate_elsewhere,
    "unanchored reference": _unanchored,
    "constants pasted over formulas": _pasted_constants,
    "repeated rows": _repeated_rows,
    "bias never updated": _bias_never_updated,
    "wrong sign": _wrong_sign,
    "one cell mistyped": _one_cell,
    "missing minus in sigmoid": _missing_minus,
    "wrong weight": _wrong_weight,
    "E_total forgets an output": _forgotten_output,
    "formula text disagrees": _text_disagrees,
    "learning rate differs from the name": _rate_differs_from_name,
}


def mistakes(sheet: Sheet, cause: str | None = None) -> list[Mistake]:
    """All that can be planted in a sheet, or those of one cause."""
    return [
        mistake for name, plant in MISTAKES.items() if cause in (None, name) for mistake in plant(sheet)
    ]


# ---------------------------------------------------------------- the workbook, and the truth about it


@dataclass(frozen=True)
class Table:
    """Where a sheet's table stands; rows count from 1 (in a transposed sheet these are columns).

    ``columns`` gives the letters of each quantity's column (its row's number where transposed), or the
    address of its cell where it has only one. ``last_row`` is the last complete iteration.
    """

    sheet: str
    columns: Mapping[str, str]
    header_row: int
    first_row: int
    last_row: int
    learning_rate_cell: str | None
    learning_rate: float


@dataclass(frozen=True)
class Error:
    """The wrong cells of one column: what stands in the first of them, and what belongs there.

    ``relative_errors`` holds each cell against the right formula on the same row's own cells.
    ``follows`` are columns whose formulas are right, but read the wrong cell in the same row.
    """

    sheet: str
    quantity: str
    column: str
    cells: tuple[str, ...] = field(repr=False)
    shown: str
    expected: str
    cause: str
    relative_errors: tuple[float, ...] = field(default=(), repr=False)
    follows: tuple[str, ...] = ()

    def visible(self, tolerance: float = 1e-6) -> tuple[str, ...]:
        """The cells whose numbers give the mistake away."""
        pairs = zip(self.cells, self.relative_errors, strict=True) if self.relative_errors else ()
        return tuple(cell for cell, error in pairs if error > tolerance)

    @property
    def range(self) -> str:
        first, last = self.cells[0], self.cells[-1]
        return first if first == last else f"{first}:{last}"


@dataclass(frozen=True)
class Truth:
    """What `build` wrote. ``tolerance`` is how far apart right numbers may be, relatively."""

    path: Path
    tables: tuple[Table, ...]
    errors: tuple[Error, ...] = ()
    tolerance: float = 1e-9


def build(path: Path, sheet: Sheet, mistake: Mistake | None = None) -> Truth:
    """Write the workbook; a mistake is planted in its last sheet only."""
    layouts: list[Layout] = []
    names: list[str] = []
    books: list[Cells] = []
    right: dict[str, list[tuple[Place, str]]] = {}
    for number, rate in enumerate(sheet.learning_rates, 1):
        slip = mistake if number == len(sheet.learning_rates) else None
        layout = Layout(sheet, rate, slip.text if slip else ("", ""))
        name = f"learning rate {rate}" if sheet.rate_in_name else f"Sheet{number}"
        names.append(slip.sheet_name or name if slip else name)
        cells, right = _cells(layout, rate, f"eta_{number}", slip)
        layouts.append(layout)
        books.append(cells)
    _write(path, names, layouts, books)
    if sheet.pasted:
        _paste(path, names, layouts, books, sheet.pasted)
    errors = _errors(path, layouts[-1], names[-1], books[-1], right, mistake) if mistake else ()
    tables = tuple(
        _table(layout, name, rate)
        for layout, name, rate in zip(layouts, names, sheet.learning_rates, strict=True)
    )
    exact = 1e-9 if sheet.exact else 1e-5  # where a is almost t, a - t magnifies it
    return Truth(path, tables, errors, 200 * 10.0**-sheet.pasted if sheet.pasted else exact)


def _cells(
    layout: Layout, rate: float, defined: str, mistake: Mistake | None
) -> tuple[Cells, dict[str, list[tuple[Place, str]]]]:
    """All cells of a sheet; and, for the planted ones, what belongs there."""
    sheet = layout.sheet
    typed = layout.absolute("rate") if "rate" in layout.single else f"{rate}"
    if sheet.rate == "name":
        typed = defined
    cells = dict(layout.fixed)
    templates = Formulas(sheet).all()
    planted = dict(mistake.planted) if mistake else {}
    right: dict[str, list[tuple[Place, str]]] = {name: [] for name in planted}
    for name in filter(None, layout.columns):
        for iteration in range(sheet.rows + sheet.tail):
            content = _content(layout, name, iteration, rate, templates, typed)
            if iteration == sheet.rows and name not in sheet.parameters:
                continue
            place = layout.cell(name, iteration)
            rows = mistake.iterations if mistake else None
            if name in planted and isinstance(content, Formula) and iteration in (rows or (iteration,)):
                wrong = planted[name]
                right[name].append((place, content))
                content = Formula(layout.render(wrong, iteration, typed))
                if wrong.startswith("="):
                    content = float(wrong[1:])
            cells[place] = content
    if "loss again" in sheet.junk and not sheet.transposed:  # beside the table, for the chart
        row, column = layout.top, layout.left + len(layout.columns) + 5
        cells[row, column] = f"{sheet.spelling.rate}{rate}"
        for iteration in range(sheet.rows):
            loss = Formula(layout.render("{E_total}", iteration, typed))
            cells[row + 1 + iteration, column] = loss
    return cells, right


def _content(
    layout: Layout, name: str, iteration: int, rate: float, templates: Mapping[str, str], typed: str
) -> str | float:
    sheet = layout.sheet
    if name == "step":
        return iteration
    if name == "learning rate":
        return rate if iteration == 0 else Formula(layout.render("{-learning rate}", iteration, typed))
    if name in sheet.data_names:
        if sheet.data == "absolute":
            return Formula(layout.render(f"{{{name} cell}}", iteration, typed))
        if sheet.data == "row above" and iteration:
            return Formula(layout.render(f"{{-{name}}}", iteration, typed))
        value = sheet.datum(name, iteration)
        return Formula(f"={value}") if sheet.data == "typed" else value
    if name in sheet.parameters and iteration == 0:
        return sheet.initial[name]
    return Formula(layout.render(templates[name], iteration, typed))


def _write(path: Path, names: list[str], layouts: list[Layout], books: list[Cells]) -> None:
    options = {"strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(str(path), options) as workbook:
        for number, (name, layout, cells) in enumerate(zip(names, layouts, books, strict=True), 1):
            page = workbook.add_worksheet(name)
            for row, first, last in layout.merged:
                page.merge_range(row, first, row, last, "")
            for (row, column), content in cells.items():
                if isinstance(content, Formula):
                    page.write_formula(row, column, content)
                elif isinstance(content, str):
                    page.write_string(row, column, content)
                else:
                    page.write_number(row, column, content)
            if layout.sheet.rate == "name":
                cell = _a1(*layout.single["rate"], True, True)
                workbook.define_name(f"eta_{number}", f"='{name}'!{cell}")


def _paste(path: Path, names: list[str], layouts: list[Layout], books: list[Cells], digits: int) -> None:
    """Put numbers in the place of all formulas."""
    model = ironcalc.load_from_xlsx(str(path))
    model.evaluate()
    for index, cells in enumerate(books):
        for (row, column), content in cells.items():
            if isinstance(content, Formula):
                value = model.get_cell_value(index, row + 1, column + 1)
                number = isinstance(value, float | int)
                cells[row, column] = float(f"{value:.{digits}g}") if number else str(value)
    _write(path, names, layouts, books)


def _errors(
    path: Path,
    layout: Layout,
    name: str,
    cells: Cells,
    right: Mapping[str, list[tuple[Place, str]]],
    mistake: Mistake,
) -> tuple[Error, ...]:
    sheet, errors = layout.sheet, []
    if mistake.text[0]:
        assert layout.text_cell
        cell = _a1(*layout.text_cell)
        wrong, line = mistake.text[1], formula_texts(sheet)[mistake.text[0]]
        return (Error(name, mistake.text[0], cell, (cell,), wrong, line, mistake.cause),)
    if mistake.sheet_name:
        cell = _a1(*layout.single["rate"]) if "rate" in layout.single else ""
        rate, named = sheet.learning_rates[-1], mistake.sheet_name.split()[-1]
        return (Error(name, "learning rate", cell, (cell,), f"{rate}", named, mistake.cause),)
    model = ironcalc.load_from_xlsx(str(path))  # the right formulas beside the wrong ones
    index, aside = len(sheet.learning_rates) - 1, 500
    for places in right.values():
        for (row, column), formula in places:
            model.set_user_input(index, row + 1, column + 1 + aside, formula)
    model.evaluate()
    for quantity, places in right.items():
        differences = []
        for (row, column), _ in places:
            shown = model.get_cell_value(index, row + 1, column + 1)
            wanted = model.get_cell_value(index, row + 1, column + 1 + aside)
            differences.append(_relative_error(shown, wanted))
        parameter = quantity.removesuffix(" new")
        errors.append(
            Error(
                sheet=name,
                quantity=f"update of {parameter}" if parameter in sheet.parameters else quantity,
                column=layout.column(quantity),
                cells=tuple(_a1(*place) for place, _ in places),
                shown=str(cells[places[0][0]]),
                expected=places[0][1],
                cause=mistake.cause,
                relative_errors=tuple(differences),
                follows=_followers(sheet, quantity),
            )
        )
    return tuple(errors)


def _relative_error(shown: object, wanted: object) -> float:
    """Infinite where one of them is no number; 0 where they differ by less than rounding may."""
    if not isinstance(shown, float | int) or not isinstance(wanted, float | int):
        return 0.0 if shown == wanted else float("inf")
    difference = abs(shown - wanted)
    return difference / max(abs(shown), abs(wanted)) if difference > 1e-14 else 0.0


def _followers(sheet: Sheet, quantity: str) -> tuple[str, ...]:
    """All columns that read the quantity in the same row, directly or not."""
    columns = column_order(sheet)
    reads: dict[str, set[str]] = {}
    for name, template in Formulas(sheet).all().items():
        reads[name] = set(re.findall(r"\{([^-+~{}][^{}]*)\}", template))
        for first, last in re.findall(r"\{([^{}]+)\}:\{([^{}]+)\}", template):
            between = columns[columns.index(first) : columns.index(last) + 1]
            reads[name] |= {each for each in between if each}
    found = {quantity}
    while more := {name for name, sources in reads.items() if sources & found} - found:
        found |= more
    return tuple(sorted(found - {quantity}))


def _table(layout: Layout, name: str, rate: float) -> Table:
    sheet = layout.sheet
    header = (layout.left if sheet.transposed else layout.top) + 1
    quantities = dict.fromkeys((*sheet.data_names, *filter(None, layout.columns)))
    return Table(
        sheet=name,
        columns={quantity: layout.column(quantity) for quantity in quantities},
        header_row=header,
        first_row=header + 1,
        last_row=header + sheet.rows,
        learning_rate_cell=layout.column("rate") if "rate" in layout.single else None,
        learning_rate=rate,
    )


# ---------------------------------------------------------------- Hypothesis strategies

SIZES = (
    (2, 2, 2), (2, 2, 2), (2, 2, 1), (2, 3, 1), (1, 2, 2), (3, 2, 2), (3, 2), (2, 1), (1, 1, 1),
    (1, 2, 2, 1), (2, 2, 2, 2), (2, 3, 2, 1),
)  # fmt: skip


@st.composite
def spellings(draw: st.DrawFn) -> Spelling:
    fields = {name: draw(st.sampled_from(choices)) for name, choices in _CHOICES.items()}
    return Spelling(**fields, look_alikes=draw(st.integers(0, 7)) == 7)


@st.composite
def specs(draw: st.DrawFn) -> Sheet:
    """Right sheets of all kinds; shrinks towards the one that the course shows."""

    def one(choices: tuple[str, ...]) -> str:
        return draw(st.sampled_from(choices))

    def rarely(odds: int = 5) -> bool:
        return draw(st.integers(0, odds)) == odds

    sizes = draw(st.sampled_from(SIZES))
    hidden = one(tuple(name for name in ACTIVATIONS if name != "identity"))
    last = one(tuple(ACTIVATIONS))
    layers = len(sizes) - 1
    bounded = ACTIVATIONS[last].kind in ("sigmoid", "tanh")
    rate = st.sampled_from((0.5, 0.1, 0.2, 1.0, 2.0) if bounded else (0.01, 0.02, 0.05))
    rows = draw(st.integers(2, 12) | st.sampled_from((1, 40, 120)))
    updates = one(UPDATES)
    transposed = rarely()
    sheets = 3 if rarely() else 1
    return Sheet(
        sizes=sizes,
        activations=(hidden,) * (layers - 1) + (last,),
        biases=tuple(one(BIASES) for _ in range(layers)),
        loss=one(LOSSES),
        seed=draw(st.integers(0, 999)),
        learning_rates=tuple(draw(st.lists(rate, min_size=1, max_size=sheets, unique=True))),
        rows=rows,
        tail=rarely() or (rows == 1 and updates == "next row"),
        numbering=one(NUMBERINGS),
        sums=one(SUMS),
        half=one(("0.5*{}", "1/2*{}", "(1/2)*{}", "{}/2")),
        power=one(("({}-{})^2", "POWER({}-{},2)")),
        gradients=one(GRADIENTS),
        slope=draw(st.integers(0, 2)),
        minus=draw(st.booleans()),
        backwards=draw(st.booleans()),
        spaces=draw(st.booleans()),
        updates=updates,
        data=one(DATA),
        rate=one(RATES),
        dollars=one(("$C$R", "C$R")),
        split_loss=not rarely(),
        pasted=draw(st.integers(4, 10)) if rarely(9) else None,
        order=one(ORDERS),
        descending=rarely(),
        inputs_first=draw(st.booleans()),
        header_row=draw(st.integers(1, 80)),
        first_column=draw(st.integers(1, 6)),
        steps=draw(st.booleans()),
        gap=draw(st.integers(0, 2)),
        block_column=draw(st.integers(0, 40)),
        block_gap=draw(st.integers(0, 2)),
        junk=tuple(name for name in JUNK if rarely(3)),
        transposed=transposed,
        rate_in_name=rarely(),
        spelling=draw(spellings()),
    )


@st.composite
def flawed(draw: st.DrawFn) -> tuple[Sheet, Mistake]:
    """A sheet and a mistake that can be planted in it; all causes are about as frequent."""
    sheet = draw(specs())
    causes = [cause for cause in MISTAKES if mistakes(sheet, cause)]
    return sheet, draw(st.sampled_from(mistakes(sheet, draw(st.sampled_from(causes)))))
