"""The rules that keep the parts apart: who may import whom, what is loaded, who can print what."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import gradsheet
from gradsheet.expression import OPERATIONS, Form, Notation

ROOT = Path(gradsheet.__file__).parent
MODULES = (
    "gradsheet",
    *(module.name for module in pkgutil.walk_packages(gradsheet.__path__, "gradsheet.")),
)
BACKENDS = [module for module in MODULES if module.startswith("gradsheet.backends.")]

CORE = {
    "gradsheet.errors": set(),
    "gradsheet.expression": {"gradsheet.errors"},
    "gradsheet.optimizers": {"gradsheet.errors", "gradsheet.expression"},
    "gradsheet.network": {"gradsheet.errors", "gradsheet.optimizers"},
    "gradsheet.compiler": {
        "gradsheet.errors",
        "gradsheet.network",
        "gradsheet.expression",
        "gradsheet.optimizers",
    },
    "gradsheet.matrices": {"gradsheet.compiler", "gradsheet.network", "gradsheet.expression"},
}
"""What each module of the core may import of gradsheet; a backend may import the core."""

CHECK = (
    "formula", "labels", "sheets", "tables", "reader", "neurons", "layers", "reading", "losses", "rates",
    "chain_rule", "conventions", "readings", "learning", "verdict", "judge", "links", "causes",
    "methods", "texts", "own", "examine", "batch", "report", "annotate", "commands",
)  # fmt: skip
"""The modules of check: none imports a later one."""

NEED_TORCH = {
    "gradsheet.backends.autograd",
    "gradsheet.modules",
    "gradsheet.mnist.export",
    "gradsheet.mnist.model",
    "gradsheet.mnist.predict",
    "gradsheet.mnist.reference",
    "gradsheet.mnist.runs",
    "gradsheet.mnist.splits",
    "gradsheet.mnist.utils",
    "gradsheet.mnist.workbook",
    "gradsheet.mnist.workbook_verify",
}
"""The only modules that may load PyTorch when they are imported."""


def source(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> set[str]:
    """The modules of gradsheet that are imported anywhere in the tree, functions included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what these tests look for"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES else str(node.module))
    return {name for name in found if name.split(".")[0] == "gradsheet"}


def backend(module: str) -> str:
    """``workbook`` for all of workbook.py, workbook_layout.py …: a backend may fill several files."""
    return module.split(".")[2].split("_")[0]


# ---------------------------------------------------------------- who imports whom


@pytest.mark.parametrize("module", CORE)
def test_the_core_imports_only_what_is_below_it(module):
    assert imported(source(module)) <= CORE[module]


@pytest.mark.parametrize("module", BACKENDS)
def test_a_backend_imports_the_core_and_no_other_backend(module):
    siblings = {other for other in BACKENDS if backend(other) == backend(module)}
    assert imported(source(module)) <= set(CORE) | siblings


def test_check_reads_from_cells_to_verdicts_in_one_direction():
    assert {f"gradsheet.check.{name}" for name in CHECK} == {
        module for module in MODULES if module.startswith("gradsheet.check.")
    }
    for position, name in enumerate(CHECK):
        later = {f"gradsheet.check.{other}" for other in CHECK[position:]}
        assert not imported(source(f"gradsheet.check.{name}")) & later


@pytest.mark.parametrize("module", [m for m in MODULES if m != "gradsheet.__main__"])
def test_nothing_imports_the_command_line(module):
    assert "gradsheet.cli" not in imported(source(module))


@pytest.mark.parametrize("module", MODULES)
def test_the_oracle_is_imported_by_the_verifier_alone_and_when_it_verifies(module):
    tree = source(module)
    if module != "gradsheet.verify":
        assert "gradsheet.backends.autograd" not in imported(tree)
    for statement in tree.body:
        if not isinstance(statement, ast.FunctionDef):
            assert "gradsheet.backends.autograd" not in imported(statement)


def test_the_model_takes_its_data_as_arguments():
    assert "gradsheet.mnist.utils" not in imported(source("gradsheet.mnist.model"))


def test_the_workbook_of_a_cnn_is_written_without_its_proof_and_laid_out_without_pytorch():
    without_torch = ("layers", "workbook_places", "workbook_plan", "workbook_formulas",
                     "workbook_values", "workbook_sheets")  # fmt: skip
    for name in without_torch:
        assert not imported(source(f"gradsheet.mnist.{name}")) & NEED_TORCH
    for name in (*without_torch, "reference", "workbook"):
        assert "gradsheet.mnist.workbook_verify" not in imported(source(f"gradsheet.mnist.{name}"))


# ---------------------------------------------------------------- what is loaded


@cache
def loaded() -> dict[str, list[str]]:
    """For each module, what its import loads of the packages that are large and not always there."""
    light = [m for m in MODULES if m not in NEED_TORCH and m != "gradsheet.__main__"]
    code = (
        "import importlib, json, sys\n"
        "found = {}\n"
        f"for module in {light}:\n"
        "    before = set(sys.modules)\n"
        "    importlib.import_module(module)\n"
        "    found[module] = sorted({'torch', 'matplotlib'} & (set(sys.modules) - before))\n"
        "print(json.dumps(found))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return dict(json.loads(run.stdout))


@pytest.mark.parametrize(
    "module", [m for m in MODULES if m not in NEED_TORCH and m != "gradsheet.__main__"]
)
def test_an_import_loads_neither_torch_nor_matplotlib(module):
    assert loaded()[module] == []


# ---------------------------------------------------------------- who can print what


@cache
def notations() -> dict[str, Notation]:
    found = {}
    for module in ("gradsheet.expression", *BACKENDS):
        for name, value in vars(importlib.import_module(module)).items():
            if isinstance(value, Notation):
                found.setdefault(name, value)
    return found


def test_there_is_a_notation_for_text_sheet_and_latex():
    assert set(notations()) >= {"TEXT", "SHEET", "LATEX"}


@pytest.mark.parametrize("name", notations())
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_can_be_printed_in_every_notation(operation, name):
    form = notations()[name].forms.get(operation)
    assert isinstance(form, Form), f"{name} has no form for {operation}: add one to its Notation"
    assert form.template.count("{*}") + form.template.count("{0}") > 0


@pytest.mark.parametrize("name", notations())
def test_a_notation_prints_nothing_else(name):
    assert set(notations()[name].forms) == set(OPERATIONS)
