"""Samples of one's own: read from CSV, standardised by formulas, proved; and refused in one sentence."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import openpyxl
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import packages
from gradsheet import generate, verify
from gradsheet.backends.workbook_layout import Plan, SampleTable
from gradsheet.cli import main
from gradsheet.compiler import compile_network
from gradsheet.data import network_from
from gradsheet.engines import ironcalc, libreoffice
from gradsheet.errors import GradsheetError, InputError, NetworkError, TooLargeError, WorkbookError
from gradsheet.examples import EXAMPLES
from gradsheet.network import Network, parse, to_toml

needs_libreoffice = pytest.mark.skipif(libreoffice.find() is None, reason="LibreOffice is not installed")
FLOWERS = """length,width,kind
5.1,3.5,setosa
7.0,3.2,versicolor
6.3,3.3,virginica
4.9,3.0,setosa
6.4,3.1,versicolor
"""
HOUSES = "rooms;area;price\r\n3;75,5;210000\r\n4;98;265500,5\r\n2;51,25;155000\r\n5;120;350000\r\n"
CIRCLE = "x\ty\tinside\n0.1\t0.2\tyes\n-0.9\t0.8\tno\n0.3\t-0.4\tyes\n1\t0.7\tno\n"


def written(folder: Path, text: str | bytes, name: str = "own.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def workbook(folder: Path, network: Network, **arguments) -> Path:
    """A workbook of the network with wrong cached values, so that only recalculation can be right."""
    options = {"steps": 5, "learning_rates": (0.1, 1.0), **arguments}
    generate.write_workbook(network, folder / "plain.xlsx", **options)
    return packages.poisoned(folder / "plain.xlsx", folder / "poisoned.xlsx")


# ---------------------------------------------------------------- reading


def test_text_in_a_target_becomes_classes_one_hot(tmp_path):
    network = network_from(written(tmp_path, FLOWERS, "flowers.csv"), ["kind"])
    assert network.inputs == ((5.1, 3.5), (7.0, 3.2), (6.3, 3.3), (4.9, 3.0), (6.4, 3.1))
    assert network.targets == ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0))
    assert network.input_names == ("length", "width")
    assert network.output_names == ("setosa", "versicolor", "virginica")
    assert (network.loss, network.standardize) == ("softmax_cross_entropy", ("inputs",))
    assert [layer.activation for layer in network.layers] == ["tanh", "identity"]
    assert (network.name, network.sizes) == ("flowers", (2, 4, 3))


def test_semicolons_decimal_commas_and_the_mark_of_excel_are_read(tmp_path):
    network = network_from(written(tmp_path, "\ufeff" + HOUSES), ["price"], inputs=["area"])
    assert network.inputs == ((75.5,), (98.0,), (51.25,), (120.0,))
    assert network.targets == ((210000.0,), (265500.5,), (155000.0,), (350000.0,))
    assert (network.loss, network.standardize) == ("mean_squared_error", ("inputs", "targets"))
    assert network.layers[-1].activation == "identity"


def test_two_classes_are_one_output_or_two(tmp_path):
    path = written(tmp_path, CIRCLE)
    network = network_from(path, ["inside"], hidden=[3, 2], activation="relu")
    assert network.targets == ((1.0,), (0.0,), (1.0,), (0.0,))
    assert (network.output_names, network.loss) == (("yes",), "binary_cross_entropy")
    assert network.description == "The 4 samples of own.csv; inside: 1 is yes, 0 is no"
    assert [layer.activation for layer in network.layers] == ["relu", "relu", "sigmoid"]
    shares = network_from(path, ["inside"], loss="categorical cross entropy", hidden=[])
    assert shares.targets == ((0, 1), (1, 0), (0, 1), (1, 0))
    assert (shares.output_names, shares.layers[-1].activation) == (("no", "yes"), "softmax")


def test_numbers_are_classes_where_that_is_said(tmp_path):
    path = written(tmp_path, "a,b,digit\n1,2,10\n2,1,9\n3,5,2\n4,1,10\n")
    network = network_from(path, ["digit"], classes=True)
    assert network.output_names == ("2", "9", "10")
    assert network_from(path, ["digit"], loss="softmax_cross_entropy") == network
    assert network_from(path, ["digit"]).targets == ((10.0,), (9.0,), (2.0,), (10.0,))
    assert network_from(path, ["digit", "b"]).output_names == ("digit", "column b")


def test_names_that_clash_with_a_network_are_told_apart(tmp_path):
    path = written(tmp_path, "t,cap,kind\n1,2,e\n2,1,p\n3,5,cap\n4,1,e\n")
    network = network_from(path, ["kind"])
    assert network.input_names == ("column t", "cap")
    assert network.output_names == ("kind: cap", "kind: e", "kind: p")


def test_the_description_is_that_of_the_samples(tmp_path):
    path = written(tmp_path, CIRCLE)
    table = {"name": "n", "description": "mine", "seed": 1, "layers": [{"neurons": 1}]}
    options = {"inputs": ["x", "y"], "loss": "binary_cross_entropy"}
    assert network_from(path, ["inside"], table, **options).description == "mine"
    sampled = {**table, "inputs": [[0]], "targets": [[0]]}
    described = network_from(path, ["inside"], sampled, **options).description
    assert described == "The 4 samples of own.csv; inside: 1 is yes, 0 is no"


def test_a_table_is_not_written_over_the_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, CIRCLE, "sweep.csv")
    result = CliRunner().invoke(
        main, ["sweep", "--data", str(path), "--target", "inside", "--steps", "2"]
    )
    assert result.exit_code == 2
    assert "sweep.csv holds the data, which would be lost" in result.output
    assert path.read_text() == CIRCLE


def test_a_network_without_samples_takes_those_of_the_file(tmp_path):
    toml = written(
        tmp_path,
        'name = "mine"\nloss = "softmax_cross_entropy"\nseed = 3\n[[layers]]\nneurons = 2\n'
        '[[layers]]\nneurons = 3\nactivation = "identity"\n',
        "mine.toml",
    )
    out = tmp_path / "own.xlsx"
    data = written(tmp_path, FLOWERS)
    options = ["--data", str(data), "--target", "kind", "--out", str(out), "--steps", "5"]
    result = CliRunner().invoke(main, ["workbook", str(toml), *options])
    assert result.exit_code == 0, result.output
    found = verify.read_plan(out, ironcalc.recalculate(out)).program.network
    assert (found.name, found.sizes, found.seed, found.samples) == ("mine", (2, 2, 3), 3, 5)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(*[st.floats(-1e9, 1e9, width=32)] * 3), min_size=2, max_size=6),
    separator=st.sampled_from([",", ";", "\t"]),
    comma=st.booleans(),
)
def test_every_number_is_read_as_it_was_written(tmp_path, rows, separator, comma):
    lines = [separator.join(map(repr, row)) for row in rows]
    if comma and separator != ",":
        lines = [line.replace(".", ",") for line in lines]
    path = written(tmp_path, "\n".join([separator.join(["first", "second", "third"]), *lines]))
    try:
        network = network_from(path, ["third"])
    except NetworkError as error:
        assume("is the same in every sample" not in str(error))
        raise
    assert network.inputs == tuple(row[:2] for row in rows)
    assert network.targets == tuple(row[2:] for row in rows)
    assert parse(to_toml(network)) == network


# ---------------------------------------------------------------- the proof


CASES = {
    "classes": (FLOWERS, "kind", {}),
    "numbers": (HOUSES, "price", {}),
    "numbers in batches": (HOUSES, "price", {"batch_size": 3}),
    "two classes, shuffled": (CIRCLE, "inside", {"batch_size": 1, "shuffle_seed": 4}),
}


@pytest.mark.parametrize("case", CASES)
def test_samples_are_proved_with_their_standardisation(tmp_path, case):
    text, target, batches = CASES[case]
    network = replace(network_from(written(tmp_path, text), [target]), **batches)
    path = workbook(tmp_path, network)
    verdict = verify.verify(path)
    assert verdict.proved, verify.to_text(verdict)
    assert any(group.name == "standardised data" for group in verdict.runs[0].groups)
    cells, samples = ironcalc.recalculate(path), Plan(compile_network(network), 5, 2).samples
    for name, rows in (("i", network.inputs), ("t", network.targets)):
        for k, column in enumerate(zip(*rows, strict=True), 1):
            seen = column
            if {"i": "inputs", "t": "targets"}[name] in network.standardize:
                mean, deviation = statistics.fmean(column), statistics.pstdev(column)
                seen = [(value - mean) / deviation for value in column]
            for row, (value, wanted) in enumerate(zip(column, seen, strict=True), samples.first_row):
                assert cells["Samples"][row, samples.written[f"{name}{k}"]] == value
                found = cells["Samples"][row, samples.seen[f"{name}{k}"]]
                assert found == pytest.approx(wanted, rel=1e-12, abs=1e-14)


def test_the_houses_in_examples_are_proved(tmp_path):
    path = Path(__file__).parent.parent / "examples" / "houses.csv"
    verdict = verify.verify(workbook(tmp_path, network_from(path, ["price"])))
    assert verdict.proved, verify.to_text(verdict)


@needs_libreoffice
@pytest.mark.libreoffice
def test_libreoffice_standardises_as_well(tmp_path):
    network = replace(network_from(written(tmp_path, HOUSES), ["price"]), batch_size=3)
    verdict = verify.verify(workbook(tmp_path, network), ("libreoffice",))
    assert verdict.proved, verify.to_text(verdict)


def test_a_column_whose_mean_is_far_larger_than_its_deviation_is_proved(tmp_path):
    path = written(tmp_path, "when,y\n1700000000,1\n1700000060,2\n1700000180,2.5\n1700000190,1.5\n")
    verdict = verify.verify(workbook(tmp_path, network_from(path, ["y"], hidden=[])))
    assert verdict.proved, verify.to_text(verdict)


@pytest.mark.parametrize(
    ("place", "formula"),
    [
        ("B4", "AVERAGE(B8:B11)"),  # the last sample is forgotten
        ("B5", "SQRT(SUMPRODUCT(G8:G12,G8:G12)/4)"),  # divided by n − 1
        ("H9", "C9-B4"),  # another column's mean
        ("I10", "G10/C5"),  # another column's standard deviation
    ],
)
def test_a_wrong_standardisation_is_named(tmp_path, place, formula):
    path = workbook(tmp_path, network_from(written(tmp_path, FLOWERS), ["kind"]))
    formulas = ironcalc.formulas(path)["Samples"]
    assert [formulas[row, 1] for row in (3, 4)] == [
        "=AVERAGE($B$8:$B$12)", "=SQRT(SUMPRODUCT($G$8:$G$12,$G$8:$G$12)/5)",
    ]  # fmt: skip
    assert [formulas[8, 7], formulas[9, 8]] == ["=C9-$C$4", "=G10/$B$5"]
    wrong = packages.with_formula(path, tmp_path / "wrong.xlsx", f"Samples!{place}", formula)
    verdict = verify.verify(wrong)
    assert place in {d.cell for run in verdict.runs for d in run.differences}


def test_a_pasted_number_is_named_and_a_constant_column_refused(tmp_path):
    path = workbook(tmp_path, network_from(written(tmp_path, HOUSES), ["price"]))
    samples = Plan(compile_network(network_from(tmp_path / "own.csv", ["price"])), 5, 2).samples
    number = ironcalc.recalculate(path)["Samples"][samples.first_row, samples.seen["i1"]]
    pasted = packages.with_number(path, tmp_path / "pasted.xlsx", "Samples!H8", number)
    assert "H8" in {d.cell for run in verify.verify(pasted).runs for d in run.differences}
    for row in range(8, 12):
        path = packages.with_number(path, tmp_path / f"same{row}.xlsx", f"Samples!B{row}", 2.0)
    with pytest.raises(WorkbookError, match="i1 is the same in every sample"):
        verify.verify(path)


def test_the_row_of_names_is_as_high_as_the_longest_needs(tmp_path):
    def height(name: str) -> float:
        text = HOUSES.replace("area", name)
        path = workbook(tmp_path, network_from(written(tmp_path, text), ["price"]))
        sheet = openpyxl.load_workbook(path)["Samples"]
        return sheet.row_dimensions[SampleTable.HEADER_ROW].height

    assert height("area") == 24
    assert height("the area of the whole house in square metres, without the cellar") > 50


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("", "y", r"own\.csv: is empty; the first line has to name the columns"),
        ("\n\n", "y", "is empty"),
        ("x,y\n", "y", "has a header, but no rows below it; add samples"),
        ("1,2\n3,4\n", "y", "the first line has to name the columns, but '1' is a number"),
        ("x,y,x\n1,2,3\n", "y", "two columns are called 'x'; rename one of them"),
        (",y\n1,2\n", "y", "column 1 has no name in the first line; name it, or remove it"),
        ("y\n1\n", "y", "has only the column 'y'; give inputs and targets, separated by commas"),
        ("x,y\n1,2\n\n3\n", "y", "row 4 has 1 values, but the header names 2 columns; mend it"),
        ('x,y\n1,2\n"3\n",4\n5\n', "y", "row 5 has 1 values"),
        ("x,y\n1,2\n3,4\n", "z", "there is no column 'z'; known are x, y"),
        ("x,y\n1,2\n,4\n", "y", "row 3 has no value in column 'x'; fill it in or remove the row"),
        ("x,y\n1,2\nNA,4\n", "y", "row 3 has no value but 'NA' in column 'x'"),
        ("x,y\n1,2\n3,?\n", "y", r"row 3 has no value but '\?' in column 'y'"),
        ("x,y\n1,2\n3,nan\n", "y", "row 3 has no value but 'nan' in column 'y'"),
        (f"x,y\n1,2\n{'1' * 400},3\n", "y", "row 3 has '1{40}' in column 'x', which no sheet can"),
        (f"{','.join(f'c{k}' for k in range(40_000))},y\n1,2\n", "y", "has 40,001 columns, more than"),
        ("x,y\na,2\nb,3\n", "y", "column 'x' holds text, 'a' in row 2; .*: write it as numbers"),
        ("x,y\n1,2\n-inf,3\n", "y", "row 3 has '-inf' in column 'x', which no sheet can compute with"),
        ("x,z,y\n1,a,2\n2,b,3\n", "y", "column 'z' holds text, 'a' in row 2; .* --inputs, such as x"),
        ("x;y\n1;2\n1.234,5;3\n", "y", r"column 'x' holds text, '1\.234,5' in row 3"),
        ("x;y\n1;2,5\n1.234;3\n", "y", r"row 3 has '1\.234' in column 'x', but .* a decimal comma"),
        ("x\ty\n1,5\t2\n1,2\t3.5\n", "y", r"row 3 has '3\.5' in column 'y', but .* a decimal comma"),
        (
            "x,y\n1,2\n2,two\n",
            "y",
            "column 'y' holds text, 'two' in row 3; mend it, or say with --classes",
        ),
        ("x,y\n1,a\n2,a\n", "y", "column 'y' holds 1 different value, .* from 2 to 20 classes"),
        ("x,y\n" + "".join(f"{k},a{k}\n" for k in range(21)), "y", "column 'y' holds 21 different"),
        ("x,y\n5,1\n", "y", "a single sample has no standard deviation to divide by; give two"),
        ("x,y\n5,1\n5,2\n", "y", r"inputs: 'x' is the same in every sample, 5\.0, .*leave it out"),
        ("x,y\n5,1\n6,1\n", "y", "targets: 'y' is the same in every sample"),
        ("x,y\n5e13,1\n6,2\n", "y", r"50000000000000\.0 is beyond ±1e\+12"),
        ('x,y\n"1,2\n3,4\n', "y", r"is not CSV \(unexpected end of data\); mend its quotes"),
        (b"x,y\n1,\xff\n", "y", "is not a text file in UTF-8; save it as CSV in UTF-8"),
        (b"x,y\n1,\0\n", "y", "is no text but a binary file"),
        ("x,y\n" + "1,2\n" * 10_001, "y", "has more than 10,000 rows"),
        ("x,y\n" + "1,2222222\n" * 1_100_000, "y", r"has 11 MB, but .* no more than 10"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, text, target, message):
    with pytest.raises(GradsheetError, match=message) as error:
        network_from(written(tmp_path, text), [target])
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_what_does_not_fit_together_is_refused(tmp_path):
    path = written(tmp_path, FLOWERS)
    with pytest.raises(InputError, match="'width' cannot be input and target at once"):
        network_from(path, ["width"], inputs=["width"])
    with pytest.raises(InputError, match="no column is left for the inputs"):
        network_from(path, ["length", "width", "kind"])
    with pytest.raises(InputError, match="'setosa' in row 2; several targets are numbers"):
        network_from(path, ["width", "kind"])
    with pytest.raises(InputError, match=r"'kind' needs 3 outputs, .* has 2 neurons; give it as many"):
        network_from(path, ["kind"], {"layers": [{"neurons": 2}]})
    with pytest.raises(NetworkError, match="loss: 'mean' is not known; use one of half_squared_error"):
        network_from(path, ["kind"], loss="mean")
    with pytest.raises(
        NetworkError, match="standardize: the targets of binary_cross_entropy are shares"
    ):
        replace(EXAMPLES["xor"], standardize=("targets",))
    with pytest.raises(
        NetworkError, match="standardize: 'weights' is not known; use inputs, targets or"
    ):
        replace(EXAMPLES["xor"], standardize=("weights",))


def test_files_that_make_too_large_a_workbook_are_refused_before_anything_is_written(tmp_path):
    rows = "".join(f"{k % 7},{k % 5},{k % 3}\n" for k in range(150))
    path, out = written(tmp_path, "a,b,y\n" + rows), tmp_path / "own.xlsx"
    network = network_from(path, ["y"])
    with pytest.raises(TooLargeError, match=r"use --steps \d+ or less, mini-batches \(--batch-size\)"):
        generate.write_workbook(network, out, steps=1000)
    many = written(tmp_path, "a,b,y\n" + rows * 66, "many.csv")
    with pytest.raises(
        TooLargeError, match=r"the limit is 16,384; use fewer .* mini-batches \(--batch-size\)"
    ):
        generate.write_workbook(network_from(many, ["y"]), out)
    with pytest.raises(TooLargeError, match=r"no more than 50,000 are compiled; use mini-batches"):
        generate.write_derivation(network_from(many, ["y"]), tmp_path / "own.md")
    assert sorted(tmp_path.iterdir()) == sorted([path, many])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "own.csv"], "--target: is missing; name the column of --data"),
        (
            ["--data", "own.csv", "--target", ""],
            "no target is named; name the column to predict, of len",
        ),
        (["--target", "kind"], "--target: is about --data FILE.csv; give that as well"),
        (["--hidden", "3"], "--hidden: is about --data FILE.csv"),
        (["--classes"], "--classes: is about --data FILE.csv"),
        (
            ["--data", "own.csv", "--target", "kind", "--hidden", "x"],
            "--hidden: 'x' is no list of whole",
        ),
        (["iris", "--data", "own.csv", "--target", "kind", "--loss", "huber"], "--loss: iris says that"),
        (["--data", "none.csv", "--target", "kind"], "none.csv: there is no such file; check the name"),
        (
            ["iris", "--data", "own.csv", "--target", "kind"],
            "inputs: row 1 has 2 values, but 4 are needed",
        ),
    ],
)
def test_the_command_line_says_what_is_missing(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, FLOWERS)
    result = CliRunner().invoke(main, ["workbook", *options])
    assert result.exit_code == 2
    assert message in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["own.csv"]


def test_workbook_derivation_and_sweep_take_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, FLOWERS)
    data = ["--data", "own.csv", "--target", "kind", "--inputs", "length, width", "--hidden", "2"]
    for command in (["workbook", "--epochs", "3"], ["derive"], ["sweep", "--steps", "5"]):
        result = CliRunner().invoke(main, [*command, *data, "--batch-size", "2", "--shuffle", "1"])
        assert result.exit_code == 0, result.output
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"own.csv", "own.xlsx", "derivation.md", "sweep.csv"}
    plan = verify.read_plan(Path("own.xlsx"), ironcalc.recalculate(Path("own.xlsx")))
    assert plan.steps == 8  # 15 samples in batches of 2
    assert "are standardised: each is shown less the mean" in Path("derivation.md").read_text()
