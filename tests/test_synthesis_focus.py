from __future__ import annotations

import dataclasses

import pytest
import torch
from lenses import round_lens

from training.synthesis.focus import (
    Defocus,
    defocus,
    defocus_layers,
    draw_defocus,
    draw_layered,
    soft_masks,
)
from training.synthesis.motion import blur_by_kernels
from training.synthesis.recipe import FOCUS_RECIPE, Lenses

LARGEST = 6.0
RADII = torch.tensor([0.0, 0.8, 3.0, LARGEST])
MANY = FOCUS_RECIPE.lenses
"""Lenses of all kinds."""


def generator():
    return torch.Generator().manual_seed(5)


def scenes(count=4, size=40):
    return torch.rand(count, 3, size, size, generator=generator())


def in_bytes(images):
    return (images * 255).round().byte()


def everywhere(is_gaussian=False, radius=RADII):
    count = len(radius)
    lens = dataclasses.replace(round_lens(count), is_gaussian=torch.full((count,), is_gaussian))
    return Defocus(lens, radius, torch.ones(count, 1, 1, 1), LARGEST)


def left_half(size=40, levels=1):
    """Discs whose depth grows from 0, in the left half, to 1."""
    depth = torch.zeros(1, 1, 1, size)
    depth[..., size // 2 :] = torch.linspace(0, 1, size // 2)
    return dataclasses.replace(everywhere(), depth=depth, levels=levels)


def detail(images):
    return images.diff(dim=-1).abs().mean((1, 2, 3))


@pytest.mark.parametrize("is_gaussian", [True, False])
def test_a_larger_radius_leaves_less_detail(is_gaussian):
    scene = scenes(1).expand(4, -1, -1, -1)
    assert (detail(defocus(scene, everywhere(is_gaussian))).diff() < 0).all()


def test_what_is_in_focus_stays_the_same_to_the_byte():
    blurred = defocus(scenes(), everywhere(radius=torch.zeros(4)))
    assert torch.equal(in_bytes(blurred), in_bytes(scenes()))


def test_a_flat_scene_stays_flat():
    flat = torch.full((6, 3, 40, 40), 1.5)
    for lenses in (Lenses(), MANY):
        blurred = defocus(flat, draw_defocus(6, generator(), 40, lenses))
        assert blurred == pytest.approx(1.5, abs=1e-5)


@pytest.mark.parametrize("levels", [1, 3])
def test_only_what_is_at_another_distance_is_out_of_focus(levels):
    halves = defocus(scenes(), left_half(levels=levels))
    assert torch.equal(halves[..., :20], scenes()[..., :20])
    assert torch.allclose(halves[..., -1:], defocus(scenes(), everywhere())[..., -1:], atol=1e-5)


def test_what_lies_between_is_blurred_by_a_radius_between():
    scene = scenes()
    third = dataclasses.replace(everywhere(), depth=torch.full((4, 1, 1, 1), 1 / 3), levels=3)
    assert torch.allclose(
        defocus(scene, third), defocus(scene, everywhere(radius=RADII / 3)), atol=1e-5
    )


def test_each_colour_is_blurred_by_its_own_kernel():
    kernels = torch.rand(4, 3, 5, 5, generator=generator())
    blurred = blur_by_kernels(scenes(), kernels)
    for colour in range(3):
        alone = blur_by_kernels(scenes()[:, colour, None], kernels[:, colour])
        assert torch.allclose(blurred[:, colour, None], alone, atol=1e-5)


def test_as_many_scenes_are_out_of_focus_as_was_asked_for():
    drawn = draw_defocus(400, generator(), 8, Lenses(), share=0.5, wholly_share=0.25)
    assert 0.4 < (drawn.radius != 0).float().mean() < 0.6
    assert 0.2 < (drawn.depth.flatten(1) == 1).all(1).float().mean() < 0.45
    assert 0.4 < (drawn.radius[drawn.radius != 0] > 0).float().mean() < 0.6
    none = draw_defocus(4, generator(), 8, Lenses(), share=0)
    assert torch.equal(none.radius, torch.zeros(4))


def test_scenes_that_are_shrunk_later_are_blurred_farther():
    seen, recorded = (draw_defocus(50, generator(), 8, MANY, scale=scale) for scale in (1.0, 1.5))
    assert torch.allclose(recorded.radius, 1.5 * seen.radius)
    assert torch.allclose(recorded.lens.fringe, 1.5 * seen.lens.fringe)
    assert recorded.largest == 1.5 * seen.largest


def square(size=60):
    """A white square before black, and its outline."""
    layer = torch.zeros(1, 4, size, size)
    layer[..., 20:40, 20:40] = 1
    return layer


def uniform_layer(radius):
    return everywhere(radius=torch.tensor([radius]))


def test_an_object_in_focus_hides_the_blurred_background_up_to_its_edge():
    background = scenes(1, 60)
    seen = defocus_layers(background, square(), uniform_layer(4.0), uniform_layer(0.0))
    assert seen[..., 20:40, 20:40] == pytest.approx(1, abs=1e-5)
    behind = defocus(background, uniform_layer(4.0))
    assert torch.allclose(seen[..., :20], behind[..., :20], atol=1e-5)


def test_a_background_in_focus_is_seen_through_the_border_of_a_blurred_object():
    background = scenes(1, 60)
    seen = defocus_layers(background, square(), uniform_layer(0.0), uniform_layer(-4.0))
    cover = defocus(square()[:, :3], uniform_layer(-4.0))
    assert torch.allclose(seen, cover + (1 - cover) * background, atol=1e-5)
    assert cover[..., 30, 20].mean() == pytest.approx(0.5, abs=0.1)
    assert torch.allclose(seen[..., :14], background[..., :14], atol=1e-5)


def test_layers_in_focus_are_put_over_each_other_to_the_byte():
    background = scenes(1, 60)
    seen = defocus_layers(background, square(), uniform_layer(0.0), uniform_layer(0.0))
    wanted = square()[:, :3] + (1 - square()[:, 3:]) * background
    assert torch.equal(in_bytes(seen), in_bytes(wanted))


def test_objects_are_nearer_than_their_background_and_one_of_them_is_often_in_focus():
    far, near = draw_layered(900, generator(), MANY)
    assert far.lens is near.lens
    assert far.radius.min() == near.radius.max() == 0
    sharp = torch.stack([far.radius == 0, near.radius == 0]).float()
    assert sharp.mean(1).tolist() == pytest.approx([1 / 3, 1 / 3], abs=0.06)
    assert sharp.sum(0).max() == 1


def test_masks_are_smooth_and_differ():
    masks = soft_masks(64, generator(), 64)
    assert masks.shape == (64, 1, 64, 64)
    assert masks.min() == 0
    assert masks.max() == 1
    assert 0.3 < masks.mean() < 0.7
    assert masks.diff(dim=2).abs().mean() < 0.04
    assert masks.std(0).mean() > 0.3
    has_both = (masks.amin((1, 2, 3)) < 0.1) & (masks.amax((1, 2, 3)) > 0.9)
    assert has_both.float().mean() > 0.6


def test_a_scene_is_put_out_of_focus_alike_alone_and_in_a_batch():
    drawn = draw_defocus(4, generator(), 40, MANY)
    lens = {name: value[1:2] for name, value in vars(drawn.lens).items()}
    alone = dataclasses.replace(
        drawn, lens=type(drawn.lens)(**lens), radius=drawn.radius[1:2], depth=drawn.depth[1:2]
    )
    together = defocus(scenes(), drawn)[1:2]
    assert torch.allclose(together, defocus(scenes()[1:2], alone), atol=1e-5)
