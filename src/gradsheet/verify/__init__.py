"""Prove a workbook that gradsheet wrote: recalculate it, and compare every number with autograd.

The recalculated numbers are held against PyTorch, never against our own formulas. Every row of a table
is judged on its own weights: PyTorch computes forward pass, loss and gradients from the weights that
stand in the row, takes one optimizer step, and what comes out must stand in the row below. So no error
hides behind an earlier one, and the first row proves the start of the chain.

Every workbook is calculated twice: as it stands, and again with all its input cells changed: learning
rates, weights, inputs and targets. A number pasted over its formula survives the first run and fails the
second.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradsheet.backends.workbook_layout import BACKPROP, BLANK_ROW, LEARNING_RATES, NETWORK, Plan, Table
from gradsheet.backends.workbook_optimizers import COMPARED
from gradsheet.engines import Changes, Sheets, ironcalc, libreoffice
from gradsheet.errors import WorkbookError
from gradsheet.verify.inputs import changes_of, check_headers, check_inputs, network_of, read_plan
from gradsheet.verify.sheets import (
    judge_best_rate,
    judge_derivation,
    judge_gradient_check,
    judge_predict,
    judge_summary,
)
from gradsheet.verify.tables import (
    LISTED,
    Judge,
    judge_errors,
    judge_losses,
    judge_samples,
    judge_table,
    merged,
    number_in,
)
from gradsheet.verify.verdict import Run, Verdict, to_json, to_text

if TYPE_CHECKING:
    from gradsheet.mnist.workbook_verify import CnnVerdict

__all__ = ["ENGINES", "Verdict", "read_plan", "to_json", "to_text", "verify"]

ENGINES = {"ironcalc": ironcalc, "libreoffice": libreoffice}


def verify(path: Path, engines: Sequence[str] = ("ironcalc",)) -> Verdict | CnnVerdict:
    """Recalculate a workbook that gradsheet wrote and compare it with PyTorch.

    ``engines`` are names of `ENGINES`. A workbook of a network that reads digits is proved by
    `gradsheet.mnist.workbook_verify`.

    Raises `WorkbookError` when gradsheet did not write it, or as an exercise, or its columns were moved,
    `MissingDependencyError` without PyTorch or an engine.
    """
    # The text of a workbook needs no second opinion: it is read once. Opening it is what takes long.
    changes: Changes = {}
    opened = ironcalc.recalculate_each(path, iter(lambda: changes, None))
    text = next(opened)
    if {"Digit", "Layers"} <= text.keys():
        from gradsheet.mnist.workbook_verify import verify_cnn

        return verify_cnn(path, text, engines)
    from gradsheet.backends import autograd  # loads PyTorch: only here, and only when asked for

    if COMPARED in text:
        from gradsheet.verify.optimizers import verify_comparison

        return verify_comparison(path, text, engines, autograd)
    plan = read_plan(path, text)
    if blank := text[NETWORK].get((BLANK_ROW, 1)):
        raise WorkbookError(
            f"{path}: is an exercise, whose {blank} are a student's, and verify proves what gradsheet "
            "wrote; grade it with `gradsheet check`"
        )
    runs = []
    for engine in engines:
        sheets = text if engine == "ironcalc" else ENGINES[engine].recalculate(path)
        check_headers(path, plan, sheets)
        check_inputs(path, plan, sheets)
        runs.append(_judge(plan, sheets, engine, False, autograd))
        changes = changes_of(plan, sheets)
        changed = next(opened) if engine == "ironcalc" else ENGINES[engine].recalculate(path, changes)
        runs.append(_judge(plan, changed, engine, True, autograd))
    return Verdict(str(path), plan.program.network.name, plan.steps, tuple(runs))


def _judge(plan: Plan, sheets: Sheets, engine: str, changed: bool, oracle: Any) -> Run:
    judge = Judge(sheets)
    rate = number_in(sheets[BACKPROP].get((plan.RATE_ROW, plan.RATE_COLUMN)))
    network = network_of(f"recalculated by {engine}", plan, sheets)
    if plan.samples is not None:
        judge_samples(judge, plan.samples)
    truth = judge_table(judge, plan, plan.backprop, network, rate, oracle)
    for number, table in enumerate(plan.workings):
        column, shown = 1 + number, Table(LEARNING_RATES, plan.LOSSES_HEADER_ROW, {}, table.steps)
        own = number_in(sheets[LEARNING_RATES].get((plan.RATES_ROW, column)))
        losses = judge_table(judge, plan, table, network, own, oracle)[plan.program.shown_loss]
        judge_losses(judge, shown, plan.RATES_ROW + 1, column, plan.program.shown_loss, losses)
        place = (shown.header_row, column)
        found, expected = np.array([number_in(sheets[LEARNING_RATES].get(place))]), np.array([own])
        judge.compare(
            LEARNING_RATES, "losses", [("learning_rate", *place, found, expected, 0 * expected)]
        )
    judge.groups = merged(judge.groups)
    judge_summary(judge, plan, truth[plan.program.shown_loss])
    if not plan.table_alone:
        judge_best_rate(judge, plan)
        judge_gradient_check(judge, plan, truth, oracle)
        judge_derivation(judge, plan, truth)
        judge_predict(judge, plan, oracle)
    judge_errors(judge)
    listed = tuple(judge.differences[:LISTED])
    return Run(engine, changed, rate, tuple(judge.groups), listed, judge.differing)
