"""The program of a large network in matrices: one formula for all neurons of a layer, and all samples.

No calculus is added: what happens to every entry alike is taken from the formulas that the compiler gave
neuron 1 in sample 1. Only how entries are combined stands here, for each operation its value and its
notations side by side.

The columns of a vector's array are the samples. Layers count from 1: ``z1`` are the sums of the first,
``a1`` its outputs, ``W1`` and ``b1`` its parameters, ``delta1`` ∂E/∂z1 and ``g1`` ∂E/∂a1. ``x`` are the
inputs, ``t`` the targets, ``p`` the shares of a softmax in the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from gradsheet import network as net
from gradsheet.compiler import Program
from gradsheet.expression import (
    OPERATIONS,
    POWER,
    PRODUCT,
    SUM,
    TEXT,
    Application,
    Array,
    Constant,
    Expression,
    Form,
    Notation,
    Reference,
    apply,
    evaluate,
    substitute,
)


class MatrixOperation(NamedTuple):
    """What an operation on matrices does, and how it is printed in words and in LaTeX."""

    value: Callable[..., Any]
    text: Form
    latex: Form


def _softmax(sums: Array) -> Array:
    powers = np.exp(sums - sums.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0))


MATRIX_OPERATIONS: Mapping[str, MatrixOperation] = {
    "product": MatrixOperation(
        lambda w, a: w @ a,
        Form("{0}·{1}", PRODUCT, (POWER,)),
        Form("{0} {1}", PRODUCT, (POWER,)),
    ),
    "transposed_product": MatrixOperation(
        lambda w, delta: w.T @ delta,
        Form("{0}ᵀ·{1}", PRODUCT, (POWER,)),
        Form(r"({0})^{{\top}} {1}", PRODUCT, (SUM, POWER)),
    ),
    "entrywise": MatrixOperation(
        lambda *factors: np.prod(np.broadcast_arrays(*factors), axis=0),
        Form("{*}", PRODUCT, (POWER,), " ⊙ "),
        Form("{*}", PRODUCT, (POWER,), r" \odot "),
    ),
    "outer_sum": MatrixOperation(  # over the samples
        lambda delta, a: delta @ a.T,
        Form("Σ {0}·{1}ᵀ", SUM, (POWER,)),
        Form(r"\sum {0} ({1})^{{\top}}", SUM, (POWER, SUM)),
    ),
    "sum_of_samples": MatrixOperation(
        lambda delta: delta.sum(axis=1, keepdims=True),
        Form("Σ {0}", SUM, (POWER,)),
        Form(r"\sum {0}", SUM, (POWER,)),
    ),
    "sum_of_entries": MatrixOperation(  # and over the samples
        lambda delta: delta.sum(keepdims=True),
        Form("Σ Σ {0}", SUM, (POWER,)),
        Form(r"\sum \sum {0}", SUM, (POWER,)),
    ),
    "softmax": MatrixOperation(
        _softmax,
        Form("softmax({0})", POWER),
        Form(r"\operatorname{{softmax}}({0})", POWER),
    ),
    "softmax_slope": MatrixOperation(  # its Jacobian, diag(a) − a·aᵀ, times what comes from behind
        lambda a, g: a * (g - (a * g).sum(axis=0)),
        Form("(diag({0}) − {0}·{0}ᵀ)·{1}", PRODUCT, (SUM, POWER)),
        Form(r"(\operatorname{{diag}}({0}) - {0} ({0})^{{\top}}) {1}", PRODUCT, (SUM, POWER)),
    ),
}


@dataclass(frozen=True)
class MatrixFormula:
    """A vector or matrix of a layer, counted from 0, by its name, and its formula."""

    name: str
    expression: Expression
    layer: int


def forward_formulas(program: Program) -> Iterator[MatrixFormula]:
    """Sums and outputs, layer by layer; at last the shares, where the loss takes the softmax."""
    network = program.network
    for layer, spec in enumerate(network.layers):
        number = layer + 1
        sums = apply("product", Reference(f"W{number}"), outputs_of(program, layer - 1))
        if spec.biases:
            sums = apply("add", sums, Reference(f"b{number}"))
        yield MatrixFormula(f"z{number}", sums, layer)
        if spec.activation != "identity":
            output = apply(spec.activation, Reference(f"z{number}"))
            yield MatrixFormula(f"a{number}", output, layer)
    if network.loss == "softmax_cross_entropy":
        yield MatrixFormula("p", apply("softmax", Reference(f"z{number}")), layer)


def outputs_of(program: Program, layer: int) -> Reference:
    """What a layer gives to the next: the inputs for layer −1, the sums where there is no activation."""
    if layer < 0:
        return Reference("x")
    letter = "z" if program.network.layers[layer].activation == "identity" else "a"
    return Reference(f"{letter}{layer + 1}")


def backward_formulas(program: Program, layer: int) -> Iterator[MatrixFormula]:
    """∂E/∂(outputs), δ and the gradients of a layer; those of the layer behind are known."""
    network, number = program.network, layer + 1
    spec = network.layers[layer]
    total = net.of_sample(net.sum_name(network, layer, 1), 1, network.samples)
    error, *slopes = program[f"delta_{total}"].chains[0]
    if layer == len(network.layers) - 1:
        behind = _of_all(program, layer, error.expression)
    else:
        behind = apply(
            "transposed_product", Reference(f"W{number + 1}"), Reference(f"delta{number + 1}")
        )
    delta, errors = behind, Reference(f"g{number}")
    if slopes:
        yield MatrixFormula(errors.name, behind, layer)
        if spec.activation == "softmax":
            delta = apply("softmax_slope", Reference(f"a{number}"), errors)
        else:
            delta = apply("entrywise", errors, _of_all(program, layer, slopes[0].expression))
    yield MatrixFormula(f"delta{number}", delta, layer)
    delta = Reference(f"delta{number}")
    sources = outputs_of(program, layer - 1)
    yield MatrixFormula(f"dE_dW{number}", apply("outer_sum", delta, sources), layer)
    if spec.biases and spec.train_biases:
        kind = "sum_of_entries" if spec.shared_bias else "sum_of_samples"
        yield MatrixFormula(f"dE_db{number}", apply(kind, delta), layer)


def _of_all(program: Program, layer: int, expression: Expression) -> Expression:
    """A formula of neuron 1 in sample 1 as one of all neurons and samples, entry by entry."""
    network, number = program.network, layer + 1

    def named(name: str) -> Reference:
        return Reference(net.of_sample(name, 1, network.samples))

    letters: dict[Expression, Expression] = {
        named(net.activation_name(network, layer, 1)): Reference(f"a{number}"),
        named(net.sum_name(network, layer, 1)): Reference(f"z{number}"),
        named(net.target_name(1)): Reference("t"),
        named("p1"): Reference("p"),
    }
    return _entrywise(substitute(expression, letters))


def _entrywise(expression: Expression) -> Expression:
    """Products of names as products entry by entry; a number in front stays an ordinary factor."""
    if not isinstance(expression, Application):
        return expression
    arguments = tuple(map(_entrywise, expression.arguments))
    if expression.operation != "multiply":
        return Application(expression.operation, arguments)
    numbers = tuple(argument for argument in arguments if isinstance(argument, Constant))
    others = tuple(argument for argument in arguments if not isinstance(argument, Constant))
    if len(others) > 1:
        others = (Application("entrywise", others),)
    return Application("multiply", (*numbers, *others)) if numbers else others[0]


def matrix_text(samples: int) -> Notation:
    """The notation for words: W⁽¹⁾·x[k] + b⁽¹⁾, with [k] for one of several samples."""
    return matrix_notation(TEXT, samples, _text_name, "text", "Σ ", "Σₖ ")


def matrix_notation(
    notation: Notation,
    samples: int,
    name: Callable[[str, str, str], str],
    field: Literal["text", "latex"],
    sign: str,
    sign_of_samples: str,
) -> Notation:
    """A notation with the operations of this module.

    ``name(letter, layer, sample)`` prints a name: the letters of a derivative such as ``dE_dW`` go
    together, layer and sample may be empty. ``sign`` begins the forms of sums over the samples; in its
    place stands ``sign_of_samples`` where there are several, and nothing where there is one.
    """
    shown = sign_of_samples if samples > 1 else ""
    forms = {
        operation: getattr(forms, field)._replace(
            template=getattr(forms, field).template.replace(sign, shown, 1)
        )
        for operation, forms in MATRIX_OPERATIONS.items()
    }

    def reference(full: str) -> str:
        letter, layer = full.rstrip("0123456789"), full[len(full.rstrip("0123456789")) :]
        of_sample = samples > 1 and letter in ("x", "t", "p", "z", "a", "g", "delta")
        return name(letter, layer, "k" if of_sample else "")

    return notation._replace(reference=reference, forms={**notation.forms, **forms})


_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _text_name(letter: str, layer: str, sample: str) -> str:
    above = f"⁽{layer.translate(_RAISED)}⁾" if layer else ""
    letter = {"delta": "δ", "g": "∂E/∂a", "dE_dW": "∂E/∂W", "dE_db": "∂E/∂b"}.get(letter, letter)
    return letter + above + (sample and f"[{sample}]")


def evaluate_matrices(program: Program, values: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every matrix formula, by name; ``values`` holds x, t, and the W and b of all layers.

    A vector is an array of shape (entries, samples), biases are of shape (neurons or 1, 1).
    """
    known = dict(values)
    formulas = list(forward_formulas(program))
    for layer in reversed(range(len(program.network.layers))):
        formulas += backward_formulas(program, layer)
    for formula in formulas:
        known[formula.name] = evaluate(formula.expression, known, {**OPERATIONS, **MATRIX_OPERATIONS})
    return known
