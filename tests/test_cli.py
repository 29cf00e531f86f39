from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fakes
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import PseudoTerminal, encode_image, make_exif, make_jpeg
from PIL import Image

from unblur import __version__
from unblur.cli import deblur, main
from unblur.cli.bars import short_name


@pytest.fixture
def use_network(monkeypatch):
    """Make the tool use a fake network."""

    def use(network):
        monkeypatch.setattr(deblur, "_make_deblurrer", lambda *_: fakes.on_cpu(network))

    return use


def test_a_photo_becomes_a_sharper_one_beside_it(jpeg, unblur):
    original = jpeg.read_bytes()
    result = unblur(jpeg)
    output = jpeg.with_name("photo-unblurred.jpg")
    assert result.code == 0
    assert str(output) in result.stderr
    assert jpeg.read_bytes() == original
    with Image.open(jpeg) as before, Image.open(output) as after:
        assert after.size == before.size
        assert after.info["exif"] == make_exif()
        assert after.info["icc_profile"] == before.info["icc_profile"]


def test_a_png_keeps_every_pixel_of_the_identity(png, unblur):
    assert unblur(png).code == 0
    before, after = (Image.open(p) for p in (png, png.with_name("photo-unblurred.png")))
    assert np.array_equal(before, after)


def test_a_stream_goes_through_a_pipe(jpeg, unblur_process):
    result = unblur_process("-", stdin=jpeg.read_bytes())
    unblur_process(jpeg)
    assert result.code == 0
    assert result.stdout == jpeg.with_name("photo-unblurred.jpg").read_bytes()


@pytest.fixture
def unblur_in_shell(identity_weights, monkeypatch):
    """Run the tool as a shell does that redirects its streams."""
    monkeypatch.setenv("UNBLUR_MODEL", str(identity_weights))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # which few users set

    def run(arguments, redirections):
        command = f"{sys.executable} -m unblur {arguments} {redirections}"
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True)

    return run


@pytest.mark.posix
@pytest.mark.parametrize(
    ("arguments", "redirections", "code", "words"),
    [
        ("photo.jpg", ">&-", 0, "photo.jpg -> photo-unblurred.jpg"),
        ("photo.jpg", "2>&-", 0, ""),
        ("photo.jpg", "<&- >&- 2>&-", 0, ""),
        ("missing.jpg", "<&- >&- 2>&-", 1, ""),
        ("photo.jpg -o -", ">&-", 2, "standard output is closed"),
        ("- -o new.jpg", "<&-", 1, "standard input: cannot be read: bad file descriptor"),
        ("models list", ">&-", 0, ""),
    ],
)
def test_streams_that_the_caller_closed_are_no_trap(
    jpeg, monkeypatch, unblur_in_shell, arguments, redirections, code, words
):
    monkeypatch.chdir(jpeg.parent)
    result = unblur_in_shell(arguments, redirections)
    assert result.returncode == code
    assert words in result.stderr
    assert "Error" not in result.stderr
    assert jpeg.with_name("photo-unblurred.jpg").exists() == (arguments == "photo.jpg")


def test_the_strictest_python_has_nothing_to_say_about_a_command():
    strict = [sys.executable, "-X", "dev", "-W", "error", "-m", "unblur"]
    result = subprocess.run([*strict, "models", "path"], capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device is always full here")
@pytest.mark.parametrize(
    "arguments",
    [
        "photo.jpg",
        "photo.jpg --json",
        "models list",
        "--help",
        "models --help",
        "models list --help",
        "--version",
        "--completion bash",
    ],
)
def test_a_full_disk_under_standard_output_is_one_line_of_error(
    jpeg, monkeypatch, unblur_in_shell, arguments
):
    monkeypatch.chdir(jpeg.parent)
    result = unblur_in_shell(arguments, ">/dev/full")
    assert result.returncode == 1
    assert result.stderr.endswith("cannot write to standard output: no space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device is always full here")
def test_a_full_disk_under_the_log_stops_no_photo(jpeg, monkeypatch, unblur_in_shell):
    monkeypatch.chdir(jpeg.parent)
    shutil.copy(jpeg, "second.jpg")
    result = unblur_in_shell("photo.jpg missing.jpg second.jpg", "2>/dev/full")
    assert result.returncode == 1  # of the missing one
    assert jpeg.with_name("second-unblurred.jpg").exists()


@pytest.mark.posix
def test_a_folder_that_was_removed_under_the_program_is_one_line_of_error(
    jpeg, monkeypatch, unblur
):
    (jpeg.parent / "gone").mkdir()
    monkeypatch.chdir(jpeg.parent / "gone")
    (jpeg.parent / "gone").rmdir()
    result = unblur(jpeg)
    assert result.code == 2
    assert result.stderr == (
        "unblur: error: the current folder no longer exists: change to another one\n"
    )


@pytest.mark.posix
def test_a_photo_goes_whole_through_pipes_that_do_not_wait(tmp_path, identity_weights):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    photo = encode_image(Image.fromarray(noise), "PNG")  # more than a pipe holds
    (photo_out, photo_in), (result_out, result_in) = os.pipe(), os.pipe()
    for descriptor in (photo_out, result_in):
        os.set_blocking(descriptor, False)
    command = [sys.executable, "-m", "unblur", "-", "--model", identity_weights]
    with subprocess.Popen(command, stdin=photo_out, stdout=result_in):
        os.close(photo_out)
        os.close(result_in)
        time.sleep(0.1)
        with os.fdopen(photo_in, "wb") as file:
            file.write(photo)
        with os.fdopen(result_out, "rb") as file:
            time.sleep(0.1)
            result = file.read()
    with Image.open(io.BytesIO(result)) as image:
        assert np.array_equal(image, noise)


@pytest.mark.posix
def test_a_list_that_nobody_reads_ends_silently(unblur_in_shell):
    result = unblur_in_shell("models list", "| true")
    assert result.stderr == ""


@pytest.mark.posix
def test_a_photo_that_nobody_reads_is_one_line_of_error(jpeg, unblur_in_shell):
    result = unblur_in_shell(f"- <{jpeg} -o -", "| true; exit $?")
    assert result.stderr == (
        "unblur: error: standard input: cannot write to standard output: broken pipe\n"
    )


def test_a_stray_print_does_not_get_into_the_photo(jpeg, identity_weights):
    program = (
        "import fakes; from unblur.cli import deblur, main\n"
        "deblur._make_deblurrer = lambda *_: fakes.on_cpu(fakes.Printing())\n"
        "main(['-'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        input=jpeg.read_bytes(),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    assert run.returncode == 0
    assert run.stdout.startswith(b"\xff\xd8")
    assert b"a stray print" not in run.stdout
    assert b"a stray print" in run.stderr


def test_one_bad_photo_does_not_stop_the_rest(jpeg, png, tmp_path, unblur):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(jpeg.read_bytes()[:200])
    result = unblur(jpeg, bad, "missing.jpg", png)
    assert result.code == 1
    assert "bad.jpg: damaged or cut off JPEG" in result.stderr
    assert "missing.jpg: no such file" in result.stderr
    assert "2 done, 0 skipped, 2 failed" in result.stderr
    assert png.with_name("photo-unblurred.png").exists()


def test_a_bug_with_one_photo_is_one_line_without_a_traceback(jpeg, unblur, use_network):
    use_network(fakes.Broken())
    result = unblur(jpeg)
    assert result.code == 1
    assert "sizes do not match" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in unblur(jpeg, "-vv").stderr


def test_quiet_says_only_what_went_wrong(jpeg, unblur):
    assert unblur(jpeg, "-q").stderr == ""
    assert "no such file" in unblur("missing.jpg", "-q").stderr


def test_an_existing_result_stays_unless_it_may_be_replaced(jpeg, unblur):
    output = jpeg.with_name("photo-unblurred.jpg")
    output.write_bytes(b"earlier")
    assert unblur(jpeg).code == 1
    assert output.read_bytes() == b"earlier"
    assert unblur(jpeg, "--overwrite").code == 0
    assert output.read_bytes().startswith(b"\xff\xd8")


def test_a_photo_is_not_written_under_another_formats_ending(jpeg, tmp_path, unblur):
    result = unblur(jpeg, "-o", tmp_path / "out.png")
    assert result.code == 1
    assert "JPEG" in result.stderr
    assert not (tmp_path / "out.png").exists()


def test_another_format_gets_its_own_ending(jpeg, tmp_path, unblur):
    assert unblur(jpeg, "--format", "png").code == 0
    assert unblur(jpeg, "--format", "webp", "-o", tmp_path / "out.webp").code == 0
    with Image.open(jpeg.with_name("photo-unblurred.png")) as png:
        assert (png.format, png.info["exif"]) == ("PNG", make_exif(1))
    with Image.open(tmp_path / "out.webp") as webp:
        assert webp.format == "WEBP"


def test_a_result_whose_ending_is_not_its_formats_is_refused(jpeg, tmp_path, unblur):
    result = unblur(jpeg, "--format", "png", "-o", tmp_path / "out.webp")
    assert result.code == 1
    assert "becomes PNG, but out.webp does not end in .png" in result.stderr


def test_a_stream_can_change_its_format(jpeg, unblur_process):
    result = unblur_process("-", "--format", "tiff", stdin=jpeg.read_bytes())
    assert result.stdout[:4] in (b"II*\0", b"MM\0*")


def test_a_photo_of_too_many_pixels_is_refused_by_its_header(tmp_path, unblur):
    photo = make_jpeg()
    size = photo.index(b"\xff\xc0") + 5
    path = tmp_path / "huge.jpg"
    path.write_bytes(photo[:size] + b"\xff\x00\xff\x00" + photo[size + 4 :])
    result = unblur(path)
    assert result.code == 1
    assert (
        "65280x65280 is 4,261,478,400 pixels, more than the limit of 500,000,000" in result.stderr
    )
    path.write_bytes(photo)
    assert unblur(path, "--max-pixels", 48 * 64 - 1).code == 1
    assert unblur(path, "--max-pixels", 48 * 64).code == 0


def test_a_stripped_photo_tells_nothing_and_is_as_small_as_asked_for(jpeg, unblur):
    output = jpeg.with_name("photo-unblurred.jpg")
    unblur(jpeg, "--strip-metadata", "--quality", "20")
    data = output.read_bytes()
    assert b"hne" not in data
    assert b"a colour profile" in data
    with Image.open(output) as image:
        assert dict(image.getexif()) == {0x0112: 6}


def test_names_cannot_write_to_the_terminal(tmp_path, unblur):
    path = tmp_path / "a\x1b[31m\n[red].jpg"
    path.write_bytes(make_jpeg())
    result = unblur(path)
    assert result.code == 0
    assert "\x1b" not in result.stderr
    assert "a\\x1b[31m\\n[red].jpg" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_a_name_that_is_no_text_works(tmp_path, unblur_process):
    path = tmp_path / os.fsdecode(b"\xff\xfe.jpg")
    path.write_bytes(make_jpeg())
    assert unblur_process(path).code == 0
    assert (tmp_path / os.fsdecode(b"\xff\xfe-unblurred.jpg")).exists()


def test_the_result_is_not_larger_than_a_recoded_photo_must_be(jpeg, unblur):
    unblur(jpeg)
    ratio = jpeg.with_name("photo-unblurred.jpg").stat().st_size / jpeg.stat().st_size
    assert 0.8 < ratio < 1.2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["photo.jpg", "--tile", "100"], 2, "at least"),
        (["photo.jpg", "--max-memory", "0M"], 2, "more than 0"),
        (["photo.jpg", "--tile", "many"], 2, "neither auto"),
        ([], 2, "name at least one photo"),
        (["photo.jpg", "other.jpg", "-o", "one.jpg"], 2, "name a folder"),
        (["photo.jpg", "--in-place", "--format", "png"], 2, "contradict"),
        (["photo.jpg", "--quality", "101"], 2, "1<=x<=100"),
        (["photo.jpg", "--max-pixels", "0"], 2, "x>=1"),
        (["photo.jpg", "-o", "-", "--ray", "auto"], 2, "--ray needs files"),
        (["photo.jpg", "--workers", "0"], 2, "x>=1"),
        (["photo.jpg", "--workers", "2"], 2, "--workers has no effect without --ray"),
        (["photo.jpg", "--views", "9"], 2, "1<=x<=8"),
        (["photo.jpg", "--strength", "2"], 2, "0<=x<=1"),
        (["photo.jpg", "--suffix", "a/b"], 2, "cannot be part of a file name"),
        (["photo.jpg", "--compare", "--suffix", "-compared"], 2, "choose another --suffix"),
        (["photo.jpg", "--in-place", "-o", "x.jpg"], 2, "contradict"),
        (["photo.jpg", "--json", "-o", "-"], 2, "cannot share standard output"),
        (["photo.jpg", "--report", "report.txt"], 2, "ends in .html"),
        (["photo.jpg", "-o", "photo.png"], 1, "does not end in .jpg"),
        (["photo.jpg", "-o", "other.jpg", "--format", "png"], 1, "does not end in .png"),
        (["photo.jpg", "--model", "srn-gray"], 4, "is not on this machine yet"),
    ],
)
def test_what_the_options_alone_make_impossible_is_told_before_the_network_is_loaded(
    jpeg, monkeypatch, unblur, arguments, code, words
):
    for loader in ("unblur.models.loading.load_deblurrer", "unblur.models.weights.load_network"):
        monkeypatch.setattr(loader, pytest.fail)
    monkeypatch.chdir(jpeg.parent)
    result = unblur(*arguments, **({"model": "srn-gray"} if "--model" in arguments else {}))
    assert (result.code, words in result.stderr) == (code, True)


def test_a_tile_that_is_too_small_is_told_before_any_heavy_library_is_imported(jpeg):
    command = "import sys; sys.argv[1:] = ['--tile', '5', 'photo.jpg']; sys.modules['torch'] = None"
    command += "; from unblur.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=jpeg.parent, capture_output=True, text=True
    )
    assert done.returncode == 2
    told = "Error: Invalid value for '--tile': a tile needs at least 128 pixels, not 5\n"
    assert done.stderr.endswith(told)


def test_a_cluster_without_its_library_is_told_how_to_install_it(jpeg, unblur, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = unblur(jpeg, "--ray", "auto")
    assert result.code == 2
    told = "runs on a cluster need the extra cluster: pip install 'unblur[cluster]'"
    assert result.stderr == f"unblur: error: {told}\n"


def test_missing_weights_are_exit_code_4(jpeg, unblur):
    result = unblur(jpeg, model="nowhere.safetensors")
    assert result.code == 4
    assert "nowhere.safetensors" in result.stderr


def test_a_missing_device_is_exit_code_5(jpeg, unblur, monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    from click.testing import CliRunner

    result = CliRunner().invoke(main, [str(jpeg), "--device", "mps"])
    assert result.exit_code == 5
    assert "mps is not available" in result.stderr


def test_an_option_can_come_from_the_environment(jpeg, unblur, monkeypatch, tmp_path):
    monkeypatch.setenv("UNBLUR_OUTPUT", f"{tmp_path}/elsewhere/")
    assert unblur(jpeg).code == 0
    assert (tmp_path / "elsewhere" / "photo-unblurred.jpg").exists()


def test_the_version_is_told(unblur):
    assert unblur("--version").stdout.decode().strip().endswith(__version__)


def test_a_photo_is_not_poured_into_a_terminal(jpeg, unblur, monkeypatch):
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)
    result = unblur("-", stdin=jpeg.read_bytes())
    assert result.code == 2
    assert "terminal" in result.stderr


@pytest.mark.posix
def test_an_interrupted_run_leaves_no_litter_and_says_130(tmp_path, identity_weights):
    small, large = tmp_path / "small.jpg", tmp_path / "large.jpg"
    small.write_bytes(make_jpeg())
    large.write_bytes(make_jpeg(6000, 4000))
    command = [sys.executable, "-m", "unblur", small, large, "--model", identity_weights]
    process = subprocess.Popen(
        [*command, "--tile", "192", "-j", "1", "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline().strip() == os.fsencode(tmp_path / "small-unblurred.jpg")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.decode().strip() == "unblur: error: interrupted"
    assert {p.name for p in tmp_path.iterdir()} == {small.name, large.name, "small-unblurred.jpg"}


def shown_in_terminal(photo, weights, **environment):
    terminal = PseudoTerminal()
    command = [sys.executable, "-m", "unblur", str(photo), "--model", str(weights)]
    environment = os.environ | {"TERM": "xterm"} | environment
    subprocess.run(command, stderr=terminal.descriptor, check=True, env=environment)
    terminal.close()
    return terminal.shown.decode()


@pytest.mark.posix
def test_a_terminal_sees_a_progress_bar(jpeg, identity_weights):
    shown = shown_in_terminal(jpeg, identity_weights)
    assert "photos" in shown
    assert "megapixels/s" in shown


@pytest.mark.posix
def test_in_a_narrow_terminal_only_the_bar_becomes_shorter(jpeg, png, identity_weights):
    terminal = PseudoTerminal()
    paths = [str(jpeg), str(png)]
    command = [sys.executable, "-m", "unblur", *paths, "--model", str(identity_weights)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "60"}
    subprocess.run(command, stderr=terminal.descriptor, check=True, env=environment)
    terminal.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.shown.decode())
    rows = [row for row in re.split("[\r\n]+", shown) if "━" in row]
    assert not [row for row in rows if "…" in row or len(row) > 60]
    assert [row for row in rows if row.startswith("photos") and "/2" in row]
    assert [row for row in rows if row.startswith((jpeg.name, png.name)) and "%" in row]


@pytest.mark.posix
@pytest.mark.parametrize("name", ["a" * 100, "写" * 60], ids=["narrow letters", "wide letters"])
def test_a_long_name_leaves_room_for_the_progress_of_its_photo(jpeg, identity_weights, name):
    photo = jpeg.rename(jpeg.with_name(f"{name}.jpg"))
    shown = shown_in_terminal(photo, identity_weights, COLUMNS="80")
    assert name[:5] in shown
    assert "100%" in shown
    assert "megapixels" in shown


@pytest.mark.posix
def test_a_terminal_that_cannot_draw_over_lines_gets_each_line_once(jpeg, identity_weights):
    lines = shown_in_terminal(jpeg, identity_weights, TERM="dumb").splitlines()
    assert [line.partition(" ")[0] for line in lines[-2:]] == [str(jpeg), f"{jpeg}:"]
    assert "" not in lines
    assert "photos" not in [line.partition(" ")[0] for line in lines]


@pytest.mark.parametrize(
    ("name", "room", "shown"),
    [
        ("a.jpg", 5, "a.jpg"),
        ("abcdefghijkl.jpg", 14, "abcdef...l.jpg"),
        ("写写写写写写写写.jpg", 12, "写写 ....jpg"),
        ("abcdef", 4, "a..."),
        ("👩\u200d👩\u200d👧.jpg", 10, "👩👩👧.jpg"),
        ("abcdef", 1, "."),
        ("abcdef", 0, ""),
    ],
)
def test_names_are_shortened_in_their_middle(name, room, shown):
    assert short_name(name, room) == shown


def test_the_first_word_may_be_a_command(unblur):
    result = CliRunner().invoke(main, ["models", "list"])
    assert result.exit_code == 0
    assert result.output.startswith("srn-compact\t")


def test_a_photo_may_have_a_commands_name_or_begin_with_a_dash(tmp_path, monkeypatch, unblur):
    monkeypatch.chdir(tmp_path)
    for name in ("models", "-photo.jpg"):
        Path(name).write_bytes(make_jpeg())
    assert unblur("--output", "a.jpg", "./models").code == 0
    for name in ("models", "-photo.jpg"):
        result = CliRunner().invoke(main, ["--dry-run", "--", name])
        assert result.stderr.startswith(f"{name} -> ")


def test_a_commands_help_names_the_command_alone():
    result = CliRunner().invoke(main, ["models", "--help"], prog_name="unblur")
    assert result.output.startswith("Usage: unblur models [OPTIONS] COMMAND")


@pytest.mark.parametrize("option", ["--strength=0.5", "--views=2"])
def test_what_changes_results_reaches_the_photo_and_counts_as_a_setting(unblur, png, option):
    first, again = unblur(png, option), unblur(png, option)
    assert (first.code, again.code) == (0, 0)
    assert "-> " in first.stderr
    assert "-> " not in again.stderr
    assert unblur(png, "--overwrite").stderr.count("-> ") == 1


@pytest.mark.parametrize("size", ["2", "G", "2 gigabytes", "-1G"])
def test_a_size_that_is_none_is_refused(png, unblur, size):
    result = unblur(png, "--max-memory", size)
    assert result.code == 2
    assert "not a size such as 800M or 2G" in result.stderr


def test_too_little_memory_fails_the_photo_in_one_line(png, unblur):
    result = unblur(png, "--max-memory", "100M", "--threads", "1")
    assert result.code == 1
    assert "photo.png: with tiles of 128 pixels it takes about" in result.stderr
    assert unblur(png, "--max-memory", "1G").code == 0


def test_what_pictures_take_counts_as_memory(png, unblur):
    assert unblur(png, "--max-memory", "430M").code == 0
    result = unblur(png, "--max-memory", "430M", "--overwrite", "--compare")
    assert result.code == 1
    assert "more than --max-memory allows" in result.stderr


def test_bounded_memory_does_one_photo_at_a_time(png, unblur):
    result = unblur(png, "--max-memory", "1G", "--jobs", "2")
    assert result.code == 2
    assert "one photo at a time" in result.stderr


def test_commands_print_where_standard_output_takes_only_text(jpeg):
    """As in Jupyter's notebooks, where ``%run -m unblur`` runs the program."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        with pytest.raises(SystemExit) as ended:
            main(["score", str(jpeg)])
        assert ended.value.code == 0
    assert output.getvalue().endswith(f"\t{jpeg}\n")
