"""How long the commands take as a user meets them: whole processes, timed from outside.

Run ``python benchmarks/workbook.py``. Every command is run in turn, round after round, so that whatever
else the machine does meets all of them alike. The time of a bare interpreter is measured in the same
rounds and reported beside them. The alternative writes the same workbook through XlsxWriter's ordinary
worksheet, which looks through every formula for newer functions.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from gradsheet.environment import describe

RESULTS = Path(__file__).parent.parent / "results" / "workbook.json"
ORDINARY = """
import sys
from xlsxwriter.worksheet import Worksheet
from gradsheet.backends import workbook_cells
workbook_cells.PlainWorksheet = Worksheet
from gradsheet.cli import main
sys.argv[0] = "gradsheet"
main()
"""


def run(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of a finished process."""
    start = perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = perf_counter() - start
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    gradsheet = [sys.executable, "-m", "gradsheet"]
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "seed.xlsx")
        write = ["workbook", "seed", "--out", target, "--steps"]
        commands = {
            "interpreter": [sys.executable, "-c", "pass"],
            "help": [*gradsheet, "--help"],
            "100 steps": [*gradsheet, *write, "100"],
            "10,000 steps": [*gradsheet, *write, "10000"],
            "10,000 steps, ordinary worksheet": [sys.executable, "-c", ORDINARY, *write, "10000"],
            "verify 100 steps": [*gradsheet, "verify", target],
        }
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for repeat in range(repeats + 1):
            for name, command in commands.items():
                if name.startswith("verify"):
                    run(commands["100 steps"])
                measured = run(command)
                if repeat > 0:  # the first round warms the file cache
                    runs[name].append(measured)
    results = {
        name: {
            "mean_seconds": statistics.mean(seconds for seconds, _ in measured),
            "standard_deviation": statistics.stdev(seconds for seconds, _ in measured),
            "least_seconds": min(seconds for seconds, _ in measured),
            "peak_megabytes": max(memory for _, memory in measured),
            "n": len(measured),
        }
        for name, measured in runs.items()
    }
    print(f"{'command':<34} {'mean':>8} {'± s.d.':>8} {'least':>8} {'peak MB':>8}")
    for name, result in results.items():
        print(
            f"{name:<34} {result['mean_seconds']:>7.3f}s {result['standard_deviation']:>7.3f}s "
            f"{result['least_seconds']:>7.3f}s {result['peak_megabytes']:>8.0f}"
        )
    environment = describe("gradsheet", "numpy", "XlsxWriter", "ironcalc", "torch")
    RESULTS.write_text(json.dumps({"commands": results, "environment": environment}, indent=1) + "\n")


if __name__ == "__main__":
    main()
