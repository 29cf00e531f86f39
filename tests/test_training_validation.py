from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, make_pixels
from PIL import Image

from training.data import (
    FIRST_HELD_OUT,
    HELD_OUT_BY_KIND,
    HELD_OUT_PAIRS,
    HELD_OUT_PHOTOS,
    named_photos,
    photo_paths,
    read_pairs,
)
from training.judging import fixed_blur
from training.judging.validation import (
    pairs_of_kind,
    strength_of_edges,
    synthetic_pairs,
    validation_sets,
)
from training.photos import credit, licence_name, read_works
from training.photos import page as photos_page


def centre_of_mass(kernel):
    y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]]
    return (kernel * y).sum(), (kernel * x).sum()


@pytest.mark.parametrize("seed", range(5))
def test_a_motion_kernel_moves_nothing(seed):
    kernel = fixed_blur.motion_kernel(fixed_blur.trajectory(15, np.random.default_rng(seed)))
    middle = kernel.shape[0] // 2
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert centre_of_mass(kernel) == pytest.approx((middle, middle), abs=1e-3)


@pytest.mark.parametrize("length", [3, 12, 30])
def test_a_trajectory_is_about_as_long_as_was_asked_for(length):
    path = fixed_blur.trajectory(length, np.random.default_rng(1))
    extent = np.ptp(path, axis=0).max()
    assert extent <= 1.2 * length


def test_convolution_with_a_point_changes_nothing():
    image = make_pixels(20, 30).astype(np.float32) / 255
    point = np.zeros((5, 5), np.float32)
    point[2, 2] = 1
    assert np.allclose(fixed_blur.convolve(image, point), image, atol=1e-5)


def crop_of_before(crop, margin, longest, rng):
    """Both photos of a crop by the formula of all earlier figures; whether lamps were on."""
    sharp = crop.astype(np.float32) / 255
    gamma = rng.uniform(1.8, 2.4)
    linear = (sharp**gamma).astype(np.float32)
    has_lamps = rng.random() < 0.3
    if has_lamps:
        bright = np.clip((linear.min(axis=2, keepdims=True) - 0.75) / 0.25, 0, 1)
        linear = linear * (1 + rng.uniform(0, 6) * bright**2)
    path = fixed_blur.trajectory(rng.uniform(1.5, longest), rng)
    light = fixed_blur.convolve(linear, fixed_blur.motion_kernel(path))
    light = light[margin:-margin, margin:-margin]
    if rng.random() < 0.8:
        shot, read = 10 ** rng.uniform(-5, -3), 10 ** rng.uniform(-4, -2.3)
        spread = np.sqrt(np.maximum(light, 0) * shot + read**2)
        light = light + (rng.standard_normal(light.shape, np.float32) * spread).astype(np.float32)
    stored = np.round((np.clip(light, 0, 1) ** (1 / gamma)).astype(np.float32) * 255)
    if rng.random() < 0.85:
        subsampling = int(rng.choice([0, 1, 2], p=[0.3, 0.2, 0.5]))
        buffer = io.BytesIO()
        Image.fromarray(stored.astype(np.uint8)).save(
            buffer, "JPEG", quality=int(rng.integers(60, 99)), subsampling=subsampling
        )
        stored = np.asarray(Image.open(buffer))
    return stored, crop[margin:-margin, margin:-margin], has_lamps


def test_crops_are_those_of_before_but_for_what_is_wanted_of_lamps():
    photo = make_pixels(120, 120)
    photo[40:60, 40:60] = 250
    found = set()
    for seed in range(12):
        blurred, wanted = fixed_blur.blur_crop(photo, 20, 8, np.random.default_rng(seed))
        before = crop_of_before(photo, 20, 8, np.random.default_rng(seed))
        assert np.array_equal(blurred, before[0])
        assert np.array_equal(wanted, before[1]) != before[2]
        found.add(before[2])
    assert found == {True, False}


def test_what_is_wanted_of_a_lit_sign_is_white_where_a_sharp_exposure_clips():
    scene = np.full((120, 120, 3), 0.02, np.float32)
    scene[50:70, 40:80] = [4.0, 2.0, 1.1]  # light, where 1 is white
    blurred, wanted = fixed_blur.expose(scene, 20, 12, 2.2, np.random.default_rng(0))
    sign = np.s_[30:50, 20:60]
    assert (wanted[sign] == 255).all()
    assert (blurred[sign] < 255).any()
    assert wanted[:25].max() < 50


def test_highlights_of_a_photo_are_wanted_white_when_they_were_brighter_than_white():
    photo = make_pixels(120, 120) // 2
    photo[40:60, 40:60] = 248
    _, wanted = fixed_blur.blur_crop(photo, 20, 8, np.random.default_rng(4), lamp_share=1.0)
    assert (wanted[20:40, 20:40] == 255).all()


@pytest.fixture
def photos(tmp_path):
    """A folder with one photo of the oldest sets, one of the night set, and one for training."""
    image = Image.fromarray(make_pixels(700, 720))
    for name in ("lxqt_valendas", HELD_OUT_BY_KIND["night"][0], "other"):
        image.save(tmp_path / f"{name}.png", compress_level=1)
    return tmp_path


def test_photos_of_any_set_are_held_out(photos):
    assert [path.stem for path in photo_paths(photos, held_out=False)] == ["other"]
    assert len(photo_paths(photos, held_out=True)) == 2


def test_forty_photos_of_six_kinds_and_ten_older_ones_are_held_out():
    assert sum(map(len, HELD_OUT_BY_KIND.values())) == 40
    assert len(HELD_OUT_BY_KIND) == 6
    assert len(FIRST_HELD_OUT) == 10
    assert len(HELD_OUT_PHOTOS) == 50


@pytest.mark.shared
def test_every_held_out_photo_and_pair_is_there():
    assert {path.stem for path in photo_paths(SHARED / "photos", held_out=True)} == HELD_OUT_PHOTOS
    assert len(named_photos(SHARED / "photos", FIRST_HELD_OUT)) == 10
    assert len(read_pairs(SHARED / "pairs", held_out=True)) == 5


@pytest.mark.shared
def test_no_frame_of_a_held_out_sequence_is_trained_on():
    sequences = {path.stem.rsplit("_", 1)[0] for path in (SHARED / "pairs" / "blur").iterdir()}
    assert sequences == {"gopro_GOPR0372_07_00", "reds_000", "reds_001", "reds_020", "reds_street"}
    assert not any(f"{name}_".startswith(HELD_OUT_PAIRS) for name in sequences - {"reds_street"})


def test_more_crops_of_each_photo_leave_the_first_as_it_was(photos):
    one = synthetic_pairs(photos, 8, size=64)
    three = synthetic_pairs(photos, 8, size=64, crops=3)
    assert [pair.name for pair in three] == [f"lxqt_valendas crop {n}" for n in (1, 2, 3)]
    assert np.array_equal(three[0].blurred, one[0].blurred)
    assert not np.array_equal(three[0].sharp, three[1].sharp)


def sharpness(pixels):
    return np.abs(np.diff(pixels.astype(int), axis=1)).mean()


def test_shrinking_photos_makes_what_is_wanted_of_them_sharper(photos):
    smooth = Image.fromarray(make_pixels(350, 350)).resize((700, 700))
    smooth.save(photos / "lxqt_valendas.png")
    soft, sharp = (
        sharpness(synthetic_pairs(photos, 8, size=64, shrink=shrink)[0].sharp) for shrink in (1, 2)
    )
    assert sharp > 1.3 * soft


def test_drawn_scenes_have_edges_that_photos_lack(photos):
    plain, drawn = (
        synthetic_pairs(photos, 8, size=64, is_drawn=is_drawn)[0].sharp.astype(int)
        for is_drawn in (False, True)
    )
    assert np.abs(np.diff(drawn, axis=1)).max() > 2 * np.abs(np.diff(plain, axis=1)).max()


def test_each_photo_of_a_kind_gives_two_crops_at_its_size_and_two_at_half_of_it(photos):
    pairs = pairs_of_kind(photos, "night")
    assert len(pairs) == len({pair.name for pair in pairs}) == 4
    assert sum("half size" in pair.name for pair in pairs) == 2
    assert all(pair.blurred.shape == pair.sharp.shape == (256, 256, 3) for pair in pairs)
    again = pairs_of_kind(photos, "night")
    assert all(np.array_equal(a.blurred, b.blurred) for a, b in zip(pairs, again, strict=True))


def test_a_place_with_edges_is_liked_more_than_flat_sky():
    sky, wall = np.full((40, 40, 3), 90, np.uint8), np.full((40, 40, 3), 90, np.uint8)
    wall[::2] = 200
    assert strength_of_edges(wall) > strength_of_edges(sky)


def test_the_place_that_is_liked_most_is_taken(photos):
    seen = []

    def liking(crop):
        seen.append(crop[40:-40, 40:-40].mean())
        return seen[-1]

    pairs = pairs_of_kind(photos, "night", crops=1, liking=liking, candidates=4)
    for start, pair in zip((0, 4), pairs, strict=True):
        assert pair.sharp.mean() == pytest.approx(max(seen[start : start + 4]), abs=0.6)


def test_the_oldest_sets_are_named_and_hold_the_real_pairs(photos, tmp_path):
    for side in ("blur", "sharp"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        Image.fromarray(make_pixels(48, 64)).save(tmp_path / "pairs" / side / "reds_street_0.png")
    sets = validation_sets(photos, tmp_path / "pairs")
    assert {name: len(pairs) for name, pairs in sets.items()} == dict.fromkeys(
        ("short", "medium", "long", "drawn", "real"), 1
    )


def test_licences_and_authors_are_read_from_however_they_are_written():
    caption = "(figure caption in book commit 1a: (credit: “Sign” by Ann Lee/flickr, CC BY 2.0))"
    book = "OpenStax book repository openstax/osbooks-x, media/1.jpg"
    assert licence_name(f"Attribution 2.0 Generic / CC BY 2.0 {caption}") == "CC BY 2.0"
    assert licence_name("CC-BY-SA-3.0") == licence_name("CC BY-SA 3.0 (of the file)")
    assert licence_name("CC0 1.0 / US public domain (x)") == "CC0 1.0 and US public domain"
    assert licence_name("CC0") == licence_name("CC0-1.0") == "CC0 1.0"
    credited = "“Sign” by Ann Lee/flickr, CC BY 2.0; osbooks-x, media/1.jpg"
    assert credit(book, f"CC BY 2.0 {caption}") == credited
    assert (
        credit("COCO 12.jpg (repository a/b; http://c/d.jpg)", "x") == "COCO 12.jpg http://c/d.jpg"
    )


@pytest.mark.shared
def test_the_list_of_photos_for_the_next_weights_is_that_of_the_licences():
    works = (read_works(SHARED / folder / "LICENSES.tsv") for folder in ("photos", "pairs"))
    listed = Path(photos_page.__code__.co_filename).with_suffix(".md").read_text(encoding="utf-8")
    assert photos_page(*works) == listed
    for folder in ("photos", "pairs/blur"):
        works = read_works(SHARED / folder.split("/")[0] / "LICENSES.tsv")
        assert {work.file for work in works} == {
            path.name for path in (SHARED / folder).iterdir() if path.suffix != ".tsv"
        }
