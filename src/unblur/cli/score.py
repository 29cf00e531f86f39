"""``unblur score``: list photos by their blur score, with the kind of blur."""

from __future__ import annotations

import functools
import json
import os
import threading
from typing import TYPE_CHECKING, Any

import click

from unblur.cli.console import Ui
from unblur.cli.no_effect import refuse_no_effect
from unblur.cli.option_groups import PlainOption
from unblur.cli.parameters import option
from unblur.cli.shared import (
    listing_options,
    max_pixels_option,
    path_options,
    read_paths,
    verbosity_options,
    with_ui,
)
from unblur.errors import ExitCode, PhotoError
from unblur.options import STREAM, Options
from unblur.storage.waiting import waiting

if TYPE_CHECKING:
    from unblur.blur import Blur
    from unblur.run.jobs import Job
    from unblur.run.report import Report

MOST_THREADS = 4
"""Largest default: more threads do not read faster from one disk, and each needs memory."""


@click.command(context_settings={"auto_envvar_prefix": "UNBLUR"})
@path_options
@max_pixels_option
@option(
    "-j",
    "--jobs",
    cls=PlainOption,
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Photos to score at once. Default: one per core, at most {MOST_THREADS}.",
)
@listing_options
@verbosity_options
@with_ui
def score(ui: Ui, **flags: Any) -> ExitCode:  # noqa: ANN401 (click hands over every option above)
    """Score how blurred photos are, the most blurred first.

    The score is the excess width of a photo's sharpest edges, in thousandths
    of its diagonal. Most sharp photos score below 0.3, whatever their size; a
    soft background does not count. Each line is a score, the kind of blur and
    a path, separated by tabs. The kind is what the edges look like; a run also
    sees what the network changes, and may tell another kind. No photo is
    changed.
    """
    from unblur.run.plan import find_photos
    from unblur.run.report import Report

    refuse_no_effect(flags)
    chosen = ("recursive", "include", "exclude", "max_pixels")
    options = Options(**{name: flags[name] for name in chosen})
    plan = find_photos(read_paths(flags), options)
    ui.passed_over(plan)
    report = Report(in_cloud=plan.in_cloud)
    threads = flags["jobs"] or min(MOST_THREADS, os.cpu_count() or 1)
    scores = _score_all(plan.jobs, options, threads, report, ui)
    _list(scores, report, flags, ui)
    if report.cloud_note:
        ui.say(report.cloud_note)
    if report.exit_code is ExitCode.NOTHING_TO_DO:
        ui.error("found no photo")
    return report.exit_code


def _score_all(
    jobs: list[Job], options: Options, threads: int, report: Report, ui: Ui
) -> list[tuple[Blur, Job]]:
    """Score photos in threads, and add their outcomes to the report."""
    from unblur.run.load_ahead import load_ahead
    from unblur.run.report import Outcome, Status, outcome_of_error
    from unblur.run.threads import ThreadPool

    scores: list[tuple[Blur, Job]] = []
    pool = ThreadPool(threads, "score", functools.cache(ui.say))
    over = threading.Event()

    def measure(job: Job) -> Blur:
        with waiting(over=over):
            return _measure(job, options)

    try:
        with ui.progress(len(jobs)):
            for load in load_ahead(pool, jobs, measure, threads, lambda job: job.source is None):
                job, outcome = load.photo, Outcome(load.photo, Status.DONE)
                try:
                    scores.append((load.result(), job))
                except Exception as error:  # a bug with one photo must not lose the others
                    outcome = outcome_of_error(job, error)
                report.add(outcome)
                ui.outcome(outcome)
    finally:
        over.set()
        pool.shutdown(cancel_futures=True)
    return scores


def _measure(job: Job, options: Options) -> Blur:
    from unblur.blur import find_blur
    from unblur.run.load_step import read_reduced

    if job.problem:
        raise PhotoError(job.problem)
    reduced = read_reduced(job, options)
    return find_blur(reduced.pixels, reduced.factor)


def _list(scores: list[tuple[Blur, Job]], report: Report, flags: dict[str, Any], ui: Ui) -> None:
    """Print the scores, the highest first; JSON also lists photos that failed.

    A run may tell another kind of blur, because it also sees what the network changes.
    """
    from unblur.blur import Kind

    scores.sort(key=lambda found: -found[0].score)
    if flags["json"]:
        for blur, job in scores:
            ui.answer(_to_json(job, blur, ""))
        for outcome in report.failures:
            ui.answer(_to_json(outcome.job, None, outcome.reason))
        return
    for blur, job in scores:
        path = STREAM if job.source is None else job.source
        finding = f"looks {blur}" if blur.length or blur.kind is Kind.FOCUS else str(blur)
        ui.answer(f"{blur.score:.2f}", finding, str(path), end="\0" if flags["null"] else "\n")


def _to_json(job: Job, blur: Blur | None, reason: str) -> str:
    from unblur.run.report import blur_to_json

    path = None if job.source is None else str(job.source)
    values = {"input": path, "score": blur and blur.score} | blur_to_json(blur)
    return json.dumps(values | {"reason": reason})
