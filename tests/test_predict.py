"""The sheet Predict: what it shows is what PyTorch says of any input, and the maps of every point."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import openpyxl
import pytest
from openxml_audit import OpenXmlValidator, predict

import packages
from gradsheet import generate, verify
from gradsheet.backends.workbook_layout import LONGEST_FORMULA, POINTS, Plan, cell
from gradsheet.backends.workbook_predict import Prediction, _round_range
from gradsheet.compiler import compile_network
from gradsheet.engines import ironcalc, libreoffice
from gradsheet.examples import EXAMPLES
from gradsheet.network import Layer, Network

torch = pytest.importorskip("torch")

THREE = Network(
    name="three classes",
    layers=(
        Layer("tanh", ((0.4, -0.3), (0.5, 0.6), (-0.7, 0.2)), (0.1, -0.2, 0.0)),
        Layer("identity", ((0.5, -0.6, 0.1), (0.2, 0.7, -0.4), (-0.3, 0.1, 0.8)), (0.0, 0.1, -0.1)),
    ),
    loss="softmax_cross_entropy",
    inputs=((0.0, 0.1), (0.2, 0.0), (2.0, 0.3), (1.8, -0.1), (0.9, 2.0), (1.1, 1.8)),
    targets=((1, 0, 0), (1, 0, 0), (0, 1, 0), (0, 1, 0), (0, 0, 1), (0, 0, 1)),
    output_names=("red", "green", "sky"),
    learning_rate=1.0,
)
CLASSES = replace(
    THREE,
    layers=(THREE.layers[0], replace(THREE.layers[1], activation="softmax")),
    loss="categorical_cross_entropy",
)
REGRESSION = Network(
    name="regression",
    layers=(
        Layer("relu", ((0.4, -0.3), (0.5, 0.6)), (0.1,), shared_bias=True),
        Layer("identity", ((0.5, -0.6), (0.2, 0.7))),
    ),
    loss="mean_squared_error",
    inputs=((10.0, 0.001), (30.0, 0.004)),
    targets=((1.0, 0.0), (3.0, 1.0)),
    learning_rate=1e-4,
)
NETWORKS = {
    **{name: EXAMPLES[name] for name in ("seed", "xor", "iris")},
    "three": THREE,
    "classes": CLASSES,
    "regression": REGRESSION,
}


def written(folder, name, steps=30):
    plan = generate.write_workbook(
        NETWORKS[name], folder / f"{name}.xlsx", steps=steps, learning_rates=(0.1,)
    )
    return plan, packages.poisoned(folder / f"{name}.xlsx", folder / f"{name} poisoned.xlsx")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_cell_is_proved_although_its_cached_value_is_wrong(tmp_path, name):
    plan, path = written(tmp_path, name)
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)
    assert verdict.worst.relative < 1e-11
    prediction = Prediction(plan)
    formulas = len(ironcalc.formulas(path)["Predict"])
    for run in verdict.runs:
        compared = sum(group.compared for group in run.groups if group.sheet == "Predict")
        answers = prediction.predicts_class and not any(g.name == "answer" for g in run.groups)
        assert compared == formulas - answers
    maps = 2 * POINTS * POINTS if plan.program.network.sizes[0] == 2 else 0
    assert formulas > maps


@pytest.mark.skipif(libreoffice.find() is None, reason="LibreOffice is not installed")
@pytest.mark.libreoffice
@pytest.mark.parametrize("name", ["xor", "classes"])
def test_libreoffice_agrees(tmp_path, name):
    _, path = written(tmp_path, name, 5)
    verdict = verify.verify(path, ("libreoffice",))
    assert verdict.proved, verify.to_text(verdict)


@pytest.mark.skipif(
    libreoffice.find() is None or shutil.which("pdftotext") is None,
    reason="LibreOffice is not installed",
)
@pytest.mark.libreoffice
@pytest.mark.parametrize("standardize", [("inputs", "targets"), ()])
def test_large_numbers_fit_into_their_cells(tmp_path, standardize):
    network = replace(
        NETWORKS["regression"],
        layers=(Layer("identity", ((0.5, -0.6),)),),
        inputs=((345678.9, 0.001), (912345.6, 0.004)),
        targets=((214000.5,), (345678.25,)),
        learning_rate=1e-14,
        standardize=standardize,
    )
    generate.write_workbook(network, tmp_path / "large.xlsx", steps=2, learning_rates=(1e-14,))
    pdf = libreoffice.convert(tmp_path / "large.xlsx", "pdf", tmp_path)
    text = subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True)
    page = next(page for page in text.stdout.split("\f") if page.lstrip().startswith("Predict"))
    assert page.count("345678.9") == 2  # the input and the first sample
    assert "###" not in page


@pytest.mark.parametrize("name", ["xor", "three"])
def test_a_typed_input_goes_through_the_trained_network(tmp_path, name):
    from gradsheet.modules import to_torch

    plan, path = written(tmp_path, name)
    network, table, prediction = NETWORKS[name], plan.backprop, Prediction(plan)
    typed = (0.7, 1.3)
    places = [("Predict", *place) for place in prediction.inputs.values()]
    sheets = ironcalc.recalculate(path, dict(zip(places, typed, strict=True)))
    trained = iter(
        [sheets["Backprop"][table.last_row, table.columns[q]] for q in plan.program.trained]
    )  # weights, then biases, layer by layer
    layers = tuple(
        replace(
            layer,
            weights=tuple(tuple(next(trained) for _ in row) for row in layer.weights),
            biases=tuple(next(trained) for _ in layer.biases),
        )
        for layer in network.layers
    )
    module = to_torch(replace(network, layers=layers))
    outputs = module(torch.tensor([typed], dtype=torch.float64))[0]
    if name == "three":
        outputs = torch.softmax(outputs, 0)
    found = [sheets["Predict"][prediction.answer_row + k, 1] for k in range(len(outputs))]
    assert found == pytest.approx(outputs.tolist(), rel=1e-12)
    if name == "three":
        name = sheets["Predict"][prediction.class_row, 1]
        assert name == network.output_names[int(outputs.argmax())]
    else:
        assert sheets["Predict"][prediction.answer_row, 2] == float(outputs[0] >= 0.5)


def test_the_most_probable_class_follows_the_input(tmp_path):
    plan, path = written(tmp_path, "three", 60)
    prediction = Prediction(plan)
    places = [("Predict", *place) for place in prediction.inputs.values()]
    for sample, target in zip(THREE.inputs, THREE.targets, strict=True):
        sheets = ironcalc.recalculate(path, dict(zip(places, sample, strict=True)))
        name = THREE.output_names[target.index(1)]
        assert sheets["Predict"][prediction.class_row, 1] == name


def test_the_maps_show_exclusive_or_learnt(tmp_path):
    plan, path = written(tmp_path, "xor", 100)
    prediction, cells = Prediction(plan), ironcalc.recalculate(path)["Predict"]
    before, after = (
        np.array([[cells[m.row + r, m.column + c] for c in range(POINTS)] for r in range(POINTS)])
        for m in prediction.maps
    )
    # the samples are points of the map: −0.5 to 1.5 in steps of 0.1
    corners = [(15, 5), (5, 5), (15, 15), (5, 15)]  # (0, 0), (0, 1), (1, 0), (1, 1)
    assert [round(float(after[place])) for place in corners] == [0, 1, 1, 0]
    assert [round(float(before[place])) for place in corners] != [0, 1, 1, 0]


MUTATIONS = {  # what to spoil: the place by its kind, and the formula that is put there
    "a point of the map before": lambda p: (p.maps[0].row + 3, p.maps[0].column + 4, "0.5"),
    "a point of the map after": lambda p: (
        p.maps[1].row,
        p.maps[1].column,
        p.maps[0].formula(0, 0).removeprefix("="),
    ),
    "an axis": lambda p: (p.maps[0].row + POINTS, p.maps[0].column + 1, "0.1"),
    "a weight of another row": lambda p: (p.layer_row(0) + 3, 1, "Backprop!$N$10"),
    "an activation": lambda p: (p.layer_row(0) + 3, 5, "0.25"),
    "the answer": lambda p: (p.answer_row, 1, "0.4"),
    "the class": lambda p: (p.answer_row, 2, "IF(B9&gt;=0.05,1,0)"),
    "a sample": lambda p: (p.samples_row + 1, 4, "Backprop!$AZ$10"),
}


@pytest.fixture(scope="module")
def xor(tmp_path_factory):
    return written(tmp_path_factory.mktemp("xor"), "xor", 100)


@pytest.mark.parametrize("kind", MUTATIONS)
def test_one_wrong_cell_is_found_and_named(tmp_path, xor, kind):
    plan, path = xor
    row, column, formula = MUTATIONS[kind](Prediction(plan))
    place = f"Predict!{cell(row, column)}"
    wrong = packages.with_formula(path, tmp_path / "wrong.xlsx", place, formula)
    verdict = verify.verify(wrong)
    assert not verdict.proved
    assert place in {f"{d.sheet}!{d.cell}" for run in verdict.runs for d in run.differences}


def test_a_right_number_pasted_into_the_map_is_found(tmp_path, xor):
    plan, path = xor
    drawn = Prediction(plan).maps[1]
    number = ironcalc.recalculate(path)["Predict"][drawn.row, drawn.column]
    place = f"Predict!{cell(drawn.row, drawn.column)}"
    verdict = verify.verify(packages.with_number(path, tmp_path / "pasted.xlsx", place, number))
    as_it_stands, changed = verdict.runs
    assert as_it_stands.differing == 0
    assert changed.differing == 1


def test_another_range_moves_the_points(tmp_path, xor):
    plan, path = xor
    prediction = Prediction(plan)
    (row, column), _ = prediction.ranges
    cells = ironcalc.recalculate(path, {("Predict", row, column): -3.0})["Predict"]
    bottom = prediction.maps[0].row + POINTS
    axis = [cells[bottom, prediction.maps[0].column + k] for k in range(POINTS)]
    assert axis == pytest.approx(np.linspace(-3.0, 1.5, POINTS))


def test_a_network_too_large_for_a_cell_has_no_map_and_says_so(tmp_path):
    weights = ((0.1, -0.1),) * 8
    deep = tuple((0.1,) * 8 for _ in range(8))
    network = replace(
        REGRESSION,
        layers=(
            Layer("gelu", weights),
            Layer("gelu", deep),
            Layer("gelu", deep),
            Layer("tanh", deep[:2]),
        ),
    )
    plan = generate.write_workbook(network, tmp_path / "deep.xlsx", steps=2, learning_rates=(0.1,))
    assert Prediction(plan).maps == ()
    cells = ironcalc.recalculate(tmp_path / "deep.xlsx")["Predict"]
    text = [value for value in cells.values() if isinstance(value, str)]
    assert any(re.match(r"No map: .* longer than the 8,192 characters", line) for line in text)
    assert verify.verify(tmp_path / "deep.xlsx").proved


@pytest.mark.parametrize(
    "name", ["three", "classes", "regression"]
)  # and in test_workbook, all examples
def test_no_formula_is_too_long_and_excel_is_expected_to_open_it(tmp_path, name):
    written(tmp_path, name, 2)
    path = tmp_path / f"{name}.xlsx"
    formulas = ironcalc.formulas(path)["Predict"].values()
    assert max(map(len, formulas)) < LONGEST_FORMULA
    result = OpenXmlValidator().validate(str(path))
    assert result.errors == []
    assert predict(result).headline == "Microsoft Excel: expected to open cleanly (no findings)"


def test_lessons_have_no_such_sheet(tmp_path):
    generate.write_exercise(EXAMPLES["seed"], tmp_path / "exercise.xlsx", steps=2)
    assert "Predict" not in openpyxl.load_workbook(tmp_path / "exercise.xlsx").sheetnames


@pytest.mark.parametrize(
    ("samples", "expected"),
    [((0.0, 1.0), (-0.5, 1.5)), ((3.0, 3.0), (2.0, 4.0)), ((-2e-4, 1e-4), (-3e-4, 2e-4)),
     ((1000.0, 9000.0), (-5000.0, 15000.0))],
)  # fmt: skip
def test_the_points_of_a_map_are_round_numbers_around_the_samples(samples, expected):
    low, high = _round_range(*samples)
    assert low < min(samples) <= max(samples) < high
    assert (low, high) == pytest.approx(expected)


def test_the_sheet_is_counted(tmp_path):
    for name in ("xor", "iris"):
        plan = Plan(compile_network(NETWORKS[name]), 30, 1)
        _, path = written(tmp_path, name)
        assert plan._predicted == pytest.approx(len(ironcalc.formulas(path)["Predict"]), rel=0.25)
