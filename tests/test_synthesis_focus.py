from __future__ import annotations

import pytest
import torch

from training.synthesis.focus import (
    LARGEST_RADIUS,
    Defocus,
    defocus,
    draw_defocus,
    focus_kernels,
    soft_masks,
)

RADII = torch.tensor([0.0, 0.8, 3.0, LARGEST_RADIUS])


def generator():
    return torch.Generator().manual_seed(5)


def scenes(count=4, size=40):
    return torch.rand(count, 3, size, size, generator=generator())


def everywhere(is_disc, size=40):
    return Defocus(RADII, torch.full((4,), is_disc), torch.ones(4, 1, size, size))


def detail(images):
    return images.diff(dim=-1).abs().mean((1, 2, 3))


@pytest.mark.parametrize("is_disc", [True, False])
def test_a_focus_kernel_sums_to_one_and_moves_nothing(is_disc):
    kernels = focus_kernels(RADII, torch.full((4,), is_disc))
    assert kernels.sum((1, 2)) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(kernels, kernels.flip(1, 2), atol=1e-7)
    assert torch.allclose(kernels, kernels.mT, atol=1e-7)


def test_a_disc_is_as_wide_as_its_radius_says():
    disc = focus_kernels(torch.tensor([3.0]), torch.tensor([True]))[0]
    assert ((disc > 0).any(0)).sum() == 7
    assert disc.max() == pytest.approx(1 / (torch.pi * 3**2), rel=0.05)


def test_a_gaussian_spreads_as_its_radius_says():
    gaussian = focus_kernels(torch.tensor([3.2]), torch.tensor([False]))[0]
    places = torch.arange(gaussian.shape[0]) - gaussian.shape[0] // 2
    assert (gaussian.sum(0) * places**2).sum() == pytest.approx((3.2 / 1.6) ** 2, rel=0.01)


@pytest.mark.parametrize("is_disc", [True, False])
def test_a_larger_radius_leaves_less_detail(is_disc):
    scene = scenes(1).expand(4, -1, -1, -1)
    assert (detail(defocus(scene, everywhere(is_disc))).diff() < 0).all()


@pytest.mark.parametrize("is_disc", [True, False])
def test_no_radius_changes_nothing(is_disc):
    assert torch.allclose(defocus(scenes(), everywhere(is_disc))[0], scenes()[0], atol=1e-5)


def test_a_flat_scene_stays_flat():
    flat = torch.full((6, 3, 40, 40), 1.5)
    assert defocus(flat, draw_defocus(6, generator(), 40, share=1)) == pytest.approx(1.5, abs=1e-5)


def test_only_what_the_mask_shows_is_out_of_focus():
    mask = torch.zeros(4, 1, 40, 40)
    mask[..., 20:] = 1
    halves = defocus(scenes(), Defocus(RADII, torch.ones(4, dtype=torch.bool), mask))
    assert torch.equal(halves[..., :20], scenes()[..., :20])
    assert torch.allclose(halves[..., 20:], defocus(scenes(), everywhere(True))[..., 20:])


def test_as_many_scenes_are_out_of_focus_as_was_asked_for():
    mask = draw_defocus(400, generator(), 8, share=0.5, wholly_share=0.25).mask.flatten(1)
    untouched, wholly = (mask == 0).all(1), (mask == 1).all(1)
    assert 0.4 < untouched.float().mean() < 0.62
    assert 0.08 < wholly.float().mean() < 0.25
    assert torch.equal(draw_defocus(4, generator(), 8, share=0).mask, torch.zeros(4, 1, 8, 8))


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
    drawn = draw_defocus(4, generator(), 40, share=1)
    alone = Defocus(drawn.radius[1:2], drawn.is_disc[1:2], drawn.mask[1:2])
    together = defocus(scenes(), drawn)[1:2]
    assert torch.allclose(together, defocus(scenes()[1:2], alone), atol=1e-5)
