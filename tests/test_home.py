"""Users without a home folder, as in containers, and with one that cannot be used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from unblur import config, doctor
from unblur.cli import main
from unblur.config import NO_HOME
from unblur.errors import ExitCode
from unblur.network import vulkan_probe

pytestmark = pytest.mark.posix


@pytest.fixture(autouse=True)
def _places_are_in_the_home_folder(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("UNBLUR_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(doctor, "find_gpus", lambda: ())


@pytest.fixture(params=[None, ""], ids=["unset", "empty"])
def _no_home(request, monkeypatch):
    """HOME is missing or empty, and the user has no entry in the password database."""

    def missing(uid):
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", missing)
    monkeypatch.setenv("HOME", "")
    if request.param is None:
        monkeypatch.delenv("HOME")


@pytest.fixture
def locked_home(tmp_path, monkeypatch, lock):
    """A home folder that the user may not enter."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    lock(home)
    return home


@pytest.mark.usefixtures("_no_home")
def test_without_a_home_folder_a_photo_is_deblurred_and_the_missing_record_is_told(unblur, jpeg):
    result = unblur(jpeg)
    assert result.code == 0
    assert "there is no home folder: set HOME, or name a file with --history" in result.stderr
    assert jpeg.with_name("photo-unblurred.jpg").exists()


@pytest.mark.usefixtures("_no_home")
def test_without_a_home_folder_nothing_is_replaced_unless_a_record_is_named(unblur, jpeg, tmp_path):
    before = jpeg.read_bytes()
    result = unblur(jpeg, "--in-place")
    assert result.code == ExitCode.USAGE
    assert "needs the record of results: there is no home folder" in result.stderr
    assert jpeg.read_bytes() == before
    assert unblur(jpeg, "--in-place", "--history", tmp_path / "history").code == 0


@pytest.mark.usefixtures("_no_home")
def test_without_a_home_folder_nothing_gets_into_the_current_or_the_root_folder(monkeypatch):
    for find in (config.models_folder, config.history_file, config.config_file):
        assert NO_HOME in find().parents
    relative = Path("~/.local/share/unblur")  # from older versions of platformdirs
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: relative)
    assert config.history_file() == NO_HOME / "history.sqlite3"


def run(*arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.mark.usefixtures("_no_home")
def test_without_a_home_folder_the_other_commands_work_too():
    assert "srn-compact" in run("models", "list").stdout
    refused = run("models", "download", "srn-gray")
    assert refused.exit_code == ExitCode.WEIGHTS
    assert "there is no home folder; UNBLUR_MODELS_DIR names another folder" in refused.stderr


@pytest.mark.usefixtures("_no_home")
def test_doctor_says_that_there_is_no_home_folder():
    result = run("doctor", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["configuration"] == found["models_folder"] == "none: there is no home folder"
    assert "there is no home folder. Set HOME" in found["findings"][-1]["text"]


def test_a_home_folder_that_is_locked_stops_no_photo(unblur, jpeg, locked_home):
    result = unblur(jpeg)
    assert result.code == 0
    assert f"{locked_home}/" in result.stderr
    assert "cannot be used (permission denied): choose another place" in result.stderr


def test_a_locked_home_folder_is_named_by_the_other_commands(locked_home):
    assert "srn-compact" in run("models", "list").stdout
    refused = run("models", "download", "srn-gray")
    assert refused.exit_code == ExitCode.WEIGHTS
    assert "permission denied; UNBLUR_MODELS_DIR names another folder" in refused.stderr


def test_doctor_finds_that_a_home_folder_is_locked(locked_home):
    result = run("doctor", "--json")
    assert result.exit_code == 0
    text = json.loads(result.stdout)["findings"][-1]["text"]
    assert f"{locked_home} cannot be written to" in text


def test_a_home_folder_that_is_locked_does_not_stop_the_search_for_gpus(locked_home):
    assert vulkan_probe._state()


@pytest.mark.parametrize("name", ["home/folder/record", "x" * 300], ids=["locked", "too long"])
def test_a_record_at_a_place_that_cannot_be_looked_at_stops_no_photo(
    unblur, jpeg, locked_home, name
):
    result = unblur(jpeg, "--history", locked_home.parent / name)
    assert result.code == 0
    assert "a second run will not recognise these results: " in result.stderr
    assert "choose another place with --history" in result.stderr


def test_a_home_that_is_no_folder_stops_no_photo(unblur, jpeg, monkeypatch):
    monkeypatch.setenv("HOME", os.devnull)
    assert unblur(jpeg).code == 0
    assert run("doctor").exit_code == 0


def test_weights_in_a_locked_folder_are_told_from_a_wrong_name(locked_home):
    result = run("models", "verify", str(locked_home / "mine.safetensors"))
    assert result.exit_code == ExitCode.WEIGHTS
    assert "mine.safetensors: permission denied" in result.stderr


@pytest.mark.parametrize("name", ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"])
@pytest.mark.parametrize("folder", ["", ".", "relative/folder", "~/.files"])
def test_a_folder_that_is_not_absolute_is_ignored(monkeypatch, tmp_path, name, folder):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_dir=str(tmp_path)))
    finds = (config.config_file, config.models_folder, config.history_file, config.self_tests_file)
    usual = [find() for find in finds]
    assert all(tmp_path in place.parents for place in usual)
    monkeypatch.setenv(name, folder)
    assert [find() for find in finds] == usual
    assert os.environ[name] == folder


def test_common_folders_that_are_not_absolute_are_ignored(monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_DIRS", "relative:/etc/xdg:.")
    monkeypatch.setenv("XDG_DATA_DIRS", "relative:/usr/share:.")
    assert config.system_config_folders() == [Path("/etc/xdg")]
    assert config.system_data_folders() == [Path("/usr/share")]
