"""From the paths that a user named to jobs, before any pixel is read."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from unblur.errors import UsageError
from unblur.files import read_header
from unblur.photo import HEADER_BYTES, Format, identify

SUFFIX = "-unblurred"
STREAM = "-"
"""Stands for standard input or output."""


@dataclass(frozen=True)
class Job:
    """One photo to deblur."""

    source: Path | None
    """The photo; ``None`` is standard input."""
    target: Path | None
    """Where the result goes; ``None`` is standard output."""
    problem: str | None = None
    """Why it cannot be done, found before work starts."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return "standard input" if self.source is None else str(self.source)


def make_plan(paths: tuple[str, ...], output: str | None, overwrite: bool) -> list[Job]:
    """Decide for each path where its result goes.

    Args:
        paths: Photos, or ``-`` for standard input.
        output: A file, a folder, ``-`` for standard output, or ``None`` to
            write beside each photo.
        overwrite: Whether existing files may be replaced.

    Raises:
        UsageError: If the paths and the output do not fit together.
    """
    into_folder = output is not None and output != STREAM and _is_folder(output)
    if output is not None and not into_folder and len(paths) > 1:
        raise UsageError(f"{len(paths)} photos cannot all become {output}; name a folder")
    jobs = [_plan_one(path, output, into_folder) for path in paths]
    return _mark_collisions([_mark_problem(job, overwrite) for job in jobs])


def _is_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def _plan_one(path: str, output: str | None, into_folder: bool) -> Job:
    if path == STREAM:
        if into_folder:
            raise UsageError("standard input has no name to give to a file in a folder")
        target = None if output in (None, STREAM) else Path(str(output))
        return Job(None, target)
    source = Path(path)
    if output == STREAM:
        return Job(source, None)
    if output is not None and not into_folder:
        return Job(source, Path(output))
    folder = source.parent if output is None else Path(output)
    return Job(source, folder / output_name(source, identify(read_header(source, HEADER_BYTES))))


def output_name(source: Path, form: Format | None) -> str:
    """Return the name of a photo's result, whose ending tells what is inside."""
    ending = source.suffix
    if form and ending.lower() not in form.suffixes:
        ending = form.suffixes[0]
    return f"{source.stem}{SUFFIX}{ending}"


def _mark_problem(job: Job, overwrite: bool) -> Job:
    if job.source is not None and not job.source.exists():
        return replace(job, problem="no such file")
    if job.source is not None and job.source.is_dir():
        return replace(job, problem="is a folder; name the photos in it")
    if job.target is None:
        return job
    if job.source is not None and job.target.exists() and job.target.samefile(job.source):
        return replace(job, problem="the result would replace the original")
    if job.target.is_dir():
        return replace(job, problem=f"{job.target} is a folder")
    if job.target.exists() and not overwrite:
        return replace(job, problem=f"{job.target} exists; --overwrite replaces it")
    if not job.target.parent.is_dir() and job.target.parent.exists():
        return replace(job, problem=f"{job.target.parent} is not a folder")
    return job


def _mark_collisions(jobs: list[Job]) -> list[Job]:
    """Mark every job whose result another one would write too."""
    first: dict[Path, Job] = {}
    marked = []
    for job in jobs:
        if job.target is not None and not job.problem:
            taken = first.setdefault(job.target.resolve(), job)
            if taken is not job:
                job = replace(job, problem=f"{taken.name} would also become {job.target}")
        marked.append(job)
    return marked
