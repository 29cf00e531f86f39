"""From the paths that a user named to jobs, before any pixel is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from wcmatch import glob

from unblur.errors import UsageError
from unblur.files import (
    LONGEST_NAME_BYTES,
    describe_os_error,
    exists,
    is_folder,
    read_header,
    shortened,
)
from unblur.history import History
from unblur.options import STREAM, Options
from unblur.photo import CONVERSIONS, HEADER_BYTES, PHOTO_SUFFIXES, Format, identify

BACKUP_ENDING = ".orig"
_GLOB_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.DOTGLOB | glob.MATCHBASE


@dataclass(frozen=True)
class Job:
    """One photo to deblur."""

    source: Path | None
    """The photo; ``None`` is standard input."""
    target: Path | None
    """Where the result goes; ``None`` is standard output."""
    replaces: bool = False
    """Whether a file that is there may be replaced."""
    problem: str | None = None
    """Why it cannot be done, found before work starts."""
    skip: str | None = None
    """Why it need not be done."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return "standard input" if self.source is None else str(self.source)


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    jobs: list[Job] = field(default_factory=list)
    passed_over: list[tuple[Path, str]] = field(default_factory=list)
    """What was found below a folder and is left alone, with the reason."""


@dataclass(frozen=True)
class _Found:
    """A path to try, and where it lies below the folder that the user named."""

    path: Path
    below: Path


def make_plan(paths: Iterable[str], options: Options, history: History, settings: str) -> Plan:
    """Decide for each photo where its result goes.

    A file that was named is always tried. Below a folder only photos are taken,
    told by content; hidden files and folders, links to folders and results of
    earlier runs are passed over. Links are never followed into a folder, so
    there are no loops.

    Args:
        paths: Photos, folders, or ``-`` for standard input.
        options: What the user asked for.
        history: What earlier runs have done.
        settings: What a result depends on besides its photo; see `History`.

    Raises:
        UsageError: If the paths and the options do not fit together.
    """
    plan = Plan()
    named = list(dict.fromkeys(paths))
    into_folder = _goes_into_folder(named, options)
    for path in named:
        if path == STREAM:
            plan.jobs.append(_plan_stream(options, into_folder))
            continue
        for found in _find(Path(path), options, plan):
            job = Job(found.path, _target(found, options, into_folder))
            plan.jobs.append(_judge(job, options, history, settings))
    to_stdout = [job for job in plan.jobs if job.target is None and not job.problem]
    if to_stdout and len(plan.jobs) > 1:
        raise UsageError("only one photo fits into standard output")
    plan.jobs[:] = _mark_collisions(plan.jobs)
    return plan


def _goes_into_folder(paths: list[str], options: Options) -> bool:
    output = options.output
    if output is None or output == STREAM:
        return False
    if output.endswith(("/", os.sep)) or is_folder(Path(output)):
        return True
    if len(paths) > 1:
        raise UsageError(
            f"{len(paths)} photos cannot all become {output}; name a folder: {output}/"
        )
    return any(path != STREAM and is_folder(Path(path)) for path in paths)


def _plan_stream(options: Options, into_folder: bool) -> Job:
    if into_folder or options.in_place:
        raise UsageError("standard input has no name to give to a file; use -o FILE")
    if options.output in (None, STREAM):
        return Job(None, None)
    target = Path(str(options.output))
    job = Job(None, target, replaces=options.on_existing == "overwrite")
    return replace(job, problem=_problem_of_target(target, job.replaces))


def _find(path: Path, options: Options, plan: Plan) -> Iterator[_Found]:
    """Yield a named file as it is, and the photos below a named folder."""
    if not is_folder(path):
        yield _Found(path, Path(path.name))
    elif options.recursive:
        for found in _walk(path, plan, options):
            below = found.relative_to(path)
            reason = _reason_to_pass_over(found, below, options)
            if reason:
                plan.passed_over.append((found, reason))
            else:
                yield _Found(found, below)
    else:
        plan.jobs.append(Job(path, None, problem="is a folder; --recursive takes what is in it"))


def _walk(folder: Path, plan: Plan, options: Options) -> Iterator[Path]:
    """Yield the files below a folder, sorted."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        plan.jobs.append(Job(folder, None, problem=f"cannot be listed: {describe_os_error(error)}"))
        return
    for entry in entries:
        path = folder / entry.name
        if not is_folder(path):
            yield path
        elif reason := _reason_not_to_enter(path, entry.is_symlink(), options):
            plan.passed_over.append((path, reason))
        else:
            yield from _walk(path, plan, options)


def _reason_not_to_enter(folder: Path, is_link: bool, options: Options) -> str | None:
    if is_link:
        return "a link to a folder"
    if folder.name.startswith("."):
        return "hidden"
    if options.output is not None and _is_same(folder, Path(options.output)):
        return "the folder for the results"
    return None


def _reason_to_pass_over(path: Path, below: Path, options: Options) -> str | None:
    if path.name.startswith("."):
        return "hidden"
    if path.stem.endswith(options.suffix) and not options.in_place:
        return "a result of an earlier run"
    if path.name.endswith(BACKUP_ENDING):
        return "a backup"
    if options.include and not glob.globmatch(below, list(options.include), flags=_GLOB_FLAGS):
        return "not included"
    if options.exclude and glob.globmatch(below, list(options.exclude), flags=_GLOB_FLAGS):
        return "excluded"
    header = read_header(path, HEADER_BYTES)
    if header is None and path.suffix.lower() in PHOTO_SUFFIXES:
        return None  # tried all the same, to be told as an error
    return None if identify(header or b"") else "not a photo that can be processed"


def _target(found: _Found, options: Options, into_folder: bool) -> Path | None:
    if options.in_place:
        return found.path.resolve()  # the photo itself, not a link to it
    if options.output == STREAM:
        return None
    if options.output is not None and not into_folder:
        return Path(options.output)
    name = output_name(found.path, options.suffix, CONVERSIONS.get(options.format or ""))
    if options.output is None:
        return found.path.with_name(name)
    return Path(options.output) / found.below.with_name(name)


def output_name(source: Path, suffix: str, result: Format | None = None) -> str:
    """Return the name of a photo's result, whose ending tells what is inside.

    A name that would be longer than file systems allow is shortened.

    Args:
        source: The photo.
        suffix: Put between its name and its ending.
        result: What it becomes; ``None`` is what its own format does.
    """
    form: Format | None = identify(read_header(source, HEADER_BYTES) or b"")
    result = result or (form and form.result)
    ending = source.suffix
    if result and ending.lower() not in result.suffixes:
        ending = result.suffixes[0]
    room = LONGEST_NAME_BYTES - len(os.fsencode(suffix + ending))
    return shortened(source.stem, room) + suffix + ending


def _judge(job: Job, options: Options, history: History, settings: str) -> Job:
    """Find what stands against a job, or what makes it unnecessary."""
    source, target = job.source, job.target
    assert source is not None
    try:
        source.stat()
    except OSError as error:
        return replace(job, problem=describe_os_error(error))
    if target is None:
        return job
    if options.on_existing != "overwrite" and history.is_done(source, target, settings):
        return replace(job, skip="already done")
    if options.in_place:
        return replace(job, replaces=True, problem=_problem_in_place(target, options.backup))
    if _is_same(source, target):
        return replace(job, problem="the result would replace the original; see --in-place")
    if options.on_existing == "skip" and exists(target):
        return replace(job, skip=f"{target} exists")
    may_replace = options.on_existing == "overwrite" or history.is_ours(target)
    problem = _problem_of_target(target, may_replace)
    return replace(job, replaces=may_replace, problem=problem)


def _problem_in_place(photo: Path, keeps_backup: bool) -> str | None:
    if not os.access(photo, os.W_OK):
        return "is read-only, and would be replaced"
    if not os.access(photo.parent, os.W_OK):
        return f"{photo.parent} cannot be written to"
    if not keeps_backup:
        return None
    backup = photo.with_name(photo.name + BACKUP_ENDING)
    if exists(backup) and not _is_same(photo, backup):
        return f"{backup} exists; it would be replaced"
    return None


def _problem_of_target(target: Path, may_replace: bool) -> str | None:
    if is_folder(target):
        return f"{target} is a folder"
    if exists(target) and not may_replace:
        return f"{target} exists; --overwrite replaces it"
    folder = next(parent for parent in target.absolute().parents if exists(parent))
    if not is_folder(folder):
        return f"{folder} is not a folder"
    if not os.access(folder, os.W_OK):
        return f"{folder} cannot be written to"
    return None


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def _mark_collisions(jobs: Iterable[Job]) -> Iterator[Job]:
    """Mark every job whose result another one would write too."""
    first: dict[str, Job] = {}
    for job in jobs:
        if job.target is not None and not job.problem:
            # Where names differ only by case, some file systems see one file.
            taken = first.setdefault(os.path.normcase(job.target.resolve()), job)
            if taken is not job and not job.skip:
                job = replace(job, problem=f"{taken.name} would also become {job.target}")
        yield job


def has_other_links(path: Path) -> bool:
    """Tell whether a file has more names than one, which replacing it would part."""
    status = path.stat()
    return stat.S_ISREG(status.st_mode) and status.st_nlink > 1
