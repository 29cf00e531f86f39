"""Judge a photo beside its result: how it was blurred, and how much of it changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unblur.blur import Blur, Kind, find_blur
from unblur.options import BLURRY_LEVEL
from unblur.pictures.compare import BeforeAfter
from unblur.score import reduction
from unblur.user_text import percent

HARDLY = 0.03
"""Share of a photo. If less changed, the network found no motion that it could undo."""
LITTLE = 0.1
"""Share of a photo. If less changed, the photo hardly looks different."""
MUCH = 0.25
"""Share of a photo. More changes in photos with motion blur, and much less in photos out of focus.

This holds for networks that undo motion blur. A network for focus blur would change photos out of
focus."""
HALF = 0.5
"""Share of a photo. If more changed, the photo has motion blur, even if its contours look sharp."""
SHARP_PX = 2.0
"""Largest extent in pixels, at the resolution for measuring, of the contours of sharp photos."""
LONGEST_PX = 30
"""Longest motion in pixels that the network undoes. Longer streaks become only a little crisper;
``docs/troubleshooting.md`` says more."""


@dataclass(frozen=True)
class Verdict:
    """How a photo was blurred, and how much of it changed."""

    blur: Blur
    changed: float
    """Share of the photo whose detail changed visibly, from 0 to 1."""
    unchanged: str = ""
    """Why the options let nothing change; empty if they do."""

    def __str__(self) -> str:
        """Return one sentence, with advice if the network can do little."""
        if self.unchanged:
            return f"nothing was changed: {self.unchanged}"
        return f"{self._finding}; {percent(self.changed)} of it changed{self._advice}"

    @property
    def _finding(self) -> str:
        if self.blur.kind is Kind.FOCUS:
            return f"looks {self.blur}"
        has_sharp_edges = self.blur.extent is not None and self.blur.score < BLURRY_LEVEL
        if self.blur.kind is Kind.UNCLEAR and has_sharp_edges and self.changed >= LITTLE:
            return "blurred a little, or in parts"
        if self.blur.kind is Kind.SHARP and self.changed >= LITTLE:
            return "mostly sharp"
        return str(self.blur)

    @property
    def _advice(self) -> str:
        if self.blur.kind is Kind.MOTION and (self.blur.length or 0) > LONGEST_PX:
            return ": blurred by more than the network undoes, try half the size"
        if self.blur.kind is Kind.FOCUS and self.changed < LITTLE:
            return ": the network undoes motion, not focus blur"
        return ""


def judge(
    pair: BeforeAfter, blur: Blur | None, *, has_all: bool = True, unchanged: str = ""
) -> Verdict:
    """Judge a photo beside its result.

    The change is evidence, too: the network changes photos with motion blur, but hardly changes
    sharp photos and photos out of focus.

    Args:
        pair: The photo and its result.
        blur: The photo's blur, if it is known already.
        has_all: Whether the result has the whole change: full strength and no mask.
        unchanged: See `Verdict`.
    """
    pixels = pair.before.pixels
    verdict = judge_change(blur or find_blur(pixels), pair.change.share, pixels.shape, has_all)
    return replace(verdict, unchanged=unchanged)


def judge_change(blur: Blur, share: float, shape: tuple[int, ...], has_all: bool = True) -> Verdict:
    """Judge a photo by the share that changed.

    Args:
        blur: The photo's blur, as measured without its result.
        share: Share of the photo that changed, from 0 to 1.
        shape: The photo's height, width and number of channels.
        has_all: See `judge`.
    """
    changed = float(f"{share:.3g}")
    if blur.kind is Kind.SHARP:
        has_sharp_contours = (blur.extent or 0) < SHARP_PX * reduction(shape[1], shape[0])
        return Verdict(_judge_sharp(blur, changed, has_sharp_contours), changed)
    return Verdict(_judge_blurred(blur, changed, has_all), changed)


def _judge_sharp(blur: Blur, changed: float, has_sharp_contours: bool) -> Blur:
    """Correct the kind of a seemingly sharp photo if too much changed."""
    if changed >= HALF:
        return _moved(blur)
    most = MUCH if has_sharp_contours else LITTLE
    return replace(blur, kind=Kind.UNCLEAR) if changed >= most else blur


def _judge_blurred(blur: Blur, changed: float, has_all: bool) -> Blur:
    """Correct the kind of a blurred photo if its contours can be measured."""
    if blur.score < BLURRY_LEVEL or blur.extent is None:
        return blur
    if blur.kind is not Kind.MOTION and changed >= MUCH:
        return _moved(blur)
    can_undo = (blur.length or 0) <= LONGEST_PX
    if has_all and can_undo and changed < HARDLY:
        return replace(blur, kind=Kind.FOCUS, length=None, angle=None)
    return blur


def _moved(blur: Blur) -> Blur:
    """Return a motion blur without a clear direction."""
    return replace(blur, kind=Kind.MOTION, length=blur.extent)
