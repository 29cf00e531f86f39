"""Masks: deblurred where they are white, the photo itself where they are black."""

from __future__ import annotations

import errno
import io
import os
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from conftest import encode_image, make_exif, make_jpeg, make_pixels
from PIL import Image, ImageOps
from test_gain_maps import STALE, make_map

import unblur as package
from unblur.errors import PhotoError
from unblur.formats import any_format
from unblur.formats.companions import with_new_companions
from unblur.formats.masks import blended, decode_mask, make_mask, masked
from unblur.options import Options
from unblur.run.history import IN_MEMORY, History
from unblur.run.plan import make_plan
from unblur.storage import files
from unblur.storage.places import Url

HEIGHT, WIDTH = 48, 64
LEFT = np.zeros((HEIGHT, WIDTH), np.uint8)
LEFT[:, : WIDTH // 2] = 255
"""White on the left."""


def save_mask(path, pixels=LEFT):
    """Write a mask as a PNG file."""
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def save_photo(path, pixels=None, **options):
    """Write a photo as a PNG file."""
    pixels = make_pixels(HEIGHT, WIDTH) // 2 if pixels is None else pixels
    Image.fromarray(pixels.squeeze()).save(path, **options)
    return path


def read(path):
    """The pixels of a file, as stored."""
    return any_format.decode(path.read_bytes()).pixels


@pytest.fixture
def brighten(unblur, brightening_weights):
    """Run the tool with a network that makes each pixel brighter."""
    return lambda *arguments: unblur(*arguments, model=brightening_weights)


def test_only_what_is_white_in_the_mask_is_deblurred(brighten, tmp_path):
    photo, mask = save_photo(tmp_path / "photo.png"), save_mask(tmp_path / "mask.png")
    assert brighten(photo, "-o", tmp_path / "whole.png").code == 0
    assert brighten(photo, "--mask", mask, "-o", tmp_path / "part.png").code == 0
    before, whole, part = read(photo), read(tmp_path / "whole.png"), read(tmp_path / "part.png")
    assert (whole > before).all()
    np.testing.assert_array_equal(part[:, 32:], before[:, 32:])
    np.testing.assert_array_equal(part[:, :32], whole[:, :32])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_drawn_over_the_photo_as_people_see_it(brighten, tmp_path, orientation):
    stored = make_pixels(HEIGHT, WIDTH) // 2
    photo = tmp_path / "photo.png"
    save_photo(photo, stored, exif=make_exif(orientation))
    width = HEIGHT if orientation > 4 else WIDTH
    mask = np.zeros((WIDTH if orientation > 4 else HEIGHT, width), np.uint8)
    mask[:5, :9] = 255  # upper left, as people see it
    brighten(photo, "--mask", save_mask(tmp_path / "mask.png", mask), "-o", tmp_path / "new.png")
    changed = (read(tmp_path / "new.png") != stored).any(axis=2)
    image = Image.fromarray(changed)
    image.getexif()[0x0112] = orientation
    seen = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(seen, mask > 0)


def test_a_mask_that_has_an_orientation_is_turned_too(brighten, tmp_path):
    photo = save_photo(tmp_path / "photo.png")
    turned = Image.fromarray(np.ascontiguousarray(LEFT[::-1, ::-1]))
    turned.save(tmp_path / "mask.png", exif=make_exif(3))
    brighten(photo, "--mask", tmp_path / "mask.png", "-o", tmp_path / "new.png")
    changed = (read(tmp_path / "new.png") != read(photo)).any(axis=2)
    np.testing.assert_array_equal(changed, LEFT > 0)


def test_black_keeps_the_stored_samples_of_a_jpeg_photo(brighten, tmp_path):
    photo, result = tmp_path / "photo.jpg", tmp_path / "new.jpg"
    photo.write_bytes(make_jpeg(exif=make_exif(1), quality=75))
    brighten(photo, "--mask", save_mask(tmp_path / "mask.png"), "-o", result)

    def luma(path):
        image = Image.open(path)
        image.draft("YCbCr", image.size)
        return np.asarray(image)[:, WIDTH // 2 + 16 :]  # beyond chroma that both halves share

    np.testing.assert_array_equal(luma(result), luma(photo))
    assert (read(result)[:, :16] != read(photo)[:, :16]).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_a_blend_at_any_depth(dtype, channels):
    before = make_pixels(HEIGHT, WIDTH, channels, dtype)
    after = make_pixels(HEIGHT, WIDTH, channels, dtype, seed=1)
    mask = np.tile(np.arange(WIDTH, dtype=np.uint8) * 4, (HEIGHT, 1))
    result = blended(before, after, make_mask(mask))
    share = mask[..., None] / 255
    exact = before + share * (after.astype(float) - before)
    assert np.abs(result - exact).max() <= 0.5 + 1e-6
    np.testing.assert_array_equal(result[:, 0], before[:, 0])
    np.testing.assert_array_equal(blended(before, after, make_mask(mask > -1)), after)


@pytest.mark.parametrize("size", [(2, 3), (7, 5), (48, 64), (96, 128), (131, 177)])
def test_a_mask_of_any_size_keeps_all_that_its_black_covers(size):
    rng = np.random.default_rng(0)
    mask = rng.choice(np.array([0, 90, 255], np.uint8), size)
    before = np.zeros((HEIGHT, WIDTH, 1), np.uint16)
    changed = blended(before, before + np.uint16(50_000), make_mask(mask))[..., 0] > 0
    rows = (np.arange(HEIGHT) + 0.5) * size[0] / HEIGHT
    columns = (np.arange(WIDTH) + 0.5) * size[1] / WIDTH
    is_black = mask[rows.astype(int)][:, columns.astype(int)] == 0
    if size[0] <= HEIGHT:
        assert not (changed & is_black).any()
    assert changed.any()


def test_a_coarse_mask_has_smooth_edges():
    mask = np.zeros((4, 4), np.uint8)
    mask[:, 2:] = 255
    before = np.zeros((400, 400, 1), np.uint8)
    row = blended(before, before + np.uint8(255), make_mask(mask))[200, :, 0].astype(int)
    assert row[199] == 0
    assert row[399] == 255
    assert np.diff(row).max() < 20


def test_strength_views_and_a_mask_work_together(brighten, tmp_path):
    photo, mask = save_photo(tmp_path / "photo.png"), save_mask(tmp_path / "mask.png")
    options = ("--strength", 0.5, "--views", 2)
    brighten(photo, *options, "-o", tmp_path / "whole.png")
    brighten(photo, *options, "--mask", mask, "-o", tmp_path / "part.png")
    part = read(tmp_path / "part.png")
    np.testing.assert_array_equal(part[:, 32:], read(photo)[:, 32:])
    np.testing.assert_array_equal(part[:, :32], read(tmp_path / "whole.png")[:, :32])


def test_the_photos_own_transparency_stays(brighten, tmp_path):
    photo = tmp_path / "photo.png"
    pixels = np.dstack([make_pixels(HEIGHT, WIDTH) // 2, LEFT // 2 + 9])
    Image.fromarray(pixels).save(photo)
    brighten(photo, "--mask", save_mask(tmp_path / "mask.png"), "-o", tmp_path / "new.png")
    new = np.asarray(Image.open(tmp_path / "new.png"))
    np.testing.assert_array_equal(new[..., 3], pixels[..., 3])
    np.testing.assert_array_equal(new[:, 32:], pixels[:, 32:])


def test_each_photo_gets_the_mask_of_its_name_from_a_folder(brighten, tmp_path):
    photos = [save_photo(tmp_path / f"{name}.png") for name in "ab"]
    save_mask(tmp_path / "masks" / "a.png")
    save_mask(tmp_path / "masks" / "b.tif", 255 - LEFT)
    assert brighten(*photos, "--mask", tmp_path / "masks").code == 0
    for photo, is_white in zip(photos, (LEFT > 0, LEFT == 0), strict=True):
        new = read(photo.with_name(f"{photo.stem}-unblurred.png"))
        np.testing.assert_array_equal((new != read(photo)).any(axis=2), is_white)


def test_a_photo_without_a_mask_fails_and_the_others_are_done(brighten, tmp_path):
    photos = [save_photo(tmp_path / f"{name}.png") for name in "abc"]
    for name in ("a.png", "b.png", "b.tif"):
        save_mask(tmp_path / "masks" / name)
    result = brighten(*photos, "--mask", tmp_path / "masks")
    assert result.code == 1
    assert f"has no mask: {tmp_path / 'masks'} has no picture named c" in result.stderr
    assert "b.png and b.tif" in result.stderr
    assert (tmp_path / "a-unblurred.png").exists()
    assert not (tmp_path / "c-unblurred.png").exists()


@pytest.fixture
def store():
    """An empty object store in memory; a function puts arrays into it as PNG files."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()

    def put(key, pixels):
        memory.pipe_file(f"/bucket/{key}", encode_image(Image.fromarray(pixels), "PNG"))
        return f"memory://bucket/{key}"

    return put


def test_an_object_in_a_store_is_a_mask(brighten, tmp_path, store):
    photo = save_photo(tmp_path / "photo.png")
    assert brighten(photo, "--mask", store("mask.png", LEFT)).code == 0
    new = read(tmp_path / "photo-unblurred.png")
    np.testing.assert_array_equal((new != read(photo)).any(axis=2), LEFT > 0)


def test_masks_in_a_store_are_found_by_name_and_are_no_photos(brighten, tmp_path, store):
    for key, pixels in (
        ("a.png", make_pixels(HEIGHT, WIDTH) // 2),
        ("masks/a.png", LEFT),
        ("masks/old/a.png", 255 - LEFT),
        ("masks/.a.png", 255 - LEFT),
    ):
        store(key, pixels)
    chosen = ("--mask", "memory://bucket/masks", "-o", f"{tmp_path}{os.sep}", "--exclude", "old")
    result = brighten("-r", "memory://bucket", *chosen, "-v")
    assert result.code == 0
    assert "memory://bucket/masks/a.png: passed over: a mask" in result.stderr
    before = any_format.decode(fsspec.filesystem("memory").cat_file("/bucket/a.png")).pixels
    new = read(tmp_path / "a-unblurred.png")
    np.testing.assert_array_equal((new != before).any(axis=2), LEFT > 0)


@pytest.mark.parametrize("address", ["memory://bucket/none.png", "memory://nothing"])
def test_a_mask_that_is_not_in_the_store_is_told_in_a_line(brighten, tmp_path, store, address):
    result = brighten(save_photo(tmp_path / "photo.png"), "--mask", address)
    assert result.code == 2
    assert f"--mask {address}: no such file or folder" in result.stderr


def test_one_mask_of_many_photos_is_decoded_once(brighten, tmp_path, monkeypatch):
    photos = [save_photo(tmp_path / f"{name}.png") for name in "abc"]
    mask, decoded = save_mask(tmp_path / "mask.png", 251 - LEFT // 255), []
    monkeypatch.setattr(
        "unblur.formats.masks.decode_mask",
        lambda *given: decoded.append(given) or decode_mask(*given),
    )
    assert brighten(*photos, "--mask", mask).code == 0
    assert len(decoded) == 1


def test_masks_below_a_folder_of_photos_are_no_photos(brighten, tmp_path):
    save_photo(tmp_path / "a.png")
    save_mask(tmp_path / "masks" / "a.png")
    result = brighten("-r", tmp_path, "--mask", tmp_path / "masks", "-v")
    assert result.code == 0
    assert sorted(path.name for path in tmp_path.rglob("*-unblurred*")) == ["a-unblurred.png"]
    assert "masks/a.png: passed over: a mask" in result.stderr.replace(os.sep, "/")


def test_a_changed_mask_means_that_the_result_is_not_done(brighten, tmp_path):
    photo, mask = save_photo(tmp_path / "photo.png"), save_mask(tmp_path / "mask.png")
    brighten(photo, "--mask", mask)
    first = read(tmp_path / "photo-unblurred.png")
    assert "already done" in brighten(photo, "--mask", mask, "-v").stderr
    save_mask(mask, 255 - LEFT)
    assert "already done" not in brighten(photo, "--mask", mask, "-v").stderr
    assert (read(tmp_path / "photo-unblurred.png") != first).any()
    assert "already done" not in brighten(photo, "-v").stderr


def colored(path):
    Image.fromarray(make_pixels(HEIGHT, WIDTH)).save(path)


def transparent(path):
    Image.fromarray(np.dstack([LEFT, LEFT])).save(path)


def animated(path):
    frames = [Image.fromarray(LEFT), Image.fromarray(255 - LEFT)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def turned_by_a_quarter(path):
    Image.fromarray(LEFT.T.copy()).save(path)


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (colored, 2, "has colours"),
        (transparent, 2, "is transparent"),
        (animated, 2, "animat"),
        (lambda path: path.write_bytes(b"no picture"), 2, "not a photo"),
        (lambda path: None, 2, "no such file or folder"),
        (turned_by_a_quarter, 1, "rotate the mask by 90 degrees"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_line(brighten, tmp_path, make, code, words):
    photo, mask = save_photo(tmp_path / "photo.png"), tmp_path / "mask.png"
    make(mask)
    result = brighten(photo, "--mask", mask)
    assert result.code == code
    (line,) = [line for line in result.stderr.splitlines() if words in line]
    assert "mask" in line
    assert not (tmp_path / "photo-unblurred.png").exists()


def test_a_folder_of_masks_that_cannot_be_listed_is_named(brighten, tmp_path, monkeypatch):
    photo, folder = save_photo(tmp_path / "photo.png"), tmp_path / "masks"
    folder.mkdir()

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    result = brighten(photo, "--mask", folder)
    assert result.code == 2
    assert f"the mask {folder}: permission denied" in result.stderr


def test_a_grey_picture_that_is_stored_in_colour_is_a_mask(brighten, tmp_path):
    photo, mask = save_photo(tmp_path / "photo.png"), tmp_path / "mask.jpg"
    Image.fromarray(LEFT).convert("RGB").save(mask, quality=90)
    assert brighten(photo, "--mask", mask).code == 0


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_mask_of_one_bit_a_pixel_is_the_same_as_one_of_eight(orientation):
    image, exif = Image.fromarray(LEFT), make_exif(orientation)
    masks = [
        decode_mask(encode_image(image.convert(mode), "PNG", exif=exif)) for mode in ("1", "L")
    ]
    assert np.array_equal(masks[0].weights, masks[1].weights)
    assert masks[0].weights.max() == 255


def test_a_damaged_mask_of_one_bit_a_pixel_is_refused():
    data = encode_image(Image.fromarray(LEFT).convert("1"), "PNG")
    with pytest.raises(PhotoError):
        decode_mask(data[: len(data) // 2])


def test_a_mask_that_changes_during_the_run_is_refused(brighten, tmp_path):
    from unblur.run.mask_files import read_mask

    save_photo(tmp_path / "photo.png")
    options = Options(mask=str(save_mask(tmp_path / "mask.png")))
    with History(IN_MEMORY) as history:
        (job,) = make_plan([str(tmp_path / "photo.png")], options, history, "").jobs
    save_mask(tmp_path / "mask.png", 255 - LEFT)
    with pytest.raises(PhotoError, match=r"mask\.png was changed meanwhile"):
        read_mask(job.mask, options)


def test_the_configuration_file_may_name_a_mask(brighten, tmp_path):
    photo, mask = save_photo(tmp_path / "photo.png"), save_mask(tmp_path / "mask.png")
    config = tmp_path / "unblur.toml"
    config.write_text(f"mask = '{mask}'")
    assert brighten(photo, "--config", config).code == 0
    changed = (read(tmp_path / "photo-unblurred.png") != read(photo)).any(axis=2)
    np.testing.assert_array_equal(changed, LEFT > 0)


def test_a_photo_from_standard_input_takes_one_mask(unblur, brightening_weights, tmp_path):
    photo = save_photo(tmp_path / "photo.png")
    mask = save_mask(tmp_path / "masks" / "photo.png")
    given = {"stdin": photo.read_bytes(), "model": brightening_weights}
    new = any_format.decode(unblur("-", "--mask", mask, **given).stdout).pixels
    np.testing.assert_array_equal((new != read(photo)).any(axis=2), LEFT > 0)
    result = unblur("-", "--mask", mask.parent, **given)
    assert result.code == 1
    assert "has no name to find its mask" in result.stderr


@pytest.fixture
def deblurrer(brightening_weights):
    with package.Deblurrer(brightening_weights, device="cpu") as deblurrer:
        yield deblurrer


def test_a_python_caller_has_the_file_of_a_mask_read_once(deblurrer, tmp_path, monkeypatch):
    mask, opened = save_mask(tmp_path / "mask.png"), []
    whole = files.read_photo_bytes
    monkeypatch.setattr(
        files, "read_photo_bytes", lambda path, most: opened.append(path) or whole(path, most)
    )
    deblurrer(make_pixels(HEIGHT, WIDTH), mask=mask)
    assert opened == [mask]


@pytest.mark.parametrize("kind", ["path", "bytes", "image", "array"])
@pytest.mark.parametrize("mask_kind", ["path", "array", "bool"])
def test_python_callers_give_a_path_or_an_array(deblurrer, tmp_path, kind, mask_kind):
    path = save_photo(tmp_path / "photo.png")
    before = read(path)
    mask = {"path": save_mask(tmp_path / "mask.png"), "array": LEFT, "bool": LEFT > 0}[mask_kind]
    photo = {"path": path, "bytes": path.read_bytes(), "array": before}.get(kind)
    if kind == "image":
        photo = Image.open(path)
    new = deblurrer(photo, mask=mask)
    match kind:
        case "path":
            new = read(new)
        case "bytes":
            new = any_format.decode(new).pixels
    changed = (np.asarray(new) != before).any(axis=2)
    np.testing.assert_array_equal(changed, LEFT > 0)


def test_a_pillow_image_is_masked_as_people_see_it(deblurrer):
    stored = make_pixels(HEIGHT, WIDTH) // 2
    data = encode_image(Image.fromarray(stored), "PNG", exif=make_exif(3))
    with Image.open(io.BytesIO(data)) as image:
        new = np.asarray(deblurrer(image, mask=LEFT))
    np.testing.assert_array_equal((new != stored).any(axis=2), LEFT[::-1, ::-1] > 0)


@pytest.mark.parametrize("mask", [np.zeros((3, 3, 2), np.uint8), np.zeros((3, 3)), LEFT.T > 0])
def test_an_array_that_is_no_mask_is_refused(deblurrer, mask):
    with pytest.raises(PhotoError, match="mask"):
        deblurrer(make_pixels(HEIGHT, WIDTH), mask=mask)


def test_a_gain_map_is_masked_with_its_photo(tmp_path):
    from unblur.formats.masks import masked
    from unblur.formats.photo import Companion

    photo = any_format.decode(save_photo(tmp_path / "photo.png").read_bytes())
    gains = replace(photo, pixels=np.zeros((HEIGHT // 4, WIDTH // 4, 1), np.uint8))
    new = Companion(gains, None, gains.pixels + np.uint8(200))
    photo = replace(photo, companions=(new,))
    (companion,) = masked(photo, photo.pixels, make_mask(LEFT))[0].companions
    np.testing.assert_array_equal(companion.pixels[..., 0] > 0, LEFT[::4, ::4] > 0)


def test_a_gain_map_that_lies_otherwise_than_its_photo_stays_and_the_photo_is_masked():
    photo = any_format.decode(make_jpeg(80, 96, exif=make_exif(1)) + make_map(size=(48, 40)))
    photo = with_new_companions(photo, False, lambda pixels: pixels // 2)
    new, pixels = masked(photo, photo.pixels // 2, make_mask(np.full((80, 96), 255, np.uint8)))
    assert np.array_equal(pixels, photo.pixels // 2)
    encoded = any_format.encode(new, pixels)
    assert encoded.data.endswith(make_map(size=(48, 40)))
    assert encoded.notes == (STALE,)


def test_a_panorama_is_masked_without_the_columns_that_continue_it(brighten, tmp_path):
    from unblur.formats.panorama import is_round

    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><GPano:ProjectionType>equirectangular'
        b"</GPano:ProjectionType></x:xmpmeta>"
    )
    photo = tmp_path / "photo.jpg"
    image = Image.fromarray(make_pixels(64, 128) // 2)
    photo.write_bytes(encode_image(image, "JPEG", quality=75, xmp=xmp, subsampling=0))
    assert is_round(any_format.decode(photo.read_bytes()))
    mask = np.zeros((64, 128), np.uint8)
    mask[:, 64:] = 255
    new = tmp_path / "new.jpg"
    brighten(photo, "--mask", save_mask(tmp_path / "mask.png", mask), "-o", new)
    np.testing.assert_array_equal(read(new)[:, :64], read(photo)[:, :64])
    assert (read(new)[:, 72:].astype(int) > read(photo)[:, 72:]).mean() > 0.9


def test_the_workers_of_a_cluster_get_the_absolute_path_of_a_mask(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed")
    from unblur.run.ray_dispatch import _absolute

    save_photo(tmp_path / "photo.png")
    save_mask(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    with History(IN_MEMORY) as history:
        (job,) = make_plan(["photo.png"], Options(mask="mask.png"), history, "").jobs
    assert _absolute(job).mask.place == tmp_path / "mask.png"
    assert _absolute(job).settings == job.settings != ""
    in_store = replace(job, mask=replace(job.mask, place=Url("memory", "bucket/mask.png")))
    assert _absolute(in_store).mask == in_store.mask
