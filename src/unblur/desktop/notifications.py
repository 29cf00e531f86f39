"""Show a summary on the desktop: as a notification, or if that is impossible, in a window."""

from __future__ import annotations

import html
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from unblur.desktop.action import Summary
from unblur.extras import find_program

_APPLE_SCRIPT = """\
on run {heading, message}
display notification message with title heading
end run"""
_POWERSHELL = (
    "Add-Type -AssemblyName System.Windows.Forms;"
    " [void][Windows.Forms.MessageBox]::Show($env:NOTICE_TEXT, $env:NOTICE_TITLE)"
)


@dataclass(frozen=True)
class Notifier:
    """A program that can show a summary."""

    program: str
    arguments: Callable[[Summary], list[str]]
    """Returns the program's arguments. Names of photos in them cannot act as options or markup."""
    is_window: bool = False
    """Whether the program opens a window, and ends when the window is closed."""


def _notification(summary: Summary) -> list[str]:
    """Return arguments for notify-send; a notification of failures stays until it is closed.

    See freedesktop.org, *Desktop Notifications Specification*, "Markup".
    """
    urgency = "critical" if summary.exit_code else "normal"
    text = html.escape(_doubled(summary.text), quote=False)
    options = [f"--urgency={urgency}", "--app-name=unblur", "--icon=image-x-generic"]
    return [*options, "--", summary.title, text]


def _doubled(text: str) -> str:
    r"""Double backslashes: notify-send and zenity read ``\n`` as the end of a line."""
    return text.replace("\\", "\\\\")


def _zenity(summary: Summary) -> list[str]:
    kind = "--error" if summary.exit_code else "--info"
    return [kind, "--no-markup", f"--title={summary.title}", f"--text={_doubled(summary.text)}"]


def _kdialog(summary: Summary) -> list[str]:
    kind = "--error" if summary.exit_code else "--msgbox"
    text = html.escape(summary.text, quote=False).replace("\n", "<br>")
    return ["--title", summary.title, kind, f"<qt>{text}</qt>"]


NOTIFIERS = (
    Notifier("notify-send", _notification),
    Notifier("osascript", lambda summary: ["-e", _APPLE_SCRIPT, summary.title, summary.text]),
    Notifier("powershell", lambda summary: ["-NoProfile", "-Command", _POWERSHELL]),
    Notifier("zenity", _zenity, is_window=True),
    Notifier("kdialog", _kdialog, is_window=True),
    Notifier("xmessage", lambda summary: ["-center", f"{summary.title}\n\n{summary.text}"], True),
)
"""All notifiers, best first."""
_CLOSED = 1
"""Exit code if the user closed the window without pressing a button."""


def has_display() -> bool:
    """Return whether programs can open windows."""
    names = "DISPLAY", "WAYLAND_DISPLAY"
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in names)


def show(summary: Summary) -> bool:
    """Show a summary with the first program that works; return whether one did."""
    return any(_shows(notifier, summary) for notifier in NOTIFIERS)


def _shows(notifier: Notifier, summary: Summary) -> bool:
    program = find_program(notifier.program)
    if program is None or (notifier.is_window and not has_display()):
        return False
    # PowerShell would read its arguments as code.
    texts = {"NOTICE_TITLE": summary.title, "NOTICE_TEXT": summary.text}
    command = [program, *notifier.arguments(summary)]
    try:
        run = subprocess.run(command, env=os.environ | texts, capture_output=True)
    except OSError:  # the system starts no more processes, or the program is for another system
        return False
    return run.returncode == 0 or (notifier.is_window and run.returncode == _CLOSED)
