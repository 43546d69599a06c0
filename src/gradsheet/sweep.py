"""Train one network with many learning rates, from given or from many drawn weights, all at once.

All runs of a sweep go through the same NumPy calls: a thousand learning rates cost little more than one.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradsheet.backends import arrays
from gradsheet.compiler import Program, compile_network
from gradsheet.errors import InputError
from gradsheet.expression import DIVERGENCE_LIMIT, Array
from gradsheet.files import replacing
from gradsheet.network import MAGNITUDE_LIMIT, Network
from gradsheet.progress import progress_bar

RATES_LIMIT = 1_000_000
STEPS_LIMIT = 1_000_000
SEEDS_LIMIT = 1_000

CURVES_LIMIT = 12
"""Up to so many learning rates a sweep keeps the losses of all iterations: more are not read apart."""

ROWS_LIMIT = 1_000_000
"""And up to so many losses, as many as a spreadsheet has rows to show them."""

CHUNK = 8192
"""Runs trained together: NumPy's overhead is spread thin, and the values still fit the cache."""


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Sweep:
    """What became of a network with each of R learning rates in each of S runs.

    ``seeds`` names the seeds from which the runs drew their weights; it is empty for the one run (S = 1)
    with the network's own weights. Iteration k shows the network before its k-th update, and the final
    loss is that of iteration ``steps``. Where mini-batches are dealt, losses are the smoothed ones, and
    the critical rates those of the first batch.

    A run has diverged in the first iteration whose loss reaches `DIVERGENCE_LIMIT` or is not finite;
    ``diverged_at`` holds that iteration, or 0. ``losses`` is None where it would be too large: beyond
    `CURVES_LIMIT` learning rates or `ROWS_LIMIT` losses.
    """

    network: Network
    steps: int
    seeds: tuple[int, ...]
    learning_rates: Array  # (R,)
    first_losses: Array  # (S,)
    final_losses: Array  # (R, S)
    lowest_losses: Array  # (R, S)
    diverged_at: np.ndarray[tuple[int, ...], np.dtype[np.int64]]  # (R, S)
    critical_rates: Array  # (S,): 2/λmax of each run's initial weights
    losses: Array | None  # (steps, R, S)

    @property
    def diverged(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Which runs have diverged, shape (R, S)."""
        return self.diverged_at > 0

    @property
    def critical_rate(self) -> float:
        """The critical learning rate: 2/λmax at the initial weights, the median over the runs."""
        return float(np.median(self.critical_rates))

    @property
    def typical_losses(self) -> Array:
        """Each learning rate's final loss, the median over its runs; infinite if diverged: (R,)."""
        return np.median(np.where(self.diverged, np.inf, self.final_losses), axis=1)

    @property
    def best_rate(self) -> float | None:
        """The learning rate with the lowest typical final loss; None where all diverged."""
        best = int(np.argmin(self.typical_losses))
        return float(self.learning_rates[best]) if np.isfinite(self.typical_losses[best]) else None


# ---------------------------------------------------------------- learning rates


def parse_learning_rates(text: str) -> tuple[float, ...]:
    """Read learning rates and ranges of them, separated by commas; repeats are left out.

    A range is ``start:stop:count``, both ends included: evenly spaced, or with ``log`` after the count
    spaced by equal factors.

    >>> parse_learning_rates("0.1, 0.5, 1:2:3")
    (0.1, 0.5, 1.0, 1.5, 2.0)
    >>> parse_learning_rates("0.01:100:5log")
    (0.01, 0.1, 1.0, 10.0, 100.0)

    Raises `InputError` for what is not a number, not a range, or not a usable learning rate.
    """
    rates: list[float] = []
    for entry in text.split(","):
        rates += _range(entry) if ":" in entry else [_number(entry)]
        if len(rates) > RATES_LIMIT:
            raise InputError(f"learning rates: more than {RATES_LIMIT:,} are given; give fewer")
    return checked_learning_rates(rates)


def checked_learning_rates(rates: Iterable[float]) -> tuple[float, ...]:
    """The learning rates in their order, repeats left out.

    Raises `InputError` unless there are 1 to `RATES_LIMIT` of them, all above 0 and none beyond
    `MAGNITUDE_LIMIT`.
    """
    unique = tuple(dict.fromkeys(map(float, rates)))
    if not 1 <= len(unique) <= RATES_LIMIT:
        raise InputError(f"learning rates: {len(unique):,} are given; give from 1 to {RATES_LIMIT:,}")
    for rate in unique:
        if not math.isfinite(rate):
            raise InputError(f"learning rate: {rate!r} is not finite; give a number such as 0.5")
        if rate <= 0:
            raise InputError(
                f"learning rate: {rate!r} must be greater than 0, or nothing is learnt; "
                "give a number such as 0.5"
            )
        if rate > MAGNITUDE_LIMIT:
            raise InputError(
                f"learning rate: {rate!r} is beyond {MAGNITUDE_LIMIT:g}, where a sheet overflows; "
                "give a smaller one"
            )
    return unique


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"learning rate: {text.strip()!r} is not a number; separate numbers such as 0.5 "
            "by single commas"
        ) from None


def _range(text: str) -> list[float]:
    match = re.fullmatch(r"([^:]*):([^:]*):\s*([0-9]{1,9})\s*(log|lin)?\s*", text)
    if match is None:
        raise InputError(
            f"learning rates: {text.strip()!r} is not a range; write start:stop:count, "
            "such as 0.1:2:20 or 0.001:100:50log"
        )
    start, stop = checked_learning_rates([_number(match[1])]) + checked_learning_rates(
        [_number(match[2])]
    )
    count = int(match[3])
    if not 2 <= count <= RATES_LIMIT:
        raise InputError(
            f"learning rates: the range {text.strip()!r} counts {count:,} rates; "
            f"give a count from 2 to {RATES_LIMIT:,}"
        )
    if start >= stop:
        raise InputError(
            f"learning rates: the range {text.strip()!r} does not rise; put the smaller end first"
        )
    spaced = np.geomspace if match[4] == "log" else np.linspace
    return [float(rate) for rate in spaced(start, stop, count)]


# ---------------------------------------------------------------- training


def sweep(
    network: Network | Program,
    learning_rates: Sequence[float] | Array,
    steps: int,
    seeds: int = 0,
) -> Sweep:
    """Train a network for ``steps`` iterations with every learning rate.

    Each learning rate is run once from the network's own weights or, with ``seeds`` = K, K times from
    weights drawn from the seeds 1 to K. Runs are trained `CHUNK` at a time and only what `Sweep` holds
    is kept, so memory does not grow with ``steps``.

    Raises `InputError` for learning rates, steps or seeds out of range.
    """
    program = network if isinstance(network, Program) else compile_network(network)
    rates = np.array(checked_learning_rates(learning_rates))
    _check_count(steps, "steps", 1, STEPS_LIMIT)
    _check_count(seeds, "seeds", 0, SEEDS_LIMIT)
    starts = _starts(program, seeds)
    runs = max(seeds, 1)

    # One batch entry per pair of learning rate and run, in the order of the results: (R, S) flattened.
    pairs = len(rates) * runs
    losses = None
    if len(rates) <= CURVES_LIMIT and steps * pairs <= ROWS_LIMIT:
        losses = np.empty((steps, pairs))
    final = np.empty(pairs)
    lowest = np.full(pairs, np.inf)
    diverged_at = np.zeros(pairs, dtype=np.int64)
    for chunk, step, loss in _train_in_chunks(program, rates, starts, runs, steps):
        if losses is not None:
            losses[step - 1, chunk] = loss
        final[chunk] = loss
        lowest[chunk] = np.fmin(lowest[chunk], loss)  # fmin, because a diverged run may give NaN
        newly = (diverged_at[chunk] == 0) & ~(loss < DIVERGENCE_LIMIT)
        diverged_at[chunk][newly] = step
    first = arrays.evaluate_all(program, starts)[program.loss]
    critical = [
        arrays.critical_learning_rate(program, {name: values[run] for name, values in starts.items()})
        for run in range(runs)
    ]
    return Sweep(
        network=program.network,
        steps=steps,
        seeds=tuple(range(1, seeds + 1)),
        learning_rates=rates,
        first_losses=first,
        final_losses=final.reshape(-1, runs),
        lowest_losses=lowest.reshape(-1, runs),
        diverged_at=diverged_at.reshape(-1, runs),
        critical_rates=np.array(critical),
        losses=None if losses is None else losses.reshape(steps, -1, runs),
    )


def compare(
    network: Network,
    optimizers: Sequence[str],
    learning_rates: Sequence[float] | Array,
    steps: int,
    seeds: int = 0,
    settings: Mapping[str, float] | None = None,
) -> dict[str, Sweep]:
    """One `sweep` for each of the networks that are `compared`."""
    networks = compared(network, optimizers, settings)
    return {name: sweep(one, learning_rates, steps, seeds) for name, one in networks.items()}


def compared(
    network: Network, optimizers: Sequence[str], settings: Mapping[str, float] | None = None
) -> dict[str, Network]:
    """The network with each of the optimizers, its schedule, and those of the settings that it knows.

    Raises `NetworkError` for an unknown optimizer, and for a setting that is out of range or unknown to
    all of them.
    """
    given = dict(settings or {})
    networks = {name: network.learning(name) for name in dict.fromkeys(optimizers)}
    for name, one in networks.items():
        own = {key: value for key, value in given.items() if key in one.known_settings}
        networks[name] = one.learning(settings=own)
    strangers = [key for key in given if not any(key in n.known_settings for n in networks.values())]
    for key in strangers:
        networks[optimizers[0]].learning(settings={key: given[key]})  # raises, and names who knows it
    return networks


def _train_in_chunks(
    program: Program, rates: Array, starts: dict[str, Array], runs: int, steps: int
) -> Iterator[tuple[slice, int, Array]]:
    """Yield the losses of a slice of all pairs (learning rate, run), chunk by chunk, step by step."""
    pairs = len(rates) * runs
    chunks = [slice(start, min(start + CHUNK, pairs)) for start in range(0, pairs, CHUNK)]
    with progress_bar(total=steps * len(chunks), desc="sweep", unit="step", delay=1, leave=False) as bar:
        for chunk in chunks:
            rate_of, run_of = np.divmod(np.arange(chunk.start, chunk.stop), runs)
            inputs = {name: values[run_of] for name, values in starts.items()}
            iterations = arrays.iterations(program, steps, rates[rate_of], inputs=inputs)
            for step, values in enumerate(iterations, 1):
                yield chunk, step, values[program.shown_loss]
                bar.update()


def _starts(program: Program, seeds: int) -> dict[str, Array]:
    """Data and initial parameters by name, one value per run: shape (S,)."""
    network = program.network
    networks = [network.redrawn(seed) for seed in range(1, seeds + 1)] or [network]
    names = [quantity.name for quantity in program.of_role("parameter")]
    drawn = np.array([_parameters(one) for one in networks])
    given = {name: np.full(len(networks), value) for name, value in program.initial.items()}
    return given | dict(zip(names, drawn.T, strict=True))


def _parameters(network: Network) -> list[float]:
    """Weights and biases in the order of the program: by layer, weights first."""
    return [value for layer in network.layers for row in (*layer.weights, layer.biases) for value in row]


def _check_count(value: int, what: str, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{what}: {value!r} is not a whole number from {least} to {most:,}; give one")


# ---------------------------------------------------------------- reports


def summary(sweep: Sweep) -> str:
    """What a sweep found, in a few lines: best rate, critical rate, and how many runs diverged."""
    dealt = sweep.network.batch_size is not None
    of_batch = ", of the first batch" if dealt else ""
    if sweep.best_rate is None:
        best = "none, because all diverged"
    else:
        best = (
            f"{sweep.best_rate:.6g}, with a {_typical_loss(sweep)} of {sweep.typical_losses.min():.6g}"
        )
    critical = f"{sweep.critical_rate:.6g}" if math.isfinite(sweep.critical_rate) else "none"
    lines = [
        f"best learning rate: {best} at iteration {sweep.steps:,}",
        f"critical learning rate: {critical} (2/λmax at the initial weights{of_batch})",
        f"diverged: {sweep.diverged.sum():,} of {sweep.diverged.size:,} runs",
    ]
    if sweep.diverged.any():
        least = sweep.learning_rates[sweep.diverged.any(axis=1)].min()
        lines[-1] += f", the smallest learning rate among them is {least:.6g}"
    return "\n".join(lines)


def _typical_loss(sweep: Sweep) -> str:
    """What the typical losses of a sweep are."""
    final = "final loss" if sweep.network.batch_size is None else "final smoothed loss"
    return f"median {final}" if sweep.seeds else final


def comparison_summary(sweeps: Mapping[str, Sweep]) -> str:
    """One line per optimizer: its best learning rate and the loss that this reaches."""
    lines = []
    for name, one in sweeps.items():
        found = "all diverged"
        if one.best_rate is not None:
            typical = f"{_typical_loss(one)} {one.typical_losses.min():.6g}"
            found = f"best learning rate {one.best_rate:.6g}, {typical}"
        lines.append(f"{name:<{max(map(len, sweeps))}}  {found}")
    return "\n".join(lines)


def write_csv(sweep: Sweep, path: Path) -> None:
    """Write a sweep as CSV; ``seed`` is empty where the network's own weights were used.

    Where the sweep keeps the losses of all iterations (up to `CURVES_LIMIT` learning rates), a row is an
    iteration: ``learning_rate,seed,iteration,loss,diverged``, where diverged is true from the iteration
    on in which the run diverged. Otherwise a row is a run:
    ``learning_rate,seed,first_loss,lowest_loss,final_loss,diverged_at``, the last empty where the run
    did not diverge. Numbers are written so that they read back exactly.

    Raises `InputError` when the file cannot be written.
    """
    _write(path, (), [((), sweep)])


def write_comparison_csv(sweeps: Mapping[str, Sweep], path: Path) -> None:
    """Write sweeps of several optimizers as `write_csv` does one, with ``optimizer`` as first column."""
    _write(path, ("optimizer",), [((name,), sweep) for name, sweep in sweeps.items()])


def _write(path: Path, header: tuple[str, ...], sweeps: Iterable[tuple[tuple[str, ...], Sweep]]) -> None:
    written = False
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for first, sweep in sweeps:
            names = ["learning_rate", "seed", "iteration", "loss", "diverged"]
            rows = _run_rows(sweep) if sweep.losses is None else _iteration_rows(sweep, sweep.losses)
            if sweep.losses is None:
                names[2:] = ["first_loss", "lowest_loss", "final_loss", "diverged_at"]
            if not written:
                writer.writerow([*header, *names])
                written = True
            writer.writerows((*first, *row) for row in rows)


def _run_rows(sweep: Sweep) -> Iterator[tuple[object, ...]]:
    columns = (sweep.lowest_losses, sweep.final_losses, sweep.diverged_at)
    for rate, *results in zip(
        sweep.learning_rates.tolist(), *(c.tolist() for c in columns), strict=True
    ):
        for seed, *values, diverged_at in zip(
            sweep.seeds or ("",), sweep.first_losses.tolist(), *results, strict=True
        ):
            yield rate, seed, *values, diverged_at or ""


def _iteration_rows(sweep: Sweep, losses: Array) -> Iterator[tuple[object, ...]]:
    for r, rate in enumerate(sweep.learning_rates.tolist()):
        for s, seed in enumerate(sweep.seeds or ("",)):
            diverged_at = int(sweep.diverged_at[r, s]) or math.inf
            for iteration, loss in enumerate(losses[:, r, s].tolist(), 1):
                yield rate, seed, iteration, loss, "true" if iteration >= diverged_at else "false"
