"""Recognise names that a disk takes for one: they differ only by case or the form of an accent.

FAT, exFAT, NTFS, network shares and macOS ignore case; macOS, and some file systems of Linux, also
ignore whether an accent is a character of its own. In a new or empty folder this shows only when
the first of the files is written.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import defaultdict
from pathlib import Path

from unblur.errors import PhotoError
from unblur.run.jobs import Job
from unblur.storage.filesystems import are_one, identity, names_in
from unblur.storage.places import Place, Url


class Names:
    """The names of a run's files; files that the disk takes for one get the same identity."""

    def __init__(self) -> None:
        self._alike: defaultdict[str, dict[str, Path]] = defaultdict(dict)
        """For each spelling without case and form: the paths by their identity."""
        self._names_in = functools.cache(names_in)

    def identity(self, place: Place) -> Url | str:
        """Return what is the same for all names of a file; see `filesystems.identity`."""
        if isinstance(place, Url):
            return place
        text = identity(place)
        alike = self._alike[_folded(text)]
        for other, path in alike.items():
            if other == text or are_one(path, place, self._names_in):
                return other
        alike[text] = place
        return text

    def twins(self, place: Place) -> tuple[Path, ...]:
        """Return the other files whose names may turn out to be this one."""
        if isinstance(place, Url):
            return ()
        text = identity(place)
        return tuple(path for other, path in self._alike[_folded(text)].items() if other != text)


def refuse_twin(job: Job) -> None:
    """Raise `PhotoError` if the disk takes the result's name for that of another photo's result."""
    for twin in job.twins:
        if isinstance(job.target, Path) and not job.replaces and are_one(twin, job.target):
            raise PhotoError(
                f"{job.target} is also {twin} on this disk, the result of another photo: write "
                "them into two folders"
            )


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
