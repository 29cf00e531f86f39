"""What a photo needed and what it got: how it was blurred, and how much of it changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unblur.blur import Blur, Kind, find_blur
from unblur.options import BLURRY_LEVEL
from unblur.pictures.compare import Pair

LITTLE = 0.1
"""Where less of a photo changed, it hardly looks different."""
MUCH = 0.25
"""So much of a photo changes where it moved, and nearly nothing where it is out of focus."""
LONGEST_PX = 30
"""Longer streaks become only a little crisper; ``docs/troubleshooting.md`` says more."""


@dataclass(frozen=True)
class Verdict:
    """How a photo was blurred, and how much of it changed."""

    blur: Blur
    changed: float
    """Share of the photo whose detail changed visibly, from 0 to 1."""

    def __str__(self) -> str:
        """Return one sentence, with advice where the network can do little."""
        return f"{self._finding}; {self.changed:.0%} of it changed{self._advice}"

    @property
    def _finding(self) -> str:
        if self.blur.kind is Kind.FOCUS:
            return f"looks {self.blur}"
        has_sharp_edges = self.blur.score < BLURRY_LEVEL
        if self.blur.kind is Kind.UNCLEAR and has_sharp_edges and self.changed >= LITTLE:
            return "blurred a little, or in parts"
        return str(self.blur)

    @property
    def _advice(self) -> str:
        if self.blur.kind is Kind.MOTION and (self.blur.length or 0) > LONGEST_PX:
            return ": blurred by more than the network undoes, try half the size"
        if self.blur.kind is Kind.FOCUS and self.changed < LITTLE:
            return ": the network undoes motion, not focus blur"
        return ""


def judge(pair: Pair, blur: Blur | None = None) -> Verdict:
    """Judge a photo beside its result.

    What the network changes is evidence too: it leaves sharp photos, and those out of focus,
    nearly as they are. If it changed more, the photo is neither.

    Args:
        pair: The photo and its result.
        blur: How the photo is blurred, if that is known already.
    """
    blur, changed = blur or find_blur(pair.before.pixels), round(pair.change.share, 3)
    most = {Kind.SHARP: LITTLE, Kind.FOCUS: MUCH}.get(blur.kind)
    if most is not None and changed >= most:
        blur = replace(blur, kind=Kind.UNCLEAR)
    return Verdict(blur, changed)
