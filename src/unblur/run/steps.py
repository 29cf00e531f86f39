"""Process one photo in three steps: load it, finish its result, publish the result.

The steps are the same on this machine and on a cluster. Between `finish` and `publish`, the runner
records the result, so that no crash leaves an unrecorded result.
"""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.errors import PhotoError
from unblur.file_limits import most_bytes
from unblur.options import BLURRY_LEVEL, Options
from unblur.run.in_place_marks import make_mark
from unblur.run.jobs import Job
from unblur.run.known_results import ALREADY_DONE, is_marked
from unblur.run.mask_files import read_mask
from unblur.run.report import LeftAlone, Outcome, Status, outcome_of_error
from unblur.run.result_names import wanted_format
from unblur.run.sidecars import Pairs, copy_sidecars, plan_copies
from unblur.run.target_checks import problem_of_format
from unblur.run.threads import ThreadPool
from unblur.storage import drafts, files, objects
from unblur.storage.attributes import Attributes
from unblur.storage.places import FileState, Place, Url, backup_of
from unblur.user_text import describe_os_error

if TYPE_CHECKING:
    from unblur.blur import Blur
    from unblur.formats.codec import Reduced
    from unblur.formats.masks import Mask
    from unblur.formats.photo import Encoded, Photo
    from unblur.network.photo_rows import Pixels


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


@dataclass(frozen=True)
class FinishedPhoto:
    """A complete but unpublished result; leaving the context deletes it."""

    outcome: Outcome
    draft: drafts.Draft
    started: float
    comparison: drafts.Draft | None = None
    sidecars: Pairs = ()
    """Sidecars to copy beside the result, and their places."""
    keeps_backup: bool = False
    """Whether to keep the original, which the result replaces, as a backup."""

    def __enter__(self) -> FinishedPhoto:
        return self

    def __exit__(self, *unused: object) -> None:
        """Delete unpublished drafts."""
        with self.draft, self.comparison or contextlib.nullcontext():
            pass


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
    photo, blur = _unless_left_alone(data, options)
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


def _unless_left_alone(data: bytes, options: Options) -> tuple[Photo | None, Blur | None]:
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


def finish(
    loaded: LoadedPhoto, pixels: Pixels, options: Options, settings: str = "", stdout: int = -1
) -> FinishedPhoto:
    """Encode the deblurred pixels, and write the result to a temporary file beside its target.

    Args:
        loaded: The photo.
        pixels: The deblurred pixels, of the same shape and dtype as the photo's.
        options: The user's options.
        settings: See `unblur.run.runner.Session`; part of the mark on results of ``--in-place``.
        stdout: File descriptor of standard output, for a job without a target.

    Raises:
        PhotoError: If the mask does not fit, or the result cannot be encoded or written.
    """
    from unblur.run.hashes import content_of

    job = loaded.job
    if loaded.mask:
        from unblur.formats.masks import masked

        photo, pixels = masked(loaded.photo, pixels, loaded.mask)
        loaded = replace(loaded, photo=photo)
    with ThreadPool(1, "compare") as beside:
        comparing = beside.submit(_compare, loaded, pixels, options)
        encoded = _encode(loaded, pixels, options)
    outcome, picture = comparing.result()
    notes = encoded.notes + _prepare_place(job, options)
    sidecars, sidecar_notes = plan_copies(job, options)
    outcome = replace(outcome, notes=notes + sidecar_notes + outcome.notes)
    if job.target is None:
        return FinishedPhoto(outcome, drafts.StreamDraft(stdout, encoded.data), loaded.started)
    attributes = loaded.attributes
    if attributes and options.strip_metadata:
        attributes = attributes.stripped()
    content = content_of(encoded.data, encoded.index)
    marked = attributes
    if attributes and loaded.state and options.in_place:
        marked = attributes.marked(make_mark(content, loaded.state, settings + job.settings))
    draft = _draft(job.target, encoded.data, marked, options.preserve_times)
    target_state = draft.state and replace(draft.state, content=content)
    outcome = replace(outcome, target_state=target_state)
    finished = FinishedPhoto(
        outcome, draft, loaded.started, sidecars=sidecars, keeps_backup=options.keeps_backup
    )
    if job.comparison is None or picture is None:
        return finished
    return _with_comparison(finished, job.comparison, picture, attributes)


def _with_comparison(
    finished: FinishedPhoto, place: Place, picture: bytes, like: Attributes | None
) -> FinishedPhoto:
    """Add the comparison as a second draft; if it cannot be written, delete the result's draft."""
    from unblur.run.hashes import content_of

    try:
        comparison = _draft(place, picture, like and like.stripped())
    except PhotoError:
        with finished:  # deletes the draft
            raise
    state = comparison.state and replace(comparison.state, content=content_of(picture))
    outcome = replace(finished.outcome, comparison_state=state)
    return replace(finished, outcome=outcome, comparison=comparison)


def _encode(loaded: LoadedPhoto, pixels: Pixels, options: Options) -> Encoded:
    """Encode new pixels; a photo that nothing changes stays byte for byte as it is."""
    from unblur.formats import any_format
    from unblur.formats.photo import Encoded

    photo, form = loaded.photo, wanted_format(options)
    is_recoded = options.quality is not None or options.strip_metadata
    if loaded.unchanged and (form or photo.format.result) is photo.format and not is_recoded:
        return Encoded(photo.container, index=photo.index)
    return any_format.encode(
        photo,
        pixels,
        options.refresh_thumbnail,
        form=form,
        quality=options.quality,
        strip_metadata=options.strip_metadata,
    )


def _draft(
    place: Place, data: bytes, like: Attributes | None, keep_time: bool = False
) -> drafts.Draft:
    """Write a temporary file with the photo's permissions, or prepare an object's upload."""
    if isinstance(place, Url):
        return objects.Upload(place, data)
    return drafts.FileDraft(place, data, like, keep_time)


def _compare(loaded: LoadedPhoto, pixels: Pixels, options: Options) -> tuple[Outcome, bytes | None]:
    """Judge the blur of the photo, and draw the pictures that the options ask for.

    Returns:
        The outcome with its small pictures; and the comparison as a PNG file, or ``None``.
    """
    height, width = loaded.photo.pixels.shape[:2]
    outcome = Outcome(
        loaded.job,
        Status.DONE,
        width=width,
        height=height,
        details=loaded.photo.notes,
        source_state=loaded.state,
    )
    draws = outcome.job.comparison or options.picture_side or options.screen
    if not (draws or options.verdict):
        return outcome, None
    try:
        from unblur.pictures import compare
        from unblur.pictures.preview import draw_preview
        from unblur.pictures.strengths import code_strengths
        from unblur.pictures.verdict import judge

        pair = compare.make_pair(loaded.photo, pixels)
        side, screen = options.picture_side, options.screen
        has_all = options.network.applies_all and not loaded.mask
        judged = partial(judge, pair, loaded.blur, has_all=has_all, unchanged=loaded.unchanged)
        shown = replace(
            outcome,
            pictures=compare.make_pictures(pair, side) if side else None,
            preview=draw_preview(pair, screen) if screen else None,
            verdict=judged() if options.verdict else None,
        )
        if not outcome.job.comparison:
            return shown, None
        if options.compare == "strengths":
            return shown, code_strengths(pair)
        return shown, compare.code_comparison(pair)
    except Exception as error:  # must not lose the result
        failed = outcome_of_error(outcome.job, error)
        note = f"the photo could not be compared with its result: {failed.reason}"
        job = replace(outcome.job, comparison=None)
        return replace(outcome, job=job, notes=(*outcome.notes, note), trace=failed.trace), None


def drawing_bytes(options: Options) -> int:
    """Return the memory in bytes for comparing photos with their results; 0 without comparing."""
    if not (options.compare or options.picture_side or options.screen or options.verdict):
        return 0
    from unblur.pictures.compare import DRAWING_BYTES

    return DRAWING_BYTES


def _prepare_place(job: Job, options: Options) -> tuple[str, ...]:
    """Make the folder of a result, and return notes for the user."""
    if job.target is None:
        return ()
    if job.folder and isinstance(job.target, Path):
        job.folder.check(job.target)
    _refuse_changed(job)
    if isinstance(job.target, Url):
        return ()
    if not options.in_place:
        if options.output is not None:  # else it is the photo's folder, perhaps renamed since
            drafts.make_folder(job.target.parent)
        return ()
    is_shared = files.has_other_links(job.target, backup_of(job.target))
    return ("other names of the file (hard links) keep the original",) if is_shared else ()


def _refuse_changed(job: Job) -> None:
    """Raise `PhotoError` if the file to replace has changed since it was read or planned."""
    if job.target and job.replaced and not objects.holds(job.target, job.replaced):
        is_gone = objects.state_of(job.target) is None
        raise PhotoError((drafts.GONE if is_gone else drafts.CHANGED).format(job.target))


def publish(finished: FinishedPhoto) -> Outcome:
    """Rename a finished result to its target, after its comparison.

    Raises:
        PhotoError: If a file exists that must not be replaced, or renaming fails.
    """
    job, comparison = finished.outcome.job, None
    with finished:
        _refuse_changed(job)
        if finished.comparison:
            comparison = finished.comparison.publish(job.replaces_comparison)
            _refuse_changed(job)  # flushing the comparison may have taken a while
        target = _publish(finished)
    notes = finished.outcome.notes + copy_sidecars(finished.sidecars)
    seconds = time.monotonic() - finished.started
    return replace(finished.outcome, notes=notes, seconds=seconds).published(target, comparison)


def _publish(finished: FinishedPhoto) -> FileState | None:
    """Give a result its name, and keep the original as a backup if that is wanted."""
    job, draft = finished.outcome.job, finished.draft
    if not (finished.keeps_backup and job.target):
        return draft.publish(job.replaces)
    if isinstance(job.target, Url):
        objects.copy(job.target, backup_of(job.target))
        _refuse_changed(job)  # another run may have replaced the object while it was copied
        return draft.publish(job.replaces)
    backup = backup_of(job.target)
    assert isinstance(draft, drafts.FileDraft)
    return drafts.replace_with_backup(draft, job.target, backup, job.replaced)
