"""What crops are trained on: how often each thing happens, and how far it goes."""

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
    """Lenses that are out of focus: shares from 0 to 1, and bounds of what is drawn evenly."""

    radius: Range = (0.8, 6.0)
    """Pixels. Of the spot that a point of light becomes."""
    radius_power: float = 1.0
    """What even numbers from 0 to 1 are raised to before they become radii: 1 for even radii,
    more to have small ones more often."""
    gaussian_share: float = 0.5
    """How many spots are Gaussian, as aberrations and diffraction make them."""
    polygon_share: float = 0.0
    """How many have 5 to 9 straight sides, as blades make them. The others are discs."""
    most_stretch: float = 1.0
    """How many times as long as wide spots are at most, with the same area."""
    most_fringe: float = 0.0
    """Pixels. Most that the radii of red, green and blue differ by."""
    levels: int = 1
    """How many radii are computed of a scene whose distance changes."""

    @property
    def largest(self) -> float:
        """Pixels that no radius exceeds, fringes included."""
        return self.radius[1] + self.most_fringe


@dataclass(frozen=True)
class Recipe:
    """Shares from 0 to 1, and ranges from which numbers are drawn evenly."""

    kind_shares: Mapping[str, float] = field(default_factory=lambda: KIND_SHARES)
    """How often each kind of crop is made. Photos that nothing moved in (still) must stay as they
    are. Frames are what action cameras average: test photos are of that kind, and so are many of
    the real ones, but photos of single exposures are what users have. Real pairs show motion that
    no synthesis knows, but they are of few scenes."""
    longest: float = 45.0
    """Pixels. The longest motion: walking and panning reach it in photos of 1280 pixels."""
    longest_steps: tuple[float, ...] = (12.0, 23.0, 34.0)
    """Pixels. The longest motion in the parts of the first half of a training, since long blur
    teaches nothing to a new network. There are few, so that shapes recur, which a GPU likes."""
    least_bound: float = 4.0
    """Pixels. The bound of a crop's motion is drawn from here up to the longest, so that short
    blur, which is the most common, is seen more often than long."""

    shrunk_share: float = 0.5
    """How many crops are shrunk: that makes slightly soft photos sharp."""
    shrinks: Range = (1.0, 2.0)
    """What the sides of these are divided by."""
    enlarged_share: float = 0.15
    """How many are enlarged, up to twofold: that makes scenes soft without any motion, and these
    must not be made crisper than they were."""
    shrink_of_coded: Range = (1.3, 2.0)
    """What the sides of photos are divided by whose coding can be seen, unless they are still:
    what is wanted must not have coding noise, and a pixel that is made of 1.7 or more has little
    of it left. A filter against blocks would leave their ringing, and blur what is sharp."""
    drawn_share: float = 0.3
    """How many scenes have shapes and text drawn over them. Photos have few edges as sharp as
    those of signs, screens and pages."""
    covered_share: float = 0.5
    """How many of these are covered by one colour first, as pages are."""
    tinted_share: float = 0.3
    """How many are lit by a lamp of another colour, real pairs too: most photos are taken by
    daylight and balanced to grey, and most blurred ones by lamps."""
    tint_spread: float = 0.45
    """Deviation of the logarithms of the three channels of such a light, before the brightest one
    is made 1."""
    defocus_share: float = 0.4
    """How many scenes are out of focus, hardly or far, wholly or partly, and must stay so: slight
    defocus comes with most motion blur."""
    wholly_defocused_share: float = 1 / 3
    """How many of these are so all over."""
    lenses: Lenses = Lenses()
    """What makes them so; in the kinds *focus* and *depths*, where it is to be undone, too."""
    room_for_defocus: float = 0.0
    """Pixels around a crop that are blurred with it, beside those that its motion needs."""
    shaken_share: float = 0.0
    """How many crops of the kinds *focus* and *depths* are moved, too."""
    highlight_share: float = 0.4
    """How many have lamps or lit areas brighter than white, whose streaks stay white."""
    broad_highlight_share: float = 0.3
    """How many of these have lit areas, as signs and windows are; the others have lamps."""

    hand_share: float = 0.5
    """How many single exposures are of shaking hands."""
    walk_share: float = 0.25
    """How many are of walking people; the others are panned."""
    shortest: float = 1.5
    """Pixels. Shorter motion can hardly be seen."""
    turned_part: Range = (0.3, 1.0)
    """How much of the motion is the camera's turn in batches of that kind; the rest shifts."""
    texture_share: float = 0.6
    """How many objects show a piece of another photo; the others are shapes and text."""
    object_edge: Range = (1.0, 4.0)
    """Pixels from the inside of such an object to its outside."""

    noisy_share: float = 1.0
    """How many photos pass a sensor with noise: every recorded photo has some."""
    noise: float = 1.0
    """What the noise that was measured of cameras is multiplied by."""
    dark_share: float = 0.2
    """How many photos are of phones in the dark: blur comes from long exposures."""
    detailed_share: float = 0.7
    """How many cameras demosaic with the detail of other colours; the others do it bilinearly,
    which makes photos soft."""
    denoised_share: float = 0.5
    """How many are denoised, from hardly any to fully."""
    sharpened_share: float = 0.5
    """How many are sharpened, what is wanted of them, too."""
    most_sharpening: float = 0.8
    """The largest amount of an unsharp mask."""
    shrunk_photo_share: float = 0.3
    """How many batches are recorded larger than they are seen, as most photos that are sent."""
    photo_shrinks: tuple[float, ...] = (1.25, 1.5)
    """By how much. There are few, so that shapes recur, which a GPU likes."""
    sent_share: float = 0.2
    """How many photos are shrunk and coded a second time by a messenger."""
    caption_share: float = 0.1
    """How many photos have text printed on them, which is sharp on the most blurred one."""
    jpeg_share: float = 0.9
    """How many photos are coded as JPEG."""
    jpeg_quality: tuple[int, int] = (60, 98)
    subsampling_shares: tuple[float, float, float] = (0.3, 0.2, 0.5)
    """How often colour is coded at full size, at half the width, and at half of both sides."""

    still_share_of_pairs: float = 0.2
    """How often a real pair's sharp frame stands for both: it must stay as it is."""

    frame_counts: tuple[int, int] = (7, 13)
    """How many instants are averaged to a photo of GoPro's data set (Nah et al., CVPR 2017)."""
    frame_layers_share: float = 0.5
    """How many batches of averaged frames have objects that move; in the others cameras turn."""
    frames: Mapping[str, Any] = field(default_factory=lambda: FRAMES_DIFFER)
    """What is otherwise for averaged frames."""

    def of(self, kind: str) -> Recipe:
        """Return the recipe of a kind of crops."""
        return replace(self, **self.frames) if kind == FRAMES else self

    def longest_at(self, progress: float) -> float:
        """Return the longest motion in pixels at a point of a training, from 0 to 1."""
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
    # What is soft in a photo is taken for out of focus here, so what is wanted must be sharp:
    # photos are halved, which needs no interpolation, and never enlarged. Shrunk less, they were
    # as soft as halved ones out of focus by 1 px.
    shrunk_share=0.7,
    shrinks=(2.0, 2.0),
    shrink_of_coded=(2.0, 2.0),
    enlarged_share=0.0,
    # Bilinear demosaicing and denoising make sharp photos look out of focus by 1 px, and
    # sharpening hides such a blur.
    detailed_share=1.0,
    denoised_share=0.2,
    sharpened_share=0.2,
    # Nothing is put out of focus that is wanted back so.
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
"""Defocus of 0.75 to 6 px is to be undone, and short motion with it."""

RECIPES = MappingProxyType({"motion": Recipe(), "focus": FOCUS_RECIPE})
"""All recipes by name."""
