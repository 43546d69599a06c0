"""Where everything stands in a workbook, and how an expression is written in a sheet.

A `Plan` is computed from a program alone, before anything is written, so that the writer, the verifier
and the size check all speak of the same cells.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from xlsxwriter.utility import xl_cell_to_rowcol, xl_col_to_name

from gradsheet.compiler import Program, Quantity, Role, gradient_name
from gradsheet.errors import TooLargeError
from gradsheet.expression import (
    ATOM,
    DIVERGENCE_LIMIT,
    EXPONENT_LIMIT,
    GELU_CUBE,
    GELU_SCALE,
    HUBER_DELTA,
    LEAKY_SLOPE,
    POWER,
    PRODUCT,
    SUM,
    Array,
    Expression,
    Form,
    Notation,
    format_number,
    render,
)
from gradsheet.network import Network, input_name, layer_name, of_sample, target_name, weight_names
from gradsheet.optimizers import LEARNING_RATE

BACKPROP = "Backprop"
LEARNING_RATES = "Learning rates"
SAMPLES = "Samples"
GRADIENT_CHECK = "Gradient check"
DERIVATION = "Derivation"
PREDICT = "Predict"
README = "Read me"
WORKINGS = "Workings"
NETWORK = "Network"
NETWORK_ROW = 6
"""The row of the sheet Network, counted from 0, where the TOML begins; its two counts are above."""
BLANK_ROW = 5
"""The row of the sheet Network, counted from 0, that says what an exercise leaves blank."""

FALLS, STAYS = "the loss falls", "the loss has not fallen: try another learning rate"
DIVERGED = "diverged: the learning rate is too large; the weights are held"
"""The verdict above the table."""

GRADIENT_CHECK_ROW = 9
"""The header row of the verdicts in the sheet Gradient check, counted from 0."""

POINTS = 21
"""Points of a map in the sheet Predict to each side."""

FORMULAS_WARN = 200_000
FORMULAS_REFUSE = 500_000
FORMULAS_LARGE = 80_000
COMPARISON_FORMULAS = (20_000, 150_000)
"""The learning-rate comparison may take what the table leaves of `FORMULAS_WARN`, or of `FORMULAS_LARGE`
for a large network, within these bounds; it shows fewer iterations where that is not enough."""

CHECKED = 12
"""About how many weights of a large network Gradient check measures, every one in two runs of all."""

LONGEST_FORMULA = 8_192  # characters, Excel's limit
MOST_COLUMNS = 16_384  # Excel's limit
MOST_ROWS = 1_048_576  # Excel's limit
MOST_SAMPLES = 100_000
MOST_RATES = 50  # more curves cannot be told apart in one chart


_GELU = f"{format_number(GELU_SCALE)}*{{0}}*(1+{format_number(GELU_CUBE)}*{{0}}*{{0}})"
_CLIP = f"MAX(-{HUBER_DELTA:g},MIN({HUBER_DELTA:g},{{0}}))"


def sheet_notation(
    reference: Callable[[str], str], previous: Callable[[str], str] = str, *, ranges: bool = False
) -> Notation:
    """The notation of a sheet's formulas; ``reference`` turns a quantity's name into a cell, and
    ``previous`` into its cell of the iteration before. With ``ranges``, terms whose cells stand side by
    side become a SUM, or a SUMPRODUCT.

    In a sheet -A1^2 is (−A1)² and 2^3^2 is 64: a power and a minus take nothing but an atom. All
    activations are written so that no EXP can overflow, which is an error in a sheet. In LibreOffice
    a power below 2.2E-308 is an error, too: the square of a cell, such as a gradient of a saturated
    neuron, is a product, and 0.9^7000 is 0.
    """

    def gather(operation: str, factors: Sequence[tuple[str, ...]]) -> tuple[str, int] | None:
        areas = [_side_by_side([reference(name) for name in names]) for names in factors]
        if "" in areas:
            return None
        if operation == "detached_max":  # the MAX is there already
            return areas[0], ATOM
        return f"{'SUM' if len(areas) == 1 else 'SUMPRODUCT'}({','.join(areas)})", ATOM

    return Notation(
        reference=reference,
        previous=previous,
        gather=gather if ranges else None,
        constant=format_number,
        brackets="({})",
        forms={
            "add": Form("{*}", SUM, (SUM,), "+"),
            "subtract": Form("{0}-{1}", SUM, (SUM, PRODUCT)),
            "multiply": Form("{*}", PRODUCT, (PRODUCT, POWER), "*"),
            "divide": Form("{0}/{1}", PRODUCT, (PRODUCT, POWER)),
            "negate": Form("-{0}", SUM, (ATOM,)),
            "square": Form("{0}^2", POWER, (ATOM,)),
            "exp": Form("EXP({0})", ATOM),
            "log": Form("LN({0})", ATOM),
            "sigmoid": Form(f"1/(1+EXP(-MAX({{0}},-{EXPONENT_LIMIT})))", PRODUCT),
            "tanh": Form("TANH({0})", ATOM),
            "relu": Form("MAX(0,{0})", ATOM),
            "step": Form("IF({0}>0,1,0)", ATOM),
            "leaky_relu": Form(f"MAX({{0}},{LEAKY_SLOPE}*{{0}})", ATOM, (POWER,)),
            "leaky_step": Form(f"IF({{0}}>0,1,{LEAKY_SLOPE})", ATOM),
            "softplus": Form("MAX({0},0)+LN(1+EXP(-ABS({0})))", SUM),
            "elu": Form("MAX({0},0)+EXP(MIN({0},0))-1", SUM),
            "minimum": Form("MIN({*})", ATOM, (SUM,), ","),
            "sqrt": Form("SQRT({0})", ATOM),
            "power": Form("IFERROR({0}^{1},0)", ATOM, (ATOM,)),
            "floor": Form("INT({0})", ATOM),
            "cos": Form("COS({0})", ATOM),
            "silu": Form(f"{{0}}/(1+EXP(-MAX({{0}},-{EXPONENT_LIMIT})))", PRODUCT, (POWER,)),
            "gelu": Form(f"{{0}}/(1+EXP(-MAX({_GELU},-{EXPONENT_LIMIT})))", PRODUCT, (ATOM,)),
            "normal_share": Form(f"1/(1+EXP(-MAX({_GELU},-{EXPONENT_LIMIT})))", PRODUCT, (ATOM,)),
            "absolute": Form("ABS({0})", ATOM),
            "sign": Form("IF({0}>0,1,IF({0}<0,-1,0))", ATOM),
            "huber": Form(f"{_CLIP}*({{0}}-0.5*{_CLIP})", PRODUCT, (PRODUCT,)),
            "clip": Form(_CLIP, ATOM),
            "detached_max": Form("MAX({*})", ATOM),
            "hold": Form(f"IF({{0}}<{DIVERGENCE_LIMIT:.0E},{{1}},{{2}})", ATOM),
        },
        of_atoms={"square": Form("{0}*{0}", PRODUCT)},
    )


def _side_by_side(cells: Sequence[str]) -> str:
    """``B12:E12`` for B12, C12, D12, E12; nothing where the cells do not follow each other in a row.

    Instead of a row number there may be a placeholder, such as ``{r}``.
    """
    found = [re.fullmatch(r"(.*!)?(\$?)([A-Z]+)(\$?[\d{}rp]+)", cell) for cell in cells]
    columns, places = [], set()
    for match in found:
        if match is None:
            return ""
        sheet, dollar, letters, row = match.groups()
        columns.append(xl_cell_to_rowcol(f"{letters}1")[1])
        places.add((sheet, dollar, row))
    if len(places) > 1 or columns != list(range(columns[0], columns[0] + len(columns))):
        return ""
    return f"{cells[0]}:{cells[-1].rpartition('!')[2]}"


SHEET = sheet_notation(str)
"""The notation with names in place of cells, for reading."""


def quote(sheet: str) -> str:
    """A sheet's name as formulas need it: in quotes where it holds a space."""
    return f"'{sheet}'" if " " in sheet else sheet


def cell(row: int, column: int, sheet: str | None = None) -> str:
    """The A1 name of a cell counted from 0: relative, or absolute with its sheet where one is named."""
    letters = xl_col_to_name(column)
    return f"{letters}{row + 1}" if sheet is None else f"{quote(sheet)}!${letters}${row + 1}"


def area(first_row: int, first_column: int, last_row: int, last_column: int) -> str:
    """The absolute A1 name of a range on its own sheet: ``$B$4:$G$4``."""
    first, last = xl_col_to_name(first_column), xl_col_to_name(last_column)
    return f"${first}${first_row + 1}:${last}${last_row + 1}"


@dataclass(frozen=True)
class Table:
    """A table of iterations: a header row, under it one row per iteration, one column per quantity.

    Rows and columns count from 0; ``columns`` maps a quantity's name to its column.
    """

    sheet: str
    header_row: int
    columns: Mapping[str, int]
    steps: int

    @property
    def first_row(self) -> int:
        return self.header_row + 1

    @property
    def last_row(self) -> int:
        return self.header_row + self.steps

    def address(self, name: str, row: int) -> str:
        """Absolute address, with the sheet, of a quantity in a row."""
        return cell(row, self.columns[name], self.sheet)

    def span(self, name: str) -> str:
        """Absolute range, with the sheet, of a quantity over all iterations."""
        column = self.columns[name]
        return f"{quote(self.sheet)}!{area(self.first_row, column, self.last_row, column)}"

    @property
    def iterations(self) -> str:
        """Absolute range, with the sheet, of the numbers of the iterations, in the first column."""
        return f"{quote(self.sheet)}!{area(self.first_row, 0, self.last_row, 0)}"


@dataclass(frozen=True)
class SampleTable:
    """The sheet Samples, from which data are taken: a header row, under it one row per sample.

    The first column numbers the samples; ``written`` maps an input's or a target's name to the column
    that holds its numbers as they were written. Where it is standardised, ``centred`` has the column
    that lacks the mean, and ``seen`` that of what the network sees; the mean and the standard deviation
    stand above what was written.
    """

    written: Mapping[str, int]
    centred: Mapping[str, int]
    samples: int

    MEAN_ROW, DEVIATION_ROW = 3, 4
    HEADER_ROW = 6

    @cached_property
    def standardized(self) -> Mapping[str, int]:
        """The columns of what is standardised, behind those that lack the mean."""
        return {name: column + len(self.centred) for name, column in self.centred.items()}

    @cached_property
    def seen(self) -> Mapping[str, int]:
        """The columns that the network sees."""
        return {**self.written, **self.standardized}

    @property
    def headers(self) -> Mapping[int, str]:
        """The header of every column but the first."""
        return {
            **{
                c: f"{name} written" if name in self.centred else name
                for name, c in self.written.items()
            },
            **{c: f"{name} − mean" for name, c in self.centred.items()},
            **{c: name for name, c in self.standardized.items()},
        }

    @property
    def first_row(self) -> int:
        return self.HEADER_ROW + 1

    @property
    def last_row(self) -> int:
        return self.HEADER_ROW + self.samples

    @property
    def formulas(self) -> int:
        return len(self.centred) * (2 * self.samples + 2)

    def span(self, column: int) -> str:
        """Absolute range of a column over all samples."""
        return area(self.first_row, column, self.last_row, column)


@dataclass(frozen=True)
class Block:
    """Neighbouring columns of the table of a large network, which belong together; ``detail`` can be
    folded away."""

    title: str
    names: tuple[str, ...]
    detail: bool


def blocks_of(program: Program) -> tuple[Block, ...]:
    """The columns of a large network: what a layer computes together stands together, in ranges.

    The loss comes first, to be seen beside the weights. Of a sample the sums of a layer stand before
    what is made of them; of a neuron the δ of all samples stand together, as the gradients need them.
    """
    network, last = program.network, len(program.network.layers) - 1

    def names(*roles: Role, layer: int | None = None) -> list[Quantity]:
        return [q for q in program.of_role(*roles) if layer in (None, q.layer)]

    def by_sample(quantity: Quantity) -> tuple[int, bool]:
        is_sum = quantity.name.startswith(layer_name(network, quantity.layer or 0))
        return quantity.sample or 1, not is_sum

    losses = [q for q in program.of_role("loss") if q.name != program.loss]
    shown = [*program.of_role("rate"), program[program.loss], *program.of_role("smoothed")]
    parts = [("Loss", shown, False)]
    for layer in range(last + 1):
        title = layer_title(network, layer)
        parts.append((f"{title}: weights", names("parameter", layer=layer), False))
        if layer == 0 and network.batch_size is not None:  # a full batch stands in the sheet Samples
            parts.append(("Samples", names("dealt", "data"), True))
        forward = sorted(names("forward", layer=layer), key=by_sample)
        parts.append((f"{title}: forward pass", forward, True))
    parts.append(("Loss of every sample", losses, True))
    for layer in reversed(range(last + 1)):
        title = layer_title(network, layer)
        neurons: dict[str, list[Quantity]] = defaultdict(list)
        for delta in names("delta", layer=layer):
            neurons[delta.name.partition("[")[0]].append(delta)
        deltas = [delta for own in neurons.values() for delta in own]
        parts.append((f"{title}: δ", deltas, True))
        parts.append((f"{title}: gradients", names("gradient", layer=layer), False))
    parts.append(("What the optimizer remembers", names("state"), True))
    return tuple(
        Block(title, tuple(q.name for q in quantities), detail)
        for title, quantities, detail in parts
        if quantities
    )


def layer_title(network: Network, layer: int) -> str:
    """``Output layer``, ``Hidden layer``; ``Hidden layer 2`` where there are several."""
    if layer == len(network.layers) - 1:
        return "Output layer"
    return "Hidden layer" if len(network.layers) == 2 else f"Hidden layer {layer + 1}"


@dataclass(frozen=True)
class Plan:
    """The places of a workbook: the program's table, and one table per compared learning rate.

    Raises `TooLargeError` when made for a workbook that no spreadsheet program could open.
    """

    program: Program
    steps: int
    rates: int

    HEADER_ROW = 8
    """Header row of the sheet Backprop, counted from 0, where the learning rate is alone."""
    RATE_ROW, RATE_COLUMN = 2, 1
    """Where the learning rate of the sheet Backprop stands; below it, the other hyper-parameters."""
    RATES_ROW = 3
    """The row of the sheet Learning rates that holds the compared rates, from column 1."""
    LOSSES_HEADER_ROW = 8
    """Header row of its loss table."""
    WORKINGS_HEADER_ROW = 2
    """Header row of the sheet Workings."""

    CHART = "loss in the chart"
    """The column of Workings that the linear chart draws: a diverging loss is cut off."""

    def __post_init__(self) -> None:
        check_width(len(self.names) + 1)
        check_width(self.rates * (len(self.trained_names) + 2) + 1)
        if self.program.network.samples > MOST_SAMPLES:
            raise TooLargeError(
                f"{self.program.network.samples:,} samples are more than the {MOST_SAMPLES:,} that open "
                "comfortably in a sheet; use fewer"
            )
        if self.steps + self.header_row + 2 > MOST_ROWS:
            raise TooLargeError(
                f"{self.steps:,} steps need more rows than the {MOST_ROWS:,} of a sheet; use fewer"
            )

    @property
    def summary_row(self) -> int:
        """The row of the first loss, under the hyper-parameters; last loss and verdict follow."""
        return self.RATE_ROW + len(self.program.hyperparameters)

    @property
    def header_row(self) -> int:
        """Header row of the sheet Backprop, counted from 0: every hyper-parameter has a row above, and
        so have the titles of blocks."""
        return self.HEADER_ROW + len(self.program.hyperparameters) - 1 + bool(self.blocks)

    def setting_cell(self, name: str) -> tuple[int, int]:
        """Row and column of the input cell of a hyper-parameter in the sheet Backprop."""
        return self.RATE_ROW + list(self.program.hyperparameters).index(name), self.RATE_COLUMN

    @property
    def settings_sheet(self) -> str:
        """The sheet of these input cells."""
        return BACKPROP

    def setting_reference(self, name: str) -> str:
        """How formulas call a hyper-parameter: by the defined name of its cell."""
        return name

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The groups of columns of a large network; none where every weight is written out."""
        return blocks_of(self.program) if self.program.network.is_large else ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns of Backprop: those of the blocks; else the program's order, but the shared δ
        behind the gradients."""
        if self.blocks:
            return tuple(name for block in self.blocks for name in block.names)
        shown = [q for q in self.program.quantities if q.role != "delta"]
        return tuple(q.name for q in (*shown, *self.program.of_role("delta")))

    @cached_property
    def evaluated(self) -> tuple[Quantity, ...]:
        """Forward pass and loss, in an order in which each can be computed from those before it."""
        by_name = [self.program[name] for name in self.names]
        loss = self.program[self.program.loss]
        shown = [q for q in by_name if q.role in ("forward", "loss") and q is not loss]
        return (*shown, loss)

    @cached_property
    def fixed_names(self) -> frozenset[str]:
        """Data and frozen parameters: in every iteration the same for every learning rate."""
        inputs = {q.name for q in self.program.of_role("dealt", "data", "parameter")}
        return frozenset(inputs - set(self.program.trained))

    @cached_property
    def trained_names(self) -> tuple[str, ...]:
        """The columns of one learning rate in Workings: all but what is the same for every rate."""
        return tuple(name for name in self.names if name not in self.fixed_names)

    @cached_property
    def backprop(self) -> Table:
        columns = {name: column for column, name in enumerate(self.names, 1)}
        return Table(BACKPROP, self.header_row, columns, self.steps)

    def address(self, name: str, row: int) -> str:
        """Absolute address of a quantity in a row of Backprop, or of data in Samples, where Backprop has
        no column for them."""
        if name in self.backprop.columns:
            return self.backprop.address(name, row)
        return cell(*self.sample_cell(name), SAMPLES)

    @cached_property
    def data_once(self) -> tuple[Quantity, ...]:
        """The data of a large network's full batch: they stand in Samples only, for all iterations."""
        return tuple(q for q in self.program.of_role("data") if q.name not in self.names)

    def sample_cell(self, name: str) -> tuple[int, int]:
        """Row and column in Samples of a datum of the full batch, as the network sees it."""
        assert self.samples is not None
        base, _, sample = name.removesuffix("]").partition("[")
        return self.samples.HEADER_ROW + int(sample or 1), self.samples.seen[base]

    @cached_property
    def samples(self) -> SampleTable | None:
        """The sheet of all samples, where they are dealt in batches or standardised, or where the
        network is large: then the data of a full batch stand only there."""
        network = self.program.network
        if network.batch_size is None and not network.standardize and not network.is_large:
            return None
        names = {
            "inputs": [input_name(k) for k in range(1, network.sizes[0] + 1)],
            "targets": [target_name(k) for k in range(1, network.sizes[-1] + 1)],
        }
        written = {name: k for k, name in enumerate((*names["inputs"], *names["targets"]), 1)}
        standardized = [name for key in names if key in network.standardize for name in names[key]]
        centred = {name: k for k, name in enumerate(standardized, len(written) + 1)}
        return SampleTable(written, centred, network.samples)

    @cached_property
    def workings(self) -> tuple[Table, ...]:
        width = len(self.trained_names) + 2  # one column for the chart, one left empty
        return tuple(
            Table(
                WORKINGS,
                self.WORKINGS_HEADER_ROW,
                {
                    name: 1 + number * width + offset
                    for offset, name in enumerate((*self.trained_names, self.CHART))
                },
                self.comparison_steps,
            )
            for number in range(self.rates)
        )

    @property
    def comparison_steps(self) -> int:
        """Iterations of the learning-rate comparison: all, or as many as stay comfortable."""
        least, most = COMPARISON_FORMULAS
        comfortable = FORMULAS_LARGE if self.blocks else FORMULAS_WARN
        left = min(most, max(least, comfortable - self.steps * len(self.names)))
        return min(self.steps, max(2, left // max(1, self._comparison_width)))

    @property
    def _comparison_width(self) -> int:
        """Formulas a step for all compared rates: the training, its loss, and the loss to draw."""
        return self.rates * (len(self.trained_names) + 1 + self.program.can_diverge)

    def rate_cell(self, number: int) -> str:
        """Absolute address of a compared learning rate, counted from 0."""
        return cell(self.RATES_ROW, 1 + number, LEARNING_RATES)

    @property
    def table_alone(self) -> bool:
        """Whether it is a lesson, without the sheets that would give its answers away."""
        return self.rates == 0

    @property
    def derived(self) -> tuple[str, ...]:
        """The weights whose gradient is derived in numbers, from the last layer back: all of them, or
        one of every layer of a large network."""
        if self.blocks:
            return tuple(rows[0][0] for rows in reversed(weight_names(self.program.network)))
        layers = {name: -(self.program[name].layer or 0) for name in self.program.trained}
        return tuple(sorted(self.program.trained, key=layers.__getitem__))

    @cached_property
    def checked(self) -> tuple[str, ...]:
        """The parameters that Gradient check measures, in the order of the gradients: all of them, or
        some of every layer of a large network, spread evenly, its first and last weight among them and
        its last bias."""
        trained = self.program.trained
        if not self.blocks:
            return trained
        layers = weight_names(self.program.network)
        count = max(3, CHECKED // len(layers))
        chosen: set[str] = set()
        for layer, rows in enumerate(layers):
            weights = [name for row in rows for name in row]
            biases = [n for n in trained if self.program[n].layer == layer and n not in weights]
            few = min(count - len(biases[:1]), len(weights))
            chosen |= {weights[k * (len(weights) - 1) // max(1, few - 1)] for k in range(few)}
            chosen |= set(biases[-1:])
        return tuple(name for name in trained if name in chosen)

    @property
    def beside_column(self) -> int:
        """A column to the right of the table of Backprop, with an empty one between."""
        return len(self.names) + 2

    @property
    def formulas(self) -> int:
        """About how many formula cells the workbook will have."""
        parameters, evaluated = len(self.checked), len(self.program.of_role("forward", "loss"))
        users = sum(len(self.program[gradient_name(name)].chains) for name in self.derived)
        return (
            self.steps * len(self.names)
            + self.comparison_steps * self._comparison_width
            + 2 * parameters * (evaluated + 1)
            + 3 * users
            + len(self.names)
            + (0 if self.samples is None else self.samples.formulas)
            + self._predicted
        )

    @property
    def _predicted(self) -> int:
        """About how many formulas the sheet Predict has: with two maps, where there are two inputs."""
        network = self.program.network
        links = len(self.program.of_role("parameter")) + sum(network.sizes)
        maps = 2 * POINTS * (POINTS + 2) + 4 * network.samples if network.sizes[0] == 2 else 0
        return 0 if self.table_alone else links + len(self.program.prediction) + maps


@dataclass(frozen=True)
class Trace:
    """The numbers that the formulas must give, each an array whose first axis is the iteration.

    ``table`` holds every quantity, shape (steps,); ``rates`` the compared learning rates and
    ``comparison`` every quantity for them, shape (comparison steps, rates); ``shifted`` every quantity
    of the first iteration with one parameter after the other moved by ±ε, shape (2 · parameters,).
    ``critical`` is 2/λmax in the first and in the last iteration. For the sheet Predict, ``predicted``
    holds the last weights and what they make of the first sample, ``maps`` the points of the maps from
    the top left, and ``sampled`` inputs, target and answer of every sample in its list.
    """

    learning_rate: float
    table: Mapping[str, Array]
    rates: Sequence[float]
    comparison: Mapping[str, Array]
    shifted: Mapping[str, Array]
    critical: tuple[float, float]
    predicted: Mapping[str, float] = field(default_factory=dict)
    maps: Sequence[Array] = ()
    sampled: Sequence[Sequence[float]] = ()


Content = str | float | None
"""What is put into a cell: a formula, a number, or nothing."""
Rewrite = Callable[[str, int, str, float], Content]
"""What a lesson puts into a cell of the table: ``rewrite(quantity, step, formula, value)``. ``step`` is
the row, the first is 0; ``formula`` is what belongs there, and ``value`` the number that it gives."""


@dataclass(frozen=True)
class Lesson:
    """What makes a workbook an exercise, or one with a planted mistake.

    ``rewrite`` goes over every cell of the table; ``task`` tells in words what to do. ``blank`` names
    the groups that are left blank, ``blank_names`` their quantities, over which no words stand.
    ``rate_beside`` repeats the learning rate beside the first row of the table.
    """

    rewrite: Rewrite
    task: str
    blank: tuple[str, ...] = ()
    blank_names: frozenset[str] = frozenset()
    gradient_check: bool = False
    rate_beside: bool = False


def check_width(columns: int) -> None:
    """Raise `TooLargeError` for a sheet wider than a spreadsheet program can open."""
    if columns > MOST_COLUMNS:
        raise TooLargeError(
            f"a sheet of the workbook would be {columns:,} columns wide, but the limit is "
            f"{MOST_COLUMNS:,}; use fewer neurons, samples or rates, or mini-batches (--batch-size)"
        )


def check_size(formulas: int, steps: int) -> None:
    """Raise `TooLargeError` when a workbook would have more formulas than open comfortably."""
    if formulas > FORMULAS_REFUSE:
        fitting = max(1, int(steps * FORMULAS_REFUSE / formulas))
        raise TooLargeError(
            f"the workbook would have about {formulas:,} formulas, more than the "
            f"{FORMULAS_REFUSE:,} that open comfortably; use --steps {fitting} or less, mini-batches "
            "(--batch-size), fewer samples or neurons, or --force to write it all the same"
        )


Templates = tuple[str | None, str | None]


def formula_templates(plan: Plan, table: Table, learning_rate: str) -> dict[str, Templates]:
    """For each column of a table its formula in the first row and in all further rows.

    The templates hold ``{r}`` for the number of their own row, ``{p}`` for that of the row above and
    ``{b}`` for that of the same iteration in Backprop. None stands for an input cell of the user.
    """
    program = plan.program

    def reader(row: str, above: str = "") -> Notation:
        def cell_in(row: str) -> Callable[[str], str]:
            def reference(name: str) -> str:
                if name == LEARNING_RATE:
                    return learning_rate
                if name in program.hyperparameters:
                    return plan.setting_reference(name)
                if name == "iteration":
                    return f"$A{{{row}}}"
                if name in table.columns:
                    return f"{xl_col_to_name(table.columns[name])}{{{row}}}"
                if program.network.batch_size is not None and program[name].role == "data":
                    start = quote(plan.backprop.sheet)
                    return f"{start}!${xl_col_to_name(plan.backprop.columns[name])}{{b}}"
                return plan.address(name, plan.backprop.first_row)

            return reference

        return sheet_notation(cell_in(row), cell_in(above), ranges=program.network.is_large)

    here, above = reader("r", "p"), reader("p")
    updates = {update.parameter: update.guarded for update in program.updates}
    templates: dict[str, Templates] = {}
    for name in table.columns:
        if name == plan.CHART:
            continue
        quantity: Quantity = program[name]
        if quantity.expression is not None:
            formula = _written(quantity.expression, here, quantity.label)
            first = formula
            if quantity.first is not None:
                first = _written(quantity.first, here, quantity.label)
            templates[name] = (first, formula)
            continue
        if program.network.batch_size is not None and quantity.role in ("dealt", "data"):
            templates[name] = (dealt := _dealt(plan, quantity), dealt)
            continue
        if name in updates:
            following = _written(updates[name], above, quantity.label)
        else:
            following = f"={above.reference(name)}"
        first_or_input = None
        if plan.samples is not None and quantity.role == "data":
            first_or_input = f"={cell(*plan.sample_cell(name), SAMPLES)}"
        if table.sheet != plan.backprop.sheet:
            first_or_input = f"={plan.backprop.address(name, plan.backprop.first_row)}"
        templates[name] = (first_or_input, following)
    return templates


def _dealt(plan: Plan, quantity: Quantity) -> str | None:
    """The formula of a sample's number or of its data; None where shuffled numbers are typed in."""
    network, slot = plan.program.network, quantity.sample or 1
    if quantity.role == "data":
        number = xl_col_to_name(plan.backprop.columns[of_sample("n", slot, network.slots)])
        assert plan.samples is not None
        column = plan.samples.seen[quantity.name.partition("[")[0]]
        return f"=INDEX({SAMPLES}!{plan.samples.span(column)},{number}{{r}})"
    if network.shuffle_seed is not None:  # a sheet that draws at random differs every time
        return None
    ahead = f"+{slot - 1}" if slot > 1 else ""
    return f"=MOD(($A{{r}}-1)*{network.slots}{ahead},{network.samples})+1"


def _written(expression: Expression, notation: Notation, label: str) -> str:
    formula = "=" + render(expression, notation)
    if len(formula) > LONGEST_FORMULA - 64:  # row numbers are longer than their placeholders
        raise TooLargeError(
            f"{label}: its formula would have {len(formula):,} characters, but a cell takes "
            f"{LONGEST_FORMULA:,}; use fewer samples or fewer inputs to a neuron"
        )
    return formula
