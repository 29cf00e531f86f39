"""``--compare strengths``: one part of a photo at several strengths, to choose one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from conftest import make_pixels
from PIL import Image, ImageFont

from unblur.formats.pixels import turned
from unblur.pictures.change import measure_change
from unblur.pictures.compare import DRAWING_BYTES, FONT_PX, GAP_PX, LABEL_PX, BeforeAfter
from unblur.pictures.display import Upright
from unblur.pictures.strengths import (
    LEAST_COLUMN_PX,
    PART_PX,
    STRENGTHS,
    code_strengths,
    draw_strengths,
    label_of,
)

NAME = "photo-strengths.png"


def pair_of(before, after, alpha=None):
    return BeforeAfter(
        Upright(before, alpha, b""), Upright(after, alpha, b""), measure_change(before, after)
    )


def parts_of(sheet, width, height):
    """The five parts of a strip."""
    column = max(width, LEAST_COLUMN_PX) + GAP_PX
    lefts = [GAP_PX + index * column for index in range(len(STRENGTHS))]
    return [
        np.asarray(sheet.crop((left, LABEL_PX, left + width, LABEL_PX + height)), int)
        for left in lefts
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_parts_are_the_photo_at_each_strength_pixel_by_pixel(dtype):
    before, after = (make_pixels(60, 80, 3, dtype, seed) for seed in (0, 1))
    parts = parts_of(draw_strengths(pair_of(before, after)), 80, 60)
    levels = np.iinfo(dtype).max / 255
    for strength, part in zip(STRENGTHS, parts, strict=True):
        exact = before + strength * (after.astype(float) - before)
        assert np.abs(part - exact / levels).max() <= 1
    np.testing.assert_array_equal(parts[0], np.round(before / levels))


def test_the_part_is_the_one_that_changed_most():
    before = make_pixels(1000, 1200) // 2
    after = before.copy()
    after[700:900:2, 300:500:2] += 100
    sheet = draw_strengths(pair_of(before, after))
    width, height = PART_PX
    assert sheet.width <= 1920
    changes = [
        np.abs(part - parts[0]).sum()
        for parts in [parts_of(sheet, width, height)]
        for part in parts
    ]
    assert changes[-1] == 100 * 3 * 100 * 100
    assert changes == sorted(changes)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (20, 30)])
def test_a_strip_is_made_of_any_shape(shape):
    pixels = make_pixels(*shape)
    with Image.open(io.BytesIO(code_strengths(pair_of(pixels, pixels)))) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width >= len(STRENGTHS) * LEAST_COLUMN_PX


def test_each_label_has_room_in_its_column():
    font = ImageFont.load_default(FONT_PX)
    assert [label_of(strength)[:13].strip() for strength in STRENGTHS] == [
        "strength 0 (b",
        "strength 0.25",
        "strength 0.5",
        "strength 0.75",
        "strength 1 (d",
    ]
    assert max(font.getlength(label_of(strength)) for strength in STRENGTHS) <= LEAST_COLUMN_PX


def test_a_transparent_part_is_drawn_on_paper():
    pixels = make_pixels(60, 80)
    alpha = np.zeros((60, 80), np.uint8)
    parts = parts_of(draw_strengths(pair_of(pixels, pixels, alpha)), 80, 60)
    assert all((part == 255).all() for part in parts)


def test_a_strip_of_a_large_photo_takes_no_more_memory_than_drawing_is_given():
    import tracemalloc

    pixels = turned(np.zeros((2000, 4000, 3), np.uint16), 6)
    tracemalloc.start()
    try:
        code_strengths(pair_of(pixels, pixels))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < DRAWING_BYTES


@pytest.mark.parametrize(
    "words", [("--compare", "strengths"), ("--compare=strengths",), ("--config",)]
)
@pytest.mark.usefixtures("brighter")
def test_a_strip_is_written_beside_the_result(unblur, jpeg, tmp_path, words):
    if words == ("--config",):
        (tmp_path / "unblur.toml").write_text('compare = "strengths"')
        words = ("--config", tmp_path / "unblur.toml")
    assert unblur(*words, jpeg).code == 0
    assert jpeg.with_name(NAME).exists()
    assert not jpeg.with_name("photo-compared.png").exists()


@pytest.mark.usefixtures("brighter")
def test_a_photo_after_the_plain_flag_is_a_photo(unblur, jpeg):
    assert unblur("--compare", jpeg).code == 0
    assert jpeg.with_name("photo-compared.png").exists()
    assert unblur("--compare", "strengths", jpeg).code == 0  # other pictures: not done yet
    assert jpeg.with_name(NAME).exists()
    assert "already done" in unblur(jpeg, "--compare", "strengths", "-v").stderr


def test_a_strip_is_no_photo_of_a_later_run(unblur, tmp_path):
    Image.fromarray(make_pixels(48, 64)).save(tmp_path / NAME)
    result = unblur("-r", tmp_path, "-v")
    assert result.code == 3
    assert "a comparison of an earlier run" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--compare=strength",), "is not strengths, the only value"),
        (("--compare", "strengths", "--strength", "0.5"), "leave out --strength"),
        (("--compare", "strengths", "--suffix", "-strengths"), "uses the suffix -strengths itself"),
    ],
)
def test_what_does_not_fit_is_refused(unblur, jpeg, words, said):
    result = unblur(jpeg, *words)
    assert result.code == 2
    assert said in result.stderr
