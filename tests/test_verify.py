"""The proof itself: it holds for every network, and every tampered workbook fails it."""

from __future__ import annotations

import json
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xlsxwriter.utility import xl_cell_to_rowcol

import packages
from gradsheet import generate, verify
from gradsheet.backends.workbook_layout import Plan, cell
from gradsheet.compiler import compile_network
from gradsheet.engines import CellError, ironcalc, libreoffice
from gradsheet.errors import InputError, WorkbookError
from gradsheet.examples import EXAMPLES
from gradsheet.network import ACTIVATIONS, LOSSES, Layer, Network
from gradsheet.verify import tables
from strategies import networks
from test_workbook import DIVERGING, NETWORKS

pytest.importorskip("torch")
needs_libreoffice = pytest.mark.skipif(libreoffice.find() is None, reason="LibreOffice is not installed")


@pytest.fixture(scope="module")
def seed(tmp_path_factory):
    path = tmp_path_factory.mktemp("seed") / "seed.xlsx"
    generate.write_workbook(EXAMPLES["seed"], path, steps=20, learning_rates=(0.5, 2.0))
    return path


def written(folder: Path, network: Network, **arguments) -> Path:
    """A workbook of the network with wrong cached values, so that only recalculation can be right."""
    options = {"steps": 5, "learning_rates": (0.1, 1.0), **arguments}
    generate.write_workbook(network, folder / "plain.xlsx", **options)
    return packages.poisoned(folder / "plain.xlsx", folder / "poisoned.xlsx")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_example_is_proved_although_its_cached_values_are_wrong(tmp_path, name):
    verdict = verify.verify(written(tmp_path, NETWORKS[name], steps=30))
    assert verdict.proved, verify.to_text(verdict)


@needs_libreoffice
@pytest.mark.libreoffice
@pytest.mark.parametrize("name", NETWORKS)
def test_libreoffice_agrees_for_every_example(tmp_path, name):
    steps = 10 if name in ("moons", "iris-adam") else 30  # the large ones take it long
    verdict = verify.verify(written(tmp_path, NETWORKS[name], steps=steps), ("ironcalc", "libreoffice"))
    assert verdict.proved, verify.to_text(verdict)
    assert [(run.engine, run.changed) for run in verdict.runs] == [
        ("ironcalc", False), ("ironcalc", True), ("libreoffice", False), ("libreoffice", True),
    ]  # fmt: skip
    assert verdict.runs[0].compared == verdict.runs[2].compared


@given(network=networks(), rate=st.sampled_from([0.01, 0.3, 2.0, 50.0]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_network_is_proved(tmp_path, network, rate):
    path = written(tmp_path, network, learning_rate=rate, learning_rates=(0.1, 20.0))
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)


def test_gradients_are_excused_only_where_rounding_decides_about_the_slope_of_a_relu():
    network = Network(
        name="kink",
        layers=(Layer("leaky_relu", ((1.0,),)),),
        inputs=((1.0,),),
        targets=((0.0,),),
        loss="half_squared_error",
    )
    plan = Plan(compile_network(network), 4, 2)
    # on both sides; exactly 0; so small that a sheet may take it for 0; wrong
    found = {"o1": np.array([1e-17, 0.0, 1e-17, 1e-3])}
    expected = {"o1": np.array([-1e-17, 0.0, 2e-17, -1e-3]), "E_total": np.zeros(4)}
    limits = {"o1": np.full(4, tables.ROUNDING_FLOOR)}
    excused = tables._has_no_slope(plan, found, expected, limits)
    assert excused.tolist() == [True, False, True, False]


def test_a_leaky_relu_that_comes_within_rounding_of_its_kink_is_proved(tmp_path):
    zeros = (0.0, 0.0)
    network = Network(
        name="near a kink",  # Hypothesis found it: a sum of 2e-16, which IronCalc takes for 0
        layers=(
            Layer("sigmoid", ((*zeros, *zeros), (*zeros, *zeros))),
            Layer("leaky_relu", (zeros, (0.0, 0.01), zeros)),
            Layer("sigmoid", ((0.0, 0.22, -0.01),)),
        ),
        loss="binary_cross_entropy",
        inputs=((0.0, 0.0, 0.0, 1.05), (0.0, 0.0, 0.0, 0.01)),
        targets=((0.505,), (0.825,)),
    )
    verdict = verify.verify(written(tmp_path, network, learning_rate=50.0, learning_rates=(0.1, 20.0)))
    assert verdict.proved, verify.to_text(verdict)


def test_a_relu_that_starts_within_rounding_of_its_kink_is_proved_in_every_sheet(tmp_path):
    network = Network(
        name="at a kink",  # 0.1 + 0.2 − 0.3 is 5.6e-17, which IronCalc takes for 0
        layers=(Layer("relu", ((1.0, 1.0, 1.0),)), Layer("identity", ((2.0,),))),
        loss="half_squared_error",
        inputs=((0.1, 0.2, -0.3),),
        targets=((1.0,),),
    )
    verdict = verify.verify(written(tmp_path, network))
    assert verdict.proved, verify.to_text(verdict)


def test_gradients_of_large_numbers_that_cancel_are_proved_in_every_sheet(tmp_path):
    layers = [[[0.5] * inputs] * neurons for inputs, neurons in ((2, 5), (5, 5), (5, 3))]
    network = Network(
        name="even shares",  # every hidden δ is 0 but for rounding, and a gradient that times 8912.7
        layers=[Layer("identity", layers[0]), Layer("identity", layers[1]), Layer("softmax", layers[2])],
        loss="categorical_cross_entropy",
        inputs=((0.38, 672.3635558706205), (187.952595024322, 0.9), (8912.7, -0.3)),
        targets=((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.5, 0.0)),
    )
    verdict = verify.verify(written(tmp_path, network))
    assert verdict.proved, verify.to_text(verdict)


SALARIES = Network(
    name="salaries",
    layers=(Layer("sigmoid", ((1e-6, 1e-6),), (0.1,)), Layer("sigmoid", ((0.5,),), (0.3,))),
    loss="binary_cross_entropy",
    inputs=((900000.0, 30.0), (120000.0, 50.0)),
    targets=((1.0,), (0.0,)),
    learning_rate=1e-9,
)


@pytest.mark.parametrize("name", ["w3", "dE_dw1", "dE_dw3", "h1[1]", "E1[2]"])
def test_a_wrong_formula_is_found_although_the_data_are_large(tmp_path, name):
    path = written(tmp_path, SALARIES)
    assert verify.verify(path).proved
    table = Plan(compile_network(SALARIES), 5, 2).backprop
    row, column = table.first_row + 3, table.columns[name]
    formula = ironcalc.formulas(path)["Backprop"][row, column].removeprefix("=")
    place, wrong = f"Backprop!{cell(row, column)}", escape(f"({formula})*1.00000001")
    verdict = verify.verify(packages.with_formula(path, tmp_path / "wrong.xlsx", place, wrong))
    assert cell(row, column) in [difference.cell for difference in verdict.runs[0].differences]


def test_a_diverging_training_is_proved_with_its_weights_held(tmp_path):
    path = written(tmp_path, DIVERGING, learning_rate=40.0, steps=30)
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)
    cells = ironcalc.recalculate(path)["Backprop"]
    table = Plan(compile_network(DIVERGING), 30, 2).backprop
    weights = [cells[table.first_row + k, table.columns["w1"]] for k in range(30)]
    assert weights[-1] == weights[-2] != weights[0]


def test_saturated_neurons_and_large_numbers_are_proved(tmp_path):
    network = Network(
        name="saturated",
        layers=(
            Layer("sigmoid", ((900.0, -900.0), (30.0, 40.0)), (1.0, -1.0)),
            Layer("sigmoid", ((800.0, -5.0),)),
        ),
        loss="binary_cross_entropy",
        inputs=((10.0, -3.0), (-11.0, 2.0)),
        targets=((1.0,), (0.0,)),
    )
    verdict = verify.verify(written(tmp_path, network))
    assert verdict.proved, verify.to_text(verdict)


def large_sums(activation: str) -> Network:
    """Every sum from −10⁴ to 10⁴ at which something may overflow, saturate or jump."""
    sums = (-1e4, -745.5, -709.5, -40.0, -20.0, -1.0, 0.0, 1.0, 20.0, 40.0, 709.5, 745.5, 1e4)
    return Network(
        name=f"large sums, {activation}",
        layers=(Layer(activation, ((1.0,), (-1.0,), (0.5,))),),
        loss="half_squared_error",
        inputs=tuple((total,) for total in sums),
        targets=((0.5, -1.0, 0.25),) * len(sums),
        learning_rate=1e-9,
    )


def assert_proved_without_an_error(folder: Path, network: Network, engine: str) -> None:
    path = written(folder, network, steps=2, learning_rates=(1e-9,))
    verdict = verify.verify(path, (engine,))
    assert verdict.proved, verify.to_text(verdict)
    cells = verify.ENGINES[engine].recalculate(path)["Backprop"]
    assert not any(isinstance(value, CellError) for value in cells.values())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_activation_overflows_at_large_sums(tmp_path, activation):
    assert_proved_without_an_error(tmp_path, large_sums(activation), "ironcalc")


@needs_libreoffice
@pytest.mark.libreoffice
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_activation_overflows_at_large_sums_in_libreoffice(tmp_path, activation):
    assert_proved_without_an_error(tmp_path, large_sums(activation), "libreoffice")


@needs_libreoffice
@pytest.mark.libreoffice
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_squares_of_what_is_all_but_0_are_no_errors_in_libreoffice(tmp_path, activation):
    network = Network(
        name="vanishing",  # what comes into the second layer is some 1e-166: its square is no number
        layers=(
            Layer("sigmoid" if activation == "sigmoid" else "silu", ((1.0,),)),
            Layer(activation, ((1e-20,),)),
            Layer("identity", ((0.5,),)),
        ),
        loss="mean_squared_error",
        inputs=((-400.0,),),
        targets=((1.0,),),
        optimizer="adam",
    )
    assert_proved_without_an_error(tmp_path, network, "libreoffice")


@needs_libreoffice
@pytest.mark.libreoffice
@pytest.mark.parametrize("activation", ["sigmoid", "gelu"])
def test_the_squared_error_of_what_is_all_but_0_is_no_error_in_libreoffice(tmp_path, activation):
    """The output is 0 but for some 1e-146, and so is the target."""
    layer = Layer(activation, ((-1.0,),))
    network = Network("saturated", (layer,), "half_squared_error", ((500.0,),), ((0.0,),))
    assert_proved_without_an_error(tmp_path, network, "libreoffice")


@needs_libreoffice
@pytest.mark.libreoffice
@pytest.mark.parametrize(
    "learning",
    [
        {"optimizer": "adam", "settings": {"beta1": 0.05}},
        {"schedule": "step", "settings": {"step_size": 1, "step_factor": 0.05}},
    ],
    ids=["adam", "step"],
)
def test_powers_below_all_numbers_are_no_errors_in_libreoffice(tmp_path, learning):
    network = EXAMPLES["seed"].learning(**learning)
    path = written(tmp_path, network, steps=250, learning_rates=(0.5,))  # 0.05^237 is 2e-308
    verdict = verify.verify(path, ("libreoffice",))
    assert verdict.proved, verify.to_text(verdict)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_overflows_at_large_sums_and_ties_are_those_of_torch(tmp_path, loss):
    last = {"binary_cross_entropy": "sigmoid", "categorical_cross_entropy": "softmax"}
    network = replace(
        large_sums(last.get(loss, "identity")),
        loss=loss,
        targets=((1.0, 0.0, 0.0),) * 13,  # at a sum of 0 two errors are exactly 0
    )
    assert_proved_without_an_error(tmp_path, network, "ironcalc")


MUTATIONS = {  # a cell, what to write there, the quantity that must be named
    "forward pass": ("Backprop!J25", "F25*D25+G25*D25", "h1"),
    "activation": ("Backprop!K12", "1/(1+EXP(J12))", "a_h1"),
    "loss": ("Backprop!X10", "V10+W10*1.000001", "E_total"),
    "wrong neuron": ("Backprop!AJ14", "(AG14*O14+AH14*Q14)*K14*(1-K14)", "δ_h2"),
    "gradient": ("Backprop!Y10", "AI10*E10", "∂E/∂w1"),
    "update": ("Backprop!N13", "N12-learning_rate*AD12", "w5"),
    "ignored learning rate": ("Backprop!F13", "F12-1*Y12", "w1"),
    "slid data": ("Backprop!D15", "D14+0.000001", "i1"),
    "other training": ("Workings!B8", "B7-0.5*V7", "w1"),
}


@pytest.mark.parametrize("kind", MUTATIONS)
def test_one_wrong_formula_is_found_and_named(tmp_path, seed, kind):
    place, formula, quantity = MUTATIONS[kind]
    verdict = verify.verify(packages.with_formula(seed, tmp_path / "wrong.xlsx", place, formula))
    assert not verdict.proved
    named = {(f"{d.sheet}!{d.cell}", d.quantity) for run in verdict.runs for d in run.differences}
    assert (place, quantity) in named
    assert f"WRONG {place} {quantity}" in verify.to_text(verdict)


@pytest.mark.parametrize("place", ["Backprop!K10", "Backprop!B20", "Backprop!X29", "Backprop!F20"])
def test_a_right_number_pasted_over_its_formula_is_found(tmp_path, seed, place):
    # As it stands such a cell is right: only a change of the inputs betrays it.
    sheet, cell = place.split("!")
    number = ironcalc.recalculate(seed)[sheet][xl_cell_to_rowcol(cell)]
    verdict = verify.verify(packages.with_number(seed, tmp_path / "pasted.xlsx", place, number))
    as_it_stands, changed = verdict.runs
    assert as_it_stands.differing == 0
    assert cell in [difference.cell for difference in changed.differences]


def test_a_wrong_formula_outside_the_table_is_found(tmp_path, seed):
    for place, formula in (
        ("Backprop!B5", "X28"),
        ("'Learning rates'!C20", "Workings!$X$20"),
        ("'Learning rates'!B7", "B4"),
        ("'Gradient check'!C12", "Backprop!Y10"),
        ("Derivation!C8", "1"),
    ):
        plain = place.replace("'", "")
        path = packages.with_formula(seed, tmp_path / "wrong.xlsx", plain, formula)
        assert not verify.verify(path).proved, place


@pytest.mark.parametrize(
    ("place", "formula"),
    [
        ("Backprop!B6", '"the loss has not fallen"'),
        ("Gradient check!B11", "$G$23"),  # another weight's value
        ("Gradient check!E12", "C12-D11"),
        ("Gradient check!F12", "ABS(E12)/1000"),
        ("Gradient check!G12", 'IF(F12>1,"OK","WRONG")'),
        ("Gradient check!B7", "1"),
        ("Gradient check!B8", '"WRONG"'),
        ("Derivation!E31", '"differs from the table"'),
    ],
)
def test_a_wrong_word_about_right_numbers_is_found(tmp_path, seed, place, formula):
    assert ironcalc.formulas(seed)[place.split("!")[0]][xl_cell_to_rowcol(place.split("!")[1])]
    verdict = verify.verify(packages.with_formula(seed, tmp_path / "wrong.xlsx", place, formula))
    assert place.split("!")[1] in [difference.cell for difference in verdict.runs[0].differences]


def test_a_chart_that_draws_another_loss_is_not_proved(tmp_path):
    path = written(tmp_path, DIVERGING)
    plan = Plan(compile_network(DIVERGING), 5, 2)
    table = plan.workings[0]
    place = f"Workings!{cell(table.first_row + 2, table.columns[plan.CHART])}"
    verdict = verify.verify(packages.with_formula(path, tmp_path / "wrong.xlsx", place, "0.5"))
    assert [difference.quantity for difference in verdict.runs[0].differences] == [plan.CHART]


def test_edited_inputs_are_proved_too(tmp_path, seed):
    path = packages.with_number(seed, tmp_path / "edited.xlsx", "Backprop!F10", -0.75)
    path = packages.with_number(path, tmp_path / "edited2.xlsx", "Backprop!B3", 0.123)
    verdict = verify.verify(path)
    assert verdict.proved
    assert verdict.runs[0].learning_rate == 0.123


def test_an_error_in_any_cell_fails_the_proof(tmp_path, seed):
    path = packages.with_formula(seed, tmp_path / "error.xlsx", "Gradient check!F12", "1/0")
    verdict = verify.verify(path)
    found = {(d.cell, d.found) for d in verdict.runs[0].differences}
    assert ("F12", "#DIV/0!") in found


def test_the_oracle_is_autograd_and_not_our_own_program(tmp_path, seed, monkeypatch):
    from gradsheet.backends import autograd

    original = autograd.step

    def wrong(network, inputs, rate, **options):
        step = original(network, inputs, rate, **options)
        return replace(step, values={**step.values, "dE_dw4": step.values["dE_dw4"] * (1 + 1e-8)})

    monkeypatch.setattr(autograd, "step", wrong)
    verdict = verify.verify(seed)
    assert {d.quantity for d in verdict.runs[0].differences} == {"∂E/∂w4"}


def test_the_largest_difference_is_reported_with_its_place(seed):
    verdict = verify.verify(seed)
    text = verify.to_text(verdict)
    assert f"{verdict.worst.relative:.1e}, of {verdict.worst.quantity}" in text
    assert text.splitlines()[-1].startswith("PROVED: all ")
    data = json.loads(json.dumps(verify.to_json(verdict), allow_nan=False))
    assert data["verdict"] == "proved"
    assert [run["changed"] for run in data["runs"]] == [False, True]
    largest = max(
        group["largest_difference"]["relative"]
        for run in data["runs"]
        for group in run["groups"]
        if group["largest_difference"] and group["group"] != "measured slopes"
    )
    assert data["largest_difference"]["relative"] == largest
    assert 0 < largest < 1e-9


def test_json_of_a_wrong_workbook_has_no_nan(tmp_path, seed):
    path = packages.with_formula(seed, tmp_path / "w.xlsx", "Backprop!X12", "1/0")
    data = json.loads(json.dumps(verify.to_json(verify.verify(path)), allow_nan=False))
    assert data["verdict"] == "wrong"


def test_a_relu_at_its_kink_is_told_from_a_wrong_gradient(tmp_path):
    network = Network(  # without biases, the sums of the sample (0, 0) are 0: exactly at the kink
        name="kink",
        layers=(Layer("relu", ((0.5, -0.4), (0.3, 0.8)), (0.0, 0.0)), Layer("sigmoid", ((0.6, -0.7),))),
        loss="binary_cross_entropy",
        inputs=((0.0, 0.0), (1.0, 1.0)),
        targets=((0.0,), (1.0,)),
    )
    path = written(tmp_path, network)
    cells = ironcalc.recalculate(path)["Gradient check"]
    verdicts = {cells[10 + k, 0]: cells[10 + k, 6] for k in range(8)}
    assert verdicts == {
        **dict.fromkeys(["w1", "w2", "w3", "w4", "w5", "w6"], "OK"),
        "b1": "KINK",
        "b2": "KINK",
    }
    assert cells[7, 1] == "OK"
    assert verify.verify(path).proved
    table = Plan(compile_network(network), 5, 2).backprop
    from xlsxwriter.utility import xl_rowcol_to_cell

    b1 = xl_rowcol_to_cell(table.first_row, table.columns["dE_db1"])
    wrong = packages.with_formula(path, tmp_path / "wrong.xlsx", f"Backprop!{b1}", "0.3")
    cells = ironcalc.recalculate(wrong)["Gradient check"]
    assert [cells[10 + k, 6] for k in range(8) if cells[10 + k, 0] == "b1"] == ["WRONG"]


def test_what_is_not_a_workbook_of_gradsheet_is_refused_in_one_sentence(tmp_path, seed):
    import openpyxl

    with pytest.raises(InputError, match="there is no such file"):
        verify.verify(tmp_path / "missing.xlsx")
    (tmp_path / "text.xlsx").write_text("no zip")
    with pytest.raises(WorkbookError, match=r"is not an \.xlsx workbook"):
        verify.verify(tmp_path / "text.xlsx")
    openpyxl.Workbook().save(tmp_path / "other.xlsx")
    with pytest.raises(WorkbookError, match="was not written by gradsheet"):
        verify.verify(tmp_path / "other.xlsx")
    truncated = tmp_path / "truncated.xlsx"
    truncated.write_bytes(seed.read_bytes()[:5000])
    with pytest.raises(WorkbookError, match="damaged"):
        verify.verify(truncated)
    with pytest.raises(InputError, match="cannot be read"):
        verify.verify(tmp_path)


@pytest.mark.parametrize(
    ("place", "formula", "message"),
    [
        ("Backprop!F10", "1/0", r"Backprop!F10 holds '#DIV/0!'.*needs a number; type one"),
        ("Backprop!B10", "&quot;half&quot;", r"Backprop!B10 holds 'half'"),
        ("Backprop!B3", "-1", r"Backprop!B3 holds -1\.0.*needs a number greater than 0"),
        ("Learning rates!C4", "1/0", r"Learning rates!C4 holds '#DIV/0!'"),
        ("Gradient check!B5", "0", r"Gradient check!B5 holds 0\.0"),
        ("Gradient check!B4", "99", r"Gradient check!B4 should be .* from 1 to 20"),
    ],
)
def test_an_input_that_cannot_be_computed_with_is_named_and_never_proved(
    tmp_path, seed, place, formula, message
):
    path = packages.with_formula(seed, tmp_path / "input.xlsx", place, formula)
    with pytest.raises(WorkbookError, match=message):
        verify.verify(path)


def test_moved_columns_are_named(tmp_path, seed):
    import openpyxl

    book = openpyxl.load_workbook(seed)
    book["Backprop"].insert_cols(4)
    book.save(tmp_path / "moved.xlsx")
    with pytest.raises(WorkbookError, match=r"Backprop!\$D\$9 should be the header 'i1'"):
        verify.verify(tmp_path / "moved.xlsx")


def test_held_rows_need_the_loss_to_have_reached_the_limit(tmp_path):
    # A workbook that holds its weights too early must not pass.
    path = tmp_path / "linear.xlsx"
    generate.write_workbook(DIVERGING, path, steps=6, learning_rates=(0.05,))
    formulas = ironcalc.formulas(path)["Backprop"]
    table = Plan(compile_network(DIVERGING), 6, 1).backprop
    place = (table.first_row + 2, table.columns["w1"])
    assert "1E+15" in formulas[place].upper() or "1000000000000000" in formulas[place]
    from xlsxwriter.utility import xl_rowcol_to_cell

    wrong = (
        formulas[place].removeprefix("=").replace("<1E15", "&lt;1E-15").replace("<1E+15", "&lt;1E-15")
    )
    wrong = wrong.replace("<1000000000000000", "&lt;0.000000001")
    path = packages.with_formula(
        path, tmp_path / "held.xlsx", f"Backprop!{xl_rowcol_to_cell(*place)}", wrong
    )
    assert not verify.verify(path).proved


def test_losses_that_are_all_but_0_are_all_the_best(tmp_path):
    # IronCalc takes 1e-24 and 1e-41 for equal, so that it calls two rates the best
    layers, data = (Layer("identity", ((0.5,),)),), ((1.0,),)
    network = Network("perfect", layers, "mean_squared_error", data, ((0.0,),))
    path = written(tmp_path, network, steps=13, learning_rates=(0.45, 0.49, 0.1))
    verdicts = [ironcalc.recalculate(path)["Learning rates"].get((5, k)) for k in (1, 2, 3)]
    assert verdicts == ["best", "best", ""]
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)


def test_large_losses_that_are_equal_but_for_rounding_are_all_the_best(tmp_path):
    # about 31640625 three times, different in the last digit, which IronCalc does not see
    layers, data = (Layer("identity", ((0.5,),)),), ((1.0,),)
    network = Network("far", layers, "mean_squared_error", data, ((5625.5,),))
    verdict = verify.verify(written(tmp_path, network, learning_rates=(1e-16, 2e-16, 3e-16)))
    assert verdict.proved, verify.to_text(verdict)


def test_numbers_are_judged_relative_to_what_they_were_computed_from():
    floor = tables.floor_of([np.array([0.5]), np.array([30.0])])
    assert floor == pytest.approx([1e-5 * 900])
