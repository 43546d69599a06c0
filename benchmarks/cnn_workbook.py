"""The CNN's workbook: size, time to write and to recalculate, accuracy and proof.

Run ``python benchmarks/cnn_workbook.py``; it takes about five minutes and writes
results/cnn_workbook.json. Let nothing else run meanwhile. LibreOffice is timed by a macro of its own: it
types a grey value into one cell, or picks another digit, and waits for all ten logits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import ironcalc
import torch

from gradsheet import verify
from gradsheet.engines import ironcalc as engine
from gradsheet.engines import libreoffice
from gradsheet.environment import describe
from gradsheet.mnist import workbook_places as at
from gradsheet.mnist.export import load_weights, shipped_weights
from gradsheet.mnist.model import evaluate
from gradsheet.mnist.reference import classify, make_reference, read_model
from gradsheet.mnist.utils import Mnist, prepare_mnist

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from packages import poisoned

RESULTS = Path(__file__).parent.parent / "results" / "cnn_workbook.json"
PIXEL = at.painted(at.SIDE // 2, at.SIDE // 2)

MACRO = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE script:module PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "module.dtd">
<script:module xmlns:script="http://openoffice.org/2000/script" script:name="Timing"
 script:language="StarBasic">
Sub Main
  Dim options(0) As New com.sun.star.beans.PropertyValue
  options(0).Name = "Hidden" : options(0).Value = True
  book = StarDesktop.loadComponentFromURL("{book}", "_blank", 0, options())
  book.calculateAll()
  sheet = book.Sheets.getByName("{digit}")
  logits = book.Sheets.getByName("{softmax}").getCellRangeByName("{logits}")
  file = FreeFile
  Open "{report}" For Output As #file
  For k = 1 To {repeats}
    start = GetSystemTicks()
    sheet.getCellByPosition({pixel}).setValue(40 + 20 * k)
    found = logits.getDataArray()
    Print #file, "one pixel;" &amp; (GetSystemTicks() - start) &amp; ";" &amp; found(0)(0)
  Next k
  {choices}
  Close #file
  book.close(True)
  StarDesktop.terminate()
End Sub
</script:module>
"""
CHOICE_MACRO = """
    start = GetSystemTicks()
    sheet.getCellByPosition({place}).setString("{text}")
    found = logits.getDataArray()
    Print #file, "another digit;" &amp; (GetSystemTicks() - start) &amp; ";" &amp; found(0)(0)
"""
LIBRARY = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE library:library PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "library.dtd">
<library:library xmlns:library="http://openoffice.org/2000/library" library:name="Standard"
 library:readonly="false" library:passwordprotected="false"><library:element library:name="Timing"/>
</library:library>
"""


def summary(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "mean_seconds": statistics.mean(seconds),
        "standard_deviation": statistics.stdev(seconds),
        "least_seconds": min(seconds),
        "n": len(seconds),
    }


def timed(action: Callable[[], Any]) -> float:
    start = perf_counter()
    action()
    return perf_counter() - start


def write(path: Path) -> None:
    command = [sys.executable, "-m", "gradsheet", "mnist", "workbook", "--out", str(path)]
    subprocess.run(command, check=True, capture_output=True)


def in_ironcalc(path: Path, repeats: int) -> dict[str, Any]:
    """Loading, and calculating everything after one pixel was changed."""
    model: list[Any] = []
    loads = [timed(lambda: model.append(ironcalc.load_from_xlsx(str(path)))) for _ in range(3)]
    names = [sheet["name"] for sheet in model[-1].get_worksheets_properties()]
    evaluations = []
    for number in range(repeats + 1):
        place = (names.index(at.DIGIT), PIXEL[0] + 1, PIXEL[1] + 1)
        model[-1].update_cell_with_number(*place, 20.0 * number)
        evaluations.append(timed(model[-1].evaluate))
    return {"IronCalc, load": summary(loads), "IronCalc, evaluate": summary(evaluations[1:])}


def in_libreoffice(path: Path, repeats: int, entries: Sequence[str]) -> dict[str, Any]:
    """From a changed pixel, or another digit, to the logits, in a LibreOffice that stays open."""
    with tempfile.TemporaryDirectory() as folder:
        basic, report = Path(folder) / "user" / "basic", Path(folder) / "report.txt"
        program = [
            str(libreoffice.find()),
            f"-env:UserInstallation={Path(folder).as_uri()}",
            "--headless",
        ]
        # The first start makes a profile, and would replace the macro if it were there already.
        subprocess.run([*program, "--terminate_after_init"], check=True, capture_output=True)
        (basic / "Standard" / "script.xlb").write_text(LIBRARY)
        place = f"{at.CHOICE[1]}, {at.CHOICE[0]}"
        first, last = at.softmax_place(0, 1), at.softmax_place(9, 1)
        macro = MACRO.format(
            book=path.as_uri(),
            digit=at.DIGIT,
            softmax=at.SOFTMAX,
            logits=f"B{first[0] + 1}:B{last[0] + 1}",
            report=report,
            repeats=repeats,
            pixel=f"{PIXEL[1]}, {PIXEL[0]}",
            choices="".join(CHOICE_MACRO.format(place=place, text=text) for text in entries),
        )
        (basic / "Standard" / "Timing.xba").write_text(macro)
        command = [*program, "--norestore", "macro:///Standard.Timing.Main"]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        lines = [line.split(";") for line in report.read_text().splitlines()]
    logits = [logit for *_, logit in lines]
    assert len(set(logits)) == len(lines) == repeats + len(entries), f"not calculated anew: {logits}"
    times: dict[str, list[float]] = {}
    for what, milliseconds, _ in lines:
        times.setdefault(f"LibreOffice, {what}", []).append(float(milliseconds) / 1000)
    return {what: summary(seconds) for what, seconds in times.items()}


def accuracy(mnist: Mnist) -> dict[str, Any]:
    """Of the model, and of the sheet's network: rounded weights, evaluated in float64."""
    model = load_weights(shipped_weights())
    reference = make_reference(*read_model(model.layers), (1, at.SIDE, at.SIDE))
    evaluation = evaluate(model, mnist.test)
    sheet = classify(reference, mnist.test.images, torch.float64)
    return {
        "images": len(mnist.test),
        "model": evaluation.accuracy,
        "sheet": float((sheet == mnist.test.labels).double().mean()),
        "standard_error": evaluation.standard_error,
        "answers_that_differ": int((sheet != evaluation.predictions).sum()),
    }


def proof(path: Path, name: str) -> dict[str, Any]:
    start = perf_counter()
    found = verify.to_json(verify.verify(path, [name]))
    largest = {}
    for run in found["runs"]:
        for sheet in run["sheets"]:
            worst = sheet["largest_difference"]
            if worst is not None:
                largest[sheet["sheet"]] = max(largest.get(sheet["sheet"], 0), worst["difference"])
    return {
        "verdict": found["verdict"],
        "seconds": perf_counter() - start,
        "runs": len(found["runs"]),
        "compared": sum(run["compared"] for run in found["runs"]),
        "largest_difference": max(largest.values()),
        "largest_difference_of_a_logit": largest["Softmax"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        path, spoilt = Path(folder) / "digits.xlsx", Path(folder) / "poisoned.xlsx"
        times = {"write, whole process": summary([timed(lambda: write(path)) for _ in range(5)])}
        times |= in_ironcalc(path, repeats)
        texts = engine.recalculate(path)[at.DIGITS]
        entries = [str(texts[at.ENTRY_ROW + 10 * entry, 0]) for entry in range(repeats)]
        times |= in_libreoffice(path, repeats, entries)
        formulas = {name: len(cells) for name, cells in engine.formulas(path).items()}
        beside = (at.DIGIT, at.DIGITS, at.EXPLAIN)
        results = {
            "bytes": path.stat().st_size,
            "formulas": sum(formulas.values()),
            "formulas_of_the_network": sum(n for name, n in formulas.items() if name not in beside),
            "times": times,
            "accuracy": accuracy(prepare_mnist()),
            "proof": {name: proof(poisoned(path, spoilt), name) for name in ("ironcalc", "libreoffice")},
            "environment": describe("gradsheet", "numpy", "XlsxWriter", "ironcalc", "torch"),
        }
    version = subprocess.run([str(libreoffice.find()), "--version"], capture_output=True, text=True)
    results["environment"]["libreoffice"] = version.stdout.split()[1]
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
