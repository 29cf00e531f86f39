from __future__ import annotations

import io
import re
import struct
import tracemalloc

import numpy as np
import pytest
from conftest import check_recoding, encode_image, make_exif, make_jpeg, make_pixels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unblur.errors import PhotoError
from unblur.formats import any_format, jpeg, jpeg_markers
from unblur.run.hashes import content_of

SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def segment(marker, payload):
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def insert(photo, *additions):
    """A JPEG with segments, or any bytes, after its SOI."""
    return SOI + b"".join(additions) + photo[2:]


def remove(photo, marker):
    """A JPEG without the segments of a marker."""
    kept = [s for s in jpeg_markers.segments(photo) if s.marker != marker]
    return b"".join(photo[s.start : s.stop] for s in kept)


def metadata(photo):
    """The bytes of every application segment and comment, in order."""
    return [photo[s.start : s.stop] for s in jpeg_markers.segments(photo) if s.is_metadata]


def tables(photo):
    with Image.open(io.BytesIO(photo)) as image:
        return image.quantization


def sampling(photo):
    with Image.open(io.BytesIO(photo)) as image:
        return [layer[1:3] for layer in image.layer]


def patch_sampling(photo, *factors):
    """A JPEG whose frame tells other sampling factors; its pixels become nonsense."""
    frame = next(s for s in jpeg_markers.segments(photo) if s.marker in jpeg_markers.FRAMES)
    output = bytearray(photo)
    for index, factor in enumerate(factors):
        output[frame.start + 11 + 3 * index] = factor
    return bytes(output)


def reencode(data, invert=False):
    photo = any_format.decode(data)
    return any_format.encode(photo, 255 - photo.pixels if invert else photo.pixels)


def restarts(photo):
    """The number of restart markers in each scan."""
    scans = [photo[s.start : s.stop] for s in jpeg_markers.segments(photo) if s.marker == 0xDA]
    return [len(re.findall(rb"\xff[\xd0-\xd7]", scan)) for scan in scans]


def mean_difference(before, after):
    a, b = (any_format.decode(data).pixels.astype(int) for data in (before, after))
    return np.abs(a - b).mean()


def test_every_metadata_segment_stays_byte_for_byte_and_in_order():
    added = [
        segment(0xE1, b"Exif\0\0" + b"II*\0 damaged"),
        segment(0xFE, b"first comment"),
        segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(60_000)),
        segment(0xED, b"Photoshop 3.0\08BIM"),
        segment(0xE7, b"\xff\xd9 a maker's own"),
        segment(0xFE, b"second comment"),
    ]
    photo = insert(make_jpeg(icc_profile=b"profile" * 20_000), *added)
    result = reencode(photo, invert=True).data
    assert metadata(result) == metadata(photo)
    assert metadata(result)[:6] == added


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [30, 75, 98])
def test_pixels_are_coded_as_the_originals_were(quality, subsampling, progressive):
    photo = make_jpeg(quality=quality, subsampling=subsampling, progressive=progressive)
    result = reencode(photo, invert=True).data
    assert tables(result) == tables(photo)
    assert sampling(result) == sampling(photo)
    assert (b"\xff\xc2" in result) == progressive


def test_unchanged_pixels_lose_next_to_nothing():
    photo = make_jpeg(quality=90, subsampling="4:4:4")
    assert mean_difference(photo, reencode(photo).data) < 0.2


@pytest.mark.parametrize("own", [[[2] * 64], [[2] * 64, [9] * 64, [30] * 64]])
def test_each_component_keeps_its_own_table(own):
    photo = make_jpeg(quality=-1, qtables=own)
    assert tables(reencode(photo, invert=True).data) == tables(photo)


def test_tables_of_other_numbers_stay_with_their_components():
    photo = bytearray(make_jpeg(quality=-1, qtables=[[2] * 64, [9] * 64]))
    for part in jpeg_markers.segments(bytes(photo)):
        if part.marker == 0xDB and photo[part.start + 4] == 1:
            photo[part.start + 4] = 3
        if part.marker in jpeg_markers.FRAMES:
            photo[part.start + 15] = photo[part.start + 18] = 3
    with Image.open(io.BytesIO(reencode(bytes(photo)).data)) as image:
        coarseness = [image.quantization[table][0] for *_, table in image.layer]
    assert coarseness == [2, 9, 9]


@pytest.mark.parametrize(
    "factors",
    [(0x12, 0x11, 0x11), (0x41, 0x11, 0x11), (0x22, 0x11, 0x22), (0x22, 0x21, 0x21)],
    ids=["4:4:0", "4:1:1", "one fine chroma", "4:4:0 by other numbers"],
)
def test_sampling_that_cannot_be_written_never_becomes_coarser(factors):
    photo = patch_sampling(make_jpeg(64, 64, subsampling="4:2:0"), *factors)
    result = reencode(photo).data
    assert sampling(result) == [(1, 1)] * 3


def test_a_grey_photo_stays_grey():
    photo = make_jpeg(channels=1)
    result = reencode(photo, invert=True).data
    assert any_format.decode(photo).pixels.shape[2] == 1
    assert len(sampling(result)) == 1
    assert tables(result) == tables(photo)


@pytest.mark.parametrize("marked", [True, False])
def test_an_rgb_coded_photo_stays_so_with_and_without_its_adobe_segment(marked):
    photo = make_jpeg(keep_rgb=True, subsampling="4:4:4")
    if not marked:
        photo = remove(photo, jpeg_markers.APP14)
    result = reencode(photo).data
    assert jpeg_markers.is_rgb_coded(result)
    assert metadata(result) == metadata(photo)
    assert mean_difference(photo, result) < 0.5


def test_rgb_of_components_of_different_sizes_is_coded_in_full():
    photo = patch_sampling(make_jpeg(64, 64, keep_rgb=True, subsampling="4:4:4"), 0x22, 0x11, 0x11)
    result = reencode(photo).data
    assert jpeg_markers.is_rgb_coded(result)
    assert sampling(result) == [(1, 1)] * 3


def test_jfif_outweighs_an_adobe_segment_in_either_order():
    jfif, adobe = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), segment(0xEE, b"Adobe" + bytes(7))
    photo = remove(make_jpeg(), jpeg_markers.APP0)
    for markers in (jfif + adobe, adobe + jfif):
        contradicting = insert(photo, markers)
        assert not jpeg_markers.is_rgb_coded(contradicting)
        assert mean_difference(contradicting, reencode(contradicting).data) < 1


def test_an_adobe_segment_that_misstates_the_coding_is_left_out():
    photo = insert(make_jpeg(), segment(0xEE, b"Adobe" + bytes(7)))
    result = jpeg.splice(photo, make_jpeg())
    assert "Adobe" in result.notes[0]
    assert all(b"Adobe" not in part for part in metadata(result.data))


def test_a_jfif_segment_is_never_invented():
    photo = remove(make_jpeg(), jpeg_markers.APP0)
    result = reencode(photo).data
    assert metadata(result) == metadata(photo)
    assert b"JFIF" not in result
    assert mean_difference(photo, result) < 1


@pytest.mark.parametrize("options", [{"restart_marker_blocks": 2}, {"restart_marker_rows": 1}])
def test_restart_markers_are_part_of_the_pixels(options):
    photo = make_jpeg(**options)
    assert b"\xff\xd0" in photo
    assert mean_difference(photo, reencode(photo).data) < 1


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("interval", [0, 1, 3])
def test_restart_markers_stay_as_far_apart(interval, channels, progressive):
    photo = make_jpeg(channels=channels, progressive=progressive, restart_marker_blocks=interval)
    result = reencode(photo, invert=True).data
    assert restarts(result) == restarts(photo)
    assert any(restarts(result)) == bool(interval)


def test_what_follows_the_image_stays_byte_for_byte():
    trailer = b"MotionPhoto_Data\0\0ftyp" + SOI + bytes(range(256)) + EOI + b"SEFT"
    assert reencode(make_jpeg() + trailer, invert=True).data.endswith(EOI + trailer)


def test_garbage_between_segments_is_passed_over():
    photo = insert(
        make_jpeg(), segment(0xFE, b"one"), b"junk\xff\0", segment(0xFE, b"two"), b"\xff\xff"
    )
    result = reencode(photo).data
    assert metadata(result)[:2] == [segment(0xFE, b"one"), segment(0xFE, b"two")]
    assert mean_difference(photo, result) < 1


def jumbf(label, number=1, box=b"jumb"):
    description = b"\0\0\0\x20jumd" + label + bytes(16) + b"\3" + label + b"\0"
    return segment(0xEB, b"JP" + struct.pack(">HI", number, 1) + b"\0\0\1\0" + box + description)


def test_a_c2pa_manifest_is_left_out_with_a_note_and_other_boxes_stay():
    continued = segment(0xEB, b"JP" + struct.pack(">HI", 1, 2) + b"\0\0\1\0jumb the rest")
    other, depth = jumbf(b"heif", number=2), jumbf(b"data", number=1, box=b"FTYP")
    result = reencode(insert(make_jpeg(), jumbf(b"c2pa"), continued, other, depth))
    assert [part for part in metadata(result.data) if part[1] == 0xEB] == [other, depth]
    assert "C2PA" in result.notes[0]


def make_mpo(second_height=40):
    """Two JPEG images with an index that tells where the second begins."""
    first, second = (Image.fromarray(make_pixels(h, 64, seed=h)) for h in (48, second_height))
    return encode_image(first, "MPO", save_all=True, append_images=[second], exif=make_exif())


def test_a_second_image_stays_byte_for_byte_where_the_index_points():
    photo = make_mpo()
    result = reencode(photo, invert=True).data
    begin = jpeg_markers.image_end(photo)
    assert len(result) != len(photo)
    assert result.endswith(photo[begin:])
    for frame in (0, 1):
        with Image.open(io.BytesIO(photo)) as before, Image.open(io.BytesIO(result)) as after:
            assert after.format == "MPO"
            before.seek(frame), after.seek(frame)
            same = np.array_equal(np.asarray(before), np.asarray(after))
            assert same == (frame == 1)


def test_the_index_tells_the_first_images_new_size():
    photo = make_mpo()
    result = reencode(photo, invert=True).data
    with Image.open(io.BytesIO(result)) as image:
        entries = image.mpinfo[0xB002]
    end = jpeg_markers.image_end(result)
    assert entries[0]["Size"] == end
    assert result.index(b"MPF\0") + 4 + entries[1]["DataOffset"] == end


@pytest.mark.parametrize("position", [0, 4, 8, 10, 12, 14, 16, 18, 20, 24, 30, 40, 46, 50, 60])
def test_a_malformed_index_never_costs_the_photo(position):
    photo = bytearray(make_mpo())
    index = photo.index(b"MPF\0") + 4
    photo[index + position : index + position + 4] = b"\xff\xfe\xfd\xfc"
    result = reencode(bytes(photo)).data
    assert any_format.decode(result).pixels.shape == (48, 64, 3)
    assert result.endswith(photo[jpeg_markers.image_end(bytes(photo)) :])


def test_an_index_that_cannot_be_corrected_whole_is_left_alone():
    photo = bytearray(make_mpo())
    start = photo.index(b"MPF\0")
    second = photo.index(struct.pack("<I", jpeg_markers.image_end(bytes(photo)) - start - 4), start)
    photo[second : second + 4] = b"\xff\xff\xff\xff"
    result = jpeg.splice(bytes(photo), make_jpeg(200, 200)).data
    assert metadata(result) == metadata(bytes(photo))


def test_an_index_of_many_tables_takes_no_time():
    fields = struct.pack("<HHII", 0xB002, 7, 65_000, 0) * 5_000
    index = b"MPF\0II*\0\x08\0\0\0" + struct.pack("<H", 5_000) + fields
    photo = insert(make_jpeg(), segment(0xE2, index.ljust(65_100, b"\0")))
    assert any_format.decode(reencode(photo).data).pixels.shape == (48, 64, 3)


def test_photos_in_cmyk_are_refused():
    with pytest.raises(PhotoError, match="CMYK"):
        any_format.decode(encode_image(Image.new("CMYK", (16, 16)), "JPEG"))


@pytest.mark.parametrize(
    ("start", "changed", "reason"),
    [
        (4, b"\x0c", "12-bit JPEG"),
        (5, bytes(2), "state their height after the pixels"),
        (1, b"\xc3", "lossless JPEG"),
    ],
)
def test_a_frame_that_pillow_takes_for_damaged_is_refused_by_its_kind(start, changed, reason):
    data = make_jpeg(16, 16)
    start += data.index(b"\xff\xc0")
    unusual = data[:start] + changed + data[start + len(changed) :]
    for decode in (any_format.decode, any_format.decode_reduced):
        with pytest.raises(PhotoError, match=reason):
            decode(unusual)


def test_a_lossless_photo_is_refused_rather_than_made_lossy():
    table = segment(0xC4, b"\0\1" + bytes(15) + b"\0")  # one code: no difference to the left
    frame = segment(0xC3, b"\x08\0\x08\0\x08\1\1\x11\0")
    scan = segment(0xDA, b"\1\1\0\1\0\0") + bytes(8)
    with pytest.raises(PhotoError, match="lossless"):
        any_format.decode(SOI + table + frame + scan + EOI)


def test_a_photo_cut_off_anywhere_is_refused():
    photo = make_jpeg(16, 16)
    for length in range(3, len(photo) - 2):
        with pytest.raises(PhotoError):
            any_format.decode(photo[:length])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:4:4"}])
def test_a_plain_photo_is_small_but_not_too_small_for_its_pixels(options):
    image = Image.new("RGB", (1024, 800), (90, 120, 30))
    plain = encode_image(image, "JPEG", quality=50, optimize=True, **options)
    assert any_format.decode(plain).pixels.shape == (800, 1024, 3)


@pytest.mark.parametrize("end", [b"", EOI])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_photo_without_nearly_all_of_its_pixels_takes_no_memory(progressive, end):
    photo = make_jpeg(progressive=progressive)
    parts = tuple(jpeg_markers.segments(photo))
    bomb = jpeg_markers.with_size(photo, parts, 20_000, 20_000).removesuffix(EOI) + end
    for decode in (any_format.decode, any_format.decode_reduced):
        tracemalloc.start()
        with pytest.raises(PhotoError, match="ends before its (pixels|image)"):
            decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


def test_a_decompression_bomb_is_refused_by_its_header():
    photo = bytearray(make_jpeg())
    frame = next(s for s in jpeg_markers.segments(bytes(photo)) if s.marker in jpeg_markers.FRAMES)
    photo[frame.start + 5 : frame.start + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(PhotoError, match="pixels, more than the limit"):
        any_format.decode(bytes(photo))


PHOTOS = [make_jpeg(16, 16), make_jpeg(16, 16, progressive=True), make_mpo(16)]


@given(st.binary(max_size=300), st.sampled_from([b"", SOI, SOI + b"\xff\xe2\0\x50MPF\0II*\0"]))
def test_any_bytes_splice_or_raise_value_error(data, prefix):
    try:
        result = jpeg.splice(prefix + data, PHOTOS[0])
    except ValueError:
        return
    assert any_format.decode(result.data).pixels.shape == (16, 16, 3)


@st.composite
def mutations(draw):
    """A valid photo with some of its bytes replaced, removed or doubled."""
    photo = draw(st.sampled_from(PHOTOS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(photo) - 1))
        stop = min(len(photo), start + draw(st.integers(0, 8)))
        photo = photo[:start] + draw(st.binary(max_size=8)) + photo[stop:]
    return photo


@given(mutations())
def test_what_decodes_encodes_and_decodes_to_the_same_size(data):
    check_recoding(data)


@pytest.fixture
def scans(monkeypatch):
    """The sizes of the JPEG files that were scanned for their segments, in order."""
    sizes, scan = [], jpeg_markers._segments

    def counted(data):
        sizes.append(len(data))
        return scan(data)

    monkeypatch.setattr(jpeg_markers, "_segments", counted)
    return sizes


def test_a_run_scans_only_the_original_and_the_new_pixels_once_each(scans, unblur, jpeg):
    assert unblur(jpeg).code == 0
    assert len(scans) == 2
    assert scans[0] == jpeg.stat().st_size


@pytest.mark.parametrize("photo", PHOTOS)
def test_the_index_of_a_result_is_what_a_scan_of_it_finds(photo):
    decoded = any_format.decode(photo)
    encoded = any_format.encode(decoded, decoded.pixels)
    assert list(encoded.index) == list(jpeg_markers.segments(encoded.data))
    assert content_of(photo, decoded.index) == content_of(photo)
    assert content_of(encoded.data, encoded.index) == content_of(encoded.data)
