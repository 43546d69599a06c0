"""Optimizers and schedules: the recalculated sheet is what torch.optim makes of it, start to end."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import packages
from gradsheet import generate, optimizers, verify
from gradsheet.backends import arrays
from gradsheet.backends.latex import derivation
from gradsheet.backends.latex_document import to_html
from gradsheet.backends.workbook_layout import Plan
from gradsheet.cli import main
from gradsheet.compiler import compile_network
from gradsheet.engines import CellError, ironcalc, libreoffice
from gradsheet.errors import NetworkError, WorkbookError
from gradsheet.examples import EXAMPLES
from gradsheet.expression import Reference, apply, references
from gradsheet.network import Layer, Network, parse, to_toml
from gradsheet.optimizers import OPTIMIZERS, RATE, SCHEDULES, G, W
from strategies import networks
from test_workbook import DIVERGING
from training import torch, trained_by_torch

needs_libreoffice = pytest.mark.skipif(libreoffice.find() is None, reason="LibreOffice is not installed")
PAIRS = list(product(OPTIMIZERS, SCHEDULES))
SEED = EXAMPLES["seed"]


def written(folder: Path, network: Network, **arguments) -> Path:
    """A workbook of the network with wrong cached values, so that only recalculation can be right."""
    options = {"steps": 6, "learning_rates": (0.1, 1.0), **arguments}
    generate.write_workbook(network, folder / "plain.xlsx", **options)
    return packages.poisoned(folder / "plain.xlsx", folder / "poisoned.xlsx")


# ---------------------------------------------------------------- whole trainings


def assert_trained_as_torch_does(folder: Path, optimizer: str, schedule: str, engine: str) -> None:
    network = SEED.learning(optimizer, schedule)
    path = written(folder, network, learning_rate=0.05, steps=50, learning_rates=(0.01,))
    cells = verify.ENGINES[engine].recalculate(path)["Backprop"]
    table = Plan(compile_network(network), 50, 1).backprop
    found = [
        [cells[table.first_row + step, table.columns[f"w{k}"]] for k in range(1, 9)]
        for step in range(50)
    ]
    expected = trained_by_torch(network, 0.05, [[0]] * 50).weights
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    verdict = verify.verify(path, (engine,))
    assert verdict.proved, verify.to_text(verdict)


@pytest.mark.parametrize(("optimizer", "schedule"), PAIRS)
def test_fifty_recalculated_steps_are_those_of_torch(tmp_path, optimizer, schedule):
    assert_trained_as_torch_does(tmp_path, optimizer, schedule, "ironcalc")


@needs_libreoffice
@pytest.mark.libreoffice
@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("momentum", "step"), ("nesterov", "warmup"), ("adagrad", "constant"), ("adamw", "cosine")],
)
def test_fifty_steps_in_libreoffice_are_those_of_torch(tmp_path, optimizer, schedule):
    assert_trained_as_torch_does(tmp_path, optimizer, schedule, "libreoffice")


def test_the_defaults_are_those_of_torch():
    own = torch.optim.Adam([torch.zeros(1)]).defaults
    adam = {name: each.default for name, each in OPTIMIZERS["adam"].hyperparameters.items()}
    assert (adam["beta1"], adam["beta2"]) == own["betas"]
    assert adam["epsilon"] == own["eps"]
    for name, made in (("adagrad", torch.optim.Adagrad), ("rmsprop", torch.optim.RMSprop)):
        epsilon = OPTIMIZERS[name].hyperparameters["epsilon"].default
        assert epsilon == made([torch.zeros(1)]).defaults["eps"]
    assert OPTIMIZERS["adamw"].hyperparameters["weight_decay"].default == 0.01


# ---------------------------------------------------------------- any network, any numbers


@st.composite
def learning_networks(draw: st.DrawFn) -> Network:
    """Small networks with any optimizer, any schedule and hyper-parameters within their ranges."""
    network = draw(networks(max_layers=2, max_neurons=2, max_samples=2))
    chosen = network.learning(draw(st.sampled_from(PAIRS))[0], draw(st.sampled_from([*SCHEDULES])))
    numbers = {}
    for name, each in chosen.known_settings.items():
        least, most = max(each.least, 1e-8), min(each.most, 20 if each.whole else 0.99)
        drawn = st.integers(1, int(most)) if each.whole else st.floats(least, most)
        if draw(st.booleans()):
            numbers[name] = float(draw(drawn))
    return chosen.learning(settings=numbers)


@given(network=learning_networks(), rate=st.sampled_from([0.01, 0.3, 2.0]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_learning_network_is_proved(tmp_path, network, rate):
    verdict = verify.verify(written(tmp_path, network, learning_rate=rate))
    assert verdict.proved, verify.to_text(verdict)


@settings(max_examples=30)
@given(learning_networks())
def test_toml_keeps_how_a_network_learns(network):
    assert parse(to_toml(network)) == network


@settings(max_examples=20)
@given(learning_networks())
def test_a_program_reads_only_what_stands_earlier_or_above(network):
    program = compile_network(network)
    earlier = {*program.hyperparameters, "iteration"}
    for quantity in program.quantities:
        for expression in (quantity.expression, quantity.first, quantity.rule):
            assert expression is None or set(references(expression)) <= earlier
        earlier.add(quantity.name)


@settings(max_examples=15)
@given(learning_networks())
def test_any_learning_network_can_be_derived_in_writing(network):
    program = compile_network(network)
    values = next(arrays.iterations(program, 1, network.learning_rate))
    page = to_html(derivation(program, {k: float(v) for k, v in values.items()}, network.learning_rate))
    assert page.count("</section>") >= 7


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_many_learning_rates_at_once_are_the_runs_one_by_one(optimizer):
    program = compile_network(EXAMPLES["xor"].learning(optimizer, "cosine"))
    rates = np.array([0.01, 0.1, 0.5])
    together = arrays.train(program, 8, rates)
    for k, rate in enumerate(rates):
        alone = arrays.train(program, 8, float(rate))
        for name, rows in alone.items():
            np.testing.assert_allclose(together[name][:, k], rows, rtol=1e-9, atol=1e-11, err_msg=name)


# ---------------------------------------------------------------- the sheet


def test_plain_gradient_descent_has_no_trace_of_an_optimizer(tmp_path):
    plain, spelled = tmp_path / "plain.xlsx", tmp_path / "spelled.xlsx"
    generate.write_workbook(SEED, plain, steps=5)
    generate.write_workbook(SEED.learning("sgd", "constant", {"weight_decay": 0.0}), spelled, steps=5)
    assert plain.read_bytes() == spelled.read_bytes()
    assert list(compile_network(SEED).hyperparameters) == ["learning_rate"]
    assert ironcalc.formulas(plain)["Backprop"][Plan.HEADER_ROW + 2, 5] == "=F10-learning_rate*Y10"


def test_states_stand_behind_the_gradients_with_their_rules_in_words(tmp_path):
    network = SEED.learning("momentum", settings={"dampening": 0.2})
    path = written(tmp_path, network)
    plan = Plan(compile_network(network), 6, 2)
    cells, formulas = ironcalc.recalculate(path)["Backprop"], ironcalc.formulas(path)["Backprop"]
    column, header = plan.backprop.columns["m_w1"], plan.header_row
    assert column > plan.backprop.columns["dE_dw8"]
    assert cells[header, column] == "m_w1"
    words = "m_w1 = μ·(m_w1 above) + (1 − τ)·∂E/∂w1; first row: ∂E/∂w1"
    assert cells[header - 1, column] == words
    assert cells[header - 1, plan.backprop.columns["w1"]] == "next row: w1 − η·m_w1"
    first, second = (formulas[header + k, column] for k in (1, 2))
    assert re.fullmatch(r"=[A-Z]+12", first)
    assert re.fullmatch(r"=momentum\*[A-Z]+12\+\(1-dampening\)\*[A-Z]+13", second)
    read_me = ironcalc.recalculate(path)["Read me"].values()
    assert any("What the optimizer remembers of a weight" in str(text) for text in read_me)
    assert [cells[plan.setting_cell(name)] for name in plan.program.hyperparameters] == [1, 0.9, 0.2]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_diverging_run_holds_weights_and_states_and_no_cell_overflows(tmp_path, optimizer):
    network = DIVERGING.learning(optimizer)
    path = written(tmp_path, network, learning_rate=1e4, steps=60, learning_rates=(1e5,))
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)
    cells = ironcalc.recalculate(path)
    assert not any(isinstance(value, CellError) for sheet in cells.values() for value in sheet.values())


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw"])
def test_a_weight_that_its_decay_lets_grow_is_held_although_the_loss_is_bounded(tmp_path, optimizer):
    network = SEED.learning(optimizer, settings={"weight_decay": 1.0})
    path = written(tmp_path, network, learning_rate=1e3, steps=200, learning_rates=(1e4,))
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)
    cells = ironcalc.recalculate(path)
    assert not any(isinstance(value, CellError) for sheet in cells.values() for value in sheet.values())


MISTAKES = {
    "no bias correction": (
        "adam",
        W - RATE * (Reference("m") / (apply("sqrt", Reference("v")) + Reference("epsilon"))),
    ),
    "ε inside the root": (
        "rmsprop",
        W - RATE * (G / apply("sqrt", Reference("v") + Reference("epsilon"))),
    ),
    "decay coupled": ("adamw", OPTIMIZERS["adam"].update),
    "no look ahead": ("nesterov", OPTIMIZERS["momentum"].update),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_wrong_rule_is_not_proved(tmp_path, monkeypatch, kind):
    optimizer, update = MISTAKES[kind]
    wrong = replace(OPTIMIZERS[optimizer], update=update)
    monkeypatch.setitem(optimizers.OPTIMIZERS, optimizer, wrong)
    verdict = verify.verify(written(tmp_path, SEED.learning(optimizer)))
    assert {d.quantity[0] for run in verdict.runs for d in run.differences} == {"w"}


@pytest.mark.parametrize(("optimizer", "state"), [("momentum", "m_w3"), ("adam", "v_w3")])
def test_a_wrong_state_and_a_pasted_one_are_named(tmp_path, optimizer, state):
    network = SEED.learning(optimizer, "step")
    path = written(tmp_path, network)
    table = Plan(compile_network(network), 6, 2).backprop
    place = table.address(state, table.first_row + 2).replace("$", "")
    number = ironcalc.recalculate(path)["Backprop"][table.first_row + 2, table.columns[state]]
    for changed in (number * (1 + 1e-7), number):
        wrong = packages.with_number(path, tmp_path / "wrong.xlsx", place, changed)
        found = {d.quantity for run in verify.verify(wrong).runs for d in run.differences}
        assert state in found


@pytest.mark.parametrize("optimizer", ["momentum", "momentum_velocity", "rmsprop"])
def test_states_are_proved_where_gradient_and_weight_decay_cancel(tmp_path, optimizer):
    # at its optimum, w = t/(1 + λ)
    network = replace(
        SEED,
        layers=(Layer("identity", ((1.0,),)),),
        inputs=((1.0,),),
        targets=((3.0,),),
        hyperparameters={"weight_decay": 0.1},
        optimizer=optimizer,
    )
    rate = 1e-4 if optimizer == "rmsprop" else 0.5
    near = replace(network, layers=(Layer("identity", ((3 / 1.1 + 1e-6,),)),))
    verdict = verify.verify(written(tmp_path, near, learning_rate=rate, steps=120))
    assert verdict.proved, verify.to_text(verdict)


def test_weights_too_small_for_all_their_digits_are_proved(tmp_path):
    # from 0, steps of about 1e-316
    layers = (Layer("sigmoid", ((0.0,),), (-690.0,)), Layer("sigmoid", ((3e-20,),)))
    network = replace(SEED, layers=layers, inputs=((0.3,),), targets=((1.0,),), optimizer="rmsprop")
    verdict = verify.verify(written(tmp_path, network, learning_rate=0.1, steps=20))
    assert verdict.proved, verify.to_text(verdict)


def test_states_too_small_for_all_their_digits_are_proved(tmp_path):
    # the gradient of the first weight is about 1e-321: two digits are left
    layers = (Layer("sigmoid", ((1.0,),), (-690.0,)), Layer("sigmoid", ((3e-21,),)))
    network = replace(SEED, layers=layers, inputs=((0.3,),), targets=((1.0,),), optimizer="adam")
    verdict = verify.verify(written(tmp_path, network, learning_rate=0.1, steps=20))
    assert verdict.proved, verify.to_text(verdict)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum_velocity"])
def test_a_cosine_that_rises_to_its_minimum_is_proved(tmp_path, optimizer):
    network = SEED.learning(optimizer, "cosine", {"minimum_rate": 5, "period": 1000})
    verdict = verify.verify(written(tmp_path, network, learning_rate=1e-12))
    assert verdict.proved, verify.to_text(verdict)


MOMENTA = [name for name, each in OPTIMIZERS.items() if "momentum" in each.hyperparameters]


@pytest.mark.parametrize("optimizer", MOMENTA)
def test_momentum_0_is_gradient_descent_and_proved(tmp_path, optimizer):
    network = SEED.learning(optimizer, settings={"momentum": 0})
    path = written(tmp_path, network, learning_rate=0.3)
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)
    table = Plan(compile_network(network), 6, 2).backprop
    last = ironcalc.recalculate(path)["Backprop"][table.last_row, table.columns["w3"]]
    expected = trained_by_torch(SEED, 0.3, [[0]] * 6).weights[-1][2]
    assert last == pytest.approx(expected, rel=1e-9)


def test_edited_hyperparameters_are_proved_and_wrong_ones_refused(tmp_path):
    network = SEED.learning("adam")
    path = written(tmp_path, network)
    plan = Plan(compile_network(network), 6, 2)
    row, _ = plan.setting_cell("beta1")
    edited = packages.with_number(path, tmp_path / "edited.xlsx", f"Backprop!B{row + 1}", 0.5)
    assert verify.verify(edited).proved
    wrong = packages.with_number(path, tmp_path / "wrong.xlsx", f"Backprop!B{row + 1}", 2.0)
    with pytest.raises(WorkbookError, match=r"cannot be used: .*beta1 is 2, but must be a num"):
        verify.verify(wrong)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("optimizer", "schedule", "numbers", "message"),
    [
        ("lion", None, {}, "optimizer: 'lion' is not known; use one of sgd, momentum"),
        (None, "cyclic", {}, "schedule: 'cyclic' is not known; use one of constant, step"),
        ("adam", None, {"momentum": 0.9}, "'momentum' is not one of adam .*belongs to momentum, "),
        ("adam", None, {"beta3": 0.9}, "no optimizer or schedule has it; known are beta1, beta2"),
        ("adam", None, {"beta1": 1.0}, "beta1 is 1, but must be a number from 0 to 0.99999"),
        (None, "step", {"step_size": 2.5}, "step_size is 2.5, but must be a whole number from 1"),
        ("adam", None, {"epsilon": math.nan}, "epsilon: nan is missing or not finite"),
    ],
)
def test_what_is_not_known_or_out_of_range_is_refused(optimizer, schedule, numbers, message):
    with pytest.raises(NetworkError, match=message):
        SEED.learning(optimizer, schedule, numbers)


def test_settings_are_kept_where_the_new_optimizer_knows_them():
    network = SEED.learning("adam", settings={"beta1": 0.8}).learning("adamw", "cosine")
    assert network.settings["beta1"] == 0.8
    assert network.learning("sgd", "constant") == SEED


def test_the_command_line_chooses_optimizer_schedule_and_hyperparameters(tmp_path):
    out = tmp_path / "adam.xlsx"
    options = ["--optimizer", "adam", "--schedule", "warmup", "--set", "beta1=0.8", "--steps", "5"]
    result = CliRunner().invoke(main, ["workbook", "seed", "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    plan = verify.read_plan(out, ironcalc.recalculate(out))
    assert plan.program.network == SEED.learning("adam", "warmup", {"beta1": 0.8})
    for wrong, message in (("beta1", "gives no number"), ("beta1=x", "NAME=NUMBER, such as beta1=0.8")):
        result = CliRunner().invoke(main, ["sweep", "--optimizer", "adam", "--set", wrong])
        assert result.exit_code == 2
        assert message in result.output


# ---------------------------------------------------------------- an optimizer of one's own


def test_the_example_of_the_contributors_guide_is_one_entry_and_works(tmp_path, monkeypatch):
    guide = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(\"lion\".*?)```", guide, re.DOTALL)
    entry = eval("{" + code + "}", dict(vars(optimizers)))["lion"]
    monkeypatch.setitem(optimizers.OPTIMIZERS, "lion", entry)
    network = SEED.learning("lion", settings={"weight_decay": 0.1})
    path = written(tmp_path, network, learning_rate=0.01, steps=30)
    cells = ironcalc.recalculate(path)["Backprop"]
    table = Plan(compile_network(network), 30, 2).backprop

    def column(name: str) -> np.ndarray:
        return np.array([cells[table.first_row + k, table.columns[name]] for k in range(30)])

    weight, average = SEED.layers[0].weights[0][0], 0.0
    for found, gradient in zip(column("w1"), column("dE_dw1"), strict=True):
        assert found == pytest.approx(weight, rel=1e-12)
        step = np.sign(0.9 * average + 0.1 * gradient)  # Chen et al., Algorithm 2
        weight -= 0.01 * (step + 0.1 * weight)
        average = 0.99 * average + 0.01 * gradient
