"""The sensor: it records light through a mosaic of colour filters, with noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.synthesis.draws import (
    chance,
    constant,
    log_uniform,
    normal,
    per_image,
    uniform,
    whole,
)
from training.synthesis.light import Colours, draw_colours

MEASURED_NOISE = ((1.0e-4, 9.2e-4), (8.9e-5, 2.9e-5))
"""Shot and read constants of two cameras (Rim et al., "Realistic Blur Synthesis for Learning Image
Deblurring", ECCV 2022, and its published parameters). White is 1. The shot constant is variance
per light: 1e-4 is a pixel that holds 10,000 electrons. The read constant is a deviation: 9 of
these electrons. As a variance it would be 300, which no camera has."""

DARK_SHOT = (3e-4, 1e-2)
"""Range of the shot constants of phones in the dark: 100 to 3,000 electrons at white."""

_BILINEAR = (
    ((0, 0, 0, 0, 0), (0, 0, 2, 0, 0), (0, 2, 0, 2, 0), (0, 0, 2, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 4, 0, 4, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 4, 0, 0), (0, 0, 0, 0, 0), (0, 0, 4, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 2, 0, 2, 0), (0, 0, 0, 0, 0), (0, 2, 0, 2, 0), (0, 0, 0, 0, 0)),
)
"""Weights, in eighths, that make a missing colour: from the four neighbours, the two beside, the
two above and below, and the four diagonal ones."""

_MALVAR = (
    ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0)),
    ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0)),
    ((0, 0, -1, 0, 0), (0, -1, 4, -1, 0), (0.5, 0, 5, 0, 0.5), (0, -1, 4, -1, 0), (0, 0, -1, 0, 0)),
    (
        (0, 0, -1.5, 0, 0),
        (0, 2, 0, 2, 0),
        (-1.5, 0, 6, 0, -1.5),
        (0, 2, 0, 2, 0),
        (0, 0, -1.5, 0, 0),
    ),
)
"""The same with the detail of the colour that is there (Malvar, He and Cutler, "High-quality linear
interpolation for demosaicing of Bayer-patterned color images", ICASSP 2004, figure 2)."""


@dataclass(frozen=True)
class Camera:
    """How cameras record light."""

    colours: Colours
    shot: Tensor
    """(B,), variance of the noise for each unit of light at the sensor, whose white is 1."""
    read: Tensor
    """(B,), deviation of the noise that does not depend on light."""
    phase: Tensor
    """(B,) int64, the place of the first pixel in the mosaic's square: 0 red, 1 green beside red,
    2 green beside blue, 3 blue."""
    detail: Tensor
    """(B,), demosaicing: 0 is bilinear, 1 is that of Malvar, He and Cutler."""
    is_used: Tensor
    """(B,) bool, whether a camera records the light. Without one the light stays as it is."""


def record(linear: Tensor, camera: Camera, generator: torch.Generator) -> Tensor:
    """Record light with noise through a Bayer mosaic.

    Noise is drawn where it arises, in the mosaic before white balance, so that in the
    result it is coloured and correlated over two or three pixels. After Brooks et al.,
    "Unprocessing Images for Learned Raw Denoising", CVPR 2019.

    Args:
        linear: Light (B, 3, H, W) of any non-negative range, linear sRGB; sides of
            3 or more.
        camera: Parameters of the batch.
        generator: Source of the noise, on the device of the light.

    Returns:
        Light of the same shape, clipped at the sensor's white; noise may make it
        negative.
    """
    batch, _, height, width = linear.shape
    return record_with(linear, camera, normal(1.0, (batch, 1, height, width), generator))


def record_with(linear: Tensor, camera: Camera, noise: Tensor) -> Tensor:
    """Record light as `record` does, with standard normal numbers (B, 1, H, W) as its noise."""
    sites = mosaic_sites(camera.phase, linear.shape[-2], linear.shape[-1])
    gains = _sampled(camera.colours.gains[:, :, None, None], sites)
    raw = _sampled(camera.colours.to_camera(linear), sites) / gains
    balanced = (add_noise(raw, camera, noise) * gains).clamp(max=1)
    recorded = camera.colours.from_camera(demosaic(balanced, sites, camera.detail))
    return torch.where(per_image(camera.is_used), recorded, linear)


def expose(linear: Tensor, camera: Camera) -> Tensor:
    """Record light as the same camera would without noise and without a mosaic.

    Only what the sensor clips changes: a white lamp becomes white, a coloured one takes
    the colour that clipping in the camera's colours gives it.

    Args:
        linear: Light (B, 3, H, W) of any non-negative range, linear sRGB.
        camera: Parameters of the batch.
    """
    exposed = camera.colours.from_camera(camera.colours.to_camera(linear).clamp(max=1))
    return torch.where(per_image(camera.is_used), exposed, linear)


def mosaic_sites(phase: Tensor, height: int, width: int) -> Tensor:
    """Return where in the mosaic each kind of pixel is.

    Args:
        phase: Place of the first pixel; see `Camera`.
        height: Height of the images in pixels.
        width: Width of the images in pixels.

    Returns:
        (B, 4, H, W) of 0 and 1: red, green beside red, green beside blue, blue.
    """
    y = (torch.arange(height, device=phase.device) + phase[:, None] // 2) % 2
    x = (torch.arange(width, device=phase.device) + phase[:, None] % 2) % 2
    kind = 2 * y[:, None, :, None] + x[:, None, None, :]
    return (kind == torch.arange(4, device=phase.device)[:, None, None]).float()


def _sampled(images: Tensor, sites: Tensor) -> Tensor:
    """Keep the colour (B, 1, H, W) that each pixel's filter lets through."""
    red, green, blue = images.split(1, dim=1)
    return red * sites[:, :1] + green * (sites[:, 1:2] + sites[:, 2:3]) + blue * sites[:, 3:]


def add_noise(raw: Tensor, camera: Camera, noise: Tensor) -> Tensor:
    """Give standard normal noise the variance shot * light + read^2, and add it to a mosaic.

    Args:
        raw: (B, 1, H, W), light at the sensor, whose white is 1.
        camera: Parameters of the batch.
        noise: Standard normal numbers of the same shape.
    """
    variance = raw.clamp(min=0) * per_image(camera.shot) + per_image(camera.read) ** 2
    return raw + noise * variance.sqrt()


def demosaic(mosaic: Tensor, sites: Tensor, detail: Tensor) -> Tensor:
    """Make the two colours that each pixel lacks from its neighbours.

    Args:
        mosaic: (B, 1, H, W), mirrored at its borders.
        sites: Result of `mosaic_sites`.
        detail: Kind of demosaicing; see `Camera`.

    Returns:
        (B, 3, H, W). Nothing is shifted: flat and linear areas stay exactly as they are.
    """
    bilinear = constant(_BILINEAR, mosaic.device) / 8
    malvar = constant(_MALVAR, mosaic.device) / 8
    kernels = (bilinear + per_image(detail) * (malvar - bilinear)).flatten(0, 1)
    padded = F.pad(mosaic, (2, 2, 2, 2), mode="reflect").transpose(0, 1)
    made = F.conv2d(padded, kernels[:, None], groups=len(mosaic)).view(sites.shape)
    cross, beside, above, diagonal = made.split(1, dim=1)
    at_red, at_green, at_other_green, at_blue = sites.split(1, dim=1)
    red = at_red * mosaic + at_green * beside + at_other_green * above + at_blue * diagonal
    green = (at_green + at_other_green) * mosaic + (at_red + at_blue) * cross
    blue = at_blue * mosaic + at_other_green * beside + at_green * above + at_red * diagonal
    return torch.cat([red, green, blue], dim=1)


def draw_camera(
    count: int,
    generator: torch.Generator,
    share: float = 1.0,
    dark_share: float = 0.3,
    malvar_share: float = 0.7,
) -> Camera:
    """Draw cameras with the noise of `MEASURED_NOISE`, times 0.5 to 1.5, or of phones in the dark.

    Args:
        count: Number of cameras B.
        generator: Source of randomness.
        share: Share of photos that a camera records.
        dark_share: Share of the cameras that are phones in the dark.
        malvar_share: Share of the cameras that demosaic with the detail of other colours.
    """
    which = whole(0, len(MEASURED_NOISE), (count,), generator)
    bright = constant(MEASURED_NOISE, generator.device)[which]
    dark = _dark_noise(count, generator)
    noise = torch.where(chance(dark_share, (count,), generator)[:, None], dark, bright)
    return Camera(
        colours=draw_colours(count, generator),
        shot=noise[:, 0] * uniform(0.5, 1.5, (count,), generator),
        read=noise[:, 1] * uniform(0.5, 1.5, (count,), generator),
        phase=whole(0, 4, (count,), generator),
        detail=chance(malvar_share, (count,), generator).float(),
        is_used=chance(share, (count,), generator),
    )


def _dark_noise(count: int, generator: torch.Generator) -> Tensor:
    """Draw shot and read constants (B, 2) of a phone that amplifies little light.

    The read noise follows the shot noise as in Brooks et al., section 3.1: the logarithm
    of its variance is 2.18 times that of the shot constant, plus 1.2.
    """
    shot = log_uniform(*DARK_SHOT, (count,), generator)
    return torch.stack([shot, (0.5 * (2.18 * shot.log() + 1.2)).exp()], dim=1)
