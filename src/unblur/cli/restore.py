"""``unblur restore``: put back originals that ``--in-place`` has replaced."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from unblur.cli.console import Ui
from unblur.cli.no_effect import refuse_no_effect
from unblur.cli.parameters import argument, option
from unblur.cli.shared import (
    history_option,
    listing_options,
    open_history,
    verbosity_options,
    with_ui,
)
from unblur.errors import ExitCode

if TYPE_CHECKING:
    from unblur.run.report import Outcome


@click.command(context_settings={"auto_envvar_prefix": "UNBLUR"})
@argument("paths", nargs=-1, required=True, metavar="PATH...", envvar=[])
@option("-r", "--recursive", is_flag=True, help="Search folders and subfolders for originals.")
@option("-n", "--dry-run", is_flag=True, help="Show the plan; write nothing.")
@option("--force", is_flag=True, help="Also replace results that were edited.")
@history_option
@listing_options
@verbosity_options
@with_ui
def restore(ui: Ui, **flags: Any) -> ExitCode:  # noqa: ANN401 (click hands over every option above)
    """Put back originals that --in-place has replaced.

    Each PATH is a photo whose original was kept as NAME.orig, the NAME.orig
    file, or with --recursive a folder. The original replaces the result, and
    a later run deblurs it again. A result that was edited stays as it is.
    """
    from unblur.run.report import Report
    from unblur.run.restore import Choices, restore

    refuse_no_effect(flags)
    report = Report()
    chosen = {name: flags[name] for name in ("recursive", "force", "dry_run")}
    with open_history(flags) as history:
        if history.problem and not history.is_read_only:
            ui.say(f"results are recognised by their marks only: {history.problem}")
        for outcome in restore(flags["paths"], Choices(**chosen), history):
            report.add(outcome)
            _print(outcome, flags, ui)
    if report.counts.total() > 1:
        ui.say(report.summary())
    if report.exit_code is ExitCode.NOTHING_TO_DO:
        ui.error("found no original to put back")
    return report.exit_code


def _print(outcome: Outcome, flags: dict[str, Any], ui: Ui) -> None:
    from unblur.run.report import Status

    job = outcome.job
    if outcome.status is Status.FAILED:
        ui.error(f"{job.name}: {outcome.reason}")
    else:
        planned = " (planned)" if outcome.status is Status.PLANNED else ""
        ui.say(f"{job.name} -> {job.target}{planned}")
    if flags["json"]:
        places = [None if place is None else os.fspath(place) for place in (job.source, job.target)]
        values = {"input": places[0], "output": places[1], "status": outcome.status.value}
        ui.answer(json.dumps(values | {"reason": outcome.reason}))
    elif job.target and outcome.status is not Status.FAILED and not sys.stdout.isatty():
        ui.answer(os.fspath(job.target), end="\0" if flags["null"] else "\n")
