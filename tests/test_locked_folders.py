"""What cannot be seen, such as in a folder without permission, is not taken for missing."""

from __future__ import annotations

import errno
import os
import shutil

import pytest
from click.testing import CliRunner
from conftest import make_jpeg

from unblur.cli import main
from unblur.errors import PhotoError
from unblur.run.history import History
from unblur.storage import drafts, files
from unblur.storage.drafts import FileDraft
from unblur.storage.places import FileState

pytestmark = pytest.mark.posix


@pytest.fixture
def locked(tmp_path, lock):
    """A folder with files that exist, but may not be entered."""
    folder = tmp_path / "locked"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "file.png").write_bytes(make_jpeg())
    lock(folder)
    return folder


@pytest.mark.parametrize("name", ["in", "in/file.png", "nothing"])
@pytest.mark.parametrize(
    "look", [files.exists, files.is_taken, files.is_regular, files.is_folder, FileState.at]
)
def test_no_look_into_a_locked_folder_says_that_something_is_missing(locked, look, name):
    with pytest.raises(PhotoError, match="permission denied"):
        look(locked / name)


@pytest.mark.parametrize("name", ["nothing", "file/below", "circle", "x" * 300])
@pytest.mark.parametrize("look", [files.exists, files.is_regular, files.is_folder, FileState.at])
def test_what_is_certainly_missing_is_missing(tmp_path, look, name):
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    assert not look(tmp_path / name)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["photo.jpg", "--mask", "locked/in/file.png"], 2),
        (["photo.jpg", "--mask", "locked/in"], 2),
        (["photo.jpg", "--report", "locked/in/report.html"], 2),
        (["photo.jpg", "--model", "locked/in/file.png"], 4),
        (["photo.jpg", "--config", "locked/in/file.png"], 2),
        (["--files-from", "locked/in/file.png"], 2),
        (["photo.jpg", "--output", "locked/in/"], 1),
        (["photo.jpg", "--output", "locked/in/file.jpg", "--on-existing", "skip"], 1),
        (["photo.jpg", "other.jpg", "--output", "locked/in"], 1),
        (["locked/in/file.png"], 1),
        (["--recursive", "locked/in"], 1),
        (["restore", "locked/in/file.png"], 1),
        (["score", "locked/in/file.png"], 1),
        (["try", "locked/in/file.png"], 1),
        (["models", "verify", "locked/in/file.png"], 4),
        (["models", "import", "locked/in/file.png"], 4),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else " ".join(value),
)
def test_every_command_names_the_true_reason(tmp_path, locked, monkeypatch, words, code):
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "other.jpg"):
        (tmp_path / name).write_bytes(make_jpeg())
    full = [word.replace("locked", str(locked)) for word in words]  # the lock knows whole paths
    result = CliRunner().invoke(main, full)
    assert (result.exit_code, result.stdout) == (code, "")
    (line,) = [line for line in result.stderr.splitlines() if "permission denied" in line.lower()]
    assert str(locked) in line
    assert "no such" not in result.stderr


def test_a_model_that_cannot_be_seen_is_not_said_to_be_missing(locked, monkeypatch):
    monkeypatch.setenv("UNBLUR_MODELS_DIR", str(locked / "in"))
    listed = CliRunner().invoke(main, ["models", "list"])
    assert listed.exit_code == 0
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("srn-gray\t")]
    assert f"{locked}/in/srn-gray.safetensors: permission denied" in line
    refused = CliRunner().invoke(main, ["photo.jpg", "--model", "srn-gray"])
    assert (refused.exit_code, "permission denied" in refused.stderr) == (4, True)


def test_a_record_in_a_folder_called_locked_is_not_said_to_be_busy(locked, jpeg, unblur):
    result = unblur(jpeg, "--dry-run", "--history", locked / "in" / "history")
    assert (result.code, "busy" in result.stderr) == (0, False)
    assert f"{locked} cannot be written to" in result.stderr


def test_a_link_into_a_locked_folder_ends_no_search(tmp_path, locked, lock, jpeg, unblur):
    library = tmp_path / "library"
    library.mkdir()
    shutil.move(jpeg, library / "z.jpg")
    (library / "a.jpg").symlink_to(locked / "in" / "file.png")
    lock(locked, link=library / "a.jpg")
    for options in ([], ["--in-place"]):
        result = unblur("-r", library, *options)
        assert (result.code, ", 1 failed" in result.stderr) == (1, True)
        assert f"{library}/z.jpg -> " in result.stderr
        assert "a.jpg: permission denied" in result.stderr


def test_a_known_photo_that_cannot_be_seen_any_more_fails_alone(tmp_path, jpeg, unblur, lock):
    folder = tmp_path / "away"
    folder.mkdir()
    (folder / "b.jpg").write_bytes(make_jpeg())
    (tmp_path / "a.jpg").symlink_to(folder / "b.jpg")
    assert unblur("-r", tmp_path).code == 0
    lock(folder, link=tmp_path / "a.jpg")
    result = unblur("-r", tmp_path)
    assert (result.code, "0 done, 1 skipped, 2 failed" in result.stderr) == (1, True)
    assert "a.jpg: permission denied" in result.stderr
    assert "b.jpg: permission denied" in result.stderr


def test_a_disk_that_fails_for_a_moment_lets_no_file_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"the only copy")

    def fail(*unused, **named):
        raise OSError(errno.EIO, "Input/output error")

    with FileDraft(tmp_path / "a.jpg", b"new") as draft, monkeypatch.context() as failing:
        failing.setattr(os, "link", fail)  # as on file systems without hard links
        failing.setattr(drafts, "status_at", fail)
        with pytest.raises(PhotoError, match="input/output error"):
            draft.publish(replaces=False)
    assert (tmp_path / "a.jpg").read_bytes() == b"the only copy"


def test_a_dry_run_does_not_mistake_its_own_words_for_a_lock(tmp_path):
    path = tmp_path / "database locked" / "history"
    path.parent.mkdir()
    path.write_bytes(b"SQLite format 3\0")
    with History(path, writes=False) as history:
        assert "busy" not in (history.problem or "")
