"""Load one photo: the first step of its job, before `unblur.run.network_step`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.errors import PhotoError
from unblur.file_limits import most_bytes
from unblur.options import BLURRY_LEVEL, Options
from unblur.run.jobs import Job
from unblur.run.known_results import ALREADY_DONE, is_marked
from unblur.run.mask_files import read_mask
from unblur.run.report import LeftAlone
from unblur.run.target_checks import problem_of_format
from unblur.storage import files, objects
from unblur.storage.attributes import Attributes
from unblur.storage.places import FileState, Url
from unblur.user_text import describe_os_error

if TYPE_CHECKING:
    from unblur.blur import Blur
    from unblur.formats.codec import Reduced
    from unblur.formats.masks import Mask
    from unblur.formats.photo import Photo


@dataclass(frozen=True)
class LoadedPhoto:
    """A photo that is ready for the network."""

    job: Job
    photo: Photo
    state: FileState | None
    """State of the file, with the hashes of its content; ``None`` for standard input."""
    attributes: Attributes | None
    """Owner, permissions and extended attributes; ``None`` if the photo is not a file."""
    started: float
    """Time in seconds when reading began, from `time.monotonic`."""
    mask: Mask | None = None
    """Mask of the areas to deblur; ``None``: the whole photo."""
    blur: Blur | None = None
    """The photo's blur, if `load` measured it."""
    unchanged: str = ""
    """Why the result has the photo's own pixels, so that the network need not run."""


def load(job: Job, options: Options, returns_memory: bool = True) -> LoadedPhoto:
    """Read and decode a photo.

    Args:
        job: The job.
        options: The user's options.
        returns_memory: Whether to return the decoder's memory to the system at once. Do not with
            many decoding threads: the next thread would wait for this.

    Raises:
        PhotoError: If the photo or its mask cannot be decoded, or the target has the wrong format.
        LeftAlone: If the photo is skipped, because its kind of blur is not wanted or it is a
            result.
    """
    from unblur.formats import any_format
    from unblur.main_memory import return_freed_memory
    from unblur.run.hashes import content_of

    started = time.monotonic()
    data, state, attributes = _read(job, options)
    photo, blur = _refuse_unwanted_blur(data, options)
    photo = photo or any_format.decode(data, options.max_pixels)
    if options.format or options.strip_metadata:  # the result has no other pictures
        photo = replace(photo, companions=())
    if state:
        state = replace(state, content=content_of(data, photo.index))
    if returns_memory:
        return_freed_memory()
    if (
        options.in_place
        and isinstance(job.source, Path)
        and state
        and attributes
        and is_marked(job.source, state, attributes.mark)
    ):
        raise LeftAlone(ALREADY_DONE)  # a run with another record has done it
    if problem := problem_of_format(job.target, photo.format, options):
        raise PhotoError(problem)
    if options.in_place:
        job = replace(job, replaced=state)
    mask = read_mask(job.mask, options) if job.mask else None
    unchanged = _reason_for_no_change(mask, options)
    return LoadedPhoto(job, photo, state, attributes, started, mask, blur, unchanged)


def _reason_for_no_change(mask: Mask | None, options: Options) -> str:
    if options.network.applies_none:
        return "--strength is 0"
    return "the mask is black all over" if mask and mask.is_black else ""


def _read(job: Job, options: Options) -> tuple[bytes, FileState | None, Attributes | None]:
    most = most_bytes(options.max_pixels)
    if job.source is None:
        try:
            return files.read_stream(sys.stdin.buffer, most), None, None
        except OSError as error:
            raise PhotoError(f"cannot be read: {describe_os_error(error)}") from error
    if isinstance(job.source, Url):
        return *objects.read(job.source, most), None
    data, attributes = files.read_photo_bytes(job.source, most)
    return data, FileState.of(attributes.status), attributes


def read_reduced(job: Job, options: Options) -> Reduced:
    """Read a photo at the resolution for measuring its blur.

    Raises:
        PhotoError: If the photo cannot be read or decoded.
    """
    from unblur.formats import any_format

    return any_format.decode_reduced(_read(job, options)[0], options.max_pixels)[0]


def _refuse_unwanted_blur(data: bytes, options: Options) -> tuple[Photo | None, Blur | None]:
    """Raise `LeftAlone` for a photo whose kind of blur is not wanted.

    Returns:
        The photo, if measuring decoded it as a whole; and its blur, if it was measured.
    """
    from unblur.blur import find_blur
    from unblur.formats import any_format
    from unblur.score import blur_score

    if options.only_blurry is None:
        return None, None
    reduced, photo = any_format.decode_reduced(data, options.max_pixels)
    blur = None
    if options.only_motion or options.verdict:
        blur = find_blur(reduced.pixels, reduced.factor)
    score = blur.score if blur else blur_score(reduced.pixels)
    if score < options.only_blurry:
        raise LeftAlone(f"sharp: its blur score {score:.2f} is below {options.only_blurry:.15g}")
    if blur and options.only_motion:
        _refuse_unmoved(blur)
    return photo, blur


def _refuse_unmoved(blur: Blur) -> None:
    """Raise `LeftAlone` for a photo that is out of focus, or only has a soft background."""
    from unblur.blur import Kind

    if blur.kind is Kind.FOCUS:
        raise LeftAlone("out of focus: its contours are equally wide in all directions")
    if blur.kind is Kind.SHARP and blur.score >= BLURRY_LEVEL:
        raise LeftAlone("sharp in front of a soft background")
