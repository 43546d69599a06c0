"""Programs: the right quantities in a teacher's order, their gradients against PyTorch and SymPy."""

from __future__ import annotations

import time
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from gradsheet.backends import arrays, autograd
from gradsheet.compiler import Program, compile_network, gradient_name
from gradsheet.examples import EXAMPLES
from gradsheet.expression import DIVERGENCE_LIMIT, Array, evaluate, references
from gradsheet.network import ACTIVATIONS, Layer, Network, bias_names, parse, weight_names
from gradsheet.optimizers import LEARNING_RATE
from strategies import networks

SEED = compile_network(EXAMPLES["seed"])


def formulas(program: Program) -> dict[str, str]:
    return {q.name: str(q.expression) for q in program.quantities if q.expression is not None}


def moved(network: Network, count: int, seed: int) -> dict[str, Array]:
    """Data and parameters ``count`` times, each time moved a little; targets stay valid."""
    generator = np.random.default_rng(seed)
    return {
        name: value + 0.3 * generator.normal(size=count) * (not name.startswith("t"))
        for name, value in compile_network(network).initial.items()
    }


# ---------------------------------------------------------------- what the quantities are


def test_quantities_of_the_seed_stand_in_the_order_of_the_sheet():
    assert " ".join(quantity.name for quantity in SEED.quantities) == (
        "t1 t2 i1 i2 w1 w2 w3 w4 h1 a_h1 h2 a_h2 w5 w6 w7 w8 o1 a_o1 o2 a_o2 E1 E2 E_total "
        "delta_o1 delta_o2 delta_h1 delta_h2 "
        "dE_dw1 dE_dw2 dE_dw3 dE_dw4 dE_dw5 dE_dw6 dE_dw7 dE_dw8"
    )
    assert SEED.trained == ("w1", "w2", "w3", "w4", "w5", "w6", "w7", "w8")


def test_formulas_of_the_seed_are_those_of_the_course():
    assert formulas(SEED) == {
        "h1": "w1·i1 + w2·i2",
        "a_h1": "σ(h1)",
        "h2": "w3·i1 + w4·i2",
        "a_h2": "σ(h2)",
        "o1": "w5·a_h1 + w6·a_h2",
        "a_o1": "σ(o1)",
        "o2": "w7·a_h1 + w8·a_h2",
        "a_o2": "σ(o2)",
        "E1": "½·(t1 − a_o1)²",
        "E2": "½·(t2 − a_o2)²",
        "E_total": "E1 + E2",
        "delta_o1": "(a_o1 − t1)·a_o1·(1 − a_o1)",
        "delta_o2": "(a_o2 − t2)·a_o2·(1 − a_o2)",
        "delta_h1": "(δ_o1·w5 + δ_o2·w7)·a_h1·(1 − a_h1)",
        "delta_h2": "(δ_o1·w6 + δ_o2·w8)·a_h2·(1 − a_h2)",
        "dE_dw1": "δ_h1·i1",
        "dE_dw2": "δ_h1·i2",
        "dE_dw3": "δ_h2·i1",
        "dE_dw4": "δ_h2·i2",
        "dE_dw5": "δ_o1·a_h1",
        "dE_dw6": "δ_o1·a_h2",
        "dE_dw7": "δ_o2·a_h1",
        "dE_dw8": "δ_o2·a_h2",
    }
    assert str(SEED.updates[4].expression) == "w5 − η·∂E/∂w5"


def test_roles_layers_and_labels_of_the_seed():
    assert {name: SEED[name].role for name in ("t1", "w1", "h1", "E1", "delta_h1", "dE_dw1")} == {
        "t1": "data",
        "w1": "parameter",
        "h1": "forward",
        "E1": "loss",
        "delta_h1": "delta",
        "dE_dw1": "gradient",
    }
    assert [SEED[n].layer for n in ("i1", "w1", "a_h1", "w5", "E1", "delta_o1", "dE_dw1")] == [
        None,
        0,
        0,
        1,
        None,
        1,
        0,
    ]
    assert {quantity.sample for quantity in SEED.quantities} == {None}
    assert [SEED[name].label for name in ("delta_h1", "dE_dw5", "w5")] == ["δ_h1", "∂E/∂w5", "w5"]
    names = [quantity.name for quantity in SEED.of_role("data", "loss")]
    assert " ".join(names) == "t1 t2 i1 i2 E1 E2 E_total"
    assert "w8" in SEED
    assert "w9" not in SEED


def test_several_samples_and_hidden_layers_are_told_apart():
    layers = (Layer("tanh", [[0.1]]), Layer("relu", [[0.2]]), Layer("identity", [[0.3]], [0.4]))
    network = Network("deep", layers, "mean_squared_error", [[1.0], [2.0]], [[0.0], [1.0]])
    program = compile_network(network)
    expected = {
        "h1_1[1]": "w1·i1[1]",
        "a_h1_1[1]": "tanh(h1_1[1])",
        "h1_1[2]": "w1·i1[2]",
        "a_h1_1[2]": "tanh(h1_1[2])",
        "h2_1[1]": "w2·a_h1_1[1]",
        "a_h2_1[1]": "max(0, h2_1[1])",
        "h2_1[2]": "w2·a_h1_1[2]",
        "a_h2_1[2]": "max(0, h2_1[2])",
        "o1[1]": "w3·a_h2_1[1] + b1",
        "o1[2]": "w3·a_h2_1[2] + b1",
        "E1[1]": "(t1[1] − o1[1])²",
        "E1[2]": "(t1[2] − o1[2])²",
        "E_total": "(E1[1] + E1[2])/2",
        "delta_o1[1]": "o1[1] − t1[1]",
        "delta_o1[2]": "o1[2] − t1[2]",
        "delta_h2_1[1]": "δ_o1[1]·w3·[h2_1[1] > 0]",
        "delta_h2_1[2]": "δ_o1[2]·w3·[h2_1[2] > 0]",
        "delta_h1_1[1]": "δ_h2_1[1]·w2·(1 − a_h1_1[1]²)",
        "delta_h1_1[2]": "δ_h2_1[2]·w2·(1 − a_h1_1[2]²)",
        "dE_dw1": "δ_h1_1[1]·i1[1] + δ_h1_1[2]·i1[2]",
        "dE_dw2": "δ_h2_1[1]·a_h1_1[1] + δ_h2_1[2]·a_h1_1[2]",
        "dE_dw3": "δ_o1[1]·a_h2_1[1] + δ_o1[2]·a_h2_1[2]",
        "dE_db1": "δ_o1[1] + δ_o1[2]",
    }
    assert list(formulas(program).items()) == list(expected.items())
    assert [program[n].sample for n in ("i1[2]", "E1[2]", "delta_o1[1]", "E_total", "dE_dw1")] == [
        2,
        2,
        1,
        None,
        None,
    ]


def test_cross_entropies_have_the_short_delta():
    xor, iris = (formulas(compile_network(EXAMPLES[name])) for name in ("xor", "iris"))
    assert xor["E1[1]"] == "ln(1 + exp(o1[1])) − t1[1]·o1[1]"
    assert xor["delta_o1[1]"] == "(a_o1[1] − t1[1])/4"
    assert [iris[n] for n in ("m[1]", "e1[1]", "Z[1]", "p1[1]", "E[1]", "delta_o1[1]")] == [
        "max(o1[1], o2[1], o3[1])",
        "exp(o1[1] − m[1])",
        "e1[1] + e2[1] + e3[1]",
        "e1[1]/Z[1]",
        "ln(Z[1]) − (t1[1]·(o1[1] − m[1]) + t2[1]·(o2[1] − m[1]) + t3[1]·(o3[1] − m[1]))",
        "(p1[1] − t1[1])/6",
    ]


def test_a_softmax_layer_has_its_whole_jacobian_and_the_short_delta_with_its_own_loss():
    layers = (Layer("softmax", [[0.1], [0.2]]), Layer("softmax", [[0.3, 0.4], [0.5, 0.6]]))
    network = Network("shares", layers, "half_squared_error", [[1.0]], [[0.0, 1.0]])
    squared = formulas(compile_network(network))
    assert [
        squared[n] for n in ("m_o", "e_o1", "Z_o", "a_o1", "m_h", "a_h2", "delta_o1", "delta_h2")
    ] == [
        "max(o1, o2)",
        "exp(o1 − m_o)",
        "e_o1 + e_o2",
        "e_o1/Z_o",
        "max(h1, h2)",
        "e_h2/Z_h",
        "(a_o1 − t1)·a_o1·(1 − a_o1) + (t2 − a_o2)·a_o2·a_o1",
        "−(δ_o1·w3 + δ_o2·w5)·a_h1·a_h2 + (δ_o1·w4 + δ_o2·w6)·a_h2·(1 − a_h2)",
    ]
    classes = formulas(compile_network(replace(network, loss="categorical_cross_entropy")))
    assert classes["E"] == "ln(Z_o) − (t1·(o1 − m_o) + t2·(o2 − m_o))"
    assert classes["delta_o2"] == "a_o2 − t2"


def test_frozen_biases_are_not_trained_and_a_shared_one_collects_all_neurons():
    assert not {"b1", "b2"} & set(compile_network(EXAMPLES["mazur"]).trained)
    layers = tuple(replace(layer, train_biases=True) for layer in EXAMPLES["mazur"].layers)
    program = compile_network(replace(EXAMPLES["mazur"], layers=layers))
    assert program.trained == ("w1", "w2", "w3", "w4", "b1", "w5", "w6", "w7", "w8", "b2")
    assert formulas(program)["dE_db2"] == "δ_o1 + δ_o2"


@given(networks())
def test_every_formula_uses_earlier_quantities_only(network):
    program = compile_network(network)
    earlier: set[str] = set()
    for quantity in program.quantities:
        assert (quantity.expression is None) != (quantity.value is None)
        if quantity.expression is not None:
            assert set(references(quantity.expression)) <= earlier
        earlier.add(quantity.name)
    assert len(earlier) == len(program.quantities)
    for update in program.updates:
        assert set(references(update.guarded)) <= earlier | {LEARNING_RATE}


@given(networks())
def test_compilation_is_deterministic(network):
    assert repr(compile_network(network)) == repr(compile_network(network))


def test_a_program_is_frozen():
    with pytest.raises(FrozenInstanceError):
        SEED.loss = "E1"
    with pytest.raises(FrozenInstanceError):
        SEED.quantities[0].value = 2.0


# ---------------------------------------------------------------- what they come to

# Both sides round differently: a value can be off by a few units in the last place of the largest
# number that went into it, and every number of a run is either given or among its quantities.
ROUNDING = 1e-13


def assert_close(found: dict[str, Array], expected: dict[str, Array]) -> None:
    largest = np.max([np.abs(value) for value in expected.values()], axis=0)
    for name, value in expected.items():
        error = np.abs(found[name] - value)
        assert np.all(error <= ROUNDING * (1 + largest)), (name, found[name], value)


@given(networks(), st.integers(0, 99))
def test_every_quantity_is_that_of_autograd(network, seed):
    program = compile_network(network)
    for inputs in (
        moved(network, 3, seed),
        {name: np.array([value]) for name, value in program.initial.items()},  # corners of a ReLU
    ):
        values = arrays.evaluate_all(program, inputs)
        oracle = autograd.step(network, inputs, 0.1)
        assert set(values) == set(inputs) | set(oracle.values)
        assert program.trained == tuple(oracle.updated)
        assert_close(values, dict(oracle.values))
        with_rate = {**values, LEARNING_RATE: 0.1}
        rules = {u.parameter: evaluate(u.expression, with_rate) for u in program.updates}
        guarded = {u.parameter: evaluate(u.guarded, with_rate) for u in program.updates}
        everything = {name: values[name] for name in oracle.values}
        assert_close({**values, **rules}, {**everything, **oracle.updated})
        assert_close(rules, guarded)


@given(networks())
def test_chains_multiply_out_to_their_quantity(network):
    program = compile_network(network)
    values = arrays.evaluate_all(program, moved(network, 2, 0))
    explained = program.of_role("delta", "gradient")
    products = {}
    for quantity in explained:
        assert quantity.chains
        products[quantity.name] = sum(
            np.prod([np.broadcast_to(evaluate(f.expression, values), 2) for f in chain], axis=0)
            for chain in quantity.chains
        )
    assert_close(products, {q.name: np.broadcast_to(values[q.name], 2) for q in explained})


@given(networks())
def test_chains_name_a_path_from_the_loss_to_the_quantity(network):
    for quantity in compile_network(network).of_role("delta", "gradient"):
        end = quantity.name.removeprefix("delta_").removeprefix("dE_d")
        for chain in quantity.chains:
            steps = [(factor.of, factor.by) for factor in chain]
            assert steps[0][0] == "E"
            assert steps[-1][1] == end
            assert all(by == of for (_, by), (of, _) in pairwise(steps))


def whole_loss(network: Network) -> sympy.Expr:
    """E_total as one SymPy formula of the parameters, written from the definition of the network."""
    half, cube = sympy.Rational(1, 2), sympy.Rational("0.044715")
    functions = {
        "sigmoid": lambda x: 1 / (1 + sympy.exp(-x)),
        "tanh": sympy.tanh,
        "relu": lambda x: sympy.Piecewise((x, x > 0), (0, True)),
        "leaky_relu": lambda x: sympy.Piecewise((x, x > 0), (x / 100, True)),
        "identity": lambda x: x,
        "softplus": lambda x: sympy.log(1 + sympy.exp(x)),
        "elu": lambda x: sympy.Piecewise((x, x > 0), (sympy.exp(x) - 1, True)),
        "gelu": lambda x: x / (1 + sympy.exp(-sympy.sqrt(8 / sympy.pi) * (x + cube * x**3))),
        "silu": lambda x: x / (1 + sympy.exp(-x)),
    }
    losses = []
    for inputs, targets in zip(network.inputs, network.targets, strict=True):
        signal = [sympy.Float(value, 30) for value in inputs]
        for layer, weights, biases in zip(
            network.layers, weight_names(network), bias_names(network), strict=True
        ):
            sums = [
                sum(sympy.Symbol(name) * x for name, x in zip(row, signal, strict=True))
                for row in weights
            ]
            if biases:
                sums = [total + sympy.Symbol(b) for total, b in zip(sums, biases, strict=True)]
            if layer.activation == "softmax":
                powers = [sympy.exp(total) for total in sums]
                signal = [power / sum(powers) for power in powers]
            else:
                signal = [functions[layer.activation](total) for total in sums]
        pairs = list(zip(targets, signal, strict=True))
        match network.loss:
            case "half_squared_error":
                losses += [half * (t - a) ** 2 for t, a in pairs]
            case "mean_squared_error":
                losses += [(t - a) ** 2 for t, a in pairs]
            case "mean_absolute_error":
                losses += [sympy.Piecewise((a - t, a > t), (t - a, True)) for t, a in pairs]
            case "huber":
                straight = [sympy.Piecewise((a - t, a > t), (t - a, True)) - half for t, a in pairs]
                losses += [
                    sympy.Piecewise((half * (t - a) ** 2, (t - a) ** 2 < 1), (line, True))
                    for (t, a), line in zip(pairs, straight, strict=True)
                ]
            case "categorical_cross_entropy":
                losses += [-sum(t * sympy.log(a) for t, a in pairs)]
            case "binary_cross_entropy":
                losses += [-t * sympy.log(a) - (1 - t) * sympy.log(1 - a) for t, a in pairs]
            case "softmax_cross_entropy":
                total = sum(sympy.exp(o) for o in signal)
                losses += [-sum(t * sympy.log(sympy.exp(o) / total) for t, o in pairs)]
    return sum(losses) / (1 if network.loss == "half_squared_error" else len(losses))


def small(activation: str, loss: str, last: str) -> Network:
    targets = "[[0.25, 0.75], [1, 0]]" if loss.endswith("entropy") else "[[0.3, 2], [-1, 0.4]]"
    return parse(f"""
        name = "{activation}, {loss}"
        loss = "{loss}"
        seed = 4
        inputs = [[0.7, -1.2], [0.4, 0.9]]
        targets = {targets}
        [[layers]]
        neurons = 2
        activation = "{activation}"
        biases = true
        [[layers]]
        neurons = 2
        activation = "{last}"
        biases = true
        shared_bias = true
    """)


OF_ALL_KINDS = [
    EXAMPLES["seed"],
    EXAMPLES["mazur"],
    *(small(activation, "half_squared_error", activation) for activation in ACTIVATIONS),
    small("tanh", "mean_squared_error", "leaky_relu"),
    small("relu", "binary_cross_entropy", "sigmoid"),
    small("sigmoid", "softmax_cross_entropy", "identity"),
    small("softmax", "categorical_cross_entropy", "softmax"),
    small("gelu", "mean_absolute_error", "silu"),
    small("elu", "huber", "identity"),
]


@pytest.mark.parametrize("network", OF_ALL_KINDS, ids=lambda network: network.name)
def test_gradients_are_those_of_sympy_on_the_whole_loss(network):
    program = compile_network(network)
    values = arrays.evaluate_all(program, program.initial)
    parameters = [quantity.name for quantity in program.of_role("parameter")]
    formula = whole_loss(network)
    wanted = [formula, *(sympy.diff(formula, sympy.Symbol(name)) for name in program.trained)]
    function = sympy.lambdify(parameters, wanted, "mpmath", cse=True)
    exact = [float(value) for value in function(*(program.initial[name] for name in parameters))]
    found = [values["E_total"], *(values[gradient_name(name)] for name in program.trained)]
    assert found == pytest.approx(exact, rel=1e-12, abs=1e-14)  # values around 1, a few roundings


@given(networks(max_layers=2, max_neurons=3, max_samples=2))
def test_gradients_are_slopes_of_the_loss(network):
    program = compile_network(network)
    inputs = {name: value[0] for name, value in moved(network, 1, 1).items()}
    values = arrays.evaluate_all(program, inputs)
    largest = max(abs(float(value)) for value in values.values())
    kinks = [
        abs(values[quantity.name])
        for quantity in program.of_role("forward")
        if quantity.name.startswith(("h", "o"))
        and network.layers[quantity.layer or 0].activation in ("relu", "leaky_relu")
    ]
    if min(kinks, default=1.0) < 1e-3:
        return  # a slope across a kink is no derivative
    step = 1e-5
    for name in program.trained:
        ahead, behind = (
            arrays.evaluate_all(program, {**inputs, name: inputs[name] + shift})["E_total"]
            for shift in (step, -step)
        )
        # the differences lose step² of the curve and 1e-16/step to rounding: about 1e-10 of values
        slope = (ahead - behind) / (2 * step)
        assert abs(values[gradient_name(name)] - slope) <= 1e-6 * (1 + largest)


def test_brackets_that_the_course_text_leaves_out_matter():
    """As printed in the text, ∂E/∂w1 lacks the brackets around the two-term sum: 33 times too large."""
    v = arrays.evaluate_all(SEED, SEED.initial)
    rest = v["a_h1"] * (1 - v["a_h1"]) * v["i1"]
    as_printed = v["delta_o1"] * v["w5"] + v["delta_o2"] * v["w7"] * rest
    assert as_printed == pytest.approx(0.0103548526, abs=5e-11)
    assert v["dE_dw1"] == pytest.approx(0.000316993395910, abs=5e-16)


# ---------------------------------------------------------------- updates and size


def test_only_a_bounded_loss_needs_no_guard():
    seed = EXAMPLES["seed"]
    assert not compile_network(seed).can_diverge
    assert all(update.guarded == update.expression for update in SEED.updates)
    for last in ("relu", "leaky_relu", "identity"):
        network = replace(seed, layers=(seed.layers[0], replace(seed.layers[1], activation=last)))
        assert compile_network(network).can_diverge
    xor = compile_network(EXAMPLES["xor"])
    assert xor.can_diverge
    assert str(xor.updates[0].guarded) == "(w1 − η·∂E/∂w1 while E_total < 1e+15, else w1)"


def test_weights_are_held_once_the_loss_has_diverged():
    update = compile_network(EXAMPLES["xor"]).updates[0]
    loss = np.array([1.0, DIVERGENCE_LIMIT, np.inf, np.nan])
    values = {"w1": 3.0, "learning_rate": 0.5, "dE_dw1": 2.0, "E_total": loss}
    assert evaluate(update.guarded, values).tolist() == [2, 3, 3, 3]


def test_a_large_network_compiles_in_seconds():
    network = parse(f"""
        name = "large"
        loss = "softmax_cross_entropy"
        seed = 1
        inputs = {[[0.1 * ((k + j) % 10) for j in range(20)] for k in range(10)]}
        targets = {list(range(10))}
        [[layers]]
        neurons = 20
        [[layers]]
        neurons = 10
        activation = "identity"
    """)
    start = time.perf_counter()
    program = compile_network(network)
    assert len(program.quantities) == 2531
    assert time.perf_counter() - start < 5  # 0.2 s; many minutes when derivatives were traced in full
