"""What stands in a workbook: its plan, its input cells, and other numbers for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from gradsheet.backends.workbook_layout import (
    BACKPROP,
    GRADIENT_CHECK,
    LEARNING_RATES,
    NETWORK,
    NETWORK_ROW,
    PREDICT,
    SAMPLES,
    Plan,
    cell,
)
from gradsheet.backends.workbook_predict import Prediction
from gradsheet.compiler import Role, compile_network
from gradsheet.engines import Changes, Sheets, Value
from gradsheet.errors import NetworkError, WorkbookError
from gradsheet.expression import label
from gradsheet.network import Network, parse
from gradsheet.optimizers import LEARNING_RATE
from gradsheet.verify.tables import number_in, sample_columns


def read_plan(path: Path, sheets: Sheets) -> Plan:
    """The plan of a workbook that gradsheet wrote, from the text in its sheet Network.

    Raises `WorkbookError` when gradsheet did not write it, or the text was changed.
    """
    text = sheets.get(NETWORK)
    if text is None or BACKPROP not in sheets:
        raise WorkbookError(
            f"{path}: was not written by gradsheet (it has no sheets {BACKPROP} and {NETWORK}); "
            "verify takes workbooks made with `gradsheet workbook` or `gradsheet mnist workbook`"
        )
    try:
        program = compile_network(parse(network_text(text)))
        steps, rates = (int(text[row, 1]) for row in (3, 4))
        if rates == 0 and LEARNING_RATES in sheets:  # or the sheets that compare rates would go unproved
            raise ValueError("it counts no learning rates")
        return Plan(program, steps, rates)
    except (NetworkError, KeyError, ValueError) as error:
        raise WorkbookError(
            f"{path}: its sheet {NETWORK} was edited and cannot be read ({error}); "
            "generate the workbook again"
        ) from None


def network_text(cells: Mapping[tuple[int, int], Value]) -> str:
    """The lines of TOML in the sheet Network."""
    last = max((row for row, column in cells if column == 0), default=0)
    return "\n".join(str(cells.get((row, 0), "")) for row in range(NETWORK_ROW, last + 1))


def check_headers(path: Path, plan: Plan, sheets: Sheets) -> None:
    """Raise `WorkbookError` unless every column stands where gradsheet wrote it."""
    tables = [(t.sheet, t.header_row, t.columns) for t in (plan.backprop, *plan.workings)]
    if plan.samples is not None:
        headers = {name: column for column, name in plan.samples.headers.items()}
        tables.append((SAMPLES, plan.samples.HEADER_ROW, headers))
    for sheet, header_row, columns in tables:
        for name, column in columns.items():
            found = sheets.get(sheet, {}).get((header_row, column))
            if name != plan.CHART and found != label(name):
                raise WorkbookError(
                    f"{path}: {cell(header_row, column, sheet)} should be the header "
                    f"{label(name)!r}, but holds {found!r}; the columns were moved since gradsheet "
                    "wrote them: undo that, or generate the workbook again"
                )


def check_inputs(path: Path, plan: Plan, sheets: Sheets) -> None:
    """Every cell of the user must hold a number that can be computed with.

    Without this, a sheet full of errors would agree with a PyTorch that was fed no numbers either.
    """
    positive = _rate_cells(plan)
    if not plan.table_alone:
        positive += [(GRADIENT_CHECK, 4, 1), (GRADIENT_CHECK, 5, 1)]
    numbers = list(_number_cells(plan))
    if not plan.table_alone:
        numbers += [(PREDICT, *place) for place in Prediction(plan).typed]
    for sheet, row, column in (*positive, *numbers):
        value = sheets.get(sheet, {}).get((row, column))
        least = 0.0 if (sheet, row, column) in positive else -math.inf
        if not least < number_in(value) < math.inf:
            wanted = "a number greater than 0" if least == 0.0 else "a number"
            raise WorkbookError(
                f"{path}: {sheet}!{cell(row, column)} holds {value!r}, but it is an input cell and "
                f"needs {wanted}; type one"
            )
    for row, column in _dealt_cells(plan):
        start = plan.backprop.sheet
        number = sheets[start].get((row, column))
        if number_in(number) not in range(1, plan.program.network.samples + 1):
            raise WorkbookError(
                f"{path}: {start}!{cell(row, column)} holds {number!r}, but it is the number of a "
                f"sample, a whole number from 1 to {plan.program.network.samples}; type one"
            )
    for name, each in {} if plan.samples is None else sample_columns(sheets, plan.samples).items():
        if each.is_standardized and not each.deviation > 0:
            raise WorkbookError(
                f"{path}: in {SAMPLES}, {name} is the same in every sample, and to standardise it is to "
                "divide by 0; type other numbers"
            )
    network_of(path, plan, sheets)
    iteration = number_in(sheets.get(GRADIENT_CHECK, {}).get((3, 1)))
    if not plan.table_alone and iteration not in range(1, plan.steps + 1):
        raise WorkbookError(
            f"{path}: {GRADIENT_CHECK}!{cell(3, 1)} should be the number of an iteration, a whole "
            f"number from 1 to {plan.steps}; type one"
        )


def network_of(path: Path | str, plan: Plan, sheets: Sheets) -> Network:
    """The network with the hyper-parameters that stand in their cells."""
    settings, sheet = {}, plan.settings_sheet
    for name in plan.program.network.settings_in_use:
        row, column = plan.setting_cell(name)
        value = sheets[sheet].get((row, column))
        if not math.isfinite(number_in(value)):
            raise WorkbookError(
                f"{path}: {sheet}!{cell(row, column)} holds {value!r}, but it is an input cell and "
                "needs a number; type one"
            )
        settings[name] = number_in(value)
    try:
        return plan.program.network.learning(settings=settings)
    except NetworkError as error:
        raise WorkbookError(f"{path}: the input cells of {sheet} cannot be used: {error}") from None


def changes_of(plan: Plan, sheets: Sheets) -> Changes:
    """Another number for every input cell of the user."""
    settings = plan.settings_sheet
    changes: dict[tuple[str, int, int], float] = {}
    for position, (sheet, row, column) in enumerate(_rate_cells(plan)):
        changes[sheet, row, column] = number_in(sheets[sheet].get((row, column))) * _factor(position)
    for name, setting in plan.program.network.known_settings.items():
        if name in plan.program.hyperparameters:
            number = number_in(sheets[settings].get(plan.setting_cell(name)))
            other = number + 1 if setting.whole else 0.9 * number or 0.01
            changes[settings, *plan.setting_cell(name)] = min(max(other, setting.least), setting.most)
    for position, (place, name) in enumerate(_number_cells(plan).items()):
        number = number_in(sheets[place[0]].get(place[1:]))
        if name.startswith("t") and plan.program.network.loss.endswith("cross_entropy"):
            # shares of a whole: shrunk towards the even split, they stay between 0 and 1 and sum to 1
            outputs = plan.program.network.sizes[-1]
            changes[place] = 0.9 * number + 0.1 / max(2, outputs)
        else:
            changes[place] = number * _factor(position) if number else 0.015625
    for row, column in _dealt_cells(plan):  # the next sample
        number = number_in(sheets[plan.backprop.sheet].get((row, column)))
        changes[plan.backprop.sheet, row, column] = number % plan.program.network.samples + 1
    if not plan.table_alone:
        for position, typed in enumerate(Prediction(plan).typed):
            number = number_in(sheets[PREDICT].get(typed))
            changes[PREDICT, *typed] = number * _factor(position) if number else 0.015625
    return changes


def _number_cells(plan: Plan) -> dict[tuple[str, int, int], str]:
    """The input cells of data and initial parameters, with the quantity that stands in each."""
    table, samples = plan.backprop, plan.samples
    roles: tuple[Role, ...] = ("data", "parameter") if samples is None else ("parameter",)
    here = plan.program.of_role(*roles)
    cells = {(table.sheet, table.first_row, table.columns[q.name]): q.name for q in here}
    if samples is not None:
        rows = range(samples.first_row, samples.last_row + 1)
        cells |= {(SAMPLES, row, c): name for row in rows for name, c in samples.written.items()}
    return cells


def _dealt_cells(plan: Plan) -> list[tuple[int, int]]:
    """Rows and columns of Backprop where the user types which samples are dealt."""
    if plan.program.network.shuffle_seed is None:
        return []
    rows = range(plan.backprop.first_row, plan.backprop.last_row + 1)
    dealt = [plan.backprop.columns[q.name] for q in plan.program.of_role("dealt")]
    return [(row, column) for row in rows for column in dealt]


def _rate_cells(plan: Plan) -> list[tuple[str, int, int]]:
    compared = [(LEARNING_RATES, plan.RATES_ROW, 1 + number) for number in range(plan.rates)]
    return [(plan.settings_sheet, *plan.setting_cell(LEARNING_RATE)), *compared]


def _factor(position: int) -> float:
    """Another factor for every cell, so that no symmetry of the network survives."""
    return 0.7 + 0.01 * (position % 20)
