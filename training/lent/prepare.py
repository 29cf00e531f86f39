"""Prepare a training on a GPU machine without a network, and print the commands for it, in order.

``python -m training.lent.prepare`` writes ``training/runs/lent``: the data in parts that are small
enough to send, packages that the machine may lack, and ``commands.txt`` with what it prints. It is
run at home, before the machine is asked for.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training.data import SHARED
from training.lent.begin import KERNELS, WHEELS
from training.lent.machine import PACKAGES, SHAPE
from training.pack import write_parts
from training.synthesis.recipe import RECIPES
from training.train import SHAPES
from unblur.models.weights import load_network

FOLDER = WHEELS.parent
START = Path("weights/next/srn-focus.safetensors")
MOST_SENT = 66e6
"""Bytes of the repository and of what is carried along that can be sent with one command: slightly
less than 64 MiB."""
PRESENT = ("torch", "numpy")
"""Packages too large to send; the machine has to have them."""
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")
BEFORE, AFTER = 70, 70
"""Seconds of the machine's time before the training begins, and spared for its end."""
WATCHED = 240
"""Seconds of one watch: its end brings the files home."""


@dataclass(frozen=True)
class Command:
    """A command for the machine."""

    text: str
    limit: int
    """Seconds after which the machine may stop it."""
    carried: tuple[Path, ...] = ()
    """Paths that git ignores and that have to be sent along."""

    def __str__(self) -> str:
        """Format for a terminal."""
        carried = f", carrying {' and '.join(map(str, self.carried))}" if self.carried else ""
        return f"(limit {self.limit} s{carried})\n   {self.text}"


def commands(
    recipe: str, seconds: int, start_from: Path, begin: float, parts: list[Path]
) -> list[Command]:
    """Return the commands for the machine, in order.

    Args:
        recipe: One of `RECIPES`.
        seconds: Time for the training, from its start.
        start_from: Weights to start from, in the repository.
        begin: Progress at the start.
        parts: Folders of the data's parts.
    """
    start = f"--recipe {recipe} --seconds {seconds} --start-from {start_from} --begin {begin:g}"
    along = tuple(path for path in (WHEELS, KERNELS) if path.exists())
    program = "python3 -m training.lent"
    adds = [Command(f"{program}.add {part} --of {len(parts)}", 60, (part,)) for part in parts]
    watches = math.ceil(seconds / WATCHED)
    watch = Command(f'{program}.watch --seconds {WATCHED} --out "$OUT"', WATCHED + 40)
    finish = Command(f'{program}.finish --out "$OUT"', 90)
    return [Command(f"{program}.begin {start}", 120, along), *adds, *[watch] * watches, finish]


def fetch_wheels(folder: Path, python: str, packages: Iterable[str]) -> None:
    """Download packages for a machine with an x86-64 processor, Linux and a version of Python."""
    shutil.rmtree(folder, ignore_errors=True)
    platforms = [f"--platform={name}_x86_64" for name in PLATFORMS]
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    kind = ["--implementation", "cp", "--python-version", python, *platforms]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, *kind, *packages], check=True
    )


def bytes_of(paths: Iterable[Path]) -> int:
    """Return the size in bytes of files, and of all files in folders."""
    files = (file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]))
    return sum(file.stat().st_size for file in files if file.is_file())


def bytes_of_repository() -> int:
    """Return the size in bytes of the files that git does not ignore."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    return bytes_of(path for path in map(Path, names.split("\0")[:-1]) if path.is_file())


def check_sizes(repository: int, planned: Iterable[Command]) -> None:
    """Refuse commands that carry more than can be sent.

    Raises:
        SystemExit: If one does.
    """
    for command in planned:
        size = repository + bytes_of(command.carried)
        if size > MOST_SENT:
            raise SystemExit(
                f"{size / 1e6:.0f} MB are too much to send with: {command.text}\n"
                "Choose smaller parts by --megabytes."
            )


def guide(planned: list[Command]) -> str:
    """Return the commands as a text, with what to know about them."""
    numbered = [f"{number}. {command}" for number, command in enumerate(planned, 1)]
    return "\n".join(
        [
            "Run these on the machine from the root of the repository, without a pause between",
            "them. $OUT is the folder whose files the machine sends home.",
            "",
            *numbered,
            "",
            "Once a watch says that the training has finished, all files are home: leave out the",
            "rest, and give the machine back. The last command is for ending it early.",
            f"Join compiled.bin or its pieces as {KERNELS}: with it, the next",
            "training is compiled sooner.",
            "If the training has died, run the first command again, with --seconds lowered to the",
            f"machine's time that is left, less {AFTER}. It goes on from its last state, and",
            "needs no parts that have arrived.",
        ]
    )


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", choices=RECIPES, default="focus", help="(focus)")
    parser.add_argument("--minutes", type=float, default=15, help="the machine's time (15)")
    parser.add_argument("--start-from", type=Path, default=START, help=f"weights ({START})")
    parser.add_argument("--begin", type=float, default=0.5, help="progress at the start (0.5)")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with photos and pairs")
    parser.add_argument("--megabytes", type=float, default=45, help="largest size of a part (45)")
    parser.add_argument("--python", default="3.12", help="the machine's version of Python (3.12)")
    options = parser.parse_args()
    if not options.start_from.is_file():
        parser.error(f"{options.start_from} is missing: run this from the root of the repository")
    if load_network(options.start_from).config != SHAPES[SHAPE]:
        parser.error(f"{options.start_from} is of another shape than {SHAPE}")
    return options


def main() -> None:
    """Prepare, from the command line."""
    options = parse_options()
    fetch_wheels(WHEELS, options.python, [name for name in PACKAGES if name not in PRESENT])
    parts = write_parts(options.data, FOLDER / "parts", options.megabytes * 1e6)
    seconds = int(options.minutes * 60) - BEFORE - AFTER
    planned = commands(options.recipe, seconds, options.start_from, options.begin, parts)
    check_sizes(bytes_of_repository(), planned)
    text = guide(planned)
    (FOLDER / "commands.txt").write_text(text + "\n")
    print(f"{len(parts)} parts of data, {bytes_of(parts) / 1e6:.0f} MB\n\n{text}")


if __name__ == "__main__":
    main()
