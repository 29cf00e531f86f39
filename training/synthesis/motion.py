"""Motion blur: of the whole picture, of turning cameras, of objects before a background.

All is computed in linear light. An image is a tensor (B, C, H, W) float32 of numbers not below
zero. Outside of an image its border is repeated. The target is the image itself: no blur shifts the
centre of mass.

Every blur takes a ``margin``: the number of pixels on each side of the image that feed the blur but
are not part of the result, (B, C, H - 2 margin, W - 2 margin).

A pose (2, 3) says where a point of the scene is seen at an instant: the point ``(y, x)`` at
``pose @ (y, x, 1)``, in pixels from the middle of the image.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from training.synthesis.draws import chance, normal, uniform

STEEPEST = math.radians(5)
"""Largest turn of a camera during an exposure."""


def kernels_of(paths: Tensor, radius: int | None = None) -> Tensor:
    """Draw each path as a kernel.

    Each position is shared bilinearly between the four pixels around it, which keeps the
    centre of mass of the path: the kernel's middle.

    Args:
        paths: (B, T, 2) of mean zero.
        radius: Half the side of the kernels, at least 1. A path that reaches farther is shrunk. By
            default it is chosen to hold all paths, which means waiting for a GPU.

    Returns:
        Kernels (B, K, K) with K = 2 radius + 1; each sums to one.
    """
    farthest = paths.abs().amax((1, 2))
    if radius is None:
        radius = max(math.ceil(farthest.max().item()), 1)
    side = 2 * radius + 1
    paths = paths * (radius / farthest.clamp(min=radius))[:, None, None]
    before = paths.floor().clamp(-radius, radius - 1)
    rows, columns = torch.stack([before, before + 1], -1).long().add(radius).unbind(2)
    down, right = torch.stack([1 - (paths - before), paths - before], -1).unbind(2)  # (B, T, 2)
    # A product of matrices would do as well, but a GPU may round its factors.
    kernels = paths.new_zeros(len(paths), side * side)
    places = rows[..., None] * side + columns[..., None, :]
    shares = down[..., None] * right[..., None, :] / paths.shape[1]
    kernels.scatter_add_(1, places.flatten(1), shares.flatten(1))
    return kernels.unflatten(1, (side, side))


def blur_by_kernels(linear: Tensor, kernels: Tensor, margin: int = 0) -> Tensor:
    """Convolve each image with its own kernel, by fast Fourier transform.

    Args:
        linear: Images (B, C, H, W).
        kernels: (B, K, K), or (B, C, K, K) with one for each channel; K odd.
        margin: Pixels on each side that are not part of the result.
    """
    radius = kernels.shape[-1] // 2
    padded = F.pad(linear, (radius - margin,) * 4, mode="replicate")
    height, width = padded.shape[-2:]
    size = (_fast_length(height), _fast_length(width))
    if kernels.ndim == 3:
        kernels = kernels[:, None]
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernels, s=size)
    full = torch.fft.irfft2(spectrum, s=size)
    return full[..., 2 * radius : height, 2 * radius : width].clamp(min=0)


def blur_by_poses(linear: Tensor, poses: Tensor, margin: int = 0) -> Tensor:
    """Average each image over its poses, sampled bilinearly.

    Args:
        linear: Images (B, C, H, W).
        poses: (B, T, 2, 3) at equally spaced instants; see `turning_poses`.
        margin: Pixels on each side that are not part of the result.
    """
    return sum(_instants(linear, poses, margin)) / poses.shape[1]


def blur_layers(
    background: Tensor,
    foreground: Tensor,
    background_path: Tensor,
    foreground_path: Tensor,
    margin: int = 0,
) -> Tensor:
    """Blur objects that move before a background that moves, too.

    At each instant the foreground hides a part of the background (Porter and Duff,
    "Compositing Digital Images", SIGGRAPH 1984, "over"); the exposure is the mean over the
    instants. So the blurred border of an object shows the background that it uncovered.

    Args:
        background: (B, 3, H, W).
        foreground: (B, 4, H, W): red, green and blue multiplied by alpha, then alpha.
        background_path: (B, T, 2) of mean zero.
        foreground_path: (B, T, 2) of mean zero.
        margin: Pixels on each side that are not part of the result.
    """
    near = _instants(foreground, sliding_poses(foreground_path), margin)
    far = _instants(background, sliding_poses(background_path), margin)
    return sum(map(_over, near, far)) / background_path.shape[1]


def reference_of_layers(background: Tensor, foreground: Tensor, margin: int = 0) -> Tensor:
    """Return the sharp picture that belongs to `blur_layers`: both layers where paths are zero."""
    return F.pad(_over(foreground, background), (-margin,) * 4)


def sliding_poses(paths: Tensor) -> Tensor:
    """Return the poses (B, T, 2, 3) of a camera that moves along paths (B, T, 2)."""
    upright = torch.eye(2, device=paths.device).expand(*paths.shape[:2], 2, 2)
    return torch.cat([upright, paths[..., None]], -1)


def turning_poses(paths: Tensor, angles: Tensor, zooms: Tensor, pivots: Tensor) -> Tensor:
    """Return the poses of a camera that turns and zooms about a point while it moves.

    The turn of each instant is taken relative to the mean turn, as complex numbers ``zoom * exp(i
    angle)``. So the mean of the poses is exactly the identity: the mean position of *each* point of
    the scene, be it the pivot, the middle or a corner, is where the sharp picture shows it.
    Therefore the streak of a point is up to some tenths of a per cent shorter or longer than angles
    and zooms say.

    Args:
        paths: (B, T, 2) of mean zero, in pixels.
        angles: (B, T) in radians. Their mean does not matter.
        zooms: (B, T), positive factors. Their mean does not matter.
        pivots: (B, 2), y and x in pixels from the middle of the image.

    Returns:
        Poses (B, T, 2, 3).
    """
    turns = torch.polar(zooms, angles)
    turns = turns / turns.mean(1, keepdim=True)
    rows = [turns.real, -turns.imag, turns.imag, turns.real]
    matrices = torch.stack(rows, -1).unflatten(-1, (2, 2))
    turned_pivots = (matrices * pivots[:, None, None]).sum(-1)
    offsets = pivots[:, None] - turned_pivots + paths
    return torch.cat([matrices, offsets[..., None]], -1)


def draw_turning(
    paths: Tensor,
    longest: Tensor,
    generator: torch.Generator,
    size: int,
    zoom_share: float = 0.5,
) -> Tensor:
    """Draw how a camera turns while it moves: the blur then differs from place to place.

    A camera that is rolled turns the picture about a point in or outside the crop, one that
    is carried forward zooms it (Whyte et al., "Non-uniform Deblurring for Shaken Images",
    IJCV 2012).

    Args:
        paths: Paths (B, T, 2) of the camera, to which the turn is added.
        longest: Upper bounds (B,) of the turn's streaks in the crop's corners in pixels.
        generator: Source of randomness, on the device of the paths.
        size: Side of the crop in pixels.
        zoom_share: Share of the cameras that also zoom.

    Returns:
        Poses (B, T, 2, 3).
    """
    count = len(paths)
    pivots = normal(size, (count, 2), generator)
    farthest = pivots.norm(dim=1) + size / math.sqrt(2)
    extent = (longest / farthest).clamp(max=STEEPEST) * uniform(0.3, 1, (count,), generator)
    # A turn and a zoom are one number: the streaks of all directions are equally long.
    direction = uniform(0, 2 * math.pi, (count,), generator)
    sign = torch.where(chance(0.5, (count,), generator), 1.0, -1.0)
    zooming = chance(zoom_share, (count,), generator)
    turn = extent * torch.where(zooming, direction.cos(), sign)
    zoom = extent * torch.where(zooming, direction.sin(), 0.0)
    progress = _draw_progress(count, generator, paths.shape[1])
    return turning_poses(paths, turn[:, None] * progress, (zoom[:, None] * progress).exp(), pivots)


def _draw_progress(count: int, generator: torch.Generator, instants: int) -> Tensor:
    """Draw courses (B, T) from about 0 to 1 whose speed is a random walk."""
    change = normal(0.8 / math.sqrt(instants), (count, instants), generator)
    speed = change.cumsum(1).exp()
    return speed.cumsum(1) / speed.sum(1, keepdim=True)


def _over(foreground: Tensor, background: Tensor) -> Tensor:
    """Put premultiplied RGBA (B, 4, H, W) over an image (B, 3, H, W)."""
    return foreground[:, :3] + (1 - foreground[:, 3:]) * background


def _instants(images: Tensor, poses: Tensor, margin: int) -> Iterator[Tensor]:
    """Yield the images as each of the poses (B, T, 2, 3) shows them, without the margin."""
    height, width = images.shape[-2:]
    rows = _from_middle(height - 2 * margin, images)[:, None, None]
    columns = _from_middle(width - 2 * margin, images)[:, None]
    images = images.contiguous(memory_format=torch.channels_last)  # which is sampled faster
    for place in _places(poses, height, width).unbind(1):
        by_row, by_column, middle = place[:, None, None].unbind(-1)
        grid = middle + by_row * rows + by_column * columns  # (B, H, W, 2)
        yield F.grid_sample(images, grid, "bilinear", "border", align_corners=False)


def _places(poses: Tensor, height: int, width: int) -> Tensor:
    """Return the inverse poses: the place in an image that a place of the picture shows.

    Args:
        poses: (B, T, 2, 3).
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        Affine maps (B, T, 2, 3) from y and x in pixels from the middle to x and y in halves
        of the image's sides from the middle, as `F.grid_sample` wants them.
    """
    (a, b, p), (c, d, q) = (row.unbind(-1) for row in poses.unbind(-2))
    x = torch.stack([-c, a, c * p - a * q], -1) * (2 / width)
    y = torch.stack([d, -b, b * q - d * p], -1) * (2 / height)
    return torch.stack([x, y], -2) / (a * d - b * c)[..., None, None]


def _from_middle(count: int, like: Tensor) -> Tensor:
    """Return the places of pixels in a row, measured from its middle."""
    return torch.arange(count, device=like.device, dtype=like.dtype) - (count - 1) / 2


@functools.cache
def _fast_length(least: int) -> int:
    """Return the next length without prime factors above 5, for a fast Fourier transform."""
    length = least
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1
