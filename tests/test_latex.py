"""The written derivation is read back by SymPy's LaTeX parser, and comes out as the numbers say."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from sympy.parsing.latex import parse_latex

from gradsheet.backends import arrays
from gradsheet.backends.latex import derivation
from gradsheet.backends.latex_document import Derivation, Equation, Math, to_html, to_markdown, to_tex
from gradsheet.backends.latex_notation import LATEX, latex_name
from gradsheet.compiler import Program, compile_network, gradient_name
from gradsheet.errors import NetworkError
from gradsheet.expression import (
    OPERATIONS,
    Constant,
    Expression,
    Reference,
    apply,
    evaluate,
    render,
)
from gradsheet.network import Layer, Network, weight_names
from strategies import PLAIN, networks

# ---------------------------------------------------------------- networks


def _network(
    name: str, loss: str, activations: str, sizes: str, samples: int, biases: str = "one per neuron"
) -> Network:
    """Weights and trained biases are drawn from a seed; no sum is on a kink."""
    widths = [int(width) for width in sizes.split("-")]
    shared = biases.startswith("shared")
    layers = tuple(
        Layer(
            activation,
            ((0.0,) * fan_in,) * neurons,
            () if biases == "none" else (0.25,) * (1 if shared else neurons),
            shared_bias=shared,
            train_biases="frozen" not in biases,
        )
        for activation, (fan_in, neurons) in zip(activations.split(), pairwise(widths), strict=True)
    )
    inputs = tuple(tuple(0.3 * j - 0.7 * k + 0.45 for j in range(widths[0])) for k in range(samples))
    targets = tuple(tuple(float(j == k % widths[-1]) for j in range(widths[-1])) for k in range(samples))
    return Network(name, layers, loss, inputs, targets).redrawn(3)


NETWORKS: Mapping[str, Network] = {
    **PLAIN,
    **{
        network.name: network
        for network in (
            _network("relu", "mean_squared_error", "relu identity", "2-3-2", 3),
            _network("deep", "binary_cross_entropy", "leaky_relu tanh sigmoid", "2-2-3-2", 1, "shared"),
            _network("deeper", "half_squared_error", "tanh relu sigmoid tanh", "1-2-2-2-1", 2, "none"),
            _network("linear", "softmax_cross_entropy", "identity identity", "2-2-3", 1, "frozen"),
            _network("shared", "half_squared_error", "sigmoid identity", "2-2-2", 2, "shared"),
            _network("frozen", "softmax_cross_entropy", "relu identity", "2-2-2", 2, "shared, frozen"),
            _network("single", "mean_squared_error", "leaky_relu", "2-3", 1),
            _network("softmax", "half_squared_error", "softmax softmax", "2-2-3", 2),
            _network("classes", "categorical_cross_entropy", "elu softmax", "2-2-3", 2, "none"),
            _network("absolute", "mean_absolute_error", "gelu silu identity", "2-2-1-2", 2),
            _network("huber", "huber", "softplus identity", "2-2-2", 2, "shared"),
        )
    },
}


@cache
def _program(name: str) -> Program:
    return compile_network(NETWORKS[name])


@cache
def _values(name: str) -> Mapping[str, float]:
    program = _program(name)
    return {key: float(value) for key, value in arrays.evaluate_all(program, program.initial).items()}


@cache
def _derivation(name: str, errata: bool = False) -> Derivation:
    return derivation(_program(name), _values(name), NETWORKS[name].learning_rate, errata=errata)


def _equations(document: Derivation, title: str = "") -> Iterator[str]:
    for section in document.sections:
        if title in section.title:
            yield from (block.latex for block in section.blocks if isinstance(block, Equation))


# ---------------------------------------------------------------- reading LaTeX back


def _normal_share(x: float) -> float:
    return 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _huber(x: float) -> float:
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


_OPERATORS = {  # names that SymPy takes for letters, each with the letter that it is read as
    "step": ("f", lambda x: 1.0 if x > 0 else 0.0),
    "slope": ("g", lambda x: 1.0 if x > 0 else 0.01),
    "elu": ("F", lambda x: x if x > 0 else math.expm1(x)),
    "silu": ("G", lambda x: x / (1 + math.exp(-x))),
    "gelu": ("H", lambda x: x * _normal_share(x)),
    "abs": ("J", abs),
    "sign": ("K", lambda x: math.copysign(1.0, x) if x else 0.0),
    "huber": ("L", _huber),
}
_FUNCTIONS = {
    "sigma": lambda x: 1 / (1 + math.exp(-x)),
    "max": max,
    "min": min,
    "M": _normal_share,
    **dict(_OPERATORS.values()),
}
# A letter with its subscript and the number of its sample; e only with a subscript, else it is Euler's.
_NAME = (
    r"(?:\\delta|\\eta|(?<![\\a-zA-Z])(?:[abhimoptwxEZ]|e(?=_)))"
    r"(?:_(?:\w|{[^{}]*(?:{[^{}]*})?[^{}]*}))?(?:\^{\(\d+\)})?"
)
_NUMBER = r"(?:\d+\.\d+|(?<![\d.{])\d+(?![\d.}]))"  # not the integers of subscripts and exponents
_GROUP = r"(?:[^{}]|{[^{}]*})*"
_PARTIAL = rf"\\frac{{\\partial {_NAME}}}{{\\partial {_NAME}}}"
_SYMBOL = re.compile(f"{_PARTIAL}|{_NAME}|{_NUMBER}")


@cache
def _parsed(latex: str, symbols: int) -> Callable[..., float]:
    """A formula in x_{1}, x_{2} … as a function, by way of SymPy."""
    names = sympy.symbols([f"x_{{{k}}}" for k in range(1, symbols + 1)])
    expression = parse_latex(latex, backend="antlr").subs(sympy.Symbol("e"), sympy.E)
    assert expression.free_symbols <= set(names), f"{latex} holds more than {names}"
    return sympy.lambdify(names, expression, modules=[_FUNCTIONS, "math"])


def _evaluated(latex: str, known: Mapping[str, float]) -> float:
    """The value of a formula; ``known`` holds quantities and partial derivatives by their LaTeX.

    Names and numbers become x_{1}, x_{2} …, so that SymPy parses formulas of one shape only once.
    Raises `KeyError` for a name that is not known.
    """
    latex = latex.replace(r"\Phi", "M")
    for name, (letter, _) in _OPERATORS.items():
        latex = latex.replace(rf"\operatorname{{{name}}}", letter)
    latex = re.sub(rf"(?<!_){{({_GROUP})}}\^\{{2\}}", r"\1^{2}", latex)  # unseen braces
    if summed := re.fullmatch(r"(.*?) ?\\sum_{k=1}\^{(\d+)} (.*)", latex):
        before, samples, term = summed.groups()
        assert not re.search(" [+-] ", _outside_brackets(term)), "a sum sign reaches no further"
        terms = [_evaluated(term.replace("(k)", f"({k})"), known) for k in range(1, int(samples) + 1)]
        return (_evaluated(before, known) if before else 1.0) * math.fsum(terms)
    arguments: list[float] = []

    def symbol(match: re.Match[str]) -> str:
        text = match[0]
        arguments.append(float(text) if text[0].isdigit() else known[text])
        return f"x_{{{len(arguments)}}}"

    shape = _SYMBOL.sub(symbol, latex)
    return float(_parsed(shape, len(arguments))(*arguments))


def _outside_brackets(latex: str) -> str:
    while (shorter := re.sub(r"\([^()]*\)|{[^{}]*}", "", latex)) != latex:
        latex = shorter
    return latex


def _tolerance(latex: str) -> dict[str, float]:
    """Formulas are exact but for float64; numbers are rounded to 9 digits, and differences lose some."""
    latex = re.sub(r"\\operatorname{\w+}", "", latex)
    if re.search(_NAME, latex):
        return {"rel": 1e-9, "abs": 1e-12}
    if re.fullmatch(r"-?[\d.]+", latex):
        return {"rel": 1e-8, "abs": 1e-12}
    return {"rel": 1e-6, "abs": 1e-8 * max([1.0, *map(float, re.findall(_NUMBER, latex))])}


def _instances(latex: str, samples: int) -> list[list[str]]:
    """The sides of an equation, for every sample where it holds for any."""
    if r"\sum" in latex or "(k)" not in latex:
        return [latex.split(" = ")]
    return [latex.replace("(k)", f"({k})").split(" = ") for k in range(1, samples + 1)]


def _is_known(latex: str, known: Mapping[str, float]) -> bool:
    try:
        _evaluated(latex, known)
    except KeyError:
        return False
    return True


def _check(equations: list[list[str]], known: Mapping[str, float]) -> None:
    """All sides of all equations are equal, with partial derivatives as the equations define them."""
    known = dict(known)
    found = True
    while found:
        found = False
        for sides in equations:
            unknown = [side for side in sides if re.fullmatch(_PARTIAL, side) and side not in known]
            if unknown and (ready := [side for side in sides if _is_known(side, known)]):
                known.update(dict.fromkeys(unknown, _evaluated(ready[0], known)))
                found = True
    for sides in equations:
        value = known[sides[0]]
        for side in sides[1:]:
            assert _evaluated(side, known) == pytest.approx(value, **_tolerance(side)), (sides[0], side)


def _known(name: str) -> dict[str, float]:
    known = {latex_name(key): value for key, value in _values(name).items()}
    assert len(known) == len(_values(name)), "two quantities have one name in LaTeX"
    return known


# ---------------------------------------------------------------- the tests


@pytest.mark.parametrize("name", NETWORKS)
def test_every_equation_is_true(name: str) -> None:
    definitions_of_x = ("a = ", r"\frac{\partial a}{\partial x}")
    equations = [
        sides
        for section in _derivation(name).sections
        if "update" not in section.title
        for block in section.blocks
        if isinstance(block, Equation) and not block.latex.startswith(definitions_of_x)
        if "[" not in block.latex and not block.latex.startswith("p^")  # in matrices: see test_matrices
        for sides in _instances(block.latex, NETWORKS[name].samples)
    ]
    known = _known(name)
    if _program(name).network.is_large:  # a δ that is not written out is known by its matrix
        for delta in _program(name).of_role("delta"):
            total = latex_name(delta.name.removeprefix("delta_"))
            partial = rf"\frac{{\partial E_{{total}}}}{{\partial {total}}}"
            known[partial] = known[latex_name(delta.name)]
    _check(equations, known)
    left = {sides[0] for sides in equations}
    program = _program(name)
    expected = [q.name for q in program.quantities if q.expression is not None]
    if program.network.is_large:
        gradients = [gradient_name(rows[0][0]) for rows in weight_names(program.network)]
        expected = ["E_total", *gradients]
    assert {latex_name(name) for name in expected} <= left


@pytest.mark.parametrize("name", [n for n in NETWORKS if not NETWORKS[n].is_large])
def test_every_parameter_has_its_chain_and_its_update(name: str) -> None:
    program, known = _program(name), _known(name)
    derivatives = list(_equations(_derivation(name), "Derivatives"))
    updates = list(_equations(_derivation(name), "update"))
    known[r"\eta"] = program.network.learning_rate
    assert len(updates) == len(program.trained)
    for parameter, update in zip(program.trained, updates, strict=True):
        gradient = latex_name(gradient_name(parameter))
        (chain, hence) = (line for line in derivatives if line.startswith(gradient + " ="))
        assert chain.endswith(rf"{{\partial {latex_name(parameter)}}}") or chain.endswith(")")
        assert r"\delta" in hence
        left, rule, numbers, result = update.split(" = ")
        new = known[latex_name(parameter)] - known[r"\eta"] * known[gradient]
        assert left == latex_name(parameter) + "^{+}"
        assert rule == rf"{latex_name(parameter)} - \eta \cdot {gradient}"
        assert _evaluated(numbers, known) == pytest.approx(new, **_tolerance(numbers))
        assert _evaluated(result, known) == pytest.approx(new, **_tolerance(result))


def test_a_chain_names_its_factors_as_the_course_does() -> None:
    total, lines = r"\partial E_{total}", list(_equations(_derivation("seed"), "Derivatives"))
    assert (
        rf"\frac{{{total}}}{{\partial w_5}} = \frac{{{total}}}{{\partial a_{{o_1}}}} \cdot "
        r"\frac{\partial a_{o_1}}{\partial o_1} \cdot \frac{\partial o_1}{\partial w_5}"
    ) in lines
    assert (
        rf"\frac{{{total}}}{{\partial w_5}} = \delta_{{o_1}} \cdot a_{{h_1}} = "
        r"(a_{o_1} - t_1) \cdot a_{o_1} \cdot (1 - a_{o_1}) \cdot a_{h_1}"
    ) in lines
    assert (
        rf"\frac{{{total}}}{{\partial w_1}} = \delta_{{h_1}} \cdot i_1 = "
        r"((a_{o_1} - t_1) \cdot a_{o_1} \cdot (1 - a_{o_1}) \cdot w_5 + "
        r"(a_{o_2} - t_2) \cdot a_{o_2} \cdot (1 - a_{o_2}) \cdot w_7) \cdot "
        r"a_{h_1} \cdot (1 - a_{h_1}) \cdot i_1"
    ) in lines


def test_the_sections_stand_in_the_order_of_the_computation() -> None:
    assert [section.title for section in _derivation("deep").sections] == [
        "The network",
        "Forward pass: hidden layer 1",
        "Forward pass: hidden layer 2",
        "Forward pass: output layer",
        "Loss",
        "Derivatives: output layer",
        "Derivatives: hidden layer 2",
        "Derivatives: hidden layer 1",
        "The first step in numbers: forward",
        "The first step in numbers: backward",
        "The first step in numbers: update",
    ]


# Reference numbers, worked out apart from this package; written with the 9 digits of the derivation.
_SEED_RESULTS = {
    "h1": "0.0275",
    "a_h1": "0.506874567",
    "a_h2": "0.510623401",
    "o1": "0.432530357",
    "a_o2": "0.630480835",
    "E1": "0.00566875373",
    "E_total": "0.0141813779",
    "dE_dw1": "0.000316993396",
    "dE_dw2": "0.000633986792",
    "dE_dw3": "0.000351776322",
    "dE_dw5": "0.0128808186",
    "dE_dw8": "0.0155223081",
}
_MAZUR_RESULTS = {
    "a_o1": "0.75136507",
    "E_total": "0.298371109",
    "dE_dw1": "0.000438567734",
    "dE_dw7": "-0.0226025405",
}


@pytest.mark.parametrize(("name", "results"), [("seed", _SEED_RESULTS), ("mazur", _MAZUR_RESULTS)])
def test_the_reference_numbers_stand_at_the_end_of_their_lines(
    name: str, results: Mapping[str, str]
) -> None:
    lines = list(_equations(_derivation(name), "numbers"))
    for quantity, number in results.items():
        assert [
            line
            for line in lines
            if line.startswith(latex_name(quantity) + " =") and line.endswith(f" = {number}")
        ], quantity


def test_updates_of_mazur_are_those_of_the_reference() -> None:
    updates = [line.split(" = ")[-1] for line in _equations(_derivation("mazur"), "update")]
    assert updates[:2] + updates[-2:] == ["0.149780716", "0.199561432", "0.51130127", "0.561370121"]


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "leaky_relu"])
def test_an_activation_and_its_derivative_are_defined_once(activation: str) -> None:
    network = _network("twice", "half_squared_error", f"{activation} {activation}", "1-1-1", 1)
    program = compile_network(network)
    document = derivation(program, arrays.evaluate_all(program, program.initial), 0.5)
    (definition,) = (line for line in _equations(document) if line.startswith("a = "))
    (slope,) = (
        line for line in _equations(document) if line.startswith(r"\frac{\partial a}{\partial x}")
    )
    step = 1e-6  # the error of central differences is then about 1e-10
    for x in (-1.3, 0.4):
        value, ahead, behind = (
            float(OPERATIONS[activation].value(np.float64(at))) for at in (x, x + step, x - step)
        )
        for side in definition.split(" = ")[1:]:
            assert _evaluated(side, {"x": x}) == pytest.approx(value, rel=1e-12)
        tangent = _evaluated(slope.split(" = ")[1], {"x": x, "a": value})
        assert tangent == pytest.approx((ahead - behind) / (2 * step), rel=1e-8)


def test_the_softplus_form_and_the_guard_of_the_softmax_are_explained() -> None:
    def words(name: str) -> str:
        return to_markdown(_derivation(name))

    assert r"E_1^{(k)} = -t_1^{(k)} \cdot \ln(a_{o_1}^{(k)}) - (1 - t_1^{(k)}) \cdot" in words("xor")
    assert "fail where an output rounds to 0 or 1" in words("xor")
    assert "no power can overflow" in words("iris")
    assert "overflow" not in words("seed")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mazur", "biases: $b_1$, one for all neurons, not trained; activation: the sigmoid"),
        (
            "xor",
            "3 neurons; weights: $w_1$ to $w_6$; biases: $b_1$ to $b_3$; activation: the hyperbolic",
        ),
        ("shared", "biases: $b_2$, one for all neurons; activation: none"),
        ("seed", "biases: none; activation: the sigmoid"),
        ("seed", r"The learning rate is $\eta = 1$."),
        ("iris", r"The learning rate is $\eta = 0.1$."),
        ("iris", "$i_2$ is for “sepal width”"),
        ("iris", "$t_3$ is for “virginica”"),
        ("xor", "Sample 3: $t_1^{(3)} = 1$, $i_1^{(3)} = 1$, $i_2^{(3)} = 0$."),
        ("mazur", "Not trained, and so without a derivative: $b_2$."),
        ("single", "the squared error, averaged over outputs and samples"),
        ("single", "where slope is 1 for a sum greater than 0, and 0.01 otherwise."),
        ("relu", "where step is 1 for a sum greater than 0, and 0 otherwise."),
    ],
)
def test_the_words_describe_the_network(name: str, words: str) -> None:
    assert words in to_markdown(_derivation(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_no_equation_says_the_same_twice(name: str) -> None:
    for latex in _equations(_derivation(name)):
        sides = latex.split(" = ")
        assert len(set(sides)) == len(sides) > 1


# ---------------------------------------------------------------- errata


def test_the_slips_of_the_text_are_computed_in_this_network() -> None:
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    a_h2 = sigmoid(0.25 * 0.05 + 0.30 * 0.10)
    outputs = [sigmoid(w * 0.0275 + v * a_h2) for w, v in ((0.40, 0.45), (0.50, 0.55))]
    loss = sum(0.5 * (0.5 - output) ** 2 for output in outputs)
    document = _derivation("seed", errata=True)
    lines = list(_equations(document, "got wrong"))
    gradient = latex_name("dE_dw1")
    assert lines[0].startswith(r"o_1 = w_5 \cdot h_1 + w_6 \cdot a_{h_2} = ")
    assert lines[0].endswith(" = 0.24078053")
    assert lines[2].endswith(" = 0.432530357")
    assert f"${loss:.9g}$ instead of $0.0141813779$" in to_markdown(document)
    assert [line.split(" = ")[-1] for line in lines if line.startswith(gradient)] == [
        "0.0103548526",
        "0.000316993396",
    ]
    assert [line.split(" = ")[-1] for line in lines if line.startswith(latex_name("dE_dw3"))] == [
        "0.0116444054",
        "0.000351776322",
        "0.000351868665",
        "0.000351776322",
    ]


def test_the_wrong_formulas_are_shown_as_they_were_printed_and_give_their_numbers() -> None:
    known = _known("seed")
    lines = list(_equations(_derivation("seed", errata=True), "got wrong"))
    for line in lines:
        _, *formulas, result = line.split(" = ")
        for formula in formulas:
            assert _evaluated(formula, known) == pytest.approx(float(result), **_tolerance("0.1 + 0.1"))
    assert r"\cdot (1 - a_{o_1}) \cdot w_5 + (a_{o_2} - t_2) \cdot" in lines[4]
    assert lines[4].count("(") == lines[5].count("(") - 1


def test_without_the_flag_there_are_no_errata() -> None:
    assert "wrong" not in to_markdown(_derivation("seed"))


@pytest.mark.parametrize("name", ["mazur", "xor", "cs231n", "relu"])
def test_errata_need_a_network_of_the_course(name: str) -> None:
    with pytest.raises(NetworkError, match=rf"errata: '{name}' is not of the .*; leave errata out"):
        _derivation(name, errata=True)


# ---------------------------------------------------------------- notation

_A, _B, _C = Reference("w1"), Reference("a_h2"), Reference("t3")
_POINT = {"w1": 0.7, "a_h2": -1.2, "t3": 0.4}
_READABLE = [name for name in OPERATIONS if name != "hold"]


def _applied(operation: str, first: Expression) -> Expression:
    """The operation with ``first`` in every place in turn would be many; in the first and last it is."""
    many = {"add": 3, "multiply": 3, "detached_max": 3}
    count = many.get(operation, 2 if operation in ("subtract", "divide", "minimum", "power") else 1)
    return apply(operation, *[first, _B, first][:count] if count == 3 else [first, first * _C][:count])


@pytest.mark.parametrize("outer", _READABLE)
def test_brackets_stand_where_they_are_needed(outer: str) -> None:
    known = {latex_name(name): value for name, value in _POINT.items()}
    inner = [
        *(apply(name, _A, _B) for name in ("add", "subtract", "multiply", "divide")),
        *(apply(name, _A) for name in ("negate", "square", "exp", "softplus")),
        *(Constant(-3.0), Constant(0.5), Constant(2.5e-17)),
    ]
    for argument in inner:
        expression = _applied(outer, argument)
        with np.errstate(invalid="ignore"):
            value = float(evaluate(expression, _POINT))
        if math.isfinite(value):  # not the logarithm of a negative number
            assert _evaluated(render(expression, LATEX), known) == pytest.approx(value, rel=1e-12), outer


def test_a_held_weight_is_written_in_words() -> None:
    held = apply("hold", Reference("E_total"), _A - _B, _A)
    assert render(held, LATEX) == (
        r"(w_1 - a_{h_2} \text{ while } E_{total} \lt 1000000000000000 \text{, else } w_1)"
    )


def test_all_operations_have_a_form() -> None:
    assert set(LATEX.forms) == set(OPERATIONS)


def test_numbers_that_are_not_finite_are_named() -> None:
    program = _program("seed")
    values = {**_values("seed"), "h1": math.nan, "a_h1": math.inf, "h2": -math.inf, "a_h2": -0.0}
    text = to_markdown(derivation(program, values, 1.0))
    assert r"= \text{not a number}" in text
    assert r"\sigma(\text{not a number}) = \infty" in text
    assert r"= -\infty" in text
    assert r"\sigma(-\infty) = 0" in text


def test_small_numbers_are_powers_of_ten() -> None:
    values = {**_values("seed"), "i1": 1.25e-7}
    text = to_markdown(derivation(_program("seed"), values, 1.0))
    assert r"$i_1 = 1.25 \times 10^{-7}$" in text
    assert r"h_1 = w_1 \cdot i_1 + w_2 \cdot i_2 = 0.15 \cdot (1.25 \times 10^{-7}) + 0.2" in text


def test_the_text_grows_no_faster_than_the_program() -> None:
    def characters_per_term(width: int) -> float:
        activations = "tanh relu sigmoid identity"
        network = _network("wide", "mean_squared_error", activations, f"3-{width}-{width}-{width}-2", 2)
        program = compile_network(network)
        values = arrays.evaluate_all(program, program.initial)
        text = to_markdown(derivation(program, values, 0.5))
        return len(text) / sum(len(str(quantity.expression)) for quantity in program.quantities)

    # Written out in full, the derivatives of a network twice as wide would be eight times as long, and
    # the program is four times as large.
    assert characters_per_term(8) < 1.1 * characters_per_term(4)


# ---------------------------------------------------------------- printing

_NASTY = r"=1+1 a_b 50% <script>alert(1)</script> $x$ | \input{x} {} # & ~ ^ `c` *d* [e](f)"


def _nasty() -> Derivation:
    network = Network(
        name=_NASTY,
        description="∂E/∂a 漢 naïve: " + _NASTY,
        layers=(Layer("sigmoid", ((0.5,),)),),
        loss="half_squared_error",
        inputs=((1.0,),),
        targets=((0.0,),),
        input_names=("in " + _NASTY,),
        output_names=("out " + _NASTY,),
    )
    program = compile_network(network)
    return derivation(program, arrays.evaluate_all(program, program.initial), 0.5)


_DOCUMENTS = [*NETWORKS, "nasty"]


def _document(name: str) -> Derivation:
    return _nasty() if name == "nasty" else _derivation(name, errata=name == "seed")


@pytest.mark.parametrize("name", _DOCUMENTS)
def test_formulas_keep_to_what_github_leaves_alone(name: str) -> None:
    document = _document(name)
    equations = list(_equations(document))
    in_text = [
        piece.latex
        for section in document.sections
        for block in section.blocks
        if not isinstance(block, Equation)
        for piece in block.pieces
        if isinstance(piece, Math)
    ]
    for latex in equations:
        assert re.match(r"[a-zA-Z\\]", latex), "a line must not look like a list or a heading"
    for latex in equations + in_text:
        assert not re.search(r"\\(?![a-zA-Z])", latex), "Markdown eats a backslash before punctuation"
        assert not re.search(r"(?<![a-zA-Z])_", latex), "an underscore there may begin emphasis"
        assert not re.search(r"[<>&|*`~#$\n]|\\left|\\right|\\begin", latex)
        depth = 0
        for brace in re.findall("[{}]", latex):
            depth += 1 if brace == "{" else -1
            assert depth >= 0
        assert depth == 0


def test_equations_stand_between_dollar_signs_with_empty_lines_around() -> None:
    text = to_markdown(_derivation("seed"))
    assert text.startswith("# Back-propagation written out: seed (2-2-2)\n\n## The network\n\n")
    assert "\n\n$$\nh_1 = w_1 \\cdot i_1 + w_2 \\cdot i_2\n$$\n\n" in text
    assert text.count("$$") == 2 * len(list(_equations(_derivation("seed"))))


def test_markdown_shows_the_words_of_the_user_as_they_are() -> None:
    escaped = (
        r"=1+1 a\_b 50% \<script\>alert(1)\</script\> <span>$</span>x<span>$</span> \| \\input{x} {} "
        r"\# \& \~ ^ \`c\` \*d\* \[e\](f)"
    )
    lines = to_markdown(_nasty()).splitlines()
    assert lines[0] == f"# Back-propagation written out: {escaped} (1-1)"
    assert f"“∂E/∂a 漢 naïve: {escaped}”" in lines
    assert f"$i_1$ is for “in {escaped}”." in lines
    assert f"$t_1$ is for “out {escaped}”." in lines


def test_tex_shows_the_words_of_the_user_as_they_are() -> None:
    escaped = (
        r"=1+1 a\_b 50\% \textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{} "
        r"\$x\$ \textbar{} \textbackslash{}input\{x\} \{\} \# \& \textasciitilde{} \textasciicircum{} "
        r"`c` *d* [e](f)"
    )
    text = to_tex(_nasty())
    assert rf"\title{{Back-propagation written out: {escaped} (1-1)}}" in text
    assert rf"“∂E/∂a 漢 naïve: {escaped}”\par" in text


@pytest.mark.parametrize("name", _DOCUMENTS)
def test_tex_is_balanced_and_needs_only_amsmath(name: str) -> None:
    text = to_tex(_document(name))
    bare = re.sub(r"\\[{}$]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert re.findall(r"\\(?:begin|end)\{\w+\}", text) == [r"\begin{document}", r"\end{document}"]
    assert re.findall(r"\\usepackage.*", text) == [r"\usepackage{amsmath}"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdfLaTeX is not installed")
@pytest.mark.parametrize("name", ["nasty", "seed", "iris"])
def test_tex_compiles_and_no_line_is_too_long(name: str, tmp_path: Path) -> None:
    (tmp_path / "derivation.tex").write_text(to_tex(_document(name)), encoding="utf-8")
    run = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "derivation.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout.decode("latin-1")[-2000:]
    if name != "nasty":
        assert b"Overfull" not in run.stdout


@pytest.mark.parametrize("name", _DOCUMENTS)
def test_the_page_is_well_formed_and_holds_no_latex(name: str) -> None:
    page = to_html(_document(name))
    root = ElementTree.fromstring(page)
    (body,) = root.iter("body")
    text = "".join(body.itertext()).replace(_NASTY, "")
    assert "$" not in text
    assert "\\" not in text
    for tag, parts in {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3, "munderover": 3}.items():
        for element in root.iter("{http://www.w3.org/1998/Math/MathML}" + tag):
            assert len(element) == parts, "a formula was torn apart"
    equations = [p for p in root.iter("p") if p.get("class") == "formula"]
    assert len(equations) == len(list(_equations(_document(name))))


def test_the_page_shows_the_words_of_the_user_and_runs_nothing() -> None:
    page = to_html(_nasty())
    root = ElementTree.fromstring(page)
    assert root.findtext("body/h1") == f"Back-propagation written out: {_NASTY} (1-1)"
    assert "<script" not in page

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            seen.add(tag)
            assert not {"src", "href"} & {name for name, _ in attributes}, "the page must work offline"

    seen: set[str] = set()
    Tags().feed(page)
    assert not {"script", "link", "img", "iframe"} & seen


def test_signs_and_names_of_functions_have_no_space_around_them() -> None:
    page = to_html(_derivation("xor")) + to_html(_derivation("relu")) + to_html(_derivation("iris"))
    assert "<mi>max</mi>" in page
    assert not re.search("<mo[^>]*>[a-z]", page)
    assert '<mo stretchy="false">&#x00028;</mo><mo form="prefix">&#x02212;</mo><mn>0.5171</mn>' in page
    assert '<mo stretchy="false">&#x00029;</mo><mo form="prefix">' not in page


def test_a_long_formula_breaks_between_its_terms() -> None:
    page = ElementTree.fromstring(to_html(_derivation("iris")))
    formulas = [p for p in page.iter("p") if p.get("class") == "formula"]
    pieces = [["".join(piece.itertext()) for piece in p if piece.tag.endswith("math")] for p in formulas]
    assert max(len(piece) for row in pieces for piece in row) < 90
    assert ["m(k)=max(o1(k),o2(k),o3(k))"] in pieces, "a short one stays whole"


@settings(max_examples=15)
@given(networks(max_neurons=3, max_samples=3))
def test_any_network_can_be_printed(network: Network) -> None:
    program = compile_network(network)
    values = arrays.evaluate_all(program, program.initial)
    document = derivation(program, values, network.learning_rate)
    updates = 2 if network.is_large else len(program.trained)
    assert len(list(_equations(document, "update"))) == updates
    root = ElementTree.fromstring(to_html(document))
    assert root.findtext("body/h1") == root.findtext("head/title") == document.title
    assert to_markdown(document).count("\n$$\n") == 2 * len(list(_equations(document)))
    assert to_tex(document).endswith("\\end{document}\n")
