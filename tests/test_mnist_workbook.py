"""The CNN's workbook, recalculated by spreadsheet engines and held against PyTorch in float64."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from openpyxl.utils import range_boundaries
from openxml_audit import OpenXmlValidator, predict
from PIL import Image
from xlsxwriter.utility import xl_cell_to_rowcol

import packages
from gradsheet.backends.workbook_layout import cell

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from gradsheet import verify  # noqa: E402
from gradsheet.cli import main  # noqa: E402
from gradsheet.engines import CellError, ironcalc, libreoffice  # noqa: E402
from gradsheet.errors import InputError, TooLargeError, WorkbookError  # noqa: E402
from gradsheet.mnist import workbook, workbook_verify  # noqa: E402
from gradsheet.mnist.export import load_weights, save_weights, shipped_weights  # noqa: E402
from gradsheet.mnist.model import Net  # noqa: E402
from gradsheet.mnist.predict import read_digit  # noqa: E402
from gradsheet.mnist.reference import classify, make_reference, read_model  # noqa: E402
from gradsheet.mnist.sources import packaged  # noqa: E402
from gradsheet.mnist.splits import Split  # noqa: E402
from gradsheet.mnist.workbook import choose_entries, write_workbook  # noqa: E402

needs_libreoffice = pytest.mark.skipif(libreoffice.find() is None, reason="LibreOffice is not installed")


def trained(*layers: nn.Module) -> nn.Sequential:
    """A network with random weights, and statistics of batch norm that no fresh one has."""
    torch.manual_seed(5)
    model = nn.Sequential(*layers)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2)
            if layer.affine:
                layer.weight.data.uniform_(-1.5, 1.5)  # a negative gain turns a map's order round
                layer.bias.data.normal_(0, 0.3)
    return model.eval()


def rectangular() -> nn.Sequential:
    """No bias, uneven kernels, strides and paddings, batch norm before ReLU, overlapping pooling."""
    return trained(
        nn.Conv2d(1, 3, (5, 4), stride=(3, 2), padding=(2, 1), bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(3, 4, (3, 2), padding=(3, 2)),  # some windows lie in the padding alone
        nn.AvgPool2d((2, 3), stride=(2, 1)),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 4 * 7, 10),
    )


def dense() -> nn.Sequential:
    """Linear layers alone, in nested Sequentials."""
    return trained(
        nn.AvgPool2d(4),
        nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(49, 6), nn.ReLU()), nn.Dropout(0.5)),
        nn.Linear(6, 10, bias=False),
    )


def convolutional() -> nn.Sequential:
    """Batch norm on the input and behind pooling, twice; a padded 1×1 convolution; no linear layer."""
    return trained(
        nn.BatchNorm2d(1),
        nn.AvgPool2d(4),
        nn.Conv2d(1, 2, 1, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 5, 4),
        nn.ReLU(),
        nn.Conv2d(5, 10, 1),
    )


def wide() -> nn.Sequential:
    """More channels than a row of tiles, no bias, batch norm of fixed scale, Flatten of 1 × 1 maps."""
    return trained(
        nn.Conv2d(1, 70, 14, stride=14, bias=False),
        nn.BatchNorm2d(70, affine=False),
        nn.ReLU(),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(70, 5),
        nn.ReLU(),
        nn.Linear(5, 10),
    )


SHAPES = {"rectangular": rectangular, "dense": dense, "convolutional": convolutional, "wide": wide}


@pytest.fixture(scope="module")
def test_images() -> Split:
    """The first 300 test images."""
    digits = packaged()
    return Split(
        "test",
        torch.from_numpy(digits.test_images[:300]),
        torch.from_numpy(digits.test_labels[:300]).long(),
    )


@pytest.fixture(scope="module")
def small(test_images, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("small")
    for name, make in SHAPES.items():
        write_workbook(make(), folder / f"{name}.xlsx", test_images, progress=False)
    return {name: folder / f"{name}.xlsx" for name in SHAPES}


@pytest.fixture(scope="module")
def full(test_images, tmp_path_factory) -> Path:
    """The workbook of the network that comes with gradsheet."""
    path = tmp_path_factory.mktemp("full") / "digits.xlsx"
    write_workbook(load_weights(shipped_weights()).layers, path, test_images, progress=False)
    return path


def logits_in(sheets) -> list[float]:
    return [sheets["Softmax"][4 + digit, 1] for digit in range(10)]


# ---------------------------------------------------------------- right, after a real recalculation


@pytest.mark.parametrize("shape", SHAPES)
def test_a_workbook_of_any_shape_is_proved_whatever_its_caches_say(small, shape, tmp_path):
    poisoned = packages.poisoned(small[shape], tmp_path / "poisoned.xlsx")
    verdict = verify.verify(poisoned)
    assert verdict.proved, verify.to_text(verdict)
    assert [run.inputs for run in verdict.runs][11:14] == ["all 0", "all 255", "random"]
    assert verdict.worst.relative < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.libreoffice
@needs_libreoffice
def test_libreoffice_agrees(small, shape, tmp_path, monkeypatch):
    # Not all of the sixteen runs: a digit, a random image, and other weights.
    everything = workbook_verify._series

    def three(*arguments):
        series = dict(everything(*arguments))
        return ((name, series[name]) for name in ("a 3", "random", "random, other weights 1"))

    monkeypatch.setattr(workbook_verify, "_series", three)
    poisoned = packages.poisoned(small[shape], tmp_path / "poisoned.xlsx")
    verdict = verify.verify(poisoned, ["libreoffice"])
    assert verdict.proved, verify.to_text(verdict)


@pytest.mark.slow
def test_the_trained_network_is_proved_whatever_its_caches_say(full, tmp_path):
    verdict = verify.verify(packages.poisoned(full, tmp_path / "poisoned.xlsx"))
    assert verdict.proved, verify.to_text(verdict)
    assert len(verdict.runs) == 16
    assert "the weights that come with gradsheet" in verdict.network
    cells = {sheet.sheet: sheet.cells for sheet in verdict.runs[0].sheets}
    assert (cells["Conv1"], cells["Conv4"], cells["Linear1"]) == (32 * 28 * 28, 32 * 16 * 16, 10)


@pytest.mark.slow
@pytest.mark.libreoffice
@needs_libreoffice
def test_libreoffice_computes_the_trained_network_from_poisoned_caches(full, tmp_path):
    sheets = libreoffice.recalculate(packages.poisoned(full, tmp_path / "poisoned.xlsx"))
    image = torch.from_numpy(packaged().test_images[:1]).double()
    with torch.no_grad():
        wanted = (
            load_weights(shipped_weights()).double().eval()((image[:, None] / 255 - 0.1307) / 0.3081)
        )
    # All weights are rounded to nine digits, hence 1e-7; verify holds the rounded ones to 1e-12.
    assert logits_in(sheets) == pytest.approx(wanted[0].tolist(), abs=1e-7)
    errors = [
        value for cells in sheets.values() for value in cells.values() if isinstance(value, CellError)
    ]
    assert errors == []


@pytest.mark.parametrize("shape", SHAPES)
def test_the_logits_are_those_of_the_model_that_was_given(small, test_images, shape):
    model = SHAPES[shape]().double()
    with torch.no_grad():
        wanted = model((test_images.images[:1, None].double() / 255 - 0.1307) / 0.3081).flatten()
    sheets = ironcalc.recalculate(small[shape], {("Digit", 3, 1): _entry(small[shape], 0)})
    assert logits_in(sheets) == pytest.approx(wanted.tolist(), abs=1e-7)  # nine digits of each weight
    assert sheets["Digit"][5, 30] == float(wanted.argmax())


def _entry(path: Path, number: int) -> str:
    texts = [value for (_, column), value in ironcalc.recalculate(path)["Digits"].items() if column == 0]
    return next(text for text in texts if f"(test image {number}" in str(text))


def test_a_painted_pixel_replaces_that_of_the_picked_digit(small):
    before = ironcalc.recalculate(small["dense"])
    after = ironcalc.recalculate(small["dense"], {("Digit", 5 + 3, 35 + 4): 200})
    changed = [
        place
        for place, value in before["Digit"].items()
        if value != after["Digit"][place] and 1 <= place[1] <= 28
    ]
    assert changed == [(5 + 3, 1 + 4)]
    assert after["Digit"][5 + 3, 1 + 4] == 200
    assert logits_in(before) != logits_in(after)


def test_explain_takes_apart_any_cell(small):
    sheets = ironcalc.recalculate(
        small["rectangular"],
        {("Explain", 3, 1): "Conv2", ("Explain", 4, 1): 3, ("Explain", 5, 1): 4, ("Explain", 6, 1): 2},
    )
    _, parameters = read_model(rectangular())
    explain = sheets["Explain"]
    first = next(
        row for (row, column), value in explain.items() if column == 1 and value == "row of the input"
    )
    inputs, weights, products = (
        [explain[first + 1 + term, column] for term in range(18)] for column in (4, 5, 6)
    )
    assert (
        weights == parameters[4, "weight"][3].transpose(1, 2, 0).ravel().tolist()
    )  # row, column, channel
    assert products == [a * b for a, b in zip(inputs, weights, strict=True)]
    assert explain[9, 1] == pytest.approx(np.dot(inputs, weights), abs=1e-14)
    assert explain[10, 2] == parameters[4, "bias"][3]
    assert all(
        value == "" for (row, column), value in explain.items() if row > first + 18 and column > 0
    )


def test_recalculating_in_series_takes_back_what_was_typed(small):
    typed = {("Digit", 10, 40): 9.0, ("Digit", 3, 1): "my own drawing", ("Conv1_w", 4, 3): 1.0}
    first, _, again = ironcalc.recalculate_each(small["rectangular"], [{}, typed, {}])
    assert first == again


@pytest.mark.libreoffice
@needs_libreoffice
def test_libreoffice_takes_numbers_and_texts_and_takes_them_back(small):
    typed = {("Digit", 10, 40): 9.0, ("Digit", 3, 1): "my own drawing", ("Conv1_w", 4, 3): 1.0}
    first, changed, again = libreoffice.recalculate_each(
        small["rectangular"], [{}, typed, {("Read me", 90, 0): 1.0}]
    )
    assert changed["Digit"][10, 6] == 9.0
    assert logits_in(changed) == pytest.approx(
        logits_in(ironcalc.recalculate(small["rectangular"], typed)), abs=1e-12
    )
    assert logits_in(again) == logits_in(first) != logits_in(changed)


def test_weights_as_large_as_they_like_are_proved(test_images, tmp_path):
    model = dense()
    for parameter in model.parameters():
        parameter.data *= 1e6
    write_workbook(model, tmp_path / "large.xlsx", test_images, progress=False)
    verdict = verify.verify(tmp_path / "large.xlsx")
    assert verdict.proved, verify.to_text(verdict)


# ---------------------------------------------------------------- what the file holds


@pytest.mark.parametrize("shape", SHAPES)
def test_formulas_use_only_what_all_spreadsheet_programs_compute_alike(small, shape):
    allowed = {"ABS", "MAX", "SUM", "SUMPRODUCT", "AVERAGE", "EXP", "IF", "OR", "INDEX", "MATCH", "INT"}
    for cells in ironcalc.formulas(small[shape]).values():
        for formula in cells.values():
            assert set(re.findall(r"([A-Z][A-Z0-9.]*)\(", formula)) <= allowed, formula
            assert "^" not in formula
            assert len(formula) < 8192


def test_a_cell_of_a_feature_map_reads_as_what_it_computes(full):
    formulas = ironcalc.formulas(full)
    assert formulas["Conv1"][4, 1] == (
        "=MAX(0,SUMPRODUCT(Input!B5:D7,Conv1_w!$F$5:$H$7)+Conv1_w!$B$5)*Conv1_w!$C$5+Conv1_w!$D$5"
    )
    corner, inside = formulas["Conv3"][4, 1], formulas["Conv3"][5, 2]  # padding 1 of a kernel of 1
    assert corner == "=MAX(0,Conv3_w!$B$5)*Conv3_w!$C$5+Conv3_w!$D$5"
    assert "SUMPRODUCT(Conv3_in!B4:Q4,Conv3_w!$F$5:$U$5)" in inside
    assert formulas["MaxPool1"][4, 1] == "=MAX(Conv2!B5:C6)"
    assert formulas["AvgPool1"][4, 1] == "=AVERAGE(MaxPool3!B5:C6)"
    assert (
        formulas["Linear1"][4, 1] == "=SUMPRODUCT(AvgPool1!B5:DY5,Linear1_w!$D$5:$EA$5)+Linear1_w!$B$5"
    )


@pytest.mark.parametrize("shape", ["rectangular", "convolutional"])
def test_a_window_reads_no_empty_cell(small, shape):
    sheets = ironcalc.recalculate(small[shape])
    windows = {
        window
        for cells in ironcalc.formulas(small[shape]).values()
        for formula in cells.values()
        for window in re.findall(r"SUMPRODUCT\((\w+)!(\w+:\w+),", formula)
    }
    for sheet, window in windows:
        left, top, right, bottom = range_boundaries(window)
        places = [(y - 1, x - 1) for y in range(top, bottom + 1) for x in range(left, right + 1)]
        assert [place for place in places if place not in sheets[sheet]] == [], (sheet, window)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_formula_carries_the_value_that_recalculation_gives(small, shape, tmp_path):
    copy = tmp_path / "copy.xlsx"
    copy.write_bytes(small[shape].read_bytes())
    sheets = ironcalc.recalculate(packages.poisoned(copy, tmp_path / "poisoned.xlsx"))
    for sheet, cells in packages.cached_values(copy).items():
        for place, cached in cells.items():
            value = sheets[sheet][xl_cell_to_rowcol(place)]
            if isinstance(value, float):
                assert float(cached) == pytest.approx(value, rel=1e-12, abs=1e-13), (sheet, place)
            else:
                assert cached == str(value), (sheet, place)


def test_what_the_sheet_holds_of_a_weight_is_what_the_reference_uses(small):
    layers, parameters = read_model(rectangular())
    sheets = ironcalc.recalculate(small["rectangular"])
    kernel = parameters[0, "weight"]
    held = [
        [[sheets["Conv1_w"][4 + 5 * c + y, 4 + x] for x in range(4)] for y in range(5)] for c in range(3)
    ]
    assert held == kernel[:, 0].tolist()  # bit for bit
    reference = make_reference(layers, parameters, (1, 28, 28))
    assert reference[0].weight.flatten().tolist() == kernel.ravel().tolist()


@pytest.mark.parametrize(
    "shape", [*SHAPES, pytest.param("as it comes with gradsheet", marks=pytest.mark.slow)]
)
def test_excel_is_expected_to_open_it_without_repair(small, full, shape):
    result = OpenXmlValidator().validate(str(small.get(shape, full)))
    assert result.errors == []
    assert predict(result).headline == "Microsoft Excel: expected to open cleanly (no findings)"


def test_the_same_network_gives_the_same_bytes(test_images, tmp_path):
    for name in ("one", "two"):
        write_workbook(dense(), tmp_path / f"{name}.xlsx", test_images, progress=False)
    assert (tmp_path / "one.xlsx").read_bytes() == (tmp_path / "two.xlsx").read_bytes()


def test_the_digit_sheet_has_a_list_limits_for_paint_bars_and_a_chart(small):
    with zipfile.ZipFile(small["dense"]) as package:
        sheet = package.read("xl/worksheets/sheet1.xml").decode()
        chart = package.read("xl/charts/chart1.xml").decode()
    assert re.search(r'type="list"[^>]*sqref="B4"><formula1>Digits!\$A\$5:\$A\$\d+<', sheet)
    assert re.search(r'type="decimal"[^>]*sqref="AJ6:BK33"><formula1>0</formula1><formula2>255<', sheet)
    assert "<dataBar>" in sheet
    assert "<c:barChart>" in chart
    assert "Digit!$AF$13:$AF$22" in chart


# ---------------------------------------------------------------- which digits


def test_the_list_has_of_each_class_three_misread_images_and_the_first_that_are_right(test_images):
    predictions = test_images.labels.clone()
    sevens = (test_images.labels == 7).nonzero().flatten().tolist()
    predictions[sevens[3:8]] = 1
    entries, pick = choose_entries(test_images, predictions, None, None)
    texts = [entry.text for entry in entries if entry.label == 7]
    assert texts[:3] == [f"7 (test image {k}, misread as 1)" for k in sevens[3:6]]
    assert texts[3:] == [f"7 (test image {k})" for k in [*sevens[:3], *sevens[8:12]]]
    assert len(entries) == 101
    assert entries[-1].text == "my own drawing"
    assert entries[pick].text == "7 (test image 0)"


def test_the_image_that_was_asked_for_is_shown_first(test_images):
    predictions = test_images.labels.clone()
    entries, pick = choose_entries(test_images, predictions, 299, None)
    assert (len(entries), entries[pick].text) == (102, f"{test_images.labels[299]} (test image 299)")
    drawing = torch.full((28, 28), 7, dtype=torch.uint8)
    entries, pick = choose_entries(test_images, predictions, None, drawing)
    assert (entries[pick].text, entries[pick].label) == ("my own drawing", "?")
    assert (entries[pick].pixels == 7).all()


@pytest.mark.slow
def test_rounding_the_weights_changes_no_answer(test_images):
    model = load_weights(shipped_weights()).eval()
    reference = make_reference(*read_model(model.layers), (1, 28, 28))
    with torch.no_grad():
        wanted = model((test_images.images[:, None].float() / 255 - 0.1307) / 0.3081).argmax(1)
    assert torch.equal(classify(reference, test_images.images), wanted)


# ---------------------------------------------------------------- mistakes are found


SPOILT = {
    "a wrong formula": ("Conv2!C6", "MAX(0,SUMPRODUCT(Conv2_in!B4:G6,Conv2_w!$D$5:$I$7)+Conv2_w!$B$8)"),
    "a changed link": ("Conv2_in!K9", "MaxPool1!C5"),
    "a shorter window": ("MaxPool1!B5", "MAX(Conv1!B5:D6)"),
    "a formula in place of a weight": ("Conv2_w!D5", "0.25"),
    "a wrong normalisation": ("Input!D8", "(Digit!B6/255-Layers!$F$3)/Layers!$F$3"),
    "a wrong answer": ("Digit!AE6", "3"),
    "a wrong softmax": ("Softmax!D7", "C7/MAX(C$5:C$14)"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", SPOILT)
def test_a_spoilt_formula_is_found(small, mistake, tmp_path):
    place, formula = SPOILT[mistake]
    path = packages.with_formula(small["rectangular"], tmp_path / "spoilt.xlsx", place, formula)
    verdict = verify.verify(path)
    assert not verdict.proved
    named = {
        f"{wrong.sheet}!{wrong.cell}"
        for wrong in (*verdict.misplaced, *(d for run in verdict.runs for d in run.differences))
    }
    assert place in named
    assert "WRONG" in verify.to_text(verdict)
    assert verify.to_json(verdict)["verdict"] == "wrong"


@pytest.mark.parametrize("place", ["Conv2!B5", "Conv1!E9", "Explain!B11", "Digits!B2", "Digit!J12"])
def test_the_right_number_pasted_over_a_formula_is_found(small, place, tmp_path):
    sheet, name = place.split("!")
    value = ironcalc.recalculate(small["rectangular"])[sheet][xl_cell_to_rowcol(name)]
    path = packages.with_number(small["rectangular"], tmp_path / "pasted.xlsx", place, value)
    verdict = verify.verify(path)
    assert not verdict.proved
    assert [f"{wrong.sheet}!{wrong.cell}" for wrong in verdict.misplaced] == [place]


def test_a_silent_relu_does_not_hide_a_wrong_weight(small, tmp_path):
    # With weights like the first, a sum below 0 gives 0 whichever weight is read.
    formulas = ironcalc.formulas(small["rectangular"])["Conv1"]
    values = ironcalc.recalculate(small["rectangular"])["Conv1"]
    row, column = next(place for place in formulas if values[place] == 0)
    right = formulas[row, column].removeprefix("=")
    wrong = re.sub(r"\*Conv1_w!\$B\$\d+", "*Conv1_w!$C$5", right)
    assert wrong != right
    path = packages.with_formula(
        small["rectangular"], tmp_path / "wrong.xlsx", f"Conv1!{cell(row, column)}", wrong
    )
    verdict = verify.verify(path)
    assert {run.inputs for run in verdict.runs if run.differing} >= {
        "random, other weights 1",
        "random, other weights 2",
    }


def test_other_weights_typed_in_are_proved_as_they_are(small, tmp_path):
    path = packages.with_number(small["rectangular"], tmp_path / "typed.xlsx", "Conv2_w!D5", 3.0)
    verdict = verify.verify(path)
    assert verdict.proved
    assert "weights of its own" in verdict.network


@pytest.mark.parametrize(
    ("place", "number", "message"),
    [
        ("Layers!M5", 4, r"sheet Layers was edited and cannot be read \(.*\); write the workbook again"),
        ("Layers!G9", 4, "sheet Layers was edited"),
        ("Explain!B5", 17, r"Explain!B5 holds 17; type a whole number from 0 to 3"),
    ],
)
def test_what_cannot_be_read_is_named(small, place, number, message, tmp_path):
    path = packages.with_number(small["rectangular"], tmp_path / "edited.xlsx", place, number)
    with pytest.raises(WorkbookError, match=message):
        verify.verify(path)


def test_a_weight_that_is_no_number_is_named(small, tmp_path):
    path = packages.with_formula(small["rectangular"], tmp_path / "x.xlsx", "Conv2_w!D5", "1/0")
    with pytest.raises(WorkbookError, match=r"Conv2_w!D5 holds '#DIV/0!', but a number belongs there"):
        verify.verify(path)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((nn.Conv2d(1, 4, 3, dilation=2),), r"layer 0, Conv2d: dilation=\(2, 2\) is not supp"),
        ((nn.Conv2d(1, 4, 3, padding="same"),), r"padding='same' \(give it in numbers\) is not"),
        ((nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=2)), "layer 1, Conv2d: groups=2 is not sup"),
        ((nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"),), "padding_mode='reflect'"),
        ((nn.Sigmoid(),), "layer 0, Sigmoid: this kind of layer is not .* Flatten and Linear"),
        ((nn.MaxPool2d(3, padding=1),), "layer 0, MaxPool2d: padding=1 is not supported"),
        ((nn.AvgPool2d(3, ceil_mode=True),), "layer 0, AvgPool2d: ceil_mode=True"),
        ((nn.BatchNorm2d(1, track_running_stats=False),), "track_running_stats=False"),
        ((nn.Linear(28, 10),), "layer 0, Linear: reads one row of numbers; put a Flatten before it"),
        ((nn.Flatten(), nn.MaxPool2d(2)), "layer 1, MaxPool2d: cannot follow Flatten"),
        ((nn.Flatten(), nn.Linear(700, 10)), "reads 700 channels, but 784 come from the layer before"),
        ((nn.Flatten(), nn.Linear(784, 7)), "gives 7 × 1 × 1 numbers, but there are ten digits"),
        ((nn.ReLU(),), "gives 1 × 28 × 28 numbers"),
        ((nn.Conv2d(1, 2, 30),), "its window of 30 × 30 does not fit into 28 × 28 cells"),
    ],
)  # fmt: skip
def test_what_a_workbook_does_not_support_is_named(layers, message, test_images, tmp_path):
    with pytest.raises(InputError, match=message):
        write_workbook(nn.Sequential(*layers), tmp_path / "x.xlsx", test_images, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_is_more_than_its_layers_is_refused(test_images, tmp_path):
    class Residual(nn.Sequential):
        def forward(self, values):
            return values + super().forward(values)

    with_forward = nn.Sequential(nn.AvgPool2d(4), Residual(nn.ReLU()), nn.Flatten(), nn.Linear(49, 10))
    with_hook = dense()
    with_hook[2].register_forward_hook(lambda module, inputs, output: 2 * output)
    for model in (with_forward, with_hook):
        with pytest.raises(InputError, match="something else than its layers one after another"):
            write_workbook(model, tmp_path / "x.xlsx", test_images, progress=False)


def test_weights_that_are_not_finite_are_refused(test_images, tmp_path):
    model = dense()
    model[2].weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match="layer 5, Linear: its weight is not finite; train again"):
        write_workbook(model, tmp_path / "x.xlsx", test_images, progress=False)


def test_too_large_a_network_is_refused_with_its_size(test_images, tmp_path):
    large = nn.Sequential(
        nn.Conv2d(1, 300, 3, padding=1), nn.Conv2d(300, 300, 1), nn.AvgPool2d(28), nn.Conv2d(300, 10, 1)
    )
    with pytest.raises(TooLargeError, match=r"707,\d+ formulas, more than the 500,000.*fewer channels"):
        write_workbook(large, tmp_path / "x.xlsx", test_images, progress=False)
    wide = nn.Sequential(nn.Conv2d(1, 600, 1), nn.Conv2d(600, 1, 1), nn.Conv2d(1, 10, 28))
    with pytest.raises(TooLargeError, match=r"16,801 columns wide, but the limit is 16,384"):
        write_workbook(wide, tmp_path / "x.xlsx", test_images, progress=False)
    deep = nn.Sequential(nn.AvgPool2d(28), *(nn.Conv2d(1, 1, 1) for _ in range(60)), nn.Conv2d(1, 10, 1))
    with pytest.raises(TooLargeError, match="61 layers with weights, but the limit is 60"):
        write_workbook(deep, tmp_path / "x.xlsx", test_images, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_writing_leaves_the_old_file(test_images, tmp_path, monkeypatch):
    path = tmp_path / "x.xlsx"
    path.write_bytes(b"old")

    def fail(*_):
        raise RuntimeError("disk full")

    monkeypatch.setattr(workbook, "write_sheets", fail)
    with pytest.raises(RuntimeError):
        write_workbook(dense(), path, test_images, progress=False)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------- the command


@pytest.mark.slow
def test_the_command_opens_with_a_picture_read_by_other_weights(tmp_path, monkeypatch, test_images):
    torch.manual_seed(1)
    save_weights(Net(), tmp_path / "fresh.safetensors", {})
    Image.fromarray(packaged().test_images[5]).resize((280, 280)).save(tmp_path / "one.png")
    monkeypatch.setattr(
        "gradsheet.mnist.commands._read", lambda _: type("Mnist", (), {"test": test_images})
    )
    arguments = ["--out", "x.xlsx", "--weights", "fresh.safetensors", "--image", "one.png"]
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["mnist", "workbook", *arguments])
    assert done.exit_code == 0, done.output
    assert "of 300 test images right" in done.output
    sheets = ironcalc.recalculate(tmp_path / "x.xlsx")
    assert sheets["Digit"][3, 1] == "my own drawing"
    assert sheets["Digit"][6, 32] == "?"
    assert sheets["Digit"][5 + 14, 1 + 14] > 100  # the stroke of the 1
    image = read_digit(tmp_path / "one.png")[None].double()
    with torch.no_grad():
        wanted = (
            load_weights(tmp_path / "fresh.safetensors")
            .double()
            .eval()((image[:, None] / 255 - 0.1307) / 0.3081)
        )
    assert logits_in(sheets) == pytest.approx(wanted[0].tolist(), abs=1e-7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--digit", 1, "--image", "x.png"], "leave one out"),
        (["--digit", 10_000], "there is no such test image; give a number from 0 to 9999"),
        (["--image", "nowhere.png"], "nowhere.png: "),
        (["--weights", "nowhere.safetensors"], "there is no such file; give a .safetensors file"),
        (["--out", "no/folder.xlsx"], "the folder no does not exist"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["mnist", "workbook", *map(str, arguments)])
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []
