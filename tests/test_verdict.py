"""The line, the fields and the badge for a photo's blur and for the change made."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import fakes
import numpy as np
import pytest
from conftest import encode_image, make_exif, make_pixels
from PIL import Image, ImageFilter
from scenes import make_scene, smeared, unfocused

from training.judging.fixed_blur import convolve, motion_kernel
from unblur.blur import Blur, Kind
from unblur.cli import deblur
from unblur.pictures.verdict import Verdict, judge


@pytest.fixture
def moved(tmp_path):
    path = tmp_path / "moved.png"
    path.write_bytes(encode_image(Image.fromarray(smeared(make_scene(240, 320), 8, 0)), "PNG"))
    return path


def test_a_photo_gets_a_line_on_standard_error(moved, unblur):
    lines = unblur(moved, "--strength", "0.9").stderr.splitlines()
    (line,) = [line for line in lines if "changed" in line]
    assert line.startswith(f"{moved}: moved by about ")
    assert "pixels, sideways; 0% of it changed" in line  # the network changes nothing


def test_json_has_the_same_as_fields(moved, unblur):
    values = json.loads(unblur(moved, "--json", "-q", "--strength", "0.9").stdout)
    assert (values["blur"], values["blur_angle"], values["changed"]) == ("motion", 0, 0)
    assert values["blur_length"] == pytest.approx(8, rel=0.4)


def test_what_the_network_leaves_is_out_of_focus_unless_a_mask_or_strength_kept_it(
    moved, tmp_path, unblur
):
    mask = tmp_path / "mask.png"
    mask.write_bytes(encode_image(Image.new("L", (320, 240), 0), "PNG"))
    kinds = [
        json.loads(unblur(moved, "--json", "-q", "--overwrite", *options).stdout)["blur"]
        for options in ((), ("--mask", mask), ("--strength", "0.5"))
    ]
    assert kinds == ["focus", "motion", "motion"]


def test_fields_are_null_for_photos_that_were_not_done(moved, unblur):
    unblur(moved)
    values = json.loads(unblur(moved, "--json").stdout)
    assert values["status"] == "skipped"
    assert [values[name] for name in ("blur", "blur_length", "blur_angle", "changed")] == [None] * 4


def test_no_photo_is_judged_where_nobody_sees_it(moved, unblur, monkeypatch):
    monkeypatch.setattr("unblur.pictures.verdict.judge", lambda pair: pytest.fail("judged"))
    assert unblur(moved, "-q").code == 0
    assert unblur(moved, "--max-memory", "4G", "--overwrite").code == 0


def test_the_changed_share_is_that_of_visible_change(moved, unblur, monkeypatch):
    monkeypatch.setattr(deblur, "_make_deblurrer", lambda *_: fakes.on_cpu(fakes.Brighter()))
    # Only brighter is not sharper: the detail stays, but for what is cut off at white.
    assert json.loads(unblur(moved, "--json").stdout)["changed"] < 1


def test_a_page_has_a_badge_and_a_filter_for_each_kind(moved, tmp_path, unblur):
    soft = Image.fromarray(make_scene(480, 640)).filter(ImageFilter.GaussianBlur(4))
    (tmp_path / "soft.png").write_bytes(encode_image(soft, "PNG"))
    options = ("--only", "motion", "--strength", "0.9")
    unblur(moved, tmp_path / "soft.png", "--report", tmp_path / "report.html", *options)
    unblur(tmp_path / "soft.png", "--report", tmp_path / "soft.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    assert 'data-blur="motion"' in text
    assert '<input type="radio" name="show" value="motion">' in text
    assert 'value="focus"' not in text
    assert "<dt>--only</dt><dd>motion</dd>" in text
    assert '<strong class="badge">Out of focus</strong>' in (tmp_path / "soft.html").read_text()


def judged(pixels, share, **options):
    pair = SimpleNamespace(
        before=SimpleNamespace(pixels=pixels), change=SimpleNamespace(share=share)
    )
    return judge(pair, None, **options)


def shaken(pixels, diameter):
    """Blur by a circular path, which has no clear direction."""
    turn = np.linspace(0, 2 * np.pi, 96)
    path = np.stack([np.sin(turn), np.cos(turn)], axis=1) * diameter / 2
    light = (pixels.astype(np.float32) / 255) ** 2.2
    moved = convolve(light, motion_kernel(path.astype(np.float32)))
    return np.round(np.clip(moved, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("radius", "share", "kind"),
    [
        (0, 0.02, Kind.SHARP),
        (0, 0.6, Kind.MOTION),
        (3, 0.02, Kind.FOCUS),
        (3, 0.6, Kind.MOTION),
    ],
)
def test_a_photo_of_which_much_changed_is_neither_sharp_nor_out_of_focus(radius, share, kind):
    pixels = unfocused(make_scene(480, 640), radius) if radius else make_scene(480, 640)
    assert judged(pixels, share).blur.kind is kind


@pytest.mark.parametrize("diameter", [7, 12, 18])
def test_a_crooked_motion_is_told_by_its_length_without_a_direction(diameter):
    blur = judged(shaken(make_scene(720, 960), diameter), 0.6).blur
    assert (blur.kind, blur.angle) == (Kind.MOTION, None)
    assert blur.length == pytest.approx(diameter, rel=0.5)
    assert str(blur) == f"moved by about {blur.length:.0f} pixels"


def test_the_length_of_a_crooked_motion_is_that_in_the_whole_photo():
    pixels = shaken(make_scene(720, 960), 12)
    large = Image.fromarray(pixels).resize((2880, 2160), Image.Resampling.BICUBIC)
    small, large = judged(pixels, 0.6), judged(np.asarray(large), 0.6)
    assert large.blur.length == pytest.approx(3 * small.blur.length, rel=0.4)


def test_a_photo_of_which_nearly_nothing_changed_is_out_of_focus_and_not_moved():
    pixels = smeared(make_scene(480, 640), 12)
    assert judged(pixels, 0.05).blur.kind is Kind.MOTION
    blur = judged(pixels, 0.01).blur
    assert (blur.kind, blur.length, blur.angle) == (Kind.FOCUS, None, None)


def test_a_small_change_shows_nothing_if_the_user_limited_it():
    pixels = smeared(make_scene(480, 640), 12)
    assert judged(pixels, 0.01, has_all=False).blur.kind is Kind.MOTION


def test_a_motion_too_long_for_the_network_stays_one_if_nearly_nothing_changed():
    assert judged(smeared(make_scene(960, 1280), 60), 0.01).blur.kind is Kind.MOTION


def test_a_photo_is_blurred_a_little_if_its_contours_are_wide_too():
    scene = make_scene(480, 640)
    assert str(judged(scene, 0.2)) == "mostly sharp; 20% of it changed"
    assert str(judged(smeared(scene, 3), 0.2)).startswith("blurred a little, or in parts")
    assert str(judged(scene, 0.3)).startswith("blurred a little, or in parts")


@pytest.mark.parametrize(
    ("blur", "changed", "line"),
    [
        (Blur(Kind.SHARP, 0.0), 0.02, "sharp; 2% of it changed"),
        (Blur(Kind.SHARP, 0.0), 0.12, "mostly sharp; 12% of it changed"),
        (Blur(Kind.MOTION, 1.0, 12.3), 0.6, "moved by about 12 pixels; 60% of it changed"),
        (
            Blur(Kind.UNCLEAR, 0.1, extent=2.0),
            0.6,
            "blurred a little, or in parts; 60% of it changed",
        ),
        (Blur(Kind.UNCLEAR, 0.5), 0.6, "blurred, but unclear how; 60% of it changed"),
        (
            Blur(Kind.FOCUS, 1.0),
            0.04,
            "looks out of focus; 4% of it changed: the network undoes motion, not focus blur",
        ),
        (Blur(Kind.FOCUS, 1.0), 0.5, "looks out of focus; 50% of it changed"),
        (
            Blur(Kind.MOTION, 1.0, 52.0, 90),
            0.5,
            "moved by about 52 pixels, up and down; 50% of it changed: blurred by more than the "
            "network undoes, try half the size",
        ),
    ],
)
def test_a_line_says_what_to_do_where_the_network_does_little(blur, changed, line):
    assert str(Verdict(blur, changed)) == line


NO_CHANGE = {
    "--strength is 0": ["--strength", "0"],
    "the mask is black all over": ["--mask", "black.png"],
}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A black mask in the current folder, and a network that must not run."""
    monkeypatch.chdir(tmp_path)
    Image.new("L", (32, 32), 0).save("black.png")
    monkeypatch.setattr(deblur, "_make_deblurrer", lambda *_: fakes.on_cpu(fakes.Broken()))


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("reason", NO_CHANGE)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_where_the_options_let_nothing_change_the_photo_is_copied_and_it_says_so(
    unblur, reason, suffix
):
    photo, copy = Path(f"photo{suffix}"), Path(f"copy{suffix}")
    Image.fromarray(make_pixels(48, 64)).save(photo, quality=80)
    result = unblur(photo, "--json", "-o", copy, *NO_CHANGE[reason])
    assert result.stderr.splitlines()[1:] == [f"{photo}: nothing was changed: {reason}"]
    values = json.loads(result.stdout)
    assert (values["status"], values["changed"], values["device"]) == ("done", 0, None)
    assert copy.read_bytes() == photo.read_bytes()
    assert "already done" in unblur(photo, "-v", "-o", copy, *NO_CHANGE[reason]).stderr


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("reason", NO_CHANGE)
def test_a_photo_that_nothing_changes_is_converted_all_the_same(unblur, reason):
    pixels = make_pixels(48, 64)
    Image.fromarray(pixels).save("photo.png", exif=make_exif(6))
    assert unblur("photo.png", "-o", "new.tif", "--format", "tiff", *NO_CHANGE[reason]).code == 0
    assert unblur("photo.png", "-o", "new.png", "--strip-metadata", *NO_CHANGE[reason]).code == 0
    with Image.open("new.tif") as upright, Image.open("new.png") as stripped:
        assert np.array_equal(upright, np.rot90(pixels, -1))
        assert np.array_equal(stripped, pixels)
        assert 0x010F not in stripped.getexif()


def test_a_mask_that_is_nearly_black_lets_the_network_run(tmp_path, unblur, monkeypatch, moved):
    mask = tmp_path / "mask.png"
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(mask)
    monkeypatch.setattr(deblur, "_make_deblurrer", lambda *_: fakes.on_cpu(fakes.Broken()))
    assert "sizes do not match" in unblur(moved, "--mask", mask).stderr


def test_a_photo_without_measurable_edges_is_not_called_sharp_in_parts():
    for pixels in (make_scene(90, 90), np.full((300, 400, 3), 128, np.uint8)):
        assert str(judged(pixels, 0.9)).startswith("too small, too plain or too noisy to tell")
