"""Expressions: every value and derivative rule against SymPy, PyTorch and finite differences."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from gradsheet.expression import (
    DIVERGENCE_LIMIT,
    LEAKY_SLOPE,
    ONE,
    OPERATIONS,
    TEXT,
    ZERO,
    Application,
    Constant,
    Expression,
    Reference,
    add,
    apply,
    differentiate,
    divide,
    evaluate,
    format_number,
    label,
    multiply,
    negate,
    partial_derivatives,
    references,
    render,
    square,
    substitute,
    subtract,
)

NAN, INF = math.nan, math.inf
A, B, C = Reference("a"), Reference("b"), Reference("c")

# ---------------------------------------------------------------- the rules of all operations


@dataclass(frozen=True)
class Rule:
    """What an operation must be, told twice more, and where to look.

    ``smooth`` points, saturated ones included, have one derivative, which all oracles must give. At
    the ``corners`` it is a convention, and PyTorch's is the one that counts.
    """

    sympy: Callable[..., Any]
    torch: Callable[..., torch.Tensor]
    smooth: tuple[tuple[float, ...], ...]
    corners: tuple[tuple[float, ...], ...] = ()


def either(condition: Any, then: Any, otherwise: Any) -> Any:
    return sympy.Piecewise((then, condition), (otherwise, True))


def points(*values: float) -> tuple[tuple[float, ...], ...]:
    return tuple((value,) for value in values)


SATURATED = points(-1e4, -750, -700, -40, -3, -0.25, 0.25, 3, 40, 700, 750, 1e4)
SLOPE = sympy.Rational(1, 100)
LIMIT = sympy.Integer(10) ** 15


def normal_share(x: Any) -> Any:
    """The share of the normal distribution below x, in the tanh form of GELU's paper."""
    return (1 + sympy.tanh(sympy.sqrt(2 / sympy.pi) * (x + sympy.Rational("0.044715") * x**3))) / 2


RULES = {
    "add": Rule(lambda *x: sum(x), lambda *x: sum(x), ((1.5, -2, 0.25), (1e4, -1e-4), (0, 0), (3,))),
    "subtract": Rule(operator.sub, operator.sub, ((1.5, -2), (-1e4, 1e-4), (2, 2))),
    "multiply": Rule(
        lambda *x: reduce(operator.mul, x),
        lambda *x: reduce(operator.mul, x),
        ((1.5, -2, 0.25), (1e4, -1e-4), (0, 3), (0, 0, 2), (3,)),
    ),
    "divide": Rule(operator.truediv, operator.truediv, ((3, -2), (0, 5), (-1e4, 1e-4))),
    "negate": Rule(operator.neg, operator.neg, points(-2, 0, 1e4)),
    "square": Rule(lambda x: x**2, torch.square, points(-1e4, -3, 0, 1e-4, 2)),
    "exp": Rule(sympy.exp, torch.exp, points(-1e4, -700, -1, 0, 0.5, 700)),
    "log": Rule(sympy.log, torch.log, points(1e-300, 0.5, 1, 3, 1e4)),
    "sigmoid": Rule(
        lambda x: 1 / (1 + sympy.exp(-x)), torch.sigmoid, (*SATURATED, (0,)), points(-INF, INF, NAN)
    ),
    "tanh": Rule(sympy.tanh, torch.tanh, (*SATURATED, (0,)), points(-INF, INF, NAN)),
    "relu": Rule(lambda x: either(x > 0, x, 0), torch.relu, SATURATED, points(0.0, -0.0)),
    "step": Rule(lambda x: either(x > 0, 1, 0), lambda x: 0 * x + (x > 0), SATURATED, points(0.0, -0.0)),
    "leaky_relu": Rule(
        lambda x: either(x > 0, x, SLOPE * x),
        torch.nn.functional.leaky_relu,
        SATURATED,
        points(0.0, -0.0),
    ),
    "leaky_step": Rule(
        lambda x: either(x > 0, 1, SLOPE),
        lambda x: 0 * x + torch.where(x > 0, 1.0, 0.01 + 0 * x),
        SATURATED,
        points(0.0, -0.0),
    ),
    "softplus": Rule(
        lambda x: sympy.log(1 + sympy.exp(x)),
        lambda x: torch.logaddexp(x, torch.zeros_like(x)),
        (*SATURATED, (0,)),
    ),
    "elu": Rule(
        lambda x: either(x > 0, x, sympy.exp(x) - 1),
        torch.nn.functional.elu,
        SATURATED,
        points(0.0, -0.0),
    ),
    "minimum": Rule(sympy.Min, torch.minimum, ((1, 2), (-1e4, 1e4), (3, -2))),
    "sqrt": Rule(sympy.sqrt, torch.sqrt, points(0.01, 0.25, 2, 1e4)),
    "power": Rule(operator.pow, torch.pow, ((0.9, 10), (2, 3), (0.5, 0.25), (1e4, -1))),
    "floor": Rule(  # SymPy has no derivative of its own floor; this is it at the points
        lambda x: either(x < -1, -2, either(x < 1, 0, 3)),
        lambda x: torch.floor(x) + 0 * x,
        points(-1.5, 0.25, 3.75),
    ),
    "cos": Rule(sympy.cos, torch.cos, points(-3, -0.25, 0, 0.5, 2)),
    "silu": Rule(lambda x: x / (1 + sympy.exp(-x)), torch.nn.functional.silu, (*SATURATED, (0,))),
    "gelu": Rule(
        lambda x: x * normal_share(x),
        lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        (*SATURATED, (0,)),
    ),
    "normal_share": Rule(
        lambda x: normal_share(x),
        lambda x: (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
        (*SATURATED, (0,)),
    ),
    "absolute": Rule(lambda x: either(x > 0, x, -x), torch.abs, SATURATED, points(0.0, -0.0)),
    "sign": Rule(sympy.sign, lambda x: torch.sign(x) + 0 * x, SATURATED, points(0.0, -0.0)),
    "huber": Rule(
        lambda x: either(x**2 < 1, x**2 / 2, either(x > 0, x, -x) - sympy.Rational(1, 2)),
        lambda x: torch.nn.functional.huber_loss(x, 0 * x.detach(), reduction="none"),
        (*SATURATED, (0,)),
        points(1.0, -1.0),
    ),
    "clip": Rule(
        lambda x: either(x**2 < 1, x, either(x > 0, 1, -1)),
        lambda x: x.clip(-1, 1) - (x - x.detach()) * (x.abs() == 1),  # at both ends: no slope
        (*SATURATED, (0,)),
        points(1.0, -1.0),
    ),
    "hold": Rule(
        lambda x, new, old: either(x < LIMIT, new, old),
        lambda x, new, old: torch.where(x < 1e15, new, old) + 0 * x.nan_to_num(),
        ((0.5, 2, 3), (-1, 2, 3), (1e14, 2, 3), (1e16, 2, 3)),
        ((1e15, 2, 3), (INF, 2, 3), (NAN, 2, 3)),
    ),
    "detached_max": Rule(
        sympy.Max,
        lambda *x: reduce(torch.maximum, x).detach() + 0 * sum(x),
        ((1, 2, -1), (1e4, -1e4), (2, 2)),
    ),
}


def cases(*kinds: str) -> list[Any]:
    return [
        pytest.param(operation, point, id=f"{operation}{point}")
        for operation, rule in RULES.items()
        for kind in kinds
        for point in getattr(rule, kind)
    ]


DIFFERENTIABLE = [case for case in cases("smooth") if case.values[0] != "detached_max"]

# The rules are a few floating-point operations each, so a few units in the last place; next to 1,
# σ·(1 − σ) and 1 − tanh² keep absolute digits only, as they do in a sheet and in PyTorch.
CLOSE = {"rel": 1e-14, "abs": 1e-15, "nan_ok": True}


def applied(operation: str, point: tuple[float, ...]) -> tuple[Expression, dict[str, Any]]:
    """The operation applied to x0, x1 …, and their values together with its result y."""
    values = {f"x{k}": np.float64(value) for k, value in enumerate(point)}
    expression = apply(operation, *map(Reference, values))
    return expression, {**values, "y": evaluate(expression, values)}


def derivatives(operation: str, point: tuple[float, ...]) -> list[float]:
    """All partial derivatives, with the result spelled out; it must make no difference to name it."""
    expression, values = applied(operation, point)
    names = [f"x{k}" for k in range(len(point))]
    spelled = [float(evaluate(differentiate(expression, name), values)) for name in names]
    named = [float(evaluate(differentiate(expression, name, Reference("y")), values)) for name in names]
    assert named == pytest.approx(spelled, **CLOSE)
    return spelled


def test_every_operation_has_a_rule_here_and_no_other():
    assert set(RULES) == set(OPERATIONS)


@pytest.mark.parametrize(("operation", "point"), cases("smooth"))
def test_value_is_that_of_sympy(operation, point):
    exact = RULES[operation].sympy(*map(sympy.Rational, point))
    assert applied(operation, point)[1]["y"] == pytest.approx(float(sympy.N(exact, 30)), **CLOSE)


@pytest.mark.parametrize(("operation", "point"), DIFFERENTIABLE)
def test_derivatives_are_those_of_sympy(operation, point):
    symbols = sympy.symbols(f"x:{len(point)}", real=True)
    formula = RULES[operation].sympy(*symbols)
    at = dict(zip(symbols, map(sympy.Rational, point), strict=True))
    exact = [float(sympy.N(sympy.diff(formula, symbol).subs(at), 30)) for symbol in symbols]
    assert derivatives(operation, point) == pytest.approx(exact, **CLOSE)


@pytest.mark.parametrize(("operation", "point"), cases("smooth", "corners"))
def test_value_and_derivatives_are_those_of_torch(operation, point):
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in point]
    result = RULES[operation].torch(*leaves)
    result.backward()
    assert applied(operation, point)[1]["y"] == pytest.approx(result.item(), **CLOSE)
    assert derivatives(operation, point) == pytest.approx([x.grad.item() for x in leaves], **CLOSE)


@pytest.mark.parametrize(("operation", "point"), DIFFERENTIABLE)
def test_derivatives_are_slopes(operation, point):
    def value(k: int, shift: float) -> float:
        moved = (*point[:k], point[k] + shift, *point[k + 1 :])
        return float(applied(operation, moved)[1]["y"])

    # Central differences lose about step² of the curve and 1e-16/step to rounding, both relative to
    # the values around: 1e-8 is left at the best step, 1e-6 is safe for all points.
    for k, derivative in enumerate(derivatives(operation, point)):
        step = 1e-5 * (abs(point[k]) if operation in ("log", "divide") and point[k] else 1)
        slope = (value(k, step) - value(k, -step)) / (2 * step)
        assert derivative == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_one_call_evaluates_a_whole_array():
    batch = np.array([-1.0, 0.0, 2.0])
    for operation, rule in RULES.items():
        count = len(rule.smooth[0])
        values = dict.fromkeys((f"x{k}" for k in range(count)), abs(batch) + 1)
        expression = apply(operation, *map(Reference, values))
        at_once = evaluate(expression, values)
        one_by_one = [evaluate(expression, {n: v[k] for n, v in values.items()}) for k in range(3)]
        np.testing.assert_array_equal(at_once, one_by_one, err_msg=operation)


# ---------------------------------------------------------------- building keeps the value


def stand_in(multiple: int) -> Callable[[Fraction], Fraction]:
    """An exact function in place of a transcendental one: brackets do not depend on which it is."""
    return lambda x: multiple * x + Fraction(1, 3)


EXACT: dict[str, Callable[..., Fraction]] = {
    "add": lambda *x: sum(x, Fraction(0)),
    "subtract": operator.sub,
    "multiply": lambda *x: reduce(operator.mul, x),
    "divide": operator.truediv,
    "negate": operator.neg,
    "square": lambda x: x**2,
    "exp": stand_in(2),
    "log": stand_in(3),
    "sigmoid": stand_in(5),
    "tanh": stand_in(7),
    "relu": lambda x: max(Fraction(0), x),
    "step": lambda x: Fraction(x > 0),
    "leaky_relu": lambda x: max(x, x * Fraction("0.01")),
    "leaky_step": lambda x: Fraction(1) if x > 0 else Fraction("0.01"),
    "softplus": lambda x: EXACT["log"](1 + EXACT["exp"](x)),
    "elu": stand_in(11),
    "minimum": min,
    "sqrt": stand_in(29),
    "floor": lambda x: Fraction(math.floor(x)),
    "cos": stand_in(31),
    "silu": stand_in(13),
    "gelu": stand_in(17),
    "normal_share": stand_in(19),
    "absolute": abs,
    "sign": lambda x: Fraction((x > 0) - (x < 0)),
    "huber": stand_in(23),
    "clip": lambda x: max(Fraction(-1), min(Fraction(1), x)),
    "detached_max": lambda *x: max(x),
    "hold": lambda x, new, old: new if x < 10**15 else old,
}
PRINTED = tuple(name for name in OPERATIONS if name != "power")
"""A fraction has no power that is a fraction: where a power needs brackets is told below."""
MANY = ("add", "multiply", "detached_max")  # operations of any number of arguments
ARITHMETIC = ("add", "subtract", "multiply", "divide", "negate", "square")


def exact(expression: Expression, values: dict[str, Fraction]) -> Fraction:
    match expression:
        case Constant(value):
            return Fraction(value)
        case Reference(name):
            return values[name]
        case Application(operation, arguments):
            return EXACT[operation](*(exact(argument, values) for argument in arguments))
    raise TypeError(expression)


def expressions(operations: tuple[str, ...]) -> st.SearchStrategy[Expression]:
    """Trees of operations, put together as they are: nothing is simplified."""
    constants = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 4.0, 0.25]).map(Constant)
    leaves = st.sampled_from([A, B, C]) | constants

    def applications(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        def of(operation: str) -> st.SearchStrategy[Expression]:
            count = len(RULES[operation].smooth[0])
            counts = st.integers(2, 3) if operation in MANY else st.just(count)
            arguments = counts.flatmap(lambda n: st.tuples(*[inner] * n))
            return arguments.map(lambda chosen: apply(operation, *chosen))

        return st.sampled_from(operations).flatmap(of)

    return st.recursive(leaves, applications, max_leaves=8)


VALUES = st.fixed_dictionaries(
    {name: st.fractions(-3, 3, max_denominator=4) for name in ("a", "b", "c")}
)


def defined(expression: Expression, values: dict[str, Fraction]) -> Fraction:
    """The exact value; an example that divides by zero is thrown away."""
    try:
        return exact(expression, values)
    except ZeroDivisionError:
        assume(False)
        raise


BUILDERS = pytest.mark.parametrize(
    ("build", "operation", "count"),
    [
        (add, "add", 3),
        (subtract, "subtract", 2),
        (multiply, "multiply", 3),
        (divide, "divide", 2),
        (negate, "negate", 1),
        (square, "square", 1),
        (operator.add, "add", 2),
        (operator.sub, "subtract", 2),
        (operator.mul, "multiply", 2),
        (operator.truediv, "divide", 2),
        (operator.neg, "negate", 1),
    ],
    ids=lambda value: getattr(value, "__qualname__", str(value)),
)
PARTS = (
    *map(Constant, (-2.0, -1.0, 0.5, 1.0, 2.0, 4.0)),
    A,
    *(apply("negate", part) for part in (A, A * B)),
    *(apply("add", *parts) for parts in ((A, B), (A, -B), (-A, B), (A, B, C))),
    *(apply("subtract", *parts) for parts in ((A, B), (Constant(1.0), A))),
    *(apply("multiply", *parts) for parts in ((A, B), (Constant(2.0), C), (Constant(-4.0), A - B, C))),
    *(apply("divide", *parts) for parts in ((A, B), (ONE, C), (2 * A, Constant(3.0)))),
)
"""One of each kind of operand that the builders treat in a way of its own."""

GENERIC = {"a": Fraction(5, 7), "b": Fraction(-11, 3), "c": Fraction(13, 2)}
"""Values for which no two different short formulas happen to agree."""


@BUILDERS
def test_what_is_left_out_does_not_change_the_value(build, operation, count):
    for operands in product((*PARTS, ZERO), repeat=min(count, 2)):
        if operation != "divide" or operands[1] != ZERO:
            plain = exact(apply(operation, *operands), GENERIC)
            assert exact(build(*operands), GENERIC) == plain, operands


@BUILDERS
def test_what_is_left_out_of_any_formula_does_not_change_the_value(build, operation, count):
    @given(st.tuples(*[expressions(ARITHMETIC)] * count), VALUES)
    def holds(operands, values):
        plain = defined(apply(operation, *operands), values)
        assert exact(build(*operands), values) == plain

    holds()


@given(expressions(ARITHMETIC), VALUES)
def test_derivative_of_any_formula_is_that_of_sympy(expression, values):
    defined(expression, values)
    symbols = {name: sympy.Symbol(name) for name in values}

    def translated(part: Expression) -> Any:
        match part:
            case Constant(value):
                return sympy.Rational(value)
            case Reference(name):
                return symbols[name]
            case Application(operation, arguments):
                return RULES[operation].sympy(*map(translated, arguments))
        raise TypeError(part)

    at = {symbols[name]: sympy.Rational(value) for name, value in values.items()}
    formula = translated(expression)
    for name in values:
        slope = sympy.sympify(sympy.diff(formula, symbols[name])).subs(at)
        assert exact(differentiate(expression, name), values) == Fraction(int(slope.p), int(slope.q))


@given(expressions(tuple(OPERATIONS)))
def test_partial_derivatives_that_are_zero_are_left_out(expression):
    found = partial_derivatives(expression)
    assert ZERO not in found.values()
    assert set(found) <= set(references(expression))


@pytest.mark.parametrize(
    ("built", "text"),
    [
        (add(), "0"),
        (add(A, ZERO, B), "a + b"),
        (add(A, negate(B), C), "a − b + c"),
        (add(negate(A), B), "−a + b"),
        (add(A, add(B, C)), "a + b + c"),
        (A - ZERO, "a"),
        (ZERO - A, "−a"),
        (negate(negate(A)), "a"),
        (-(A - B), "b − a"),
        (multiply(A, ONE, B), "a·b"),
        (multiply(A, ZERO), "0"),
        (A * 2 * B * 0.5, "a·b"),
        (A * 2 * B, "2·a·b"),
        (-1 * A, "−a"),
        (-2 * (A - B) * C, "2·(b − a)·c"),
        (multiply(negate(A), negate(B)), "a·b"),
        (A / 1, "a"),
        (ZERO / A, "0"),
        (4 * A / 2, "2·a"),
        (2 * A / 4, "a/2"),
        (2 * A / 3, "2·a/3"),
        (1 / A * B, "b/a"),
        (2 * (A / B), "2·a/b"),
        (0.5 * square(A - B), "½·(a − b)²"),
        (1 - A, "1 − a"),
        (2 + A, "2 + a"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_formula_is_written_as_on_paper(built, text):
    assert str(built) == text


# ---------------------------------------------------------------- printing


ELEMENTARY = ("sqrt", "floor", "cos", "exp", "log", "sigmoid", "tanh")
FUNCTIONS = (*ELEMENTARY, "elu", "silu", "gelu", "normal_share", "sign", "huber")


def read_back(text: str) -> Callable[[dict[str, Fraction]], Fraction]:
    """The printed text as a Python function: it reads brackets and precedence by Python's rules."""
    python = text.replace("½", "0.5").replace("·", "*").replace("−", "-").replace("²", "**2")
    python = python.replace("σ(", "sigmoid(").replace("ln(", "log(")
    python = re.sub(r"(?<!\*\*)(?<![\w.])\d+(\.\d+)?(e[+-]?\d+)?", r"Fraction('\g<0>')", python)
    python = python.replace("[", "Fraction(").replace("]", ")")
    python = python.replace(" while ", " if ").replace(", else ", " else ")
    python = python.replace("Φ(", "normal_share(").replace("√(", "sqrt(")
    functions = {name: EXACT[name] for name in FUNCTIONS}
    code = compile(python, "<printed>", "eval")
    return lambda values: eval(
        code, {"Fraction": Fraction, "max": max, "min": min, **functions, **values}
    )


@pytest.mark.parametrize("outer", PRINTED)
def test_every_operation_inside_every_other_has_the_brackets_it_needs(outer):
    """Brackets depend on an operation and the one it stands in, so all pairs are all there is."""
    inner = [Constant(-2.0), Constant(0.25)]
    inner += [apply(name, *(A, B, C)[: len(RULES[name].smooth[0])]) for name in PRINTED]
    count = len(RULES[outer].smooth[0])
    for part, place in product(inner, range(count)):
        expression = apply(outer, *(part if k == place else C for k in range(count)))
        for values in (GENERIC, {name: -value for name, value in GENERIC.items()}):
            text = render(expression, TEXT)
            if (outer, place, exact(part, values)) != ("divide", 1, 0):
                assert read_back(text)(values) == exact(expression, values), text


@given(expressions(PRINTED), VALUES)
def test_printed_text_means_what_the_expression_means(expression, values):
    meant = defined(expression, values)
    assert read_back(render(expression, TEXT))(values) == meant


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (apply("subtract", A, apply("subtract", B, C)), "a − (b − c)"),
        (apply("subtract", apply("subtract", A, B), C), "a − b − c"),
        (apply("divide", A, apply("multiply", B, C)), "a/(b·c)"),
        (apply("multiply", A, apply("divide", B, C)), "a·(b/c)"),
        (apply("multiply", apply("add", A, B), C), "(a + b)·c"),
        (apply("negate", apply("multiply", A, B)), "−a·b"),
        (apply("negate", apply("add", A, B)), "−(a + b)"),
        (apply("square", apply("negate", A)), "(−a)²"),
        (apply("square", apply("square", A)), "(a²)²"),
        (apply("multiply", Constant(-2.0), A), "(-2)·a"),
        (apply("sigmoid", apply("add", A, B)), "σ(a + b)"),
        (apply("leaky_relu", apply("add", A, B)), "max(0.01·(a + b), (a + b))"),
        (apply("power", A + B, -C), "(a + b)^(−c)"),
        (apply("power", apply("square", A), apply("power", B, C)), "(a²)^(b^c)"),
        (2 * apply("power", A, B) * C, "2·a^b·c"),
        (1 - apply("power", A, B), "1 − a^b"),
        (apply("hold", A, B, C), "(b while a < 1e+15, else c)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_brackets_stand_where_they_are_needed_and_nowhere_else(expression, text):
    assert str(expression) == text


def test_labels_are_those_of_the_sheet():
    assert [label(n) for n in ("w1", "a_h1", "dE_dw5", "delta_h1[2]", "learning_rate")] == [
        "w1",
        "a_h1",
        "∂E/∂w5",
        "δ_h1[2]",
        "η",
    ]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_printed_without_losing_a_digit(value):
    assert float(format_number(value)) == value


def test_numbers_are_printed_short():
    shown = [format_number(x) for x in (2.0, -3.0, 0.5, 1e-7, 1e15, 1e16)]
    assert shown == ["2", "-3", "0.5", "1e-07", "1000000000000000", "1e+16"]


# ---------------------------------------------------------------- the rest


def test_references_are_listed_in_the_order_of_reading():
    assert list(references(B * A + apply("exp", B) * C)) == ["b", "a", "b", "c"]
    assert list(references(Constant(1.0))) == []


def test_the_largest_known_part_is_replaced():
    known = {A + B: Reference("sum"), apply("exp", A + B): Reference("power")}
    assert substitute(apply("exp", A + B) * (A + B), known) == Reference("power") * Reference("sum")


def test_what_is_no_expression_is_refused():
    with pytest.raises(TypeError, match="not an expression: 'w1'"):
        evaluate("w1", {})
    with pytest.raises(TypeError, match="not an expression: 'w1'"):
        render("w1", TEXT)


def test_the_guard_of_a_softmax_counts_as_a_constant():
    guarded = apply("exp", A - apply("detached_max", A, B))
    assert differentiate(guarded, "b") == ZERO
    assert differentiate(guarded, "a", Reference("e1")) == Reference("e1")


def test_a_run_is_held_from_the_limit_on_and_where_it_is_not_a_number():
    loss = np.array([0.0, DIVERGENCE_LIMIT * 0.999, DIVERGENCE_LIMIT, INF, NAN])
    held = evaluate(apply("hold", A, B, C), {"a": loss, "b": 1.0, "c": 2.0})
    assert held.tolist() == [1, 1, 2, 2, 2]


def test_the_leak_is_the_default_of_torch():
    assert torch.nn.LeakyReLU().negative_slope == LEAKY_SLOPE


def test_micrograd_example():
    """The README of micrograd: g = 24.7041, dg/da = 138.8338, dg/db = 645.5773, at a = −4, b = 2."""
    c = A + B
    d = A * B + B * B * B
    c = c + c + 1
    c = c + 1 + c - A
    d = d + d * 2 + apply("relu", B + A)
    d = d + 3 * d + apply("relu", B - A)
    f = square(c - d)
    g = f / 2 + 10 / f
    values = {"a": np.float64(-4.0), "b": np.float64(2.0)}
    found = [evaluate(e, values) for e in (g, differentiate(g, "a"), differentiate(g, "b"))]
    assert found == pytest.approx([24.7041, 138.8338, 645.5773], abs=5e-5)  # four decimals are printed
