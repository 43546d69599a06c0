"""Networks: what is accepted, what is refused and in which words, and the round trip through TOML."""

from __future__ import annotations

import re
import tomllib
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradsheet.errors import InputError, NetworkError
from gradsheet.examples import EXAMPLES
from gradsheet.network import (
    ACTIVATIONS,
    LOSSES,
    Layer,
    Network,
    activation_name,
    bias_names,
    load,
    of_sample,
    parse,
    sum_name,
    to_toml,
    weight_names,
)
from strategies import networks

HUGE = 10**400
UNPRINTABLE = 10**5000  # Python refuses to turn it into text


def network(**changes: Any) -> Network:
    """A valid 2-1 network with some arguments replaced."""
    arguments: dict[str, Any] = {
        "name": "valid",
        "layers": (Layer("sigmoid", [[0.1, 0.2]], [0.3]),),
        "loss": "half_squared_error",
        "inputs": [[1, 2]],
        "targets": [[0.5]],
    }
    return Network(**{**arguments, **changes})


# ---------------------------------------------------------------- what is accepted


def test_arrays_and_lists_are_kept_as_tuples_of_floats():
    layer = Layer("sigmoid", np.array([[1, 2], [3, 4]], dtype=np.float32), np.array([1, 2]))
    assert layer == Layer("sigmoid", ((1.0, 2.0), (3.0, 4.0)), (1.0, 2.0))
    net = network(
        layers=[Layer("tanh", [[np.float32(0.5), np.int64(2)]])],
        inputs=np.array([[1, 2], [3, 4]]),
        targets=[np.array([1.0]), (0,)],
        learning_rate=np.float64(0.25),
        input_names=["length", "width"],
    )
    assert net.layers == (Layer("tanh", ((0.5, 2.0),)),)
    assert net.inputs == ((1.0, 2.0), (3.0, 4.0))
    assert net.targets == ((1.0,), (0.0,))
    assert net.input_names == ("length", "width")
    numbers = [*net.inputs[0], *net.targets[1], *net.layers[0].weights[0], net.learning_rate]
    assert {type(number) for number in numbers} == {float}
    assert hash(net) == hash(replace(net))


def test_a_network_is_frozen():
    with pytest.raises(FrozenInstanceError):
        network().loss = "mean_squared_error"
    with pytest.raises(FrozenInstanceError):
        network().layers[0].biases = ()


def test_sizes_are_counted():
    xor = EXAMPLES["xor"]
    assert (xor.sizes, xor.architecture, xor.samples) == ((2, 3, 1), "2-3-1", 4)
    assert (xor.layers[0].neurons, xor.layers[0].fan_in) == (3, 2)


# ---------------------------------------------------------------- what is refused


def messages(cases: list[tuple[Any, str]]) -> list[str]:
    return [message[:60] for _, message in cases]


LAYERS = [
    (
        {"activation": "swish"},
        "activation: 'swish' is not known; use one of sigmoid, tanh, relu, leaky_relu, identity",
    ),
    ({"activation": None}, "activation: None is not known; use one of sigmoid"),
    ({"weights": 5}, "weights: 5 must be a list of rows, such as [[0.1, 0.2]]"),
    ({"weights": None}, "weights: None must be a list of rows"),
    ({"weights": "12"}, "weights: '12' must be a list of rows"),
    ({"weights": []}, "weights: is empty; give at least one row, such as [[0.1, 0.2]]"),
    ({"weights": [[]]}, "weights: row 1 is empty; give at least one number"),
    ({"weights": [1, 2]}, "weights: row 1: 1 must be a list of numbers, such as [0.1, 0.2]"),
    ({"weights": np.array([1, 2])}, "weights: row 1: 1 must be a list of numbers"),
    ({"weights": np.zeros((1, 1, 1))}, "weights: row 1: [0.0] is not a number; give one such as 0.5"),
    (
        {"weights": [[1, 2], [3]]},
        "weights: row 2 has 1 values, but 2 are needed, as in its first row",
    ),
    ({"weights": [[1, "2"]]}, "weights: row 1: '2' is not a number; give one such as 0.5"),
    ({"weights": [[1, None]]}, "weights: row 1: None is not a number"),
    ({"weights": [[1, True]]}, "weights: row 1: True is not a number"),
    ({"weights": [[1, np.bool_(True)]]}, "weights: row 1: True is not a number"),
    ({"weights": [[1, 1j]]}, "weights: row 1: 1j is not a number"),
    ({"weights": [[1, float("nan")]]}, "weights: row 1: nan is missing or not finite; give a number"),
    ({"weights": [[1, np.float32("nan")]]}, "weights: row 1: nan is missing or not finite"),
    ({"weights": [[1, 2], [3, float("inf")]]}, "weights: row 2: inf is missing or not finite"),
    ({"weights": [[1, -float("inf")]]}, "weights: row 1: -inf is missing or not finite"),
    ({"weights": [[1, 1e7]]}, "weights: row 1: 10000000.0 is beyond ±1e+06, where a sheet overflows; "),
    ({"weights": [[1, HUGE]]}, f"weights: row 1: 1{'0' * 79}… is beyond ±1e+06"),
    ({"weights": [[-UNPRINTABLE]]}, "weights: row 1: a number of thousands of digits is beyond ±1e+06"),
    ({"biases": [1, 2]}, "biases: has 2 values for 1 neurons; give one per neuron"),
    ({"biases": 0.3}, "biases: 0.3 must be a list of numbers"),
    ({"biases": [[0.3]]}, "biases: [0.3] is not a number"),
    ({"shared_bias": True}, "biases: has 0 values for 1 neurons; give exactly the one that is shared"),
    ({"shared_bias": 1}, "shared_bias: 1 must be true or false"),
    ({"train_biases": "no"}, "train_biases: 'no' must be true or false"),
]


@pytest.mark.parametrize(("changes", "message"), LAYERS, ids=messages(LAYERS))
def test_a_wrong_layer_is_refused(changes, message):
    arguments = {"activation": "sigmoid", "weights": [[0.1, 0.2]], **changes}
    with pytest.raises(NetworkError, match=re.escape(message)):
        Layer(**arguments)


def softmax(*targets: float) -> dict[str, Any]:
    layers = (Layer("identity", [[0.1, 0.2], [0.3, 0.4]]),)
    return {"loss": "softmax_cross_entropy", "layers": layers, "targets": [list(targets)]}


TWO_LAYERS = (Layer("tanh", [[1, 2], [3, 4]]), Layer("tanh", [[1, 2, 3]]))

NETWORKS = [
    ({"name": ""}, "name: is empty; give the network a name, such as name = 'my network'"),
    ({"name": " "}, "name: is empty"),
    ({"name": 7}, "name: 7 is not text; put it in quotes"),
    ({"name": "x" * 1001}, "name: has 1001 characters; use at most 1000"),
    (
        {"name": "two\nlines"},
        "name: 'two\\nlines' holds a line break or another control character",
    ),
    ({"name": "tab\t"}, "name: 'tab\\t' holds"),
    ({"name": "delete\x7f"}, "name: 'delete\\x7f' holds"),
    ({"name": "half a pair \ud800"}, "name: 'half a pair \\ud800' holds"),
    ({"description": "no character \uffff"}, "description: 'no character \\uffff' holds"),
    ({"description": None}, "description: None is not text"),
    ({"loss": "hinge"}, "loss: 'hinge' is not known; use one of half_squared_error, mean_squared_error"),
    ({"loss": ["hinge"]}, "loss: ['hinge'] is not known"),
    ({"layers": ()}, "layers: there is none; give at least the output layer"),
    ({"layers": None}, "layers: None must be a list of layers"),
    ({"layers": [[0.1, 0.2]]}, "layers[1]: [0.1, 0.2] is not a Layer; make it one"),
    (
        {"layers": TWO_LAYERS},
        "layers[2].weights: row 1 has 3 values, but 2 are needed, one per neuron of the layer before",
    ),
    ({"learning_rate": 0}, "learning_rate: 0.0 must be greater than 0, or nothing is learnt"),
    ({"learning_rate": -0.5}, "learning_rate: -0.5 must be greater than 0"),
    ({"learning_rate": None}, "learning_rate: None is not a number"),
    ({"learning_rate": float("nan")}, "learning_rate: nan is missing or not finite"),
    ({"learning_rate": HUGE}, "is beyond ±1e+06"),
    ({"seed": "1"}, "seed: '1' is not a whole number from 0, such as seed = 1"),
    ({"seed": 1.0}, "seed: 1.0 is not a whole number from 0"),
    ({"seed": True}, "seed: True is not a whole number from 0"),
    ({"seed": -1}, "seed: -1 is not a whole number from 0"),
    ({"seed": UNPRINTABLE}, "seed: a number of thousands of digits is not"),
    ({"inputs": [[1]]}, "inputs: row 1 has 1 values, but 2 are needed, one per input"),
    ({"inputs": [[1, 2], [3]], "targets": [[1], [1]]}, "inputs: row 2 has 1 values, but 2 are needed"),
    ({"inputs": []}, "inputs: is empty; give at least one row"),
    ({"inputs": [[1, None]]}, "inputs: row 1: None is not a number"),
    ({"targets": [[1, 2]]}, "targets: row 1 has 2 values, but 1 are needed, one per neuron of the last"),
    (
        {"targets": [[1], [2]]},
        "targets: 2 rows for 1 rows of inputs; give one row of targets per sample",
    ),
    ({"input_names": "ab"}, "input_names: 'ab' must be a list of names, such as ['length', 'width']"),
    ({"output_names": "y"}, "output_names: 'y' must be a list of names, such as ['rose', 'tulip']"),
    ({"input_names": ["a"]}, "input_names: has 1 names, but 2 are needed"),
    ({"output_names": ["a", "c"]}, "output_names: has 2 names, but 1 are needed"),
    ({"input_names": ["a", 1]}, "input_names: 1 is not text"),
    ({"input_names": ["a", ["c"]]}, "input_names: ['c'] is not text"),
    ({"input_names": ["a", "c\n"]}, "input_names: 'c\\n' holds a line break"),
    ({"input_names": ["a", " "]}, "input_names: a name is empty; give every name some letters"),
    ({"input_names": ["a", "a"]}, "input_names: 'a' clashes with a name in input_names; make the names"),
    (
        {"input_names": ["a", "c"], "output_names": ["a"]},
        "output_names: 'a' clashes with a name in input_names",
    ),
    *(
        (
            {"output_names": [name]},
            f"output_names: {name!r} clashes with a quantity of the network; use",
        )
        for name in ("i1", "w12", "a_h1", "h2_1", "o1[2]", "E", "E_total", "η", "iteration", "p3", "b1")
    ),
    *(
        ({"output_names": [name]}, f"output_names: {name!r} clashes with a quantity of the network")
        for name in ("dE_dw1", "∂E/∂w1", "delta_h1", "δ_o1", "learning_rate", "Z", "m", "t1")
    ),
    (
        {"loss": "binary_cross_entropy", "layers": (Layer("tanh", [[0.1, 0.2]]),)},
        "loss: binary_cross_entropy needs outputs between 0 and 1, but the last layer's activation is "
        "'tanh'; make it 'sigmoid'",
    ),
    (
        {"loss": "binary_cross_entropy", "targets": [[-0.1]]},
        "targets: row 1 is [-0.1], but binary_cross_entropy needs targets between 0 and 1",
    ),
    (
        {**softmax(0, 1), "layers": (Layer("sigmoid", [[0.1, 0.2], [0.3, 0.4]]),)},
        "loss: softmax_cross_entropy applies the softmax itself, but the last layer's activation is "
        "'sigmoid'; make it 'identity'",
    ),
    (
        {**softmax(1), "layers": (Layer("identity", [[0.1, 0.2]]),)},
        "loss: softmax_cross_entropy needs at least 2 outputs, one per class; for one output use "
        "binary_cross_entropy",
    ),
    (
        softmax(0.5, 0.4),
        "targets: row 1 is [0.5, 0.4], but softmax_cross_entropy needs shares that are not negative "
        "and sum to 1, and not to 0.9 (or class numbers from 0)",
    ),
    (softmax(1.5, -0.5), "targets: row 1 is [1.5, -0.5], but softmax_cross_entropy needs shares"),
    (softmax(0.3333333333, 0.6666666666), "sum to 1, and not to 0.9999999999"),
]


@pytest.mark.parametrize(("changes", "message"), NETWORKS, ids=messages(NETWORKS))
def test_a_wrong_network_is_refused(changes, message):
    with pytest.raises(NetworkError, match=re.escape(message)):
        network(**changes)


def test_rounded_shares_are_accepted():
    thirds = 0.333333333333333, 0.666666666666666
    assert sum(thirds) != 1
    assert network(**softmax(*thirds)).targets[0] == thirds


# ---------------------------------------------------------------- TOML

VALID = """
name = "valid"
loss = "half_squared_error"
inputs = [[1, 2]]
targets = [0.5]
[[layers]]
weights = [[0.1, 0.2]]
"""


def test_what_is_not_given_has_a_default():
    assert parse(VALID) == network(layers=(Layer("sigmoid", [[0.1, 0.2]]),))


def test_losses_and_activations_may_be_written_as_in_a_sentence():
    text = VALID.replace("half_squared_error", "Half squared-error")
    assert parse(text + 'activation = "Leaky ReLU"').layers[0].activation == "leaky_relu"
    assert parse(text).loss == "half_squared_error"


def test_labels_become_one_hot_rows():
    text = """
        name = "labels"
        loss = "softmax_cross_entropy"
        seed = 1
        inputs = [[1], [2], [3]]
        targets = [2, 0, 1]
        [[layers]]
        neurons = 3
        activation = "identity"
    """
    assert parse(text).targets == ((0, 0, 1), (1, 0, 0), (0, 1, 0))


def test_missing_weights_and_biases_are_drawn_from_the_seed():
    text = "seed = 3\n" + VALID.replace("weights = [[0.1, 0.2]]", "neurons = 2\nbiases = true")
    text = text.replace("[0.5]", "[[0.5, 0.5]]")
    layer = parse(text).layers[0]
    assert layer == parse(text).layers[0]
    assert layer != parse(text.replace("seed = 3", "seed = 4")).layers[0]
    numbers = [value for row in (*layer.weights, layer.biases) for value in row]
    assert len(set(numbers)) == 6
    assert all(abs(value) <= 2**-0.5 and round(value, 4) == value for value in numbers)
    assert parse(text + "shared_bias = true").layers[0].shared_bias
    assert len(parse(text + "shared_bias = true").layers[0].biases) == 1


def test_a_shared_bias_may_be_given_as_a_number_or_a_list():
    one = parse(VALID + "biases = 0.3\nshared_bias = true")
    assert one == parse(VALID + "biases = [0.3]\nshared_bias = true")
    assert one.layers[0] == Layer("sigmoid", [[0.1, 0.2]], [0.3], shared_bias=True)
    assert parse(VALID + "biases = false") == parse(VALID)


TEXTS = [
    ("", "name: is missing; add it"),
    ("name = ", "is not valid TOML: "),
    ("name = 'a'\n? = 1", "is not valid TOML: Invalid statement (at line 2, column 1); mend that place"),
    ("x = " + "[" * 100_000, "is not a network: a number or a list in it is far too long"),
    ("x = " + "9" * 5000, "is not a network: a number or a list in it is far too long"),
    (VALID.replace("loss", "los"), "los: is not a known key; known are name, description, loss"),
    (VALID.replace("loss", "# loss"), "loss: is missing; add it"),
    (VALID.replace("inputs", "# inputs"), "inputs: is missing; add it"),
    (VALID.replace("inputs", "[hyperparameters]\ninputs"), "inputs: stands below [hyperparameters]"),
    (VALID.replace("targets", "# targets"), "targets: is missing; add it"),
    (VALID[: VALID.index("[[layers")], "layers: is missing; add it"),
    (VALID.replace('"half_squared_error"', "1"), "loss: 1 is not text; put it in quotes"),
    (VALID.replace("half", "quarter"), "loss: 'quarter_squared_error' is not known; use one of half"),
    (VALID.replace("0.5", "nan"), "targets: row 1: nan is missing or not finite"),
    (VALID.replace("0.5", "1979-05-27"), "targets: row 1: datetime.date(1979, 5, 27) is not a number"),
    (VALID.replace("[0.5]", "0.5"), "targets: must be a list with one entry per sample"),
    (VALID.replace("[0.5]", "[]"), "targets: must be a list with one entry per sample"),
    (VALID.replace("[[1, 2]]", "[1, 2]"), "inputs: row 1: 1 must be a list of numbers"),
    (VALID.replace("[[1, 2]]", "[]"), "inputs: is empty; give at least one row"),
    (VALID.replace("[[1, 2]]", "[[1, 0x" + "f" * 5000 + "]]"), "thousands of digits is beyond ±1e+06"),
    ("seed = 1.5\n" + VALID, "seed: 1.5 is not a whole number from 0, such as seed = 1"),
    ("learning_rate = 0\n" + VALID, "learning_rate: 0.0 must be greater than 0"),
    ("learning_rate = '1'\n" + VALID, "learning_rate: '1' is not a number"),
    ("input_names = 'ab'\n" + VALID, "input_names: 'ab' must be a list of names"),
    (VALID.replace("[[layers]]", "[layers]"), "layers: needs at least one [[layers]] table, the output"),
    ("layers = [1]\n" + VALID[: VALID.index("[[layers")], "layers[1]: is not a table; write it as [[la"),
    (VALID + "bias = 1", "layers[1].bias: is not a known key; known are neurons, activation, weights"),
    (VALID + "activation = 'swish'", "layers[1].activation: 'swish' is not known; use one of sigmoid"),
    (VALID + "activation = 5", "layers[1].activation: 5 is not text; put it in quotes"),
    (VALID + "shared_bias = 1", "layers[1].shared_bias: 1 must be true or false"),
    (VALID + "train_biases = 'no'", "layers[1].train_biases: 'no' must be true or false"),
    (VALID + "biases = [1, 2]", "layers[1].biases: has 2 values for 1 neurons; give one per neuron"),
    (VALID + "biases = 0.3", "layers[1].biases: 0.3 must be a list of numbers, such as [0.1, 0.2]"),
    (VALID + "biases = true", "layers[1]: biases are not given; give them, or a seed = 1 at the top"),
    (VALID + "neurons = 2", "layers[1].weights: has 1 rows for 2 neurons; give one per neuron"),
    (VALID.replace("weights", "# weights"), "layers[1]: give weights, or neurons to have the weights"),
    (
        VALID.replace("weights", "neurons = 1 #"),
        "layers[1]: weights are not given; give them, or a seed",
    ),
    *(
        (
            VALID.replace("weights = ", f"neurons = {neurons} #"),
            f"layers[1].neurons: {shown} is not a whole number from 1 to 1000",
        )
        for neurons, shown in (
            ("0", "0"),
            ("-1", "-1"),
            ("1001", "1001"),
            ("'2'", "'2'"),
            ("true", "True"),
        )
    ),
    (VALID.replace("[[0.1, 0.2]]", "[]"), "layers[1].weights: is empty; give at least one row"),
    (VALID.replace("0.1,", "'a',"), "layers[1].weights: row 1: 'a' is not a number"),
]


@pytest.mark.parametrize(("text", "message"), TEXTS, ids=messages(TEXTS))
def test_wrong_toml_is_refused(text, message):
    with pytest.raises(NetworkError, match=re.escape(message)):
        parse(text)


@pytest.mark.parametrize("label", ["3", "-1", "1.0", "true", "'1'"])
def test_a_label_out_of_range_is_refused(label):
    text = f"""
        name = "labels"
        loss = "softmax_cross_entropy"
        inputs = [[1], [2]]
        targets = [0, {label}]
        [[layers]]
        activation = "identity"
        weights = [[1], [2], [3]]
    """
    with pytest.raises(NetworkError, match=r"targets: label .* of sample 2 is out of range; with 3"):
        parse(text)


@given(networks())
def test_toml_round_trip_is_identity(net):
    assert parse(to_toml(net)) == net


# what a name may hold: everything but control characters, halves of surrogate pairs, noncharacters
CHARACTERS = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff")


@given(st.text(CHARACTERS, max_size=40), st.text(CHARACTERS, max_size=40))
def test_every_text_survives_the_round_trip(name, description):
    net = network(name=f"n{name}", description=description, input_names=[f"x{name}", "other"])
    assert parse(to_toml(net)) == net
    assert tomllib.loads(to_toml(net))["description"] == description


@given(st.text())
def test_any_text_is_accepted_or_refused_with_a_sentence(name):
    try:
        net = network(name=name)
    except NetworkError:
        return
    assert parse(to_toml(net)) == net


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_survive_the_round_trip(name):
    assert parse(to_toml(EXAMPLES[name])) == EXAMPLES[name]


# ---------------------------------------------------------------- files


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path):
    path = tmp_path / "network.toml"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text(VALID, encoding=encoding)
        assert load(path) == parse(VALID)


def test_an_error_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "network.toml"
    path.write_text(VALID + "bias = 1", encoding="utf-8")
    with pytest.raises(NetworkError, match=rf"^{re.escape(str(path))}: layers\[1\]\.bias: is not"):
        load(path)
    path.write_text("name = ", encoding="utf-8")
    with pytest.raises(NetworkError, match=rf"^{re.escape(str(path))}: is not valid TOML"):
        load(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\x80\x81\xff")
    for path, message in (
        (binary, "is not a text file in UTF-8; save it as UTF-8 text"),
        (tmp_path / "none.toml", "there is no such file; check the name"),
        (tmp_path, r"cannot be read \(Is a directory\)"),
        (tmp_path / ("x" * 5000), r"cannot be read \(File name too long\)"),
    ):
        with pytest.raises(InputError, match=rf"{re.escape(str(path))}: {message}"):
            load(path)


# ---------------------------------------------------------------- drawing and naming


@given(networks(), st.integers(0, 99))
def test_redrawing_changes_trained_parameters_only_and_is_repeatable(net, seed):
    drawn = net.redrawn(seed)
    assert drawn == net.redrawn(seed)
    assert drawn.seed == seed
    for before, after in zip(net.layers, drawn.layers, strict=True):
        assert replace(after, weights=before.weights, biases=before.biases) == before
        bound = before.fan_in**-0.5 + 5e-5  # values are rounded to 4 decimals
        assert all(abs(value) <= bound for row in after.weights for value in row)
        assert len(after.biases) == len(before.biases)
        if not before.train_biases:
            assert after.biases == before.biases
    assert replace(drawn, layers=net.layers, seed=net.seed) == net


def test_redrawing_with_other_seeds_gives_other_weights():
    drawn = {EXAMPLES["seed"].redrawn(seed).layers for seed in range(20)}
    assert len(drawn) == 20


def test_weights_that_were_drawn_once_stay():
    """The generator is part of what a file with a seed means: its numbers must not change."""
    assert EXAMPLES["seed"].redrawn(1).layers[0].weights == ((-0.5171, 0.4913), (0.373, -0.3464))


def test_names_count_through_the_network():
    xor, mazur = EXAMPLES["xor"], EXAMPLES["mazur"]
    assert weight_names(xor) == [[["w1", "w2"], ["w3", "w4"], ["w5", "w6"]], [["w7", "w8", "w9"]]]
    assert bias_names(xor) == [["b1", "b2", "b3"], ["b4"]]
    assert bias_names(mazur) == [["b1", "b1"], ["b2", "b2"]]
    assert bias_names(EXAMPLES["seed"]) == [[], []]
    assert [sum_name(xor, 0, 3), activation_name(xor, 0, 3), sum_name(xor, 1, 1)] == ["h3", "a_h3", "o1"]
    assert activation_name(EXAMPLES["iris"], 1, 2) == "o2"
    assert [of_sample("h1", 2, 4), of_sample("h1", 1, 1)] == ["h1[2]", "h1"]


def test_the_known_names_are_those_of_the_documentation():
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    said = readme[readme.index("Networks: dense layers") :].partition("\n\n")[0]
    words = re.sub(r"[\W_]+", " ", said).lower()
    assert [name for name in (*ACTIVATIONS, *LOSSES) if name.replace("_", " ") not in words] == []


def test_a_softmax_needs_two_neurons_and_a_loss_that_fits():
    with pytest.raises(NetworkError, match="a softmax of one neuron is always 1; give"):
        Layer("softmax", [[0.1, 0.2]])
    shares = Layer("softmax", [[0.1], [0.2]])
    with pytest.raises(
        NetworkError, match="make it 'identity', or the loss 'categorical_cross_entropy'"
    ):
        Network("n", [shares], "softmax_cross_entropy", [[1.0]], [[1.0, 0.0]])
    sums = Layer("identity", [[0.1], [0.2]])
    with pytest.raises(NetworkError, match="'identity'; make it 'softmax', or the loss 'softmax_cross"):
        Network("n", [sums], "categorical_cross_entropy", [[1.0]], [[1.0, 0.0]])
    with pytest.raises(NetworkError, match="categorical_cross_entropy needs shares that are not neg"):
        Network("n", [shares], "categorical_cross_entropy", [[1.0]], [[1.0, 1.0]])
