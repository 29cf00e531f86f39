"""A dry run leaves the file system byte for byte as it was, whatever the options are."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from conftest import make_jpeg, make_pixels, open_database
from PIL import Image

from unblur.cli import main

VALUES = {
    "history": "new.sqlite3",
    "output": "new folder/",
    "files_from": "list.txt",
    "include": "*.jpg",
    "exclude": "*.png",
    "only": "motion",
    "blur_level": "1",
    "strength": "0.5",
    "compare": "strengths",
    "mask": "mask.png",
    "suffix": "-new",
    "on_existing": "overwrite",
    "max_pixels": "5000",
    "format": "png",
    "quality": "80",
    "report": "report.html",
    "model": "srn-compact",
    "device": "cpu",
    "engine": "torch",
    "tile": "256",
    "views": "2",
    "threads": "1",
    "max_memory": "2G",
    "jobs": "2",
    "ray": "local",
    "workers": "2",
}
"""A value for each option that takes one."""
NEEDED = {
    "only_blurry": ["--blur-level", "1"],
    "blur_level": ["--only-blurry"],
    "workers": ["--ray", "local"],
    "backup": ["--in-place"],
    "include": ["--recursive"],
    "exclude": ["--recursive"],
}
"""Options without which an option is refused."""


def choices(command):
    """The words for each option of a command, by its name."""
    words = {}
    for option in command.params:
        if not isinstance(option, click.Option) or option.is_eager or option.name == "dry_run":
            continue
        name = max(option.opts, key=len)
        takes_value = not (option.is_flag or option.count)
        chosen = [name, VALUES[option.name]] if takes_value else [name]
        words[option.name] = [*chosen, *NEEDED.get(option.name, [])]
    return words


@pytest.fixture
def world(tmp_path, monkeypatch, unblur):
    """A folder with all that a run may write to: photos, homes, caches, results, leftovers."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "photo.jpg").write_bytes(make_jpeg())
    (here / "other.png").write_bytes(b"no photo")
    (here / "photo.xmp").write_text("a sidecar")
    (here / ".photo-unblurred.jpg.unblur-abc123.tmp").write_bytes(b"left by a killed run")
    (here / "list.txt").write_text("photo.jpg\n")
    Image.fromarray(make_pixels(48, 64, 1)[..., 0]).save(here / "mask.png")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("UNBLUR_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("UNBLUR_HISTORY", str(tmp_path / "data" / "history.sqlite3"))
    for name in ("TMPDIR", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "TMPDIR"))
    monkeypatch.chdir(here)
    return tmp_path


def state(folder):
    """Content, permissions and time of everything below a folder."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = data, status.st_mode, status.st_mtime_ns
    return found


@pytest.mark.parametrize("words", choices(main).values(), ids=choices(main).keys())
def test_with_each_option_a_dry_run_writes_nothing(world, words):
    before = state(world)
    result = CliRunner().invoke(main, ["--dry-run", *words, "photo.jpg"])
    assert (result.exit_code, state(world)) == (0, before), result.stderr


def restored():
    return choices(main.commands["restore"])


@pytest.mark.parametrize("words", restored().values(), ids=restored().keys())
def test_with_each_option_a_dry_run_of_restore_writes_nothing(world, unblur, words):
    unblur("--in-place", "photo.jpg")
    before = state(world)
    result = CliRunner().invoke(main, ["restore", "--dry-run", "--force", *words, "photo.jpg"])
    assert (result.exit_code, state(world)) == (0, before), result.stderr


def test_a_dry_run_learns_no_new_place_of_a_result(world, unblur, brightening_weights):
    unblur("photo.jpg", model=brightening_weights)
    Path("photo-unblurred.jpg").rename("moved.jpg")
    before = state(world)
    result = unblur("--dry-run", "moved.jpg")
    assert "is itself a result of unblur" in result.stderr
    assert state(world) == before


@pytest.mark.parametrize("data", [b"", b"x", b"a text\n", b"no database" * 100])
def test_no_run_makes_a_database_of_another_file(world, unblur, data):
    notes = world / "here" / "notes.txt"
    notes.write_bytes(data)
    before = state(world)
    result = unblur("--dry-run", "--history", notes, "photo.jpg")
    assert (result.code, state(world)) == (0, before)
    unblur("--history", notes, "photo.jpg")
    assert (notes.read_bytes() == data) == bool(data)  # an empty file may become the record


def test_a_dry_run_plans_what_the_run_will_do_with_its_record(world, unblur):
    history = world / "a b?c#d%20" / "é" / "history.sqlite3"
    history.parent.mkdir(parents=True)
    assert "(planned)" in unblur("-n", "--history", history, "photo.jpg").stderr
    unblur("--history", history, "photo.jpg")
    assert "already done" in unblur("-n", "--history", history, "photo.jpg").stderr


def test_a_dry_run_says_that_the_record_cannot_be_written(world, unblur):
    history = world / "here" / "photo.jpg" / "history.sqlite3"
    options = ["--in-place", "--history", history, "photo.jpg"]
    for result in (unblur("--dry-run", *options), unblur(*options)):
        assert result.code == 2
        assert "--in-place needs the record of results" in result.stderr


@pytest.mark.posix
def test_a_dry_run_leaves_the_record_of_a_killed_run_as_it_is(world, unblur):
    history = world / "data" / "history.sqlite3"
    unblur("photo.jpg")
    act = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA cache_size = 1")
database.execute("CREATE TABLE other (value)")
database.executemany("INSERT INTO other VALUES (?)", [("x" * 1000,)] * 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", act, history])
    assert killed.returncode == -signal.SIGKILL
    assert history.with_name("history.sqlite3-journal").stat().st_size
    before = state(world)
    result = unblur("--dry-run", "photo.jpg")
    assert "a run without --dry-run repairs it" in result.stderr
    assert state(world) == before
    assert "already done" in unblur("photo.jpg").stderr
    with open_database(history) as database:
        assert database.execute("SELECT count(*) FROM made").fetchone() == (1,)
