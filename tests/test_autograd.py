"""The PyTorch oracle: independent of gradsheet's formulas, batched, right where the answer is known."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradsheet.backends import autograd
from gradsheet.compiler import compile_network
from gradsheet.examples import EXAMPLES
from gradsheet.expression import Array
from gradsheet.network import Layer, Network
from strategies import networks

MAZUR = EXAMPLES["mazur"]


def rows(network: Network, count: int, spread: float = 0.0, seed: int = 0) -> dict[str, Array]:
    """Data and parameters of a network ``count`` times, all moved at random; targets stay valid."""
    generator = np.random.default_rng(seed)
    return {
        name: value + spread * generator.normal(size=count) * (not name.startswith("t"))
        for name, value in compile_network(network).initial.items()
    }


def test_mazur_numbers():
    found = autograd.step(MAZUR, rows(MAZUR, 1), 0.5)
    expected = {
        "h1": 0.3775,
        "a_h1": 0.593269992107,
        "a_h2": 0.596884378260,
        "a_o1": 0.751365069552,
        "a_o2": 0.772928465321,
        "E_total": 0.298371108760003,
        "dE_dw1": 0.000438567734474,
        "dE_dw4": 0.000995425470522,
        "dE_dw5": 0.0821670405642,
        "dE_dw8": -0.0227402422160,
    }
    assert {n: found.values[n].item() for n in expected} == pytest.approx(expected, abs=5e-13)
    updated = {"w1": 0.149780716133, "w4": 0.299502287265, "w5": 0.358916479718, "w8": 0.561370121108}
    assert {n: found.updated[n].item() for n in updated} == pytest.approx(updated, abs=5e-13)


@given(networks(), st.integers(0, 99))
def test_every_quantity_of_a_program_is_there_once_per_row(network, seed):
    program = compile_network(network)
    found = autograd.step(network, rows(network, 3, 0.1, seed), 0.1)
    formulas = [q.name for q in program.quantities if q.expression is not None]
    assert sorted(found.values) == sorted(formulas)
    assert list(found.updated) == list(program.trained)
    for array in (*found.values.values(), *found.updated.values()):
        assert array.shape == (3,)
        assert array.dtype == np.float64


@settings(max_examples=20)
@given(networks(), st.integers(0, 99))
def test_rows_are_independent(network, seed):
    inputs = rows(network, 3, 0.5, seed)
    together = autograd.step(network, inputs, 0.1)
    for row in range(3):
        alone = autograd.step(network, {n: v[row : row + 1] for n, v in inputs.items()}, 0.1)
        for name, value in {**alone.values, **alone.updated}.items():
            everyone = together.updated if name in together.updated else together.values
            # vectorised code may round the last digit otherwise than scalar code
            np.testing.assert_allclose(everyone[name][row], value[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("network", EXAMPLES.values(), ids=EXAMPLES)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_a_row_that_is_not_finite_spoils_no_other(network, wrong):
    good = rows(network, 3, 0.5)
    bad = {n: np.where([False, not n.startswith("t"), False], wrong, v) for n, v in good.items()}
    expected, found = autograd.step(network, good, 0.1), autograd.step(network, bad, 0.1)
    for name, value in found.updated.items():
        np.testing.assert_array_equal(value[[0, 2]], expected.updated[name][[0, 2]])
    for name, value in found.values.items():
        np.testing.assert_array_equal(value[[0, 2]], expected.values[name][[0, 2]])


def test_update_is_that_of_gradient_descent_and_inputs_are_left_alone():
    inputs = rows(MAZUR, 5, 0.5)
    before = {name: value.copy() for name, value in inputs.items()}
    found = autograd.step(MAZUR, inputs, 0.3)
    for name, value in found.updated.items():
        expected = inputs[name] - 0.3 * found.values[f"dE_d{name}"]
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-15)  # one rounding, near 1
    for name, value in inputs.items():
        np.testing.assert_array_equal(value, before[name])


def test_frozen_biases_have_no_gradient_and_a_shared_one_has_one():
    frozen = autograd.step(MAZUR, rows(MAZUR, 1), 0.5)
    assert not {"dE_db1", "dE_db2"} & set(frozen.values)
    assert not {"b1", "b2"} & set(frozen.updated)
    shared = replace(MAZUR, layers=tuple(replace(layer, train_biases=True) for layer in MAZUR.layers))
    found = autograd.step(shared, rows(shared, 1), 0.5).values
    assert [name for name in found if name.startswith("dE_db")] == ["dE_db1", "dE_db2"]
    assert found["dE_db2"] == pytest.approx(found["delta_o1"] + found["delta_o2"], rel=1e-14)


def test_a_sum_that_cancels_is_exactly_zero():
    """A fused matrix product leaves 1e-17 of a·b − b·a + c·d − d·c + …: a ReLU lets that through."""
    a, b = np.random.default_rng(0).uniform(size=(2, 50))
    network = Network(
        name="tie",
        layers=(Layer("relu", [np.stack([a, -b], axis=1).ravel()] * 8), Layer("tanh", [[1.0] * 8])),
        loss="half_squared_error",
        inputs=[np.stack([b, a], axis=1).ravel()] * 8,
        targets=[[1.0]] * 8,
    )
    found = autograd.step(network, rows(network, 4), 0.1).values
    for name in ("h1[1]", "h8[8]", "delta_h1[1]", "delta_h8[8]", "dE_dw1", "dE_dw800"):
        np.testing.assert_array_equal(found[name], 0)


def test_ten_thousand_rows_take_less_than_a_second():
    inputs = rows(MAZUR, 10_000, 0.5)
    times = []
    for _ in range(3):  # the first call warms PyTorch up
        start = time.perf_counter()
        autograd.step(MAZUR, inputs, 0.5)
        times.append(time.perf_counter() - start)
    assert min(times) < 1  # 0.04 s measured; a loop over the rows takes 10 s


def test_nothing_but_names_is_taken_from_gradsheet():
    source = Path(autograd.__file__).read_text(encoding="utf-8")
    taken = {
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("gradsheet")
        for alias in node.names
    }
    assert taken == {
        "MissingDependencyError",
        "Array",
        "Network",
        "activation_name",
        "bias_names",
        "gradient_name",
        "input_name",
        "layer_name",
        "of_sample",
        "sum_name",
        "target_name",
        "weight_names",
    }


def test_without_torch_the_error_says_how_to_install_it():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from gradsheet.errors import MissingDependencyError\n"
        "try:\n    import gradsheet.backends.autograd\n"
        "except MissingDependencyError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip().endswith("install it with: pip install 'gradsheet[torch]'")
