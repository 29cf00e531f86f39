from __future__ import annotations

import io
import json
import os
import stat
import struct
import threading
import tracemalloc

import numpy as np
import pytest
from conftest import encode_image, make_jpeg, make_pixels
from PIL import Image

from unblur.errors import PhotoError
from unblur.formats import any_format
from unblur.formats.pixels import turned
from unblur.pictures.change import measure_change
from unblur.pictures.compare import (
    DRAWING_BYTES,
    LABEL_PX,
    MAGNIFIED,
    BeforeAfter,
    code_comparison,
    code_thumbnail,
    make_pair,
    make_pictures,
)
from unblur.pictures.display import Upright
from unblur.storage import drafts

NAME = "photo-compared.png"
SOON_SECONDS = 20


def opened(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def pair_of(height, width, orientation=1, square=None):
    """A photo that differs from its result only in a square."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(make_pixels(height, width) // 2)
    photo = any_format.decode(encode_image(image, "PNG", exif=exif))
    after = photo.pixels.copy()
    if square:
        after[square][::2, ::2] += 100
    return make_pair(photo, after)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_drawing_a_large_photo_takes_no_more_memory_than_it_is_given(dtype):
    pixels = turned(np.zeros((2000, 4000, 3), dtype), 6)
    view = Upright(pixels, None, b"")
    tracemalloc.start()  # sees arrays, not Pillow's images, which are copies of 8 bits
    try:
        pair = BeforeAfter(view, view, measure_change(pixels, pixels))
        code_comparison(pair)
        make_pictures(pair, 64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < DRAWING_BYTES


def test_a_comparison_shows_both_photos_and_the_changed_part_magnified():
    pair = pair_of(480, 640, square=np.s_[300:400, 100:200])
    sheet = opened(code_comparison(pair))
    area = pair.strongest(640 // MAGNIFIED)
    assert (area.width, area.height) == (213, 159)
    assert sheet.width > 2 * 640
    assert sheet.height > 480 + LABEL_PX + MAGNIFIED * area.height
    left = sheet.crop((16, LABEL_PX, 16 + 640, LABEL_PX + 480))
    assert np.array_equal(np.asarray(left)[: area.top], pair.before.pixels[: area.top])
    assert left.getpixel((area.left, area.top)) == (255, 196, 0)  # marked


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (20, 30), (3000, 200)])
def test_a_comparison_is_made_of_any_shape_and_never_huge(shape):
    sheet = opened(code_comparison(pair_of(*shape)))
    assert max(sheet.size) <= 2 * 960 + 100


def test_a_portrait_is_compared_upright():
    turned = pair_of(64, 96, orientation=6, square=np.s_[0:16, 0:16])
    assert turned.before.size == (64, 96)
    area = turned.strongest(20)
    assert (area.left > 30, area.top < 10) == (True, True)  # top left came to the top right


def test_small_pictures_are_webp_and_tell_where_the_change_is():
    pictures = make_pictures(pair_of(300, 400, square=np.s_[200:260, 300:380]), side=160)
    sizes = [opened(data).size for data in (pictures.before, pictures.after)]
    assert sizes == [(160, 120)] * 2
    assert opened(pictures.detail_after).size == (160, 120)
    assert all(data[8:12] == b"WEBP" for data in (pictures.before, pictures.detail_before))
    assert pictures.focus[0] > 0.7
    assert pictures.focus[1] > 0.6
    assert pictures.size == (400, 300)
    assert 0 < pictures.change < 0.1


def test_the_thumbnail_inside_a_photo_is_taken_upright():
    small = encode_image(Image.fromarray(make_pixels(30, 40)), "JPEG")
    start = 8 + 18 + 42
    fields = [(0x0112, 6), (0x0103, 6), (0x0201, start), (0x0202, len(small))]
    packed = [struct.pack("<HHII", tag, 3, 1, value) for tag, value in fields]
    first = struct.pack("<H", 1) + packed[0] + struct.pack("<I", 8 + 18)
    second = struct.pack("<H", 3) + b"".join(packed[1:]) + bytes(4)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second + small
    data = make_jpeg(120, 160, exif=exif)
    assert opened(code_thumbnail(data[:4096])).size == (30, 40)


@pytest.mark.parametrize("data", [b"", b"no JPEG", make_jpeg(), make_jpeg()[:300]])
def test_what_has_no_thumbnail_gives_none(data):
    assert code_thumbnail(data) is None


def test_a_comparison_lies_beside_the_result(jpeg, unblur, brighter):
    result = unblur(jpeg, "--compare")
    assert result.code == 0
    assert result.stdout.decode().split() == [str(jpeg.with_name("photo-unblurred.jpg"))]
    assert f"-> {jpeg.with_name(NAME)} (comparison)" in result.stderr
    sheet = opened(jpeg.with_name(NAME).read_bytes())
    half = sheet.width // 2
    shown = np.asarray(sheet)
    assert shown[:, half:].mean() > shown[:, :half].mean() + 10


def test_json_tells_where_a_comparison_is(jpeg, unblur):
    assert json.loads(unblur(jpeg, "--json").stdout)["comparison"] is None
    compared = json.loads(unblur(jpeg, "--json", "--compare").stdout)
    assert compared["comparison"] == str(jpeg.with_name(NAME))


def test_into_a_folder_comparisons_lie_as_results_do(jpeg, tmp_path, unblur):
    assert unblur("-r", jpeg.parent, "-o", f"{tmp_path}/out/", "--compare").code == 0
    assert (tmp_path / "out" / NAME).exists()


def test_with_a_named_result_the_comparison_has_its_name(jpeg, tmp_path, unblur):
    assert unblur(jpeg, "-o", tmp_path / "sharp.jpg", "--compare").code == 0
    assert (tmp_path / "sharp-compared.png").exists()


def test_a_later_run_does_not_take_a_comparison_for_a_photo(jpeg, unblur):
    unblur("-r", jpeg.parent, "--compare")
    before = sorted(jpeg.parent.iterdir())
    result = unblur("-r", jpeg.parent, "--overwrite", "-v")
    assert f"{NAME}: passed over: a comparison of an earlier run" in result.stderr
    assert sorted(jpeg.parent.iterdir()) == before


def test_a_second_run_makes_only_comparisons_that_are_missing(jpeg, png, unblur):
    png = png.rename(png.with_name("other.png"))
    unblur(jpeg, png)
    assert "2 done" in unblur(jpeg, png, "--compare").stderr  # there were none yet
    assert "2 skipped" in unblur(jpeg, png, "--compare").stderr
    jpeg.with_name(NAME).unlink()
    assert "1 done, 1 skipped" in unblur(jpeg, png, "--compare").stderr
    assert jpeg.with_name(NAME).exists()


def test_photos_that_differ_in_their_ending_only_have_a_comparison_each(jpeg, png, unblur):
    assert unblur(jpeg, png, "--compare").code == 0
    made = sorted(path.name for path in jpeg.parent.glob("*-compared.png"))
    assert made == ["photo.jpg-compared.png", "photo.png-compared.png"]


def test_a_file_in_the_way_of_a_comparison_stays(jpeg, unblur):
    comparison = jpeg.with_name(NAME)
    comparison.write_bytes(b"somebody's own")
    result = unblur(jpeg, "--compare")
    assert result.code == 1
    assert f"{comparison} exists" in result.stderr
    assert not jpeg.with_name("photo-unblurred.jpg").exists()  # nothing was begun
    assert comparison.read_bytes() == b"somebody's own"
    assert unblur(jpeg, "--compare", "--overwrite").code == 0
    assert comparison.read_bytes() != b"somebody's own"


def test_the_original_is_never_replaced_by_a_comparison(tmp_path, unblur):
    photo = tmp_path / "sharp-compared.png"
    data = encode_image(Image.fromarray(make_pixels(20, 20)), "PNG")
    photo.write_bytes(data)
    result = unblur(photo, "-o", tmp_path / "sharp.png", "--compare", "--overwrite")
    assert result.code == 1
    assert "replace the original" in result.stderr
    assert photo.read_bytes() == data


def test_results_and_comparisons_need_different_names(jpeg, unblur):
    result = unblur(jpeg, "--compare", "--suffix", "-compared")
    assert result.code == 2
    assert "--suffix" in result.stderr


def test_what_becomes_a_result_and_a_comparison_is_a_collision(jpeg, unblur):
    other = jpeg.with_name("photo-comp.jpg")
    other.write_bytes(jpeg.read_bytes())
    result = unblur(jpeg, other, "--compare", "--suffix", "ared", "--format", "png")
    assert result.code == 1
    assert f"would also become {jpeg.with_name(NAME)}" in result.stderr


def test_in_place_a_photo_is_compared_once(jpeg, unblur, brighter):
    assert unblur(jpeg, "--in-place", "--compare").code == 0
    assert jpeg.with_name(NAME).exists()
    jpeg.with_name(NAME).unlink()
    once = jpeg.read_bytes()
    assert "skipped" in unblur(jpeg, "--in-place", "--compare", "-v").stderr
    assert jpeg.read_bytes() == once  # not deblurred again for the sake of a picture


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_comparison_is_as_private_as_its_photo(jpeg, unblur):
    jpeg.chmod(0o600)
    unblur(jpeg, "--compare")
    assert stat.S_IMODE(jpeg.with_name(NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("arguments", [["-", "--compare"], ["photo.jpg", "-o", "-", "--compare"]])
def test_a_photo_in_a_pipe_has_no_place_for_a_comparison(arguments, unblur):
    result = unblur(*arguments, stdin=make_jpeg())
    assert result.code == 2
    assert "use -o FILE" in result.stderr


def test_standard_input_to_a_file_can_be_compared(tmp_path, unblur):
    assert unblur("-", "-o", tmp_path / "a.jpg", "--compare", stdin=make_jpeg()).code == 0
    assert (tmp_path / "a-compared.png").exists()


def test_a_photo_is_compared_while_its_result_is_encoded(jpeg, unblur, monkeypatch):
    from unblur.pictures import compare

    encode, draw = any_format.encode, compare.code_comparison
    is_encoding, is_drawn = threading.Event(), threading.Event()

    def encode_late(*args, **options):
        is_encoding.set()
        assert is_drawn.wait(SOON_SECONDS)
        return encode(*args, **options)

    def draw_meanwhile(pair):
        assert is_encoding.wait(SOON_SECONDS)
        is_drawn.set()
        return draw(pair)

    monkeypatch.setattr(any_format, "encode", encode_late)
    monkeypatch.setattr(compare, "code_comparison", draw_meanwhile)
    assert unblur(jpeg, "--compare").code == 0


def test_a_comparison_that_cannot_be_drawn_is_told_and_the_result_stays(jpeg, unblur, monkeypatch):
    from unblur.pictures import compare

    def fail(pair):
        raise MemoryError

    monkeypatch.setattr(compare, "code_comparison", fail)
    result = unblur(jpeg, "--compare", "--json")
    assert "could not be compared with its result: out of memory" in result.stderr
    assert json.loads(result.stdout)["comparison"] is None
    assert jpeg.with_name("photo-unblurred.jpg").exists()
    monkeypatch.undo()


def test_a_comparison_that_cannot_be_written_lets_no_result_appear(jpeg, unblur, monkeypatch):
    draft = drafts.FileDraft

    def fail(path, *arguments):
        if path.name == NAME:
            raise PhotoError(f"cannot write {path}: no space left on device")
        return draft(path, *arguments)

    monkeypatch.setattr(drafts, "FileDraft", fail)
    result = unblur(jpeg, "--compare")
    assert result.code == 1
    assert "no space left" in result.stderr
    assert list(jpeg.parent.iterdir()) == [jpeg]


def test_a_long_name_is_shortened(tmp_path, unblur):
    photo = tmp_path / ("n" * 240 + ".jpg")
    photo.write_bytes(make_jpeg())
    assert unblur(photo, "--compare").code == 0
    assert len(list(tmp_path.glob("nnn*-compared.png"))) == 1
