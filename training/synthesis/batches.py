"""Make batches of crops: blurred ones, and what is wanted of them.

A crop passes these stages, each a function of a module of its own: a scene is cut out of a
photo and drawn over (`scenes`, `overlays`), lit (`light`), put out of focus (`focus`), moved
(`motion`, `paths`), recorded (`sensor`), processed (`processing`), captioned and coded
(`jpeg`). What is wanted passes the same stages, but it is not moved, and it has neither
noise nor coding.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.synthesis import focus, jpeg, light, motion, paths, processing, sensor
from training.synthesis.draws import chance, uniform, whole
from training.synthesis.overlays import Bank, draw_colours, draw_layers, paste
from training.synthesis.recipe import (
    FRAMES,
    KERNEL,
    LAYERS,
    REAL,
    STILL,
    TURNING,
    Recipe,
)
from training.synthesis.scenes import Pairs, Scenes, cut_out, draw_places

Images = tuple[Tensor, Tensor]
"""Blurred ones, and what is wanted of them."""


@dataclass(frozen=True)
class Sources:
    """What crops are made of. All is on one device."""

    scenes: Scenes
    bank: Bank
    pairs: Pairs


@dataclass(frozen=True)
class Sizes:
    """Sides in pixels of a batch's square images."""

    wanted: int
    """Of the crops that are asked for."""
    coded: int
    """Of the photos when they are coded for the first time; a messenger may shrink them then."""
    recorded: int
    """Of what the camera records, and may shrink before it codes it."""
    margin: int
    """How much wider, on each side, the scene is that feeds the blur."""

    @property
    def scene(self) -> int:
        """Side of the scenes."""
        return self.recorded + 2 * self.margin

    @property
    def scale(self) -> float:
        """Pixels of a scene for each one that is wanted."""
        return self.recorded / self.wanted


def sizes_of(size: int, longest: float, camera: float, messenger: float) -> Sizes:
    """Return the sides of a batch's images.

    Args:
        size: Side of the crops that are wanted, an even number.
        longest: Upper bound in pixels of the motion, as the crops show it.
        camera: What the camera divides sides by before it codes photos.
        messenger: What a messenger divides them by after that.
    """
    coded = processing.size_before_shrinking(size, messenger)
    recorded = 2 * math.ceil(processing.size_before_shrinking(coded, camera) / 2)
    return Sizes(size, coded, recorded, math.ceil(longest * recorded / size / 2) + 4)


def largest_scene(recipe: Recipe, size: int, longest: float) -> int:
    """Return the side in pixels of the largest scenes that batches are made of."""
    return sizes_of(size, longest, max(1.0, *recipe.photo_shrinks), 1.0).scene


@dataclass(frozen=True)
class _Batch:
    """What a batch is made of, and how."""

    sources: Sources
    recipe: Recipe
    kind: str
    count: int
    longest: float
    """Upper bound of the motion in pixels of a scene."""
    sizes: Sizes
    response: light.Response
    host: random.Random
    """Draws what is the same for the whole batch. A GPU need not be asked for it."""
    generator: torch.Generator


def make_batch(
    sources: Sources,
    recipe: Recipe,
    kind: str,
    count: int,
    size: int,
    longest: float,
    generator: torch.Generator,
) -> Images:
    """Make a batch of one kind. It depends on the seed alone that the generator was given.

    Args:
        sources: What it is made of.
        recipe: How it is made.
        kind: One of `Recipe.kind_shares`.
        count: Number of crops B.
        size: Their side in pixels, an even number.
        longest: Upper bound of the motion in pixels.
        generator: Source of randomness, on the device of the sources.

    Returns:
        Blurred and wanted crops, each (B, 3, size, size) uint8.
    """
    host = random.Random(generator.initial_seed())
    if kind == REAL:
        images = _real_crops(sources.pairs, recipe, count, size, generator)
    else:
        sizes = _draw_sizes(recipe, size, longest, host)
        response = light.draw_response(count, generator)
        longest = longest * sizes.scale
        images = _synthesise(
            _Batch(sources, recipe, kind, count, longest, sizes, response, host, generator)
        )
    blurred, wanted = ((image.clamp(0, 1) * 255).round().byte() for image in images)
    return blurred, wanted


def _draw_sizes(recipe: Recipe, size: int, longest: float, host: random.Random) -> Sizes:
    camera = messenger = 1.0
    if host.random() < recipe.sent_share:
        messenger = host.choice(recipe.photo_shrinks)
    elif host.random() < recipe.shrunk_photo_share:
        camera = host.choice(recipe.photo_shrinks)
    return sizes_of(size, longest, camera, messenger)


def _real_crops(
    pairs: Pairs, recipe: Recipe, count: int, size: int, generator: torch.Generator
) -> Images:
    """Cut crops out of real pairs. Those whose coding can be seen are shrunk."""
    photo = whole(0, pairs.sharp.count, (count,), generator)
    shrunk = uniform(*recipe.shrink_of_coded, (count,), generator)
    shrink = torch.where(pairs.sharp.is_coded[photo], shrunk, 1.0)
    places = draw_places(pairs.sharp, photo, shrink, size, generator)
    colour = light.draw_tint(count, generator, recipe.tinted_share)
    stored = colour ** (1 / 2.2)
    blurred, sharp = (
        light.tint(cut_out(side, places, size), stored) for side in (pairs.blurred, pairs.sharp)
    )
    is_still = chance(recipe.still_share_of_pairs, (count, 1, 1, 1), generator)
    return torch.where(is_still, sharp, blurred), sharp


def _synthesise(batch: _Batch) -> Images:
    """Blur scenes, and record, process and code them; see the top of this module."""
    blurred, sharp = _MOTIONS[batch.kind](batch, _draw_scenes(batch))
    camera = _draw_camera(batch)
    denoising = processing.draw_denoising(batch.count, batch.generator)
    sharpening = processing.draw_sharpening(batch.count, batch.generator)
    recorded = batch.response.encode(sensor.record(blurred, camera, batch.generator))
    exposed = batch.response.encode(sensor.expose(sharp, camera))
    stored = processing.sharpen(processing.denoise(recorded, denoising), sharpening)
    stored, wanted = _publish(batch, stored, processing.sharpen(exposed, sharpening))
    return stored, (stored if batch.kind == STILL else wanted)


def _draw_scenes(batch: _Batch) -> Tensor:
    """Draw scenes in linear light (B, 3, scene, scene), some with highlights or out of focus."""
    recipe, count, generator = batch.recipe, batch.count, batch.generator
    stored = _draw_over(batch, _draw_photos(batch))
    colour = light.draw_tint(count, generator, recipe.tinted_share)
    linear = _brighten(batch, light.tint(batch.response.decode(stored), colour))
    defocus = focus.draw_defocus(count, generator, batch.sizes.scene, recipe.defocus_share)
    return focus.defocus(linear, defocus)


def _draw_photos(batch: _Batch) -> Tensor:
    """Cut stored crops (B, 3, scene, scene) out of photos."""
    scenes, generator = batch.sources.scenes, batch.generator
    photo = whole(0, scenes.count, (batch.count,), generator)
    shrink = _draw_shrinks(batch, scenes.is_coded[photo]) / batch.sizes.scale
    places = draw_places(scenes, photo, shrink, batch.sizes.scene, generator)
    return cut_out(scenes, places, batch.sizes.scene)


def _draw_shrinks(batch: _Batch, is_coded: Tensor) -> Tensor:
    """Draw what sides of photos are divided by until the crop is as it is wanted: (B,)."""
    recipe, count, generator = batch.recipe, batch.count, batch.generator
    choice = uniform(0, 1, (count,), generator)
    enlarged = choice < recipe.enlarged_share
    shrunk = choice > 1 - recipe.shrunk_share
    shrink = torch.where(enlarged, uniform(0.5, 1, (count,), generator), 1.0)
    shrink = torch.where(shrunk, uniform(1, 2, (count,), generator), shrink)
    if batch.kind == STILL:
        return shrink
    return torch.where(is_coded, uniform(*recipe.shrink_of_coded, (count,), generator), shrink)


def _draw_over(batch: _Batch, stored: Tensor) -> Tensor:
    """Draw shapes and text over a share of the scenes, some of which are covered first."""
    recipe, count, generator = batch.recipe, batch.count, batch.generator
    is_drawn = chance(recipe.drawn_share, (count, 1, 1, 1), generator)
    is_covered = is_drawn & chance(recipe.covered_share, (count, 1, 1, 1), generator)
    stored = torch.where(is_covered, draw_colours(count, generator), stored)
    layers = draw_layers(batch.sources.bank.overlays, count, batch.sizes.scene, generator)
    return paste(stored, layers * is_drawn)


def _brighten(batch: _Batch, linear: Tensor) -> Tensor:
    recipe = batch.recipe
    share = recipe.frame_highlight_share if batch.kind == FRAMES else recipe.highlight_share
    return light.brighten(linear, light.draw_highlights(batch.count, batch.generator, share))


def _keep_still(batch: _Batch, linear: Tensor) -> Images:
    inner = _without_margin(batch, linear)
    return inner, inner


def _blur_by_kernels(batch: _Batch, linear: Tensor) -> Images:
    """Move the whole picture alike."""
    path = _draw_paths(batch, _draw_bounds(batch), paths.KERNEL_INSTANTS)
    kernels = motion.kernels_of(path, radius=batch.sizes.margin)
    blurred = motion.blur_by_kernels(linear, kernels, batch.sizes.margin)
    return blurred, _without_margin(batch, linear)


def _blur_by_turning(batch: _Batch, linear: Tensor) -> Images:
    """Move the picture by a camera that turns or goes forward."""
    bounds, part = _draw_bounds(batch), batch.recipe.turned_part
    turned = bounds * uniform(*part, (batch.count,), batch.generator)
    path = _draw_paths(batch, bounds - turned, _draw_instants(batch))
    poses = motion.draw_turning(path, turned, batch.generator, batch.sizes.recorded)
    blurred = motion.blur_by_poses(linear, poses, batch.sizes.margin)
    return blurred, _without_margin(batch, linear)


def _blur_layers(batch: _Batch, linear: Tensor) -> Images:
    """Move objects and what is behind them, each by itself."""
    instants, margin = _draw_instants(batch), batch.sizes.margin
    far, near = (_draw_paths(batch, _draw_bounds(batch), instants) for _ in range(2))
    objects = _draw_objects(batch)
    blurred = motion.blur_layers(linear, objects, far, near, margin)
    return blurred, motion.reference_of_layers(linear, objects, margin)


def _blur_as_frames(batch: _Batch, linear: Tensor) -> Images:
    """Average a few instants, as is done with the frames of an action camera."""
    if batch.host.random() < batch.recipe.frame_layers_share:
        return _blur_layers(batch, linear)
    return _blur_by_turning(batch, linear)


_MOTIONS: dict[str, Callable[[_Batch, Tensor], Images]] = {
    STILL: _keep_still,
    KERNEL: _blur_by_kernels,
    TURNING: _blur_by_turning,
    LAYERS: _blur_layers,
    FRAMES: _blur_as_frames,
}


def _without_margin(batch: _Batch, linear: Tensor) -> Tensor:
    return F.pad(linear, (-batch.sizes.margin,) * 4)


def _draw_instants(batch: _Batch) -> int:
    """Draw how many instants of the motion are computed."""
    if batch.kind == FRAMES:
        return batch.host.randint(*batch.recipe.frame_counts)
    return paths.instants_for(batch.longest)


def _draw_bounds(batch: _Batch) -> Tensor:
    """Draw upper bounds (B,) of motion in pixels of a scene."""
    least = min(batch.longest, batch.recipe.least_bound * batch.sizes.scale)
    return uniform(least, batch.longest, (batch.count,), batch.generator)


def _draw_paths(batch: _Batch, bounds: Tensor, instants: int) -> Tensor:
    """Draw paths (B, T, 2) of hands, walking people and pans of up to some pixels (B,)."""
    recipe, generator = batch.recipe, batch.generator
    shares = (recipe.hand_share, recipe.walk_share)
    if batch.kind == FRAMES:
        shares = (recipe.frame_hand_share, recipe.frame_walk_share)
    hand, walk, pan = (
        draw(bounds, generator, instants, averaged_share=0.0)
        for draw in (paths.draw_hand, paths.draw_walk, paths.draw_pan)
    )
    choice = uniform(0, 1, (batch.count, 1, 1), generator)
    return torch.where(choice < shares[0], hand, torch.where(choice < sum(shares), walk, pan))


def _draw_objects(batch: _Batch) -> Tensor:
    """Draw objects (B, 4, scene, scene) in linear light, multiplied by alpha, and alpha."""
    recipe, count, generator = batch.recipe, batch.count, batch.generator
    side = batch.sizes.scene
    texture = _brighten(batch, batch.response.decode(_draw_photos(batch)))
    outlines = _draw_outlines(batch)
    drawn = draw_layers(batch.sources.bank.overlays, count, side, generator)
    alpha = drawn[:, 3:]
    colours = batch.response.decode((drawn[:, :3] / alpha.clamp(min=1e-3)).clamp(max=1))
    has_texture = chance(recipe.texture_share, (count, 1, 1, 1), generator)
    alpha = torch.where(has_texture, outlines, alpha)
    return torch.cat([torch.where(has_texture, texture, colours) * alpha, alpha], 1)


def _draw_outlines(batch: _Batch) -> Tensor:
    """Draw alpha (B, 1, scene, scene) of smooth random objects with clean edges."""
    soft = focus.soft_masks(batch.count, batch.generator, batch.sizes.scene)
    down, across = torch.gradient(soft, dim=(2, 3))
    steepness = torch.hypot(down, across).clamp(min=1e-4)
    width = uniform(*batch.recipe.object_edge, (batch.count, 1, 1, 1), batch.generator)
    return ((soft - 0.5) / (steepness * width) + 0.5).clamp(0, 1)


def _draw_camera(batch: _Batch) -> sensor.Camera:
    recipe, is_frame = batch.recipe, batch.kind == FRAMES
    camera = sensor.draw_camera(
        batch.count,
        batch.generator,
        share=recipe.noisy_share,
        dark_share=0.0 if is_frame else recipe.dark_share,
    )
    if not is_frame:
        return camera
    shot, read = camera.shot * recipe.frame_noise**2, camera.read * recipe.frame_noise
    return dataclasses.replace(camera, shot=shot, read=read)


def _publish(batch: _Batch, stored: Tensor, wanted: Tensor) -> Images:
    """Shrink photos, print captions on them, code them, and send some by a messenger."""
    sizes, count, generator = batch.sizes, batch.count, batch.generator
    is_captioned = chance(batch.recipe.caption_share, (count, 1, 1, 1), generator)
    captions = draw_layers(batch.sources.bank.captions, count, sizes.coded, generator)
    stored, wanted = (
        paste(processing.shrink(image, sizes.coded), captions * is_captioned)
        for image in (stored, wanted)
    )
    stored = _code(batch, stored)
    if sizes.coded == sizes.wanted:
        return stored, wanted
    stored, wanted = (processing.shrink(image, sizes.wanted) for image in (stored, wanted))
    return _code(batch, stored), wanted


def _code(batch: _Batch, stored: Tensor) -> Tensor:
    """Code photos as JPEG and decode them."""
    recipe = batch.recipe
    lowest, highest = recipe.frame_quality if batch.kind == FRAMES else recipe.jpeg_quality
    quality = jpeg.draw_quality(batch.count, batch.generator, recipe.jpeg_share, lowest, highest)
    [subsampling] = batch.host.choices(range(3), recipe.subsampling_shares)
    return jpeg.roundtrip(stored, quality, subsampling)
