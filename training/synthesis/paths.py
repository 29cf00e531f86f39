"""Paths of a camera or an object during one exposure.

A path is a tensor (B, T, 2) float32: for each of B images the positions y and x in pixels
at T instants, which are equally spaced in time and cover the exposure. The mean of the
positions is zero, so that blur along a path shifts nothing.

The number of instants is the same for the whole batch: `KERNEL_INSTANTS` for kernels, and
`instants_for` for blur that is computed instant by instant.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.synthesis.draws import chance, normal, uniform, whole

KERNEL_INSTANTS = 128
"""Instants of a path that becomes a kernel: three per pixel at 45 pixels. They cost little."""

SHORTEST = 1.5
"""Shortest motion in pixels. Shorter motion can hardly be seen."""


def instants_for(longest: float) -> int:
    """Return how many instants show motion of up to ``longest`` pixels without gaps: 16 to 32."""
    return min(max(math.ceil(longest / 1.5), 16), 32)


def draw_hand(
    longest: Tensor,
    generator: torch.Generator,
    instants: int,
    shortest: float = SHORTEST,
) -> Tensor:
    """Draw the paths of cameras that are held in shaking hands.

    Heading and speed are random walks, so the paths are curved, pause and hurry; some turn
    back; jitter is the tremor of a hand. After Boracchi and Foi, "Modeling the performance
    of image restoration from motion blur", TIP 2012.

    Args:
        longest: Upper bounds (B,) of the paths' lengths in pixels. Lengths are drawn evenly
            between ``shortest`` and these; they do not include the jitter.
        generator: Source of randomness, on the device of ``longest``.
        instants: Number of positions T.
        shortest: Lower bound of the lengths in pixels, unless ``longest`` is below it.

    Returns:
        Paths (B, T, 2).
    """
    return _hand(_draw_lengths(longest, generator, shortest), generator, instants)


def draw_walk(
    longest: Tensor,
    generator: torch.Generator,
    instants: int,
    shortest: float = SHORTEST,
) -> Tensor:
    """Draw the paths of cameras that are carried by walking people.

    The picture drifts steadily, bobs up and down with each step and sways sideways with
    every second one; a hand's shake comes on top. People take about two steps a second
    (MacDougall and Moore, "Marching to the beat of the same drummer", Journal of Applied
    Physiology 2005), so an exposure sees a part of one or two of them.

    Arguments and result are those of `draw_hand`.
    """
    lengths = _draw_lengths(longest, generator, shortest)
    steps = _step_paths(len(longest), generator, instants)
    shake = _hand(0.2 * lengths, generator, instants)
    return centred(_stretched(steps, 0.8 * lengths) + shake)


def draw_pan(
    longest: Tensor,
    generator: torch.Generator,
    instants: int,
    shortest: float = SHORTEST,
) -> Tensor:
    """Draw fast, smooth paths: nearly straight, at nearly constant speed.

    Swung cameras and passing objects move like this. It is most of the strong blur in photos of
    scenes that move (Nah et al., "Deep Multi-scale Convolutional Neural Network for Dynamic Scene
    Deblurring", CVPR 2017).

    Arguments and result are those of `draw_hand`.
    """
    count = len(longest)
    lengths = _draw_lengths(longest, generator, shortest)
    times = _times(instants, longest)
    bend = normal(0.15, (count, 1), generator)
    heading = uniform(0, 2 * math.pi, (count, 1), generator) + bend * times
    speed = 1 + uniform(-0.3, 0.3, (count, 1), generator) * (2 * times - 1)
    straight = _stretched(_headed(heading, speed).cumsum(1), lengths)
    jitter = normal((0.003 * lengths)[:, None, None], straight.shape, generator)
    return centred(straight + jitter)


def centred(paths: Tensor) -> Tensor:
    """Move each path (B, T, 2) so that the mean of its positions is zero."""
    return paths - paths.mean(1, keepdim=True)


def _draw_lengths(longest: Tensor, generator: torch.Generator, shortest: float) -> Tensor:
    return uniform(longest.clamp(max=shortest), longest, tuple(longest.shape), generator)


def _times(instants: int, like: Tensor) -> Tensor:
    """Return the instants (T,): the middles of equal parts of an exposure from 0 to 1."""
    return (torch.arange(instants, device=like.device, dtype=torch.float32) + 0.5) / instants


def _headed(heading: Tensor, speed: Tensor) -> Tensor:
    """Return steps (B, T, 2) of headings (B, T) in radians and speeds (B, T)."""
    return torch.stack([heading.sin(), heading.cos()], -1) * speed[..., None]


def _stretched(paths: Tensor, lengths: Tensor) -> Tensor:
    """Scale paths so that T steps of their mean length add up to the lengths (B,)."""
    instants = paths.shape[1]
    steps = paths.diff(dim=1).norm(dim=-1).sum(1) * (instants / max(instants - 1, 1))
    return paths * (lengths / steps.clamp(min=1e-6))[:, None, None]


def _hand(lengths: Tensor, generator: torch.Generator, instants: int) -> Tensor:
    """Draw a shaken path of each length; see `draw_hand`."""
    count, shape = len(lengths), (len(lengths), instants)
    curvature = normal(1.2, (count, 1), generator) / math.sqrt(instants)
    heading = uniform(0, 2 * math.pi, (count, 1), generator)
    heading = heading + normal(curvature, shape, generator).cumsum(1)
    heading = heading + normal(1.5, (count, 1), generator) * _times(instants, lengths)
    speed = normal(0.8 / math.sqrt(instants), shape, generator).cumsum(1).exp()
    steps = _headed(heading, speed) * _turning_back(count, generator, instants)[..., None]
    paths = steps.cumsum(1) * (lengths / speed.sum(1))[:, None, None]
    jitter = (0.02 * lengths).clamp(max=0.5)[:, None, None]
    return centred(paths + normal(jitter, paths.shape, generator))


def _turning_back(count: int, generator: torch.Generator, instants: int) -> Tensor:
    """Draw factors (B, T) of the speed; in 15 % of the rows they become negative at some time."""
    turned = chance(0.15, (count, 1), generator)
    since = whole(instants // 4, max(instants, 1), (count, 1), generator)
    back = turned & (torch.arange(instants, device=generator.device) >= since)
    return torch.where(back, uniform(-1.0, -0.3, (count, 1), generator), 1.0)


def _step_paths(count: int, generator: torch.Generator, instants: int) -> Tensor:
    """Draw paths (B, T, 2) of steady drift, bob and sway; their length is not fixed."""
    cycles = uniform(0.2, 1.2, (count, 1), generator)
    noise = normal(0.4 / math.sqrt(instants), (count, instants), generator).cumsum(1)
    times = _times(instants, cycles)
    phase = uniform(0, 2 * math.pi, (count, 1), generator) + 2 * math.pi * cycles * times + noise
    foot = uniform(0, 2 * math.pi, (count, 1), generator)
    bob = torch.stack([phase.sin(), 0.5 * (phase / 2 + foot).sin()], -1)
    heading = uniform(0, 2 * math.pi, (count, 1), generator)
    drift = _headed(heading, uniform(0.5, 4, (count, 1), generator) * times)
    return bob + drift
