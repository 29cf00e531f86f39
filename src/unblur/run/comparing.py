"""Compare a photo with its result: judge its blur, and draw the pictures that options ask for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from unblur.options import Options
from unblur.run.load_step import LoadedPhoto
from unblur.run.report import Outcome, Status, outcome_of_error

if TYPE_CHECKING:
    from unblur.network.photo_rows import Pixels


def compare(loaded: LoadedPhoto, pixels: Pixels, options: Options) -> tuple[Outcome, bytes | None]:
    """Return the outcome of a photo with its pictures and verdict, as far as options ask for them.

    Returns:
        The outcome with its small pictures; and the comparison as a PNG file, or ``None``.
    """
    job, (height, width) = loaded.job, loaded.photo.pixels.shape[:2]
    outcome = Outcome(
        job,
        Status.DONE,
        width=width,
        height=height,
        details=loaded.photo.notes,
        source_state=loaded.state,
    )
    if not (job.comparison or options.picture_side or options.screen or options.verdict):
        return outcome, None
    try:
        return _compared(outcome, loaded, pixels, options)
    except Exception as error:  # must not lose the result
        failed = outcome_of_error(job, error)
        note = f"the photo could not be compared with its result: {failed.reason}"
        job = replace(job, comparison=None)
        return replace(outcome, job=job, notes=(note,), trace=failed.trace), None


def _compared(
    outcome: Outcome, loaded: LoadedPhoto, pixels: Pixels, options: Options
) -> tuple[Outcome, bytes | None]:
    from unblur.pictures.compare import code_comparison, make_pair, make_pictures
    from unblur.pictures.preview import draw_preview
    from unblur.pictures.strengths import code_strengths
    from unblur.pictures.verdict import judge

    pair = make_pair(loaded.photo, pixels)
    verdict = None
    if options.verdict:
        has_all = options.network.applies_all and not loaded.mask
        verdict = judge(pair, loaded.blur, has_all=has_all, unchanged=loaded.unchanged)
    side, screen = options.picture_side, options.screen
    outcome = replace(
        outcome,
        pictures=make_pictures(pair, side) if side else None,
        preview=draw_preview(pair, screen) if screen else None,
        verdict=verdict,
    )
    draw = code_strengths if options.compare == "strengths" else code_comparison
    return outcome, draw(pair) if loaded.job.comparison else None


def drawing_bytes(options: Options) -> int:
    """Return the memory in bytes for comparing photos with their results; 0 without comparing."""
    if not (options.compare or options.picture_side or options.screen or options.verdict):
        return 0
    from unblur.pictures.compare import DRAWING_BYTES

    return DRAWING_BYTES
