"""Move jobs through decoding, deblurring and encoding."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from unblur import files
from unblur.errors import PhotoError
from unblur.plan import Job
from unblur.report import Outcome, Report, Status
from unblur.ui import DEBUG, VERBOSE, Ui

if TYPE_CHECKING:
    from unblur.deblurrer import Deblurrer


def run(
    jobs: Iterable[Job],
    make_deblurrer: Callable[[], Deblurrer],
    ui: Ui,
    overwrite: bool,
    stdout: int | None = None,
) -> Report:
    """Do the jobs one after the other; one that fails does not stop the rest.

    Args:
        jobs: What to do.
        make_deblurrer: Called once, and only if a job can be tried at all.
        ui: Told what happens.
        overwrite: Whether existing files may be replaced.
        stdout: Descriptor for photos that go to standard output.

    Raises:
        UnblurError: Whatever ``make_deblurrer`` raises: without a network no
            photo can be done.
    """
    report = Report()
    deblurrer: Deblurrer | None = None
    for job in jobs:
        if job.problem:
            outcome = Outcome(job, Status.FAILED, job.problem)
        else:
            deblurrer = deblurrer or make_deblurrer()
            outcome = _try(job, deblurrer, ui, overwrite, stdout)
        ui.outcome(outcome)
        report.add(outcome)
    ui.summary(report)
    return report


def _try(job: Job, deblurrer: Deblurrer, ui: Ui, overwrite: bool, stdout: int | None) -> Outcome:
    """Do one job; whatever goes wrong with it becomes its outcome."""
    try:
        return _do(job, deblurrer, ui, overwrite, stdout)
    except PhotoError as error:
        return Outcome(job, Status.FAILED, str(error))
    except MemoryError:
        return Outcome(job, Status.FAILED, "out of memory; a smaller --tile needs less")
    except Exception as error:  # the boundary: a bug with one photo must not lose the others
        if ui.verbosity >= DEBUG:
            ui.error(traceback.format_exc())
        reason = f"unexpected {type(error).__name__}: {error}; -vv shows where"
        return Outcome(job, Status.FAILED, reason)


def _do(job: Job, deblurrer: Deblurrer, ui: Ui, overwrite: bool, stdout: int | None) -> Outcome:
    from unblur import codecs

    started = time.monotonic()
    data = sys.stdin.buffer.read() if job.source is None else files.read_photo_bytes(job.source)
    photo = codecs.decode(data)
    _check_ending(job, photo.format.name, photo.format.suffixes)
    height, width = photo.pixels.shape[:2]
    with ui.progress(job) as show:
        pixels = deblurrer(photo.pixels, show)
    result = codecs.encode(photo, pixels)
    if job.target is not None:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(job.target, result.data, overwrite)
    elif stdout is not None:
        files.write_all(stdout, result.data)
    for note in photo.notes:
        ui.note(job, note, VERBOSE)
    for note in result.notes:
        ui.note(job, note)
    return Outcome(job, Status.DONE, "", width, height, time.monotonic() - started)


def _check_ending(job: Job, name: str, suffixes: tuple[str, ...]) -> None:
    """Refuse to write a format under another one's ending."""
    if job.target is not None and job.target.suffix.lower() not in suffixes:
        raise PhotoError(
            f"is a {name} file and stays one, but {job.target.name} does not end in {suffixes[0]}"
        )
