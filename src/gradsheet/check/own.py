"""Read the table of a workbook that gradsheet wrote: an exercise, say, or one with a planted mistake.

Such a workbook says itself what stands where, also for a batch of samples, so nothing has to be guessed.
"""

from __future__ import annotations

from dataclasses import replace

from gradsheet import network as net
from gradsheet.backends.workbook_layout import BACKPROP, NETWORK, SAMPLES, Plan, formula_templates
from gradsheet.check.formula import Cell
from gradsheet.check.labels import Label
from gradsheet.check.layers import Layers
from gradsheet.check.neurons import Neuron
from gradsheet.check.reader import Key, Reader
from gradsheet.check.reading import Reading
from gradsheet.check.sheets import Book
from gradsheet.check.tables import Table
from gradsheet.compiler import Program, Quantity, Update
from gradsheet.errors import WorkbookError
from gradsheet.expression import label
from gradsheet.optimizers import LEARNING_RATE, T
from gradsheet.verify.inputs import read_plan

ITERATION = T.name


def own_reading(book: Book) -> Reading | None:
    """The reading of the sheet Backprop; None where gradsheet did not write it or columns were moved."""
    sheets = {name: sheet.values for name, sheet in book.sheets.items()}
    if NETWORK not in sheets or BACKPROP not in sheets:
        return None
    try:
        plan = read_plan(book.path, sheets)
    except WorkbookError:
        return None
    columns, header = plan.backprop.columns, plan.backprop.header_row
    if any(sheets[BACKPROP].get((header, column)) != label(name) for name, column in columns.items()):
        return None
    reader = Reader(book, _table(book, plan))
    quantities = {Key(column): name for name, column in columns.items()}
    for datum in plan.data_once:
        quantities[Key(None, 0, Cell(SAMPLES, *plan.sample_cell(datum.name)))] = datum.name
    program, network = plan.program, plan.program.network
    if not network.is_plain:
        program = _with_iteration(program)
        quantities[Key(0)] = ITERATION
        for setting in network.settings_in_use:
            quantities[Key(None, 0, Cell(BACKPROP, *plan.setting_cell(setting)))] = setting
    return Reading(
        reader,
        _layers(plan),
        program,
        quantities,
        {},
        Key(None, 0, Cell(BACKPROP, plan.RATE_ROW, plan.RATE_COLUMN)),
        network.loss.replace("_", " "),
        complete=True,
        given=_given(plan),
    )


def _given(plan: Plan) -> dict[str, list[str | None]]:
    """The formulas of data: of samples that are dealt, or the same in all rows."""
    table = plan.backprop
    templates = formula_templates(plan, table, LEARNING_RATE)
    found: dict[str, list[str | None]] = {}
    for quantity in plan.program.of_role("dealt", "data"):
        if quantity.name not in templates:
            continue  # of a large network: they stand in Samples alone
        first, following = templates[quantity.name]
        by_row = [first] + [following] * (table.steps - 1)
        found[quantity.name] = [
            None if each is None else each.format(r=row + 1, p=row, b=row + 1)
            for row, each in enumerate(by_row, table.first_row)
        ]
    return found


def _with_iteration(program: Program) -> Program:
    """The program with the number of the iteration, which some optimizers and schedules count with."""
    following = T + 1
    return replace(
        program,
        quantities=(*program.quantities, Quantity(ITERATION, "parameter", value=1.0)),
        updates=(*program.updates, Update(ITERATION, following, following)),
    )


def _table(book: Book, plan: Plan) -> Table:
    table, program = plan.backprop, plan.program
    labels = {
        table.columns[q.name]: Label("forward", q.name) for q in program.of_role("forward", "loss")
    }
    for name in program.trained:
        labels[table.columns[name]] = Label("parameter", name)
    for quantity in program.of_role("gradient"):
        labels[table.columns[quantity.name]] = Label("gradient", quantity.name.removeprefix("dE_d"))
    headers = {column: label(name) for name, column in table.columns.items()}
    lines = tuple(range(table.first_row, table.last_row + 1))
    return Table(book.sheets[BACKPROP], table.header_row, lines, headers, labels)


def _layers(plan: Plan) -> Layers:
    """The neurons of all samples, layer by layer: where their sums and outputs stand."""
    network, columns = plan.program.network, plan.backprop.columns
    layers = []
    for layer, spec in enumerate(network.layers):
        neurons = []
        for sample in range(1, network.slots + 1):
            for k in range(1, spec.neurons + 1):
                names = (net.sum_name(network, layer, k), net.activation_name(network, layer, k))
                total, output = (columns[net.of_sample(name, sample, network.slots)] for name in names)
                neurons.append(Neuron(total, None if total == output else output, [], []))
        layers.append(tuple(neurons))
    activations = tuple(spec.activation for spec in network.layers)
    return Layers((), tuple(layers), (), (), activations)
