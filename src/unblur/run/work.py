"""What is done with one photo: load it, finish its result, give the result its name.

Nothing here knows where it runs, or of other photos. Between `finish` and
`publish` whoever runs it records the result, so that no crash can leave one
that nobody knows.
"""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from unblur.errors import PhotoError, UnblurError
from unblur.formats.photo import CONVERSIONS, Format
from unblur.limits import most_bytes
from unblur.options import Options
from unblur.run.done import ALREADY_DONE, is_marked
from unblur.run.jobs import Job
from unblur.run.marks import make_mark
from unblur.run.plan import has_other_links
from unblur.run.report import Outcome, Status
from unblur.storage import drafts, files, objects
from unblur.storage.attributes import Attributes
from unblur.storage.places import Content, FileState, Place, Url, backup_of
from unblur.words import describe_os_error

if TYPE_CHECKING:
    from unblur.formats.photo import Photo
    from unblur.network.photo_rows import Pixels

T = TypeVar("T")


@dataclass(frozen=True)
class Loaded:
    """A photo that is ready for the network."""

    job: Job
    photo: Photo
    state: FileState | None
    """What tells its file from a changed one; ``None`` for standard input."""
    attributes: Attributes | None
    """What its file system knows of its file; ``None`` if it lies in no file."""
    started: float


@dataclass(frozen=True)
class Result:
    """What is to be remembered of a photo that is done."""

    outcome: Outcome
    source: FileState | None
    """What it was made from; ``None`` for standard input."""
    target: FileState | None
    """What it became; ``None`` for standard output."""
    comparison: FileState | None = None

    @property
    def states(self) -> tuple[FileState | None, FileState | None]:
        """What was written: the result, and its comparison with the photo."""
        return self.target, self.comparison

    def written(
        self, outcome: Outcome, target: FileState | None, comparison: FileState | None
    ) -> Result:
        """Return it with the states of what was written, as it is in its place."""
        return Result(
            outcome,
            self.source,
            _holding(target, self.target.content if self.target else None),
            _holding(comparison, self.comparison.content if self.comparison else None),
        )


@dataclass(frozen=True)
class Finished:
    """A result that only needs its name."""

    result: Result
    draft: drafts.Draft
    started: float
    comparison: drafts.Draft | None = None

    def __enter__(self) -> Finished:
        return self

    def __exit__(self, *unused: object) -> None:
        """Discard what was not published."""
        with self.draft, self.comparison or contextlib.nullcontext():
            pass


def attempt(job: Job, act: Callable[[], T]) -> T | Outcome:
    """Do a part of a job; whatever goes wrong with it becomes its outcome."""
    trace = ""
    try:
        return act()
    except UnblurError as error:
        reason = str(error)
    except MemoryError:
        reason = "out of memory; a smaller --tile or --jobs 1 needs less"
    except Exception as error:  # the boundary: a bug with one photo must not lose the others
        trace = traceback.format_exc()
        reason = f"unexpected {type(error).__name__}: {error}; -vv shows where"
    return Outcome(job, Status.FAILED, reason, trace=trace)


def load(job: Job, options: Options) -> Loaded | Outcome:
    """Read and decode a photo; one that is to be left alone gets its outcome.

    Raises:
        PhotoError: If it cannot be processed as asked for.
    """
    from unblur.formats import coding
    from unblur.main_memory import return_freed_memory
    from unblur.run.content import content_of

    started = time.monotonic()
    data, state, attributes = _read(job, options)
    photo = None
    if options.only_blurry is not None:
        found, photo = _score(data, options)
        if found < options.only_blurry:
            reason = f"sharp: its blur score {found:.2f} is below {options.only_blurry:g}"
            return Outcome(job, Status.SKIPPED, reason)
    photo = photo or coding.decode(data, options.max_pixels)
    if state:
        state = replace(state, content=content_of(data, photo.index))
    return_freed_memory()
    if options.in_place and _is_result(job, state, attributes):
        return Outcome(job, Status.SKIPPED, ALREADY_DONE)
    _check_target(job, photo.format, options)
    if options.in_place:
        job = replace(job, replaced=state)
    return Loaded(job, photo, state, attributes, started)


def _is_result(job: Job, state: FileState | None, attributes: Attributes | None) -> bool:
    """Tell whether a photo turns out to be what another run, with another record, made of it."""
    if state is None or attributes is None or not isinstance(job.source, Path):
        return False
    return is_marked(job.source, state, attributes.mark)


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


def score(job: Job, options: Options) -> float:
    """Read a photo and return its `unblur.score.blur_score`.

    Raises:
        PhotoError: If it cannot be read or decoded.
    """
    return _score(_read(job, options)[0], options)[0]


def _score(data: bytes, options: Options) -> tuple[float, Photo | None]:
    """Return the score, and the photo if it had to be decoded as a whole."""
    from unblur.formats import coding
    from unblur.score import blur_score

    pixels, photo = coding.decode_reduced(data, options.max_pixels)
    return blur_score(pixels), photo


def _check_target(job: Job, form: Format, options: Options) -> None:
    """Refuse to write a format over another one, or under another one's ending."""
    result = _result_format(options) or form.result
    if options.in_place:
        if result is not form:
            raise PhotoError(
                f"a {form.name} file becomes {result.name}, so --in-place cannot replace it"
            )
    elif job.target is not None and job.target.suffix.lower() not in result.suffixes:
        verb = "stays one" if result is form else f"becomes {result.name}"
        raise PhotoError(
            f"is a {form.name} file and {verb}, "
            f"but {job.target.name} does not end in {result.suffixes[0]}; see --format"
        )


def _result_format(options: Options) -> Format | None:
    return CONVERSIONS[options.format] if options.format else None


def finish(
    loaded: Loaded, pixels: Pixels, options: Options, settings: str = "", stdout: int = -1
) -> Finished:
    """Encode new pixels, and write the result beside its place.

    Args:
        loaded: The photo.
        pixels: Of the same shape and type as the photo's.
        options: What the user asked for.
        settings: What the result depends on besides its photo; see `unblur.run.runner.Session`.
        stdout: Descriptor for a photo that goes to standard output.

    Raises:
        PhotoError: If it cannot be encoded or written.
    """
    from unblur.formats import coding
    from unblur.run.content import content_of

    job, photo = loaded.job, loaded.photo
    encoded = coding.encode(
        photo,
        pixels,
        options.refresh_thumbnail,
        form=_result_format(options),
        quality=options.quality,
        strip_metadata=options.strip_metadata,
    )
    notes = encoded.notes + _prepare_place(job, options)
    height, width = photo.pixels.shape[:2]
    outcome = Outcome(job, Status.DONE, "", width, height, 0.0, notes, photo.notes)
    outcome, picture = _show(outcome, loaded, pixels, options)
    if job.target is None:
        stream = drafts.StreamDraft(stdout, encoded.data)
        return Finished(Result(outcome, loaded.state, None), stream, loaded.started)
    attributes = loaded.attributes
    if attributes and options.strip_metadata:
        attributes = attributes.stripped()
    content = content_of(encoded.data, encoded.index)
    marked = attributes
    if attributes and loaded.state and options.in_place:
        marked = attributes.marked(make_mark(content, loaded.state, settings))
    draft = _draft(job.target, encoded.data, marked, options.preserve_times)
    result = Result(outcome, loaded.state, _holding(draft.state, content))
    if job.comparison is None or picture is None:
        return Finished(result, draft, loaded.started)
    try:
        comparison = _draft(job.comparison, picture, attributes and attributes.stripped())
    except PhotoError:
        with draft:  # which is thrown away
            raise
    result = replace(result, comparison=_holding(comparison.state, content_of(picture)))
    return Finished(result, draft, loaded.started, comparison)


def _holding(state: FileState | None, content: Content | None) -> FileState | None:
    """Return the state of a file whose content is known."""
    return state and replace(state, content=content)


def _draft(
    place: Place, data: bytes, like: Attributes | None, keep_time: bool = False
) -> drafts.Draft:
    """Write a file as private as the photo, or get an object ready, without its name yet."""
    if isinstance(place, Url):
        return objects.Upload(place, data)
    return drafts.FileDraft(place, data, like, keep_time)


def _show(
    outcome: Outcome, loaded: Loaded, pixels: Pixels, options: Options
) -> tuple[Outcome, bytes | None]:
    """Draw what shows a photo before and after, as far as it is asked for.

    Returns:
        The outcome with its pictures, and the comparison as a PNG file.
    """
    if not (outcome.job.comparison or options.picture_side or options.screen):
        return outcome, None

    def draw() -> tuple[Outcome, bytes | None]:
        from unblur.pictures import compare
        from unblur.pictures.preview import draw_preview

        pair = compare.make_pair(loaded.photo, pixels)
        side, screen = options.picture_side, options.screen
        shown = replace(
            outcome,
            pictures=compare.make_pictures(pair, side) if side else None,
            preview=draw_preview(pair, screen) if screen else None,
        )
        return shown, compare.code_comparison(pair) if outcome.job.comparison else None

    drawn = attempt(outcome.job, draw)
    if isinstance(drawn, Outcome):  # no reason to lose the result
        notes = (
            *outcome.notes,
            f"the pictures of before and after could not be drawn: {drawn.reason}",
        )
        job = replace(outcome.job, comparison=None)
        return replace(outcome, job=job, notes=notes, trace=drawn.trace), None
    return drawn


def drawing_bytes(options: Options) -> int:
    """Return the memory that drawing a photo before and after takes, if that is asked for."""
    if not (options.compare or options.picture_side or options.screen):
        return 0
    from unblur.pictures.compare import DRAWING_BYTES

    return DRAWING_BYTES


def _prepare_place(job: Job, options: Options) -> tuple[str, ...]:
    """Make the folder or the backup, and return what the user should know of that."""
    if job.target is None:
        return ()
    _refuse_changed(job)  # of which a backup would be kept, too
    if isinstance(job.target, Url):
        if options.keeps_backup:
            objects.copy(job.target, backup_of(job.target))
        return ()
    if not options.in_place:
        drafts.make_folder(job.target.parent)
        return ()
    is_shared = has_other_links(job.target)
    if options.keeps_backup:
        drafts.keep_backup(job.target, backup_of(job.target))
    return ("other names of the file (hard links) keep the original",) if is_shared else ()


def _refuse_changed(job: Job) -> None:
    """Look whether what is to be replaced is still what it was.

    Raises:
        PhotoError: If not: somebody has edited it.
    """
    if job.target and job.replaced and objects.state_of(job.target) != job.replaced:
        raise PhotoError(f"{job.target} was changed meanwhile, and stays; run again")


def publish(finished: Finished) -> Result:
    """Give a result its name, in one step; and before that its comparison.

    Raises:
        PhotoError: If a file is there that must stay, or the name cannot be given.
    """
    result = finished.result
    job, comparison = result.outcome.job, None
    with finished.draft, finished.comparison or contextlib.nullcontext():
        _refuse_changed(job)
        if finished.comparison:
            comparison = finished.comparison.publish(job.replaces_comparison)
        target = finished.draft.publish(job.replaces)
    seconds = time.monotonic() - finished.started
    outcome = replace(result.outcome, seconds=seconds)
    return result.written(outcome, target, comparison)
