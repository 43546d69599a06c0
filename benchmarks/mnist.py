"""How well and how fast the CNN trains: the only source of the MNIST numbers in README and docs.

``python benchmarks/mnist.py runs best --seeds 5`` trains with a recipe from seeds 0 to 4, on all 60,000
training images, and scores every run once, at its last epoch, on the 10,000 test images. With
``--hold-out`` it trains on 55,000 and scores the other 5,000 too: that is how recipes are compared.
``python benchmarks/mnist.py speed`` times an epoch against two common ways to write the same training;
the three take turns, so that whatever else the machine does meets all of them alike. Both replace what
they measured before in results/mnist.json. Let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from gradsheet.environment import describe
from gradsheet.files import replacing
from gradsheet.mnist import runs
from gradsheet.mnist.model import Net, train
from gradsheet.mnist.recipes import RECIPES
from gradsheet.mnist.splits import MEAN, STANDARD_DEVIATION, Split
from gradsheet.mnist.utils import Batches, prepare_mnist

RESULTS = Path(__file__).parent.parent / "results" / "mnist.json"
PUBLISHED = 0.9939  # the course's figure, measured on the 60,000 images that it had trained on


class PerSample(Dataset):
    """The usual way: every image on its own through Pillow, as the course's transforms did.

    Rotation by up to 15°; one image in ten is cut to its central 22 pixels and enlarged again.
    """

    def __init__(self, split: Split) -> None:
        self.images, self.labels = split.images.numpy(), split.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.images[index])
        if random.random() < 0.1:
            image = image.crop((3, 3, 25, 25))
        image = image.resize((28, 28), Image.Resampling.BILINEAR)
        image = image.rotate(random.uniform(-15, 15))
        pixels = torch.from_numpy(np.array(image)).unsqueeze(0).float() / 255
        return (pixels - MEAN) / STANDARD_DEVIATION, self.labels[index]


def per_sample(split: Split, batch_size: int, batches: int) -> float:
    """Images a second of the usual training loop in float32; the start of the workers is not counted."""
    model = Net(dropout=0.1).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = iter(DataLoader(PerSample(split), batch_size, shuffle=True, num_workers=2))
    next(loader)
    start = perf_counter()
    for _ in range(batches):
        images, labels = next(loader)
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return batches * batch_size / (perf_counter() - start)


def ours(split: Split) -> float:
    """Images a second of one whole epoch of the recipe `best`, distortions included."""
    recipe = replace(RECIPES["best"], epochs=1)
    history = train(runs.new_model(recipe, 0), Batches(split, recipe, 0), recipe, progress=False)
    return history.images_per_second[0]


def speed(repeats: int) -> dict[str, Any]:
    split = prepare_mnist().all_training
    ways = {
        "gradsheet": lambda: ours(split),
        "course's way": lambda: per_sample(split, 16, 500),
        "classic way": lambda: per_sample(split, 64, 150),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, way in ways.items():
            found[name].append(way())
            print(f"{repeat + 1}/{repeats} {name}: {found[name][-1]:,.0f} images/s", flush=True)
    summary: dict[str, Any] = {
        "what": "images a second, trained; n interleaved repeats; an epoch has 60,000 images",
        "n": repeats,
        "environment": describe("torch", "pillow", "gradsheet"),
        "ways": {},
    }
    for name, values in found.items():
        ratios = [own / value for own, value in zip(found["gradsheet"], values, strict=True)]
        summary["ways"][name] = {
            "images_per_second": [round(value, 1) for value in values],
            "mean": statistics.mean(values),
            "standard_deviation": statistics.stdev(values) if repeats > 1 else 0.0,
            "epoch_seconds": 60_000 / statistics.mean(values),
            "mean_ratio": statistics.mean(ratios),
            "least_ratio": min(ratios),
        }
    return summary


def run(name: str, seed: int, hold_out: bool, keep: Path | None) -> dict[str, Any]:
    mnist = prepare_mnist()
    result = runs.run(mnist, RECIPES[name], seed=seed, all_training=not hold_out)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        for path in runs.write(result, mnist, keep):
            print(f"wrote {path}")
    return runs.measured(result)


def load() -> dict[str, Any]:
    if RESULTS.exists():
        found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
        return found
    return {"published_accuracy_on_training_images": PUBLISHED, "runs": [], "speed": None}


def save(results: dict[str, Any]) -> None:
    with replacing(RESULTS) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runs_parser = commands.add_parser("runs", help="train with a recipe from several seeds")
    runs_parser.add_argument("recipe", choices=list(RECIPES))
    runs_parser.add_argument("--seeds", type=int, default=1, help="train from seeds 0 to SEEDS - 1")
    runs_parser.add_argument("--first", type=int, default=0, help="begin with this seed")
    runs_parser.add_argument("--hold-out", action="store_true", help="keep 5,000 for validation")
    runs_parser.add_argument("--keep", type=Path, help="folder for all files of the first run")
    speed_parser = commands.add_parser("speed", help="time an epoch against two common ways")
    speed_parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()

    if given.command == "speed":
        save({**load(), "speed": speed(given.repeats)})
        return
    for seed in range(given.first, given.seeds):
        keep = given.keep if seed == given.first else None
        measured = run(given.recipe, seed, given.hold_out, keep)
        print(json.dumps(measured))
        results = load()
        others = [one for one in results["runs"] if _key(one) != _key(measured)]
        save({**results, "runs": sorted([*others, measured], key=_key)})


def _key(measured: dict[str, Any]) -> tuple[str, str, int]:
    return measured["recipe"], measured["trained_on"], measured["seed"]


if __name__ == "__main__":
    main()
