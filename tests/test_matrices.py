"""The formulas in matrices, evaluated, and read back from their LaTeX: both are what autograd finds."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from gradsheet.backends.arrays import evaluate_all
from gradsheet.backends.latex import _LargeWriter
from gradsheet.compiler import compile_network, gradient_name
from gradsheet.examples import EXAMPLES
from gradsheet.expression import render
from gradsheet.matrices import backward_formulas, evaluate_matrices, forward_formulas, matrix_text
from gradsheet.network import (
    Network,
    activation_name,
    bias_names,
    of_sample,
    sum_name,
    weight_names,
)
from strategies import networks
from test_latex import _OPERATORS, _normal_share

pytest.importorskip("torch")


def arrays_of(network: Network) -> dict[str, np.ndarray]:
    """What the formulas need: one column a sample."""
    found = {"x": np.array(network.inputs).T, "t": np.array(network.targets).T}
    for number, layer in enumerate(network.layers, 1):
        found[f"W{number}"] = np.array(layer.weights)
        found[f"b{number}"] = np.array(layer.biases).reshape(-1, 1)
    return found


# ---------------------------------------------------------------- reading LaTeX back

_FUNCTIONS = {
    **{name: np.vectorize(function) for name, (_, function) in _OPERATORS.items()},
    "slope": np.vectorize(lambda x: 1.0 if x > 0 else 0.01),
    "sigma": lambda x: 1 / (1 + np.exp(-x)),
    "Phi": np.vectorize(_normal_share),
    "softmax": lambda z: np.exp(z - z.max()) / np.exp(z - z.max()).sum(),
    "diag": lambda a: np.diag(a[:, 0]),
    **{name: getattr(np, name) for name in ("tanh", "exp", "log", "maximum", "minimum")},
}


def as_python(latex: str) -> str:
    """A printed formula of one sample, in which every vector is a column, as Python: names such as z1,
    and a matrix product where two things stand side by side."""
    code = re.sub(r"\\frac{\\partial E_{total}}{\\partial a\^{\[(\d+)\](\(k\))?}}", r"g\1", latex)
    code = re.sub(r"\\delta\^{\[(\d+)\](\(k\))?}", r"delta\1", code)
    code = re.sub(r"([Wabz])\^{\[(\d+)\](\(k\))?}", r"\1\2", code)
    code = re.sub(r"([xtp])\^{\(k\)}", r"\1", code)
    code = re.sub(r"\be\^{([^{}]*)}", r"exp(\1)", code.replace(r"^{\top}", ".T")).replace("^{2}", "**2")
    code = re.sub(r"\\operatorname{(\w+)}|\\(tanh|sigma|Phi)", r"\1\2", code)
    code = re.sub(r"\\frac{([^{}]*)}{([^{}]*)}", r"((\1) / (\2))", code)
    for name, meaning in ((r"\odot", "*"), (r"\cdot", "*"), (r"\max", "maximum"), (r"\min", "minimum"),
                          (r"\ln", "log")):  # fmt: skip
        code = code.replace(name, meaning)
    return re.sub(r"(?<=[\w\])]) (?=[\w(])", " @ ", code)


def evaluate_printed(network: Network) -> dict[str, np.ndarray]:
    """What the printed formulas give: vectors with one column a sample, gradients summed over these."""
    program = compile_network(network)
    values = {name: float(v) for name, v in evaluate_all(program, program.initial).items()}
    writer = _LargeWriter(program, values, 0.1)
    formulas = list(forward_formulas(program))
    for layer in reversed(range(len(network.layers))):
        formulas += backward_formulas(program, layer)
    known, found = arrays_of(network), {}
    for sample in range(network.samples):
        own = known | {name: known[name][:, sample : sample + 1] for name in "xt"}
        for formula in formulas:
            _, _, right = writer.matrix_formula(formula).latex.partition(" = ")
            term = re.sub(r"\\sum_{k=1}\^{\d+} ", "", right)
            value = eval(as_python(term.removeprefix(r"\sum ")), _FUNCTIONS, own)
            own[formula.name] = value.sum(keepdims=True) if term.startswith(r"\sum ") else value
            found.setdefault(formula.name, []).append(own[formula.name])
    return {
        name: np.sum(values, 0) if name.startswith("dE_d") else np.hstack(values)
        for name, values in found.items()
    }


# ---------------------------------------------------------------- the tests


def assert_matrices_are_those_of_autograd(network: Network) -> None:
    from gradsheet.backends import autograd

    program = compile_network(network)
    found = evaluate_matrices(program, arrays_of(network))
    for name, value in evaluate_printed(network).items():
        np.testing.assert_allclose(value, found[name], rtol=1e-9, atol=1e-11, err_msg=f"printed {name}")
    point = {name: np.array([value]) for name, value in program.initial.items()}
    truth = {name: float(v[0]) for name, v in autograd.step(network, point, 1.0).values.items()}

    def per_sample(prefix, name, layer):
        neurons = range(1, network.sizes[layer + 1] + 1)
        return [
            [
                truth[prefix + of_sample(name(network, layer, k), sample, network.samples)]
                for sample in range(1, network.samples + 1)
            ]
            for k in neurons
        ]

    for layer, spec in enumerate(network.layers):
        number = layer + 1
        expected = {
            f"z{number}": per_sample("", sum_name, layer),
            f"delta{number}": per_sample("delta_", sum_name, layer),
            f"dE_dW{number}": [
                [truth[gradient_name(name)] for name in row] for row in weight_names(network)[layer]
            ],
        }
        if spec.activation != "identity":
            expected[f"a{number}"] = per_sample("", activation_name, layer)
        if spec.biases and spec.train_biases:
            names = dict.fromkeys(bias_names(network)[layer])
            expected[f"dE_db{number}"] = [[truth[gradient_name(name)]] for name in names]
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_matrices_of_an_example_are_those_of_autograd(name):
    assert_matrices_are_those_of_autograd(EXAMPLES[name])


@settings(max_examples=60)
@given(networks(max_layers=3, max_neurons=4, max_samples=3))
def test_the_matrices_of_any_network_are_those_of_autograd(network):
    assert_matrices_are_those_of_autograd(network)


def test_batches_of_one_sample_have_no_sums():
    program = compile_network(replace(EXAMPLES["iris"], batch_size=1))
    text = matrix_text(1)
    printed = {
        text.reference(formula.name): render(formula.expression, text)
        for formula in (*forward_formulas(program), *backward_formulas(program, 1))
    }
    assert printed["z⁽²⁾"] == "W⁽²⁾·a⁽¹⁾ + b⁽²⁾"
    assert printed["δ⁽²⁾"] == "p − t"
    assert printed["∂E/∂W⁽²⁾"] == "δ⁽²⁾·a⁽¹⁾ᵀ"
    assert printed["∂E/∂b⁽²⁾"] == "δ⁽²⁾"
