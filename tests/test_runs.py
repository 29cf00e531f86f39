from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import fakes
import pytest
from conftest import make_jpeg

from unblur.cli import deblur
from unblur.formats import any_format
from unblur.storage.temporaries import host


@pytest.fixture
def library(tmp_path):
    """A folder with photos and with other files, as real folders have."""
    root = tmp_path / "library"
    for name in ("a.jpg", "trip/b.jpg", "trip/deep/c.JPG", ".trash/d.jpg", "trip/.e.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(make_jpeg())
    (root / "notes.txt").write_text("no photo")
    (root / "lies.jpg").write_text("no photo either")
    (root / "loop").symlink_to(root)
    return root


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


RESULTS = ["a-unblurred.jpg", "trip/b-unblurred.jpg", "trip/deep/c-unblurred.JPG"]


def test_a_library_is_deblurred_beside_its_photos(library, unblur):
    before = names(library)
    result = unblur("-r", library)
    assert result.code == 0
    assert sorted(set(names(library)) - set(before)) == RESULTS
    listed = result.stdout.decode().splitlines()
    assert sorted(listed) == sorted(str(library / name) for name in RESULTS)


@pytest.mark.posix
@pytest.mark.parametrize("options", [[], ["--in-place"]])
def test_a_link_that_leads_in_circles_fails_alone(library, unblur, options):
    (library / "circle.jpg").symlink_to("circle.jpg")
    result = unblur("-r", library, *options)
    assert result.code == 1
    assert "3 done, 0 skipped, 1 failed" in result.stderr
    assert "circle.jpg: too many levels of symbolic links" in result.stderr


@pytest.mark.posix
def test_a_socket_is_no_photo(tmp_path, unblur, monkeypatch):
    monkeypatch.chdir(tmp_path)  # sockets' paths are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
        assert "not a regular file" in unblur("socket.jpg").stderr
        assert "socket.jpg: passed over: not a photo" in unblur("-r", ".", "-v").stderr


def test_what_is_passed_over_is_told_with_its_reason(library, unblur):
    told = unblur("-r", library, "-v").stderr
    for name, reason in [
        (".trash", "hidden"),
        ("trip/.e.jpg", "hidden"),
        ("loop", "a link to a folder"),
        ("notes.txt", "not a photo"),
        ("lies.jpg", "not a photo"),
    ]:
        assert f"{library / name}: passed over: {reason}" in told


@pytest.mark.parametrize("options", [[], ["--in-place"]])
def test_a_folder_that_is_renamed_meanwhile_is_not_made_again(library, unblur, meanwhile, options):
    meanwhile(lambda: (library / "trip").exists() and (library / "trip").rename(library / "new"))
    result = unblur("-r", library / "trip", *options)
    assert (result.code, (library / "trip").exists()) == (1, False)
    assert "0 done, 0 skipped, 2 failed" in result.stderr


def test_a_folder_needs_recursive(library, unblur):
    result = unblur(library)
    assert result.code == 1
    assert "--recursive" in result.stderr


def test_a_folder_that_is_refused_is_a_line_of_json(library, unblur):
    result = unblur(library, "--json")
    assert (result.code, json.loads(result.stdout)["status"]) == (1, "failed")


def test_a_folder_without_photos_is_exit_code_3(tmp_path, unblur):
    result = unblur("-r", tmp_path)
    assert result.code == 3
    assert "found no photo" in result.stderr


def test_a_tree_is_mirrored_in_the_output_folder(library, tmp_path, unblur):
    out = tmp_path / "out"
    assert unblur("-r", library, "-o", f"{out}/").code == 0
    assert names(out) == RESULTS


def test_an_output_folder_inside_the_library_is_not_taken_for_photos(library, unblur):
    out = library / "out"
    unblur("-r", library, "-o", f"{out}/")
    unblur("-r", library, "-o", f"{out}/", "--suffix", "-again")
    assert [name for name in names(out) if "unblurred-again" in name] == []


def test_globs_include_and_exclude(library, tmp_path, unblur):
    out = tmp_path / "out"
    unblur("-r", library, "-o", f"{out}/", "--include", "*.jpg", "--exclude", "trip/**")
    assert names(out) == ["a-unblurred.jpg"]


def test_a_second_run_does_only_what_is_not_done(library, unblur):
    unblur("-r", library)
    (library / "new.jpg").write_bytes(make_jpeg())
    result = unblur("-r", library)
    assert result.stdout.decode().splitlines() == [str(library / "new-unblurred.jpg")]
    assert "1 done, 3 skipped, 0 failed" in result.stderr
    assert result.code == 0


def test_a_changed_photo_is_done_again(jpeg, unblur):
    unblur(jpeg)
    jpeg.write_bytes(make_jpeg(32, 32))
    result = unblur(jpeg, "--json")
    assert json.loads(result.stdout)["width"] == 32


def test_a_result_that_somebody_changed_is_not_replaced(jpeg, unblur):
    unblur(jpeg)
    output = jpeg.with_name("photo-unblurred.jpg")
    output.write_bytes(b"retouched by hand")
    result = unblur(jpeg)
    assert result.code == 1
    assert output.read_bytes() == b"retouched by hand"


def test_a_result_that_was_deleted_is_made_again(jpeg, unblur):
    unblur(jpeg)
    jpeg.with_name("photo-unblurred.jpg").unlink()
    assert unblur(jpeg).stdout


def test_without_its_history_a_run_replaces_nothing(jpeg, unblur, tmp_path):
    unblur(jpeg)
    Path(os.environ["UNBLUR_HISTORY"]).unlink()
    assert "exists" in unblur(jpeg).stderr
    assert unblur(jpeg, "--on-existing", "skip").code == 0


@pytest.mark.posix
def test_in_place_replaces_the_photo_and_keeps_its_mode(jpeg, unblur):
    jpeg.chmod(0o600)
    before, file_before = jpeg.read_bytes(), jpeg.stat().st_ino
    assert unblur(jpeg, "--in-place").code == 0
    assert names(jpeg.parent) == ["photo.jpg", "photo.jpg.orig"]
    assert jpeg.with_name("photo.jpg.orig").read_bytes() == before
    assert jpeg.stat().st_ino != file_before
    assert stat.S_IMODE(jpeg.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "options", [[], ["--overwrite"], ["--strip-metadata"], ["--strength", "0.5"]]
)
def test_in_place_a_second_run_does_not_deblur_twice(jpeg, unblur, options):
    unblur(jpeg, "--in-place")
    once = jpeg.read_bytes()
    result = unblur(jpeg, "--in-place", *options)
    assert (result.code, result.stdout, jpeg.read_bytes()) == (0, b"", once)


def test_the_result_of_another_photo_of_that_name_stays(jpeg, unblur, tmp_path):
    other = tmp_path / "other" / jpeg.name
    other.parent.mkdir()
    other.write_bytes(make_jpeg(40, 32))
    unblur("-o", f"{tmp_path}/done/", jpeg)
    result = tmp_path / "done" / "photo-unblurred.jpg"
    before = result.read_bytes()
    assert unblur("-o", f"{tmp_path}/done/", other).code == 1
    assert result.read_bytes() == before


def test_a_photo_from_the_year_2300_does_not_end_the_run(jpeg, unblur):
    other = jpeg.with_name("q.jpg")
    other.write_bytes(make_jpeg())
    future = 10_413_792_000  # seconds
    os.utime(jpeg, (future, future))
    assert unblur("-r", "--in-place", jpeg.parent).code == 0
    assert names(jpeg.parent) == ["photo.jpg", "photo.jpg.orig", "q.jpg", "q.jpg.orig"]


@pytest.fixture
def mine(jpeg):
    """Put another user's file in the place of the result."""
    path = jpeg.with_name("photo-unblurred.jpg")
    path.write_bytes(b"mine")
    return path


def test_of_overwrite_and_on_existing_the_last_one_wins(jpeg, unblur, mine):
    assert unblur("--overwrite", "--on-existing", "skip", jpeg).code == 0
    assert mine.read_bytes() == b"mine"
    assert unblur("--on-existing=skip", jpeg, "--overwrite", "--on-existing=error").code == 1
    assert mine.read_bytes() == b"mine"
    assert unblur("--on-existing", "skip", "--overwrite", jpeg).code == 0
    assert mine.read_bytes() != b"mine"


@pytest.mark.parametrize("option", ["overwrite = true", 'on-existing = "overwrite"'])
def test_overwriting_can_be_configured(jpeg, unblur, mine, tmp_path, option):
    config = tmp_path / "unblur.toml"
    config.write_text(option)
    assert unblur("--config", config, "--on-existing", "skip", jpeg).code == 0
    assert mine.read_bytes() == b"mine"
    assert unblur("--config", config, jpeg).code == 0
    assert mine.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("variables", "replaced"),
    [
        ({"UNBLUR_OVERWRITE": "1"}, True),
        ({"UNBLUR_ON_EXISTING": "overwrite"}, True),
        ({"UNBLUR_OVERWRITE": "0"}, False),
        ({"UNBLUR_OVERWRITE": "1", "UNBLUR_ON_EXISTING": "skip"}, False),
    ],
)
def test_the_environment_wins_over_the_file_on_what_exists(
    jpeg, unblur, mine, tmp_path, monkeypatch, variables, replaced
):
    config = tmp_path / "unblur.toml"
    config.write_text('on-existing = "skip"')
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert unblur("--config", config, jpeg).code == 0
    assert (mine.read_bytes() != b"mine") == replaced


def test_the_command_line_wins_over_the_environment_on_what_exists(jpeg, unblur, mine, monkeypatch):
    monkeypatch.setenv("UNBLUR_OVERWRITE", "1")
    assert unblur("--on-existing", "skip", jpeg).code == 0
    assert mine.read_bytes() == b"mine"
    monkeypatch.setenv("UNBLUR_ON_EXISTING", "skip")
    monkeypatch.delenv("UNBLUR_OVERWRITE")
    assert unblur("--overwrite", jpeg).code == 0
    assert mine.read_bytes() != b"mine"


@pytest.mark.parametrize("options", [[], ["--no-backup"], ["--overwrite"]])
def test_a_photo_that_is_edited_meanwhile_is_not_replaced(jpeg, unblur, meanwhile, options):
    meanwhile(lambda: jpeg.write_bytes(make_jpeg(32, 32)))
    result = unblur(jpeg, "--in-place", *options)
    assert result.code == 1
    assert f"{jpeg} was changed meanwhile, and stays; run again" in result.stderr
    assert jpeg.read_bytes() == make_jpeg(32, 32)
    assert names(jpeg.parent) == ["photo.jpg"]


@pytest.mark.parametrize("act", [os.unlink, lambda photo: photo.rename(photo.with_name("b.jpg"))])
def test_a_photo_that_is_gone_meanwhile_is_not_made_again(jpeg, unblur, meanwhile, act):
    meanwhile(lambda: act(jpeg))
    result = unblur(jpeg, "--in-place")
    assert (result.code, jpeg.exists()) == (1, False)
    assert "photo.jpg was renamed or removed meanwhile; run again" in result.stderr
    assert not jpeg.with_name("photo.jpg.orig").exists()


@pytest.mark.parametrize(
    "act",
    [
        lambda photo: photo.write_bytes(make_jpeg(64, 96)),
        lambda photo: photo.write_bytes(photo.read_bytes()[:900]),
        lambda photo: (
            photo.with_name("new").write_bytes(make_jpeg(64, 96))
            and photo.with_name("new").replace(photo)
        ),
    ],
    ids=["rewritten", "cut off", "replaced"],
)
def test_a_photo_that_changes_meanwhile_is_done_again_by_the_next_run(jpeg, unblur, meanwhile, act):
    before, acted = jpeg.read_bytes(), []
    meanwhile(lambda: acted or acted.append(act(jpeg)))
    assert unblur(jpeg).code == 0
    result = jpeg.with_name("photo-unblurred.jpg")
    first = result.read_bytes()
    assert any_format.decode(first).pixels.shape == any_format.decode(before).pixels.shape
    again = unblur(jpeg)
    if jpeg.stat().st_size == 900:
        assert (again.code, result.read_bytes()) == (1, first)
        assert "photo.jpg: damaged or cut off" in again.stderr
    else:
        assert again.code == 0
        assert any_format.decode(result.read_bytes()).pixels.shape == (64, 96, 3)


def test_a_result_that_is_edited_meanwhile_is_not_replaced(jpeg, unblur, meanwhile):
    unblur(jpeg)
    result = jpeg.with_name("photo-unblurred.jpg")
    meanwhile(lambda: result.write_bytes(b"retouched by hand"))
    assert unblur(jpeg, "--strength", "0.5").code == 1
    assert result.read_bytes() == b"retouched by hand"
    assert unblur(jpeg, "--strength", "0.5", "--overwrite").code == 0


def test_in_place_through_a_link_changes_the_photo_not_the_link(jpeg, unblur):
    link = jpeg.with_name("link.jpg")
    link.symlink_to(jpeg)
    file_before = jpeg.stat().st_ino
    assert unblur(link, "--in-place").code == 0
    assert link.is_symlink()
    assert jpeg.stat().st_ino != file_before


def test_in_place_tells_of_other_names(jpeg, unblur):
    other = jpeg.with_name("other.jpg")
    os.link(jpeg, other)
    before = other.read_bytes()
    assert "hard links" in unblur(jpeg, "--in-place").stderr
    assert other.read_bytes() == before


def test_an_older_backup_is_not_replaced(jpeg, unblur):
    backup = jpeg.with_name("photo.jpg.orig")
    backup.write_bytes(b"older")
    assert unblur(jpeg, "--in-place").code == 1
    assert backup.read_bytes() == b"older"


def test_times_can_be_preserved(jpeg, unblur):
    os.utime(jpeg, ns=(10**18, 10**18))
    unblur(jpeg, "--preserve-times")
    assert jpeg.with_name("photo-unblurred.jpg").stat().st_mtime_ns == 10**18


@pytest.mark.posix
def test_a_result_is_as_private_as_its_photo(jpeg, unblur):
    jpeg.chmod(0o600)
    unblur(jpeg)
    assert stat.S_IMODE(jpeg.with_name("photo-unblurred.jpg").stat().st_mode) == 0o600


def test_a_dry_run_tells_the_plan_and_writes_nothing(library, unblur):
    before = names(library)
    result = unblur("-r", library, "--dry-run")
    assert result.code == 0
    assert len(result.stdout.decode().splitlines()) == 3
    assert names(library) == before


def test_a_dry_run_finds_what_stands_against_it(library, unblur):
    (library / "a-unblurred.jpg").write_bytes(b"in the way")
    result = unblur("-r", library, "--dry-run")
    assert result.code == 1
    assert "a-unblurred.jpg exists" in result.stderr


def test_every_photo_is_a_line_of_json(library, unblur):
    (library / "cut.jpg").write_bytes(make_jpeg()[:200])
    lines = [json.loads(line) for line in unblur("-r", library, "--json").stdout.splitlines()]
    by_name = {Path(line["input"]).name: line for line in lines}
    assert by_name["a.jpg"]["status"] == "done"
    assert by_name["a.jpg"]["output"] == str(library / "a-unblurred.jpg")
    assert (by_name["a.jpg"]["width"], by_name["a.jpg"]["height"]) == (64, 48)
    assert (by_name["a.jpg"]["device"], by_name["a.jpg"]["tile"] > 0) == ("cpu", True)
    assert by_name["cut.jpg"]["status"] == "failed"
    assert "damaged" in by_name["cut.jpg"]["reason"]


def test_json_tells_the_tile_as_a_number_or_not_at_all(library, unblur):
    (library / "cut.jpg").write_bytes(make_jpeg()[:200])
    planned = unblur("-r", library, "--json", "--dry-run").stdout.splitlines()
    first = unblur("-r", library, "--json").stdout.splitlines()
    second = unblur("-r", library, "--json").stdout.splitlines()
    lines = [json.loads(line) for line in (*planned, *first, *second)]
    assert {line["status"] for line in lines} == {"planned", "done", "failed", "skipped"}
    for line in lines:
        assert line["views"] == 1
        if line["status"] == "done":
            assert (line["device"], type(line["tile"])) == ("cpu", int)
        else:
            assert (line["device"], line["tile"]) == (None, None)


@pytest.mark.parametrize("ending", [b"\n", b"\0"])
def test_paths_come_from_standard_input(library, unblur_process, ending):
    paths = [library / "a.jpg", library / "trip" / "b.jpg"]
    listed = b"".join(os.fsencode(path) + ending for path in paths)
    zero = ["-0"] if ending == b"\0" else []
    result = unblur_process("--files-from", "-", *zero, stdin=listed)
    assert result.code == 0
    assert len(result.stdout.split(ending)) == 3


def test_paths_with_newlines_survive_from_list_to_list(tmp_path, unblur_process):
    path = tmp_path / "new\nline.jpg"
    path.write_bytes(make_jpeg())
    result = unblur_process("--files-from", "-", "-0", stdin=os.fsencode(path) + b"\0")
    assert result.stdout == os.fsencode(tmp_path) + b"/new\nline-unblurred.jpg\0"


def test_fail_fast_stops_before_work_when_the_plan_fails(library, unblur):
    result = unblur(library / "a.jpg", "missing.jpg", "--fail-fast")
    assert result.code == 1
    assert not (library / "a-unblurred.jpg").exists()


def test_fail_fast_stops_at_a_photo_that_fails(tmp_path, unblur, monkeypatch):
    for index in range(20):
        (tmp_path / f"{index:02}.jpg").write_bytes(make_jpeg())
    (tmp_path / "00.jpg").write_bytes(make_jpeg()[:300])
    assert unblur("-r", tmp_path, "--fail-fast").code == 1
    assert len(list(tmp_path.glob("*-unblurred.jpg"))) < 10


def test_options_come_from_a_configuration_file(jpeg, tmp_path, unblur):
    config = tmp_path / "my.toml"
    config.write_text('suffix = "-sharp"\npreserve-times = true\n')
    assert unblur(jpeg, "--config", config).code == 0
    assert (tmp_path / "photo-sharp.jpg").exists()


def test_the_users_configuration_is_found_by_itself(jpeg, tmp_path, unblur, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "unblur").mkdir(parents=True)
    (tmp_path / "config" / "unblur" / "unblur.toml").write_text('suffix = "-mine"\n')
    assert unblur(jpeg).code == 0
    assert (tmp_path / "photo-mine.jpg").exists()


def test_a_configuration_may_say_one_pattern_or_several(library, tmp_path, unblur):
    config = tmp_path / "my.toml"
    for text in ("include = 'a*'", "include = ['a*', 'x*']"):
        config.write_text(text)
        result = unblur("-r", library, "--config", config, "--dry-run")
        assert result.stdout.decode() == f"{library}/a-unblurred.jpg\n"


@pytest.mark.parametrize(
    "text", ["colour = 1", "tile = ", "paths = ['a']", "tile = [1]", "include = [1]", "help = true"]
)
def test_a_wrong_configuration_is_refused_by_name(jpeg, tmp_path, unblur, text):
    config = tmp_path / "my.toml"
    config.write_text(text)
    result = unblur(jpeg, "--config", config)
    assert result.code == 2
    assert "my.toml" in result.stderr


@pytest.mark.parametrize("value", ["0.5", "2"])
def test_a_number_for_a_flag_is_refused_without_a_traceback(jpeg, tmp_path, unblur, value):
    config = tmp_path / "my.toml"
    config.write_text(f"in-place = {value}")
    result = unblur(jpeg, "--config", config)
    assert result.code == 2
    assert f"Invalid value for in-place in {config}: '{value}'" in result.stderr


@pytest.fixture
def slow_run(tmp_path, identity_weights):
    """Start a batch that takes a while in a process of its own."""
    library = tmp_path / "library"
    library.mkdir()
    for index in range(60):
        (library / f"{index:03}.jpg").write_bytes(make_jpeg(200, 200))
    command = [sys.executable, "-m", "unblur", "-r", str(library), "--device", "cpu"]

    def start(stderr=subprocess.PIPE):
        return subprocess.Popen(
            [*command, "--model", str(identity_weights)], stdout=subprocess.PIPE, stderr=stderr
        )

    return library, start


def wait_for_results(process):
    """Return when the first result is listed."""
    assert process.stdout.readline()


@pytest.mark.posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_batch_leaves_whole_photos_and_goes_on_later(slow_run, number, code):
    library, start = slow_run
    process = start()
    wait_for_results(process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in stderr
    results = sorted(library.glob("*-unblurred.jpg"))
    assert 0 < len(results) < 60
    assert all(path.read_bytes().endswith(b"\xff\xd9") for path in results)
    assert list(library.glob(".*")) == []
    process = start()
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0
    assert len(stdout.splitlines()) == 60 - len(results)


@pytest.mark.posix
def test_a_second_interrupt_stops_at_once(slow_run):
    library, start = slow_run
    process = start()
    wait_for_results(process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    whole = [p.read_bytes().endswith(b"\xff\xd9") for p in library.glob("*-unblurred.jpg")]
    assert all(whole)


@pytest.mark.posix
def test_a_second_interrupt_does_not_wait_for_what_the_first_one_ends():
    program = """
import signal, time
from unblur.cli.signals import orderly_signals
with orderly_signals():
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        print("ending", flush=True)
        time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ending\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


@pytest.mark.posix
@pytest.mark.parametrize(("handler", "code"), [(signal.SIG_DFL, 129), (signal.SIG_IGN, 0)])
def test_a_batch_ends_in_order_with_its_session_unless_nohup_keeps_it(slow_run, handler, code):
    library, start = slow_run
    before = signal.signal(signal.SIGHUP, handler)
    process = start()
    signal.signal(signal.SIGHUP, before)
    wait_for_results(process)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=120)
    assert process.returncode == code
    assert (len(list(library.glob("*-unblurred.jpg"))) == 60) == (code == 0)
    assert list(library.glob(".*")) == []


@pytest.mark.posix
def test_a_batch_outlives_the_terminal_that_shows_its_progress(slow_run):
    _, start = slow_run
    controller, terminal = os.openpty()
    process = start(stderr=terminal)
    os.close(terminal)
    while process.stdout not in select.select([process.stdout, controller], [], [])[0]:
        os.read(controller, 65536)  # nothing is done while a terminal is full
    os.close(controller)
    stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert len(stdout.splitlines()) == 60


@pytest.mark.posix
def test_a_killed_batch_loses_nothing(slow_run):
    library, start = slow_run
    originals = {path: path.read_bytes() for path in library.iterdir()}
    for delay in (0.0, 0.02, 0.1, 0.3):
        process = start()
        wait_for_results(process)
        time.sleep(delay)
        process.kill()
        process.communicate()
    (library / f".000-unblurred.jpg.unblur-{host()}-abc123.tmp").write_bytes(b"half a")
    process = start()
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, b"0 failed" in stderr) == (0, True)
    assert all(path.read_bytes() == data for path, data in originals.items())
    results = sorted(library.glob("*-unblurred.jpg"))
    assert len(results) == 60
    assert all(path.read_bytes().endswith(b"\xff\xd9") for path in results)
    assert list(library.glob(".*")) == []


def test_two_runs_over_one_folder_do_not_harm_each_other(slow_run):
    library, start = slow_run
    runs = [start(), start()]
    outputs = [run.communicate(timeout=120) for run in runs]
    results = sorted(library.glob("*-unblurred.jpg"))
    assert len(results) == 60
    assert list(library.glob(".*")) == []
    assert all(b"unexpected" not in stderr for _, stderr in outputs)
    assert sum(len(listed.splitlines()) for listed, _ in outputs) == 60


def test_a_photo_that_fails_in_the_network_is_told_and_the_rest_goes_on(
    jpeg, png, unblur, monkeypatch
):
    class BrokenOnce(fakes.Identity):
        calls = 0

        def run_scale(self, blurred, previous, state, buffers):
            BrokenOnce.calls += 1
            if BrokenOnce.calls == 1:
                raise RuntimeError("sizes do not match")
            return blurred, None

    monkeypatch.setattr(deblur, "_make_deblurrer", lambda *_: fakes.on_cpu(BrokenOnce()))
    result = unblur(jpeg, png)
    assert result.code == 1
    assert "1 done, 0 skipped, 1 failed" in result.stderr


@pytest.mark.parametrize(
    "change",
    [["--quality", "50"], ["--strip-metadata"], ["--keep-thumbnail"], ["--format", "jpeg"]],
)
def test_a_run_with_options_that_change_results_makes_them_anew(jpeg, unblur, change):
    assert unblur(jpeg).stdout
    assert unblur(jpeg, *change).stdout  # which lists what was made
    assert not unblur(jpeg, *change).stdout


def test_a_folder_of_two_formats_becomes_one_of_one(jpeg, png, tmp_path, unblur):
    png.rename(tmp_path / "other.png")
    assert unblur("-r", tmp_path, "-o", f"{tmp_path}/out/", "--format", "webp").code == 0
    assert names(tmp_path / "out") == ["other-unblurred.webp", "photo-unblurred.webp"]
