"""Train networks for a given time, judge them, and write the files to keep.

``python -m training.train --seconds 560`` takes 560 seconds for everything: reading photos,
compiling, training and judging. The training goes on where the last training in the same folder
stopped, starts from ``--start-from WEIGHTS``, or starts anew. Several shapes share the time
equally, and the table at the end compares them. A GPU is used if there is one. Ctrl-C saves the
weights so far. ``training/README.md`` explains the recipe; `training.lent` runs this on a GPU
machine without a network.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from training import kept_files
from training.data import SHARED
from training.evaluate import aligned, judge_weights
from training.judging.judges import PARTS
from training.loop import AVERAGE, STATE, saved_when_stopped, train
from training.pool import POOLED, CropPool
from training.revive import revive
from training.synthesis.batches import BatchMaker, make_batch
from training.synthesis.plan import largest_scene
from training.synthesis.recipe import KERNEL, RECIPES
from training.synthesis.sources import Sources, read_sources
from training.trainer import COMPACT, SQUARED_ERROR_UNTIL, Trainer, initialise
from unblur.models.weights import load_network, save_network
from unblur.network.srn import SRN

SHAPES = {
    "compact": COMPACT,
    "deep": replace(COMPACT, levels=4, blocks=(1, 2, 3, 3)),
    "slim": replace(COMPACT, levels=4, width=24, blocks=(2, 3, 4, 4)),
}
"""Networks to compare: the present network; a network that works mainly on coarser levels, in a
file of 32 MB; and a narrower version of it at three quarters of the cost."""

RUNS = Path("training/runs")
FOLDERS = {"motion": RUNS / "next", "focus": RUNS / "focus"}
"""Default folder for the state of trainings, by recipe."""
JUDGED_BY = {"motion": ["oldest", "kinds", "lamps"], "focus": ["focus", "oldest"]}
"""Default parts of the judgement at the end, by recipe."""

HEAD_WEIGHTS = {"motion": 0.0, "focus": 0.15}
"""Default weights of the loss of `training.sharp_head`, by recipe. A sharp photo is hard to tell
from one that is out of focus by 1 px, but easy to tell from a moved one. The gradient of this loss
then has about 7 to 22 % of the length of the other losses' gradient."""

START = "start.safetensors"
"""File in a shape's folder with the weights at the start, after reviving dead units."""

LEAST_SECONDS = 1.0
"""Least time in seconds for training a shape, even if no time is left."""

SECONDS_BETWEEN_LOOKS = 0.2
"""Seconds between two looks for the file of ``--wait-for``."""


def make_trainer(options: argparse.Namespace, shape: str) -> Trainer:
    """Return a trainer of a new network.

    With ``--wait-for``, compile the step, and wait until that file exists.

    Args:
        options: Options of the command line.
        shape: One of `SHAPES`.
    """
    torch.manual_seed(options.seed)
    network = SRN(SHAPES[shape])
    initialise(network)
    trainer = Trainer(network.to(options.device), 1.0, options.lr, options.head_weight)
    if options.wait_for:
        crops = options.batch, 3, options.crop, options.crop
        print(f"Compiling for {name_of(options.device)}", flush=True)
        trainer.prepare(torch.zeros(crops, dtype=torch.uint8, device=options.device))
        print(f"Ready; waiting for {options.wait_for}", flush=True)
        while not options.wait_for.exists():
            time.sleep(SECONDS_BETWEEN_LOOKS)
    return trainer


def name_of(device: torch.device) -> str:
    """Return the name of a GPU, or the type of another device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def begin(
    options: argparse.Namespace, shape: str, trainer: Trainer, folder: Path, sources: Sources
) -> None:
    """Go on from a folder's state, start from weights, or keep a new network.

    Args:
        options: Options of the command line.
        shape: One of `SHAPES`.
        trainer: The trainer of a new network of this shape.
        folder: Folder that may contain a state.
        sources: Sources of blurred crops for finding dead units.
    """
    if options.start_from:
        network = load_network(options.start_from)
        if network.config != SHAPES[shape]:
            raise SystemExit(f"{options.start_from} is of another shape than {shape}: see --shapes")
        network.to(options.device).train().requires_grad_(True)
        print(f"{revive(network, some_crops(options, sources))} dead units revived", flush=True)
        save_network(network, folder / START, torch.float16)
        trainer.begin_from(network.state_dict())
        trainer.begin = SQUARED_ERROR_UNTIL
    if (folder / STATE).exists():
        state = torch.load(folder / STATE, map_location=options.device, weights_only=True)
        trainer.load_state_dict(state)


def some_crops(options: argparse.Namespace, sources: Sources) -> Tensor:
    """Return a few blurred crops in [0, 1]."""
    generator = torch.Generator(options.device).manual_seed(options.seed)
    recipe, count = RECIPES[options.recipe], min(options.batch, 16)
    batch = make_batch(sources, recipe, KERNEL, count, options.crop, recipe.longest, generator)
    return batch[0] / 255


def make_pool(options: argparse.Namespace, trainer: Trainer, sources: Sources) -> CropPool:
    """Return the pool of crops for training a network."""
    recipe = RECIPES[options.recipe]
    make = BatchMaker(
        sources=sources,
        recipe=recipe,
        count=options.batch,
        size=options.crop,
        longest=lambda: recipe.longest_at(trainer.progress),
        seed=options.seed,
    )
    return CropPool(make, trainer.batches_made, options.pooled)


def train_shapes(options: argparse.Namespace, until: float) -> dict[str, Path]:
    """Train each shape in its own folder, and return the averaged weights by shape.

    Args:
        options: Options of the command line.
        until: Time when all shapes must be done, by `time.monotonic`.
    """
    recipe = RECIPES[options.recipe]
    largest = largest_scene(recipe, options.crop, recipe.longest)
    photos, pairs = options.data / "photos", options.data / "pairs"
    first = make_trainer(options, options.shapes[0])
    sources = read_sources(photos, pairs, largest, options.device)
    weights = {}
    for done, shape in enumerate(options.shapes):
        folder = options.folder / shape
        folder.mkdir(parents=True, exist_ok=True)
        now = time.monotonic()
        ends = now + (until - now) / (len(options.shapes) - done)
        trainer = make_trainer(options, shape) if done else first
        begin(options, shape, trainer, folder, sources)
        pool = make_pool(options, trainer, sources)
        left = max(LEAST_SECONDS, ends - time.monotonic())
        trainer.go_on(left / 60, options.begin, options.end)
        with saved_when_stopped(trainer, folder):
            train(trainer, pool, folder, options.save_every)
        weights[shape] = folder / AVERAGE
    return weights


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True, help="time for everything")
    parser.add_argument(
        "--judging", type=float, default=30, help="seconds of this time for judging (30)"
    )
    parser.add_argument("--recipe", choices=RECIPES, default="motion", help="blur to undo (motion)")
    parser.add_argument("--parts", nargs="*", choices=PARTS, help="parts of the judgement")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["compact"])
    parser.add_argument(
        "--start-from", type=Path, metavar="WEIGHTS", help="weights to start from, for one shape"
    )
    parser.add_argument("--begin", type=float, help="progress at the start, from 0 to 1")
    parser.add_argument("--end", type=float, default=1, help="progress at the end (1)")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with photos and pairs")
    parser.add_argument(
        "--wait-for",
        type=Path,
        metavar="FILE",
        help="compile first, and read the data once FILE exists; they can be sent meanwhile",
    )
    parser.add_argument("--folder", type=Path, help="folder for the state; default: one per recipe")
    parser.add_argument("--keep", type=Path, help="folder for the files to keep")
    parser.add_argument("--save-every", type=float, default=60, help="seconds (60)")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument(
        "--head-weight",
        type=float,
        help="weight of the second loss, on telling sharp crops (motion: 0, focus: 0.15)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=torch.device, default=device, help=f"({device})")
    parser.add_argument("--crop", type=int, default=256, help="side of the crops in pixels (256)")
    parser.add_argument("--batch", type=int, default=64, help="crops per step (64)")
    parser.add_argument(
        "--pooled", type=int, default=POOLED, help=f"batches in the pool ({POOLED})"
    )
    options = parser.parse_args()
    if options.folder is None:
        options.folder = FOLDERS[options.recipe]
    if options.head_weight is None:
        options.head_weight = HEAD_WEIGHTS[options.recipe]
    if options.parts is None:
        options.parts = JUDGED_BY[options.recipe]
    if options.start_from and len(options.shapes) > 1:
        parser.error("--start-from is for one shape")
    return options


def main() -> None:
    """Train, judge and keep, from the command line."""
    begun = time.monotonic()
    options = parse_options()
    torch.backends.cudnn.benchmark = True
    kept_files.load_compiled(options.folder)
    until = begun + options.seconds - (options.judging if options.parts else 0)
    weights = train_shapes(options, until)
    if options.keep:
        starts = {f"{shape}-start": path.with_name(START) for shape, path in weights.items()}
        kept_files.write(options.keep, options.folder, weights | starts)
    if options.parts:
        photos, pairs = options.data / "photos", options.data / "pairs"
        table = aligned(judge_weights(weights, options.parts, photos, pairs, options.device))
        print(table, flush=True)
        if options.keep:
            (options.keep / "table.txt").write_text(table + "\n")


if __name__ == "__main__":
    main()
