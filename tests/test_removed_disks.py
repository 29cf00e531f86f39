"""A disk that is removed during a run, or not mounted, is noticed; its mount point stays empty."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from conftest import make_jpeg

from unblur.errors import PhotoError
from unblur.storage.folders import SeenFolder

pytestmark = pytest.mark.posix


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(make_jpeg())
    return folder


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """The mount point of a disk, which is removed while the network is at work."""
    folder, above = tmp_path / "disk", SeenFolder.above
    folder.mkdir()

    def above_while_mounted(path):
        seen = above(path)
        is_on_disk = folder in (seen.path, *seen.path.parents)
        numbers = {"device": seen.device + 1, "inode": seen.inode + 1}
        return replace(seen, **numbers) if is_on_disk else seen

    monkeypatch.setattr(SeenFolder, "above", staticmethod(above_while_mounted))
    return folder


@pytest.fixture
def remove(disk):
    """Empty the mount point."""

    def remove():
        for path in disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


@pytest.mark.parametrize("below", [".", "new", "old", "old/new"])
def test_the_mount_point_of_a_disk_that_is_removed_meanwhile_is_not_filled(
    photos, disk, remove, unblur, meanwhile, below
):
    (disk / "old").mkdir()
    meanwhile(remove)
    result = unblur("-r", photos, "-o", disk / below / ".")
    assert (result.code, "0 done, 0 skipped, 2 failed" in result.stderr) == (1, True)
    assert "was its disk removed?" in result.stderr
    assert [*disk.iterdir()] == []


@pytest.mark.parametrize("options", [[], ["--in-place"], ["--compare"]])
def test_results_beside_photos_do_not_fill_a_mount_point_either(
    photos, disk, remove, unblur, meanwhile, options
):
    for photo in photos.iterdir():
        shutil.copy(photo, disk)
    meanwhile(remove)
    result = unblur("-r", disk, *options)
    assert (result.code, "was its disk removed?" in result.stderr) == (1, True)
    assert [*disk.iterdir()] == []


def test_an_output_folder_that_is_removed_meanwhile_is_not_made_again(
    photos, tmp_path, unblur, meanwhile
):
    folder = tmp_path / "out"
    folder.mkdir()
    meanwhile(lambda: shutil.rmtree(folder, ignore_errors=True))
    result = unblur("-r", photos, "-o", folder)
    assert (result.code, folder.exists()) == (1, False)
    assert f"the folder {folder} is gone; was its disk removed?" in result.stderr


def test_an_output_folder_that_the_run_makes_is_made_for_each_photo(photos, tmp_path, unblur):
    folder = tmp_path / "new" / "folder"
    assert unblur("-r", photos, "-o", f"{folder}/").code == 0
    assert len([*folder.iterdir()]) == 2


def test_the_report_does_not_fill_a_mount_point(photos, disk, remove, unblur, meanwhile):
    page = disk / "page.html"
    meanwhile(remove)
    result = unblur("-r", photos, "--report", page)
    assert (result.code, page.exists()) == (1, False)
    assert f"cannot write {page}: {disk} is on another disk than before" in result.stderr
    assert "2 done" in result.stderr


@pytest.mark.parametrize("changed", ["device", "inode"])
def test_a_file_system_that_renumbers_its_folders_is_no_other_disk(tmp_path, changed):
    seen = SeenFolder.above(tmp_path)
    replace(seen, **{changed: getattr(seen, changed) + 1}).check(tmp_path / "a.jpg")


def test_the_numbers_of_another_machine_say_nothing(tmp_path):
    seen = replace(SeenFolder.above(tmp_path), device=1, inode=1)
    replace(seen, machine="elsewhere").check(tmp_path / "a.jpg")
    with pytest.raises(PhotoError, match="another disk"):
        seen.check(tmp_path / "a.jpg")


@pytest.mark.parametrize("options", [[], ["--in-place"], ["--dry-run"]])
def test_a_record_on_a_disk_that_is_not_mounted_is_no_new_record(photos, tmp_path, unblur, options):
    record = tmp_path / "missing" / "record"
    result = unblur("-r", photos, "--history", record, *options)
    assert (result.code, record.parent.exists()) == (2, False)
    assert f"there is no folder {record.parent}: make it, or mount its disk" in result.stderr
    assert len([*photos.iterdir()]) == 2


@pytest.mark.parametrize("is_typed", [True, False])
def test_a_record_that_begins_anew_is_named(photos, tmp_path, unblur, monkeypatch, is_typed):
    record = tmp_path / "record"
    monkeypatch.setenv("UNBLUR_HISTORY", str(record))
    options = ["--history", record] if is_typed else ["-v"]
    note = f"{record} is a new record, which knows no earlier results"
    assert note in unblur("-r", photos, "--dry-run", *options).stderr
    assert note in unblur("-r", photos, *options).stderr
    assert note not in unblur("-r", photos, *options).stderr


@pytest.mark.parametrize("options", [[], ["--in-place"]])
def test_a_record_that_goes_away_meanwhile_is_said_to_be_gone(
    photos, tmp_path, unblur, meanwhile, options
):
    record = tmp_path / "disk" / "record"
    record.parent.mkdir()
    meanwhile(lambda: shutil.rmtree(record.parent, ignore_errors=True))
    result = unblur("-r", photos, "--history", record, *options)
    assert result.code == (1 if options else 0)
    assert f"{record} cannot be used (it is gone; was its disk removed?)" in result.stderr
    assert not record.parent.exists()
    assert not [path for path in photos.iterdir() if options and "orig" in path.name]
