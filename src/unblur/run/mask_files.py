"""Find and read the masks of photos: files, or objects in a store.

A single file is the mask of all photos. In a folder, the mask of ``IMG_1.jpg`` is named ``IMG_1``,
with the extension of any format. Masks themselves are not deblurred.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from unblur.errors import PhotoError, UsageError
from unblur.file_limits import most_bytes
from unblur.formats.photo import format_by_suffix
from unblur.options import Options
from unblur.run.jobs import Job, MaskFile
from unblur.storage import any_place, objects
from unblur.storage.filesystems import identity
from unblur.storage.places import Place, Url, parse_place
from unblur.user_text import describe_os_error

if TYPE_CHECKING:
    from unblur.formats.masks import Mask

IS_MASK = "a mask"


@dataclass
class Masks:
    """The masks of a run; each mask is read once and hashed.

    Args:
        options: The user's options.

    Raises:
        UsageError: If there is no such file or folder, or the single file is not a mask.
    """

    options: Options
    place: Place | None = field(init=False, default=None)
    """The mask, or the folder of masks; ``None``: deblur whole photos."""
    _is_folder: bool = field(init=False, default=False)
    _named: dict[str, list[Place]] = field(init=False, default_factory=lambda: defaultdict(list))
    """The files of the folder, by their names without extensions."""
    _known: dict[Place, MaskFile] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Read the file, or list the folder."""
        if self.options.mask is None:
            return
        place = parse_place(self.options.mask)
        try:
            self._look_at(place)
        except PhotoError as error:
            raise UsageError(str(error)) from error
        self.place = place

    def _look_at(self, place: Place) -> None:
        with _naming(place):
            self._is_folder = any_place.is_folder(place)
            inside = _inside(place) if self._is_folder else ()
            if not self._is_folder and not any_place.exists(place):
                raise UsageError(f"--mask {place}: no such file or folder")
        for path in inside:
            if format_by_suffix(path.suffix) and not path.name.startswith("."):
                self._named[path.stem].append(path)
        if not self._is_folder:
            read_mask(self._learn(place), self.options)

    def is_mask(self, place: Place) -> bool:
        """Return whether a file or an object is the mask, or in the folder of masks."""
        if isinstance(self.place, Url) and isinstance(place, Url):
            key = place.key_below(self.place)
            return place == self.place or (key is not None and "/" not in key)
        if self.place is None or isinstance(place, Url) or isinstance(self.place, Url):
            return False
        return identity(self.place) in (identity(place), identity(place.parent))

    def with_mask(self, job: Job) -> Job:
        """Return a job with the photo's mask, or with the problem that there is none."""
        if self.place is None or job.problem:
            return job
        try:
            return replace(job, mask=self._learn(self._path_for(job)))
        except PhotoError as error:
            return replace(job, problem=str(error))

    def _path_for(self, job: Job) -> Place:
        assert self.place
        if not self._is_folder:
            return self.place
        if job.source is None:
            raise PhotoError(f"has no name to find its mask in {self.place}: --mask needs a file")
        found = self._named.get(job.source.stem, [])
        if not found:
            raise PhotoError(f"has no mask: {self.place} has no picture named {job.source.stem}")
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise PhotoError(f"has more than one mask in {self.place}: {names}")
        return found[0]

    def _learn(self, place: Place) -> MaskFile:
        if place not in self._known:
            self._known[place] = find_mask(place, self.options)
        return self._known[place]


def _inside(folder: Place) -> Iterable[Place]:
    """Return the files or objects in a folder, sorted, without subfolders."""
    if not isinstance(folder, Url):
        return sorted(folder.iterdir())
    found = objects.ListedObjects().add(folder)
    return [url for url in found if "/" not in (url.key_below(folder) or "/")]


def find_mask(place: Place, options: Options) -> MaskFile:
    """Find a mask, and hash its present content.

    Raises:
        PhotoError: If the file cannot be read.
    """
    return MaskFile(place, digest_of(_read(place, options)))


def read_mask(mask: MaskFile, options: Options) -> Mask:
    """Read a mask.

    Raises:
        PhotoError: If the file cannot be read, is not a mask, or was changed since the plan.
    """
    data = _read(mask.place, options)
    if digest_of(data) != mask.digest:
        raise PhotoError(f"the mask {mask.place} was changed meanwhile: run again")
    return _decode(mask.place, data, options)


def open_mask(place: Place, options: Options) -> Mask:
    """Read a mask that is not part of a plan.

    Raises:
        PhotoError: If the file cannot be read, or is not a mask.
    """
    return _decode(place, _read(place, options), options)


def digest_of(data: bytes) -> str:
    """Return a short hash of a mask's content."""
    return hashlib.sha256(data).hexdigest()[:16]


def _read(place: Place, options: Options) -> bytes:
    with _naming(place):
        return any_place.read(place, most_bytes(options.max_pixels))


def _decode(place: Place, data: bytes, options: Options) -> Mask:
    with _naming(place):
        return _decoded(data, options.max_pixels)


@lru_cache(maxsize=1)  # photos that share a mask follow each other
def _decoded(data: bytes, max_pixels: int) -> Mask:
    from unblur.formats.masks import decode_mask

    return decode_mask(data, max_pixels)


@contextmanager
def _naming(place: Place) -> Iterator[None]:
    """Add the mask's name to errors."""
    try:
        yield
    except PhotoError as error:
        raise PhotoError(f"the mask {place}: {error}") from error
    except OSError as error:
        raise PhotoError(f"the mask {place}: {describe_os_error(error)}") from error
