"""Find and read the masks of photos.

A single file is the mask of all photos. In a folder, the mask of ``IMG_1.jpg`` has the name
``IMG_1`` and the extension of any format. Masks are not deblurred themselves.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.errors import PhotoError, UsageError
from unblur.formats.photo import format_by_suffix
from unblur.limits import most_bytes
from unblur.options import Options
from unblur.run.jobs import Job, MaskFile
from unblur.storage import files
from unblur.storage.filesystems import identity
from unblur.storage.places import Place, Url, parse_place

if TYPE_CHECKING:
    from unblur.formats.masks import Mask

IS_MASK = "a mask"


@dataclass
class Masks:
    """The masks of a run; each is read once and hashed.

    Args:
        options: The user's options.

    Raises:
        UsageError: If there is no such file or folder, or the single file is not a mask.
    """

    options: Options
    place: Path | None = field(init=False, default=None)
    """The file or folder; ``None``: photos are deblurred everywhere."""
    _named: dict[str, list[Path]] = field(init=False, default_factory=lambda: defaultdict(list))
    """The files of a folder, by their names without endings."""
    _known: dict[Path, MaskFile] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Read the file, or list the folder."""
        if self.options.mask is None:
            return
        place = parse_place(self.options.mask)
        if isinstance(place, Url):
            raise UsageError(f"--mask {place}: masks must be files, not objects in a store")
        if not files.exists(place):
            raise UsageError(f"--mask {place}: no such file or folder")
        self.place = place
        if files.is_folder(place):
            for path in sorted(place.iterdir()):
                if format_by_suffix(path.suffix) and not path.name.startswith("."):
                    self._named[path.stem].append(path)
        else:
            try:
                read_mask(self._learn(place), self.options)
            except PhotoError as error:
                raise UsageError(str(error)) from error

    def is_mask(self, place: Place) -> bool:
        """Tell whether a file is the mask, or in the folder of masks."""
        if self.place is None or isinstance(place, Url):
            return False
        return identity(self.place) in (identity(place), identity(place.parent))

    def with_mask(self, job: Job) -> Job:
        """Return a job with the photo's mask; if it has none, with that problem."""
        if self.place is None or job.problem:
            return job
        try:
            return replace(job, mask=self._learn(self._path_for(job)))
        except PhotoError as error:
            return replace(job, problem=str(error))

    def _path_for(self, job: Job) -> Path:
        assert self.place
        if not files.is_folder(self.place):
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

    def _learn(self, path: Path) -> MaskFile:
        if path not in self._known:
            self._known[path] = find_mask(path, self.options)
        return self._known[path]


def find_mask(path: Path, options: Options) -> MaskFile:
    """Read what the file of a mask holds now.

    Raises:
        PhotoError: If the file cannot be read.
    """
    return MaskFile(path, digest_of(_read(path, options)))


def read_mask(mask: MaskFile, options: Options) -> Mask:
    """Read a mask.

    Raises:
        PhotoError: If the file cannot be read, is not a mask, or was changed since the plan.
    """
    from unblur.formats.masks import decode_mask

    data = _read(mask.path, options)
    if digest_of(data) != mask.digest:
        raise PhotoError(f"the mask {mask.path} was changed meanwhile: run again")
    try:
        return decode_mask(data, options.max_pixels)
    except PhotoError as error:
        raise PhotoError(f"the mask {mask.path}: {error}") from error


def digest_of(data: bytes) -> str:
    """Return a short hash of a mask's file."""
    return hashlib.sha256(data).hexdigest()[:16]


def _read(path: Path, options: Options) -> bytes:
    try:
        return files.read_photo_bytes(path, most_bytes(options.max_pixels))[0]
    except PhotoError as error:
        raise PhotoError(f"the mask {path}: {error}") from error
