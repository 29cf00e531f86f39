from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from conftest import PseudoTerminal, encode_image
from PIL import Image, ImageFilter
from scenes import make_scene, smeared, unfocused

from unblur import blur as blur_module
from unblur import score as score_module
from unblur.cli import main

SHARP = make_scene(240, 320)
BLURRED, MORE_BLURRED = smeared(SHARP, 6), smeared(SHARP, 12)


def jpeg_of(pixels):
    return encode_image(Image.fromarray(pixels), "JPEG", quality=95)


@pytest.fixture
def photos(tmp_path):
    """A folder with a sharp photo, a blurred one, and a more blurred one."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    (folder / "sharp.jpg").write_bytes(jpeg_of(SHARP))
    (folder / "blurred.jpg").write_bytes(jpeg_of(BLURRED))
    (folder / "trip" / "more.png").write_bytes(encode_image(Image.fromarray(MORE_BLURRED), "PNG"))
    return folder


def score(*arguments, stdin=b""):
    return CliRunner().invoke(main, ["score", *map(str, arguments)], input=stdin)


def test_the_most_blurred_photo_comes_first(photos):
    result = score("--recursive", photos)
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [path for *_, path in lines] == [
        str(photos / name) for name in ("trip/more.png", "blurred.jpg", "sharp.jpg")
    ]
    scores = [float(value) for value, *_ in lines]
    kinds = [kind.partition(" by")[0] for _, kind, _ in lines]
    assert kinds == ["looks moved", "looks moved", "sharp"]
    assert scores == sorted(scores, reverse=True)
    assert scores[1] > 0.5
    assert scores[2] < 0.3


def test_one_bad_photo_is_one_line_and_exit_code_1(photos):
    (photos / "cut.jpg").write_bytes(jpeg_of(SHARP)[:200])
    result = score(photos / "cut.jpg", photos / "sharp.jpg")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert f"unblur: error: {photos / 'cut.jpg'}: damaged or cut off JPEG" in result.stderr
    assert "Traceback" not in result.stderr


def test_json_tells_of_bad_photos_too(photos):
    result = score("--json", photos / "blurred.jpg", photos / "missing.jpg")
    blurred, missing = map(json.loads, result.stdout.splitlines())
    assert blurred == {
        "input": str(photos / "blurred.jpg"),
        "score": blurred["score"],
        "blur": "motion",
        "blur_length": pytest.approx(6, rel=0.4),
        "blur_angle": pytest.approx(160, abs=15),
        "reason": "",
    }
    assert blurred["score"] > 0.5
    assert (missing["score"], missing["reason"]) == (None, "no such file or directory")


def test_a_folder_needs_recursive(photos):
    result = score(photos)
    assert (result.exit_code, "--recursive" in result.stderr) == (1, True)


def test_photos_below_folders_are_found_as_a_run_finds_them(photos):
    (photos / "sharp-unblurred.jpg").write_bytes(jpeg_of(SHARP))
    (photos / "notes.txt").write_text("no photo")
    assert len(score("-r", photos).stdout.splitlines()) == 3
    assert len(score("-r", photos, "--include", "*.png").stdout.splitlines()) == 1
    assert "a result of an earlier run" in score("-r", photos, "-v").stderr


def test_a_result_that_is_named_is_scored(photos):
    path = photos / "sharp-unblurred.jpg"
    path.write_bytes(jpeg_of(SHARP))
    assert score(path).stdout.endswith(f"\t{path}\n")


def test_a_folder_without_photos_is_exit_code_3(tmp_path):
    result = score("-r", tmp_path)
    assert (result.exit_code, "found no photo" in result.stderr) == (3, True)


def test_no_path_is_exit_code_2():
    assert score().exit_code == 2


def test_a_stream_is_scored(photos):
    data = (photos / "blurred.jpg").read_bytes()
    assert score("-", stdin=data).stdout.endswith("\t-\n")
    assert json.loads(score("-", "--json", stdin=data).stdout)["input"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_any_name_comes_from_a_list_and_goes_to_one(photos):
    path = photos / os.fsdecode(b"new\nline \xff.jpg")
    path.write_bytes(jpeg_of(SHARP))
    result = score("--files-from", "-", "-0", stdin=os.fsencode(path) + b"\0")
    assert result.stdout_bytes == b"0.00\tsharp\t" + os.fsencode(path) + b"\0"


def test_a_photo_of_too_many_pixels_is_refused(photos):
    result = score("--max-pixels", "1000", photos / "sharp.jpg")
    assert (result.exit_code, "more than the limit" in result.stderr) == (1, True)


def test_scoring_needs_no_network(photos):
    program = (
        "import sys\nfrom unblur.cli import main\n"
        f"try: main(['score', {str(photos / 'sharp.jpg')!r}])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "False"


def status_of(result):
    return {
        line["input"].rpartition("/")[2]: (line["status"], line["reason"])
        for line in map(json.loads, result.stdout.splitlines())
    }


def test_only_blurry_leaves_sharp_photos_alone(photos, unblur):
    result = unblur("-r", photos, "--only-blurry", "--json")
    status = status_of(result)
    assert (result.code, status["blurred.jpg"][0], status["more.png"][0]) == (0, "done", "done")
    assert status["sharp.jpg"][0] == "skipped"
    assert status["sharp.jpg"][1].startswith("sharp: its blur score 0.")
    assert status["sharp.jpg"][1].endswith("is below 0.3")
    assert "2 done, 1 skipped, 0 failed" in result.stderr
    assert not (photos / "sharp-unblurred.jpg").exists()


def test_only_blurry_takes_the_scores_that_are_listed(photos, unblur):
    value = score(photos / "blurred.jpg").stdout.split("\t")[0]
    above = f"{float(value) + 0.01:.2f}"
    name = photos / "blurred.jpg"
    words = (name, "--only-blurry", "--json", "--blur-level")
    assert status_of(unblur(*words, above))[name.name][0] == "skipped"
    assert status_of(unblur(*words, value))[name.name][0] == "done"


def test_only_blurry_takes_no_value(photos, unblur):
    assert unblur("--only-blurry", photos / "blurred.jpg").stdout
    assert unblur("--only-blurry", "--", photos / "sharp.jpg").stdout == b""


def test_the_old_spelling_of_a_level_goes_on_working(photos, unblur):
    blurred = photos / "blurred.jpg"
    assert unblur(blurred, "--only-blurry=1000").stdout == b""
    assert unblur(blurred, "--only-blurry=1000", "--blur-level=0").stdout
    assert unblur("--only-blurry=1000", "--", blurred).stdout == b""
    assert b"--only-blurry=" not in unblur("--help").stdout


def test_a_file_may_be_named_as_the_old_spelling(photos, unblur, monkeypatch):
    (photos / "--only-blurry=1").write_bytes((photos / "blurred.jpg").read_bytes())
    monkeypatch.chdir(photos)
    assert unblur("--", "--only-blurry=1").stdout


def test_a_level_alone_is_refused_on_the_command_line_only(photos, unblur, monkeypatch):
    result = unblur(photos / "sharp.jpg", "--blur-level", "1")
    assert (
        result.code,
        "--blur-level has no effect without --only-blurry or --only" in result.stderr,
    ) == (2, True)
    monkeypatch.setenv("UNBLUR_BLUR_LEVEL", "1000")
    assert unblur(photos / "sharp.jpg").stdout
    assert unblur(photos / "blurred.jpg", "--only-blurry").stdout == b""


def test_a_second_run_of_the_blurry_ones_does_nothing(photos, unblur):
    unblur("-r", photos, "--only-blurry")
    assert "0 done, 3 skipped" in unblur("-r", photos, "--only-blurry").stderr
    assert "1 done, 2 skipped" in unblur("-r", photos).stderr


def test_only_blurry_has_two_spellings(photos, unblur):
    assert status_of(unblur("-r", photos, "--only", "blurry", "--json")) == status_of(
        unblur("-r", photos, "--only-blurry", "--json", "--overwrite")
    )


def test_only_motion_leaves_sharp_and_unfocused_photos_alone(photos, unblur):
    soft = Image.fromarray(make_scene()).filter(ImageFilter.GaussianBlur(4))
    (photos / "soft.png").write_bytes(encode_image(soft, "PNG"))
    status = status_of(unblur("-r", photos, "--only", "motion", "--json"))
    assert status["soft.png"] == (
        "skipped",
        "out of focus: its contours are equally wide in all directions",
    )
    assert status["sharp.jpg"][0] == "skipped"
    assert (status["more.png"][0], status["blurred.jpg"][0]) == ("done", "done")


def test_scores_and_runs_use_the_same_words_for_focus_blur(tmp_path, unblur):
    soft = tmp_path / "soft.png"
    soft.write_bytes(encode_image(Image.fromarray(unfocused(make_scene(), 4)), "PNG"))
    assert unblur(soft).stderr.count("soft.png: looks out of focus; 0% of it changed") == 1
    assert b"\tlooks out of focus\t" in CliRunner().invoke(main, ["score", str(soft)]).stdout_bytes


def test_only_motion_leaves_a_soft_background_alone(tmp_path, unblur):
    scene = make_scene(960, 1280)
    photo, subject = unfocused(scene, 12), unfocused(scene, 1.4)
    photo[360:600, 480:800] = subject[360:600, 480:800]
    (tmp_path / "photo.png").write_bytes(encode_image(Image.fromarray(photo), "PNG"))
    status = status_of(unblur("-r", tmp_path, "--only", "motion", "--json"))
    assert status["photo.png"] == ("skipped", "sharp in front of a soft background")


@pytest.mark.parametrize("only", ["motion", "blurry"])
def test_a_photo_is_scored_once(photos, unblur, monkeypatch, only):
    scored, measure = [], score_module.measure_sharpness

    def count(luma):
        scored.append(luma)
        return measure(luma)

    for module in (blur_module, score_module):
        monkeypatch.setattr(module, "measure_sharpness", count)
    assert "changed" in unblur(photos / "blurred.jpg", "--only", only).stderr
    assert len(scored) == 1


def test_only_motion_does_not_leave_standard_output_empty(photos, unblur):
    result = unblur("-", "--only", "motion", stdin=(photos / "sharp.jpg").read_bytes())
    assert (result.code, "--only would write nothing" in result.stderr) == (2, True)


def test_level_0_leaves_no_photo_alone(photos, unblur):
    assert unblur(photos / "sharp.jpg", "--only-blurry=0").stdout


def test_only_blurry_does_not_leave_standard_output_empty(photos, unblur):
    result = unblur("-", "--only-blurry", stdin=(photos / "sharp.jpg").read_bytes())
    assert (result.code, "-o FILE" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("setting", "left_alone"),
    [
        ("only-blurry = true", True),
        ("only-blurry = false", False),
        ("only-blurry = true\nblur-level = 0", False),
        ("blur-level = 1000", False),
    ],
)
def test_only_blurry_can_be_configured(photos, unblur, tmp_path, setting, left_alone):
    config = tmp_path / "unblur.toml"
    config.write_text(setting)
    assert (unblur("--config", config, photos / "sharp.jpg").stdout == b"") == left_alone


@pytest.mark.parametrize(("value", "left_alone"), [("true", True), ("1", True), ("false", False)])
def test_only_blurry_can_be_set_in_the_environment(photos, unblur, monkeypatch, value, left_alone):
    monkeypatch.setenv("UNBLUR_ONLY_BLURRY", value)
    assert (unblur(photos / "sharp.jpg").stdout == b"") == left_alone


@pytest.mark.parametrize(
    ("setting", "left_alone"),
    [
        ("only-blurry = 1000", True),
        ("only-blurry = 0.0", False),
        ('only-blurry = "1000"', True),
    ],
)
def test_settings_may_give_the_level_to_only_blurry(photos, unblur, tmp_path, setting, left_alone):
    config = tmp_path / "unblur.toml"
    config.write_text(setting)
    result = unblur("--config", config, photos / "blurred.jpg")
    assert (result.code, result.stdout == b"") == (0, left_alone)


def test_a_level_follows_the_order_of_command_line_environment_and_file(
    photos, unblur, tmp_path, monkeypatch
):
    config = tmp_path / "unblur.toml"
    config.write_text("only-blurry = true\nblur-level = 0")
    words = ("--config", config, photos / "blurred.jpg")
    assert unblur(*words).stdout
    monkeypatch.setenv("UNBLUR_ONLY_BLURRY", "1000")
    assert unblur(*words, "--strength", "0.5").stdout == b""
    assert unblur(*words, "--strength", "0.5", "--blur-level", "0").stdout


@pytest.mark.parametrize("level", ["-1", "many", "nan", "inf"])
def test_a_level_that_is_none_is_refused(photos, unblur, level, monkeypatch):
    for words in ([f"--only-blurry={level}"], ["--only-blurry", f"--blur-level={level}"]):
        result = unblur(photos / "sharp.jpg", *words)
        assert (result.code, "is not a blur score" in result.stderr) == (2, True)
    monkeypatch.setenv("UNBLUR_ONLY_BLURRY", level)
    assert unblur(photos / "sharp.jpg").code == 2


@pytest.mark.posix
def test_the_progress_bar_tells_no_size_because_none_is_known(photos):
    terminal = PseudoTerminal()
    command = [sys.executable, "-m", "unblur", "score", "-r", str(photos)]
    environment = os.environ | {"TERM": "xterm"}
    subprocess.run(command, stderr=terminal.descriptor, check=True, env=environment)
    terminal.close()
    assert b"photos" in terminal.shown
    assert b"megapixels" not in terminal.shown
