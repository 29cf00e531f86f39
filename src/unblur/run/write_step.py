"""Write the result of one photo: finish it under a temporary name, then publish it.

Between `finish` and `publish`, the runner records the result, so that no crash leaves an unrecorded
result. The steps before are `unblur.run.load_step` and `unblur.run.network_step`.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.errors import PhotoError
from unblur.options import Options
from unblur.run.comparing import compare
from unblur.run.in_place_marks import make_mark
from unblur.run.jobs import Job
from unblur.run.load_step import LoadedPhoto
from unblur.run.report import Outcome
from unblur.run.result_names import wanted_format
from unblur.run.sidecars import Pairs, copy_sidecars, plan_copies
from unblur.run.threads import ThreadPool
from unblur.run.twins import refuse_twin
from unblur.storage import drafts, files, objects
from unblur.storage.attributes import Attributes
from unblur.storage.places import FileState, Place, Url, backup_of

if TYPE_CHECKING:
    from unblur.formats.photo import Encoded
    from unblur.network.photo_rows import Pixels


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
        comparison = beside.submit(compare, loaded, pixels, options)
        encoded = _encode(loaded, pixels, options)
    outcome, picture = comparison.result()
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
        mark = make_mark(content, loaded.state, settings + job.settings)
        marked = attributes.for_replacement(mark)
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
        refuse_twin(job)
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
