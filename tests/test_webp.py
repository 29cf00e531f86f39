from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from conftest import check_recoding, encode_image, make_exif, make_pixels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unblur.errors import PhotoError
from unblur.formats import any_format, webp
from unblur.formats.refusals import ONE_FRAME


def make_webp(channels=3, size=(48, 63), **options):
    """The bytes of a WebP photo."""
    return encode_image(Image.fromarray(make_pixels(*size, channels)), "WEBP", **options)


def add_chunk(data, kind, payload):
    """The file with one more chunk at the end of its container."""
    body = data[8:] + kind + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def types(data):
    return [chunk.type for chunk in webp.chunks(data)]


def recode(data, change=1):
    """The file with every pixel a little different, and its notes."""
    photo = any_format.decode(data)
    return any_format.encode(photo, photo.pixels ^ np.uint8(change))


def test_every_chunk_but_the_pixels_stays_in_place():
    original = make_webp(4, exif=make_exif(), icc_profile=b"profile" * 9, xmp=b"<x:xmpmeta/>")
    original = add_chunk(original, b"priv", b"odd") + b"a trailer"
    result = recode(original).data
    pairs = list(zip(webp.chunks(original), webp.chunks(result), strict=True))
    assert [old.type for old, new in pairs if old != new] == [b"VP8 "]
    assert {b"VP8X", b"ICCP", b"ALPH", b"EXIF", b"XMP ", b"priv"} <= set(types(result))
    assert result.endswith(b"a trailer")


@pytest.mark.parametrize("lossless", [False, True])
def test_a_simple_file_stays_simple(lossless):
    original = make_webp(lossless=lossless)
    assert types(recode(original).data) == types(original) == [b"VP8L" if lossless else b"VP8 "]


def test_a_lossless_file_is_exact_even_below_full_transparency():
    pixels = make_pixels(48, 63, 4)
    pixels[:20, :, 3] = 0
    original = encode_image(Image.fromarray(pixels), "WEBP", lossless=True, exact=True)
    photo = any_format.decode(
        any_format.encode(any_format.decode(original), 255 - pixels[..., :3]).data
    )
    assert (photo.pixels == 255 - pixels[..., :3]).all()
    assert (photo.alpha == pixels[..., 3]).all()


def test_alpha_of_a_lossy_file_is_exact_though_it_was_coded_coarsely():
    original = make_webp(4, quality=50, alpha_quality=20)
    before, after = any_format.decode(original), any_format.decode(recode(original).data)
    assert (before.alpha == after.alpha).all()
    assert (before.pixels != after.pixels).any()


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 100])
def test_the_quality_of_a_lossy_file_is_recognised(quality):
    data = make_webp(size=(400, 400), quality=quality)
    assert any_format.decode(data).coding["quality"] == pytest.approx(quality, abs=15)


@pytest.mark.parametrize("quality", [50, 80, 95])
def test_a_lossy_file_keeps_about_its_size(quality):
    original = make_webp(size=(200, 200), quality=quality, exif=make_exif())
    photo = any_format.decode(original)
    result = any_format.encode(photo, photo.pixels).data
    assert len(result) == pytest.approx(len(original), rel=0.2)


def test_a_c2pa_manifest_is_left_out_and_told():
    result = recode(add_chunk(make_webp(exif=make_exif()), b"C2PA", b"signed"))
    assert b"C2PA" not in types(result.data)
    assert b"EXIF" in types(result.data)
    assert "C2PA" in result.notes[0]


def test_an_animation_is_refused():
    frames = [Image.fromarray(make_pixels(48, 63, seed=seed)) for seed in range(2)]
    animation = encode_image(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(PhotoError, match="animations"):
        any_format.decode(animation)


def one_frame(still, *more, size=None):
    """An animation with one frame: an extended still photo, possibly of another size."""
    header, *others = webp.chunks(still)
    picture = b"".join(chunk.raw for chunk in others if chunk.type in webp.PICTURE)
    frame = bytes(6) + (size or header.data[4:10]) + bytes(4) + picture
    body = webp._make_chunk(b"VP8X", bytes([header.data[0] | 2]) + header.data[1:])
    body += webp._make_chunk(b"ANIM", bytes(6)) + webp._make_chunk(b"ANMF", frame)
    body += b"".join(chunk.raw for chunk in others if chunk.type not in webp.PICTURE)
    body = b"WEBP" + body + b"".join(webp._make_chunk(b"ANMF", frame) for _ in more)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("lossless", [False, True])
def test_an_animation_of_one_frame_becomes_a_still_photo(channels, lossless):
    still = make_webp(channels, exif=make_exif(), lossless=lossless, exact=True)
    animation = one_frame(still)
    with Image.open(io.BytesIO(animation)) as image:
        assert image.info["loop"] == 0  # libwebp takes it for an animation
    assert recode(animation).data == recode(still).data
    assert any_format.decode(animation).notes == (ONE_FRAME,)
    assert list(any_format.coded_pixels(animation)) == list(any_format.coded_pixels(still))


def test_an_animation_of_more_frames_is_not_taken_for_a_still_photo():
    with pytest.raises(PhotoError, match="animations"):
        any_format.decode(one_frame(make_webp(exif=make_exif()), "another"))


def test_a_frame_that_does_not_fill_the_animation_is_refused():
    with pytest.raises(PhotoError, match="smaller than itself"):
        any_format.decode(one_frame(make_webp(exif=make_exif()), size=b"\7\0\0\7\0\0"))


def test_a_lossy_photo_without_nearly_all_of_its_pixels_takes_no_memory(monkeypatch):
    photo = encode_image(Image.fromarray(make_pixels(48, 64)), "WEBP")
    size = photo.index(webp.FRAME_START) + len(webp.FRAME_START)
    bomb = photo[:size] + struct.pack("<HH", 16_383, 16_383) + photo[size + 4 :]
    monkeypatch.setattr(webp, "open_image", None)
    with pytest.raises(PhotoError, match="ends before its pixels do"):
        any_format.decode(bomb)


@pytest.mark.parametrize("quality", [0, 75, 100])
def test_a_plain_lossy_photo_is_small_but_not_too_small_for_its_pixels(quality):
    plain = encode_image(Image.new("RGB", (2048, 1600), (90, 120, 30)), "WEBP", quality=quality)
    assert any_format.decode(plain).pixels.shape == (1600, 2048, 3)


def test_a_photo_over_the_limit_is_refused():
    with pytest.raises(PhotoError, match="63x48"):
        any_format.decode(make_webp(), max_pixels=1000)


@pytest.mark.parametrize("keep", [13, 25, 400, -2])
def test_a_file_that_is_cut_off_is_refused(keep):
    with pytest.raises(PhotoError, match="damaged or cut off WebP"):
        any_format.decode(make_webp()[:keep])


@given(st.binary(max_size=200))
def test_any_bytes_are_chunks_or_refused(data):
    header = b"RIFF" + struct.pack("<I", len(data) + 4) + b"WEBP"
    for candidate in (data, header + data):
        try:
            found = b"".join(chunk.raw for chunk in webp.chunks(candidate))
        except ValueError:
            continue
        assert candidate[12:].startswith(found)


SAMPLE = make_webp(4, exif=b"e" * 9)


@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255))
def test_a_changed_byte_gives_a_photo_or_an_error(position, value):
    data = SAMPLE[:position] + bytes([value]) + SAMPLE[position + 1 :]
    check_recoding(data)


@given(st.binary(max_size=64))
def test_any_frame_header_gives_a_quality_in_range(data):
    assert 0 <= webp.estimate_quality(b"\0\0\0" + webp.FRAME_START + b"\0" * 4 + data) <= 100
