"""Spots of lenses out of focus, compared with geometry's closed forms."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from lenses import round_lens

from training.synthesis.lenses import draw_lens, draw_radii, spots
from training.synthesis.recipe import FOCUS_RECIPE, Lenses

RADII = torch.tensor([0.0, 0.3, 0.5, 0.8, 1.0, 1.3, 2.0, 3.0, 4.5, 6.0])
COUNT = len(RADII)
LARGEST = 7.0


def of_all(value):
    return torch.full((COUNT,), value)


LENSES = {
    "disc": {},
    "gaussian": {"is_gaussian": of_all(True)},
    "pentagon": {"blades": of_all(5)},
    "turned heptagon": {"blades": of_all(7), "turn": of_all(0.3)},
    "octagon": {"blades": of_all(8)},
    "ellipse": {"stretch": of_all(1.25), "axis": of_all(0.6)},
    "long pentagon": {"blades": of_all(5), "stretch": of_all(1.25), "axis": of_all(0.6)},
    "coloured disc": {"fringe": torch.tensor([[-0.5, 0.2, 0.3]]).expand(COUNT, 3)},
}


def lens_of(name):
    return dataclasses.replace(round_lens(COUNT), **LENSES[name])


def moments(kernels):
    """Return the middle (y, x), and the mean squares and product of y and x: (B, 3) each."""
    half = kernels.shape[-1] // 2
    x = torch.arange(-half, half + 1.0)
    y = x[:, None]
    return [(kernels * of).sum((2, 3)) for of in (y, x, y * y, x * x, y * x)]


def green(values):
    return values[:, 1]


@pytest.mark.parametrize("name", LENSES)
def test_a_spot_sums_to_one_is_never_negative_and_shifts_no_colour(name):
    for radius in (RADII, -RADII):
        kernels = spots(lens_of(name), radius, LARGEST)
        assert kernels.sum((2, 3)) == pytest.approx(1, abs=1e-5)
        assert kernels.min() >= 0
        y, x, *_ = moments(kernels)
        assert torch.hypot(y, x).max() < 0.01


@pytest.mark.parametrize("name", LENSES)
def test_no_radius_changes_nothing(name):
    kernel = spots(lens_of(name), RADII, LARGEST)[0]
    assert (kernel > 0).sum() == 3
    assert (kernel.amax((1, 2)) == 1).all()


def spread_of(sides):
    """Mean squared distance from the middle of a regular polygon whose corners are 1 away."""
    return (2 + math.cos(2 * math.pi / sides)) / 6


@pytest.mark.parametrize(
    ("name", "spread"),
    [
        ("disc", 1 / 2),
        ("gaussian", 2 * (1 / 2) ** 2),  # of the square of its standard deviation on each axis
        ("pentagon", spread_of(5)),
        ("turned heptagon", spread_of(7)),
        ("octagon", spread_of(8)),
        ("ellipse", (1.25 + 1 / 1.25) / 4),
    ],
)
def test_a_spot_spreads_as_its_shape_and_radius_say(name, spread):
    kernels = spots(lens_of(name), RADII, LARGEST)
    _, _, yy, xx, _ = map(green, moments(kernels))
    assert (yy + xx)[1:] / RADII[1:].square() == pytest.approx(spread, rel=0.02)


def test_a_gaussian_is_as_wide_along_both_axes_as_half_of_its_radius():
    _, _, yy, xx, yx = map(green, moments(spots(lens_of("gaussian"), RADII, LARGEST)))
    assert torch.allclose(yy, (RADII / 2).square(), rtol=0.02)
    assert torch.allclose(xx, (RADII / 2).square(), rtol=0.02)
    assert yx == pytest.approx(0, abs=1e-4)


def test_a_disc_is_evenly_bright_up_to_its_radius_and_dark_beyond():
    disc = spots(lens_of("disc"), RADII, LARGEST)[-1, 1]
    half = disc.shape[0] // 2
    row = disc[half, half:]
    assert row[:5] == pytest.approx(1 / (math.pi * 6**2), rel=0.03)
    assert (row[8:] == 0).all()


def corners(kernel, sides):
    """Strength of the n-th Fourier component of a spot's outline, which n corners make large."""
    half = kernel.shape[-1] // 2
    x = torch.arange(-half, half + 1.0)
    y = x[:, None]
    angle, distance = torch.atan2(y, x), torch.hypot(y, x)
    weight = kernel * distance**4
    wave = torch.polar(weight, sides * angle).sum() / weight.sum()
    return wave.abs().item(), (wave.angle().item() / sides)


@pytest.mark.parametrize("sides", [5, 6, 7])
def test_blades_make_as_many_corners_where_they_are_turned_to(sides):
    lens = dataclasses.replace(round_lens(1), blades=torch.tensor([sides]))
    for turn in (0.0, 0.2):
        turned = dataclasses.replace(lens, turn=torch.tensor([turn]))
        strength, angle = corners(spots(turned, torch.tensor([6.0]), LARGEST)[0, 1], sides)
        assert strength > 0.02
        assert angle == pytest.approx(turn, abs=0.03)
    assert corners(spots(round_lens(1), torch.tensor([6.0]), LARGEST)[0, 1], sides)[0] < 0.01


def test_a_stretched_spot_is_longest_along_its_axis():
    _, _, yy, xx, yx = (green(m)[-1] for m in moments(spots(lens_of("ellipse"), RADII, LARGEST)))
    direction = torch.atan2(2 * yx, xx - yy) / 2
    assert direction == pytest.approx(0.6, abs=0.02)
    longer, shorter = torch.linalg.eigvalsh(torch.stack([yy, yx, yx, xx]).reshape(2, 2)).flip(0)
    assert (longer / shorter).sqrt() == pytest.approx(1.25, rel=0.02)


def test_the_axis_does_not_turn_spots_that_are_not_stretched():
    lens = dataclasses.replace(lens_of("pentagon"), axis=of_all(0.6))
    assert torch.allclose(
        spots(lens, RADII, LARGEST), spots(lens_of("pentagon"), RADII, LARGEST), atol=1e-3
    )


def test_spots_in_front_of_the_focus_are_upside_down_with_fringes_of_the_other_colour():
    far = spots(lens_of("pentagon"), RADII, LARGEST)
    near = spots(lens_of("pentagon"), -RADII, LARGEST)
    assert torch.allclose(near, far.flip(2, 3), atol=1e-6)
    coloured = lens_of("coloured disc")
    last = [spots(coloured, sign * RADII, LARGEST)[-1:] for sign in (1, -1)]
    (_, _, far_spread, *_), (_, _, near_spread, *_) = map(moments, last)
    assert far_spread.argsort().tolist() == [[0, 1, 2]]
    assert near_spread.argsort().tolist() == [[2, 1, 0]]


def test_the_radii_of_colours_differ_by_the_fringe():
    _, _, yy, xx, _ = moments(spots(lens_of("coloured disc"), RADII, LARGEST))
    radii = (2 * (yy + xx)).sqrt()
    expected = RADII[6:, None] + torch.tensor([-0.5, 0.2, 0.3])
    assert torch.allclose(radii[6:], expected, atol=0.05)


def test_drawn_lenses_have_the_shares_and_ranges_that_were_asked_for():
    random, lenses = torch.Generator().manual_seed(1), FOCUS_RECIPE.lenses
    lens = draw_lens(4000, random, lenses)
    assert lens.is_gaussian.float().mean() == pytest.approx(0.3, abs=0.03)
    has_blades = lens.blades > 0
    assert has_blades.float().mean() == pytest.approx(0.4, abs=0.03)
    assert not (has_blades & lens.is_gaussian).any()
    assert lens.blades[has_blades].unique().tolist() == [5, 6, 7, 8, 9]
    assert 1 <= lens.stretch.min() < 1.02
    assert 1.23 < lens.stretch.max() <= 1.25
    apart = lens.fringe.amax(1) - lens.fringe.amin(1)
    assert 0.8 < apart.max() <= 1
    assert lens.fringe.mean(1) == pytest.approx(0, abs=1e-6)
    radii = draw_radii(4000, random, lenses)
    assert radii.quantile(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx(
        [0.75, 1.4, 6.0], abs=0.15
    )
    assert draw_radii(4000, random, Lenses()).median() == pytest.approx(3.4, abs=0.2)


def test_no_spot_reaches_the_border_of_its_kernel():
    lens = draw_lens(40, torch.Generator().manual_seed(1), FOCUS_RECIPE.lenses)
    radius = torch.full((40,), FOCUS_RECIPE.lenses.radius[1])
    kernels = spots(lens, radius, FOCUS_RECIPE.lenses.largest)
    border = 1 - kernels[..., 1:-1, 1:-1].sum((2, 3))
    assert border.max() < 1e-3
