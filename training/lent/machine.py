"""The folder of a training on a GPU machine, and what can be known about the training."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

WORK = Path("/tmp/unblur-training")
"""Default folder for all that a training needs and makes. It lies outside the repository, which the
machine may replace before each command."""

PACKAGES = ("torch", "numpy", "pillow", "safetensors", "psutil", "platformdirs")
"""Packages that a machine needs for training and judging, with their dependencies."""

COMPILED = "compiled.bin"
"""Name of the file with kernels that PyTorch has compiled, or the start of its pieces' names."""

SHAPE = "compact"
"""The shape that is trained; see `training.train.SHAPES`."""


@dataclass(frozen=True)
class Machine:
    """The files of a training on the machine."""

    work: Path = WORK

    @property
    def code(self) -> Path:
        """Folder with a copy of the program."""
        return self.work / "code"

    @property
    def site(self) -> Path:
        """Folder with the packages that the machine lacked."""
        return self.work / "site"

    @property
    def data(self) -> Path:
        """Folder with photos and pairs, made up of the parts that were sent."""
        return self.work / "data"

    @property
    def arrived(self) -> Path:
        """Folder with an empty file for each part of the data that has arrived, by its number."""
        return self.work / "arrived"

    @property
    def sent(self) -> Path:
        """File that the training waits for: all parts have arrived."""
        return self.work / "sent"

    @property
    def run(self) -> Path:
        """Folder for the state of the training."""
        return self.work / "run"

    @property
    def state(self) -> Path:
        """File with the state that a training goes on from."""
        return self.run / SHAPE / "state.pt"

    @property
    def home(self) -> Path:
        """Folder that the training fills at its end."""
        return self.work / "home"

    @property
    def log(self) -> Path:
        """File with all that the training prints."""
        return self.work / "log.txt"

    @property
    def tables(self) -> Path:
        """Folder with the tables of judged weights."""
        return self.work / "tables"

    @property
    def lock(self) -> Path:
        """File that contains the training's process number; the training locks it while it runs."""
        return self.work / "process"

    def environment(self) -> dict[str, str]:
        """Return the environment of programs that run from the copy."""
        path = os.pathsep.join(map(str, (self.code / "src", self.code, self.site)))
        return os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}

    def is_running(self) -> bool:
        """Return whether the training runs.

        The system removes the lock when the process ends, however it ends.
        """
        import fcntl

        if not self.lock.exists():
            return False
        with self.lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def has_finished(self) -> bool:
        """Return whether the training has written the weights to keep, its last work."""
        return (self.home / f"{SHAPE}.safetensors").exists()

    def stop(self) -> None:
        """Tell the training to save its weights and end."""
        if self.is_running():
            os.kill(int(self.lock.read_text()), signal.SIGINT)

    def checkpoints(self) -> dict[float, Path]:
        """Return the averaged weights by minute of training, the newest first."""
        paths = (self.run / SHAPE).glob("average-*.safetensors")
        by_minute = {float(path.stem.partition("-")[2]): path for path in paths}
        return dict(sorted(by_minute.items(), reverse=True))

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines of the log."""
        if not self.log.exists():
            return []
        return self.log.read_text(errors="replace").splitlines()[-count:]


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add the option for the folder of the training."""
    parser.add_argument(
        "--work", type=lambda name: Machine(Path(name)), default=Machine(), help=f"folder ({WORK})"
    )


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add the option for the folder whose files the machine sends home."""
    parser.add_argument(
        "--out", type=Path, required=True, help="folder whose files the machine sends home"
    )


def say(*lines: str) -> None:
    """Print lines at once: the output of a command that is stopped must not be lost."""
    print(*lines, sep="\n", flush=True)


def fail(message: str) -> None:
    """End the program with a message.

    Raises:
        SystemExit: Always, with exit code 1.
    """
    sys.stdout.flush()
    raise SystemExit(message)
