"""The built-in networks against the numbers of their sources, to the last digit that is known."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradsheet.backends import arrays
from gradsheet.compiler import Program, compile_network
from gradsheet.errors import InputError, NetworkError
from gradsheet.examples import EXAMPLES, find
from gradsheet.expression import evaluate
from gradsheet.network import Layer, Network, to_toml


def first(network: Network) -> dict[str, Any]:
    program = compile_network(network)
    return arrays.evaluate_all(program, program.initial)


def losses(network: Network, steps: int) -> Any:
    """E_total before the first update, after it, and so on up to ``steps`` updates."""
    program: Program = compile_network(network)
    return arrays.train(program, steps + 1, network.learning_rate, record=["E_total"])["E_total"]


def of(values: dict[str, Any], names: str) -> list[float]:
    return [float(values[name]) for name in names.split()]


# Every literal is compared to half a unit of the last digit that its source gives.


def test_course_network():
    v = first(EXAMPLES["seed"])
    forward = of(v, "h1 h2 a_h1 a_h2 o1 o2 a_o1 a_o2 E1 E2 E_total")
    assert forward == pytest.approx(
        [
            0.0275,
            0.0425,
            0.5068745667645342,
            0.5106234010049637,
            0.4325303571580474,
            0.5342801539349972,
            0.606477732206728,
            0.6304808354506348,
            0.005668753727943837,
            0.008512624209947821,
            0.014181377937891659,
        ],
        rel=1e-14,  # all digits of a float64, up to rounding
    )
    gradients = of(v, "dE_dw1 dE_dw2 dE_dw3 dE_dw5 dE_dw6 dE_dw7 dE_dw8")
    assert gradients == pytest.approx(
        [
            0.000316993395910,
            0.000633986791821,
            0.000351776321591,
            0.012880818631628,
            0.012976084910699,
            0.015408348281773,
            0.015522308119995,
        ],
        abs=5e-16,
    )


def test_course_network_with_the_wrong_neurons_derivative_is_another_number():
    """a_h1 where a_h2 belongs, the mistake of two public sheets in five: it is not what we compute."""
    v = first(EXAMPLES["seed"])
    wrong = (v["delta_o1"] * v["w6"] + v["delta_o2"] * v["w8"]) * v["a_h1"] * (1 - v["a_h1"]) * v["i1"]
    assert wrong == pytest.approx(0.000351868665, abs=5e-13)
    assert v["dE_dw3"] != pytest.approx(wrong, rel=1e-4)


def test_course_network_at_rate_one_learns_in_its_hundred_rows():
    learnt = losses(EXAMPLES["seed"], 99)
    assert (EXAMPLES["seed"].learning_rate, len(learnt)) == (1.0, 100)
    assert np.all(np.diff(learnt) < 0)


def test_mazur_first_iteration():
    v = first(EXAMPLES["mazur"])
    assert of(v, "h1 a_h1 a_h2 a_o1 a_o2") == pytest.approx(
        [0.3775, 0.593269992107, 0.596884378260, 0.751365069552, 0.772928465321], abs=5e-13
    )
    assert float(v["E_total"]) == pytest.approx(0.298371108760003, abs=5e-16)
    gradients = [float(v[f"dE_dw{k}"]) for k in range(1, 9)]
    assert gradients == pytest.approx(
        [
            0.000438567734474,
            0.000877135468949,
            0.000497712735261,
            0.000995425470522,
            0.0821670405642,
            0.0826676278475,
            -0.0226025404775,
            -0.0227402422160,
        ],
        abs=5e-14,
    )


def test_mazur_weights_after_one_update():
    program = compile_network(EXAMPLES["mazur"])
    trained = arrays.train(program, 2, 0.5)
    assert [float(trained[f"w{k}"][1]) for k in range(1, 9)] == pytest.approx(
        [
            0.149780716133,
            0.199561432266,
            0.249751143632,
            0.299502287265,
            0.358916479718,
            0.408666186076,
            0.511301270239,
            0.561370121108,
        ],
        abs=5e-13,
    )
    assert trained["b1"].tolist() == [0.35, 0.35]
    assert trained["b2"].tolist() == [0.60, 0.60]


def test_mazur_losses_up_to_ten_thousand_updates():
    learnt = losses(EXAMPLES["mazur"], 10_000)
    assert learnt[1] == pytest.approx(0.291027773693599, abs=5e-16)
    assert learnt[2] == pytest.approx(0.283547133122, abs=5e-13)
    assert learnt[100] == pytest.approx(0.0200468282, abs=5e-11)
    assert learnt[1000] == pytest.approx(0.00111434945, abs=5e-12)
    assert learnt[10_000] == pytest.approx(3.51018778298e-5, abs=5e-17)


def test_mazur_page_prints_the_numbers_of_another_rule():
    """.291027924 comes from updating w5 … w8 before the hidden deltas are taken: a common mistake."""
    program = compile_network(EXAMPLES["mazur"])
    values = arrays.evaluate_all(program, program.initial)
    for name in ("w5", "w6", "w7", "w8"):
        values[name] = values[name] - 0.5 * values[f"dE_d{name}"]
    for name in ("delta_h1", "delta_h2", "dE_dw1", "dE_dw2", "dE_dw3", "dE_dw4"):
        values[name] = evaluate(program[name].expression, values)
    for name in ("w1", "w2", "w3", "w4"):
        values[name] = values[name] - 0.5 * values[f"dE_d{name}"]
    after = arrays.evaluate_all(program, {name: values[name] for name in program.initial})
    assert float(after["E_total"]) == pytest.approx(0.291027923905, abs=5e-13)
    assert losses(EXAMPLES["mazur"], 1)[1] != pytest.approx(0.291027924, abs=1e-8)


def test_mazur_with_trained_biases():
    layers = EXAMPLES["mazur"].layers
    shared = tuple(replace(layer, train_biases=True) for layer in layers)
    own = tuple(replace(layer, biases=layer.biases * 2, shared_bias=False) for layer in shared)
    per_layer, per_neuron = (replace(EXAMPLES["mazur"], layers=chosen) for chosen in (shared, own))
    assert losses(per_neuron, 1)[1] == pytest.approx(0.280471446791, abs=5e-13)
    assert losses(per_layer, 1)[1] == pytest.approx(0.285750886699, abs=5e-13)


def test_cs231n_neuron():
    v = first(EXAMPLES["cs231n"])
    assert float(v["a_o1"]) == pytest.approx(0.731058578630, abs=5e-13)
    # the target is chosen so that ∂E/∂a = a − t = 1, and all gradients are those of the neuron itself
    assert float(v["a_o1"] - v["t1"]) == pytest.approx(1, abs=1e-15)
    assert of(v, "dE_dw1 dE_dw2 dE_db1") == pytest.approx(
        [-0.196611933, -0.393223866, 0.196611933], abs=5e-10
    )
    inputs = [float(v["delta_o1"] * v[weight]) for weight in ("w1", "w2")]
    assert inputs == pytest.approx([0.393223866, -0.589835800], abs=5e-10)


def test_cs231n_softmax():
    """p = (.2, .3, .5) and the second class: the gradient is p with 1 subtracted there."""
    network = Network(
        name="softmax",
        layers=(Layer("identity", [[np.log(0.2)], [np.log(0.3)], [np.log(0.5)]]),),
        loss="softmax_cross_entropy",
        inputs=[[1.0]],
        targets=[[0, 1, 0]],
    )
    v = first(network)
    assert of(v, "p1 p2 p3") == pytest.approx([0.2, 0.3, 0.5], rel=1e-14)
    assert of(v, "delta_o1 delta_o2 delta_o3") == pytest.approx([0.2, -0.7, 0.5], rel=1e-14)
    assert float(v["E_total"]) == pytest.approx(-np.log(0.3), rel=1e-14)


def test_micrograd_neuron():
    """The graph of Karpathy's lecture: gradients of x1 −1.5, of w1 1.0, of x2 0.5, of w2 0.0."""
    network = EXAMPLES["micrograd"]
    v = first(network)
    assert f"{network.layers[0].biases[0]:.4f} {v['o1']:.4f} {v['a_o1']:.4f}" == "6.8814 0.8814 0.7071"
    # the target is chosen so that ∂E/∂o = o − t = 1, and all gradients are those of the neuron itself
    assert float(v["a_o1"] - v["t1"]) == pytest.approx(1, abs=1e-15)
    assert of(v, "dE_dw1 dE_dw2 dE_db1") == pytest.approx([1.0, 0.0, 0.5], abs=1e-14)
    inputs = [float(v["delta_o1"] * v[weight]) for weight in ("w1", "w2")]
    assert inputs == pytest.approx([-1.5, 0.5], abs=1e-14)


BOWL = {
    (0.4, "sgd", ()): (-0.943467, -0.000073),
    (0.6, "sgd", ()): (-0.387814, -1673.365109),
    (0.6, "momentum", (("momentum", 0.5),)): (0.007188, 0.002553),
    (0.6, "momentum", (("momentum", 0.25),)): (-0.126340, -0.186632),
    (0.4, "rmsprop_inside", (("alpha", 0.9), ("epsilon", 1e-6))): (-0.010599, 0.000000),
}
"""Where the runs end that *Dive into Deep Learning* (chapters Momentum and RMSProp) prints:
``epoch 20, x1: -0.943467, x2: -0.000073`` and so on."""


@pytest.mark.parametrize("way", BOWL, ids=str)
def test_bowl_of_dive_into_deep_learning(way):
    rate, optimizer, settings = way
    program = compile_network(EXAMPLES["bowl"].learning(optimizer, settings=dict(settings)))
    rows = arrays.train(program, 21, rate)
    found = [float(rows[name][20]) for name in ("w1", "w2")]
    assert found == pytest.approx(BOWL[way], abs=5.01e-7)


def test_bowl_is_the_function_of_the_book_and_runs_as_its_program_does():
    network = EXAMPLES["bowl"]
    rows = arrays.train(compile_network(network), 21, network.learning_rate)
    x1, x2, v1, v2 = -5.0, -2.0, 0.0, 0.0
    for w1, w2, loss in zip(rows["w1"], rows["w2"], rows["E_total"], strict=True):
        assert (w1, w2) == pytest.approx((x1, x2), rel=1e-12)
        assert loss == pytest.approx(0.1 * x1**2 + 2 * x2**2, rel=1e-12)
        v1, v2 = 0.5 * v1 + 0.2 * x1, 0.5 * v2 + 4 * x2
        x1, x2 = x1 - 0.6 * v1, x2 - 0.6 * v2


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        ("sgd", 0.005), ("momentum", 0.005), ("nesterov", 0.005), ("adagrad", 10.0),
        ("rmsprop", 0.02), ("adam", 2.0),
    ],
)  # fmt: skip
def test_line_is_found_by_every_optimizer(optimizer, rate):
    xs = sorted(random.Random(1).sample(range(1, 21), 8))
    network = EXAMPLES["line"].learning(optimizer)
    assert [(x, y) for (x,), (y,) in zip(network.inputs, network.targets, strict=True)] == [
        (x, 2 * x + 30) for x in xs
    ]
    rows = arrays.train(compile_network(network), 2000, rate)
    assert (rows["w1"][-1], rows["b1"][-1]) == pytest.approx((2, 30), rel=0.01)


def test_moons_are_two_half_circles_and_noise_of_the_seed():
    noise = random.Random(20)
    points = []
    for k in range(8):
        x, y = math.cos(math.pi * k / 7), math.sin(math.pi * k / 7)
        for moon in ((x, y), (1 - x, 0.5 - y)):
            points.append(tuple(round(value + noise.gauss(0, 0.1), 2) for value in moon))
    assert EXAMPLES["moons"].inputs == tuple(points)
    assert EXAMPLES["moons"].targets == ((0,), (1,)) * 8


def test_xor_is_learnt_sooner_with_momentum():
    momentum, plain = EXAMPLES["xor-momentum"], EXAMPLES["xor"]
    assert momentum.learning("sgd").layers == plain.layers
    assert losses(momentum, 50)[-1] < losses(plain, 200)[-1]


def test_iris_with_adam_begins_where_iris_does():
    assert EXAMPLES["iris-adam"].layers == EXAMPLES["iris"].layers
    assert set(EXAMPLES["iris"].inputs) < set(EXAMPLES["iris-adam"].inputs)


BROWNLEE = Network(
    name="brownlee",
    layers=(
        Layer("sigmoid", [[0.13436424411240122, 0.8474337369372327]], [0.763774618976614]),
        Layer(
            "sigmoid",
            [[0.2550690257394217], [0.4494910647887381]],
            [0.49543508709194095, 0.651592972722763],
        ),
    ),
    loss="half_squared_error",
    inputs=[[1, 0]],
    targets=[[0, 1]],
)


def test_brownlee_outputs():
    outputs = of(first(BROWNLEE), "a_o1 a_o2")
    assert outputs == pytest.approx([0.6629970129852887, 0.7253160725279748], rel=1e-14)


def test_brownlee_deltas():
    """His deltas start from outputs of their own, and are (t − a)·a·(1 − a): the other way round."""
    outputs = {
        "a_h1": 0.7105668883115941,
        "a_o1": 0.6213859615555266,
        "a_o2": 0.6573693455986976,
    }
    program = compile_network(BROWNLEE)
    values = {**program.initial, **outputs}
    for name in ("delta_o1", "delta_o2", "delta_h1"):
        values[name] = evaluate(program[name].expression, values)
    assert [-v for v in of(values, "delta_o1 delta_o2 delta_h1")] == pytest.approx(
        [-0.14619064683582808, 0.0771723774346327, -0.0005348048046610517], rel=1e-13
    )


@pytest.mark.parametrize(
    ("name", "steps", "share"),
    [
        ("xor", 500, 0.1),
        ("iris", 500, 0.1),
        ("xor-momentum", 100, 0.01),
        ("moons", 100, 0.05),
        ("iris-adam", 100, 0.01),
    ],
)
def test_networks_for_classifying_learn_their_samples(name, steps, share):
    learnt = losses(EXAMPLES[name], steps)
    assert learnt[-1] < share * learnt[0]


# ---------------------------------------------------------------- finding


def test_an_example_is_found_by_its_name_and_a_file_by_its_path(tmp_path):
    assert {name: find(name) for name in EXAMPLES} == EXAMPLES
    path = tmp_path / "mine"
    path.write_text(to_toml(BROWNLEE), encoding="utf-8")
    assert find(str(path)) == BROWNLEE


@pytest.mark.parametrize("name", ["sed", "", "x" * 5000, "a\0b"])
def test_what_is_neither_is_refused(name):
    message = r": is neither an example \(seed, mazur, xor, .*, iris-adam\) nor a file; give one of"
    with pytest.raises(InputError, match=re.escape(name) + message):
        find(name)


def test_a_missing_toml_file_is_told_as_such(tmp_path):
    with pytest.raises(InputError, match=r"missing\.toml: there is no such file; check the name"):
        find(str(tmp_path / "missing.toml"))
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        find(str(tmp_path))


def test_a_file_without_a_network_is_refused_by_name(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("shopping", encoding="utf-8")
    with pytest.raises(NetworkError, match=r"notes\.txt: is not valid TOML"):
        find(str(path))
