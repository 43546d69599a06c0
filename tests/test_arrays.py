"""Training with NumPy: one run or many at once, against PyTorch's optimizer and plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings

from gradsheet.backends import arrays, autograd
from gradsheet.compiler import compile_network
from gradsheet.examples import EXAMPLES
from gradsheet.expression import DIVERGENCE_LIMIT
from gradsheet.network import Layer, Network
from strategies import PLAIN, networks

SEED, MAZUR, XOR = (EXAMPLES[name] for name in ("seed", "mazur", "xor"))


def neuron(
    weights: list[float],
    samples: list[list[float]],
    targets: list[float],
    activation: str = "identity",
) -> Network:
    return Network(
        name="neuron",
        layers=(Layer(activation, [weights]),),
        loss="half_squared_error",
        inputs=samples,
        targets=[[target] for target in targets],
    )


# ---------------------------------------------------------------- one iteration


def test_every_quantity_has_a_value_of_the_shape_of_what_it_depends_on():
    program = compile_network(SEED)
    values = arrays.evaluate_all(program, program.initial)
    assert set(values) == {quantity.name for quantity in program.quantities}
    batch = arrays.evaluate_all(program, {**program.initial, "w1": np.zeros((2, 3))})
    assert {np.shape(batch[name]) for name in ("h1", "a_o2", "E_total", "dE_dw8")} == {(2, 3)}
    assert np.shape(batch["h2"]) == ()


def test_values_that_overflow_are_no_warning():
    program = compile_network(neuron([1.0, 1.0], [[1.0, 1.0]], [0.0]))
    infinite = arrays.evaluate_all(
        program, {**program.initial, **dict.fromkeys(("w1", "w2"), np.array(1e308))}
    )
    assert infinite["dE_dw1"] == np.inf
    opposite = {"w1": np.array(np.inf), "w2": np.array(-np.inf)}
    undefined = arrays.evaluate_all(program, {**program.initial, **opposite})
    assert np.isnan(undefined["dE_dw1"])


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("network", PLAIN.values(), ids=PLAIN)
def test_training_is_that_of_the_optimizer_of_torch(network):
    program = compile_network(network)
    trained = arrays.train(program, 20, network.learning_rate)
    current = {name: np.array([value]) for name, value in program.initial.items()}
    for k in range(20):
        oracle = autograd.step(network, current, network.learning_rate)
        for name, value in {**current, **oracle.values}.items():
            # rounding grows a little from step to step
            assert trained[name][k] == pytest.approx(value[0], rel=1e-11, abs=1e-13), (name, k)
        current |= oracle.updated


@settings(max_examples=20)
@given(networks(max_layers=2, max_neurons=3, max_samples=2))
def test_many_runs_at_once_are_the_runs_one_by_one(network):
    program = compile_network(network)
    rates = np.array([0.01, 0.5])
    inputs = {name: np.array([[value], [-value], [0.0]]) for name, value in program.initial.items()}
    kept = {name: value for name, value in inputs.items() if name in program.trained}
    together = arrays.train(program, 4, rates, inputs=kept)
    assert {array.shape for array in together.values()} == {(4, 3, 2)}
    for row in range(3):
        for column, rate in enumerate(rates):
            start = {name: float(value[row, 0]) for name, value in kept.items()}
            alone = arrays.train(program, 4, float(rate), inputs=start)
            for name, array in together.items():
                # vectorised code may round the last digit otherwise than scalar code
                np.testing.assert_allclose(
                    array[:, row, column], alone[name], rtol=1e-9, atol=1e-11, err_msg=name
                )


def test_only_what_is_asked_for_is_recorded():
    recorded = arrays.train(compile_network(SEED), 3, 1.0, record=["E_total", "w5"])
    assert list(recorded) == ["E_total", "w5"]
    assert recorded["E_total"].shape == (3,)
    assert recorded["w5"][0] == 0.40


def test_nothing_is_recorded_of_no_steps():
    assert arrays.train(compile_network(SEED), 0, 1.0)["E_total"].shape == (0,)


def test_iterations_are_the_rows_of_training():
    program = compile_network(XOR)
    trained = arrays.train(program, 5, 0.5)
    for k, values in enumerate(arrays.iterations(program, 5, 0.5)):
        for name, rows in trained.items():
            assert values[name] == rows[k]
    assert k == 4


def test_inputs_replace_initial_values_and_are_left_alone():
    program = compile_network(SEED)
    start = {"w1": np.array([0.0, 1.0])}
    trained = arrays.train(program, 3, 1.0, inputs=start)
    assert trained["w1"][0].tolist() == [0, 1]
    assert trained["w2"][0].tolist() == [0.2, 0.2]
    assert start["w1"].tolist() == [0, 1]
    assert program.initial["w1"] == 0.15


def test_frozen_biases_stay():
    assert set(arrays.train(compile_network(MAZUR), 50, 0.5)["b1"]) == {0.35}


def test_a_run_that_diverges_is_held_and_the_others_go_on():
    program = compile_network(neuron([1.0], [[1.0]], [0.0]))  # w ← (1 − η)·w
    trained = arrays.train(program, 60, np.array([0.5, 5.0]), record=["w1", "E_total"])
    weights, losses = trained["w1"], trained["E_total"]
    assert weights[:, 0] == pytest.approx(0.5 ** np.arange(60), rel=1e-12)
    held = int(np.argmax(losses[:, 1] >= DIVERGENCE_LIMIT))
    assert held == math.ceil(math.log(2 * DIVERGENCE_LIMIT, 16))  # E = ½·(−4)^2k
    assert weights[held, 1] == pytest.approx((-4.0) ** held, rel=1e-12)
    assert set(weights[held:, 1]) == {weights[held, 1]}


# ---------------------------------------------------------------- curvature


def test_hessian_of_a_linear_neuron_is_that_of_its_inputs():
    samples = [[1.0, 2.0], [3.0, -1.0]]
    program = compile_network(neuron([0.3, -0.2], samples, [1.0, 2.0]))
    exact = np.array(samples).T @ np.array(samples)
    # the gradient is linear: differences lose nothing but rounding, 1e-16 over the step of 1e-5
    np.testing.assert_allclose(arrays.hessian(program, program.initial), exact, atol=1e-9)
    rate = arrays.critical_learning_rate(program, program.initial)
    assert rate == pytest.approx(2 / np.linalg.eigvalsh(exact)[-1], rel=1e-9)


def test_hessian_of_a_sigmoid_is_that_of_sympy():
    program = compile_network(neuron([0.7, -0.4], [[1.5, 2.0]], [0.1], "sigmoid"))
    w1, w2 = sympy.symbols("w1 w2")
    loss = (sympy.Rational(1, 10) - 1 / (1 + sympy.exp(-1.5 * w1 - 2 * w2))) ** 2 / 2
    exact = sympy.hessian(loss, (w1, w2)).subs({w1: 0.7, w2: -0.4})
    found = arrays.hessian(program, program.initial)
    np.testing.assert_allclose(found, np.array(exact, dtype=float), atol=1e-9)  # step², 1e-16/step


@pytest.mark.parametrize("network", [SEED, MAZUR, XOR], ids=lambda network: network.name)
def test_hessian_is_that_of_torch(network):
    program = compile_network(network)
    start = torch.tensor([program.initial[name] for name in program.trained], dtype=torch.float64)
    samples, targets = (torch.tensor(m, dtype=torch.float64) for m in (network.inputs, network.targets))

    def loss(parameters: torch.Tensor) -> torch.Tensor:
        values = dict(zip(program.trained, parameters, strict=True))
        signal, weight, bias = samples, 1, 1
        for layer in network.layers:
            rows = []
            for _ in range(layer.neurons):
                rows.append([values[f"w{weight + k}"] for k in range(layer.fan_in)])
                weight += layer.fan_in
            signal = signal @ torch.stack([torch.stack(row) for row in rows]).T
            if layer.biases and layer.train_biases:
                signal = signal + torch.stack([values[f"b{bias + k}"] for k in range(layer.neurons)])
                bias += layer.neurons
            elif layer.biases:
                signal = signal + layer.biases[0]
            signal = getattr(torch, layer.activation)(signal)
        if network.loss == "half_squared_error":
            return ((targets - signal) ** 2).sum() / 2
        return torch.nn.functional.binary_cross_entropy(signal, targets)

    exact = torch.autograd.functional.hessian(loss, start).numpy()
    np.testing.assert_allclose(arrays.hessian(program, program.initial), exact, atol=1e-9)


def test_critical_rate_divides_runs_that_shrink_from_runs_that_grow():
    program = compile_network(neuron([1.0], [[2.0]], [0.0]))
    critical = arrays.critical_learning_rate(program, program.initial)
    assert critical == pytest.approx(0.5, rel=1e-9)  # E = ½·(2w)², curvature 4
    losses = arrays.train(program, 50, critical * np.array([0.98, 1.02]), record=["E_total"])["E_total"]
    assert losses[-1, 0] < losses[0, 0] < losses[-1, 1]


def test_critical_rate_is_infinite_without_curvature_and_nan_without_numbers():
    flat = replace(SEED, layers=tuple(replace(layer, activation="relu") for layer in SEED.layers))
    program = compile_network(flat)
    dead = {**program.initial, **dict.fromkeys(program.trained, -1.0)}  # no ReLU lets anything through
    assert arrays.critical_learning_rate(program, dead) == math.inf
    steep = compile_network(neuron([1.0], [[1.0]], [0.0]))
    assert math.isnan(arrays.critical_learning_rate(steep, {**steep.initial, "i1": 1e200}))
    assert math.isnan(arrays.critical_learning_rate(steep, {**steep.initial, "w1": math.nan}))


def test_parameters_are_shifted_one_by_one_up_and_down():
    program = compile_network(neuron([3.0, 5.0], [[1.0, 10.0]], [0.0]))
    shifted = arrays.evaluate_shifted(program, program.initial, 0.25, program.trained)
    assert shifted["w1"].tolist() == [3.25, 3, 2.75, 3]
    assert shifted["w2"].tolist() == [5, 5.25, 5, 4.75]
    assert shifted["o1"].tolist() == [53.25, 55.5, 52.75, 50.5]
    assert shifted["i1"] == 1
