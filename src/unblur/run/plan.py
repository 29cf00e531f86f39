"""Plan a run: turn the user's paths into jobs, before any pixel is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path, PurePath

from unblur.errors import PhotoError, UsageError
from unblur.file_limits import most_bytes
from unblur.formats.photo import Format
from unblur.options import STREAM, Options, check_path
from unblur.run.find import Found, KnownFormat, find, format_of
from unblur.run.history import History
from unblur.run.jobs import Job, Plan
from unblur.run.known_results import ALREADY_DONE, IS_RESULT, KnownResults
from unblur.run.mask_files import IS_MASK, Masks
from unblur.run.result_names import comparison_place, result_place, wanted_format
from unblur.run.target_checks import (
    IS_ORIGINAL,
    is_original,
    problem_in_place,
    problem_of_format,
    problem_of_target,
)
from unblur.run.twins import Names
from unblur.storage import any_place
from unblur.storage.files import certainly
from unblur.storage.filesystems import follow_links, identity, ignores_case, real_folder, unlimited
from unblur.storage.folders import SeenFolder
from unblur.storage.objects import ListedObjects
from unblur.storage.places import Place, Url, parse_place
from unblur.user_text import describe_os_error


def make_plan(paths: Iterable[str], options: Options, history: History, settings: str) -> Plan:
    """Find the photos, choose a target for each, and check whether it can be written.

    Files that the user names are always tried. In folders, photos are recognised by their content.
    Hidden files and folders, links to folders, results of earlier runs and everything in
    `unblur.run.ignored` are skipped. Links to folders are never followed, so there are no loops.

    Args:
        paths: Photos, folders, addresses in object stores, or ``-`` for standard input.
        options: The user's options.
        history: The record of earlier results.
        settings: See `unblur.run.runner.Session`.

    Raises:
        UsageError: If the paths and the options contradict each other.
    """
    real_folder.cache_clear()
    ignores_case.cache_clear()
    plan, listing, masks = Plan(), ListedObjects(), Masks(options)
    known = KnownResults(history, settings, listing.state_of, most=most_bytes(options.max_pixels))
    named = _read_names(paths)
    _refuse_times_of_objects(named, options)
    into_folder = _goes_into_folder(named, options)
    output = parse_place(options.output or "")
    if into_folder and options.recursive and isinstance(output, Url):
        listing.add(output)
    for path in named:
        if path == STREAM:
            plan.jobs.append(_plan_stream(options, into_folder))
            continue
        known_format = partial(known.format_of, options=options)
        for found in _photos_at(path, options, listing, plan, known_format):
            if found.place != _reachable(parse_place(path)) and masks.is_mask(found.place):
                plan.passed_over.append((found.place, IS_MASK))
                continue
            target = _target(found, options, into_folder)
            plan.jobs.append(Job(found.place, target and _reachable(target)))
    to_stdout = [job for job in plan.jobs if job.target is None and not job.problem]
    if to_stdout and len(plan.jobs) > 1:
        raise UsageError("standard output can take only one photo: use -o FOLDER/")
    if to_stdout and options.compare:
        raise UsageError("--compare writes a file beside the result: use -o FILE")
    plan.jobs[:] = map(masks.with_mask, plan.jobs)
    if options.compare:
        plan.jobs[:] = _with_comparisons(plan.jobs, options)
    checked = [_check(job, options, known) for job in plan.jobs]
    names = Names()
    marked = [*_mark_collisions(checked, names)]
    plan.jobs[:] = _with_folders(_with_twins(job, names) for job in marked)
    return plan


def find_photos(paths: Iterable[str], options: Options) -> Plan:
    """Find photos like `make_plan`, without choosing targets.

    Raises:
        UsageError: If a path is empty or impossible.
    """
    plan, listing = Plan(), ListedObjects()
    for path in _read_names(paths):
        if path == STREAM:
            plan.jobs.append(Job(None, None))
        else:
            photos = _photos_at(path, options, listing, plan)
            plan.jobs.extend(Job(found.place, None) for found in photos)
    return plan


def _read_names(paths: Iterable[str]) -> list[str]:
    """Return the paths without duplicates.

    Raises:
        UsageError: If a text cannot be a path; it may be empty, such as from an unset variable.
    """
    named = list(dict.fromkeys(paths))
    if any("\0" in path for path in named):
        raise UsageError(
            "a path contains a NUL character: use -0 for a list whose paths end with NUL"
        )
    for path in named:
        check_path(path, "a path")
    return named


def _photos_at(
    path: str,
    options: Options,
    listing: ListedObjects,
    plan: Plan,
    known_format: KnownFormat = lambda path: None,
) -> Iterator[Found]:
    """Yield the photos at a path; add skipped files and faulty paths to the plan."""
    for found in find(parse_place(path), options, listing, known_format):
        if found.passed_over:
            plan.passed_over.append((found.place, found.passed_over))
        elif found.problem:
            plan.jobs.append(Job(found.place, None, problem=found.problem))
        else:
            yield replace(found, place=_reachable(found.place))


def _reachable(there: Place) -> Place:
    return there if isinstance(there, Url) else unlimited(there)


def _refuse_times_of_objects(paths: list[str], options: Options) -> None:
    if options.preserve_times:
        for path in (*paths, options.output or ""):
            if isinstance(parse_place(path), Url):
                raise UsageError(
                    f"--preserve-times is for files: the store sets the time of {path}"
                )


def _goes_into_folder(paths: list[str], options: Options) -> bool:
    output = options.output
    if output is None or output == STREAM:
        return False
    place = parse_place(output)
    if isinstance(place, Url) and place.is_web:
        raise UsageError(f"--output {place}: nothing can be written to {place.scheme}:// addresses")
    try:
        if output.endswith(("/", os.sep)) or any_place.is_folder(place):
            return True
    except PhotoError as error:  # the store does not answer
        raise PhotoError(f"--output {place}: {error}") from error
    if len(paths) > 1:
        raise UsageError(
            f"{len(paths)} photos cannot all become {output}; name a folder: {output}/"
        )
    named = (parse_place(path) for path in paths if path != STREAM)
    return any(certainly(any_place.is_folder, place) for place in named)


def _plan_stream(options: Options, into_folder: bool) -> Job:
    if into_folder or options.in_place:
        raise UsageError("a photo from standard input has no file name; use -o FILE")
    if options.output in (None, STREAM):
        return Job(None, None)
    return Job(None, parse_place(str(options.output)))


def _target(found: Found, options: Options, into_folder: bool) -> Place | None:
    photo = found.place
    if options.in_place:  # replace the photo itself, not a link to it
        return photo if isinstance(photo, Url) else follow_links(photo)
    if options.output == STREAM:
        return None
    if options.output is not None and not into_folder:
        return parse_place(options.output)
    like = photo if options.output is None else _below(parse_place(options.output), found.below)
    return result_place(photo, like, options.suffix, wanted_format(options) or _kept(found))


def _below(folder: Place, name: PurePath) -> Place:
    """Return a place below a folder; the key ``//a.jpg`` of an object is no path from the root."""
    return folder / name if isinstance(folder, Url) else folder / name.relative_to(name.anchor)


def _kept(found: Found) -> Format | None:
    """Return the format of a photo's result without ``--format``."""
    form = found.form or format_of(found.place)
    return form and form.result


def _with_comparisons(jobs: list[Job], options: Options) -> Iterator[Job]:
    """Choose the comparisons' names, with the result's extension if results differ only in that."""
    targets = [job.target for job in jobs if job.target is not None]
    taken = Counter(_identity(comparison_place(target, options)) for target in targets)
    for job in jobs:
        if job.target is not None:
            comparison = comparison_place(job.target, options)
            if taken[_identity(comparison)] > 1:
                comparison = comparison_place(job.target, options, job.target.suffix)
            job = replace(job, comparison=comparison)
        yield job


def _check(job: Job, options: Options, known: KnownResults) -> Job:
    """Return a job with the reason if it is impossible or unnecessary."""
    if job.problem:
        return job
    try:
        return _check_states(job, options, known)
    except PhotoError as error:  # a store does not answer
        return replace(job, problem=job.reason_of(error))
    except OSError as error:
        return replace(job, problem=describe_os_error(error))


def _check_states(job: Job, options: Options, known: KnownResults) -> Job:
    source, target, look = job.source, job.target, known.look
    if isinstance(source, Path):
        source.stat()
    elif source is not None and look(source) is None:
        return replace(job, problem="no such object")
    if target is None:
        return job
    if reason := _reason_to_skip(job, options, known):
        return replace(job, skip=reason)
    written = [file for file in (target, job.comparison) if file is not None]
    problems = []
    if options.in_place:
        problems = [problem_in_place(target, options.keeps_backup, look)]
        written.remove(target)
    for file in written:
        if source is not None and any_place.is_same(source, file):
            return replace(job, problem=f"{file} would replace the original; see --in-place")
    if options.on_existing == "skip":
        for file in written:
            if look(file):
                return replace(job, skip=f"{file} exists")
    overwrites = options.on_existing == "overwrite"
    replaceable = {file for file in written if overwrites or known.is_ours(file, source)}
    problems += [problem_of_target(file, file in replaceable, look) for file in written]
    problems.append(_problem_of_ending(source, target, options))
    return replace(
        job,
        replaces=options.in_place or target in replaceable,
        replaced=look(target) if target in replaceable and not overwrites else None,
        replaces_comparison=job.comparison in replaceable,
        problem=next(filter(None, problems), None),
    )


def _problem_of_ending(source: Place | None, target: Place, options: Options) -> str | None:
    """Return why the result cannot have the chosen name; ``None`` if it can.

    The photo is opened only if the extensions differ.
    """
    wanted = wanted_format(options)
    endings = wanted.suffixes if wanted else (source.suffix.lower() if source else "",)
    if source is None or options.output is None or target.suffix.lower() in endings:
        return None
    form = format_of(source)
    return problem_of_format(target, form, options) if form else None


def _reason_to_skip(job: Job, options: Options, known: KnownResults) -> str | None:
    if options.in_place and job.target and is_original(job.target, known.look):
        return IS_ORIGINAL
    if known.is_done(job, options):
        return ALREADY_DONE
    if job.source is None or options.in_place or options.on_existing == "overwrite":
        return None
    return IS_RESULT if known.is_result(job.source) else None


def _mark_collisions(jobs: list[Job], names: Names) -> Iterator[Job]:
    """Mark jobs whose output is also the input or the output of another job.

    If a photo is named twice, with different spellings of its path, the second job is skipped.
    """
    sources = [None if job.source is None else names.identity(job.source) for job in jobs]
    read = frozenset(sources)
    writers: dict[Url | str, tuple[Job, Url | str | None]] = {}
    for job, source in zip(jobs, sources, strict=True):
        yield job if job.problem else _check_collision(job, source, read, writers, names)


def _check_collision(
    job: Job,
    source: Url | str | None,
    sources: Container[Url | str | None],
    writers: dict[Url | str, tuple[Job, Url | str | None]],
    names: Names,
) -> Job:
    """Mark a job if it collides with another one, and add its outputs to ``writers``.

    Args:
        job: The job.
        source: Identity of its photo.
        sources: Identities of all photos.
        writers: Earlier jobs and the identities of their photos, by the identity of the output.
        names: The names of all files.
    """
    for file in (job.target, job.comparison):
        if file is None:
            continue
        key = names.identity(file)
        writer, its_source = writers.setdefault(key, (job, source))
        if writer is not job and its_source == source and file is job.target:
            return replace(job, skip="named twice")
        if job.skip:
            continue
        if key != source and key in sources:
            return replace(
                job, problem=f"{file} would be replaced, but is itself a photo of this run"
            )
        if writer is not job:
            return replace(job, problem=f"{writer.name} would also become {file}")
    return job


def _with_twins(job: Job, names: Names) -> Job:
    """Let no output replace another one of this run, if the disk takes their names for one."""
    if job.target is None or job.problem or job.skip:
        return job
    if twins := names.twins(job.target):
        replaces = job.replaces and any_place.exists(job.target)
        job = replace(job, twins=twins, replaces=replaces)
    if job.comparison and names.twins(job.comparison):
        replaces = job.replaces_comparison and any_place.exists(job.comparison)
        job = replace(job, replaces_comparison=replaces)
    return job


def _with_folders(jobs: Iterable[Job]) -> Iterator[Job]:
    """Add the folders that the run writes to, to notice later that a disk was removed."""
    seen = cache(SeenFolder.above)
    for job in jobs:
        if isinstance(job.target, Path) and not (job.problem or job.skip):
            job = replace(job, folder=seen(job.target.parent))
        yield job


def _identity(target: Place) -> Url | str:
    return target if isinstance(target, Url) else identity(target)
