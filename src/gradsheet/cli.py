"""The command line: reads flags, calls the public functions, prints. It holds no logic.

Heavy imports stand inside the commands, so that ``gradsheet --help`` starts at once.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradsheet import __version__
from gradsheet.check.commands import check
from gradsheet.errors import GradsheetError, InputError
from gradsheet.mnist.commands import mnist

if TYPE_CHECKING:
    from gradsheet.network import Network


class _Group(click.Group):
    """Prints an expected error as one sentence, without a traceback unless ``--debug`` is given."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except GradsheetError as error:
            if context.params.get("debug"):
                raise
            click.echo(f"Error: {error}", err=True)
            context.exit(error.exit_code)
        except MemoryError:
            if context.params.get("debug"):
                raise
            click.echo("Error: not enough memory; use fewer steps, rates, samples or neurons", err=True)
            context.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gradsheet")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Neural networks you can open in a spreadsheet, with every number proved right.

    Start with `gradsheet demo`. NETWORK is the name of an example (see `gradsheet examples`) or the path
    of a .toml file; with --data also of a model, .pt2 or .safetensors.
    """


STEPS = 100

_TRAINING_OPTIONS = [
    click.option("--steps", type=click.IntRange(2),
                 help=f"Iterations, one update each.  [default: {STEPS}]"),
    click.option("--epochs", type=click.IntRange(1),
                 help="In place of --steps: how often every sample is seen."),
]  # fmt: skip
_learning_rate = click.option(
    "--learning-rate", type=float, help="Learning rate η.  [default: the network's own]"
)
_NETWORK_OPTIONS = [
    click.argument("network", required=False),
    click.option("--optimizer", metavar="NAME", help="How the weights are updated: sgd, momentum, "
                 "nesterov, adagrad, rmsprop, adam, adamw or another of docs/optimizers.md.  "
                 "[default: the network's own]"),
    click.option("--schedule", metavar="NAME", help="How the learning rate changes: constant, step, "
                 "warmup or cosine.  [default: the network's own]"),
    click.option("--set", "settings", metavar="NAME=NUMBER", multiple=True,
                 help="A hyper-parameter, such as beta1=0.8; may be given several times."),
    click.option("--batch-size", type=click.IntRange(1),
                 help="Samples in a mini-batch, one an update.  [default: the network's own, or all]"),
    click.option("--shuffle", type=click.IntRange(0), metavar="SEED",
                 help="Deal the samples of batches shuffled from this seed, anew in every epoch."),
    click.option("--data", type=click.Path(path_type=Path), metavar="FILE.csv",
                 help="Samples of your own, for NETWORK or for a new network: see docs/data.md."),
    click.option("--target", metavar="COLUMNS", help="The columns of --data to be predicted."),
    click.option("--inputs", metavar="COLUMNS", help="Its inputs.  [default: all other columns]"),
    click.option("--classes", is_flag=True, help="The numbers in the target are names of classes."),
    click.option("--hidden", metavar="NEURONS", help="Hidden layers of the new network, such as 8 or "
                 "8,4; 0: none.  [default: 4]"),
    click.option("--activation", metavar="NAME", help="Their activation, or that of the layers of a "
                 ".safetensors.  [default: tanh]"),
    click.option("--loss", metavar="NAME", help="Its loss.  [default: by the kind of target]"),
    click.option("--seed", type=click.IntRange(0),
                 help="Draw its weights from this seed.  [default: 1]"),
]  # fmt: skip


def _options(options: list[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_network_options, _training_options = _options(_NETWORK_OPTIONS), _options(_TRAINING_OPTIONS)


def _with_data(
    network: str | None,
    data: Path | None,
    target: str | None,
    inputs: str | None,
    classes: bool,
    **new: Any,
) -> Network:
    """NETWORK, or one for the samples in a file; ``new`` describes it where there is no NETWORK."""
    from gradsheet.data import network_from
    from gradsheet.examples import find, find_table
    from gradsheet.model_files import is_model

    given = {name: value for name, value in new.items() if value is not None}
    if data is None:
        used = [*given, *(["target"] if target else []), *(["inputs"] if inputs else [])]
        if used or classes:
            raise InputError(f"--{[*used, 'classes'][0]}: is about --data FILE.csv; give that as well")
        return find(network or "seed")
    left_open = ("activation", "loss") if network is not None and is_model(Path(network)) else ()
    said = [name for name in given if name not in left_open]
    if network is not None and said:
        raise InputError(f"--{said[0]}: {network} says that itself; leave out one of the two")
    if target is None:
        raise InputError("--target: is missing; name the column of --data that is to be predicted")
    if "hidden" in given:
        given["hidden"] = _hidden(given["hidden"])
    table = None
    if network is not None:
        table = find_table(network, _columns(given.pop("activation", "")))
    chosen = _columns(inputs or "")
    return network_from(data, _columns(target), table, inputs=chosen, classes=classes, **given)


def _columns(text: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


def _hidden(text: str) -> list[int]:
    try:
        return [] if text.strip() == "0" else [int(number) for number in text.split(",")]
    except ValueError:
        example = "write neurons a layer, such as 8 or 8,4"
        raise InputError(f"--hidden: {text!r} is no list of whole numbers; {example}") from None


def _chosen_network(
    network: str | None,
    optimizer: str | None,
    schedule: str | None,
    settings: tuple[str, ...],
    batch_size: int | None,
    shuffle: int | None,
    **data: Any,
) -> Network:
    """The network that the options of `_NETWORK_OPTIONS` describe."""
    found = _with_data(network, **data)
    found = replace(
        found,
        batch_size=found.batch_size if batch_size is None else batch_size,
        shuffle_seed=found.shuffle_seed if shuffle is None else shuffle,
    )
    return found.learning(optimizer, schedule, _numbers(settings))


def _numbers(settings: tuple[str, ...]) -> dict[str, float]:
    """What --set gives, by name."""
    numbers = {}
    for setting in settings:
        name, _, number = setting.partition("=")
        try:
            numbers[name.strip()] = float(number)
        except ValueError:
            example = "write it as NAME=NUMBER, such as beta1=0.8"
            raise InputError(f"--set: {setting!r} gives no number; {example}") from None
    return numbers


def _count_steps(network: Network, steps: int | None, epochs: int | None) -> int:
    """How many iterations: as given, or as many as the epochs need."""
    if epochs is None:
        return STEPS if steps is None else steps
    if steps is not None:
        raise InputError("--epochs: --steps says how many iterations; leave out one of the two flags")
    return math.ceil(epochs * network.samples / network.slots)


_RATES_HELP = (
    "Learning rates, such as 0.1,0.5,2 or 1e-3:1e2:50log (50 from 1e-3 to 1e2, evenly in logarithm)."
)


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("out"), show_default=True,
              help="Folder for the files.")  # fmt: skip
def demo(out: Path) -> None:
    """Make a workbook and all that goes with it, and prove it.

    Writes the workbook of the course's network, its derivation and its loss curves, then recalculates
    the workbook and compares every number in it with PyTorch autograd.
    """
    from gradsheet import generate, verify

    for path in generate.demo(out):
        click.echo(f"wrote {path}")
    _report(verify.verify(out / generate.DEMO_WORKBOOK))


@main.command()
@click.option("--show", metavar="NAME", help="Print this example as TOML, to start a network from.")
@click.option("--mistakes", is_flag=True, help="List the mistakes for `gradsheet workbook --mistake`.")
def examples(show: str | None, mistakes: bool) -> None:
    """List the built-in networks, or print one as TOML."""
    from gradsheet.examples import EXAMPLES
    from gradsheet.network import to_toml

    if mistakes:
        from gradsheet.mistakes import MISTAKES

        for name, mistake in MISTAKES.items():
            click.echo(f"{name:<25} {mistake.description}")
    elif show is None:
        widest = max(map(len, EXAMPLES))
        for name, network in EXAMPLES.items():
            click.echo(f"{name:<{widest}} {network.architecture:<5} {network.description}")
    elif show in EXAMPLES:
        click.echo(to_toml(EXAMPLES[show]), nl=False)
    else:
        raise InputError(f"--show: {show!r} is no example; choose one of {', '.join(EXAMPLES)}")


@main.command()
@_network_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The file to write.  [default: NETWORK.xlsx, NETWORK-exercise.xlsx or NETWORK-mistake.xlsx]",
)
@_learning_rate
@_training_options
@click.option("--learning-rates", metavar="RATES", help=_RATES_HELP + "  [default: 0.1,0.2,0.5,0.8,1,2; "
              "beyond twelve weights 1/4, 1 and 4 times the learning rate]")  # fmt: skip
@click.option("--force", is_flag=True, help="Write a workbook of more than 500,000 formulas.")
@click.option("--exercise", is_flag=True,
              help="Leave formulas blank for a student to fill in.")  # fmt: skip
@click.option("--blank", metavar="GROUPS",
              help="What an exercise leaves blank, of forward,gradients,states,updates.  "
              "[default: gradients,updates]")  # fmt: skip
@click.option("--mistake", metavar="NAME",
              help="Plant a mistake to be found: see gradsheet examples --mistakes.")  # fmt: skip
def workbook(
    out: Path | None,
    learning_rate: float | None,
    steps: int | None,
    epochs: int | None,
    learning_rates: str | None,
    force: bool,
    exercise: bool,
    blank: str | None,
    mistake: str | None,
    **options: Any,
) -> None:
    """Write the live workbook of a network.

    Every forward value, loss, partial derivative and weight update is a formula, one row per iteration.
    An exercise or a workbook with a mistake has the table alone, without the sheets that would give
    the answers away.
    """
    from gradsheet import generate
    from gradsheet.sweep import parse_learning_rates

    found = _chosen_network(**options)
    steps = _count_steps(found, steps, epochs)
    exercise = exercise or blank is not None
    if exercise and mistake is not None:
        raise InputError("--mistake: an exercise holds no mistake; leave out one of the two flags")
    if learning_rates is not None and (exercise or mistake is not None):
        raise InputError("--learning-rates: an exercise or a mistake compares none; leave the flag out")
    common: dict[str, Any] = {"learning_rate": learning_rate, "steps": steps, "force": force}
    kind = "-exercise" if exercise else "" if mistake is None else "-mistake"
    out = out or Path(f"{Path(options['data'] or options['network'] or 'seed').stem}{kind}.xlsx")
    if exercise:
        groups = generate.BLANK if blank is None else [group.strip() for group in blank.split(",")]
        generate.write_exercise(found, out, blank=groups, **common)
    elif mistake is not None:
        generate.write_mistake(found, out, mistake, **common)
    if kind:
        click.echo(f"wrote {out}")
        return
    rates = None if learning_rates is None else parse_learning_rates(learning_rates)
    plan = generate.write_workbook(found, out, learning_rates=rates, **common)
    click.echo(f"wrote {out} ({plan.formulas:,} formulas)")
    if generate.is_large(plan):
        click.echo("Note: a workbook of this size opens and recalculates slowly.", err=True)


@main.command()
@_network_options
@click.option("--out", type=click.Path(path_type=Path), default=Path("derivation.md"), show_default=True,
              help="The file to write: .md, .tex or .html.")  # fmt: skip
@_learning_rate
def derive(out: Path, learning_rate: float | None, **options: Any) -> None:
    """Write out the derivation: every ∂E/∂w by the chain rule, with the numbers of the first step."""
    from gradsheet import generate

    generate.write_derivation(_chosen_network(**options), out, learning_rate=learning_rate)
    click.echo(f"wrote {out}")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--engine", type=click.Choice(["ironcalc", "libreoffice", "both"]), default="ironcalc",
              show_default=True, help="The spreadsheet engine that recalculates.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def verify(file: Path, engine: str, as_json: bool) -> None:
    """Prove a workbook: recalculate it and compare every number with PyTorch.

    FILE is a workbook that gradsheet wrote, edited or not. It is calculated as it stands, and again with
    every input cell changed; a network that reads digits, with other images and other weights. Exit code
    0: all equal; 1: some differ; 2: the file cannot be used.
    """
    from gradsheet import verify as verifier

    engines = tuple(verifier.ENGINES) if engine == "both" else (engine,)
    verdict = verifier.verify(file, engines)
    if as_json:
        click.echo(json.dumps(verifier.to_json(verdict), indent=2, ensure_ascii=False))
        sys.exit(0 if verdict.proved else 1)
    _report(verdict)


@main.command()
@_network_options
@click.option("--learning-rates", metavar="RATES", help=_RATES_HELP + "  [default: 0.1,0.2,0.5,0.8,1,2]")
@click.option("--optimizers", metavar="NAMES", help="Compare these, such as sgd,momentum,adam.")
@_training_options
@click.option("--seeds", type=click.IntRange(0), default=0, show_default=True, metavar="K",
              help="Train from K random draws of the weights; 0: from the given weights.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("sweep.csv"), show_default=True,
              help="The table to write.")  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path),
              help="A picture to draw as well: .png, .svg or .pdf.")  # fmt: skip
@click.option("--workbook", "sheet", type=click.Path(path_type=Path), metavar="FILE",
              help="A live workbook of the --optimizers, each with its best learning rate.")  # fmt: skip
def sweep(
    learning_rates: str | None,
    optimizers: str | None,
    steps: int | None,
    epochs: int | None,
    seeds: int,
    out: Path,
    plot: Path | None,
    sheet: Path | None,
    **options: Any,
) -> None:
    """Train with many learning rates at once: a table of losses, and a picture.

    Up to 12 rates give whole loss curves; thousands give the final loss of each, with the critical
    learning rate 2/λmax drawn in. Several optimizers give a line each, and a workbook if you like.
    """
    from gradsheet import generate, plots, sweep
    from gradsheet.files import check_target

    numbers = {}
    if optimizers is not None:  # each takes those that it knows
        numbers = _numbers(options.pop("settings"))
        options["settings"] = ()
    found = _chosen_network(**options)
    steps = _count_steps(found, steps, epochs)
    given = None if learning_rates is None else sweep.parse_learning_rates(learning_rates)
    check_target(out)  # what cannot be written is told before the work, not after it
    if plot is not None:
        plots.picture_format(plot)
        check_target(plot)
    data = options["data"]
    if data is not None and out.resolve() == data.resolve():
        raise InputError(
            f"--out: {out} holds the data, which would be lost; give the name of another file"
        )
    if sheet is not None:
        check_target(sheet, ".xlsx")
        if optimizers is None:
            raise InputError("--workbook: compares optimizers; name them, as --optimizers sgd,adam")
    if optimizers is not None:
        if options["optimizer"] is not None:
            raise InputError("--optimizer: --optimizers names them all; leave out one of the two flags")
        names = [name.strip() for name in optimizers.split(",")]
        compared = None if sheet is None else generate.comparison(found, names, steps, numbers)
        rates = given or generate.LEARNING_RATES
        results = sweep.compare(found, names, rates, steps, seeds, numbers)
        sweep.write_comparison_csv(results, out)
        click.echo(f"wrote {out}")
        if plot is not None:
            plots.plot_comparison(results, plot)
            click.echo(f"wrote {plot}")
        if sheet is not None and compared is not None:
            best = [one.best_rate or float(min(one.learning_rates)) for one in results.values()]
            generate.write_comparison(compared, sheet, best)
            click.echo(f"wrote {sheet} ({compared.formulas:,} formulas)")
        click.echo(sweep.comparison_summary(results))
        return
    result = sweep.sweep(found, given or generate.LEARNING_RATES, steps, seeds)
    sweep.write_csv(result, out)
    click.echo(f"wrote {out}")
    if plot is not None:
        plots.plot_sweep(result, plot)
        click.echo(f"wrote {plot}")
    click.echo(sweep.summary(result))


main.add_command(check)
main.add_command(mnist)


def _report(verdict: Any) -> None:
    from gradsheet.verify import to_text

    click.echo(to_text(verdict))
    if not verdict.proved:
        sys.exit(1)
