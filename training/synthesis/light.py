"""Light: a camera's response to it, highlights brighter than white, and its colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.synthesis.draws import chance, constant, normal, per_image, uniform

MOST_BOOST = 10.0
"""Light of the brightest lamps; white is 1."""

LEAST_TOP = 0.1
"""Least light of a lit area, however dark the rest of the scene is; white is 1."""

SURROUNDINGS, LATEST_START = 3.0, 0.8
"""The boost of a lit area reaches three times its pixels. Yet the rise is never a cliff: it begins
at or below 0.8 of the light from which it is full."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma of JPEG and of BT.601."""

CAMERA_TO_SRGB = (
    ((1.66, -0.46, -0.20), (-0.06, 1.34, -0.28), (0.01, -0.29, 1.28)),
    ((1.74, -0.56, -0.18), (-0.15, 1.56, -0.41), (0.02, -0.40, 1.38)),
    ((1.28, -0.10, -0.18), (-0.18, 1.54, -0.36), (0.02, -0.45, 1.43)),
    ((1.95, -0.80, -0.15), (-0.28, 1.72, -0.44), (0.00, -0.62, 1.62)),
)
"""White-balanced camera colours to linear sRGB. Rows sum to one, so grey stays grey.

Numbers of this project, modelled on three cameras (Nikon D700, Sony A7R III, Fujifilm X-T2), for
which dcraw's daylight matrices give nearly these, and on a phone whose filters overlap more. No
colour of sRGB is outside what these cameras can record."""


@dataclass(frozen=True)
class Response:
    """How a camera turns light into stored numbers: a gamma, then an S-curve.

    A stand-in for measured responses (Grossberg and Nayar, "What is the Space of
    Camera Response Functions?", CVPR 2003).
    """

    gamma: Tensor
    """(B,), 1 or more."""
    contrast: Tensor
    """(B,), the share of the S-curve 3 y^2 - 2 y^3, in [0, 1)."""

    def encode(self, linear: Tensor) -> Tensor:
        """Turn light (B, C, H, W) of any range into stored numbers; above 1 is white."""
        y = linear.clamp(0, 1) ** per_image(1 / self.gamma)
        return y + per_image(self.contrast) * (y * y * (3 - 2 * y) - y)

    def decode(self, stored: Tensor) -> Tensor:
        """Turn stored numbers (B, C, H, W) in [0, 1] into light in [0, 1]."""
        return self._straighten(stored).clamp(0, 1) ** per_image(self.gamma)

    def _straighten(self, stored: Tensor) -> Tensor:
        """Undo the S-curve.

        With u = y - 1/2 and v = stored - 1/2 it reads v = a u - 2 c u^3, where
        a = 1 + c / 2. Its three roots are real; sin 3t = 3 sin t - 4 sin^3 t gives the
        middle one as u = r sin(arcsin(3 v / (a r)) / 3), where r = 2 sqrt(a / (6 c)).
        """
        contrast = per_image(self.contrast.clamp(min=1e-6))
        a = 1 + contrast / 2
        r = 2 * (a / (6 * contrast)).sqrt()
        sine = (3 * (stored - 0.5) / (a * r)).clamp(-1, 1)
        return 0.5 + r * torch.sin(torch.asin(sine) / 3)


def draw_response(
    count: int,
    generator: torch.Generator,
    gamma: tuple[float, float] = (1.8, 2.4),
    most_contrast: float = 0.6,
) -> Response:
    """Draw responses, half of them without an S-curve."""
    return Response(
        gamma=uniform(*gamma, (count,), generator),
        contrast=uniform(-most_contrast, most_contrast, (count,), generator).clamp(min=0),
    )


@dataclass(frozen=True)
class Highlights:
    """The parts of a scene that were brighter than a photo can store.

    A lamp clipped at white was brighter than white when the shutter was open: its
    streak stays white, which no blur of the clipped photo would show.
    """

    boost: Tensor
    """(B,), factor for the light of the brightest areas; 1 leaves the scene as it is."""
    area: Tensor
    """(B,), the share of the scene that is lit, such as signs and windows: these brightest pixels
    are boosted in full. With 0, only white pixels are."""
    start: Tensor
    """(B,), where the boost begins, as a share of the light from which it is full; below 1. In lit
    areas it begins later if otherwise more than `SURROUNDINGS` times their pixels were boosted."""
    is_by_channel: Tensor
    """(B,) bool, whether each channel is boosted by itself, as coloured lamps clip: only the
    channels at white were brighter."""


def brighten(linear: Tensor, highlights: Highlights) -> Tensor:
    """Push the highlights of a scene above white.

    Use the result for both photos: blurred, and clipped (by `Response.encode`) as the
    wanted one, since a sharp exposure of the same lamp is clipped too. The boost rises
    smoothly with the light, and never falls, so that no edges appear.

    Args:
        linear: Scenes (B, 3, H, W), light in [0, 1].
        highlights: Parameters of the batch.

    Returns:
        Light of up to `Highlights.boost`.
    """
    brightest, darkest = linear.amax(1, keepdim=True), linear.amin(1, keepdim=True)
    common = torch.where(per_image(highlights.area > 0), brightest, darkest)
    measure = torch.where(per_image(highlights.is_by_channel), linear, common)
    start, top = _rise(brightest, highlights)
    rise = ((measure - per_image(start)) / per_image(top - start)).clamp(0, 1)
    rise = rise * rise * (3 - 2 * rise)
    return linear * torch.exp(rise * per_image(highlights.boost.log()))


def _rise(brightest: Tensor, highlights: Highlights) -> tuple[Tensor, Tensor]:
    """Find the light (B,) at which the boost begins, and the light at which it is full."""
    step = max(1, min(brightest.shape[-2:]) // 64)
    ordered = brightest[..., ::step, ::step].flatten(1).sort(dim=1).values
    top = _exceeded_by(ordered, highlights.area).clamp(LEAST_TOP, 1)
    surroundings = _exceeded_by(ordered, SURROUNDINGS * highlights.area)
    start = torch.maximum(highlights.start * top, torch.minimum(surroundings, LATEST_START * top))
    is_lamp = highlights.area == 0
    return torch.where(is_lamp, highlights.start, start), torch.where(is_lamp, 1.0, top)


def _exceeded_by(ordered: Tensor, share: Tensor) -> Tensor:
    """Return the value that a share (B,) of each row exceeds; rows (B, N) are ordered."""
    last = ordered.shape[1] - 1
    place = ((1 - share) * last).round().long().clamp(0, last)
    return ordered.gather(1, place[:, None])[:, 0]


def draw_highlights(
    count: int,
    generator: torch.Generator,
    share: float = 0.4,
    broad_share: float = 0.3,
    coloured_share: float = 0.4,
    most_area: float = 0.06,
) -> Highlights:
    """Draw highlights.

    Args:
        count: Number of scenes B.
        generator: Source of randomness.
        share: Share of the scenes with highlights.
        broad_share: Share of these with lit areas; the others have lamps.
        coloured_share: Share of the lamps that clip by channel.
        most_area: The largest share of a scene that is lit.
    """
    stops = uniform(0.5, math.log2(MOST_BOOST), (count,), generator)
    is_broad = chance(broad_share, (count,), generator)
    return Highlights(
        boost=2 ** (stops * chance(share, (count,), generator)),
        area=uniform(0.005, most_area, (count,), generator) * is_broad,
        start=uniform(0.55, 0.85, (count,), generator),
        is_by_channel=chance(coloured_share, (count,), generator) & ~is_broad,
    )


def tint(linear: Tensor, light: Tensor) -> Tensor:
    """Light scenes (B, 3, H, W) in another colour (B, 3)."""
    return linear * light[:, :, None, None]


def draw_tint(
    count: int, generator: torch.Generator, share: float = 0.3, spread: float = 0.6
) -> Tensor:
    """Draw colours of the light (B, 3), most of them white; the brightest channel stays as it is.

    Most photos are taken in daylight and balanced to grey, but most blurred photos under lamps.
    """
    exponent = normal(spread, (count, 3), generator)
    light = (exponent - exponent.amax(1, keepdim=True)).exp()
    return torch.where(chance(share, (count,), generator)[:, None], light, torch.ones_like(light))


@dataclass(frozen=True)
class Colours:
    """How a camera sees colours.

    After Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019,
    sections 3.2 and 3.3.
    """

    gains: Tensor
    """(B, 3), the white balance's gains for red, green and blue; 1 for green."""
    to_srgb: Tensor
    """(B, 3, 3), from white-balanced camera colours to linear sRGB."""

    def to_camera(self, linear: Tensor) -> Tensor:
        """Turn linear sRGB (B, 3, H, W) into the camera's white-balanced colours."""
        return _mix(linear, _inverse(self.to_srgb))

    def from_camera(self, balanced: Tensor) -> Tensor:
        """Turn the camera's white-balanced colours (B, 3, H, W) into linear sRGB."""
        return _mix(balanced, self.to_srgb)


def _mix(images: Tensor, matrices: Tensor) -> Tensor:
    return torch.einsum("bij,bjhw->bihw", matrices, images)


def _inverse(matrices: Tensor) -> Tensor:
    """Invert 3x3 matrices by cross products of their rows, without a solver's checks."""
    first, second, third = matrices.unbind(dim=1)
    columns = [
        torch.linalg.cross(second, third),
        torch.linalg.cross(third, first),
        torch.linalg.cross(first, second),
    ]
    determinant = (first * columns[0]).sum(dim=1)
    return torch.stack(columns, dim=2) / determinant[:, None, None]


def draw_colours(
    count: int, generator: torch.Generator, gains: tuple[float, float] = (1.5, 2.5)
) -> Colours:
    """Draw cameras: mixtures of `CAMERA_TO_SRGB`, with gains for red and for blue."""
    red, blue = uniform(*gains, (count,), generator), uniform(*gains, (count,), generator)
    weights = uniform(0, 1, (count, len(CAMERA_TO_SRGB)), generator)
    matrices = constant(CAMERA_TO_SRGB, generator.device)
    return Colours(
        gains=torch.stack([red, torch.ones_like(red), blue], dim=1),
        to_srgb=torch.einsum("bk,kij->bij", weights / weights.sum(1, keepdim=True), matrices),
    )
