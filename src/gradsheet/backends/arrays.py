"""Run a `Program` with NumPy: one network, or thousands of learning rates and seeds at once.

Every value is a float64 array of one common shape, the *batch* (``()`` for a single run), so that a
whole sweep costs about as many NumPy calls as one training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gradsheet.compiler import TRAINING_ROLES, Program, gradient_name
from gradsheet.expression import Array, Previous, evaluate
from gradsheet.optimizers import LEARNING_RATE

Values = Mapping[str, Any]


def evaluate_all(program: Program, inputs: Values) -> dict[str, Any]:
    """What the network comes to: the inputs, then the formulas up to the gradients, in their order.

    ``inputs`` holds data and parameters by name, floats or arrays of shape (batch).
    """
    values = dict(inputs)
    with np.errstate(over="ignore", invalid="ignore"):
        for quantity in program.quantities:
            if quantity.expression is not None and quantity.role not in TRAINING_ROLES:
                values[quantity.name] = evaluate(quantity.expression, values)
    return values


def predict(program: Program, inputs: Values) -> dict[str, Any]:
    """The forward pass of the first sample alone, inputs included; see `evaluate_all`."""
    values = dict(inputs)
    with np.errstate(over="ignore", invalid="ignore"):
        for quantity in program.prediction:
            assert quantity.expression is not None
            values[quantity.name] = evaluate(quantity.expression, values)
    return values


def iterations(
    program: Program,
    steps: int,
    learning_rate: float | Array,
    *,
    inputs: Values | None = None,
) -> Iterator[dict[str, Array]]:
    """Train: yield every quantity, iteration by iteration, and keep nothing of the past.

    The k-th yield holds the network before its k-th update. ``inputs`` replaces initial values of data
    and parameters by name; ``learning_rate`` and ``inputs`` broadcast to the batch. Where mini-batches
    are dealt, the data of every iteration are those of the samples dealt.
    """
    rate = np.asarray(learning_rate, dtype=np.float64)
    settings = {**program.hyperparameters, LEARNING_RATE: rate}
    initial = {**program.initial, **(inputs or {})}
    current: dict[str, Any] = {n: np.asarray(v, dtype=np.float64) for n, v in initial.items()}
    remembered = program.of_role(*TRAINING_ROLES)
    previous: dict[str, Any] = {}
    for iteration, dealt in zip(range(1, steps + 1), program.batches(), strict=False):
        current |= dealt
        values = evaluate_all(program, current)
        known = {**values, **settings, **previous, "iteration": np.float64(iteration)}
        with np.errstate(over="ignore", invalid="ignore"):
            for quantity in remembered:
                first = quantity.first if iteration == 1 else None
                expression = first or quantity.expression
                assert expression is not None
                known[quantity.name] = values[quantity.name] = evaluate(expression, known)
        yield values
        with np.errstate(over="ignore", invalid="ignore"):
            for update in program.updates:
                current[update.parameter] = evaluate(update.guarded, known)
        previous = {Previous(q.name).key: known[q.name] for q in remembered}


def train(
    program: Program,
    steps: int,
    learning_rate: float | Array,
    *,
    inputs: Values | None = None,
    record: Iterable[str] | None = None,
) -> dict[str, Array]:
    """Train, and return the recorded quantities (all by default), each of shape (steps, batch).

    Row k holds iteration k + 1: the network before its (k + 1)-th update. The arguments are those of
    `iterations`.
    """
    names = [quantity.name for quantity in program.quantities] if record is None else list(record)
    shapes = (np.shape(value) for value in (inputs or {}).values())
    batch = np.broadcast_shapes(np.shape(learning_rate), *shapes)
    recorded = {name: np.empty((steps, *batch)) for name in names}
    for step, values in enumerate(iterations(program, steps, learning_rate, inputs=inputs)):
        for name, rows in recorded.items():
            rows[step] = values[name]
    return recorded


def evaluate_shifted(
    program: Program, inputs: Values, step: float, parameters: Sequence[str]
) -> dict[str, Any]:
    """Every quantity with one of ``parameters`` after the other moved by ``step``, then by −``step``.

    The values are of shape (2 · parameters,), or floats where nothing depends on them.
    """
    point = np.array([inputs[name] for name in parameters], dtype=np.float64)
    shifts = step * np.eye(len(point))
    shifted = point + np.concatenate([shifts, -shifts])
    moved = {name: shifted[:, k] for k, name in enumerate(parameters)}
    return evaluate_all(program, {**inputs, **moved})


def hessian(program: Program, inputs: Values, step: float = 1e-5) -> Array:
    """Second derivatives of the loss by the trained parameters, shape (parameters, parameters).

    Central differences of the program's own gradient with the given ``step``, all at once; about nine
    digits hold for values of order 1.
    """
    parameters = program.trained
    values = evaluate_shifted(program, inputs, step, parameters)
    gradients = np.stack(
        [np.broadcast_to(values[gradient_name(name)], 2 * len(parameters)) for name in parameters]
    )
    ahead, behind = np.split(gradients, 2, axis=1)
    with np.errstate(invalid="ignore"):  # infinite gradients have no difference: NaN
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
