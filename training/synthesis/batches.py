"""Make batches of crops: blurred crops and their sharp targets.

A crop passes these stages, each a function in a module of its own: a scene is cut out of a photo
and drawn over (`scenes`, `overlays`), lit (`light`), put out of focus (`focus`), moved (`motion`,
`paths`), recorded (`sensor`), processed (`processing`), captioned and coded (`jpeg`). The target
passes the same stages, but it is not moved, and it has neither noise nor coding.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from training.synthesis import jpeg, light, processing, sensor
from training.synthesis.draws import chance, uniform, whole
from training.synthesis.movement import Images, move
from training.synthesis.overlays import draw_layers, paste
from training.synthesis.plan import Batch, draw_sizes
from training.synthesis.recipe import REAL, STILL, Recipe
from training.synthesis.scenery import draw_scenes
from training.synthesis.scenes import cut_out, draw_places
from training.synthesis.sources import Pairs, Sources


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches of a recipe's kinds, by its shares; for the fields see `make_batch`."""

    sources: Sources
    recipe: Recipe
    count: int
    size: int
    longest: Callable[[], float]
    """Returns the upper bound of the motion in pixels."""
    seed: int

    def __call__(self, number: int) -> Images:
        """Make batch number n. It depends only on the seed, n and the longest motion."""
        host = random.Random(f"{self.seed} {number}")
        [kind] = host.choices(*zip(*self.recipe.kind_shares.items(), strict=True))
        generator = torch.Generator(self.sources.scenes.device).manual_seed(host.getrandbits(62))
        longest = self.longest()
        return make_batch(
            self.sources, self.recipe, kind, self.count, self.size, longest, generator
        )


@torch.no_grad()
def make_batch(
    sources: Sources,
    recipe: Recipe,
    kind: str,
    count: int,
    size: int,
    longest: float,
    generator: torch.Generator,
) -> Images:
    """Make a batch of one kind. It depends only on the arguments and the generator's seed.

    Args:
        sources: Photos, real pairs and layers that the crops are made of.
        recipe: How the crops are made.
        kind: One of `Recipe.kind_shares`.
        count: Number of crops B.
        size: Side of the crops in pixels, an even number.
        longest: Upper bound of the motion in pixels.
        generator: Source of randomness, on the device of the sources.

    Returns:
        Blurred crops and their targets, each (B, 3, size, size) uint8.
    """
    recipe = recipe.of(kind)
    if kind == REAL:
        images = _real_crops(sources.pairs, recipe, count, size, generator)
    else:
        host = random.Random(generator.initial_seed())
        sizes = draw_sizes(recipe, size, longest, host)
        images = _synthesise(
            Batch(
                sources,
                recipe,
                kind,
                count,
                longest * sizes.scale,
                sizes,
                light.draw_response(count, generator),
                light.draw_tint(count, generator, recipe.tinted_share, recipe.tint_spread),
                host,
                generator,
            )
        )
    blurred, wanted = ((image.clamp(0, 1) * 255).round().byte() for image in images)
    return blurred, wanted


def _real_crops(
    pairs: Pairs, recipe: Recipe, count: int, size: int, generator: torch.Generator
) -> Images:
    """Cut crops out of real pairs. Photos with visible coding noise are shrunk."""
    photo = whole(0, pairs.sharp.count, (count,), generator)
    shrunk = uniform(*recipe.shrink_of_coded, (count,), generator)
    shrink = torch.where(pairs.sharp.is_coded[photo], shrunk, 1.0)
    places = draw_places(pairs.sharp, photo, shrink, size, generator)
    colour = light.draw_tint(count, generator, recipe.tinted_share, recipe.tint_spread)
    stored = colour ** (1 / 2.2)
    blurred, sharp = (
        light.tint(cut_out(side, places, size), stored) for side in (pairs.blurred, pairs.sharp)
    )
    is_still = chance(recipe.still_share_of_pairs, (count, 1, 1, 1), generator)
    return torch.where(is_still, sharp, blurred), sharp


def _synthesise(batch: Batch) -> Images:
    """Blur, record, process and code scenes; the module's docstring lists the stages."""
    recipe, count, generator = batch.recipe, batch.count, batch.generator
    blurred, sharp = move(batch, draw_scenes(batch))
    camera = _draw_camera(batch)
    denoising = processing.draw_denoising(count, generator, recipe.denoised_share)
    sharpening = processing.draw_sharpening(
        count, generator, recipe.sharpened_share, recipe.most_sharpening
    )
    recorded = batch.response.encode(sensor.record(blurred, camera, generator))
    exposed = batch.response.encode(sensor.expose(sharp, camera))
    stored = processing.sharpen(processing.denoise(recorded, denoising), sharpening)
    stored, wanted = _publish(batch, stored, processing.sharpen(exposed, sharpening))
    return stored, (stored if batch.kind == STILL else wanted)


def _draw_camera(batch: Batch) -> sensor.Camera:
    recipe = batch.recipe
    shares = (recipe.noisy_share, recipe.dark_share, recipe.detailed_share)
    camera = sensor.draw_camera(batch.count, batch.generator, *shares)
    shot, read = camera.shot * recipe.noise**2, camera.read * recipe.noise
    return dataclasses.replace(camera, shot=shot, read=read)


def _publish(batch: Batch, stored: Tensor, wanted: Tensor) -> Images:
    """Shrink photos, print captions on them, code them, and send some through a messenger."""
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


def _code(batch: Batch, stored: Tensor) -> Tensor:
    """Code photos as JPEG and decode them."""
    recipe = batch.recipe
    quality = jpeg.draw_quality(
        batch.count, batch.generator, recipe.jpeg_share, *recipe.jpeg_quality
    )
    [subsampling] = batch.host.choices(range(3), recipe.subsampling_shares)
    return jpeg.roundtrip(stored, quality, subsampling)
