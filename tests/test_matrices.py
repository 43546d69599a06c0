"""The formulas in matrices: evaluated as they are printed, they are what autograd finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from gradsheet.compiler import compile_network, gradient_name
from gradsheet.examples import EXAMPLES
from gradsheet.matrices import evaluate_matrices
from gradsheet.network import (
    Network,
    activation_name,
    bias_names,
    of_sample,
    sum_name,
    weight_names,
)
from strategies import networks

pytest.importorskip("torch")


def arrays_of(network: Network) -> dict[str, np.ndarray]:
    """What the formulas need: one column a sample."""
    found = {"x": np.array(network.inputs).T, "t": np.array(network.targets).T}
    for number, layer in enumerate(network.layers, 1):
        found[f"W{number}"] = np.array(layer.weights)
        found[f"b{number}"] = np.array(layer.biases).reshape(-1, 1)
    return found


def assert_matrices_are_those_of_autograd(network: Network) -> None:
    from gradsheet.backends import autograd

    program = compile_network(network)
    found = evaluate_matrices(program, arrays_of(network))
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
