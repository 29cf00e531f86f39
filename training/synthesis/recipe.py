"""Recipes for training crops: the share of each effect, and its range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

STILL, KERNEL, TURNING, LAYERS, FRAMES, REAL, FOCUS, DEPTHS = (
    "still",
    "kernel",
    "turning",
    "layers",
    "frames",
    "real",
    "focus",
    "depths",
)
KIND_SHARES = MappingProxyType(
    {STILL: 0.18, KERNEL: 0.17, TURNING: 0.12, LAYERS: 0.12, FRAMES: 0.25, REAL: 0.16}
)
FRAMES_DIFFER = MappingProxyType(
    {
        # The camera is panned or carried by someone who walks, so its motion is long and smooth.
        "shortest": 4.0,
        "hand_share": 0.15,
        "walk_share": 0.25,
        "turned_part": (0.0, 0.5),
        # What it sees are streets by day.
        "drawn_share": 0.1,
        "texture_share": 0.9,
        "tinted_share": 0.1,
        "highlight_share": 0.15,
        # A mean of ten frames has a third of the noise of each, and it is coded lightly.
        "dark_share": 0.0,
        "noise": 0.3,
        "jpeg_quality": (88, 98),
    }
)
Range = tuple[float, float]


@dataclass(frozen=True)
class Lenses:
    """Lenses that are out of focus: shares from 0 to 1, and bounds of evenly drawn values."""

    radius: Range = (0.8, 6.0)
    """Range in pixels of the radius of the spot that a point of light becomes."""
    radius_power: float = 1.0
    """Exponent of even numbers from 0 to 1 before they become radii: 1 for even radii, more to have
    small radii more often."""
    gaussian_share: float = 0.5
    """Share of Gaussian spots, as aberrations and diffraction make them."""
    polygon_share: float = 0.0
    """Share of spots with 5 to 9 straight sides, as aperture blades make them. The others are
    discs."""
    most_stretch: float = 1.0
    """Largest ratio of a spot's length to its width, with the same area."""
    most_fringe: float = 0.0
    """Largest difference in pixels between the radii of red, green and blue."""
    levels: int = 1
    """Number of radii that are computed for a scene whose distance changes."""

    @property
    def largest(self) -> float:
        """Upper bound of all radii in pixels, fringes included."""
        return self.radius[1] + self.most_fringe


@dataclass(frozen=True)
class Recipe:
    """Shares from 0 to 1, and ranges from which numbers are drawn evenly."""

    kind_shares: Mapping[str, float] = field(default_factory=lambda: KIND_SHARES)
    """Share of each kind of crop. Photos without motion (*still*) must stay as they are. *Frames*
    are averages of an action camera's frames: test photos are of that kind, and so are many of the
    real ones, but users have photos of single exposures. *Real* pairs show motion that no synthesis
    knows, but they show few scenes."""
    longest: float = 45.0
    """Longest motion in pixels: walking and panning reach it in photos of 1280 pixels."""
    longest_steps: tuple[float, ...] = (12.0, 23.0, 34.0)
    """Longest motion in pixels in each part of the first half of a training, since long blur
    teaches nothing to a new network. The parts are few, so that tensor shapes recur, which is
    faster on a GPU."""
    least_bound: float = 4.0
    """Least upper bound of a crop's motion in pixels. The bound is drawn between this and the
    longest motion, so that short blur, the most common, is seen more often than long blur."""

    shrunk_share: float = 0.5
    """Share of crops that are shrunk, which makes slightly soft photos sharp."""
    shrinks: Range = (1.0, 2.0)
    """Divisors of the sides of these crops."""
    enlarged_share: float = 0.15
    """Share of crops that are enlarged, up to twofold. That makes scenes soft without any motion,
    and such scenes must not be made crisper than they were."""
    shrink_of_coded: Range = (1.3, 2.0)
    """Divisors of the sides of photos with visible coding noise, except in *still* crops. A target
    must not have coding noise, and little of it is left in a pixel that is made of 1.7 pixels or
    more along each axis. A deblocking filter would leave the ringing and blur sharp edges."""
    drawn_share: float = 0.3
    """Share of scenes with shapes and text drawn over them. Photos have few edges as sharp as those
    of signs, screens and pages."""
    covered_share: float = 0.5
    """Share of these that are first covered with one colour, like pages."""
    tinted_share: float = 0.3
    """Share of scenes, real pairs too, lit by a lamp of another colour: most photos are taken in
    daylight and balanced to grey, but most blurred photos under lamps."""
    tint_spread: float = 0.45
    """Standard deviation of the logarithms of the lamp's three channels, before the brightest
    channel is scaled to 1."""
    defocus_share: float = 0.4
    """Share of scenes that are out of focus, hardly or far, wholly or partly, and must stay so:
    slight defocus comes with most motion blur."""
    wholly_defocused_share: float = 1 / 3
    """Share of these that are wholly out of focus."""
    lenses: Lenses = Lenses()
    """The lenses of these scenes, and of the kinds *focus* and *depths*, where defocus is to be
    undone."""
    room_for_defocus: float = 0.0
    """Pixels around a crop that are blurred with it, in addition to those that its motion needs."""
    shaken_share: float = 0.0
    """Share of the *focus* and *depths* crops that also move."""
    highlight_share: float = 0.4
    """Share of scenes with lamps or lit areas brighter than white, whose streaks stay white."""
    broad_highlight_share: float = 0.3
    """Share of these with lit areas, such as signs and windows; the others have lamps."""

    hand_share: float = 0.5
    """Share of single exposures from shaking hands."""
    walk_share: float = 0.25
    """Share of single exposures from walking people; the others are panned."""
    shortest: float = 1.5
    """Shortest motion in pixels. Shorter motion can hardly be seen."""
    turned_part: Range = (0.3, 1.0)
    """Share of the motion that is the camera's turn, in batches of that kind; the rest is shift."""
    texture_share: float = 0.6
    """Share of objects that show a piece of another photo; the others are shapes and text."""
    object_edge: Range = (1.0, 4.0)
    """Width in pixels of the edge of such an object."""

    noisy_share: float = 1.0
    """Share of photos that pass a sensor with noise: every recorded photo has some."""
    noise: float = 1.0
    """Factor for the noise measured in real cameras."""
    dark_share: float = 0.2
    """Share of photos from phones in the dark: blur comes from long exposures."""
    detailed_share: float = 0.7
    """Share of cameras that demosaic with the detail of other colours; the others demosaic
    bilinearly, which makes photos soft."""
    denoised_share: float = 0.5
    """Share of photos that are denoised, from hardly at all to fully."""
    sharpened_share: float = 0.5
    """Share of photos that are sharpened, with their targets."""
    most_sharpening: float = 0.8
    """The largest amount of an unsharp mask."""
    shrunk_photo_share: float = 0.3
    """Share of batches that are recorded larger than they are seen, like most photos that are
    sent."""
    photo_shrinks: tuple[float, ...] = (1.25, 1.5)
    """Factors by which they are larger: few, so that tensor shapes recur, which is faster on a
    GPU."""
    sent_share: float = 0.2
    """Share of photos that a messenger shrinks and codes a second time."""
    caption_share: float = 0.1
    """Share of photos with printed text, which is sharp however blurred the photo is."""
    jpeg_share: float = 0.9
    """Share of photos that are coded as JPEG."""
    jpeg_quality: tuple[int, int] = (60, 98)
    subsampling_shares: tuple[float, float, float] = (0.3, 0.2, 0.5)
    """Shares of chroma coded at full size, at half the width, and at half of both sides."""

    still_share_of_pairs: float = 0.2
    """Share of real pairs whose sharp frame stands for both: it must stay as it is."""

    frame_counts: tuple[int, int] = (7, 13)
    """Number of instants averaged to a photo of GoPro's data set (Nah et al., CVPR 2017)."""
    frame_layers_share: float = 0.5
    """Share of batches of averaged frames with moving objects; in the others, cameras turn."""
    frames: Mapping[str, Any] = field(default_factory=lambda: FRAMES_DIFFER)
    """Fields of the recipe that differ for averaged frames."""

    def of(self, kind: str) -> Recipe:
        """Return the recipe of a kind of crops."""
        return replace(self, **self.frames) if kind == FRAMES else self

    def longest_at(self, progress: float) -> float:
        """Return the longest motion in pixels at a point of a training, given in [0, 1]."""
        step = int(2 * progress * len(self.longest_steps))
        return self.longest_steps[step] if step < len(self.longest_steps) else self.longest


FOCUS_RECIPE = Recipe(
    # Out of focus wholly or in part, at several distances that hide each other, only moved, and
    # sharp. A network that may be wrong about a sharp photo leaves it: with the balanced error it
    # corrects a blur of 1 px only where fewer than a fifth of the crops that look so are sharp
    # ones. So there are many crops out of focus all over, few of which are moved as well, and half
    # of them by about 1 px. `training/history.md` has the figures.
    kind_shares=MappingProxyType({STILL: 0.25, FOCUS: 0.55, DEPTHS: 0.12, KERNEL: 0.08}),
    wholly_defocused_share=0.6,
    shaken_share=0.2,
    longest=8.0,
    longest_steps=(),
    least_bound=2.0,
    # This recipe takes softness for defocus, so its targets must be sharp: photos are halved,
    # which needs no interpolation, and never enlarged. Shrunk less, they were as soft as halved
    # photos out of focus by 1 px.
    shrunk_share=0.7,
    shrinks=(2.0, 2.0),
    shrink_of_coded=(2.0, 2.0),
    enlarged_share=0.0,
    # Bilinear demosaicing and denoising make sharp photos look out of focus by 1 px, and
    # sharpening hides such a blur.
    detailed_share=1.0,
    denoised_share=0.2,
    sharpened_share=0.2,
    # No target is out of focus.
    defocus_share=0.0,
    lenses=Lenses(
        # The error of a small blur grows with the fourth power of its radius. Half a pixel is
        # less than noise and coding; regions partly in focus have such radii, too.
        radius=(0.75, 6.0),
        # Most photos are slightly out of focus: 47 % of the radii are below 1.3 px.
        radius_power=3.0,
        gaussian_share=0.3,
        polygon_share=0.4,
        most_stretch=1.25,
        most_fringe=1.0,
        levels=3,
    ),
    room_for_defocus=8.0,
)
"""Recipe for undoing defocus of 0.75 to 6 px, and short motion with it."""

RECIPES = MappingProxyType({"motion": Recipe(), "focus": FOCUS_RECIPE})
"""All recipes by name."""
