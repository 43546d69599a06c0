"""Optimizers and learning-rate schedules: each is one entry of a table, and holds no code of its own.

A rule is an expression of these letters, which the compiler puts a parameter's own names into:
``W`` the parameter, ``G`` its gradient, ``RATE`` the learning rate of the iteration, ``T`` the number of
the iteration, from 1. A state is a letter of its own, ``Previous`` of it the value in the iteration
before, and every hyper-parameter goes by its name. Conventions are PyTorch's; where textbooks differ,
their rule is an entry beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gradsheet.expression import ONE, Expression, Previous, Reference, apply, square

W, G, RATE, T = (Reference(name) for name in ("w", "g", "rate", "iteration"))
LEARNING_RATE = "learning_rate"


@dataclass(frozen=True)
class Hyperparameter:
    """A number that a rule needs: what it is, its usual value, and from where to where it makes sense.

    One that is ``optional`` has no cell while it is 0, and leaves no trace in the rules.
    """

    meaning: str
    default: float
    least: float = 0.0
    most: float = 1.0
    whole: bool = False
    optional: bool = False


@dataclass(frozen=True)
class State:
    """What an optimizer remembers of every parameter: how it follows from the one before.

    ``first`` is the rule of the first iteration; by default the state before it was 0.
    """

    rule: Expression
    first: Expression | None = None


@dataclass(frozen=True)
class Optimizer:
    """How a parameter is updated, once its states have seen the gradient of the iteration.

    A weight decay adds its share of the parameter to the gradient, unless the rule is ``decoupled`` and
    uses it by itself.
    """

    words: str
    update: Expression
    states: Mapping[str, State] = field(default_factory=dict)
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)
    decoupled: bool = False


@dataclass(frozen=True)
class Schedule:
    """The learning rate of an iteration, as a formula of the one that was given."""

    words: str
    rate: Expression
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)


# ---------------------------------------------------------------- hyper-parameters

SMOOTHED = State(
    Reference("smoothing") * Previous("E_smooth") + (1 - Reference("smoothing")) * Reference("E_total"),
    first=Reference("E_total"),
)
"""The loss of a batch, smoothed: an exponential moving average, for every batch has another loss."""
SMOOTHING = Hyperparameter("how much of the smoothed loss is kept", 0.9)

_MOST = 0.99999
"""Nearer to 1, the bias correction 1 − βᵗ would keep too few digits."""

_LAMBDA = Hyperparameter("share of the weight that is added to its gradient", 0.0, optional=True)
_EPSILON = Hyperparameter("keeps the quotient from dividing by 0", 1e-8, least=1e-16)
_MU = Hyperparameter("how much of the velocity is kept", 0.9, most=_MOST)
_BETA1 = Hyperparameter("how much of the average gradient is kept", 0.9, most=_MOST)
_BETA2 = Hyperparameter("how much of the average squared gradient is kept", 0.999, most=_MOST)
_ALPHA = Hyperparameter("how much of the average squared gradient is kept", 0.99, most=_MOST)

_mu, _tau, _lambda, _alpha, _beta1, _beta2, _epsilon = (
    Reference(name)
    for name in ("momentum", "dampening", "weight_decay", "alpha", "beta1", "beta2", "epsilon")
)
_m, _v, _s = Reference("m"), Reference("v"), Reference("s")


def _average(letter: str, kept: Expression, seen: Expression) -> State:
    """An exponential moving average."""
    return State(kept * Previous(letter) + (1 - kept) * seen)


def _root(expression: Expression) -> Expression:
    return apply("sqrt", expression)


def _corrected(state: Expression, kept: Expression) -> Expression:
    """An average that began at 0, freed from this bias."""
    return state / (1 - apply("power", kept, T))


_ADAM_STATES = {"m": _average("m", _beta1, G), "v": _average("v", _beta2, square(G))}
_ADAM_STEP = RATE * (_corrected(_m, _beta1) / (_root(_corrected(_v, _beta2)) + _epsilon))
_ADAM = {"beta1": _BETA1, "beta2": _BETA2, "epsilon": _EPSILON}

# ---------------------------------------------------------------- optimizers

OPTIMIZERS: Mapping[str, Optimizer] = {
    "sgd": Optimizer("gradient descent", W - RATE * G, hyperparameters={"weight_decay": _LAMBDA}),
    "momentum": Optimizer(
        "gradient descent with momentum",
        W - RATE * _m,
        {"m": State(_mu * Previous("m") + (1 - _tau) * G, first=G)},
        {
            "momentum": _MU,
            "dampening": Hyperparameter("share of the gradient left out", 0.0, optional=True),
            "weight_decay": _LAMBDA,
        },
    ),
    "momentum_average": Optimizer(
        "momentum as an average of the gradients, from 0",
        W - RATE * _m,
        {"m": _average("m", _mu, G)},
        {"momentum": _MU, "weight_decay": _LAMBDA},
    ),
    "momentum_velocity": Optimizer(
        "momentum whose velocity holds the learning rate",
        W - _m,
        {"m": State(_mu * Previous("m") + RATE * G)},
        {"momentum": _MU, "weight_decay": _LAMBDA},
    ),
    "nesterov": Optimizer(
        "Nesterov's momentum",
        W - RATE * (G + _mu * _m),
        {"m": State(_mu * Previous("m") + G)},
        {"momentum": _MU, "weight_decay": _LAMBDA},
    ),
    "adagrad": Optimizer(
        "Adagrad",
        W - RATE * (G / (_root(_s) + _epsilon)),
        {"s": State(Previous("s") + square(G))},
        {
            "epsilon": Hyperparameter(_EPSILON.meaning, 1e-10, least=1e-16),
            "weight_decay": _LAMBDA,
        },
    ),
    "rmsprop": Optimizer(
        "RMSProp",
        W - RATE * (G / (_root(_v) + _epsilon)),
        {"v": _average("v", _alpha, square(G))},
        {"alpha": _ALPHA, "epsilon": _EPSILON, "weight_decay": _LAMBDA},
    ),
    "rmsprop_inside": Optimizer(
        "RMSProp with ε inside the root",
        W - RATE * (G / _root(_v + _epsilon)),
        {"v": _average("v", _alpha, square(G))},
        {"alpha": _ALPHA, "epsilon": _EPSILON, "weight_decay": _LAMBDA},
    ),
    "adam": Optimizer("Adam", W - _ADAM_STEP, _ADAM_STATES, {**_ADAM, "weight_decay": _LAMBDA}),
    "adamw": Optimizer(
        "AdamW",
        W - RATE * _lambda * W - _ADAM_STEP,
        _ADAM_STATES,
        {**_ADAM, "weight_decay": Hyperparameter("share of the weight that is taken off", 0.01)},
        decoupled=True,
    ),
}

# ---------------------------------------------------------------- schedules

_eta, _past = Reference(LEARNING_RATE), T - 1


def _count(meaning: str, default: int) -> Hyperparameter:
    return Hyperparameter(meaning, default, least=1, most=1e6, whole=True)


SCHEDULES: Mapping[str, Schedule] = {
    "constant": Schedule("the same in every iteration", _eta),
    "step": Schedule(
        "multiplied by a factor every so many iterations",
        _eta * apply("power", Reference("step_factor"), apply("floor", _past / Reference("step_size"))),
        {
            "step_size": _count("iterations with the same learning rate", 25),
            "step_factor": Hyperparameter("what it is multiplied by then", 0.5, least=1e-6),
        },
    ),
    "warmup": Schedule(
        "rising in a straight line to the learning rate that was given",
        _eta
        * (
            Reference("start_factor")
            + (1 - Reference("start_factor")) * apply("minimum", ONE, _past / Reference("warmup_steps"))
        ),
        {
            "start_factor": Hyperparameter("share of the learning rate to begin with", 0.1, least=1e-6),
            "warmup_steps": _count("iterations until it is reached", 10),
        },
    ),
    "cosine": Schedule(
        "falling along half a cosine wave",
        Reference("minimum_rate")
        + (_eta - Reference("minimum_rate"))
        * (1 + apply("cos", math.pi * _past / Reference("period")))
        / 2,
        {
            "period": _count("iterations until it is lowest; then it rises again", 100),
            "minimum_rate": Hyperparameter("the lowest learning rate", 0.0, most=1e6),
        },
    ),
}
