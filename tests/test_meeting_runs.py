"""Two runs meet at one photo, when one has kept the original and not yet replaced the photo."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from unblur.cli import main
from unblur.errors import PhotoError
from unblur.formats import any_format
from unblur.storage import drafts
from unblur.storage.temporaries import is_being_written, temporary_beside

pytestmark = pytest.mark.posix

WITHOUT_LINKS = """\
import errno, os
def no_links(*unused):
    raise OSError(errno.EPERM, "no hard links")
os.link = no_links
"""


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def has_links(request, monkeypatch):
    """Whether the file system has hard links, so that originals need not be copied."""

    def no_links(*unused):
        raise OSError(errno.EPERM, "no hard links")

    if not request.param:
        monkeypatch.setattr(os, "link", no_links)
    return request.param


@pytest.fixture
def another_run(has_links, brightening_weights):
    """Run the tool in another process."""

    def run(*words):
        start = "" if has_links else WITHOUT_LINKS
        code = f"{start}from unblur.cli import main\nmain()"
        command = [sys.executable, "-c", code, *map(str, words)]
        if words[0] != "restore":
            command += ["--model", str(brightening_weights), "--device", "cpu"]
        return subprocess.run(command, capture_output=True, text=True)

    return run


def brightness(path):
    return any_format.decode(path.read_bytes()).pixels.mean()


@pytest.mark.parametrize("step", ["_keep", "_replace"])
@pytest.mark.parametrize(
    "words",
    [["--in-place"], ["--in-place", "--no-backup"], ["restore"], ["restore", "--force"]],
    ids=" ".join,
)
def test_nothing_is_lost_and_nothing_is_deblurred_twice(
    jpeg, deblur, another_run, monkeypatch, words, step
):
    once = jpeg.with_name("once.jpg")
    deblur(jpeg, "-o", once, "--history", once.with_name("another record"))
    original, act, others = jpeg.read_bytes(), getattr(drafts, step), []

    def meet(first, second):
        if step == "_keep":
            act(first, second)
        if not others:
            others.append(another_run(*words[:1], jpeg, *words[1:]))
        if step == "_replace":
            act(first, second)

    monkeypatch.setattr(drafts, step, meet)
    result = deblur(jpeg, "--in-place")
    (other,) = others
    backup = jpeg.with_name("photo.jpg.orig")
    assert result.code == 0
    assert backup.read_bytes() == original
    assert brightness(jpeg) == brightness(once)
    assert "unexpected" not in result.stderr + other.stderr
    if words != ["--in-place", "--no-backup"]:
        assert (other.returncode, other.stdout) == (1, "")
        assert "photo.jpg is being replaced by another run" in other.stderr
    assert "already done" in deblur(jpeg, "--in-place", "-v").stderr
    assert CliRunner().invoke(main, ["restore", str(jpeg)]).exit_code == 0
    assert jpeg.read_bytes() == original


def test_of_two_runs_that_keep_the_original_at_once_the_second_leaves_the_photo(
    tmp_path, has_links, monkeypatch
):
    photo, backup, keep = tmp_path / "a.jpg", tmp_path / "a.jpg.orig", drafts._keep
    photo.write_bytes(b"original")
    runs = []

    def keep_after_another_run(path, to):
        if not runs:
            runs.append(drafts.FileDraft(photo, b"first"))
            keep(path, to)
        keep(path, to)

    monkeypatch.setattr(drafts, "_keep", keep_after_another_run)
    with drafts.FileDraft(photo, b"second") as draft:
        with pytest.raises(PhotoError, match="is being replaced by another run"):
            drafts.replace_with_backup(draft, photo, backup)
        assert backup.read_bytes() == b"original"
        with runs[0]:
            runs[0].publish(replaces=True)
        with pytest.raises(PhotoError, match="appeared meanwhile"):
            drafts.replace_with_backup(draft, photo, backup)
    assert (photo.read_bytes(), backup.read_bytes()) == (b"first", b"original")


def test_a_backup_of_a_killed_run_stands_in_nobodys_way(tmp_path):
    photo, backup = tmp_path / "a.jpg", tmp_path / "a.jpg.orig"
    photo.write_bytes(b"original")
    os.link(photo, backup)
    with temporary_beside(photo) as temporary:
        os.link(temporary.path, temporary.path.with_name("left"))
        name = temporary.path
    name.with_name("left").rename(name)
    assert not is_being_written(photo)
    with drafts.FileDraft(photo, b"new") as draft:
        drafts.replace_with_backup(draft, photo, backup)
    assert (photo.read_bytes(), backup.read_bytes()) == (b"new", b"original")


def test_only_temporary_files_of_the_same_name_count(tmp_path):
    long = "x" * 200
    for name in ("a.jpg", f"{long}.jpg"):
        with temporary_beside(tmp_path / name) as temporary:
            assert is_being_written(tmp_path / name)
            assert not is_being_written(tmp_path / name, but_by=temporary.path)
            assert not is_being_written(tmp_path / "b.jpg")
    assert not is_being_written(tmp_path / "a.jpg")
