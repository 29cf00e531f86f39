from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import encode_image
from crop_sources import (
    CPU,
    LONGEST,
    PLAIN,
    SIZE,
    batch_of,
    make_sources,
    shift_between,
    sources_of,
)
from PIL import Image

from training.synthesis import batches, movement, scenery
from training.synthesis.batches import BatchMaker
from training.synthesis.contact_sheet import rows_of_kinds
from training.synthesis.recipe import KERNEL, KIND_SHARES, LAYERS, REAL, STILL, TURNING, Recipe
from training.synthesis.sources import read_sources

MOVED = [kind for kind in KIND_SHARES if kind not in (STILL, REAL)]


@pytest.mark.parametrize("kind", KIND_SHARES)
def test_crops_of_each_kind_are_pairs_of_the_size_that_is_asked_for(kind):
    for seed in range(3):
        blurred, wanted = batch_of(kind, seed=seed)
        assert blurred.shape == wanted.shape == (6, 3, SIZE, SIZE)
        assert blurred.dtype == wanted.dtype == torch.uint8
        assert wanted.float().std() > 10


@pytest.mark.parametrize("kind", KIND_SHARES)
def test_a_batch_depends_on_the_seed_alone(kind):
    first, again, other = (batch_of(kind, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize("kind", MOVED)
def test_moved_photos_are_blurred_and_wanted_sharp(kind):
    blurred, wanted = batch_of(kind, PLAIN, count=12)
    sharpness = [images.float().diff(dim=3).abs().mean() for images in (blurred, wanted)]
    assert sharpness[0] < 0.92 * sharpness[1]


def test_still_photos_are_wanted_back_as_they_were_recorded():
    for seed in range(4):
        blurred, wanted = batch_of(STILL, seed=seed)
        assert torch.equal(blurred, wanted)


@pytest.mark.parametrize("kind", [*MOVED, REAL])
def test_blurred_and_wanted_crops_lie_on_each_other(kind):
    shifts = torch.stack([shift_between(*batch_of(kind, PLAIN, 24, seed)) for seed in range(4)])
    assert shifts.mean(0).abs().max() < 0.15
    blurred, wanted = batch_of(kind, PLAIN, 24)
    moved = shift_between(blurred.roll(1, 3), wanted)  # by one pixel to the right
    assert moved[1] - shift_between(blurred, wanted)[1] == pytest.approx(1, abs=0.3)


def lit_sign(height=300, width=300):
    """A large sign at night that is not white in its photo."""
    photo = np.full((height, width, 3), 20, np.uint8)
    photo[90:-90, 90:-90] = 215
    return photo


@pytest.mark.parametrize("kind", [KERNEL, TURNING])
def test_what_is_so_bright_that_its_blur_is_white_is_wanted_white(kind):
    recipe = dataclasses.replace(PLAIN, highlight_share=1, noisy_share=1)
    white = 0
    for seed in range(6):
        blurred, wanted = batch_of(kind, recipe, 8, seed, sources_of(lit_sign()))
        is_white = (blurred.amin(1, keepdim=True) >= 254).float()
        # Blur also brings light from beyond the crop, where nobody knows what is white.
        around = torch.nn.functional.pad(-is_white, (int(LONGEST),) * 4, value=0)
        inside = -torch.nn.functional.max_pool2d(around, 2 * int(LONGEST) + 1, 1) == 1
        assert (wanted.amin(1, keepdim=True)[inside] >= 254).all()
        white += inside.sum()
    assert white > 1000


def test_a_coloured_lamp_is_wanted_with_the_channels_clipped_that_a_sharp_exposure_clips():
    photo = np.full((300, 300, 3), 10, np.uint8)
    photo[90:-90, 90:-90] = (255, 120, 20)
    recipe = dataclasses.replace(PLAIN, highlight_share=1)
    _, wanted = batch_of(KERNEL, recipe, 24, sources=sources_of(photo))
    red, green, _ = wanted.unbind(1)
    lamp = (red > 250) & (green < 250)
    assert lamp.float().mean() > 0.05
    assert green[lamp].float().std() > 5  # boosted by as much as each lamp happens to be


def test_what_is_wanted_has_neither_noise_nor_coding():
    flat = sources_of(np.full((300, 300, 3), 120, np.uint8))
    recipe = Recipe(drawn_share=0, caption_share=0, highlight_share=0, texture_share=1)
    for kind in (KERNEL, LAYERS):
        blurred, wanted = batch_of(kind, recipe, 12, sources=flat)
        assert wanted.float().std((2, 3)).max() < 1
        assert blurred.float().std((2, 3)).mean() > 1


def test_captions_are_as_sharp_on_the_blurred_photo(monkeypatch):
    ink = torch.zeros(1, 3, 1, 1)

    def striped(layers, count, size, generator):
        stripes = (torch.arange(size) % 8 < 4).float().expand(count, 1, size, size)
        return torch.cat([ink * stripes, stripes], 1) if layers is captions else 0 * stripes

    sources = make_sources()
    captions = sources.bank.captions
    monkeypatch.setattr(batches, "draw_layers", striped)
    recipe = dataclasses.replace(PLAIN, caption_share=1)
    blurred, wanted = batch_of(KERNEL, recipe, sources=sources)
    assert (wanted[..., :4] == 0).all()
    assert (blurred[..., :4] == 0).all()
    assert not torch.equal(blurred[..., 4:8], wanted[..., 4:8])


def test_some_of_the_real_pairs_show_the_sharp_frame_twice():
    blurred, wanted = batch_of(REAL, Recipe(tinted_share=0), count=200)
    share = (blurred == wanted).flatten(1).all(1).float().mean()
    assert share == pytest.approx(0.2, abs=0.1)


def test_both_frames_of_a_real_pair_are_lit_alike():
    recipe = Recipe(tinted_share=1, still_share_of_pairs=0)
    colours = [images.float().mean((2, 3)) for images in batch_of(REAL, recipe, count=30)]
    blurred, wanted = (colour / colour.sum(1, keepdim=True) for colour in colours)
    assert (blurred - wanted).abs().max() < 0.05
    assert wanted.std(0).max() > 0.05


class DrawnError(Exception):
    """Ends a batch as soon as something is drawn."""


def drawn_shrinks(monkeypatch, kind, is_coded):
    """Divisors of the sides of a batch's photos, either with or without coding noise."""

    def stop(scenes, photo, shrink, size, generator):
        raise DrawnError(shrink[scenes.is_coded[photo] == is_coded])

    monkeypatch.setattr(scenery, "draw_places", stop)
    with pytest.raises(DrawnError) as drawn:
        batch_of(kind, PLAIN, count=800)
    return drawn.value.args[0].numpy()


def test_photos_are_shrunk_more_often_than_enlarged(monkeypatch):
    shrinks = drawn_shrinks(monkeypatch, KERNEL, is_coded=False)
    assert shrinks.min() >= 0.5
    assert shrinks.max() <= 2
    assert (shrinks > 1).mean() == pytest.approx(0.5, abs=0.08)
    assert (shrinks < 1).mean() == pytest.approx(0.15, abs=0.06)


def test_photos_whose_coding_can_be_seen_are_shrunk_unless_they_are_still(monkeypatch):
    assert drawn_shrinks(monkeypatch, KERNEL, is_coded=True).min() >= 1.3
    assert (drawn_shrinks(monkeypatch, STILL, is_coded=True) == 1).mean() > 0.2


def test_short_motion_is_seen_more_often_than_long(monkeypatch):
    def stop(batch, bounds, instants):
        raise DrawnError(bounds)

    monkeypatch.setattr(movement, "_draw_paths", stop)
    with pytest.raises(DrawnError) as drawn:
        batch_of(KERNEL, PLAIN, count=100)
    bounds = drawn.value.args[0].numpy()
    assert np.quantile(bounds, [0, 0.5, 1]) == pytest.approx([4, 8, LONGEST], abs=1)


def test_the_longest_motion_grows_in_steps_until_half_of_the_training():
    recipe = Recipe()
    longest = [recipe.longest_at(progress) for progress in np.linspace(0, 1, 101)]
    assert longest == sorted(longest)
    assert len(set(longest)) == 4
    assert longest[0] == 12
    assert longest[50] == recipe.longest == 45


def test_shares_of_kinds_add_up_and_are_kept(monkeypatch):
    made = Counter()
    monkeypatch.setattr(
        batches, "make_batch", lambda sources, recipe, kind, *others: made.update([kind])
    )
    make = BatchMaker(make_sources(), Recipe(), 1, SIZE, lambda: LONGEST, seed=3)
    for number in range(2000):
        make(number)
    assert sum(KIND_SHARES.values()) == pytest.approx(1)
    for kind, share in KIND_SHARES.items():
        assert made[kind] / 2000 == pytest.approx(share, abs=0.03)


def test_a_batch_of_a_training_depends_on_its_number_and_the_seed_alone():
    first, again, other, seeded = (
        BatchMaker(make_sources(), Recipe(), 2, SIZE, lambda: LONGEST, seed)(number)
        for seed, number in ((0, 5), (0, 5), (0, 6), (1, 5))
    )
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], seeded[0])


@pytest.fixture
def folder(tmp_path):
    """An empty folder of photos and an empty folder of pairs."""
    for name in ("photos", "pairs/blur", "pairs/sharp"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def write_photo(path, grey=90, **options):
    form = "WebP" if path.suffix == ".webp" else "PNG"
    image = Image.fromarray(np.full((40, 40, 3), grey, np.uint8))
    path.write_bytes(encode_image(image, form, **options))


def test_what_is_held_out_is_not_trained_on(folder):
    for name, grey in (
        ("photos/a.png", 10),
        ("photos/lxqt_valendas.png", 200),
        ("photos/18f_003_50-un-plaza-7e1491.webp", 200),
        ("pairs/blur/b.png", 20),
        ("pairs/sharp/b.png", 30),
        ("pairs/blur/reds_street_0.png", 200),
        ("pairs/sharp/reds_street_0.png", 200),
    ):
        write_photo(folder / name, grey)
    sources = read_sources(folder / "photos", folder / "pairs", SIZE, CPU, 1, 1)
    assert set(sources.scenes.pixels.unique().tolist()) == {0, 10, 30}
    assert sources.scenes.count == 2
    assert set(sources.pairs.blurred.pixels.unique().tolist()) == {0, 20}
    assert set(sources.pairs.sharp.pixels.unique().tolist()) == {0, 30}


def test_lossy_photos_are_known_by_their_bytes(folder):
    for name in ("pairs/blur/b.png", "pairs/sharp/b.png"):
        write_photo(folder / name)
    write_photo(folder / "photos" / "exact.webp", lossless=True)
    write_photo(folder / "photos" / "lossy.webp", quality=84)
    write_photo(folder / "photos" / "told.webp", quality=84, exif=b"Exif\0\0" + bytes(20))
    sources = read_sources(folder / "photos", folder / "pairs", SIZE, CPU, 1, 1)
    assert sources.scenes.is_coded.tolist() == [False, True, True, False]


def test_a_sheet_has_a_row_of_each_kind():
    recipe = dataclasses.replace(Recipe(), longest=LONGEST)
    rows = list(rows_of_kinds(make_sources(), recipe, [STILL, KERNEL], 3, SIZE, seed=0))
    assert [len(row) for row in rows] == [6, 6]
    still, moved = rows
    assert np.array_equal(still[0], still[1])
    assert not np.array_equal(moved[0], moved[1])
