"""``unblur PATH...``: deblur photos with the options of the command line."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unblur.cli.console import Ui
from unblur.cli.no_effect import is_typed, refuse_no_effect
from unblur.cli.shared import open_history, read_paths
from unblur.cli.signals import interrupted_code
from unblur.errors import ExitCode, PhotoError, UsageError
from unblur.extras import load_extra
from unblur.options import CLUSTER_DEVICES, STREAM, NetworkOptions, Options
from unblur.run.watcher import NORMAL, VERBOSE
from unblur.storage.places import parse_place

if TYPE_CHECKING:
    from unblur.models.weights import Weights
    from unblur.network.deblurrer import NetworkDeblurrer
    from unblur.network.srn import SRN
    from unblur.run.history import History
    from unblur.run.jobs import Plan
    from unblur.run.local_runner import LocalRunner
    from unblur.run.report import Report
    from unblur.run.runner import Runner
    from unblur.storage.folders import SeenFolder


def deblur(flags: dict[str, Any], ui: Ui, stdout: int) -> ExitCode:
    """Deblur photos, or only print the plan, and return the exit code.

    Args:
        flags: The values of all options.
        ui: Prints messages and outcomes.
        stdout: File descriptor of standard output, for a photo that is written there.

    Raises:
        UnblurError: If no photo can be deblurred.
    """
    from unblur.models.weights import open_model
    from unblur.run.plan import make_plan
    from unblur.run.report import Report
    from unblur.run.runner import Session, run_plan

    started, options = time.monotonic(), _read_options(flags)
    refuse_no_effect(flags)
    page: Path | None = flags["report"]
    page_folder = _check_page(page) if page else None
    paths = read_paths(flags)
    ui.settings |= options.network.reported
    weights = open_model(options.network.model)
    settings = weights.sha256 + options.settings
    with open_history(flags) as history:
        _require_history(history, options)
        plan = make_plan(paths, options, history, settings)
        _require_history(history, options)
        _check_plan(plan, options, flags, stdout)
        _say_if_new(history, flags["history"], plan, ui)
        ui.passed_over(plan)
        report = Report(keeps_outcomes=page is not None, in_cloud=plan.in_cloud)
        if flags["dry_run"]:
            _print_plan(plan, history, ui, report)
            return _print_summary(report, ui)
        options = _with_display_options(options, flags, plan, ui)
        session = Session(options, history, settings, ui, stdout, report)
        code = ExitCode.OK
        try:
            runner = _make_runner(weights, flags, options, ui)
            del weights  # so that the file's bytes are freed when the network is built
            run_plan(plan, runner, session)
        finally:  # also after an interrupt
            if page and report.counts:
                seconds = time.monotonic() - started
                code = _write_page(
                    report, page, page_folder, options, ui, planned=len(plan.jobs), seconds=seconds
                )
        if history.problem:
            ui.say(f"a second run will not recognise these results: {history.problem}")
    return _print_summary(report, ui) or code


def _require_history(history: History, options: Options) -> None:
    """Raise `UsageError` if results replace originals, but later runs could not recognise them."""
    if history.problem and options.in_place:
        raise UsageError(f"--in-place needs the record of results: {history.problem}")


def _say_if_new(history: History, path: Path | None, plan: Plan, ui: Ui) -> None:
    """Say that the record of ``--history`` is new, if there are photos to deblur."""
    has_work = any(not (job.problem or job.skip) for job in plan.jobs)
    if has_work and path and history.is_new and not history.problem:
        level = NORMAL if is_typed("history") else VERBOSE
        ui.say(f"{path} is a new record, which knows no earlier results", level)


def _read_options(flags: dict[str, Any]) -> Options:
    network = NetworkOptions(**_chosen(NetworkOptions, flags))
    values = _chosen(Options, flags) | {"network": network}
    leaves_some = flags["only_blurry"] or flags["only"] is not None
    values["only_blurry"] = flags["blur_level"] if leaves_some else None
    values["only_motion"] = flags["only"] == "motion"
    options = Options(**values)
    _check_cluster(flags, options.network)
    return options


def _check_cluster(flags: dict[str, Any], options: NetworkOptions) -> None:
    """Raise `UsageError` for a device that cannot be used with ``--ray``."""
    if flags["ray"] is not None and options.device not in CLUSTER_DEVICES:
        names = ", ".join(CLUSTER_DEVICES)
        raise UsageError(f"--device {options.device} cannot be used on clusters, only {names}")


def _chosen(record: type[Options | NetworkOptions], flags: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a record's fields; fields without a value are left out."""
    names = [field.name for field in fields(record)]
    return {name: flags[name] for name in names if flags.get(name) is not None}


def _with_display_options(options: Options, flags: dict[str, Any], plan: Plan, ui: Ui) -> Options:
    """Add the options for pictures and facts that the page, the terminal and JSON show."""
    if flags["report"] is not None:
        from unblur.cli.page import picture_side

        options = replace(options, picture_side=picture_side(len(plan.jobs)))
    options = replace(options, verdict=_shows_verdicts(flags, ui))
    if flags["preview"] and ui.verbosity >= NORMAL:
        from unblur.cli.terminal import find_screen

        options = replace(options, screen=find_screen(sys.stderr))
        if options.screen is None and sys.stderr.isatty():
            ui.say("no --preview: this terminal shows neither pictures nor 256 colours")
    return options


def _shows_verdicts(flags: dict[str, Any], ui: Ui) -> bool:
    """Return whether to show the kind of blur; with a memory limit, only if it is asked for."""
    is_said = ui.verbosity >= NORMAL and flags["max_memory"] is None
    return is_said or flags["json"] or flags["report"] is not None


def _check_page(path: Path) -> SeenFolder | None:
    from unblur.cli.page import check_target

    return check_target(path)


def _write_page(
    report: Report,
    path: Path,
    folder: SeenFolder | None,
    options: Options,
    ui: Ui,
    planned: int,
    seconds: float,
) -> ExitCode:
    from unblur.cli import page

    used = {name: str(value) for name, value in ui.settings.items()}
    facts = page.Facts(planned, seconds, used | page.describe_options(options))
    try:
        if folder:
            folder.check(path)
        page.write(report, path, options, facts)
    except PhotoError as error:
        ui.error(str(error))
        return error.exit_code
    ui.say(f"report: {path}")
    if report.left_out:
        ui.say(f"the report has no room for the small pictures of the last {report.left_out}")
    return ExitCode.OK


def _check_plan(plan: Plan, options: Options, flags: dict[str, Any], stdout: int) -> None:
    """Raise `UsageError` if an option contradicts the places of the photos and their results."""
    todo = [job for job in plan.jobs if not job.problem]
    output = parse_place(options.output or STREAM)
    if is_typed("suffix") and todo and all(job.target == output for job in todo):
        raise UsageError("--suffix has no effect with -o FILE: the result has that name")
    if any(job.target is None for job in todo):
        _check_stdout(flags, stdout)
    if flags["ray"] and any(None in (job.source, job.target) for job in todo):
        raise UsageError("--ray needs files: it cannot use standard input or output")


def _check_stdout(flags: dict[str, Any], stdout: int) -> None:
    for option, value in (("--only", flags["only"]), ("--only-blurry", flags["only_blurry"])):
        if value:
            raise UsageError(
                f"{option} would write nothing to standard output for a photo that it skips: "
                "add -o FILE"
            )
    if flags["json"]:
        raise UsageError("--json and the photo cannot share standard output: add -o FILE")
    if sys.__stdout__ is None:
        raise UsageError("standard output is closed: add -o FILE")
    if os.isatty(stdout):
        raise UsageError("a photo cannot be shown in a terminal: add >FILE or -o FILE")


def _print_plan(plan: Plan, history: History, ui: Ui, report: Report) -> None:
    from unblur.run.report import planned_outcome

    for job in plan.jobs:
        outcome = planned_outcome(job)
        report.add(outcome)
        ui.outcome(outcome)
    if report.keeps_outcomes:
        ui.say("a dry run writes no report")
    if history.problem and not history.is_read_only:
        ui.say(f"earlier results are not recognised: {history.problem}")


def _print_summary(report: Report, ui: Ui) -> ExitCode:
    ui.summary(report)
    if report.interrupted_by:
        ui.error("interrupted")
        return interrupted_code(report.interrupted_by)
    if report.ended_by:
        ui.error(str(report.ended_by))
    if report.exit_code is ExitCode.NOTHING_TO_DO:
        ui.error("found no photo")
    return report.exit_code


def _make_runner(weights: Weights, flags: dict[str, Any], options: Options, ui: Ui) -> Runner:
    if flags["ray"] is None:
        return local_runner(lambda: weights, options, ui)
    load_extra("ray", "cluster", "runs on a cluster", UsageError)
    from unblur.models.weights import load_network
    from unblur.run.ray_runner import RayRunner

    return RayRunner(flags["ray"], lambda: load_network(weights), options.network, flags["workers"])


def local_runner(
    open_network: Callable[[], Weights | SRN], options: Options, ui: Ui
) -> LocalRunner:
    """Return a runner on this machine, which opens and loads the network when it begins."""
    from unblur.run.local_runner import LocalRunner

    return LocalRunner(lambda: _make_deblurrer(open_network(), options, ui))


def _make_deblurrer(weights: Weights | SRN, options: Options, ui: Ui) -> NetworkDeblurrer:
    from unblur.models.loading import load_deblurrer
    from unblur.run.comparing import drawing_bytes

    gc.disable()
    try:
        deblurrer = load_deblurrer(
            weights,
            options.network,
            reserved=drawing_bytes(options),
            warn=ui.say,
            tell=lambda text: ui.say(text, VERBOSE),
        )
    finally:
        gc.enable()
    # PyTorch's objects stay until the program ends. To look for garbage among them would take half
    # a second, most of it at the end.
    gc.freeze()
    ui.settings |= deblurrer.used
    return deblurrer
