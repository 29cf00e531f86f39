"""Find out from the record of results whether a photo is done, or is itself a result.

A file with the recorded path, size and time stamp is recognised without reading it. If they do not
match, but the file may be a result, the file is read and recognised by its content. Its new path is
recorded, so that the next run need not read it again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.errors import PhotoError
from unblur.run.hashes import read_content
from unblur.run.history import History, Record, key_of, pixels_in, whole_in
from unblur.run.in_place_marks import read_mark
from unblur.storage import objects
from unblur.storage.attributes import has_mark
from unblur.storage.files import exists
from unblur.storage.places import FileState, Place, Url, backup_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from unblur.formats.photo import Format
    from unblur.options import Options
    from unblur.run.jobs import Job

    Look = Callable[[Place], FileState | None]
    """Returns the state of a file or object; ``None`` if it does not exist."""

ALREADY_DONE = "already done"
IS_RESULT = "is itself a result of unblur; --overwrite deblurs it once more"


@dataclass
class KnownResults:
    """Recognises results and their photos, from the record and the content of files.

    Args:
        history: The record of results.
        settings: See `unblur.run.runner.Session`.
        look: Returns the state of a file or object.
        reads: Whether files may be read to recognise them by their content.
        most: Largest file to read, in bytes; ``None``: any size.
    """

    history: History
    settings: str
    look: Look = objects.state_of
    reads: bool = True
    most: int | None = None
    _read: dict[Path, tuple[FileState, list[Record]]] = field(default_factory=dict, repr=False)
    """Files that were read; for each its state, and the records of results with its pixels."""

    def is_done(self, job: Job, options: Options) -> bool:
        """Return whether an earlier run has completed a job."""
        if job.source is None or job.target is None:
            return False
        if options.in_place:
            # The original is gone, so the settings do not matter: never deblur a result again.
            return self._has_replaced_its_photo(job.target)
        if options.on_existing == "overwrite":
            return False
        is_thorough = options.on_existing == "error"  # "skip" skips any existing file
        files = (file for file in (job.target, job.comparison) if file)
        settings = self.settings + job.settings
        return all(self._is_made_of(job.source, file, settings, is_thorough) for file in files)

    def format_of(self, photo: Path, options: Options) -> Format | None:
        """Return the format of an unchanged photo from the record, without reading the photo."""
        with contextlib.suppress(PhotoError):  # reading the photo will report it
            if state := self.look(photo):
                return self.history.format_of(photo, state, is_result=options.in_place)
        return None

    def is_ours(self, target: Place, source: Place | None) -> bool:
        """Return whether a file is a result of a photo, which a newer result may replace."""
        if source is None:
            return False
        return any(
            record.source == key_of(source) or self._is_same_photo(source, record)
            for record in self._same_at(target, is_thorough=True)
        )

    def is_result(self, photo: Place) -> bool:
        """Return whether a photo is itself the result of another photo."""
        for record in self._results_at(photo):
            if record.is_changed:
                self._learn(record)
                return True
        return False

    def recognise(self, photo: Place, state: FileState, options: Options) -> str | None:
        """Return why to skip a photo that has the content of a result; ``None`` for other photos.

        Args:
            photo: The photo.
            state: The photo's state, with the hashes of its content.
            options: The user's options.
        """
        if options.on_existing == "overwrite" and not options.in_place:
            return None
        for record in self._known(photo, state):
            if record.is_changed or (options.in_place and _is_certain(record, state)):
                self._learn(replace(record, source=photo) if options.in_place else record)
                return ALREADY_DONE if options.in_place else IS_RESULT
        return None

    def is_made_of(self, job: Job, state: FileState, options: Options) -> bool:
        """Return whether the files of a job were made of a photo with this content.

        Some servers give the same photo another version each time, so only its content tells.

        Args:
            job: The job.
            state: The photo's state, with the hashes of its content.
            options: The user's options.
        """
        if (
            options.in_place
            or options.on_existing == "overwrite"
            or not isinstance(job.source, Url)
        ):
            return False
        settings, known = self.settings + job.settings, []
        for file in (job.target, job.comparison):
            made = self._same_at(file) if file else []
            known += [r for r in made if r.settings == settings and _is_made_of(r, state)][:1]
        if len(known) < 1 + (job.comparison is not None):
            return False
        for record in known:
            self._learn(replace(record, source=job.source, before=state))
        return True

    def _has_replaced_its_photo(self, photo: Place) -> bool:
        has_backup = isinstance(photo, Path) and exists(backup_of(photo))
        for record in self._results_at(photo, is_thorough=has_backup):
            self._learn(record if record.is_recorded else replace(record, source=photo))
            return True
        return False

    def _is_made_of(self, source: Place, target: Place, settings: str, is_thorough: bool) -> bool:
        """Return whether a file is a result of the unchanged photo, made with the same settings."""
        for record in self._same_at(target, is_thorough):
            if record.settings != settings:
                continue
            is_as_it_was = record.source == key_of(source) and self._is_in(source, record.before)
            if is_as_it_was and (pixels_in(record.before) or not self._may_read(source)):
                self._learn(record)
                return True
            if is_as_it_was or self._is_same_photo(source, record):
                before = self._look_inside(_path(source))[0]
                self._learn(replace(record, source=source, before=before))
                return True
        return False

    def _is_in(self, source: Place, state: FileState) -> bool:
        """Return whether a photo still is in a state."""
        found = self.look(source)
        return found is not None and objects.holds(source, state, found)

    def _is_same_photo(self, source: Place, record: Record) -> bool:
        """Return whether a photo has the pixels that a result was made from."""
        if not pixels_in(record.before) or not self._may_read(source):
            return False
        return pixels_in(self._look_inside(_path(source))[0]) == pixels_in(record.before)

    def _results_at(self, place: Place, is_thorough: bool = False) -> list[Record]:
        """Return the records of a file or object, if it is certainly a result; see `_same_at`."""
        same = self._same_at(place, is_thorough)
        return [r for r in same if r.is_recorded or _is_certain(r, self._read[_path(place)][0])]

    def _same_at(self, place: Place, is_thorough: bool = False) -> list[Record]:
        """Return the records of results with the same pixels as a file or object.

        Args:
            place: The file or object.
            is_thorough: Whether to read a file even if nothing suggests that it is a result.
        """
        state = self.look(place)
        record = self.history.at(place, state) if state else None
        if record and record.before == record.after and not isinstance(place, Url):
            record = None  # the photo has the same size and time, and may have been restored
        if record and (pixels_in(record.after) or not self._may_read(place)):
            return [record]
        if state is None or not self._may_read(place):
            return []
        path = _path(place)
        is_thorough = is_thorough and not self.history.is_empty
        if is_thorough or self.history.may_hold(path, state.size) or has_mark(path):
            return self._look_inside(path)[1]
        return []

    def _look_inside(self, path: Path) -> tuple[FileState, list[Record]]:
        """Read a file once; return its state with hashes, and the records with its pixels."""
        if path not in self._read:
            try:
                state, attributes = read_content(path, self.most)
            except PhotoError:  # reading it for its job will report it
                self._read[path] = FileState(0, 0), []
            else:
                known, marked = self._known(path, state), read_mark(attributes.mark, path, state)
                known += [marked] if marked else []
                self._read[path] = state, known
        return self._read[path]

    def _known(self, place: Place, state: FileState) -> list[Record]:
        """Return the records of results with the same pixels, as if they were at this place."""
        same = self.history.with_pixels(pixels_in(state))
        return [
            replace(record, target=place, after=replace(state, content=record.after.content))
            for record in same
        ]

    def _learn(self, record: Record) -> None:
        """Record the new place of a result that was recognised by its content."""
        if not record.is_recorded:
            self.history.learn(record)

    def _may_read(self, place: Place) -> bool:
        return self.reads and not isinstance(place, Url)  # an object would have to be downloaded


def is_marked(photo: Path, state: FileState, mark: bytes) -> bool:
    """Return whether a mark shows that a photo is a result of ``--in-place``.

    Args:
        photo: The photo.
        state: The photo's state, with the hashes of its content.
        mark: The photo's mark; empty if it has none.
    """
    record = read_mark(mark, photo, state)
    return record is not None and _is_certain(record, state)


def _is_made_of(record: Record, state: FileState) -> bool:
    return pixels_in(record.before) == pixels_in(state) != ""


def _path(place: Place) -> Path:
    assert isinstance(place, Path)
    return place


def _is_certain(record: Record, state: FileState) -> bool:
    """Return whether a file with the pixels of a result is that result.

    If deblurring did not change the pixels, the file may also be the photo, or a copy of the photo.

    Args:
        record: Record of the result, at the place of the file.
        state: State of the file, with its content.
    """
    if record.is_changed:
        return True
    given, made, found = whole_in(record.before), whole_in(record.after), whole_in(state)
    return found != given and (found == made or record.replaced_its_photo)
