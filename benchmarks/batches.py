"""Is the recalculated sheet what torch.optim makes of every optimizer, schedule and batch mode?

Run ``python benchmarks/batches.py``; it writes results/batches.json. Each training is 50 steps of 2-3-1
on the four samples of exclusive or: full batch, batches of 3 in order, and batches of 3 shuffled.
"""

from __future__ import annotations

import json
import sys
import tempfile
from itertools import product
from pathlib import Path

from gradsheet.environment import describe
from gradsheet.optimizers import OPTIMIZERS, SCHEDULES
from gradsheet.progress import progress_bar

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from test_batches import MODES, largest_difference

RESULTS = Path(__file__).parent.parent / "results" / "batches.json"
STEPS = 50


def main() -> None:
    differences = {}
    combinations = list(product(OPTIMIZERS, SCHEDULES, MODES))
    with tempfile.TemporaryDirectory() as folder, progress_bar(total=len(combinations)) as bar:
        for combination in combinations:
            found = largest_difference(Path(folder), *combination, "ironcalc", STEPS)
            differences[", ".join(combination)] = found
            bar.update()
    worst = max(differences, key=lambda name: differences[name])
    result = {
        "what": "weights, losses and smoothed losses of every row against torch.optim: the largest "
        "relative difference (to 1e-3 at least)",
        "engine": "ironcalc",
        "steps": STEPS,
        "combinations": len(differences),
        "largest": differences[worst],
        "largest_in": worst,
        "differences": differences,
        "environment": describe("torch", "ironcalc", "gradsheet"),
    }
    print(f"{len(differences)} trainings of {STEPS} steps; largest: {differences[worst]:.1e}, {worst}")
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
