"""``unblur desktop``: add "Deblur with unblur" to the menus of file managers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unblur.cli.console import Ui
from unblur.cli.parameters import argument, option
from unblur.cli.shared import verbosity_options, with_ui
from unblur.desktop.managers import MANAGERS, managers_of
from unblur.errors import DesktopError, ExitCode, UnblurError, UsageError

if TYPE_CHECKING:
    from unblur.desktop.installing import State
    from unblur.desktop.managers import FileManager

managers_argument = argument(
    "managers", nargs=-1, metavar="[MANAGER]...", type=click.Choice([one.name for one in MANAGERS])
)


@click.group()
def desktop() -> None:
    """Add "Deblur with unblur" to the menus of file managers."""


@desktop.command()
@managers_argument
@verbosity_options
@with_ui
def install(ui: Ui, managers: tuple[str, ...]) -> ExitCode:
    """Add the action to file managers.

    MANAGER is nautilus, nemo, dolphin, thunar, finder or explorer. Without
    names, add the action to all file managers on this machine. The action
    deblurs the selected photos, and those in selected folders, then shows a
    notification. Files that unblur did not write are never replaced.
    """
    from unblur.desktop.installing import find_program, install

    program = find_program()
    chosen = _named(managers) if managers else [one for one in managers_of() if one.is_found]
    if not chosen:
        names = ", ".join(manager.name for manager in managers_of())
        raise UsageError(f"found no file manager; to install for one anyway, name it: {names}")
    return _for_each(chosen, lambda one: _report(ui, one, "added to", install(one, program)), ui)


@desktop.command()
@managers_argument
@verbosity_options
@with_ui
def remove(ui: Ui, managers: tuple[str, ...]) -> ExitCode:
    """Remove the action from file managers.

    Without names, remove it from all of them. Folders that were made for it
    are deleted, too, if they are empty.
    """
    from unblur.desktop.installing import levels_made, remove

    chosen = _named(managers) if managers else managers_of()
    chosen.sort(key=levels_made)  # a folder is empty after all that was put into it later
    return _for_each(chosen, lambda one: _report(ui, one, "removed from", remove(one)), ui)


@desktop.command()
@option("--json", "as_json", is_flag=True, help="Print a JSON object for each file manager.")
@with_ui
def status(ui: Ui, as_json: bool) -> ExitCode:
    """Show which file managers have the action.

    Each line has the file manager's name, whether it is on this machine,
    whether the action is installed, its file, and the program that it starts.
    """
    from unblur.desktop.installing import look_up

    def show(manager: FileManager) -> None:
        state = look_up(manager)
        if as_json:
            ui.answer(json.dumps(asdict(state)))
        else:
            rows.append(_row(state))

    rows: list[tuple[str, ...]] = []
    code = _for_each(managers_of(), show, ui)
    ui.table(rows)
    return code


def _row(state: State) -> tuple[str, ...]:
    program = state.program or ""
    if program and not state.program_exists:
        program += " (missing: run unblur desktop install)"
    found = "found" if state.is_found else "not found"
    return state.name, found, state.state, state.path, program


@desktop.command()
@argument("paths", nargs=-1, metavar="PATH...", type=click.Path())
@with_ui
def run(ui: Ui, paths: tuple[str, ...]) -> ExitCode:
    """Deblur photos, then show a notification.

    File managers call this. Each PATH is a photo, or a folder with photos.
    """
    from unblur.desktop.action import deblur_chosen
    from unblur.desktop.installing import find_program
    from unblur.desktop.notifications import show

    summary = deblur_chosen(find_program(), paths)
    if not show(summary):
        for line in (summary.title, *summary.lines):
            ui.say(line)
    known = summary.exit_code in [*ExitCode]
    return ExitCode(summary.exit_code) if known else ExitCode.FAILED


def _named(names: Iterable[str]) -> list[FileManager]:
    """Return file managers by name.

    Raises:
        UsageError: If one belongs to another system.
    """
    here = {manager.name: manager for manager in managers_of()}
    for name in names:
        if name not in here:
            raise UsageError(f"{name} belongs to another system; here are {', '.join(here)}")
    return [here[name] for name in dict.fromkeys(names)]


def _report(ui: Ui, manager: FileManager, done: str, paths: list[Path]) -> None:
    if paths:
        ui.say(f"{done} {manager.name} ({manager.label})")
    for path in paths:
        ui.answer(str(path))


def _for_each(
    managers: Iterable[FileManager], act: Callable[[FileManager], None], ui: Ui
) -> ExitCode:
    """Act on each file manager; an error with one does not stop the others."""
    code = ExitCode.OK
    for manager in managers:
        try:
            act(manager)
        except UnblurError as error:
            ui.error(f"{manager.name}: {error}")
            code = DesktopError.exit_code
    return code
