"""Deblur photos selected in a file manager, and summarise the results in a few lines."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unblur.errors import START_LIMIT, ExitCode
from unblur.user_text import describe_os_error, printable

MOST_LINES = 8
"""Largest number of photos to list, as notifications have little room."""
STATUSES = ("failed", "done", "planned", "skipped")
"""Values of `unblur.run.report.Status`, in the order in which photos are listed."""
_ERROR = "unblur: error: "


@dataclass(frozen=True)
class Summary:
    """The outcome for the selected photos."""

    title: str
    lines: tuple[str, ...]
    """One line for each photo, or for each error if no photo was found."""
    exit_code: int
    """The exit code of the run; see `unblur.errors.ExitCode`."""

    @property
    def text(self) -> str:
        """The first lines, and the number of further lines."""
        more = len(self.lines) - MOST_LINES
        ending = [f"and {more} more"] if more > 0 else []
        return "\n".join([*self.lines[:MOST_LINES], *ending])


def deblur_chosen(program: Path, paths: Sequence[str]) -> Summary:
    """Deblur photos, and the photos in folders, in a separate process.

    Because the process is separate, a notification appears even if the process is killed. Paths are
    passed through standard input, because a command line may be too short for them.

    Args:
        program: Path of the program ``unblur``.
        paths: Selected files and folders, absolute or relative to the current folder.
    """
    if not paths:
        reason = "no file was chosen, or the folder is not on this machine"
        return Summary("unblur: nothing to do", (reason,), ExitCode.NOTHING_TO_DO)
    names = b"".join(os.fsencode(os.path.abspath(path)) + b"\0" for path in paths)  # noqa: PTH100
    command = [str(program), "--recursive", "--json", "--null", "--files-from", "-"]
    try:
        run = subprocess.run(command, input=names, capture_output=True)
    except OSError as error:
        reason = f"cannot start {printable(program)}: {describe_os_error(error)}"
        if isinstance(error, BlockingIOError):
            reason = START_LIMIT
        return Summary("unblur: error", (reason,), ExitCode.FAILED)
    outcomes = [json.loads(line) for line in run.stdout.splitlines() if line.startswith(b"{")]
    return _sum_up(outcomes, run.stderr.decode("utf-8", "replace").splitlines(), run.returncode)


def _sum_up(outcomes: list[dict[str, Any]], messages: Iterable[str], exit_code: int) -> Summary:
    counts = Counter(outcome["status"] for outcome in outcomes)
    ordered = sorted(outcomes, key=lambda outcome: STATUSES.index(outcome["status"]))
    lines = [_describe(outcome) for outcome in ordered]
    if exit_code and not counts["failed"]:  # no photo explains the exit code
        errors = [line.removeprefix(_ERROR) for line in messages if line.startswith(_ERROR)]
        lines = [*(errors or [f"unblur ended with code {exit_code}"]), *lines]
    totals = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    return Summary(f"unblur: {totals or 'error'}", tuple(lines), exit_code)


def _describe(outcome: dict[str, Any]) -> str:
    """Return the name of a photo's result, or the reason why there is none."""
    if outcome["status"] in ("done", "planned"):
        return _name(outcome["output"])
    reason = (
        f"skipped: {outcome['reason']}" if outcome["status"] == "skipped" else outcome["reason"]
    )
    return f"{_name(outcome['input'])}: {printable(reason)}"


def _name(path: str | None) -> str:
    return printable(os.path.basename(path or ""))  # noqa: PTH119 (takes any name)
