from __future__ import annotations

import pytest
import torch

from training.synthesis import paths

COUNT = 32
DRAWS = [paths.draw_hand, paths.draw_walk, paths.draw_pan]


def draw(kind, longest=45.0, instants=paths.KERNEL_INSTANTS, **options):
    generator = torch.Generator().manual_seed(7)
    return kind(torch.full((COUNT,), longest), generator, instants, **options)


def deviation_from_a_line(path):
    """Residual (B, T, 2) of the best fit by a steady motion."""
    times = torch.linspace(-1, 1, path.shape[1])[None, :, None]
    return path - times * (path * times).sum(1, keepdim=True) / times.square().sum()


def extents(path):
    return (path.amax(1) - path.amin(1)).norm(dim=1)


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("instants", [1, 7, 16, 32, paths.KERNEL_INSTANTS])
def test_no_path_shifts_the_picture(kind, instants):
    path = draw(kind, instants=instants)
    assert path.shape == (COUNT, instants, 2)
    assert path.mean(1).abs().max() < 1e-5


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("longest", [3.0, 12.0, 45.0])
def test_a_path_is_no_longer_than_its_bound(kind, longest):
    path = draw(kind, longest, shortest=longest)
    assert extents(path).max() <= 1.1 * longest
    assert extents(path).median() >= 0.3 * longest


@pytest.mark.parametrize("kind", DRAWS)
def test_each_path_of_a_batch_has_its_own_bound(kind):
    longest = torch.linspace(0, 45, COUNT)
    path = kind(longest, torch.Generator().manual_seed(1), 32)
    assert (extents(path) <= 1.1 * longest + 1e-5).all()


@pytest.mark.parametrize("kind", DRAWS)
def test_a_path_without_length_stands_still(kind):
    assert torch.equal(draw(kind, 0.0), torch.zeros(COUNT, paths.KERNEL_INSTANTS, 2))


@pytest.mark.parametrize("kind", DRAWS)
def test_the_same_seed_draws_the_same_path(kind):
    assert torch.equal(draw(kind), draw(kind))


def test_a_panned_path_is_nearly_straight_and_nearly_steady():
    path = draw(paths.draw_pan, shortest=45)
    chord = (path[:, -1] - path[:, 0]).norm(dim=1)
    assert chord.min() > 42
    assert deviation_from_a_line(path).norm(dim=2).max() < 5
    pieces = path[:, ::16].diff(dim=1).norm(dim=2)
    assert (pieces.amax(1) / pieces.amin(1)).max() < 2.2


def test_shaken_paths_bend_more_than_panned_ones():
    shaken, panned = (
        deviation_from_a_line(draw(kind, shortest=45)).norm(dim=2).mean()
        for kind in (paths.draw_hand, paths.draw_pan)
    )
    assert shaken > 3 * panned


def test_a_walked_path_bobs_more_than_it_sways():
    down, sideways = deviation_from_a_line(draw(paths.draw_walk)).abs().mean((0, 1))
    assert down > 2 * sideways


@pytest.mark.parametrize("kind", DRAWS)
def test_paths_lead_in_all_directions(kind):
    path = draw(kind)
    ahead = torch.nn.functional.normalize(path[:, -1] - path[:, 0], dim=1)
    assert ahead.mean(0).norm() < 0.4
    assert ahead.square().mean(0).min() > 0.3


def test_long_motion_gets_more_instants_within_bounds():
    assert [paths.instants_for(x) for x in (0, 10, 30, 45, 100)] == [16, 16, 20, 30, 32]
