"""How often `gradsheet check` is right, and how long it takes.

Run ``python benchmarks/check.py``; it writes results/check.json. The sheets are drawn by the tests'
builder of hand-made workbooks, which shares no code with gradsheet and is held against PyTorch. They are
drawn from another seed than the tests'. Times are of whole processes.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from gradsheet.check.examine import check
from gradsheet.environment import describe
from gradsheet.progress import progress_bar

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import handmade

RESULTS = Path(__file__).parent.parent / "results" / "check.json"
CLASS = 60
"""Files in the class that is timed: half of them right, half with a mistake."""


def drawn(strategy: SearchStrategy[Any], count: int, number: int) -> list[Any]:
    """``count`` values of a strategy, from a seed."""
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found[:count]


def outcomes(count: int, number: int, folder: Path) -> dict[str, Any]:
    """What check says of right sheets, and of sheets with a planted mistake."""
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    others: Counter[str] = Counter()
    path = folder / "sheet.xlsx"
    # what is drawn depends on the modules that are loaded, so all is drawn before any is checked
    sheets, flawed = drawn(handmade.specs(), count, number), drawn(handmade.flawed(), count, number)
    with progress_bar(total=2 * count, unit="sheet") as bar:
        for sheet in sheets:
            handmade.build(path, sheet)
            right["false alarm" if (v := check(path)).outcome == "wrong" else v.outcome] += 1
            bar.update()
        for sheet, mistake in flawed:
            truth = handmade.build(path, sheet, mistake)
            outcome = judged(truth)
            wrong[outcome] += 1
            if outcome not in ("found", "no number differs"):
                kind = "pasted as values" if sheet.pasted else "live"
                columns = ", ".join(name for name, _ in mistake.planted[:2])
                others[f"{outcome}: {mistake.cause} ({columns}; {kind})"] += 1
            bar.update()
    return {
        "seed": number,
        "right": dict(right),
        "with a mistake": dict(wrong),
        "not all found": dict(others),
    }


def judged(truth: handmade.Truth) -> str:
    """How check did on a sheet with a mistake."""
    if not any(error.visible(max(1e-6, truth.tolerance)) for error in truth.errors):
        return "no number differs"
    verdict = check(truth.path)
    if verdict.outcome != "wrong":
        return "missed" if verdict.outcome == "correct" else verdict.outcome
    wanted = {(error.sheet, error.quantity) for error in truth.errors}
    follows = {(error.sheet, name) for error in truth.errors for name in error.follows}
    named = {(finding.sheet, finding.quantity) for finding in verdict.findings}
    if named <= wanted | follows and named & (wanted | follows):
        return "found" if wanted <= named else "found where it shows"
    return "found, and a right column called wrong"


def seconds(arguments: list[str], repeats: int) -> dict[str, float]:
    """Mean and standard deviation of a whole process, in seconds."""
    times = []
    for _ in range(repeats):
        started = perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "gradsheet", *arguments], capture_output=True, check=False
        )
        times.append(perf_counter() - started)
        assert done.returncode in (0, 1, 3), done.stderr
    return {"mean_seconds": statistics.mean(times), "standard_deviation": statistics.stdev(times)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sheets", type=int, default=500, help="right sheets, and as many with a mistake"
    )
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        course = handmade.Sheet(rows=100)
        slip = handmade.mistakes(course, "wrong neuron's slope")[0]
        handmade.build(folder / "wrong.xlsx", course, slip)
        handmade.build(folder / "right.xlsx", course)
        handmade.build(folder / "long.xlsx", handmade.Sheet(rows=2000))
        files = folder / "class"
        files.mkdir()
        for n, sheet in enumerate(drawn(handmade.specs(), CLASS // 2, 7)):
            handmade.build(files / f"right {n}.xlsx", sheet)
        for n, (sheet, mistake) in enumerate(drawn(handmade.flawed(), CLASS // 2, 7)):
            handmade.build(files / f"wrong {n}.xlsx", sheet, mistake)
        result = {
            "machine": describe(),
            "repeats": arguments.repeats,
            "times": {
                "100 rows, correct": seconds(["check", str(folder / "right.xlsx")], arguments.repeats),
                "100 rows, wrong": seconds(["check", str(folder / "wrong.xlsx")], arguments.repeats),
                "2,000 rows, correct": seconds(["check", str(folder / "long.xlsx")], arguments.repeats),
                f"class of {CLASS}": seconds(["check", str(files)], arguments.repeats),
            },
            "outcomes": outcomes(arguments.sheets, random.Random(2029).randrange(10**6), folder),
        }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
