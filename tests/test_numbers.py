"""Numbers in messages are never rounded to something false."""

from __future__ import annotations

import math
import re

import pytest
from conftest import make_jpeg
from hypothesis import given
from hypothesis import strategies as st

from unblur import user_text
from unblur.blur import Blur, Kind
from unblur.errors import PhotoError
from unblur.file_limits import most_bytes, refuse_oversize
from unblur.formats.pixels import refuse_large, refuse_thin
from unblur.main_memory import lack_of_memory
from unblur.pictures.verdict import judge_change


def numbers(text):
    """The numbers in a text, in bytes if they have such a unit."""
    factors = {"GB": 1e9, "MB": 1e6, "kB": 1e3}
    found = re.findall(r"([0-9][0-9,]*\.?[0-9]*)(?: (GB|MB|kB))?", text)
    return [float(number.replace(",", "")) * factors.get(unit, 1) for number, unit in found]


@given(st.integers(0, 1 << 50))
def test_a_size_is_near_what_it_tells_and_zero_only_if_it_is(count):
    (told,) = numbers(user_text.size(count))
    assert told == pytest.approx(count, rel=0.051)
    assert (
        numbers(user_text.size(count, math.floor))[0]
        <= count
        <= numbers(user_text.size(count, math.ceil))[0]
    )


@given(st.floats(0, 1), st.integers(0, 2))
def test_only_nothing_is_0_percent_and_only_all_is_100(share, digits):
    text = user_text.percent(share, digits)
    assert (share == 0) == (re.fullmatch(r"0(\.0+)?%", text) is not None)
    assert (share == 1) == (re.fullmatch(r"100(\.0+)?%", text) is not None)
    assert numbers(text)[0] / 100 == pytest.approx(share, abs=0.1 ** (digits + 2))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (1e-9, "less than 0.001 s"), (0.001, "0.001 s"), (0.04, "0.04 s")),
        *((0.0949, "0.09 s"), (0.095, "0.1 s"), (59.5, "59.5 s"), (59.99, "1 min 0 s")),
        *((61, "1 min 1 s"), (3599, "59 min 59 s"), (3599.9, "1 h 0 min"), (7260, "2 h 1 min")),
    ],
)
def test_durations_are_told_as_people_do(seconds, text):
    assert user_text.duration(seconds) == text


@given(st.integers(0, 10**12))
def test_megapixels_are_zero_only_without_pixels(count):
    (told,) = numbers(user_text.megapixels(count))
    assert told * 1e6 == pytest.approx(count, rel=0.051)
    assert "e" not in user_text.megapixels(count)


@pytest.mark.parametrize("limit", [1, 7679, 999_999, 499_999_999])
def test_a_photo_that_is_too_large_by_a_pixel_looks_too_large(limit):
    for refuse, height in ((refuse_large, 1), (refuse_thin, 0)):
        with pytest.raises(PhotoError) as refused:
            refuse(limit + 1, height or 1, limit)
        *_, pixels, told = numbers(str(refused.value))
        assert pixels > told == limit


def test_the_tool_tells_the_limit_that_was_given(jpeg, unblur):
    size = 48 * 64
    line = unblur(jpeg, "--max-pixels", size - 1).stderr
    assert f"64x48 is {size:,} pixels, more than the limit of {size - 1:,}" in line


def test_a_file_that_is_too_large_is_larger_than_what_is_told():
    most = most_bytes(1)
    with pytest.raises(PhotoError) as refused:
        refuse_oversize(most + 1, most)
    assert numbers(str(refused.value))[0] <= most


@given(st.integers(0, 1 << 45), st.integers(1, 1 << 45))
def test_memory_that_does_not_suffice_looks_less_than_what_is_needed(free, more):
    needed, told, _ = numbers(lack_of_memory(free + more, free))
    assert told <= free < free + more <= needed


def test_a_photo_that_hardly_changed_is_not_called_unchanged():
    blur = Blur(Kind.SHARP, 0.1, extent=1.0)
    assert str(judge_change(blur, 0.0, (48, 64, 3))) == "sharp; 0% of it changed"
    for share in (1e-6, 0.0004, 0.004):
        assert str(judge_change(blur, share, (48, 64, 3))) == "sharp; less than 1% of it changed"


def test_a_motion_is_never_by_0_pixels():
    assert str(Blur(Kind.MOTION, 1.0, 0.3)) == "moved by about 1 pixel"
    assert str(Blur(Kind.MOTION, 1.0, 1.6)) == "moved by about 2 pixels"


def test_a_score_below_the_level_looks_below_it(tmp_path, unblur):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(make_jpeg(240, 320))
    level = 1000.00001
    line = unblur(photo, "-v", "--only-blurry", "--blur-level", level).stderr
    assert "is below 1000.00001" in line


def test_a_small_model_is_not_listed_with_0_mb(identity_weights):
    assert user_text.size(identity_weights.stat().st_size) != "0.0 MB"
