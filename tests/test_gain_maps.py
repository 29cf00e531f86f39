"""A gain map is deblurred with its photo, stays in its place, and keeps everything else."""

from __future__ import annotations

import importlib
import io
import struct

import numpy as np
import pytest
from conftest import encode_image, make_exif, make_jpeg, make_pixels
from PIL import Image
from test_avif import make_avif, make_grid, with_gain_map

from unblur import api
from unblur.errors import DeviceError, PhotoError
from unblur.formats import any_format, bmff, jpeg_markers
from unblur.formats.bmff_gain_maps import gain_map_keys
from unblur.formats.companions import with_new_companions
from unblur.formats.jpeg_gain_maps import _find_places
from unblur.formats.jpeg_markers import APP1, make_segment
from unblur.formats.photo import JPEG
from unblur.options import Options
from unblur.run import load_step
from unblur.run.jobs import Job

XMP = b"http://ns.adobe.com/xap/1.0/\0"
GAIN_XMP = (
    XMP + b'<x:xmpmeta><rdf:Description hdrgm:Version="1.0" hdrgm:GainMapMax="3"/></x:xmpmeta>'
)
STALE = "still as in the old photo: the gain map"


def make_map(channels=1, size=(40, 48), xmp=GAIN_XMP):
    """A gain map as a JPEG file."""
    pixels = make_pixels(*size, channels)
    data = encode_image(Image.fromarray(pixels if channels > 1 else pixels[..., 0]), "JPEG")
    return data[:2] + (make_segment(APP1, xmp) if xmp else b"") + data[2:]


def ultra_hdr(second, tail=b"", listed=True, gap=b""):
    """A JPEG with a second picture behind the first one, and perhaps an index of both."""
    photo = make_jpeg(80, 96, exif=make_exif())
    if not listed:
        return photo + second + tail
    base, count = 10, 3
    fields = [(0xB000, 7, 4, 0x30303130), (0xB001, 4, 1, 2), (0xB002, 7, 32, 50)]
    index = struct.pack("<2sHIH", b"II", 42, 8, count)
    index += b"".join(struct.pack("<HHII", *field) for field in fields) + bytes(4)
    length = len(photo) + base - 2 + len(index) + 32
    entries = struct.pack("<IIII", 0x030000, length, 0, 0)
    entries += struct.pack("<IIII", 0, len(second), length + len(gap) - base, 0)
    segment = make_segment(0xE2, b"MPF\0" + index + entries)
    return photo[:2] + segment + photo[2:] + gap + second + tail


def deblur_darker(pixels):
    """A network's visible effect for tests: every pixel becomes darker."""
    return pixels // 2


def deblurred(data):
    """The result of deblurring a file, with its gain maps."""
    photo = with_new_companions(any_format.decode(data), False, deblur_darker)
    return any_format.encode(photo, deblur_darker(photo.pixels))


def gain_map_of(data):
    """The bytes of the gain map of a JPEG file."""
    (place,) = _find_places(data, tuple(jpeg_markers.segments(data)))
    return data[place]


def near(one, other, most=6):
    return np.abs(one.astype(int) - other).mean() < most


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("listed", "gap"), [(True, b""), (True, bytes(7)), (False, b"")])
def test_the_gain_map_of_a_jpeg_is_deblurred_in_its_place(channels, listed, gap):
    old = make_map(channels)
    original = ultra_hdr(old, b"a film of the moment", listed, gap)
    encoded = deblurred(original)
    assert encoded.data.endswith(b"a film of the moment")
    assert len(encoded.data) - encoded.data.index(GAIN_XMP) == len(original) - original.index(
        GAIN_XMP
    )
    new = any_format.decode(gain_map_of(encoded.data)).pixels
    assert near(new, any_format.decode(old).pixels // 2)
    assert STALE not in encoded.notes


def test_other_programs_find_the_new_gain_map():
    original = ultra_hdr(make_map())
    with Image.open(io.BytesIO(deblurred(original).data)) as image:
        assert image.format == "MPO"
        image.seek(1)
        assert near(np.asarray(image), any_format.decode(make_map()).pixels[..., 0] // 2)


def test_a_sharper_map_is_coded_coarser_until_it_fits():
    original = ultra_hdr(make_map(size=(64, 64)))
    noise = np.random.default_rng(0)
    photo = with_new_companions(
        any_format.decode(original),
        False,
        lambda pixels: (pixels ^ noise.integers(0, 32, pixels.shape)).astype(np.uint8),
    )
    result = any_format.encode(photo, photo.pixels)
    assert len(result.data) == len(
        any_format.encode(any_format.decode(original), photo.pixels).data
    )
    assert STALE not in result.notes


def test_a_map_that_does_not_fit_stays_and_is_named():
    uniform = encode_image(Image.fromarray(np.zeros((64, 64), np.uint8)), "JPEG", quality=95)
    small = uniform[:2] + make_segment(APP1, GAIN_XMP) + uniform[2:]
    photo = with_new_companions(
        any_format.decode(ultra_hdr(small)), False, lambda pixels: make_pixels(*pixels.shape)
    )
    result = any_format.encode(photo, photo.pixels)
    assert gain_map_of(result.data) == small
    assert STALE in result.notes


def test_a_second_picture_that_is_no_gain_map_stays_byte_for_byte():
    second = make_map(3, xmp=b"")
    assert deblurred(ultra_hdr(second)).data.endswith(second)


def test_a_damaged_gain_map_stays_and_the_photo_is_processed():
    second = make_map()[:-40] + b"\xff\xd9"
    broken = second.replace(b"\xff\xc0", b"\xff\xc3")
    encoded = deblurred(ultra_hdr(broken))
    assert encoded.data.endswith(broken)
    assert STALE in encoded.notes


def test_a_damaged_gain_map_beside_a_whole_one_is_named():
    broken = make_map().replace(b"\xff\xc0", b"\xff\xc3")
    encoded = deblurred(ultra_hdr(make_map(), gap=broken))
    assert encoded.data.endswith(broken + make_map())
    assert STALE in encoded.notes


def test_a_gain_map_that_is_cut_off_beside_a_whole_one_is_named():
    cut = make_map()[:-300]
    encoded = deblurred(ultra_hdr(cut, gap=make_map()))
    assert encoded.data.endswith(make_map() + cut)
    assert STALE in encoded.notes


def make_heif_with_gain_map():
    pytest.importorskip("pillow_heif")
    from test_heif import make_heif

    return with_gain_map(b"heic", make_heif(), auxiliary=True)


MAKERS = [lambda: ultra_hdr(make_map()), with_gain_map, make_heif_with_gain_map]


def failing_for(new, function, error):
    """A function of a format that raises an error if it is to code these pixels."""

    def code(pixels, *arguments, **options):
        height, width = new.shape[:2]
        if np.array_equal(pixels[:height, :width], new):  # blocks may reach beyond
            raise error
        return function(pixels, *arguments, **options)

    return code


@pytest.mark.parametrize("make", MAKERS, ids=["JPEG", "AVIF", "HEIF"])
@pytest.mark.parametrize("error", [OSError, KeyError, MemoryError])
def test_a_gain_map_that_cannot_be_coded_stays_and_the_photo_is_processed(make, error, monkeypatch):
    original = make()
    photo = with_new_companions(any_format.decode(original), False, deblur_darker)
    module = importlib.import_module(photo.format.module)
    name = "code_pixels" if photo.format is JPEG else "_code"
    new = photo.companions[0].pixels
    monkeypatch.setattr(module, name, failing_for(new, getattr(module, name), error("any")))
    encoded = any_format.encode(photo, 255 - photo.pixels)
    after = any_format.decode(encoded.data)
    assert near(after.pixels, 255 - photo.pixels)
    assert np.array_equal(find_map(encoded.data), photo.companions[0].photo.pixels)
    assert encoded.notes == (STALE,)


@pytest.mark.parametrize("make", MAKERS, ids=["JPEG", "AVIF", "HEIF"])
@pytest.mark.parametrize("error", [PhotoError, MemoryError, RuntimeError])
def test_a_gain_map_that_cannot_be_deblurred_stays_and_the_photo_is_processed(make, error):
    def fail(pixels):
        raise error("any")

    photo = with_new_companions(any_format.decode(make()), False, fail)
    encoded = any_format.encode(photo, deblur_darker(photo.pixels))
    assert near(any_format.decode(encoded.data).pixels, photo.pixels // 2)
    assert np.array_equal(find_map(encoded.data), photo.companions[0].photo.pixels)
    assert encoded.notes == (STALE,)


def test_a_lost_device_is_not_taken_for_the_fault_of_a_gain_map():
    def lose(pixels):
        raise DeviceError("lost")

    with pytest.raises(DeviceError):
        with_new_companions(any_format.decode(ultra_hdr(make_map())), False, lose)


def test_a_map_larger_than_its_photo_is_not_decoded():
    assert any_format.decode(ultra_hdr(make_map(size=(80, 97)))).companions == ()
    assert len(any_format.decode(ultra_hdr(make_map(size=(80, 96)))).companions) == 1


def test_a_gain_map_is_kept_byte_for_byte_if_nothing_deblurs_it():
    second = make_map()
    photo = any_format.decode(ultra_hdr(second))
    result = any_format.encode(photo, photo.pixels)
    assert result.data.endswith(second)
    assert STALE in result.notes


@pytest.mark.parametrize("base", [make_avif, lambda: make_avif(4), make_grid])
@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
def test_the_gain_map_of_an_avif_is_deblurred(base, auxiliary, hidden):
    original = with_gain_map(base=base(), grouped=True, auxiliary=auxiliary, hidden=hidden)
    before = bmff.read(original)
    encoded = deblurred(original)
    after = bmff.read(encoded.data)
    (key,) = gain_map_keys(before)
    assert gain_map_keys(after) == [key]
    old, new = (find_map(data) for data in (original, encoded.data))
    assert near(new, old // 2)
    old_item, new_item = before.items[key], after.items[key]
    assert old_item.entry == new_item.entry
    assert old_item.find(b"auxC") == new_item.find(b"auxC")
    assert {item.type for item in after.items.values()} >= {b"tmap"}
    assert after.meta == before.meta
    assert encoded.notes == ()
    Image.open(io.BytesIO(encoded.data)).load()


def find_map(data):
    """The pixels of the only gain map."""
    (companion,) = any_format.decode(data).companions
    return companion.photo.pixels


@pytest.mark.parametrize("hidden", [False, True])
def test_the_gain_map_of_a_heif_is_deblurred(hidden):
    pytest.importorskip("pillow_heif")
    from test_heif import make_heif

    original = with_gain_map(b"heic", make_heif(exif=make_exif()), auxiliary=True, hidden=hidden)
    encoded = deblurred(original)
    assert near(find_map(encoded.data), find_map(original) // 2)
    assert encoded.notes == ()


@pytest.mark.parametrize("options", [{"strip_metadata": True}, {"format": "png"}])
def test_a_gain_map_that_the_result_does_not_have_is_not_deblurred(options, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(ultra_hdr(make_map()))
    job = Job(path, None)
    assert len(load_step.load(job, Options()).photo.companions) == 1
    assert load_step.load(job, Options(**options)).photo.companions == ()


def test_the_command_deblurs_the_gain_map(tmp_path, unblur, brightening_weights):
    path = tmp_path / "photo.jpg"
    path.write_bytes(ultra_hdr(make_map()))
    assert unblur(path, model=brightening_weights).code == 0
    result = (tmp_path / "photo-unblurred.jpg").read_bytes()
    new = any_format.decode(gain_map_of(result)).pixels.astype(int)
    assert new.mean() > any_format.decode(make_map()).pixels.mean() + 1


def test_the_python_interface_deblurs_the_gain_map(brightening_weights):
    result = api.deblur(ultra_hdr(make_map()), model=brightening_weights, device="cpu")
    new = any_format.decode(gain_map_of(result)).pixels.astype(int)
    assert new.mean() > any_format.decode(make_map()).pixels.mean() + 1
