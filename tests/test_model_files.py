"""Networks from model files: the layers of the module that was saved; all else named in one sentence."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gradsheet import verify
from gradsheet.cli import main
from gradsheet.engines import ironcalc
from gradsheet.errors import InputError, NetworkError
from gradsheet.examples import find
from gradsheet.model_files import read_model

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from gradsheet.modules import to_torch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:copyreg")  # of torch.export itself


def exported(folder: Path, module: Any, inputs: int = 3, **options: Any) -> Path:
    program = torch.export.export(module, (torch.zeros(2, inputs),), **options)
    torch.export.save(program, folder / "model.pt2")
    return folder / "model.pt2"


def saved(folder: Path, module: Any, **metadata: str) -> Path:
    save_file(module.state_dict(), folder / "model.safetensors", metadata or None)
    return folder / "model.safetensors"


def assert_holds(table: dict[str, Any], module: Any, activations: list[str | None]) -> None:
    linears = [part for part in module if isinstance(part, nn.Linear)]
    assert [layer["activation"] for layer in table["layers"]] == activations
    for layer, linear in zip(table["layers"], linears, strict=True):
        assert layer["weights"] == linear.weight.double().tolist()
        assert layer.get("biases") == (None if linear.bias is None else linear.bias.double().tolist())


ACTIVATIONS = {
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "relu": nn.ReLU(inplace=True),
    "leaky_relu": nn.LeakyReLU(),
    "softplus": nn.Softplus(),
    "elu": nn.ELU(),
    "gelu": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(),
    "softmax": nn.Softmax(dim=1),
    "identity": nn.Identity(),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_exported_module_keeps_its_layers_and_every_weight(tmp_path, name):
    module = nn.Sequential(
        nn.Linear(3, 4),
        ACTIVATIONS[name],
        nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh()),
        nn.Linear(4, 2),
    )
    table = read_model(exported(tmp_path, module))
    assert (table["name"], table["description"]) == ("model", "The layers and weights of model.pt2")
    flat = [module[0], module[2][0], module[3]]
    assert_holds(table, flat, [name, "tanh", None])


def test_any_number_of_rows_and_float64_and_frozen_biases_are_kept(tmp_path):
    module = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid()).double()
    module[0].bias.requires_grad_(False)
    program = torch.export.export(
        module, (torch.zeros(2, 3).double(),), dynamic_shapes=({0: torch.export.Dim("rows")},)
    )
    torch.export.save(program, tmp_path / "model.pt2")
    table = read_model(tmp_path / "model.pt2")
    assert_holds(table, module, ["sigmoid"])
    assert table["layers"][0]["train_biases"] is False


class Function(nn.Module):
    """A module with a forward of its own."""

    def __init__(self, forward: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.one, self.two, self.function = nn.Linear(3, 3), nn.Linear(3, 3), forward

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(nn.Linear(3, 2), nn.Dropout()), "dropout: is not supported; give Linear"),
        (nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 1, 2)), "unflatten: is not supported"),
        (
            nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(0.2)),
            "negative_slope is 0.2, .*use negative_slope=0.01",
        ),
        (nn.Sequential(nn.Linear(3, 2), nn.GELU()), "gelu: approximate is left out, .*='tanh'"),
        (nn.Sequential(nn.Linear(3, 2), nn.Softmax(dim=0)), "softmax: dim is 0"),
        (nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.ReLU()), "relu: has no Linear layer of its own"),
        (nn.Sequential(nn.Tanh(), nn.Linear(3, 2)), "tanh: has no Linear layer of its own"),
        (
            nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).eval(),
            "has a buffer 0.running_mean, which a network",
        ),
        (nn.Sequential(nn.Linear(3, 2)).half(), "0.weight: does not hold float32 or float64"),
        (Function(lambda self, x: self.one(x) + x), "add: is not supported"),
        (Function(lambda self, x: self.two(self.one(x)) * 2), "mul: is not supported"),
        (Function(lambda self, x: (self.one(x), self.two(x))), "has several inputs or outputs"),
        (
            Function(lambda self, x: [self.one(x), self.two(x)][1]),
            "linear: takes more than the step before",
        ),
        (Function(lambda self, x: self.one(torch.tanh(self.one(x)))), "layer one: is used twice"),
        (
            Function(lambda self, x: nn.functional.linear(x, self.one.weight.detach())),
            "is not supported",
        ),
        (Function(lambda self, x: torch.zeros(2, 3)), "zeros: is not supported"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_a_network_cannot_be_is_named(tmp_path, module, words):
    if next(module.parameters()).dtype == torch.half:
        program = torch.export.export(module, (torch.zeros(2, 3).half(),))
        torch.export.save(program, tmp_path / "model.pt2")
    else:
        exported(tmp_path, module)
    with pytest.raises(NetworkError, match=rf"model\.pt2: .*{words}"):
        read_model(tmp_path / "model.pt2")


def test_frozen_weights_are_named(tmp_path):
    module = nn.Sequential(nn.Linear(3, 2))
    module[0].weight.requires_grad_(False)
    with pytest.raises(NetworkError, match="layer 0: its weights are frozen"):
        read_model(exported(tmp_path, module))


def edited(path: Path, name: str, edit: Callable[[Any], Any]) -> Path:
    """A copy of a .pt2 with one of its JSON files changed."""
    target = path.with_name("edited.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith(name):
                content = json.dumps(edit(json.loads(content))).encode()
            new.writestr(info.filename, content)
    return target


def test_a_pickle_in_an_archive_is_not_opened(tmp_path):
    def pickled(config: Any) -> Any:
        config["config"]["0.weight"]["use_pickle"] = True
        return config

    path = exported(tmp_path, nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(NetworkError, match=r"0\.weight: is stored as a pickle, which is not opened"):
        read_model(edited(path, "weights_config.json", pickled))
    with zipfile.ZipFile(path) as archive:  # a pickle that is in every such file
        sample = next(i.filename for i in archive.infolist() if i.filename.endswith("model.pt"))
    target = tmp_path / "other.pt2"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, b"no pickle" if info.filename == sample else old.read(info))
    assert read_model(target)["layers"] == read_model(path)["layers"]


@pytest.mark.parametrize("name", ["model.json", "weights_config.json"])
@pytest.mark.parametrize(
    "wrong", [None, [], {}, {"graph_module": 3, "config": {"0.weight": 1}}], ids=repr
)
def test_a_damaged_archive_is_told_as_such(tmp_path, name, wrong):
    path = exported(tmp_path, nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(InputError, match=r"cannot be read as a program of torch\.export"):
        read_model(edited(path, name, lambda _: wrong))


@pytest.mark.parametrize("suffix", ["pt2", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_told_as_such(tmp_path, suffix, share):
    module = nn.Sequential(nn.Linear(3, 2))
    path = exported(tmp_path, module) if suffix == "pt2" else saved(tmp_path, module)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=rf"model\.{suffix}: cannot be read as .*; save it again"):
        read_model(path)


def test_pickles_and_what_is_not_there_or_too_large_are_refused(tmp_path):
    for suffix in ("pt", "pth", "bin"):
        with pytest.raises(
            InputError, match=r"is a pickle, .*torch.export.save\(.*'net.pt2'\), or its w"
        ):
            read_model(tmp_path / f"net.{suffix}")
    with pytest.raises(InputError, match=r"gone.pt2: cannot be read \(No such file"):
        read_model(tmp_path / "gone.pt2")
    large = saved(tmp_path, nn.Sequential(nn.Linear(2000, 1500)))
    with pytest.raises(
        InputError, match="has 12 MB, but a network that fits a sheet has no more than 10"
    ):
        read_model(large)


# ---------------------------------------------------------------- .safetensors


def test_weights_by_number_get_the_activations_that_are_given(tmp_path):
    parts = [part for k in range(12) for part in (nn.Linear(2 + k, 3 + k), nn.Tanh())]
    module = nn.Sequential(*parts[:-1])  # layers 0, 2, …, 22: as text, 10 would come before 2
    path = saved(tmp_path, module)
    assert_holds(read_model(path, ["tanh"]), module, ["tanh"] * 11 + [None])
    assert_holds(read_model(path, ["relu"] * 11 + ["sigmoid"]), module, ["relu"] * 11 + ["sigmoid"])
    assert read_model(saved(tmp_path, module, activation="elu"))["layers"][3]["activation"] == "elu"


def test_names_without_numbers_are_put_in_the_order_in_which_their_shapes_fit(tmp_path):
    module = nn.ModuleDict(
        {"zero": nn.Linear(2, 5), "middle": nn.Linear(5, 3), "answer": nn.Linear(3, 1)}
    )
    table = read_model(saved(tmp_path, module), ["tanh"])
    assert [len(layer["weights"]) for layer in table["layers"]] == [5, 3, 1]
    module = nn.ModuleDict({"up": nn.Linear(2, 2), "down": nn.Linear(2, 2)})
    with pytest.raises(NetworkError, match=r"order of its layers is not clear: .*up \(2 to 2\)"):
        read_model(saved(tmp_path, module), ["tanh"])


@pytest.mark.parametrize(
    ("tensors", "activations", "words"),
    [
        (
            {"0.weight": torch.zeros(2, 3), "1.weight": torch.zeros(1, 2)},
            [],
            "say them with --activation",
        ),
        ({"0.weight": torch.zeros(2, 3)}, ["tanh"] * 2, "1 layers, but 2 activations are given"),
        (
            {"0.weight": torch.zeros(2, 3), "1.weight": torch.zeros(1, 4)},
            ["tanh"],
            "not clear: 0 .3 to 2.",
        ),
        ({"0.weight": torch.zeros(2, 3, 1)}, [], "0.weight: of 2 × 3 × 1 numbers is no Linear"),
        ({"0.weight": torch.zeros(2, 3), "0.bias": torch.zeros(3)}, [], "0.weight: of 2 × 3 numbers"),
        ({"1.running_mean": torch.zeros(2)}, [], "1.running_mean: is no weight or bias"),
        (nn.BatchNorm1d(2).state_dict(prefix="1."), [], "1.num_batches_tracked: is no weight or bias"),
        ({"0.bias": torch.zeros(2)}, [], "0.bias: is no weight or bias"),
        ({"0.weight": torch.zeros(2, 3).bfloat16()}, [], "0.weight: does not hold float32"),
        ({}, [], "holds no weights"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_no_network_is_named(tmp_path, tensors, activations, words):
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=rf"model\.safetensors: .*{words}"):
        read_model(tmp_path / "model.safetensors", activations)


# ---------------------------------------------------------------- with data, on the command line

FLOWERS = """a,b,c,kind
5.1,3.5,1.4,setosa
7.0,3.2,4.7,versicolor
4.9,3.0,1.4,setosa
"""


def ran(folder: Path, *arguments: str) -> Any:
    (folder / "flowers.csv").write_text(FLOWERS)
    common = ["--data", str(folder / "flowers.csv"), "--out", str(folder / "out.xlsx"), "--steps", "5"]
    return CliRunner().invoke(main, ["workbook", *arguments, *common])


@pytest.mark.parametrize(
    ("outputs", "last", "target", "loss"),
    [
        (1, nn.Identity(), "kind", "binary_cross_entropy"),  # as with BCEWithLogitsLoss
        (1, nn.Sigmoid(), "kind", "binary_cross_entropy"),
        (2, nn.Identity(), "kind", "softmax_cross_entropy"),
        (1, nn.Identity(), "c", "mean_squared_error"),
    ],
)
@pytest.mark.parametrize("suffix", ["pt2", "safetensors"])
def test_a_model_with_data_becomes_a_workbook_that_is_proved(
    tmp_path, suffix, outputs, last, target, loss
):
    inputs = "a,b" if target == "c" else "a,b,c"
    module = nn.Sequential(nn.Linear(len(inputs.split(",")), 2), nn.Tanh(), nn.Linear(2, outputs), last)
    extra = ["--target", target, "--inputs", inputs, "--learning-rate", "0.1"]
    if suffix == "pt2":
        path = exported(tmp_path, module, len(inputs.split(",")))
    else:
        path = saved(tmp_path, module)
        extra += ["--activation", "tanh" if isinstance(last, nn.Identity) else "tanh,sigmoid"]
    result = ran(tmp_path, str(path), *extra)
    assert result.exit_code == 0, result.output
    plan = verify.read_plan(tmp_path / "out.xlsx", ironcalc.recalculate(tmp_path / "out.xlsx"))
    network = plan.program.network
    assert (network.loss, network.standardize) == (loss, ())
    data = torch.tensor(network.inputs, dtype=torch.float64)
    expected = module.double()(data)
    if loss == "binary_cross_entropy" and isinstance(last, nn.Identity):
        expected = torch.sigmoid(expected)  # which is part of the loss there
    assert torch.equal(to_torch(network)(data), expected)
    if outputs == 2:
        verdict = verify.verify(tmp_path / "out.xlsx")
        assert verdict.proved, verify.to_text(verdict)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model.pt2", "--target", "kind", "--hidden", "3"], "--hidden: .* says that itself"),
        (
            ["model.pt2", "--target", "kind", "--activation", "relu"],
            "stand in the file; leave out --act",
        ),
        (
            ["model.pt2", "--target", "kind", "--inputs", "a"],
            "1 values, but 3 are needed, one per input",
        ),
        (["model.pt", "--target", "kind"], "is a pickle"),
        (["gone.pt2", "--target", "kind"], r"nor a file; give .* \.toml, \.pt2 or \.safetensors file"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_told_in_one_sentence(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    exported(tmp_path, nn.Sequential(nn.Linear(3, 1)))
    (tmp_path / "model.pt").write_bytes(b"")
    result = ran(tmp_path, *arguments)
    assert result.exit_code == 2
    assert re.search(words, result.output), result.output
    assert not (tmp_path / "out.xlsx").exists()


def test_a_model_alone_has_no_samples(tmp_path):
    path = exported(tmp_path, nn.Sequential(nn.Linear(3, 1)))
    with pytest.raises(
        InputError, match="holds layers and weights, but no samples; give them with --data"
    ):
        find(str(path))
