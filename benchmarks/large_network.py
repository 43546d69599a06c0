"""How long a larger network takes: a 4-8-3 on a batch of 10 over 100 iterations, written and proved.

Run ``python benchmarks/large_network.py``. Whole processes are timed from outside, round after round;
what they need to start (the modules that they load) is measured in the same rounds and reported beside.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path

from gradsheet.backends.workbook_layout import Plan
from gradsheet.compiler import compile_network
from gradsheet.environment import describe
from gradsheet.generate import default_rates
from gradsheet.network import Network, parse, to_toml
from workbook import run  # the benchmark beside this one

RESULTS = Path(__file__).parent.parent / "results" / "large_network.json"
STEPS = 100


def network() -> Network:
    """4-8-3, tanh, softmax cross-entropy, ten samples drawn from a fixed seed."""
    generator = random.Random(0)
    inputs = [[round(generator.gauss(0, 1), 2) for _ in range(4)] for _ in range(10)]
    return parse(f"""
name = "4-8-3"
loss = "softmax_cross_entropy"
learning_rate = 0.1
seed = 1
inputs = {inputs}
targets = {[k % 3 for k in range(10)]}

[[layers]]
neurons = 8
activation = "tanh"
biases = true

[[layers]]
neurons = 3
activation = "identity"
biases = true
""")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    gradsheet, measured = [sys.executable, "-m", "gradsheet"], network()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "network.toml", Path(folder) / "network.xlsx"
        source.write_text(to_toml(measured), encoding="utf-8")
        write = ["workbook", str(source), "--steps", str(STEPS), "--out", str(target)]
        commands = {
            "write, start": [sys.executable, "-c", "import gradsheet.cli, gradsheet.generate"],
            "write": [*gradsheet, *write],
            "verify, start": [
                sys.executable,
                "-c",
                "import gradsheet.cli, gradsheet.verify, gradsheet.backends.autograd",
            ],
            "verify": [*gradsheet, "verify", str(target)],
        }
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for repeat in range(repeats + 1):
            for name, command in commands.items():
                found = run(command)
                if repeat > 0:  # the first round warms the file cache
                    runs[name].append(found)
        size = target.stat().st_size / 1e6
    results = {
        name: {
            "mean_seconds": statistics.mean(seconds for seconds, _ in found),
            "standard_deviation": statistics.stdev(seconds for seconds, _ in found),
            "least_seconds": min(seconds for seconds, _ in found),
            "peak_megabytes": max(memory for _, memory in found),
            "n": len(found),
        }
        for name, found in runs.items()
    }
    plan = Plan(compile_network(measured), STEPS, len(default_rates(measured)))
    print(f"about {plan.formulas:,} formulas, {size:.1f} MB")
    for name, result in results.items():
        print(f"{name:<14} {result['mean_seconds']:.2f} ± {result['standard_deviation']:.2f} s")
    found = {
        "network": measured.summary,
        "formulas": plan.formulas,
        "megabytes": size,
        "commands": results,
        "environment": describe("gradsheet", "numpy", "XlsxWriter", "ironcalc", "torch"),
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
