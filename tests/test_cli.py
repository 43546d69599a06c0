"""The commands, as a user types them: what they write, what they say, how they fail."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import pytest
from click.testing import CliRunner

import packages
from gradsheet.cli import main
from gradsheet.examples import EXAMPLES
from gradsheet.network import parse


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, code=0):
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return run


def test_demo_writes_everything_and_proves_it(run, tmp_path):
    pytest.importorskip("torch")
    output = run("demo", "--out", "made/here").output
    names = sorted(path.name for path in (tmp_path / "made" / "here").iterdir())
    assert names == ["backprop.xlsx", "derivation.md", "learning_rates.png"]
    assert output.splitlines()[-1].startswith("PROVED: all 4")


def test_examples_are_listed_with_one_line_each(run):
    lines = run("examples").output.splitlines()
    assert [line.split()[0] for line in lines] == list(EXAMPLES)
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_shown_as_toml_is_that_network(run, name):
    text = run("examples", "--show", name).output
    assert tomllib.loads(text)["name"] == name
    assert parse(text) == EXAMPLES[name]


def test_a_network_of_the_users_own_becomes_a_workbook(run, tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "mine.toml").write_text(
        run("examples", "--show", "xor").output.replace('name = "xor"', 'name = "=mine"'),
        encoding="utf-8",
    )
    output = run("workbook", "mine.toml", "--steps", 5, "--learning-rates", "0.1,1:3:2log").output
    assert output.startswith("wrote mine.xlsx (")
    data = json.loads(run("verify", "mine.xlsx", "--json").output)
    assert (data["verdict"], data["network"], data["iterations"]) == ("proved", "=mine", 5)


def test_verify_exits_with_1_when_a_number_differs(run, tmp_path):
    pytest.importorskip("torch")
    run("workbook", "--out", "good.xlsx", "--steps", 3)
    packages.with_formula(tmp_path / "good.xlsx", tmp_path / "bad.xlsx", "Backprop!Y11", "AI11*E11")
    assert "WRONG Backprop!Y11 ∂E/∂w1" in run("verify", "bad.xlsx", code=1).output
    assert json.loads(run("verify", "bad.xlsx", "--json", code=1).output)["verdict"] == "wrong"


@pytest.mark.parametrize("suffix", [".md", ".tex", ".html"])
def test_a_derivation_is_written_in_the_form_of_its_suffix(run, tmp_path, suffix):
    run("derive", "mazur", "--out", f"derivation{suffix}")
    text = (tmp_path / f"derivation{suffix}").read_text(encoding="utf-8")
    assert {".md": "$$", ".tex": r"\documentclass", ".html": "<math"}[suffix] in text
    assert "got wrong" not in text


def test_only_the_courses_own_network_comes_with_its_errata(run, tmp_path):
    run("derive")
    text = (tmp_path / "derivation.md").read_text(encoding="utf-8")
    assert "original text got wrong" in text
    run("derive", "--learning-rate", "0.25", "--out", "other.md")
    assert "0.25" in (tmp_path / "other.md").read_text(encoding="utf-8")


def test_sweep_writes_a_table_and_a_picture(run, tmp_path):
    run("sweep", "xor", "--learning-rates", "0.1,1", "--steps", 5, "--seeds", 3, "--plot", "p.png")
    rows = (tmp_path / "sweep.csv").read_text().splitlines()
    assert rows[0] == "learning_rate,seed,iteration,loss,diverged"
    assert len(rows) == 1 + 2 * 3 * 5
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


BAD = {
    "unknown example": (["workbook", "sead"], "sead: is neither an example (seed, mazur"),
    "missing file": (["workbook", "no.toml"], "no.toml: there is no such file"),
    "wrong TOML": (["workbook", "bad.toml"], "bad.toml: is not valid TOML"),
    "wrong network": (
        ["derive", "wrong.toml"],
        "wrong.toml: layers[1].activation: 'relux' is not known",
    ),
    "missing folder": (["workbook", "--out", "no/x.xlsx"], "the folder no does not exist"),
    "a folder as target": (["workbook", "--out", "."], "is a folder"),
    "zero rate": (["workbook", "--learning-rate", "0"], "must be greater than 0"),
    "negative rates": (["workbook", "--learning-rates", "0.1,-2"], "-2.0 must be greater than 0"),
    "words for rates": (["sweep", "--learning-rates", "fast"], "'fast' is not a number"),
    "too many rates": (["workbook", "--learning-rates", "1:2:60"], "60 cannot be told apart"),
    "one step": (["workbook", "--steps", "1"], "Invalid value for '--steps'"),
    "too large": (["workbook", "iris", "--steps", "9000"], "formulas, more than the 500,000"),
    "unknown suffix": (["derive", "--out", "x.pdf"], "derivations are written as .md, .tex, .html"),
    "workbook suffix": (
        ["workbook", "--out", "x.csv", "--steps", "2"],
        "x.csv: workbooks are written as",
    ),
    "compared suffix": (
        ["sweep", "--optimizers", "sgd", "--workbook", "x.ods"],
        "x.ods: workbooks are written as .xlsx",
    ),
    "samples for a network": (["workbook", "own.csv"], "give it as --data own.csv --target COLUMN"),
    "smoothing of no batches": (
        ["workbook", "--set", "smoothing=0.5"],
        "it belongs to mini-batches (batch_size)",
    ),
    "picture suffix": (["sweep", "--plot", "x.bmp"], "x.bmp"),
    "missing workbook": (["verify", "no.xlsx"], "no.xlsx: there is no such file"),
    "no workbook": (["verify", "bad.toml"], "is not an .xlsx workbook"),
    "unknown engine": (["verify", "x.xlsx", "--engine", "excel"], "'excel' is not one of"),
    "unknown shown example": (["examples", "--show", "zed"], "'zed' is no example"),
    "unknown command": (["fly"], "No such command 'fly'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_clear_sentence_and_leaves_nothing_behind(run, tmp_path, kind):
    (tmp_path / "bad.toml").write_text("name = ")
    (tmp_path / "wrong.toml").write_text(
        'name = "x"\nloss = "half_squared_error"\ninputs = [[1]]\ntargets = [[1]]\n'
        '[[layers]]\nactivation = "relux"\nweights = [[1]]\n'
    )
    arguments, sentence = BAD[kind]
    error = run(*arguments, code=2).stderr
    assert sentence in error
    assert error.startswith(("Error: ", "Usage: "))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.toml", "wrong.toml"]


def test_debug_shows_the_traceback():
    command = [sys.executable, "-m", "gradsheet", "--debug", "workbook", "sead"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_verify_without_pytorch_says_how_to_install_it(run, tmp_path):
    run("workbook", "--steps", 2, "--out", "x.xlsx")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from gradsheet.cli import main; main(['verify', 'x.xlsx'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'gradsheet[torch]'" in done.stderr


def test_help_loads_neither_numpy_nor_anything_else_that_is_slow():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from gradsheet.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "slow = {'numpy', 'torch', 'matplotlib', 'ironcalc', 'openpyxl', 'xlsxwriter', 'sympy'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_workbook_loads_neither_torch_nor_matplotlib(tmp_path):
    arguments = ["workbook", "--steps", "2", "--out", str(tmp_path / "x.xlsx")]
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from gradsheet.cli import main\n"
        f"assert CliRunner().invoke(main, {arguments!r}).exit_code == 0\n"
        "print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
