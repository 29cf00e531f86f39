"""The kinds of blur: each takes scenes and returns blurred scenes and their targets."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.synthesis import focus, motion, paths
from training.synthesis.draws import chance, uniform
from training.synthesis.plan import Batch
from training.synthesis.recipe import DEPTHS, FOCUS, FRAMES, KERNEL, LAYERS, STILL, TURNING
from training.synthesis.scenery import draw_objects

Images = tuple[Tensor, Tensor]
"""Blurred scenes and their targets."""


def move(batch: Batch, linear: Tensor) -> Images:
    """Blur scenes (B, 3, scene, scene) in linear light, in the way of the batch's kind.

    Returns:
        Light of the blurred scenes and of their targets, each (B, 3, recorded, recorded).
    """
    return _BLURS[batch.kind](batch, linear)


def _keep_still(batch: Batch, linear: Tensor) -> Images:
    inner = _without_margin(batch, linear)
    return inner, inner


def _blur_by_kernels(batch: Batch, linear: Tensor) -> Images:
    """Move the whole picture along one path."""
    return _shaken(batch, linear), _without_margin(batch, linear)


def _put_out_of_focus(batch: Batch, linear: Tensor) -> Images:
    """Put pictures out of focus, wholly or in part, and shake some of them."""
    recipe, sizes = batch.recipe, batch.sizes
    defocus = focus.draw_defocus(
        batch.count,
        batch.generator,
        sizes.scene,
        recipe.lenses,
        wholly_share=recipe.wholly_defocused_share,
        scale=sizes.scale,
    )
    blurred = _shaken(batch, focus.defocus(linear, defocus), recipe.shaken_share)
    return blurred, _without_margin(batch, linear)


def _put_layers_out_of_focus(batch: Batch, linear: Tensor) -> Images:
    """Put objects and their background out of focus, and shake some of the pictures."""
    recipe, sizes = batch.recipe, batch.sizes
    far, near = focus.draw_layered(batch.count, batch.generator, recipe.lenses, sizes.scale)
    objects = draw_objects(batch)
    blurred = focus.defocus_layers(linear, objects, far, near)
    wanted = motion.reference_of_layers(linear, objects, sizes.margin)
    return _shaken(batch, blurred, recipe.shaken_share), wanted


def _shaken(batch: Batch, linear: Tensor, share: float = 1.0) -> Tensor:
    """Move a share of whole pictures, and cut off all margins."""
    path = _draw_paths(batch, _draw_bounds(batch), paths.KERNEL_INSTANTS)
    path = path * chance(share, (batch.count, 1, 1), batch.generator)
    kernels = motion.kernels_of(path, radius=batch.sizes.margin)
    return motion.blur_by_kernels(linear, kernels, batch.sizes.margin)


def _blur_by_turning(batch: Batch, linear: Tensor) -> Images:
    """Move the picture by a camera that turns or goes forward."""
    bounds, part = _draw_bounds(batch), batch.recipe.turned_part
    turned = bounds * uniform(*part, (batch.count,), batch.generator)
    path = _draw_paths(batch, bounds - turned, _draw_instants(batch))
    poses = motion.draw_turning(path, turned, batch.generator, batch.sizes.recorded)
    blurred = motion.blur_by_poses(linear, poses, batch.sizes.margin)
    return blurred, _without_margin(batch, linear)


def _blur_layers(batch: Batch, linear: Tensor) -> Images:
    """Move objects and their background, each separately."""
    instants, margin = _draw_instants(batch), batch.sizes.margin
    far, near = (_draw_paths(batch, _draw_bounds(batch), instants) for _ in range(2))
    objects = draw_objects(batch)
    blurred = motion.blur_layers(linear, objects, far, near, margin)
    return blurred, motion.reference_of_layers(linear, objects, margin)


def _blur_as_frames(batch: Batch, linear: Tensor) -> Images:
    """Average a few instants, like GoPro's data set averages the frames of an action camera."""
    if batch.host.random() < batch.recipe.frame_layers_share:
        return _blur_layers(batch, linear)
    return _blur_by_turning(batch, linear)


def _without_margin(batch: Batch, linear: Tensor) -> Tensor:
    return F.pad(linear, (-batch.sizes.margin,) * 4)


def _draw_instants(batch: Batch) -> int:
    """Draw the number of instants of the motion that are computed."""
    if batch.kind == FRAMES:
        return batch.host.randint(*batch.recipe.frame_counts)
    return paths.instants_for(batch.longest)


def _draw_bounds(batch: Batch) -> Tensor:
    """Draw upper bounds (B,) of motion in pixels of a scene."""
    least = min(batch.longest, batch.recipe.least_bound * batch.sizes.scale)
    return uniform(least, batch.longest, (batch.count,), batch.generator)


def _draw_paths(batch: Batch, bounds: Tensor, instants: int) -> Tensor:
    """Draw paths (B, T, 2) of hands, walking people and pans, with upper bounds (B,) in pixels."""
    recipe, generator = batch.recipe, batch.generator
    shortest = recipe.shortest * batch.sizes.scale
    hand, walk, pan = (
        draw(bounds, generator, instants, shortest)
        for draw in (paths.draw_hand, paths.draw_walk, paths.draw_pan)
    )
    choice = uniform(0, 1, (batch.count, 1, 1), generator)
    return torch.where(
        choice < recipe.hand_share, hand, torch.where(choice > 1 - recipe.walk_share, walk, pan)
    )


_BLURS: dict[str, Callable[[Batch, Tensor], Images]] = {
    STILL: _keep_still,
    KERNEL: _blur_by_kernels,
    TURNING: _blur_by_turning,
    LAYERS: _blur_layers,
    FRAMES: _blur_as_frames,
    FOCUS: _put_out_of_focus,
    DEPTHS: _put_layers_out_of_focus,
}
