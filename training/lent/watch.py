"""Watch the training on a GPU machine, so that the machine is not given back, and bring files home.

``python3 -m training.lent.watch --seconds 240 --out "$OUT"`` runs as long as that, or until the
training ends: then it says so at once. All the time it keeps the log, the latest weights of each
minute and the tables in the folder that the machine sends home. ``--judge-at 3`` also judges the
first weights that trained for three minutes, which slows the training for 20 seconds.
"""

from __future__ import annotations

import argparse
import enum
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from training.lent.bring import bring_home
from training.lent.machine import Machine, add_folder, add_out, fail, say

POLL = 2.0
"""Seconds between two looks."""
REPORT = 30.0
"""Seconds between two printed lines of the log."""
LAST_LINES = 20
"""Number of lines of the log to print at the end."""


class Ending(enum.Enum):
    """How a watch ended."""

    RUNNING = "The training goes on: watch it again at once, or the machine is given back."
    FINISHED = "The training has finished, and its weights are on their way home."
    DIED = (
        "The training has died before its end; the log says why, or it was killed. "
        "Begin it again at once, with fewer --seconds: it goes on from its last state."
    )


@dataclass
class Judge:
    """Judges the weights of some minutes, one after the other, beside the training."""

    machine: Machine
    minutes: Collection[float]
    """Judged are the first weights that trained for at least so many minutes."""
    device: str = "cuda"
    _running: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _table: Path = field(default=Path(), init=False)

    def look(self) -> None:
        """Report a judgement that has ended, or start the next one."""
        if self._running is None:
            self._start_next()
        elif self._running.poll() is not None:
            self._report(self._running.returncode)
            self._running = None

    def stop(self) -> None:
        """End a judgement that still runs."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._table.unlink()
            say(f"{self._table.stem} was not judged: there was no time left.")

    def command(self, weights: Path) -> list[str]:
        """Return the command that judges weights."""
        data = self.machine.data
        folders = ["--photos", str(data / "photos"), "--pairs", str(data / "pairs")]
        module = [sys.executable, "-m", "training.evaluate"]
        return [*module, *folders, "--device", self.device, "--parts", "focus", "--", str(weights)]

    def _start_next(self) -> None:
        oldest_first = sorted(self.machine.checkpoints().items())
        for wanted in sorted(self.minutes):
            trained = [path for minute, path in oldest_first if minute >= wanted]
            if trained and not (table := self.machine.tables / f"{trained[0].stem}.txt").exists():
                self._start(trained[0], table)
                return

    def _start(self, weights: Path, table: Path) -> None:
        table.parent.mkdir(exist_ok=True)
        self._table = table
        with table.open("w") as file:
            self._running = subprocess.Popen(
                self.command(weights),
                cwd=self.machine.code,
                env=self.machine.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def _report(self, code: int) -> None:
        lines = self._table.read_text(errors="replace").splitlines()
        if code:
            say(f"{self._table.stem} was not judged: exit code {code}", *lines[-3:])
        else:
            say(self._table.stem, *lines)


def watch(
    machine: Machine,
    out: Path,
    seconds: float,
    judge: Judge | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Ending:
    """Wait until the training ends or a time is over, and bring its files home.

    Args:
        machine: The machine.
        out: The folder that is sent home.
        seconds: The time.
        judge: Judges weights on the way, if it is to.
        clock: Returns the time in seconds.
        sleep: Waits for some seconds.
    """
    until = clock() + seconds
    next_report = clock()
    while True:
        is_running = machine.is_running()  # before the copies, so that the last files are copied
        bring_home(machine, out)
        if not is_running:
            return Ending.FINISHED if machine.has_finished() else Ending.DIED
        now = clock()
        if now >= until:
            return Ending.RUNNING
        if now >= next_report:
            say(*machine.last_lines(1))
            next_report = now + REPORT
        if judge:
            judge.look()
        sleep(min(POLL, until - now))


def report(machine: Machine, out: Path, ending: Ending) -> None:
    """Print the end of the log, the files that come home, and how the training is.

    Raises:
        SystemExit: With exit code 1 if the training has died.
    """
    say(*machine.last_lines(LAST_LINES))
    say(f"Home come: {', '.join(sorted(path.name for path in out.iterdir())) or 'no files'}")
    if ending is Ending.DIED:
        fail(ending.value)
    say(ending.value)


def main() -> None:
    """Watch, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    add_out(parser)
    parser.add_argument(
        "--judge-at", type=float, nargs="*", default=[], metavar="MINUTES", help="of training"
    )
    parser.add_argument("--device", default="cuda", help="device that judges (cuda)")
    add_folder(parser)
    options = parser.parse_args()
    machine: Machine = options.work
    judge = Judge(machine, options.judge_at, options.device)
    ending = watch(machine, options.out, options.seconds, judge)
    judge.stop()
    bring_home(machine, options.out)  # once more, for the tables
    if machine.is_running() and not machine.sent.exists():
        say("It still waits for parts of the data: see training.lent.add")
    report(machine, options.out, ending)


if __name__ == "__main__":
    main()
