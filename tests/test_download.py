from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import PseudoTerminal, Result
from PIL import Image
from published_files import (
    assert_computes_as_the_original,
    checkpoint_members,
    golden_members,
    make_arrays,
    make_zip,
)
from servers import cut, stalled, status, whole

from unblur.cli import main
from unblur.cli.console import Ui
from unblur.errors import WeightsError
from unblur.models.catalog import MODELS, installed_path
from unblur.models.download import _fetch
from unblur.models.published import CONFIGS
from unblur.models.weights import load_network, read_notes, save_network
from unblur.network.srn import SRN
from unblur.storage import temporaries
from unblur.storage.http import Watch
from unblur.storage.temporaries import TEMPORARY_FILES, host

FILE = "srndeblur_models.zip"


@pytest.fixture(scope="module")
def archive():
    """The bytes of an archive of two of the published networks, of their true size."""
    members = checkpoint_members("checkpoints/color", make_arrays("srn-color"))
    return make_zip(members | checkpoint_members("checkpoints/gray", make_arrays("srn-gray")))


@pytest.fixture
def mirror(server, monkeypatch):
    """A server that stands for the authors'."""
    monkeypatch.setenv("UNBLUR_MIRROR", f"{server.url}/weights/")
    return server


@pytest.fixture
def folder():
    """The models folder."""
    return installed_path("any").parent


def download(*arguments):
    result = CliRunner().invoke(main, ["models", "download", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout_bytes, result.stderr)


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_published_network_is_downloaded_converted_and_deblurs_a_photo(
    mirror, archive, folder, unblur, jpeg
):
    mirror.answers = [whole(archive)]
    result = download("srn-color")
    assert result.code == 0, result.stderr
    path = installed_path("srn-color")
    assert result.stdout.decode().strip() == str(path)
    assert [request[0] for request in mirror.requests] == [f"/weights/{FILE}"]

    arrays = make_arrays("srn-color")
    network = load_network(path)
    assert network.config == CONFIGS["srn-color"]
    kernel = network.state_dict()["exits.1.weight"].permute(2, 3, 1, 0).numpy()
    assert np.array_equal(kernel, arrays["g_net/dec2_4/weights"])

    assert unblur(jpeg, model="srn-color").code == 0
    with Image.open(jpeg.with_name("photo-unblurred.jpg")) as image:
        assert image.size == (64, 48)
        image.load()
    assert names(folder) == ["srn-color.safetensors", f"{FILE}.sha256"]


def test_the_checksum_that_was_seen_is_recorded_and_the_trust_told(mirror, archive, folder):
    mirror.answers = [whole(archive)]
    digest = hashlib.sha256(archive).hexdigest()
    result = download("srn-color")
    assert "states no checksum, so it cannot be verified" in result.stderr
    assert digest in result.stderr
    assert (folder / f"{FILE}.sha256").read_text() == f"{digest}  {FILE}\n"
    notes = read_notes(installed_path("srn-color"))
    assert notes["unblur.source-sha256"] == digest
    assert notes["unblur.source"] == f"{mirror.url}/weights/{FILE}"


def test_the_password_of_a_mirror_is_used_and_never_shown(mirror, archive, monkeypatch):
    monkeypatch.setenv("UNBLUR_MIRROR", mirror.url.replace("//", "//me:secret@"))
    mirror.answers = [status(404), whole(archive)]
    for _ in range(2):
        result = download("-v", "srn-color")
        assert "secret" not in result.stderr
        assert mirror.url in result.stderr
    assert mirror.requests[0][1]["Authorization"].startswith("Basic ")
    assert "secret" not in str(read_notes(installed_path("srn-color")))


def test_several_networks_of_one_file_are_fetched_once(mirror, archive, folder):
    mirror.answers = [whole(archive)]
    assert download("srn-color", "srn-gray").code == 0
    assert len(mirror.requests) == 1
    assert load_network(installed_path("srn-gray")).config == CONFIGS["srn-gray"]


def test_a_second_download_must_bring_the_same_file(mirror, archive, folder):
    mirror.answers = [whole(archive)]
    download("srn-color")
    kept = installed_path("srn-color").read_bytes()
    assert "matches the first download" in download("srn-gray").stderr
    changed = make_zip(checkpoint_members("color", make_arrays("srn-color", seed=7)))
    mirror.answers = [whole(changed)]
    installed_path("srn-gray").unlink()
    result = download("srn-gray")
    assert result.code == 4
    assert "sent another file: its sha256 is" in result.stderr
    assert f"delete {folder / FILE}.sha256" in result.stderr
    assert installed_path("srn-color").read_bytes() == kept
    assert names(folder) == ["srn-color.safetensors", f"{FILE}.sha256"]


def test_what_is_here_and_whole_is_not_downloaded_again(mirror, archive):
    mirror.answers = [whole(archive)]
    download("srn-color")
    result = download("srn-color", "srn-compact")
    assert (result.code, len(mirror.requests)) == (0, 1)
    assert "srn-color is here already" in result.stderr
    assert "srn-compact is here already: in the program" in result.stderr


def test_what_is_here_but_damaged_is_repaired(mirror, archive):
    mirror.answers = [whole(archive)]
    download("srn-color")
    path = installed_path("srn-color")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    assert "unblur models download srn-color" in verify(4)
    assert download("srn-color").code == 0
    assert path.stat().st_size == size
    verify(0)


def verify(code):
    result = CliRunner().invoke(main, ["models", "verify", "srn-color"])
    assert result.exit_code == code
    return result.stderr


FAILURES = {
    "a web page": (whole(b"<html>", Content_Type="text/html"), "web page"),
    "a body that is cut off": (cut(b"PK" + bytes(1000), 500), "of 1002 bytes"),
    "a stalled server": (stalled(b"PK" + bytes(1000), 500), "stopped sending"),
    "a missing file": (status(404), "answers 404"),
    "another archive": (whole(make_zip({"a.txt": b"hello"})), "holds no TensorFlow checkpoints"),
    "no archive": (whole(b"hello"), "neither an archive"),
    "half an archive": (whole(make_zip({"a.txt": b"hello"})[:-5]), "incomplete archive"),
}


@pytest.mark.parametrize(("answer", "words"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_told_in_a_sentence_and_leaves_nothing_behind(mirror, folder, answer, words):
    mirror.answers = [answer]
    result = download("srn-color")
    assert result.code == 4
    (line,) = [line for line in result.stderr.splitlines() if "error" in line]
    assert words in line
    assert FILE in line
    assert "unblur models import FILE" in line
    assert ".tmp" not in line
    assert names(folder) == []


def test_a_redirect_loop_leaves_nothing_behind(mirror, folder):
    mirror.answers = [status(302, Location=mirror.url)]
    result = download("srn-color")
    assert (result.code, "in a loop" in result.stderr) == (4, True)
    assert names(folder) == []


def test_an_archive_without_the_network_names_it(mirror, archive, folder):
    mirror.answers = [whole(archive)]
    result = download("srn-color", "srn-lstm")
    assert (result.code, f"{FILE} does not hold srn-lstm" in result.stderr) == (4, True)
    assert names(folder) == []


def test_a_full_disk_is_told_before_the_first_byte(mirror, archive, folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 10**7))
    mirror.answers = [whole(archive)]
    result = download("srn-color")
    assert (result.code, "not enough space in" in result.stderr) == (4, True)
    assert names(folder) == []


def test_a_folder_that_cannot_be_written_to_is_told_with_the_way_out(
    mirror, archive, folder, monkeypatch
):
    open_really = os.open

    def refuse(path, *arguments):
        if str(path).startswith(str(folder)):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return open_really(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    mirror.answers = [whole(archive)]
    result = download("srn-color")
    assert result.code == 4
    assert f"cannot write to {folder}: read-only file system" in result.stderr
    assert "UNBLUR_MODELS_DIR names another folder" in result.stderr
    assert mirror.requests == []


def test_a_record_that_is_damaged_is_named(mirror, folder):
    folder.mkdir()
    (folder / f"{FILE}.sha256").write_text("junk")
    result = download("srn-color")
    assert (result.code, f"{FILE}.sha256: holds no sha256" in result.stderr) == (4, True)


@pytest.mark.parametrize("way", ["option", "environment"])
def test_offline_the_network_is_not_touched_and_the_way_told(mirror, folder, monkeypatch, way):
    if way == "environment":
        monkeypatch.setenv("UNBLUR_OFFLINE", "1")
    result = download("srn-color", *(["--offline"] if way == "option" else []))
    assert (result.code, mirror.requests) == (4, [])
    assert MODELS["srn-color"].url in result.stderr
    assert f"unblur models import {FILE}" in result.stderr
    assert str(installed_path("srn-color")) in result.stderr


def test_the_file_that_was_put_in_its_place_offline_is_used(folder, unblur, jpeg):
    folder.mkdir()
    torch.manual_seed(0)
    save_network(SRN(CONFIGS["srn-color"]), installed_path("srn-color"))
    assert download("srn-color", "--offline").code == 0
    assert unblur(jpeg, model="srn-color").code == 0


def test_an_unknown_name_is_refused_before_anything_is_fetched(mirror):
    result = download("srn-color", "srn-huge")
    assert (result.code, mirror.requests) == (4, [])
    assert "srn-huge is not a model to download" in result.stderr


def start(*names):
    command = [sys.executable, "-m", "unblur", "models", "download", *names]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_leave_one_whole_file(mirror, archive, folder):
    mirror.answers = [whole(archive)]
    processes = [start("srn-color"), start("srn-color")]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert names(folder) == ["srn-color.safetensors", f"{FILE}.sha256"]
    load_network(installed_path("srn-color"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupted_download_leaves_nothing_behind(mirror, archive, folder):
    mirror.answers = [stalled(archive, 1000)]
    process = start("srn-color")
    until = time.monotonic() + 300
    while not (folder.exists() and list(folder.glob(TEMPORARY_FILES))):
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, "interrupted" in errors) == (130, True)
    assert names(folder) == []


def test_what_a_killed_download_left_is_removed_after_an_hour(mirror, archive, folder, pass_hours):
    folder.mkdir()
    old, new = (folder / f".{name}.zip.unblur-{host()}-abcdef.tmp" for name in ("old", "new"))
    old.touch()
    pass_hours(1.1)
    new.touch()
    os.utime(new, (temporaries.time_in(folder),) * 2)
    mirror.answers = [whole(archive)]
    assert download("srn-color").code == 0
    assert list(folder.glob(TEMPORARY_FILES)) == [new]


@pytest.mark.posix
def test_a_terminal_shows_how_much_is_here_how_fast_and_how_long_yet(monkeypatch):
    terminal = PseudoTerminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with os.fdopen(terminal.descriptor, "w", closefd=False) as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with Ui().transfer(FILE) as progress:
            for done in (1_000_000, 5_000_000, 10_000_000):
                progress(done, 54_000_000)
                time.sleep(0.001)
    terminal.close()
    for words in (FILE, "10.0/54.0 MB", "B/s", "0:00:0"):
        assert words in terminal.shown.decode()


@pytest.mark.shared
def test_the_original_checkpoint_goes_the_whole_way(mirror, folder, unblur, jpeg):
    mirror.answers = [whole(make_zip(golden_members()), ETag='"one"')]
    assert download("srn-lstm").code == 0
    assert_computes_as_the_original(load_network(installed_path("srn-lstm")))
    assert unblur(jpeg, model="srn-lstm").code == 0
    assert jpeg.with_name("photo-unblurred.jpg").exists()


@pytest.mark.parametrize(
    ("size", "sha256", "told"),
    [
        (41, None, "sent 4 bytes instead of 41"),
        (None, "0" * 64, "sent another file: its sha256 is 3b9c358f36f0"),
    ],
)
def test_a_file_of_another_size_or_checksum_is_told_with_both(server, size, sha256, told):
    server.answers = [whole(b"file")]
    with pytest.raises(WeightsError, match=f"{server.url}: {told}"):
        _fetch(server.url, io.BytesIO(), size, sha256, Watch())


def test_a_file_too_large_for_weights_is_refused_before_it_is_received(mirror, monkeypatch):
    monkeypatch.setattr("unblur.models.download.LARGEST_DOWNLOAD_BYTES", 3)
    mirror.answers = [whole(b"file")]
    result = download("srn-color")
    assert (result.code, "too much for a weights file" in result.stderr) == (4, True)


def test_the_password_of_a_mirror_is_neither_shown_nor_recorded(
    mirror, archive, folder, monkeypatch
):
    monkeypatch.setenv("UNBLUR_MIRROR", mirror.url.replace("//", "//me:secret@"))
    mirror.answers = [status(503), whole(archive)]
    result = download("srn-color", "-vv")
    assert (result.code, "trying again" in result.stderr) == (0, True)
    assert "secret" not in result.stderr + result.stdout.decode()
    assert "secret" not in str(read_notes(folder / "srn-color.safetensors"))
    assert "Basic" in mirror.requests[1][1]["Authorization"]
