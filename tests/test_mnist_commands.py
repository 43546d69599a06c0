"""``gradsheet mnist …`` from the outside: what it prints and leaves, killed and resumed too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

torch = pytest.importorskip("torch")
from gradsheet.cli import main  # noqa: E402
from gradsheet.mnist.sources import FILES, packaged  # noqa: E402

TINY = ("--epochs", "4", "--batch-size", "50")


def gradsheet(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["mnist", *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with a small part of MNIST as idx files: 1,200 images to train on, 200 to test with."""
    folder = tmp_path_factory.mktemp("data")
    digits = packaged()
    for role, name in FILES.items():
        array = getattr(digits, role)[: 200 if role.startswith("test") else 1200]
        lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
        (folder / name).write_bytes(bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes())
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("trained")
    run = process(data, folder)
    output, errors = run.communicate(timeout=120)
    assert run.returncode == 0, errors
    assert "test accuracy" in output
    return folder


def process(data: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gradsheet", "mnist", "train", *TINY, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # other tests run beside this one
    return subprocess.Popen(
        [*command, "--data", str(data), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def stop_at_next_checkpoint(run: subprocess.Popen[str], checkpoint: Path, with_signal: int) -> str:
    """Send a signal as soon as the checkpoint was written anew; return what was printed to stderr."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    deadline = time.monotonic() + 60
    while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    run.send_signal(with_signal)
    return run.communicate(timeout=60)[1]


# ---------------------------------------------------------------- train


def test_a_killed_training_resumes_to_the_very_same_weights(data, trained, tmp_path):
    for _ in range(2):
        run = process(data, tmp_path, "--resume")
        stop_at_next_checkpoint(run, tmp_path / "last.pt", signal.SIGKILL)
        assert run.returncode == -signal.SIGKILL
    finished = process(data, tmp_path, "--resume")
    _, errors = finished.communicate(timeout=120)
    assert finished.returncode == 0, errors
    saved, wanted = (json.loads((f / "numbers.json").read_text()) for f in (tmp_path, trained))
    assert saved["history"]["loss"] == wanted["history"]["loss"]
    one, other = (torch.load(f / "last.pt", weights_only=True)["model"] for f in (tmp_path, trained))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(data, tmp_path):
    run = process(data, tmp_path)
    errors = stop_at_next_checkpoint(run, tmp_path / "last.pt", signal.SIGINT)
    assert run.returncode == 130
    assert "go on with --resume" in errors
    assert "Traceback" not in errors


def test_a_run_leaves_its_weights_numbers_and_pictures(data, trained):
    assert {path.name for path in trained.iterdir()} == {
        *("last.pt", "weights.safetensors", "numbers.json"),
        *("samples.png", "curves.png", "confusion.png", "errors.png"),
    }
    numbers = json.loads((trained / "numbers.json").read_text())
    assert numbers["recipe"] == "quick, changed"
    assert numbers["settings"]["batch_size"] == 50
    assert numbers["epochs"] == len(numbers["history"]["validation_accuracy"]) == 4
    assert numbers["test_accuracy"] == 1 - len(numbers["misread"]) / 200 > 0.5
    again = gradsheet("evaluate", "--weights", trained / "weights.safetensors", "--data", data, "--json")
    assert json.loads(again.output)["misread"] == numbers["misread"]


def test_all_training_leaves_no_validation_accuracy(data, tmp_path):
    done = gradsheet("train", "--all-training", "--epochs", 1, "--data", data, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["validation_accuracy"] is None
    assert numbers["trained_on"] == "train and validation"


def test_a_checkpoint_of_other_settings_is_not_resumed(data, trained):
    again = gradsheet("train", "--resume", "--epochs", 9, "--data", data, "--out", trained)
    assert again.exit_code == 2
    assert "belongs to another run" in again.output


# ---------------------------------------------------------------- the others


def test_summary_prints_the_table():
    lines = gradsheet("summary").output.splitlines()
    assert lines[1].split() == ["Layer", "(type)", "Output", "Shape", "Param", "#"]
    assert "Total params: 18,426" in lines


def test_evaluate_states_accuracy_standard_error_and_count(data, trained):
    weights = ("--weights", trained / "weights.safetensors", "--data", data)
    plain, averaged = gradsheet("evaluate", *weights), gradsheet("evaluate", *weights, "--tta")
    assert plain.exit_code == averaged.exit_code == 0
    assert "(standard error)" in plain.output
    assert "of 200 images misread" in plain.output
    assert averaged.output.endswith("averaged over nine shifts\n")


def test_predict_prints_the_digit_and_ten_probabilities(trained, tmp_path):
    Image.fromarray(packaged().test_images[0]).save(tmp_path / "seven.png")
    weights = ("--weights", trained / "weights.safetensors")
    shown = gradsheet("predict", tmp_path / "seven.png", *weights, "--plot", tmp_path / "maps.png")
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'seven.png'}: ")
    assert [line.split()[0] for line in lines[1:11]] == [str(digit) for digit in range(10)]
    assert (tmp_path / "maps.png").stat().st_size > 10_000
    found = gradsheet("predict", tmp_path / "seven.png", tmp_path / "seven.png", *weights, "--json")
    rows = json.loads(found.output)
    assert len(rows) == 2
    assert abs(sum(rows[0]["probabilities"]) - 1) < 1e-5


def test_export_writes_both_formats(trained, tmp_path):
    pytest.importorskip("onnxruntime")
    weights = ("--weights", trained / "weights.safetensors")
    files = tmp_path / "net.onnx", tmp_path / "net.safetensors"
    done = gradsheet("export", *weights, "--onnx", files[0], "--safetensors", files[1])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.safetensors"]


def test_errors_draws_what_is_misread(data, trained, tmp_path):
    weights = ("--weights", trained / "weights.safetensors", "--data", data)
    done = gradsheet("errors", *weights, "--out", tmp_path / "errors.svg")
    assert done.exit_code == 0, done.output
    assert "<svg" in (tmp_path / "errors.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--epochs", 0], "epochs: 0 cannot be used"),
        (["train", "--data", "nowhere"], "nowhere: has no train-images-idx3-ubyte"),
        (["train", "--batch-size", 9999, "--data", "DATA"], "batch_size: 9,999 is more than the 1,100"),
        (["train", "--optimizer", "sgd"], "'sgd' is not one of 'adam', 'muon'"),
        (["predict", "nowhere.png"], "nowhere.png: "),
        (["predict", "a.png", "b.png", "--plot", "c.png"], "--plot: draws one picture, but 2 are given"),
        (["evaluate", "--weights", "nowhere.safetensors"], "nowhere.safetensors: "),
        (["export"], "nothing to write: give --onnx FILE"),
        (["errors", "--out", "errors.doc"], "'doc' is not a format"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(arguments, said, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = gradsheet(*(data if argument == "DATA" else argument for argument in arguments))
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
