"""Begin a training in the background on a GPU machine, or let it go on after it ended.

``python3 -m training.lent.begin --seconds 760 --recipe focus`` copies the program, installs the
packages that the machine lacks, and starts `training.train` with all further options. The training
outlives the command. It compiles first, and reads the data once `training.lent.add` has brought all
parts. If the folder has the state of an earlier training, the new one goes on from there; a
training of another kind needs another folder (``--work``).
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from training.lent.machine import COMPILED, PACKAGES, SHAPE, Machine, add_folder, fail, say

WHEELS = Path("training/runs/lent/wheels")
"""Folder of the repository with packages that a machine may lack."""
KERNELS = WHEELS.with_name(COMPILED)
"""File of the repository with kernels that an earlier training compiled, if there is one."""
FIRST_WORDS = 60.0
"""Most seconds to wait for the first line of the training's log."""
LOOK = 0.2
"""Seconds between two looks for it."""


def copy_code(machine: Machine, start_from: Path | None) -> None:
    """Copy the program, and the weights to start from, out of the repository."""
    shutil.rmtree(machine.code, ignore_errors=True)
    leave_out = shutil.ignore_patterns("runs", "__pycache__")
    for folder in ("src", "training"):
        shutil.copytree(folder, machine.code / folder, ignore=leave_out)
    if start_from:
        shutil.copyfile(start_from, machine.code / "start.safetensors")


def missing_packages(machine: Machine) -> list[str]:
    """List the packages that the training needs and this Python lacks."""
    places = [str(machine.site), *sys.path]
    found = {
        str(distribution.metadata["Name"]).lower()
        for distribution in metadata.distributions(path=places)
    }
    return [package for package in PACKAGES if package not in found]


def install(machine: Machine, packages: list[str]) -> None:
    """Install packages from the wheels that came along."""
    wheels = [str(path) for name in packages for path in WHEELS.glob(f"{name}-*.whl")]
    if len(wheels) != len(packages):
        fail(f"This Python lacks {', '.join(packages)}: carry {WHEELS} along with this command.")
    options = ["--quiet", "--no-index", "--no-deps", "--target", str(machine.site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *wheels], check=True)


def training_command(
    machine: Machine, start_from: Path | None, begin: float | None, others: list[str]
) -> list[str]:
    """Return the command of the training.

    Args:
        machine: The machine.
        start_from: Weights to start from, which `copy_code` has copied.
        begin: Progress at the start.
        others: Further options of `training.train`.
    """
    folders = {
        "--data": machine.data,
        "--folder": machine.run,
        "--keep": machine.home,
        "--wait-for": machine.sent,
    }
    options = [str(word) for option in folders.items() for word in option]
    if not machine.state.exists():  # otherwise it goes on from there, where it stopped
        options += ["--start-from", "start.safetensors"] if start_from else []
        options += ["--begin", str(begin)] if begin is not None else []
    module = [sys.executable, "-m", "training.train"]
    return [*module, *options, "--shapes", SHAPE, *others, "--parts"]


def start(machine: Machine, command: list[str]) -> subprocess.Popen[bytes]:
    """Start a training that outlives this process; it holds the lock until it ends."""
    import fcntl

    # A shell may have this process ignore Ctrl-C, and what it starts would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    machine.work.mkdir(parents=True, exist_ok=True)
    with machine.lock.open("w") as lock, machine.log.open("w") as log:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process = subprocess.Popen(
            command,
            cwd=machine.code,
            env=machine.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
        lock.write(str(process.pid))
    return process


def wait_for_first_words(
    machine: Machine, sleep: Callable[[float], None] = time.sleep, seconds: float = FIRST_WORDS
) -> None:
    """Wait until the training prints something, ends, or a time is over."""
    for _ in range(int(seconds / LOOK)):
        if machine.last_lines(1) or not machine.is_running():
            return
        sleep(LOOK)


def main() -> None:
    """Begin, from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="All other options are those of training.train."
    )
    parser.add_argument("--seconds", required=True, help="time for everything; see training.train")
    parser.add_argument("--start-from", type=Path, metavar="WEIGHTS")
    parser.add_argument("--begin", type=float)
    parser.add_argument("--device", default="cuda", help="(cuda)")
    add_folder(parser)
    options, others = parser.parse_known_args()
    machine: Machine = options.work
    if machine.is_running():
        fail("A training is running: watch it, or end it by training.lent.finish.")
    copy_code(machine, options.start_from)
    if missing := missing_packages(machine):
        install(machine, missing)
    shutil.rmtree(machine.home, ignore_errors=True)
    machine.run.mkdir(parents=True, exist_ok=True)
    if KERNELS.exists():
        shutil.copyfile(KERNELS, machine.run / COMPILED)
    others += ["--seconds", options.seconds, "--device", options.device]
    command = training_command(machine, options.start_from, options.begin, others)
    process = start(machine, command)
    wait_for_first_words(machine)
    say(*machine.last_lines(20))
    if not machine.is_running():
        process.wait()
        fail("The training ended at once; the lines above say why.")
    say("The training runs. Next: training.lent.add, or training.lent.watch if the data are there.")


if __name__ == "__main__":
    main()
