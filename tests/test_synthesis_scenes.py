from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import make_pixels
from crop_sources import CPU

from training.drawn import draw_caption
from training.synthesis.overlays import draw_bank, draw_colours, draw_layers, paste
from training.synthesis.scenes import MOST_SHRINK, Places, cut_out, draw_places, gather_scenes

SIZE = 24


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def scenes_of(*photos):
    return gather_scenes(photos, [False] * len(photos), SIZE, CPU)


def crops_of(scenes, shrink, count=20, size=SIZE, seed=0):
    """Crops as HWC in 0 to 255, and where they were cut out."""
    generator = seeded(seed)
    photo = torch.randint(scenes.count, (count,), generator=generator)
    shrinks = torch.full((count,), float(shrink))
    places = draw_places(scenes, photo, shrinks, size, generator)
    crops = cut_out(scenes, places, size).permute(0, 2, 3, 1).numpy() * 255
    return crops, places


def at(places, number):
    return [int(position) for position in places.middle[number]]


def ramp(height, width):
    """A photo whose red rises by 1 per pixel downwards, and whose green rises to the right."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, np.zeros_like(x)], axis=2).astype(np.uint8)


def views(crop):
    """A square picture in all four orientations, plain and mirrored."""
    for turned in (np.rot90(crop, turns) for turns in range(4)):
        yield turned
        yield turned[:, ::-1]


def test_a_crop_of_the_photos_own_size_has_the_photos_pixels():
    photos = [make_pixels(60, 90), make_pixels(70, 50, seed=1)]
    crops, places = crops_of(scenes_of(*photos), shrink=1)
    for number, crop in enumerate(crops):
        y, x = at(places, number)
        photo = photos[places.photo[number]]
        cut = photo[y - SIZE // 2 : y + SIZE // 2, x - SIZE // 2 : x + SIZE // 2]
        assert any(np.allclose(view, cut, atol=0.01) for view in views(crop))


def test_all_views_of_a_photo_are_seen():
    photo = make_pixels(SIZE, SIZE)
    crops, _ = crops_of(scenes_of(photo), shrink=1, count=100)
    kinds = {
        next(n for n, v in enumerate(views(c)) if np.allclose(v, photo, atol=1)) for c in crops
    }
    assert len(kinds) == 8


@pytest.mark.parametrize("shrink", [0.5, 0.8, 1.3, 2.0])
def test_scaled_and_turned_crops_show_what_is_at_their_place(shrink):
    crops, places = crops_of(scenes_of(ramp(120, 120)), shrink)
    offset = np.arange(SIZE) + 0.5 - SIZE / 2
    y, x = np.meshgrid(offset, offset, indexing="ij")
    for number, crop in enumerate(crops):
        turn = places.turn[number].numpy() * places.shrink[number].item()
        middle = places.middle[number].numpy()
        for channel in (0, 1):
            seen = middle[channel] - 0.5 + turn[channel, 0] * y + turn[channel, 1] * x
            assert np.allclose(crop[..., channel], seen, atol=0.02)


def test_interpolated_crops_are_turned_by_small_angles_and_others_are_not():
    def slants(shrink):
        _, places = crops_of(scenes_of(make_pixels(120, 120)), shrink)
        return places.turn.abs().amin((1, 2))

    assert max(slants(1).max(), slants(2).max()) < 1e-6
    assert 0.01 < slants(1.5).mean() < math.sin(math.radians(6))


def test_a_photo_shrunk_twofold_has_the_means_of_its_pixels():
    photo = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    scenes = scenes_of(photo)
    whole = torch.tensor([[40.0, 40.0]])
    places = Places(torch.tensor([0]), whole, torch.tensor([2.0]), torch.eye(2)[None])
    [crop] = cut_out(scenes, places, SIZE).permute(0, 2, 3, 1).numpy() * 255
    cut = photo[40 - SIZE : 40 + SIZE, 40 - SIZE : 40 + SIZE].astype(float)
    assert np.allclose(crop, cut.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3)), atol=0.01)


def test_stripes_too_fine_for_a_shrunk_crop_become_grey_instead_of_other_stripes():
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 200
    crops, _ = crops_of(scenes_of(stripes), shrink=2)
    assert crops.std() < 20


def test_an_enlarged_crop_is_softer_than_the_photo():
    def sharpness(shrink):
        crops, _ = crops_of(scenes_of(make_pixels(120, 120)), shrink)
        return np.abs(np.diff(crops, axis=1)).mean()

    assert sharpness(0.5) < 0.7 * sharpness(1.0)


@pytest.mark.parametrize("shrink", [0.5, 1.0, MOST_SHRINK])
def test_crops_never_show_anything_of_another_photo(shrink):
    photos = [np.full((30, 40 + n, 3), 50 * n, np.uint8) for n in range(4)]
    crops, places = crops_of(scenes_of(*photos), shrink, count=40)
    for photo, crop in zip(places.photo.tolist(), crops, strict=True):
        assert np.allclose(crop, 50 * photo, atol=0.01)


@pytest.mark.parametrize(("x", "opposite"), [(6.0, 39), (34.0, 0)])
def test_an_enlarged_crop_at_a_border_shows_nothing_from_the_opposite_one(x, opposite):
    photo = np.full((40, 40, 3), 200, np.uint8)
    photo[:, opposite] = 0
    places = Places(
        photo=torch.tensor([0]),
        middle=torch.tensor([[20.0, x]]),
        shrink=torch.tensor([0.5]),
        turn=torch.eye(2)[None],
    )
    assert np.allclose(cut_out(scenes_of(photo), places, SIZE) * 255, 200, atol=0.01)


def test_crops_are_shrunk_no_further_than_there_is_room_for():
    _, places = crops_of(scenes_of(make_pixels(30, 90)), shrink=2)
    assert places.shrink.max() <= 30 / SIZE
    assert places.shrink.min() > 0.9 * 30 / SIZE  # slanted ones need more room


def test_the_busiest_of_some_places_is_taken():
    photo = np.full((100, 400, 3), 128, np.uint8)
    photo[:, 300:] = np.random.default_rng(0).integers(0, 256, (100, 100, 3))
    _, places = crops_of(scenes_of(photo), shrink=1, count=200)
    share = (places.middle[:, 1] > 300).float().mean()
    assert share > 0.5  # of one place each it would be a quarter


def test_a_layer_covers_photos_alike_and_leaves_the_rest_as_it_was():
    layers = torch.from_numpy(draw_caption(120, np.random.default_rng(3)))[None]
    layer = draw_layers(layers, 1, 100, seeded())
    photo = torch.rand(1, 3, 100, 100)
    pasted = paste(photo, layer)
    opaque, clear = ((layer[:, 3:] == alpha).expand(-1, 3, -1, -1) for alpha in (1, 0))
    assert opaque.any()
    assert clear.any()
    assert torch.equal(pasted[opaque], paste(1 - photo, layer)[opaque])
    assert torch.equal(pasted[clear], photo[clear])
    assert pasted.min() >= 0
    assert pasted.max() <= 1 + 1e-6


def test_pieces_of_layers_have_other_colours_each_time():
    layers = torch.zeros(1, 40, 40, 4, dtype=torch.uint8)
    layers[..., 0] = layers[..., 3] = 255
    pieces = draw_layers(layers, 50, 30, seeded())
    assert pieces.shape == (50, 4, 30, 30)
    assert (pieces[:, 3] == 1).all()
    assert (pieces[:, :3].sum(1) == 1).all()
    assert set(pieces[:, :3, 0, 0].argmax(1).tolist()) == {0, 1, 2}


def test_half_of_the_colours_are_grey_and_many_of_these_black_or_white():
    colours = draw_colours(2000, seeded())[..., 0, 0]
    is_grey = (colours == colours[:, :1]).all(1)
    is_extreme = is_grey & ((colours[:, 0] == 0) | (colours[:, 0] == 1))
    assert is_grey.float().mean() == pytest.approx(0.5, abs=0.05)
    assert is_extreme.float().mean() == pytest.approx(0.2, abs=0.05)


def test_the_layers_of_a_bank_depend_on_the_seed_alone():
    first, again, other = (draw_bank(2, 1, 64, CPU, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.overlays, again.overlays)
    assert torch.equal(first.captions, again.captions)
    assert not torch.equal(first.overlays, other.overlays)
    assert first.overlays.shape == (2, 64, 64, 4)
    assert first.captions.shape == (1, 64, 64, 4)


def test_several_processes_draw_what_one_draws(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    alone = draw_bank(2, 2, 32, CPU)
    monkeypatch.setattr("training.drawn.LEAST_OF_A_PROCESS", 1)
    shared = draw_bank(2, 2, 32, CPU)
    assert torch.equal(alone.overlays, shared.overlays)
    assert torch.equal(alone.captions, shared.captions)
