"""How long a learning-rate sweep takes: gradsheet, an ordinary PyTorch loop, and a plain NumPy loop.

Run ``python benchmarks/sweep.py``. The three take turns, so that whatever else the machine does meets
all of them alike. The loops train one learning rate after another, a run costs the same whatever its
rate, so they are timed on a few rates and their time is scaled up linearly. That all three reach the
same final losses is checked in every repeat.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from gradsheet.environment import describe
from gradsheet.examples import EXAMPLES
from gradsheet.network import Network
from gradsheet.sweep import sweep

RESULTS = Path(__file__).parent.parent / "results" / "sweep.json"
TOLERANCE = 1e-15  # the losses are at most 0.015, and the steps contract: only a few roundings add up


def pytorch_loop(network: Network, rates: np.ndarray, steps: int) -> np.ndarray:
    """Final losses, trained the way a course teaches it: a module, SGD, one learning rate at a time."""
    inputs = torch.tensor(network.inputs, dtype=torch.float64)
    targets = torch.tensor(network.targets, dtype=torch.float64)
    final = []
    for rate in rates:
        model = torch.nn.Sequential(
            torch.nn.Linear(2, 2, bias=False),
            torch.nn.Sigmoid(),
            torch.nn.Linear(2, 2, bias=False),
            torch.nn.Sigmoid(),
        ).double()
        with torch.no_grad():
            for linear, layer in zip((model[0], model[2]), network.layers, strict=True):
                linear.weight.copy_(torch.tensor(layer.weights, dtype=torch.float64))
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = 0.5 * ((targets - model(inputs)) ** 2).sum()
            loss.backward()
            optimizer.step()
        final.append(loss.item())
    return np.array(final)


def numpy_loop(network: Network, rates: np.ndarray, steps: int) -> np.ndarray:
    """Final losses, gradients written by hand with matrices, one learning rate at a time."""
    inputs, targets = np.array(network.inputs[0]), np.array(network.targets[0])
    final = []
    for rate in rates:
        hidden, output = (np.array(layer.weights) for layer in network.layers)
        for _ in range(steps):
            a_h = 1 / (1 + np.exp(-(hidden @ inputs)))
            a_o = 1 / (1 + np.exp(-(output @ a_h)))
            loss = 0.5 * np.sum((targets - a_o) ** 2)
            delta_o = (a_o - targets) * a_o * (1 - a_o)
            delta_h = (output.T @ delta_o) * a_h * (1 - a_h)
            output = output - rate * np.outer(delta_o, a_h)
            hidden = hidden - rate * np.outer(delta_h, inputs)
        final.append(loss)
    return np.array(final)


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = perf_counter()
    result = run()
    return perf_counter() - start, result


def faster_thread_count(network: Network, steps: int) -> dict[int, float]:
    """Seconds for two learning rates with one thread and with PyTorch's default; the faster is set."""
    seconds = {}
    pytorch_loop(network, np.array([0.5]), 100)  # the first steps load code
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        seconds[threads], _ = timed(lambda: pytorch_loop(network, np.array([0.5, 1.0]), steps))
    torch.set_num_threads(min(seconds, key=seconds.__getitem__))
    return seconds


def measure(rates: int, steps: int, repeats: int, subset: int) -> dict[str, Any]:
    network = EXAMPLES["seed"]
    grid = np.geomspace(0.01, 10, rates)
    chosen = np.unique(np.linspace(0, rates - 1, min(subset, rates)).astype(int))
    scale = rates / len(chosen)
    threads = faster_thread_count(network, steps)
    runs: dict[str, tuple[float, Callable[[], np.ndarray]]] = {
        "gradsheet": (1, lambda: sweep(network, grid, steps).final_losses[chosen, 0]),
        "PyTorch loop": (scale, lambda: pytorch_loop(network, grid[chosen], steps)),
        "NumPy loop": (scale, lambda: numpy_loop(network, grid[chosen], steps)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    worst = 0.0
    for _ in range(repeats):
        losses = {}
        for name, (factor, run) in runs.items():
            spent, losses[name] = timed(run)
            seconds[name].append(spent * factor)
        worst = max(worst, *(float(np.abs(x - losses["gradsheet"]).max()) for x in losses.values()))
    if not worst <= TOLERANCE:
        raise SystemExit(f"the final losses differ by {worst:g}, more than {TOLERANCE:g}")
    return {
        "what": f"{network.name} ({network.architecture}), {rates} learning rates, {steps} steps",
        "rates": rates,
        "steps": steps,
        "repeats": repeats,
        "rates_timed_in_loops": len(chosen),
        "loops_scaled_by": scale,
        "pytorch_threads": torch.get_num_threads(),
        "pytorch_seconds_by_threads": {str(count): spent for count, spent in threads.items()},
        "largest_difference_of_final_losses": worst,
        "runs": {name: _summary(values, seconds["gradsheet"]) for name, values in seconds.items()},
        "environment": describe("numpy", "torch", "gradsheet"),
    }


def _summary(seconds: list[float], ours: list[float]) -> dict[str, Any]:
    ratios = [theirs / own for theirs, own in zip(seconds, ours, strict=True)]
    return {
        "mean_seconds": statistics.mean(seconds),
        "standard_deviation": statistics.stdev(seconds) if len(seconds) > 1 else 0.0,
        "n": len(seconds),
        "mean_ratio": statistics.mean(ratios),
        "least_ratio": min(ratios),
        "seconds": seconds,
    }


def report(result: dict[str, Any]) -> str:
    environment = result["environment"]
    lines = [
        result["what"],
        f"{environment['processor']}, {environment['cores']} cores; Python {environment['python']}, "
        f"NumPy {environment['numpy']}, PyTorch {environment['torch']}",
        f"PyTorch with {result['pytorch_threads']} thread(s), the faster of "
        + ", ".join(f"{k}: {s:.3f} s" for k, s in result["pytorch_seconds_by_threads"].items()),
        f"Loops timed on {result['rates_timed_in_loops']} of the rates and scaled by "
        f"{result['loops_scaled_by']:g}; final losses equal within "
        f"{result['largest_difference_of_final_losses']:.1e}",
        "",
        f"{'':14}{'mean s':>10}{'sd':>9}{'n':>4}{'times gradsheet (mean)':>24}{'least':>8}",
    ]
    for name, run in result["runs"].items():
        lines.append(
            f"{name:14}{run['mean_seconds']:10.3f}{run['standard_deviation']:9.3f}{run['n']:4}"
            f"{run['mean_ratio']:24.0f}{run['least_ratio']:8.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--subset", type=int, default=20, help="learning rates that the loops train")
    arguments = parser.parse_args()
    result = measure(**vars(arguments))
    print(report(result))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
