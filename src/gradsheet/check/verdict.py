"""What `check` says of a workbook: plain values, made by the judges and printed by the reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["correct", "wrong", "not understood", "unusable"]

EXIT_CODES: Mapping[str, int] = {"correct": 0, "wrong": 1, "unusable": 2, "not understood": 3}


@dataclass(frozen=True)
class LearningRate:
    """The cell that holds the learning rate (None where it is typed into formulas), and its value."""

    cell: str | None
    value: float | None


@dataclass(frozen=True)
class Understood:
    """How a table was read.

    ``header_row`` and ``rows`` (first and last) count from 1, as the sheet does. ``columns`` gives, for
    every quantity, the letters of its column, or the address of its cell where it has only one.
    ``notes`` are sentences on what is unusual but not wrong: conventions, pasted values.
    """

    sheet: str
    header_row: int
    rows: tuple[int, int]
    layout: str
    architecture: str
    activation: str
    loss: str
    learning_rate: LearningRate
    columns: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One mistake in one column: all its cells, what stands in the first of them, what belongs there.

    ``quantity`` is such as ``dE/dw3``, ``update of w3``, ``h1``, ``E1`` or ``learning rate``. ``cells``
    is a range such as ``Z22:Z121``, or several with commas. ``shown`` and ``expected`` are formulas
    (they begin with ``=``) or numbers as text. ``cause`` says in words what happened.
    ``max_relative_error`` is None where it cannot be measured.
    """

    sheet: str
    quantity: str
    cells: str
    count: int
    shown: str
    expected: str
    cause: str
    max_relative_error: float | None


@dataclass(frozen=True)
class Verdict:
    """All that `check` found out about one file.

    ``reason`` says why a file is unusable or not understood; "" otherwise. ``effects`` are sentences on
    what the mistakes of a table do to learning; ``notes`` are remarks on the file that are no mistakes.
    """

    file: str
    outcome: Outcome
    understood: tuple[Understood, ...] = ()
    findings: tuple[Finding, ...] = ()
    effects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]


def to_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain data, in the shape that docs/check.md describes."""
    return {
        "file": verdict.file,
        "verdict": verdict.outcome,
        "understood": [
            {
                "sheet": table.sheet,
                "header_row": table.header_row,
                "rows": list(table.rows),
                "layout": table.layout,
                "architecture": table.architecture,
                "activation": table.activation,
                "loss": table.loss,
                "learning_rate": {
                    "cell": table.learning_rate.cell,
                    "value": table.learning_rate.value,
                },
                "columns": dict(table.columns),
                "notes": list(table.notes),
            }
            for table in verdict.understood
        ],
        "findings": [
            {
                "sheet": finding.sheet,
                "quantity": finding.quantity,
                "cells": finding.cells,
                "count": finding.count,
                "shown": finding.shown,
                "expected": finding.expected,
                "cause": finding.cause,
                "max_relative_error": finding.max_relative_error,
            }
            for finding in verdict.findings
        ],
        "effects": list(verdict.effects),
        "notes": list(verdict.notes),
        "reason": verdict.reason,
    }
