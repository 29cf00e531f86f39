"""Messages and lists have the names that the user typed, relative paths as relative ones."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import make_jpeg

from unblur.cli import main
from unblur.storage.filesystems import follow_links


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with a photo in a folder."""
    monkeypatch.chdir(tmp_path)
    Path("trip").mkdir()
    Path("trip/photo.jpg").write_bytes(make_jpeg())
    return tmp_path


COMMANDS = {
    "beside": (["trip/photo.jpg"], "trip/photo-unblurred.jpg"),
    "with a dot": (["./trip/../trip/photo.jpg"], "trip/../trip/photo-unblurred.jpg"),
    "in place": (["--in-place", "trip/photo.jpg"], "trip/photo.jpg"),
    "dry run": (["--in-place", "-n", "trip/photo.jpg"], "trip/photo.jpg"),
    "folder": (["--in-place", "-r", "trip"], "trip/photo.jpg"),
    "current folder": (["--in-place", "-r", "."], "trip/photo.jpg"),
    "output": (["trip/photo.jpg", "-o", "new/"], "new/photo-unblurred.jpg"),
    "report": (["trip/photo.jpg", "--report", "page.html"], "trip/photo-unblurred.jpg"),
    "compare": (["trip/photo.jpg", "--compare"], "trip/photo-unblurred.jpg"),
}


@pytest.mark.parametrize(("words", "target"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_relative_path_is_told_as_such(here, unblur, words, target):
    result = unblur(*words)
    assert result.code == 0
    assert Path(os.fsdecode(result.stdout.splitlines()[0])) == Path(target)
    assert str(here) not in result.stderr


def test_a_result_in_place_is_told_as_such_in_json(here, unblur):
    values = json.loads(unblur("--in-place", "--json", "trip/photo.jpg").stdout)
    assert (values["input"], values["output"]) == ("trip/photo.jpg", "trip/photo.jpg")


@pytest.mark.posix
def test_of_a_link_the_file_that_is_replaced_is_told_and_the_link_stays(here, unblur):
    Path("links").mkdir()
    Path("links/one.jpg").symlink_to("../trip/two.jpg")
    Path("trip/two.jpg").symlink_to("photo.jpg")
    result = unblur("--in-place", "links/one.jpg")
    assert result.stdout == b"links/../trip/photo.jpg\n"
    assert Path("links/one.jpg").is_symlink()
    assert Path("trip/photo.jpg.orig").read_bytes() == make_jpeg()
    assert "already done" in unblur("--in-place", "-v", "trip/photo.jpg").stderr


@pytest.mark.posix
def test_a_loop_of_links_ends(here):
    Path("a").symlink_to("b")
    Path("b").symlink_to("a")
    assert follow_links(Path("a")).name in "ab"


def test_what_is_put_back_is_told_as_it_was_typed(here, unblur):
    unblur("--in-place", "trip/photo.jpg")
    result = CliRunner().invoke(main, ["restore", "trip/photo.jpg"])
    assert result.stdout == "trip/photo.jpg\n"
    assert result.stderr == "trip/photo.jpg.orig -> trip/photo.jpg\n"


@pytest.mark.posix
@pytest.mark.parametrize(("photo", "folder"), [("trip/photo.jpg", "trip"), ("photo.jpg", None)])
def test_a_folder_that_cannot_be_written_to_is_told_as_it_was_typed(
    here, unblur, monkeypatch, photo, folder
):
    Path("photo.jpg").write_bytes(make_jpeg())
    access = os.access
    is_locked = {str(Path(photo).parent)}
    monkeypatch.setattr(
        os, "access", lambda path, mode: str(path) not in is_locked and access(path, mode)
    )
    for options in ([], ["--in-place"]):
        assert f"{folder or here} cannot be written to" in unblur(photo, *options).stderr


@pytest.fixture
def locked_here(here, monkeypatch):
    """The current folder may not be entered; simulated, since the tests may run as root."""
    stat, access = os.stat, os.access

    def guarded(path, *rest, **named):
        if isinstance(path, (str, os.PathLike)) and not Path(path).is_absolute():
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return stat(path, *rest, **named)

    monkeypatch.setattr(os, "stat", guarded)
    monkeypatch.setattr(Path, "stat", guarded)  # Python 3.10 keeps the old function
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).is_absolute() and access(path, mode)
    )
    return here


@pytest.mark.posix
@pytest.mark.parametrize(
    "words", [["."], ["-r", "."], ["score", "-r", "."], ["restore", "-r", "."]], ids=" ".join
)
def test_a_current_folder_that_cannot_be_entered_is_one_line_of_error(locked_here, words):
    result = CliRunner().invoke(main, words)
    assert result.stderr.splitlines()[-1] == "unblur: error: .: permission denied"
    assert result.exit_code == 1


@pytest.mark.posix
def test_what_cannot_be_examined_is_called_neither_missing_nor_no_folder(locked_here, unblur, jpeg):
    assert "permission denied" in unblur(jpeg, "--mask", "m.png").stderr
    for words in (["-o", "result.jpg"], ["--report", "page.html"]):
        result = unblur(jpeg, *words)
        assert "permission denied" in result.stderr
        assert not jpeg.with_name("photo-unblurred.jpg").exists()


@pytest.mark.posix
@pytest.mark.parametrize("words", [["-o", "trip/new.jpg"], ["--report", "trip/page.html"]])
def test_a_folder_that_can_be_written_to_but_not_entered_is_told_before_the_run(
    here, unblur, jpeg, monkeypatch, words
):
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not (str(path) == "trip" and mode & os.X_OK)
        and access(path, mode),
    )  # fmt: skip
    result = unblur(jpeg, *words)
    assert "trip cannot be written to" in result.stderr
    assert result.code != 0
    assert not jpeg.with_name("photo-unblurred.jpg").exists()
