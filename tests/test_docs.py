"""What README, docs and examples say is what the program does and what was measured."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from statistics import mean, stdev

import pytest

from gradsheet import __version__, generate
from gradsheet.examples import EXAMPLES

ROOT = Path(__file__).parent.parent


def test_the_workbook_in_examples_is_what_is_written_now(tmp_path):
    generate.write_workbook(EXAMPLES["seed"], tmp_path / "now.xlsx")
    committed = (ROOT / "examples" / "back_propagation.xlsx").read_bytes()
    assert (tmp_path / "now.xlsx").read_bytes() == committed, "run `make docs`"


def test_the_command_reference_is_the_programs_own_help():
    pytest.importorskip("PIL")
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    reference = runpy.run_path(str(ROOT / "docs" / "make.py"))["command_reference"]()
    assert written == reference, "run `make docs`"


def test_the_readmes_numbers_are_those_of_the_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = json.loads((ROOT / "results" / "workbook.json").read_text())["commands"]
    sweep = json.loads((ROOT / "results" / "sweep.json").read_text())["runs"]
    large = json.loads((ROOT / "results" / "large_network.json").read_text())
    expected = [
        f"({large['formulas']:,} formulas, {large['megabytes']:.1f} MB)",
        *(
            f"{large['commands'][name]['mean_seconds']:.2f} ± "
            f"{large['commands'][name]['standard_deviation']:.2f} s"
            for name in ("write", "verify")
        ),
        *(
            f"{commands[name]['mean_seconds']:.2f} ± {commands[name]['standard_deviation']:.2f} s"
            for name in ("interpreter", "help", "100 steps", "10,000 steps", "verify 100 steps")
        ),
        f"{commands['10,000 steps']['peak_megabytes']:.0f} MB",
        f"{sweep['gradsheet']['mean_seconds']:.2f} ± {sweep['gradsheet']['standard_deviation']:.2f} s",
        f"{sweep['PyTorch loop']['mean_ratio']:,.0f} times",
        f"at least {sweep['PyTorch loop']['least_ratio']:.0f}",
    ]
    assert [number for number in expected if number not in readme] == []


def test_the_readmes_numbers_of_check_are_those_of_the_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = json.loads((ROOT / "results" / "check.json").read_text())
    right, wrong = (results["outcomes"][key] for key in ("right", "with a mistake"))
    shown = {key: count for key, count in wrong.items() if key != "no number differs"}
    times = {
        name: f"{t['mean_seconds']:.2f} ± {t['standard_deviation']:.2f} s"
        for name, t in results["times"].items()
    }
    assert "false alarm" not in right
    assert "missed" not in wrong
    expected = [
        f"{sum(right.values())} right sheets",
        f"{right['correct']} correct, {right['not understood']} not understood, no false alarm",
        f"{sum(shown.values())} sheets with a planted mistake",
        f"{shown['found']} all wrong columns named and no other",
        f"{shown.get('found where it shows', 0)} some of them",
        f"{shown.get('found, and a right column called wrong', 0)} a right column as well",
        f"{shown['not understood']} not understood; none called correct",
        times["100 rows, wrong"],
        times["2,000 rows, correct"],
        times["class of 60"],
    ]
    assert [number for number in expected if number not in readme] == []


def test_the_readmes_numbers_of_mnist_are_those_of_the_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = json.loads((ROOT / "results" / "mnist.json").read_text())
    expected = []
    for recipe in ("quick", "best"):
        runs = [
            run
            for run in results["runs"]
            if run["recipe"] == recipe and run["trained_on"] == "train and validation"
        ]
        accuracies, averaged, seconds = (
            [run[key] for run in runs] for key in ("test_accuracy", "test_accuracy_tta", "train_seconds")
        )
        expected += [
            f"{mean(accuracies):.2%} ± {stdev(accuracies):.2%}",
            f"{min(accuracies):.2%} to {max(accuracies):.2%}",
            f"{mean(averaged):.2%}",
            f"{mean(seconds):.0f} s | {len(runs)} |",
        ]
    for run in results["runs"]:
        if run["recipe"] == "seed":
            expected += [f"{run['test_accuracy']:.2%}", f"{run['test_accuracy_tta']:.2%}"]
            expected += [f"{run['train_seconds']:.0f} s | 1 |"]
        if run["validation_accuracy"] is not None:
            expected.append(f"{run['validation_accuracy']:.2%} of the validation images")
            expected.append(f"{run['test_accuracy']:.2%} of the test images")
    for way in results["speed"]["ways"].values():
        expected.append(f"{way['mean']:,.0f} ± {way['standard_deviation']:,.0f}")
        expected.append(f"| {way['epoch_seconds']:.0f} s | {way['mean_ratio']:.1f} |")
    assert [number for number in expected if number not in readme] == []


def test_the_largest_difference_of_the_batches_is_that_of_the_results():
    results = json.loads((ROOT / "results" / "batches.json").read_text())
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").replace("\n", " ")
    shown = f"of the {results['combinations']} trainings is {results['largest']:.1e}"
    assert shown in page


def test_the_numbers_of_the_cnn_workbook_are_those_of_the_results():
    results = json.loads((ROOT / "results" / "cnn_workbook.json").read_text())
    times = {
        name: f"{t['mean_seconds']:.2f} ± {t['standard_deviation']:.2f} s"
        for name, t in results["times"].items()
    }
    accuracy, proof = results["accuracy"], results["proof"]
    assert accuracy["sheet"] == accuracy["model"]
    assert accuracy["answers_that_differ"] == 0
    assert {engine["verdict"] for engine in proof.values()} == {"proved"}
    compared = sum(engine["compared"] for engine in proof.values())
    expected = [
        f"{results['formulas']:,} formulas",
        f"{results['bytes'] / 1e6:.1f} MB",
        f"{accuracy['sheet']:.2%}",
        times["write, whole process"],
        times["IronCalc, evaluate"],
        times["LibreOffice, one pixel"],
        times["LibreOffice, another digit"],
        f"{compared:,} recalculated numbers",
        f"{max(engine['largest_difference'] for engine in proof.values()):.1e}",
        f"{max(engine['largest_difference_of_a_logit'] for engine in proof.values()):.1e}",
    ]
    for page in ("README.md", "docs/cnn-workbook.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [number for number in expected if number not in text] == [], page


def test_every_link_within_the_documentation_leads_somewhere():
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http", "mailto")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_version_is_the_same_everywhere():
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
