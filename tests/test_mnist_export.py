"""Trained models handed on: weights that come back or are refused, ONNX that computes alike, a card."""

from __future__ import annotations

import logging
import os
import pickle
import re
import sys
from dataclasses import fields

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from PIL import Image  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from gradsheet.errors import GradsheetError, InputError, MissingDependencyError  # noqa: E402
from gradsheet.mnist import export  # noqa: E402
from gradsheet.mnist.export import (  # noqa: E402
    export_onnx,
    load_weights,
    model_card,
    save_weights,
    shipped_weights,
)
from gradsheet.mnist.model import Net, predict_probabilities, summary  # noqa: E402
from gradsheet.mnist.recipes import RECIPES  # noqa: E402
from gradsheet.mnist.splits import normalise  # noqa: E402
from gradsheet.mnist.utils import prepare_mnist  # noqa: E402


@pytest.fixture(scope="module")
def digits():
    return prepare_mnist().test.images[:1000]


@pytest.fixture(scope="module")
def net(digits):
    """Random weights, but batch norm has seen digits, so that its statistics matter."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net()
    with torch.no_grad():
        for batch in digits.split(100):
            model(normalise(batch))
    return model.eval()


@pytest.fixture
def saved(net, tmp_path):
    save_weights(net, tmp_path / "net.safetensors", {"seed": "3"})
    return tmp_path / "net.safetensors"


# ---------------------------------------------------------------- weights


def test_weights_come_back_bit_for_bit_with_their_metadata(net, saved):
    loaded = load_weights(saved)
    assert loaded.state_dict().keys() == net.state_dict().keys()
    for name, values in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], values), name
    with safe_open(saved, framework="pt") as file:
        assert file.metadata()["seed"] == "3"
    assert [path.name for path in saved.parent.iterdir()] == ["net.safetensors"]


def test_a_model_in_the_memory_format_of_training_is_saved_alike(net, saved, tmp_path):
    moved = Net()
    moved.load_state_dict(net.state_dict())
    save_weights(moved.to(memory_format=torch.channels_last), tmp_path / "last.safetensors", {})
    for name, values in load_weights(tmp_path / "last.safetensors").state_dict().items():
        assert torch.equal(net.state_dict()[name], values), name


def test_a_loaded_model_has_the_dropout_that_was_asked_for(saved):
    rates = [layer.p for layer in load_weights(saved, 0.25).modules() if hasattr(layer, "p")]
    assert rates == [0.25] * 3


def test_saving_that_fails_leaves_the_file_before(net, saved):
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        save_weights(net, saved, {"seed": 3})  # metadata must be text
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["net.safetensors"]


def test_weights_of_another_program_need_no_sum(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "foreign.safetensors")
    loaded = load_weights(tmp_path / "foreign.safetensors")
    assert torch.equal(loaded.classifier.weight, net.classifier.weight)


def flip_last_byte(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "cannot be read as safetensors"),
        (lambda data: b"hello " * 100, "cannot be read as safetensors"),
        (lambda data: data[:-4], "cannot be read as safetensors"),
        (lambda data: data[:300], "cannot be read as safetensors"),
        (lambda data: data + b"more", "cannot be read as safetensors"),
        (flip_last_byte, "is damaged"),
    ],
    ids=["empty", "text", "short", "only a header", "long", "one bit"],
)
def test_a_damaged_file_is_named(saved, damage, said):
    saved.write_bytes(damage(saved.read_bytes()))
    with pytest.raises(InputError, match=rf"^{re.escape(str(saved))}: {said} \(.*\); \w+"):
        load_weights(saved)


def test_what_is_no_file_is_named(tmp_path):
    for path in (tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(InputError, match=rf"^{re.escape(str(path))}: there is no such file; give"):
            load_weights(path)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_refused_and_never_run(tmp_path):
    trap = tmp_path / "weights.safetensors"
    trap.write_bytes(pickle.dumps(Bomb(str(tmp_path / "exploded"))))
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_weights(trap)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classifier.bias": None}, "classifier.bias is missing"),
        ({"extra": torch.zeros(1)}, "extra is not part of it"),
        (
            {"classifier.weight": torch.zeros(10, 64)},
            "classifier.weight is torch.float32 (10, 64) instead of torch.float32 (10, 128)",
        ),
        (
            {"classifier.bias": torch.zeros(10, dtype=torch.float16)},
            "classifier.bias is torch.float16 (10,) instead of torch.float32 (10,)",
        ),
    ],
)
def test_weights_of_another_model_are_named(net, tmp_path, changes, said):
    weights = {k: v for k, v in {**net.state_dict(), **changes}.items() if v is not None}
    save_file(weights, tmp_path / "other.safetensors")
    message = f"other.safetensors: does not fit the model ({said}); give the weights of this model"
    with pytest.raises(InputError, match=re.escape(message)):
        load_weights(tmp_path / "other.safetensors")


def test_the_shipped_weights_lie_beside_the_data_and_are_missed_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "__file__", str(tmp_path / "export.py"))
    with pytest.raises(InputError, match=r"best.safetensors: this copy .* comes without .*; train with"):
        shipped_weights()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "best.safetensors").touch()
    assert shipped_weights() == tmp_path / "data" / "best.safetensors"


# ---------------------------------------------------------------- ONNX


@pytest.fixture(scope="module")
def exported(net, digits, tmp_path_factory):
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    return path, export_onnx(net, path, digits)


@pytest.fixture
def traced(exported, monkeypatch):
    """What PyTorch's exporter, which takes seconds, returned before."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(exported[0])
    monkeypatch.setattr(export, "_graph", lambda model, onnx: graph)


def test_the_export_is_one_file_that_onnxruntime_computes_like_pytorch(net, digits, exported):
    import onnxruntime

    path, difference = exported
    assert 0 < difference < 1e-5
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    session = onnxruntime.InferenceSession(path)
    about = session.get_modelmeta().custom_metadata_map
    pixels = digits[:13, None].numpy().astype(np.float32) / 255
    inputs = (pixels - np.float32(about["mean"])) / np.float32(about["std"])
    (logits,) = session.run(None, {"images": inputs})
    found = torch.from_numpy(logits).softmax(1)
    # both in float32, where the order of sums makes a difference
    torch.testing.assert_close(found, predict_probabilities(net, digits[:13]), atol=1e-5, rtol=0)


def test_the_graph_names_its_input_output_and_normalisation_and_nobody_s_folders(exported):
    import onnx

    model = onnx.load(exported[0], load_external_data=False)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"images": ["batch", 1, 28, 28], "logits": ["batch", 10]}
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert "less 0.1307, divided by 0.3081" in model.doc_string
    content = exported[0].read_bytes()
    assert b".py" not in content
    assert str(export.__file__).encode() not in content


def test_a_model_in_training_is_exported_silently_and_left_as_it_was(
    net, digits, tmp_path, capfd, caplog, monkeypatch
):
    pytest.importorskip("onnx")
    model = Net(dropout=0.5)
    model.load_state_dict(net.state_dict())
    model.to(memory_format=torch.channels_last).train()
    # PyTorch's own handler writes to the stderr of its import, which capfd does not see.
    monkeypatch.setattr(logging.getLogger("torch"), "handlers", [caplog.handler])
    export_onnx(model, tmp_path / "net.onnx", digits[:1])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr() == ("", "")
    assert model.training
    assert model.features[3].weight.is_contiguous(memory_format=torch.channels_last)
    for name, values in net.state_dict().items():
        assert torch.equal(model.state_dict()[name], values), name


@pytest.mark.parametrize("value", [1e-3, float("nan")])
def test_a_graph_that_computes_something_else_is_not_written(net, digits, traced, tmp_path, value):
    other = Net()
    other.load_state_dict(net.state_dict())
    other.classifier.bias.data[7] += value
    with pytest.raises(
        GradsheetError, match=r"logits differ from PyTorch's by up to (1.0e-03|nan), not"
    ):
        export_onnx(other, tmp_path / "net.onnx", digits[:10])
    assert list(tmp_path.iterdir()) == []


def test_large_logits_may_differ_in_proportion(net, digits, exported):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    graph, tolerances = onnx.load(exported[0]), []
    for largest in (5, 10, 40):
        scaled = Net().eval()
        scaled.load_state_dict(net.state_dict())
        with torch.no_grad():
            factor = largest / scaled(normalise(digits[:10])).abs().max()
            scaled.classifier.weight *= factor
            scaled.classifier.bias *= factor
        tolerances.append(export._compare(scaled, graph, digits[:10], onnxruntime)[1])
    assert tolerances == pytest.approx([1e-5, 1e-5, 4e-5])


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    net, digits, tmp_path, monkeypatch, package
):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None if name == package else torch)
    with pytest.raises(MissingDependencyError, match=rf"^{package} .* pip install 'gradsheet\[onnx\]'$"):
        export_onnx(net, tmp_path / "net.onnx", digits[:1])


def test_a_folder_that_does_not_exist_is_told_before_the_work(net, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_graph", lambda *_: pytest.fail("worked first"))
    with pytest.raises(InputError, match="nowhere does not exist; create it first"):
        export_onnx(net, tmp_path / "nowhere" / "net.onnx", digits[:1])


# ---------------------------------------------------------------- model card

NUMBERS = {
    "recipe": "best",
    "seed": 4711,
    "epochs": 19,
    "trained_on": "train",
    "validation_accuracy": 0.9946,
    "test_accuracy": 0.9952,
    "test_accuracy_tta": 0.9959,
    "train_seconds": 345.6,
    "images_per_second": 3210.9,
    "hardware": "A Processor, 2 cores, Linux x86_64",
    "versions": {"python": "3.11.7", "torch": "2.13.0", "gradsheet": "0.9"},
    "date": "2026-01-31",
}


def test_the_card_states_results_with_error_and_count_and_where_they_were_measured():
    card = model_card(NUMBERS, RECIPES["best"])
    # one standard error: sqrt(p (1 - p) / n); at 99.46 % of 5,000 images it is 0.104 points
    for line in (
        "18,426 parameters, trained on MNIST with the recipe `best` (seed 4711, 19 epochs).",
        "Test accuracy: **99.52% ± 0.07%**, on 10,000 test images",
        "| validation | 99.46% | 0.10% | 5,000 |",
        "| test | 99.52% | 0.07% | 10,000 |",
        "| test, averaged over nine shifts by up to one pixel | 99.59% | 0.06% | 10,000 |",
        "346 s at 3,211 images per second on A Processor, 2 cores, Linux x86_64, 2026-01-31; "
        "python 3.11.7, torch 2.13.0, gradsheet 0.9.",
        "Trained on 55,000 of the 60,000 training images; 5,000 were held out for validation.",
        "Creative Commons Attribution-Share Alike 3.0",
        "mean 0.1307 and standard deviation 0.3081",
    ):
        assert line in card
    assert summary(Net()) in card


@pytest.mark.parametrize("name", RECIPES)
def test_the_card_lists_every_number_of_the_recipe(name):
    lines = model_card(NUMBERS, RECIPES[name]).splitlines()
    for number in fields(RECIPES[name])[1:]:
        value = getattr(RECIPES[name], number.name)
        assert f"| {number.name} | {value} | {number.metadata['meaning']} |" in lines


def test_the_card_of_a_model_trained_on_all_images_claims_no_validation():
    numbers = {**NUMBERS, "trained_on": "train and validation", "validation_accuracy": None}
    card = model_card(numbers, RECIPES["best"])
    assert "| validation |" not in card
    assert "Trained on all 60,000 training images, none of them held out" in card


def test_the_code_on_the_card_reads_a_digit(net, digits, saved, monkeypatch, capsys):
    monkeypatch.chdir(saved.parent)
    saved.rename("weights.safetensors")
    Image.fromarray(digits[0].numpy()).save("digit.png")
    code = re.search("```python\n(.*?)```", model_card(NUMBERS, RECIPES["best"]), re.DOTALL)
    assert code is not None
    exec(code[1], {})
    read = int(predict_probabilities(net, digits[:1]).argmax())
    assert f"[Prediction(digit={read}, " in capsys.readouterr().out
