"""Batches of the recipe that undoes focus blur."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch
from crop_sources import LONGEST, PLAIN, SIZE, batch_of, shift_between, sources_of

from training.synthesis import focus, scenery
from training.synthesis.lenses import draw_radii
from training.synthesis.plan import draw_sizes
from training.synthesis.recipe import (
    DEPTHS,
    FOCUS,
    FOCUS_RECIPE,
    KERNEL,
    RECIPES,
    STILL,
    Lenses,
    Recipe,
)

KINDS = FOCUS_RECIPE.kind_shares
UNFOCUSED = [FOCUS, DEPTHS]
OTHERS = {
    name: getattr(PLAIN, name)
    for name in (
        "drawn_share",
        "tinted_share",
        "highlight_share",
        "noisy_share",
        "sent_share",
        "shrunk_photo_share",
        "caption_share",
        "jpeg_share",
    )
}
ONLY_FOCUS = dataclasses.replace(
    FOCUS_RECIPE, **OTHERS, shaken_share=0, denoised_share=0, sharpened_share=0
)
"""The recipe without its other steps, so that only the blur remains."""


def changed_by(blurred, wanted):
    """Difference of values in units of 1/255, (B, 3, H, W). Rounding may turn a half into 1."""
    return (blurred.int() - wanted.int()).abs()


def only_by(radius, **others):
    lenses = dataclasses.replace(FOCUS_RECIPE.lenses, radius=(radius, radius))
    return dataclasses.replace(ONLY_FOCUS, lenses=lenses, **others)


@pytest.mark.parametrize("kind", KINDS)
def test_crops_of_each_kind_are_pairs_of_the_size_that_is_asked_for(kind):
    first, again, other = (batch_of(kind, FOCUS_RECIPE, 4, seed) for seed in (1, 1, 2))
    for blurred, wanted in (first, other):
        assert blurred.shape == wanted.shape == (4, 3, SIZE, SIZE)
        assert blurred.dtype == wanted.dtype == torch.uint8
        assert wanted.float().std() > 10
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[1], other[1])


def test_sharp_photos_are_wanted_back_as_they_were_recorded():
    blurred, wanted = batch_of(STILL, FOCUS_RECIPE)
    assert torch.equal(blurred, wanted)


@pytest.mark.parametrize("kind", UNFOCUSED)
def test_photos_out_of_focus_are_wanted_sharp(kind):
    blurred, wanted = batch_of(kind, only_by(4.0), count=12)
    sharpness = [images.float().diff(dim=3).abs().mean() for images in (blurred, wanted)]
    assert sharpness[0] < 0.85 * sharpness[1]


@pytest.mark.parametrize("kind", UNFOCUSED)
def test_photos_that_are_not_out_of_focus_are_wanted_as_they_are(kind):
    assert changed_by(*batch_of(kind, only_by(0.0))).max() <= 1


@pytest.mark.parametrize("kind", UNFOCUSED)
def test_blurred_and_wanted_crops_lie_on_each_other(kind):
    shifts = torch.stack([shift_between(*batch_of(kind, ONLY_FOCUS, 24, s)) for s in range(2)])
    assert shifts.mean(0).abs().max() < 0.1


def test_photos_partly_out_of_focus_are_sharp_elsewhere():
    blurred, wanted = batch_of(FOCUS, only_by(4.0, wholly_defocused_share=0), count=12)
    changed = changed_by(blurred, wanted).amax(1)
    untouched = (changed <= 1).float().mean((1, 2))
    assert 0.1 < untouched.mean() < 0.8
    assert changed.amax((1, 2)).float().median() > 20


def test_short_motion_comes_on_top_of_a_share_of_them():
    still, moved = (
        batch_of(FOCUS, only_by(0.0, shaken_share=share), count=24) for share in (0.0, 0.5)
    )
    assert changed_by(*still).max() <= 1
    changed = (changed_by(*moved) > 1).flatten(1).any(1).float().mean()
    assert 0.25 < changed < 0.75


@pytest.mark.parametrize("kind", [STILL, FOCUS])
def test_photos_are_of_their_own_size_or_of_half_of_it_which_needs_no_interpolation(
    kind, monkeypatch
):
    shrinks = []
    draw_places = scenery.draw_places

    def note(scenes, photo, shrink, *others):
        shrinks.append(shrink)
        return draw_places(scenes, photo, shrink, *others)

    monkeypatch.setattr(scenery, "draw_places", note)
    batch_of(kind, ONLY_FOCUS, count=48)
    assert set(shrinks[0].tolist()) == {1.0, 2.0}


def test_most_crops_that_are_slightly_soft_all_over_are_out_of_focus_and_not_sharp():
    """A blur that may as well be none stays as it is; see `BALANCED` in `training.losses`."""
    radii = draw_radii(4000, torch.Generator().manual_seed(1), FOCUS_RECIPE.lenses)
    slight = ((radii > 0.75) & (radii < 1.3)).float().mean()
    wholly = KINDS[FOCUS] * FOCUS_RECIPE.wholly_defocused_share * (1 - FOCUS_RECIPE.shaken_share)
    assert slight * wholly > 0.4 * KINDS[STILL]
    assert 0.2 < (radii > 2).float().mean() < 0.6


def test_light_from_beyond_the_crop_comes_in_as_far_as_spots_reach():
    lenses = FOCUS_RECIPE.lenses
    for seed in range(20):
        sizes = draw_sizes(FOCUS_RECIPE, SIZE, FOCUS_RECIPE.longest, random.Random(seed))
        reach = lenses.largest * lenses.most_stretch**0.5 + FOCUS_RECIPE.longest / 2
        assert sizes.margin >= reach * sizes.scale


@pytest.mark.parametrize("kind", UNFOCUSED)
def test_radii_are_those_of_the_photo_that_is_seen_even_if_the_camera_shrinks_it(kind, monkeypatch):
    largest = []
    spots = focus.spots

    def note(lens, radius, most):
        largest.append(most)
        return spots(lens, radius, most)

    monkeypatch.setattr(focus, "spots", note)
    recipe = dataclasses.replace(ONLY_FOCUS, shrunk_photo_share=1, photo_shrinks=(1.5,))
    batch_of(kind, recipe, count=2)
    assert set(largest) == {1.5 * FOCUS_RECIPE.lenses.largest}


def test_spots_of_lamps_stay_as_bright_as_they_were_recorded():
    """A lamp brighter than white makes white spots."""
    photo = np.full((300, 300, 3), 10, np.uint8)
    photo[::40, ::40] = photo[1::40, ::40] = photo[::40, 1::40] = photo[1::40, 1::40] = 255
    lamps, plain = (
        batch_of(FOCUS, only_by(2.0, highlight_share=share), 12, sources=sources_of(photo))
        for share in (1.0, 0.0)
    )
    assert (lamps[0] > 250).sum() > 5 * (plain[0] > 250).sum()
    assert (lamps[1] > 250).any()


def test_recipes_name_all_kinds_and_their_shares_add_up():
    for recipe in RECIPES.values():
        assert sum(recipe.kind_shares.values()) == pytest.approx(1)
    assert {STILL, KERNEL} < set(KINDS)


def test_the_recipe_against_motion_leaves_out_of_focus_what_is_so():
    recipe = RECIPES["motion"]
    assert recipe == Recipe()
    assert not {FOCUS, DEPTHS} & set(recipe.kind_shares)
    assert recipe.defocus_share > 0 == FOCUS_RECIPE.defocus_share
    assert recipe.lenses == Lenses()
    assert FOCUS_RECIPE.longest < LONGEST
