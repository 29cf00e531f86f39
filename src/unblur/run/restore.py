"""Restore originals that ``--in-place`` kept as ``NAME.orig``.

The backup is renamed over the result in one step, so that the name always belongs to a complete
photo. Edited results are replaced only with ``--force``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unblur.errors import PhotoError
from unblur.formats.photo import FORMATS, HEADER_BYTES, format_by_suffix, identify
from unblur.options import Options
from unblur.run.find import BACKUP, find
from unblur.run.hashes import read_content
from unblur.run.history import History, Record, key_of, pixels_in
from unblur.run.in_place_marks import read_mark
from unblur.run.jobs import Job
from unblur.run.report import Outcome, Status
from unblur.storage import any_place, drafts, files
from unblur.storage.filesystems import follow_links, unlimited
from unblur.storage.objects import ListedObjects
from unblur.storage.places import BACKUP_ENDING, FileState, Url, backup_of, is_backup, parse_place
from unblur.storage.targets import problem_of_replacing
from unblur.storage.temporaries import is_being_written
from unblur.user_text import describe_os_error

FORCE = "--force restores the original anyway"


@dataclass(frozen=True)
class Choices:
    """The user's options for ``unblur restore``."""

    recursive: bool = False
    force: bool = False
    """Whether to replace even results that were edited."""
    dry_run: bool = False


def restore(paths: Iterable[str], choices: Choices, history: History) -> Iterator[Outcome]:
    """Restore originals, and remove the replaced results from the record.

    Args:
        paths: Photos, their backups, or folders.
        choices: The user's options.
        history: The record of earlier results.

    Yields:
        The outcome of each job. A job's source is the backup, its target the photo.
    """
    seen = set()
    for path in paths:
        for job in _find_jobs(path, choices):
            key = key_of(job.source or path)
            if key not in seen:  # a pattern such as * names both a photo and its backup
                yield _restore_one(job, choices, history)
            seen.add(key)


def _find_jobs(path: str, choices: Choices) -> Iterator[Job]:
    """Yield a job for a photo or its backup, or for each backup below a folder."""
    named = parse_place(path)
    if isinstance(named, Url):
        reason = (
            f"is an object, not a file: copy {named}{BACKUP_ENDING} back with the store's own tools"
        )
        yield Job(named, None, problem=reason)
    elif _is_backup(named):
        yield _job(named)
    elif named.name and not files.certainly(files.is_folder, named):
        yield _job(backup_of(follow_links(unlimited(named))))
    else:
        options = Options(recursive=choices.recursive, in_place=True)
        # Pass any format, so that the photos are not opened to find theirs.
        for found in find(named, options, ListedObjects(), known_format=lambda path: FORMATS[0]):
            if found.problem:
                yield Job(found.place, None, problem=found.problem)
            elif found.passed_over == BACKUP and isinstance(found.place, Path):
                backup = unlimited(found.place)
                if _is_backup(backup) and (_is_photo(backup) or _is_called_photo(backup)):
                    yield _job(backup)


def _is_backup(path: Path) -> bool:
    """Return whether a path has a backup's name, and has no backup itself."""
    return is_backup(path.name) and not os.path.lexists(backup_of(path))


def _is_photo(backup: Path) -> bool:
    """Return whether a backup may be a photo: other programs also write ``.orig`` files."""
    header = files.read_header(backup, HEADER_BYTES)
    return header is None or identify(header) is not None


def _is_called_photo(backup: Path) -> bool:
    """Return whether a backup has the name of a photo's: if it is not a photo, it is damaged."""
    return format_by_suffix(_photo_of(backup).suffix) is not None


def _photo_of(backup: Path) -> Path:
    return backup.with_name(backup.name[: -len(BACKUP_ENDING)])


def _job(backup: Path) -> Job:
    return Job(backup, _photo_of(backup))


def _restore_one(job: Job, choices: Choices, history: History) -> Outcome:
    if job.problem:
        return Outcome(job, Status.FAILED, job.problem)
    backup, photo = job.source, job.target
    assert isinstance(backup, Path)
    assert isinstance(photo, Path)
    try:
        seen = FileState.at(photo)
        _check_files(photo, backup)
        _refuse_running(photo, backup)
        if not choices.force:
            _refuse_to_lose_work(photo, backup, history)
        if choices.dry_run:
            return Outcome(job, Status.PLANNED)
        if (found := FileState.at(photo)) != seen:  # reading both files may have taken a while
            raise PhotoError((drafts.CHANGED if found else drafts.GONE).format(photo.name))
        if any_place.is_same(photo, backup):  # hard links to one file, left by a killed run
            backup.unlink()
        else:
            drafts.move_over(backup, photo)
    except PhotoError as error:
        return Outcome(job, Status.FAILED, str(error))
    except OSError as error:
        return Outcome(job, Status.FAILED, describe_os_error(error))
    history.forget(photo)
    return Outcome(job, Status.DONE)


def _check_files(photo: Path, backup: Path) -> None:
    """Raise `PhotoError` if a backup is not the original of a photo, or cannot be renamed."""
    if backup.is_symlink() or not files.is_regular(backup):
        raise PhotoError("there is no original to put back")
    if not _is_photo(backup):
        raise PhotoError("is not a photo, so it cannot be an original of unblur")
    if files.is_folder(photo):
        raise PhotoError(f"{photo.name} is a folder: move it away")
    for file in (photo, backup):
        if files.is_taken(file) and (problem := problem_of_replacing(file)):
            raise PhotoError(problem)


def _refuse_running(photo: Path, backup: Path) -> None:
    """Raise `PhotoError` if a run has just kept a photo's original and is about to replace it."""
    if files.is_taken(photo) and files.keeps(backup, photo) and is_being_written(photo):
        raise PhotoError(drafts.BUSY.format(photo.name))


def _refuse_to_lose_work(photo: Path, backup: Path, history: History) -> None:
    """Raise `PhotoError` unless the photo is the unchanged result of its backup."""
    if not files.is_taken(photo) or any_place.is_same(photo, backup):
        return
    result, attributes = read_content(photo)
    original, _ = read_content(backup)
    assert result.content
    assert original.content
    if result.content == original.content:
        return  # the photo was never replaced, or was restored by copying
    records = history.with_pixels(pixels_in(result))
    marked = read_mark(attributes.mark, photo, result)
    _check_records([*records, *([marked] if marked else [])], photo, result, original)


def _check_records(
    records: list[Record], photo: Path, result: FileState, original: FileState
) -> None:
    """Raise `PhotoError` unless a record says that this result was made from this original."""
    made = [record for record in records if pixels_in(record.before) == pixels_in(original)]
    if not made:
        raise PhotoError(
            f"{photo.name} was edited after it was deblurred, or is not known as a result of this "
            f"original: move it away, or {FORCE}"
        )
    assert result.content
    if result.content.whole not in [r.after.content.whole for r in made if r.after.content]:
        raise PhotoError(
            f"the tags of {photo.name} were edited after it was deblurred: copy them, or {FORCE}"
        )
