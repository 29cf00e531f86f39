"""Scenes and objects in linear light: made from photos, drawn over, lit, put out of focus."""

from __future__ import annotations

import torch
from torch import Tensor

from training.synthesis import focus, light
from training.synthesis.draws import chance, uniform, whole
from training.synthesis.overlays import draw_colours, draw_layers, paste
from training.synthesis.plan import Batch
from training.synthesis.recipe import STILL
from training.synthesis.scenes import cut_out, draw_places


def draw_scenes(batch: Batch) -> Tensor:
    """Draw scenes in linear light (B, 3, scene, scene), some with highlights or out of focus."""
    recipe, count, generator = batch.recipe, batch.count, batch.generator
    stored = _draw_over(batch, _draw_photos(batch))
    linear = _light(batch, stored)
    if not recipe.defocus_share:
        return linear
    shares = (recipe.defocus_share, recipe.wholly_defocused_share)
    defocus = focus.draw_defocus(
        count, generator, batch.sizes.scene, recipe.lenses, *shares, batch.sizes.scale
    )
    return focus.defocus(linear, defocus)


def _draw_photos(batch: Batch) -> Tensor:
    """Cut stored crops (B, 3, scene, scene) out of photos."""
    scenes, generator = batch.sources.scenes, batch.generator
    photo = whole(0, scenes.count, (batch.count,), generator)
    shrink = _draw_shrinks(batch, scenes.is_coded[photo]) / batch.sizes.scale
    places = draw_places(scenes, photo, shrink, batch.sizes.scene, generator)
    return cut_out(scenes, places, batch.sizes.scene)


def _draw_shrinks(batch: Batch, is_coded: Tensor) -> Tensor:
    """Draw the divisors (B,) of the photos' sides, up to the finished crop."""
    recipe, count, generator = batch.recipe, batch.count, batch.generator
    choice = uniform(0, 1, (count,), generator)
    enlarged = choice < recipe.enlarged_share
    shrunk = choice > 1 - recipe.shrunk_share
    shrink = torch.where(enlarged, uniform(0.5, 1, (count,), generator), 1.0)
    shrink = torch.where(shrunk, uniform(*recipe.shrinks, (count,), generator), shrink)
    if batch.kind == STILL:
        return shrink
    return torch.where(is_coded, uniform(*recipe.shrink_of_coded, (count,), generator), shrink)


def _draw_over(batch: Batch, stored: Tensor) -> Tensor:
    """Draw shapes and text over a share of the scenes; some are covered with one colour first."""
    recipe, count, generator = batch.recipe, batch.count, batch.generator
    is_drawn = chance(recipe.drawn_share, (count, 1, 1, 1), generator)
    is_covered = is_drawn & chance(recipe.covered_share, (count, 1, 1, 1), generator)
    stored = torch.where(is_covered, draw_colours(count, generator), stored)
    layers = draw_layers(batch.sources.bank.overlays, count, batch.sizes.scene, generator)
    return paste(stored, layers * is_drawn)


def _light(batch: Batch, stored: Tensor) -> Tensor:
    """Return stored photos as linear light in the batch's colour, some with highlights."""
    shares = (batch.recipe.highlight_share, batch.recipe.broad_highlight_share)
    highlights = light.draw_highlights(batch.count, batch.generator, *shares)
    return light.brighten(light.tint(batch.response.decode(stored), batch.colour), highlights)


def draw_objects(batch: Batch) -> Tensor:
    """Draw objects (B, 4, scene, scene) in linear light, multiplied by alpha, and alpha."""
    recipe, count, generator = batch.recipe, batch.count, batch.generator
    side = batch.sizes.scene
    texture = _light(batch, _draw_photos(batch))
    outlines = _draw_outlines(batch)
    drawn = draw_layers(batch.sources.bank.overlays, count, side, generator)
    alpha = drawn[:, 3:]
    colours = _light(batch, (drawn[:, :3] / alpha.clamp(min=1e-3)).clamp(max=1))
    has_texture = chance(recipe.texture_share, (count, 1, 1, 1), generator)
    alpha = torch.where(has_texture, outlines, alpha)
    return torch.cat([torch.where(has_texture, texture, colours) * alpha, alpha], 1)


def _draw_outlines(batch: Batch) -> Tensor:
    """Draw alpha (B, 1, scene, scene) of smooth random objects with clean edges."""
    soft = focus.soft_masks(batch.count, batch.generator, batch.sizes.scene)
    down, across = torch.gradient(soft, dim=(2, 3))
    steepness = torch.hypot(down, across).clamp(min=1e-4)
    width = uniform(*batch.recipe.object_edge, (batch.count, 1, 1, 1), batch.generator)
    return ((soft - 0.5) / (steepness * width) + 0.5).clamp(0, 1)
