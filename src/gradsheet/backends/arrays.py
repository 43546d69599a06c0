"""Run a `Program` with NumPy: one network, or thousands of learning rates and seeds at once.

Every value is a float64 array of one common shape, the *batch* (``()`` for a single run), so that a
whole sweep costs about as many NumPy calls as one training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gradsheet.compiler import Program, gradient_name
from gradsheet.expression import Array, evaluate

Values = Mapping[str, Any]


def evaluate_all(program: Program, inputs: Values) -> dict[str, Any]:
    """Every quantity of one iteration, in the program's order.

    ``inputs`` holds data and parameters by name, floats or arrays of shape (batch).
    """
    values = dict(inputs)
    with np.errstate(over="ignore", invalid="ignore"):
        for quantity in program.quantities:
            if quantity.expression is not None:
                values[quantity.name] = evaluate(quantity.expression, values)
    return values


def train(
    program: Program,
    steps: int,
    learning_rate: float | Array,
    *,
    inputs: Values | None = None,
    record: Iterable[str] | None = None,
) -> dict[str, Array]:
    """Train, and return the recorded quantities (all by default), each of shape (steps, batch).

    Row k holds iteration k + 1: the network before its (k + 1)-th update. ``inputs`` replaces initial
    values of data and parameters by name; ``learning_rate`` and ``inputs`` broadcast to the batch.
    """
    current: dict[str, Any] = {**program.initial, **(inputs or {})}
    rate = np.asarray(learning_rate, dtype=np.float64)
    batch = np.broadcast_shapes(rate.shape, *(np.shape(value) for value in current.values()))
    recorded = {
        name: np.empty((steps, *batch))
        for name in ([q.name for q in program.quantities] if record is None else record)
    }
    current = {name: np.asarray(value, dtype=np.float64) for name, value in current.items()}
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps):
            values = evaluate_all(program, current)
            for name, rows in recorded.items():
                rows[step] = values[name]
            values[program.learning_rate] = rate
            for update in program.updates:
                current[update.parameter] = evaluate(update.guarded, values)
    return recorded


def hessian(program: Program, inputs: Values, step: float = 1e-5) -> Array:
    """Second derivatives of the loss by the trained parameters, shape (parameters, parameters).

    Central differences of the program's own gradient with the given ``step``, all at once; about nine
    digits hold for values of order 1.
    """
    parameters = program.trained
    point = np.array([inputs[name] for name in parameters], dtype=np.float64)
    shifts = step * np.eye(len(parameters))
    shifted = point + np.concatenate([shifts, -shifts])  # (2 · parameters, parameters)
    moved = {name: shifted[:, k] for k, name in enumerate(parameters)}
    values = evaluate_all(program, {**inputs, **moved})
    gradients = np.stack(
        [np.broadcast_to(values[gradient_name(name)], len(shifted)) for name in parameters]
    )
    ahead, behind = np.split(gradients, 2, axis=1)
    matrix = (ahead - behind) / (2 * step)
    return np.asarray((matrix + matrix.T) / 2)


def critical_learning_rate(program: Program, inputs: Values) -> float:
    """2/λmax, λmax the largest eigenvalue of the loss's Hessian at ``inputs``.

    Beyond this rate gradient descent overshoots along the steepest curvature. Infinite where the loss
    curves upwards in no direction, NaN where it is not finite.
    """
    matrix = hessian(program, inputs)
    if not np.isfinite(matrix).all():
        return float("nan")
    eigenvalues = np.linalg.eigvalsh(matrix)
    rounding = 1e-9 * np.abs(eigenvalues).max()  # of the differences: what is below it is zero
    return float(2 / eigenvalues[-1]) if eigenvalues[-1] > rounding else float("inf")
