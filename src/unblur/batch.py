"""Move jobs through decoding, deblurring and encoding, which overlap.

Threads decode ahead of the network and write behind it, never more than
``Options.jobs`` photos each, so memory does not grow with the number of photos.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from unblur import files
from unblur.errors import PhotoError
from unblur.history import FileState, History
from unblur.options import Options
from unblur.photo import CONVERSIONS, Format
from unblur.plan import BACKUP_ENDING, Job, Plan, has_other_links
from unblur.report import Outcome, Report, Status
from unblur.ui import DEBUG, Ui

if TYPE_CHECKING:
    from unblur.deblurrer import Deblurrer, Pixels
    from unblur.photo import Photo

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """What all photos of a run share."""

    options: Options
    history: History
    settings: str
    """What a result depends on besides its photo; see `History`."""
    ui: Ui
    stdout: int
    """Descriptor for a photo that goes to standard output."""


@dataclass(frozen=True)
class Loaded:
    """A photo that is ready for the network."""

    job: Job
    photo: Photo
    status: os.stat_result | None
    """The state of its file when it was read; ``None`` for standard input."""
    started: float


def run_plan(plan: Plan, make_deblurrer: Callable[[], Deblurrer], run: Run) -> Report:
    """Do the jobs; one that fails does not stop the rest, unless asked for.

    Args:
        plan: What to do.
        make_deblurrer: Called once, and only if a job can be tried at all.
        run: What all photos share.

    Returns:
        What became of each photo; on an interrupt, of those until then.

    Raises:
        UnblurError: Whatever ``make_deblurrer`` raises: without a network no
            photo can be done.
    """
    report = Report()
    todo = list(_settle_beforehand(plan.jobs, report, run.ui))
    if not todo or (run.options.fail_fast and report.failures):
        return report
    deblurrer = make_deblurrer()
    for folder in {job.target.parent for job in todo if job.target is not None}:
        files.sweep(folder)
    with run.ui.progress(len(todo)):
        try:
            _run_pipeline(todo, deblurrer, run, report)
        except KeyboardInterrupt as interrupt:
            report.interrupted_by = interrupt
    return report


def _settle(outcome: Outcome, report: Report, ui: Ui) -> None:
    with report.lock:
        report.add(outcome)
        ui.outcome(outcome)


def _settle_beforehand(jobs: Iterable[Job], report: Report, ui: Ui) -> Iterator[Job]:
    """Settle the jobs that need no work, and yield the others."""
    for job in jobs:
        if job.problem:
            _settle(Outcome(job, Status.FAILED, job.problem), report, ui)
        elif job.skip:
            _settle(Outcome(job, Status.SKIPPED, job.skip), report, ui)
        else:
            yield job


def _run_pipeline(jobs: list[Job], deblurrer: Deblurrer, run: Run, report: Report) -> None:
    """Do jobs, and settle each as soon as it is written.

    However it ends, photos that are through the network are still written, and
    no temporary file is left.
    """
    ahead = 0 if run.options.max_memory else run.options.jobs
    decoding = ThreadPoolExecutor(run.options.jobs, "decode")
    writing = ThreadPoolExecutor(run.options.jobs, "write")
    pending: deque[Future[None]] = deque()

    def store(loaded: Loaded, pixels: Pixels) -> None:
        outcome = _attempt(loaded.job, run, lambda _, run: _store(loaded, pixels, run))
        _settle(outcome, report, run.ui)

    try:
        for loaded in _ahead(decoding, jobs, lambda job: _attempt(job, run, _load), ahead):
            result = _through_network(loaded, deblurrer, run)
            if isinstance(result, Outcome):
                _settle(result, report, run.ui)
            else:
                assert isinstance(loaded, Loaded)
                pending.append(writing.submit(store, loaded, result))
            while len(pending) > ahead:
                pending.popleft().result()
            if run.options.fail_fast and report.failures:
                break
    finally:
        decoding.shutdown(cancel_futures=True)
        writing.shutdown()
    for future in pending:
        future.result()


def _ahead(
    executor: ThreadPoolExecutor, jobs: list[Job], load: Callable[[Job], T], depth: int
) -> Iterator[T]:
    """Load jobs in threads and yield them in order, never more than ``depth`` ahead."""
    futures: deque[Future[T]] = deque()
    for job in jobs:
        futures.append(executor.submit(load, job))
        if len(futures) > depth:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _through_network(loaded: Loaded | Outcome, deblurrer: Deblurrer, run: Run) -> Pixels | Outcome:
    """Deblur a photo; one that already has its outcome keeps it."""
    if isinstance(loaded, Outcome):
        return loaded

    def deblur(job: Job, run: Run) -> Pixels:
        from unblur.memory import return_freed_memory

        pixels = deblurrer(loaded.photo.pixels, run.ui.follow(job))
        return_freed_memory()
        return pixels

    return _attempt(loaded.job, run, deblur)


def _attempt(job: Job, run: Run, act: Callable[[Job, Run], T]) -> T | Outcome:
    """Do a part of a job; whatever goes wrong with it becomes its outcome."""
    try:
        return act(job, run)
    except PhotoError as error:
        reason = str(error)
    except MemoryError:
        reason = "out of memory; a smaller --tile or --jobs 1 needs less"
    except Exception as error:  # the boundary: a bug with one photo must not lose the others
        if run.ui.verbosity >= DEBUG:
            run.ui.error(traceback.format_exc())
        reason = f"unexpected {type(error).__name__}: {error}; -vv shows where"
    return Outcome(job, Status.FAILED, reason)


def _load(job: Job, run: Run) -> Loaded | Outcome:
    from unblur import codecs
    from unblur.memory import return_freed_memory

    started = time.monotonic()
    if _is_done_meanwhile(job, run):
        return _skipped_meanwhile(job)
    if job.source is None:
        data, status = sys.stdin.buffer.read(), None
    else:
        data, status = files.read_photo_bytes(job.source)
    photo = codecs.decode(data, run.options.max_pixels)
    return_freed_memory()
    _check_target(job, photo.format, run.options)
    return Loaded(job, photo, status, started)


def _is_done_meanwhile(job: Job, run: Run) -> bool:
    """Tell whether another run has done a job since it was planned."""
    if job.source is None or job.target is None or run.options.on_existing == "overwrite":
        return False
    return run.history.is_done(job.source, job.target, run.settings)


def _skipped_meanwhile(job: Job) -> Outcome:
    return Outcome(job, Status.SKIPPED, "done by another run meanwhile")


def _check_target(job: Job, form: Format, options: Options) -> None:
    """Refuse to write a format over another one, or under another one's ending."""
    result = _result_format(options) or form.result
    if options.in_place:
        if result is not form:
            raise PhotoError(f"a {form.name} file becomes {result.name}, and is never replaced")
    elif job.target is not None and job.target.suffix.lower() not in result.suffixes:
        verb = "stays one" if result is form else f"becomes {result.name}"
        raise PhotoError(
            f"is a {form.name} file and {verb}, "
            f"but {job.target.name} does not end in {result.suffixes[0]}; see --format"
        )


def _result_format(options: Options) -> Format | None:
    return CONVERSIONS[options.format] if options.format else None


def _store(loaded: Loaded, pixels: Pixels, run: Run) -> Outcome:
    from unblur import codecs

    job, photo = loaded.job, loaded.photo
    options = run.options
    encoded = codecs.encode(
        photo,
        pixels,
        options.refresh_thumbnail,
        form=_result_format(options),
        quality=options.quality,
        strip_metadata=options.strip_metadata,
    )
    notes = encoded.notes
    if job.target is None:
        files.write_all(run.stdout, encoded.data)
    else:
        try:
            notes += _write(loaded, encoded.data, run)
        except PhotoError:
            if _is_done_meanwhile(job, run):
                return _skipped_meanwhile(job)
            raise
    height, width = photo.pixels.shape[:2]
    seconds = time.monotonic() - loaded.started
    return Outcome(job, Status.DONE, "", width, height, seconds, notes, photo.notes)


def _write(loaded: Loaded, data: bytes, run: Run) -> tuple[str, ...]:
    """Write a result to its place, and return what the user should know of that."""
    job, options, status = loaded.job, run.options, loaded.status
    assert job.target is not None
    notes: tuple[str, ...] = ()
    if options.in_place:
        if has_other_links(job.target):
            notes = ("other names of the file (hard links) keep the original",)
        if options.backup:
            files.keep_backup(job.target, job.target.with_name(job.target.name + BACKUP_ENDING))
    else:
        job.target.parent.mkdir(parents=True, exist_ok=True)

    def record(written: os.stat_result) -> None:
        if job.source is not None and job.target is not None and status is not None:
            before, after = FileState.of(status), FileState.of(written)
            run.history.record(job.source, before, job.target, after, run.settings)

    files.write_atomically(job.target, data, job.replaces, status, options.preserve_times, record)
    return notes
