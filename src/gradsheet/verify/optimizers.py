"""Prove a workbook that compares optimizers: every training as that of an ordinary workbook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradsheet.backends.workbook_layout import NETWORK, cell
from gradsheet.backends.workbook_optimizers import COMPARED, Comparison, Training
from gradsheet.compiler import compile_network
from gradsheet.engines import Sheets
from gradsheet.errors import NetworkError, WorkbookError
from gradsheet.expression import Array
from gradsheet.network import parse
from gradsheet.optimizers import LEARNING_RATE
from gradsheet.verify import ENGINES
from gradsheet.verify.inputs import changes_of, check_headers, check_inputs, network_of, network_text
from gradsheet.verify.tables import (
    LISTED,
    ROUNDING_FLOOR,
    Judge,
    column_of,
    judge_best,
    judge_errors,
    judge_losses,
    judge_samples,
    judge_table,
    merged,
    number_in,
    sample_columns,
)
from gradsheet.verify.verdict import Run, Verdict


def verify_comparison(path: Path, text: Sheets, engines: Sequence[str], oracle: Any) -> Verdict:
    """Recalculate the workbook, as it stands and with every input changed, and compare every number.

    ``text`` is the workbook recalculated once, ``oracle`` the module with PyTorch. Raises
    `WorkbookError` where it cannot be read.
    """
    comparison = read_comparison(path, text)
    runs = []
    for engine in engines:
        sheets = ENGINES[engine].recalculate(path)
        _check(path, comparison, sheets)
        runs.append(_judge(comparison, sheets, engine, False, oracle))
        changes: dict[tuple[str, int, int], float | str] = {}
        for training in comparison.trainings:
            changes.update(changes_of(training, sheets))
        changed = ENGINES[engine].recalculate(path, changes)
        runs.append(_judge(comparison, changed, engine, True, oracle))
    return Verdict(str(path), comparison.programs[0].network.name, comparison.steps, tuple(runs))


def read_comparison(path: Path, sheets: Sheets) -> Comparison:
    """The places of a workbook that gradsheet wrote, from the text in its sheet Network."""
    try:
        text = sheets[NETWORK]
        network = parse(network_text(text))
        names = str(text[4, 1]).split(", ")
        programs = tuple(compile_network(network.learning(name)) for name in names)
        return Comparison(programs, int(text[3, 1]))
    except (NetworkError, KeyError, ValueError) as error:
        raise WorkbookError(
            f"{path}: its sheet {NETWORK} was edited and cannot be read ({error}); "
            "generate the workbook again"
        ) from None


def _check(path: Path, comparison: Comparison, sheets: Sheets) -> None:
    """The columns stand where they did, and the input cells hold numbers that can be computed with."""
    for training in comparison.trainings:
        place = (training.HEADER_ROW, 1 + training.number)
        name, found = training.program.network.optimizer, sheets[COMPARED].get(place)
        if found != name:
            raise WorkbookError(
                f"{path}: {COMPARED}!{cell(*place)} should be {name!r}, but holds {found!r}; the "
                "columns were moved since gradsheet wrote them: undo that, or write the workbook again"
            )
        check_headers(path, training, sheets)
        check_inputs(path, training, sheets)


def _judge(comparison: Comparison, sheets: Sheets, engine: str, changed: bool, oracle: Any) -> Run:
    judge = Judge(sheets)
    losses_table, cells = comparison.losses, sheets[COMPARED]
    columns = [1 + training.number for training in comparison.trainings]
    for training, column in zip(comparison.trainings, columns, strict=True):
        rate = number_in(cells.get(training.setting_cell(LEARNING_RATE)))
        network = network_of(f"recalculated by {engine}", training, sheets)
        truth = judge_table(judge, training, training.table, network, rate, oracle)
        name = training.program.shown_loss
        judge_losses(judge, losses_table, comparison.final_row, column, name, truth[name])
    _judge_start(judge, comparison.trainings[0], truth)
    judge.groups = merged(judge.groups)
    names = {column: str(cells[Training.HEADER_ROW, column]) for column in columns}
    headers = {(losses_table.header_row, column): name for column, name in names.items()}
    judge.same_text(COMPARED, "names", headers)
    best = judge_best(judge, COMPARED, comparison.final_row, columns)
    if best:
        place = (comparison.final_row + 2, 1)
        named = cells.get(place)
        fitting = [names[column] for column in best]
        expected = str(named) if named in fitting else fitting[0]
        judge.same_text(COMPARED, "best optimizer", {place: expected})
    judge_errors(judge)
    return Run(
        engine, changed, None, tuple(judge.groups), tuple(judge.differences[:LISTED]), judge.differing
    )


def _judge_start(judge: Judge, training: Training, truth: Mapping[str, Array]) -> None:
    """The data, where they are formulas: dealt in batches, or standardised."""
    if training.samples is None:
        return
    judge_samples(judge, training.samples)
    table, items = training.backprop, []
    columns = sample_columns(judge.sheets, training.samples)
    for quantity in training.program.of_role("dealt", "data"):
        if quantity in training.data_once:
            continue
        each = columns.get(quantity.name.partition("[")[0])
        floor = np.full(table.steps, ROUNDING_FLOOR * (1.0 if each is None else each.spread))
        column = table.columns[quantity.name]
        found, right = column_of(judge.sheets, table, column), truth[quantity.name][: table.steps]
        items.append((quantity.name, table.first_row, column, found, right, floor))
    judge.compare(table.sheet, "data", items)
