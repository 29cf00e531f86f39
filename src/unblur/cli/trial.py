"""``unblur try``: deblur one photo in several ways, and show the results on a page."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unblur.cli.console import Ui
from unblur.cli.deblur import local_runner
from unblur.cli.parameters import argument, option
from unblur.cli.shared import (
    device_option,
    max_pixels_option,
    model_option,
    verbosity_options,
    with_ui,
)
from unblur.cli.signals import interrupted_code
from unblur.errors import ExitCode, PhotoError, UsageError
from unblur.options import MOST_VIEWS, STREAM, NetworkOptions, Options
from unblur.user_text import describe_os_error

if TYPE_CHECKING:
    from unblur.models.weights import Weights
    from unblur.network.srn import SRN
    from unblur.run.report import Report

VIEWS = 1, MOST_VIEWS
"""Numbers of views that are shown: the fastest, and the best."""
PAGE = "report.html"


@click.command("try", context_settings={"auto_envvar_prefix": "UNBLUR"})
@argument("photo", metavar="PHOTO", envvar=[])
@option(
    "--open/--no-open",
    "opens",
    default=True,
    help="Open the page in the web browser (default), or only print its path.",
)
@model_option
@device_option
@max_pixels_option
@verbosity_options
@with_ui
def try_photo(ui: Ui, **flags: Any) -> ExitCode:  # noqa: ANN401 (click hands over every option above)
    """Preview the result of one photo in the web browser.

    The page compares the photo with two results, of --views 1 and --views 8.
    A picture shows the result at several strengths. All files are in a new
    temporary folder, which is kept. Nothing is written beside the photo.
    """
    from unblur.models.weights import open_model
    from unblur.run.report import Report, Status

    _refuse_other_than_photo(flags["photo"])
    started, weights = time.monotonic(), open_model(flags["model"])
    open_network = cache(partial(_load, weights))
    folder = _make_folder()
    report = Report(keeps_outcomes=True)
    try:
        for views in VIEWS:
            if not (report.failures or report.interrupted_by):
                _deblur(flags, views, open_network, folder, report, ui)
        if report.counts[Status.DONE]:
            _write_page(report, folder, flags, time.monotonic() - started, ui)
        for outcome in report.outcomes:
            if outcome.status is Status.SKIPPED:
                reason = outcome.reason.partition(";")[0]  # without advice for other commands
                raise UsageError(f"{flags['photo']} is not deblurred: it {reason}")
    finally:
        if not (folder / PAGE).exists():
            shutil.rmtree(folder)
    if report.interrupted_by:
        ui.error("interrupted")
        return interrupted_code(report.interrupted_by)
    return report.exit_code


def _refuse_other_than_photo(photo: str) -> None:
    from unblur.storage import any_place
    from unblur.storage.places import parse_place

    if photo == STREAM:
        raise UsageError("unblur try needs a file: it cannot read standard input")
    try:
        if any_place.is_folder(parse_place(photo)):
            raise UsageError(f"{photo} is a folder: name one photo")
    except PhotoError as error:
        raise PhotoError(f"{photo}: {error}") from error


def _make_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="unblur-"))
    except OSError as error:
        reason = describe_os_error(error)
        raise UsageError(
            f"cannot make a temporary folder: {reason}; name another one by TMPDIR"
        ) from error


def _load(weights: Weights) -> SRN:
    from unblur.models.weights import load_network
    from unblur.network.openmp import import_torch

    import_torch()
    return load_network(weights)


def _deblur(
    flags: dict[str, Any],
    views: int,
    open_network: Callable[[], SRN],
    folder: Path,
    report: Report,
    ui: Ui,
) -> None:
    """Deblur the photo with a number of views, and add the outcome to the report.

    Args:
        flags: The values of all options.
        views: Number of views.
        open_network: Returns the network on the CPU.
        folder: Folder for the results.
        report: Gets the outcome.
        ui: Prints messages.
    """
    from unblur.cli.page import picture_side
    from unblur.run.history import IN_MEMORY, History
    from unblur.run.plan import make_plan
    from unblur.run.report import Report
    from unblur.run.runner import Session, run_plan

    options = Options(
        output=f"{folder}{os.sep}",
        suffix=f"-views-{views}",
        compare="strengths" if views == VIEWS[0] else False,
        max_pixels=flags["max_pixels"],
        picture_side=picture_side(1),
        verdict=True,
        network=NetworkOptions(model=flags["model"], device=flags["device"], views=views),
    )
    ours = Report(keeps_outcomes=True)
    with History(IN_MEMORY) as history:
        plan = make_plan([flags["photo"]], options, history, "")
        runner = local_runner(open_network, options, ui)
        run_plan(plan, runner, Session(options, history, "", ui, -1, ours))
    for outcome in ours.outcomes:
        report.add(replace(outcome, notes=(f"made with --views {views}", *outcome.notes)))
    report.interrupted_by = ours.interrupted_by


def _write_page(
    report: Report, folder: Path, flags: dict[str, Any], seconds: float, ui: Ui
) -> None:
    from unblur.cli import page

    path = folder / PAGE
    used = {name: str(ui.settings[name]) for name in ("device", "tile") if name in ui.settings}
    facts = page.Facts(len(VIEWS), seconds, {"model": str(flags["model"])} | used)
    page.write(report, path, Options(), facts)
    ui.say(f"the folder {folder} is kept: delete it when you have seen the page")
    if flags["opens"] and not _open(path):
        ui.say("found no web browser: open the page yourself")
    ui.answer(str(path))


def _open(path: Path) -> bool:
    """Open a page in a web browser with windows, and return whether there is one.

    Without a display, Python would start a browser for terminals in the user's terminal.
    """
    import webbrowser

    from unblur.desktop.notifications import has_display

    is_chosen = bool(os.environ.get("BROWSER"))
    try:
        return (is_chosen or has_display()) and webbrowser.open(path.as_uri())
    except (webbrowser.Error, OSError):
        return False
