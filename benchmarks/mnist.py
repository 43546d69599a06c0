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
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

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
    """The usual way: each image on its own through a list of transforms, as the course did it.

    Rotation by up to 15°; one image in ten is cut to its central 22 pixels and enlarged again. The
    transforms do step by step what torchvision's do with the same names.
    """

    def __init__(self, split: Split) -> None:
        self.images, self.labels = split.images, split.labels.tolist()
        self.transforms = [random_centre_crop, resize, random_rotation, to_tensor, normalize]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image: Any = Image.fromarray(self.images[index].numpy())
        for transform in self.transforms:
            image = transform(image)
        return image, self.labels[index]


def random_centre_crop(image: Image.Image) -> Image.Image:
    return image.crop((3, 3, 25, 25)) if torch.rand(1).item() < 0.1 else image


def resize(image: Image.Image) -> Image.Image:
    return image.resize((28, 28), Image.Resampling.BILINEAR)


def random_rotation(image: Image.Image) -> Image.Image:
    angle = float(torch.empty(1).uniform_(-15, 15).item())
    return image.rotate(angle, Image.Resampling.NEAREST, fillcolor=0)


def to_tensor(image: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(28, 28, 1)
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    mean, deviation = torch.as_tensor((MEAN,)), torch.as_tensor((STANDARD_DEVIATION,))
    return pixels.clone().sub_(mean.view(-1, 1, 1)).div_(deviation.view(-1, 1, 1))


def per_sample(split: Split, batch_size: int, batches: int) -> float:
    """Images a second of the usual training loop in float32, with its progress bar.

    The start of the two worker processes is not counted.
    """
    model = Net(dropout=0.1).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = iter(DataLoader(PerSample(split), batch_size, shuffle=True, num_workers=2))
    next(loader)
    hits = seen = 0
    start = perf_counter()
    with tqdm(total=batches, leave=False) as bar:
        for _ in range(batches):
            images, labels = next(loader)
            optimizer.zero_grad()
            logits = model(images)
            loss = functional.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            hits += (logits.argmax(1) == labels).sum().item()
            seen += len(labels)
            bar.set_description(
                f"loss={loss.item():.4f} accuracy={100 * hits / seen:.2f}", refresh=False
            )
            bar.update()
    return seen / (perf_counter() - start)


def ours(split: Split) -> float:
    """Images a second of one whole epoch of the recipe `best`, distortions included.

    It is the second epoch: the first steps, which load code, do not count in the other ways either.
    """
    recipe = replace(RECIPES["best"], epochs=2)
    history = train(runs.new_model(recipe, 0), Batches(split, recipe, 0), recipe, progress=False)
    return history.images_per_second[1]


WAYS: dict[str, Callable[[Split], float]] = {
    "gradsheet": ours,
    "course's way": lambda split: per_sample(split, 16, 750),
    "classic way": lambda split: per_sample(split, 64, 200),
}


def in_a_process_of_its_own(way: str) -> float:
    """Images a second, as a user's own script would have it: nothing that ran before has an effect."""
    command = [sys.executable, __file__, "way", way]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(run.stdout)


def speed(repeats: int) -> dict[str, Any]:
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for repeat in range(repeats):
        for name in WAYS:
            found[name].append(in_a_process_of_its_own(name))
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
    way_parser = commands.add_parser("way", help="time one of the ways; prints images a second")
    way_parser.add_argument("way", choices=list(WAYS))
    runs_parser = commands.add_parser("runs", help="train with a recipe from several seeds")
    runs_parser.add_argument("recipe", choices=list(RECIPES))
    runs_parser.add_argument("--seeds", type=int, default=1, help="train from seeds 0 to SEEDS - 1")
    runs_parser.add_argument("--first", type=int, default=0, help="begin with this seed")
    runs_parser.add_argument("--hold-out", action="store_true", help="keep 5,000 for validation")
    runs_parser.add_argument("--keep", type=Path, help="folder for all files of the first run")
    speed_parser = commands.add_parser("speed", help="time an epoch against two common ways")
    speed_parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()

    if given.command == "way":
        print(WAYS[given.way](prepare_mnist().all_training))
        return
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
