from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from conftest import encode_image, make_jpeg, make_pixels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unblur.formats import any_format, jpeg_markers, pixels
from unblur.formats.convert import make_redraw
from unblur.formats.embedded_pictures import in_exif
from unblur.formats.metadata import find_thumbnail
from unblur.formats.pixels import to_8_bit_image

ORDERS = {"<": b"II*\0", ">": b"MM\0*"}


def refreshed(exif, photo):
    return in_exif(exif, make_redraw(photo, lambda array: array)).data


def shrink(pixels, width, height):
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    return image.resize((width, height), Image.Resampling.BOX)


def make_exif(picture, order="<", compression=6, kind=4, tail=b""):
    """EXIF of a camera: a name in the first directory, a JPEG thumbnail in the second."""
    first = struct.pack(order + "HHHI4sI", 1, 0x010F, 2, 4, b"Cam\0", 26)
    start = 26 + 2 + 3 * 12 + 4
    values = "HH" if kind == 3 else "I"
    number = (lambda n: (n, 0)) if kind == 3 else (lambda n: (n,))
    fields = [
        struct.pack(order + "HHIHH", 0x0103, 3, 1, compression, 0),
        struct.pack(order + "HHI" + values, 0x0201, kind, 1, *number(start)),
        struct.pack(order + "HHI" + values, 0x0202, kind, 1, *number(len(picture))),
    ]
    second = struct.pack(order + "H", 3) + b"".join(fields) + bytes(4)
    return ORDERS[order] + struct.pack(order + "I", 8) + first + second + picture + tail


def make_thumbnail(pixels, width=40, height=30, **options):
    return encode_image(shrink(pixels, width, height), "JPEG", **options)


def read(exif):
    """The thumbnail of a block, as another reader sees it."""
    with Image.open(io.BytesIO(exif[find_thumbnail(exif)])) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def mean_difference(a, b):
    return np.abs(np.asarray(a, int) - np.asarray(b, int)).mean()


SHARP = make_pixels(120, 160)
NEW = np.clip(SHARP.astype(int) // 2 + 90, 0, 255).astype(np.uint8)
"""The same picture in other colours, so that a change shows."""


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4], ids=["short", "long"])
def test_the_thumbnail_shows_the_new_photo(order, kind):
    exif = make_exif(make_thumbnail(SHARP), order, kind=kind)
    assert mean_difference(read(exif), shrink(NEW, 40, 30)) > 20
    assert mean_difference(read(refreshed(exif, NEW)), shrink(NEW, 40, 30)) < 6


def test_a_photo_of_16_bits_is_drawn_as_one_of_8():
    exif = make_exif(make_thumbnail(SHARP))
    deep = NEW.astype(np.uint16) * 257
    assert refreshed(exif, deep) == refreshed(exif, NEW) != exif


def test_nothing_but_the_thumbnails_bytes_changes():
    exif = make_exif(make_thumbnail(SHARP), tail=b"a maker's note")
    result = refreshed(exif, NEW)
    place = find_thumbnail(exif)
    assert len(result) == len(exif)
    assert result[: place.start] == exif[: place.start]
    assert result[place.stop :] == exif[place.stop :]
    assert result != exif


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_it_is_coded_as_the_old_one_was(subsampling):
    exif = make_exif(make_thumbnail(SHARP, quality=60, subsampling=subsampling))
    result = refreshed(exif, NEW)
    before, after = (Image.open(io.BytesIO(e[find_thumbnail(e)])) for e in (exif, result))
    assert result != exif
    assert after.size == before.size
    assert after.quantization == before.quantization
    assert after.layer == before.layer


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [(40, 30, (0, 2, 40, 28)), (30, 40, (0, 10, 30, 30))],
    ids=["wide photo", "much wider photo"],
)
def test_bars_stay_where_the_photo_has_another_shape(width, height, box):
    photo = make_pixels(120, 180)
    left, top, right, bottom = box
    old = Image.new("RGB", (width, height))
    old.paste(shrink(photo, right - left, bottom - top), (left, top))
    exif = make_exif(encode_image(old, "JPEG", quality=95))
    picture = read(refreshed(exif, 255 - (255 - photo) // 2))
    assert picture[: top - 1].max(initial=0) < 40
    assert picture[bottom + 1 :].max(initial=0) < 40
    assert picture[top:bottom].mean() > read(exif)[top:bottom].mean() + 30


def test_a_thumbnail_of_the_middle_stays_one():
    photo = make_pixels(120, 240)
    exif = make_exif(make_thumbnail(photo[:, 60:180], 40, 40))
    result = refreshed(exif, photo // 2)
    assert mean_difference(read(result), shrink(photo[:, 60:180] // 2, 40, 40)) < 6


def test_grey_and_colour_may_differ_between_photo_and_thumbnail():
    grey = make_pixels(120, 160, 1)
    colour = np.repeat(grey, 3, axis=2)
    for old, new in [(grey, colour // 2), (colour, grey // 2)]:
        result = refreshed(make_exif(make_thumbnail(old)), new)
        assert mean_difference(read(result), shrink(colour // 2, 40, 30)) < 6


@pytest.mark.parametrize(
    "pixels",
    [SHARP[:, ::-1], SHARP[::-1], SHARP.transpose(1, 0, 2), make_pixels(120, 160, seed=1) * 0],
    ids=["mirrored", "upside down", "turned", "black"],
)
def test_a_thumbnail_that_shows_something_else_stays(pixels):
    exif = make_exif(make_thumbnail(SHARP))
    assert refreshed(exif, np.ascontiguousarray(pixels)) == exif


def test_a_thumbnail_that_would_not_fit_stays():
    blurred = shrink(SHARP, 4, 3).resize((160, 120))
    noisy = np.clip(SHARP + np.random.default_rng(0).normal(0, 20, SHARP.shape), 0, 255)
    exif = make_exif(encode_image(blurred.resize((80, 60)), "JPEG"))
    assert refreshed(exif, noisy.astype(np.uint8)) == exif


def test_padding_of_an_earlier_run_is_room():
    exif = make_exif(make_thumbnail(SHARP))
    smaller = refreshed(exif, SHARP // 4)
    assert smaller.endswith(b"\0")
    again = refreshed(smaller, SHARP // 4)
    assert mean_difference(read(again), read(smaller)) < 2
    assert mean_difference(read(refreshed(smaller, SHARP)), shrink(SHARP, 40, 30)) < 8


def test_data_after_the_thumbnails_end_is_no_room():
    picture = make_thumbnail(SHARP) + b"not zeros"
    result = refreshed(make_exif(picture), SHARP // 4)
    assert result.endswith(b"\0not zeros")


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        make_exif(b"\xff\xd8 damaged \xff\xd9"),
        make_exif(make_thumbnail(SHARP)[:-2]),
        make_exif(shrink(SHARP, 40, 30).tobytes(), compression=1),
        make_exif(make_thumbnail(SHARP))[:-1],
        make_exif(b""),
    ],
    ids=["empty", "header", "far", "damaged", "no end", "raw", "cut off", "no length"],
)
def test_what_is_odd_stays(exif):
    assert refreshed(exif, NEW) == exif


def test_a_thumbnail_of_too_many_pixels_is_not_decoded():
    picture = bytearray(make_thumbnail(SHARP))
    frame = next(
        s for s in jpeg_markers.segments(bytes(picture)) if s.marker in jpeg_markers.FRAMES
    )
    picture[frame.start + 5 : frame.start + 9] = b"\x20\0\x20\0"
    exif = make_exif(bytes(picture))
    assert refreshed(exif, NEW) == exif


def test_a_large_photo_is_made_smaller_in_strips(monkeypatch):
    strips = []

    def record(strip):
        strips.append(strip.shape[0])
        return to_8_bit_image(strip)

    exif = make_exif(make_thumbnail(SHARP))
    whole = refreshed(exif, NEW.repeat(2, axis=0).repeat(2, axis=1))
    monkeypatch.setattr(pixels, "to_8_bit_image", record)
    monkeypatch.setattr(pixels, "STRIP_BYTES", 10_000)
    assert refreshed(exif, NEW.repeat(2, axis=0).repeat(2, axis=1)) == whole
    assert len(strips) > 10
    assert sum(strips) == 2 * len(NEW)


def photo_with(exif):
    return make_jpeg(120, 160, exif=b"Exif\0\0" + exif)


def test_a_jpeg_file_gets_a_new_thumbnail_unless_told_otherwise():
    photo = any_format.decode(photo_with(make_exif(make_thumbnail(SHARP))))
    pixels = photo.pixels // 2
    kept = any_format.encode(photo, pixels, refresh_thumbnail=False).data
    new = any_format.encode(photo, pixels).data
    assert len(new) == len(kept)
    segments = [[d[s.start : s.stop] for s in jpeg_markers.segments(d)] for d in (kept, new)]
    changed = [a[:10] for a, b in zip(*segments, strict=True) if a != b]
    assert [part[4:] for part in changed] == [b"Exif\0\0"]


def test_the_command_line_can_keep_the_old_thumbnail(tmp_path, unblur):
    exif = make_exif(make_thumbnail(SHARP, quality=30))
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo_with(exif))
    assert unblur(path, "-o", tmp_path / "kept.jpg", "--keep-thumbnail").code == 0
    assert unblur(path, "-o", tmp_path / "new.jpg").code == 0
    assert exif in (tmp_path / "kept.jpg").read_bytes()
    assert exif not in (tmp_path / "new.jpg").read_bytes()


EXIFS = [make_exif(make_thumbnail(SHARP, 16, 12), order) for order in ORDERS]


@given(st.binary(max_size=200), st.sampled_from([b"", *ORDERS.values(), EXIFS[0][:70]]))
def test_any_bytes_stay_as_they_are(data, prefix):
    assert refreshed(prefix + data, NEW) == prefix + data


@given(st.sampled_from(EXIFS), st.integers(0, 700), st.binary(min_size=1, max_size=6))
def test_a_damaged_block_keeps_its_length_and_all_before_its_picture(exif, start, damage):
    exif = (exif[:start] + damage + exif[start + len(damage) :])[: len(exif)]
    result = refreshed(exif, NEW)
    assert len(result) == len(exif)
    picture = exif.find(b"\xff\xd8\xff") % (len(exif) + 1)
    place = find_thumbnail(exif) or slice(picture, len(exif))
    unchanged = min(picture, place.start)
    assert result[:unchanged] == exif[:unchanged]
