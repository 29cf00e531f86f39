"""``unblur restore`` puts originals back and loses nobody's work."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import encode_image, make_jpeg, make_pixels
from PIL import Image

from unblur.cli import main
from unblur.run import restore as restoring
from unblur.storage import attributes, drafts


@pytest.fixture
def restore():
    from click.testing import CliRunner

    def run(*arguments):
        return CliRunner().invoke(main, ["restore", *map(str, arguments)])

    return run


@pytest.fixture
def library(tmp_path):
    """A folder whose photos were deblurred in place, and what they were before."""
    root = tmp_path / "library"
    for name in ("a.jpg", "trip/b.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(make_jpeg(24, 32 if name == "a.jpg" else 40))
    return root


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_originals_are_put_back_and_may_be_deblurred_again(library, deblur, restore):
    originals = contents(library)
    deblur("-r", "--in-place", library)
    results = contents(library)
    assert restore("-r", library).exit_code == 0
    assert contents(library) == originals
    assert "2 done" in deblur("-r", "--in-place", library).stderr
    assert contents(library) == results


def test_one_photo_is_put_back_by_its_name_or_that_of_its_original(library, deblur, restore):
    originals = contents(library)
    deblur("-r", "--in-place", library)
    assert restore(library / "a.jpg", library / "trip" / "b.jpg.orig").exit_code == 0
    assert contents(library) == originals


def test_a_dry_run_tells_what_would_be_put_back(library, deblur, restore):
    deblur("-r", "--in-place", library)
    before = contents(library)
    result = restore("-r", "--dry-run", library)
    assert (result.exit_code, contents(library)) == (0, before)
    assert "a.jpg.orig -> " in result.stderr
    assert "(planned)" in result.stderr


def test_what_is_put_back_is_listed_as_paths_or_json(library, deblur, restore):
    deblur("-r", "--in-place", library)
    assert restore(library / "a.jpg").stdout == f"{library}/a.jpg\n"
    lines = restore("-r", "--json", library, library / "a.jpg").stdout.splitlines()
    done, failed = map(json.loads, lines)
    b = library / "trip" / "b.jpg"
    assert done == {"input": f"{b}.orig", "output": str(b), "status": "done", "reason": ""}
    assert (failed["status"], failed["reason"]) == ("failed", "there is no original to put back")


def test_a_folder_needs_recursive_and_one_without_originals_is_exit_code_3(library, restore):
    result = restore(library)
    assert (result.exit_code, "--recursive" in result.stderr) == (1, True)
    assert restore("-r", library).exit_code == 3


def test_a_moved_library_is_put_back(library, deblur, restore, monkeypatch):
    monkeypatch.setattr(attributes, "HAS_EXTENDED", False)
    originals = contents(library)
    deblur("-r", "--in-place", library)
    moved = library.rename(library.with_name("moved"))
    assert restore("-r", moved).exit_code == 0
    assert contents(moved) == originals


def test_a_copy_of_a_result_stays_known_when_its_photo_is_put_back(library, deblur, restore):
    deblur("-r", "--in-place", library)
    copy = shutil.copy(library / "a.jpg", library / "copy.jpg")
    restore("-r", library)
    assert deblur("--in-place", copy).stdout == b""


def edit_picture(photo):
    photo.write_bytes(encode_image(Image.fromarray(make_pixels(24, 32, seed=4)), "JPEG"))


def edit_tags(photo):
    if not shutil.which("exiftool"):
        pytest.skip("exiftool is not there")
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-Artist=me", photo], check=True)


@pytest.mark.parametrize("edit", [edit_picture, edit_tags])
def test_what_was_edited_since_is_not_replaced_unless_asked_for(library, deblur, restore, edit):
    original = (library / "a.jpg").read_bytes()
    deblur("-r", "--in-place", library)
    edit(library / "a.jpg")
    edited = (library / "a.jpg").read_bytes()
    result = restore(library / "a.jpg")
    assert result.exit_code == 1
    assert "a.jpg" in result.stderr
    assert "edited after it was deblurred" in result.stderr
    assert (library / "a.jpg").read_bytes() == edited
    assert restore("--force", library / "a.jpg").exit_code == 0
    assert (library / "a.jpg").read_bytes() == original


def test_an_original_of_another_program_replaces_nothing(library, deblur, restore):
    deblur("-r", "--in-place", library)
    (library / "a.jpg.orig").write_bytes(make_jpeg(16, 16))  # such as patch leaves
    before = contents(library)
    assert restore(library / "a.jpg").exit_code == 1
    assert contents(library) == before


def test_without_any_record_nothing_is_replaced(library, deblur, restore, monkeypatch):
    monkeypatch.setattr(attributes, "HAS_EXTENDED", False)
    deblur("-r", "--in-place", library)
    before = contents(library)
    Path(os.environ["UNBLUR_HISTORY"]).unlink()
    result = restore("-r", library)
    assert (result.exit_code, contents(library)) == (1, before)
    assert "is not known as a result of this original" in result.stderr


def test_without_any_record_a_mark_is_enough(library, deblur, restore):
    originals = contents(library)
    deblur("-r", "--in-place", library)
    if not attributes.has_mark(library / "a.jpg"):
        pytest.skip("this file system has no extended attributes")
    Path(os.environ["UNBLUR_HISTORY"]).write_bytes(b"damaged" * 1000)
    result = restore("-r", library)
    assert (result.exit_code, contents(library)) == (0, originals)
    assert "is damaged" in result.stderr


def test_a_photo_that_is_gone_comes_back(library, deblur, restore):
    originals = contents(library)
    deblur("-r", "--in-place", library)
    (library / "a.jpg").unlink()
    assert restore("-r", library).exit_code == 0
    assert contents(library) == originals


@pytest.mark.parametrize("keep", [os.link, shutil.copy])
def test_what_a_killed_run_left_is_put_in_order(library, restore, keep):
    originals = contents(library)
    keep(library / "a.jpg", library / "a.jpg.orig")
    assert restore("-r", library).exit_code == 0
    assert contents(library) == originals


@pytest.mark.parametrize("keep", [os.link, shutil.copy])
def test_a_photo_goes_on_from_what_a_killed_run_left(library, deblur, restore, keep):
    original = (library / "a.jpg").read_bytes()
    keep(library / "a.jpg", library / "a.jpg.orig")
    assert deblur("--in-place", library / "a.jpg").code == 0
    assert (library / "a.jpg.orig").read_bytes() == original != (library / "a.jpg").read_bytes()


@pytest.mark.posix
def test_an_original_that_is_a_link_is_not_put_back(library, deblur, restore, tmp_path):
    deblur("-r", "--in-place", library)
    (library / "a.jpg.orig").unlink()
    (library / "a.jpg.orig").symlink_to(library / "trip" / "b.jpg.orig")
    assert restore(library / "a.jpg").exit_code == 1


@pytest.mark.posix
def test_through_a_link_the_photo_is_put_back(library, deblur, restore):
    original = (library / "a.jpg").read_bytes()
    (library / "link.jpg").symlink_to("a.jpg")
    deblur("--in-place", library / "link.jpg")
    assert restore(library / "link.jpg").exit_code == 0
    assert (library / "link.jpg").is_symlink()
    assert (library / "a.jpg").read_bytes() == original


def test_the_mode_and_the_time_come_back_with_the_original(library, deblur, restore):
    os.utime(library / "a.jpg", ns=(10**18, 10**18))
    deblur("--in-place", library / "a.jpg")
    assert (library / "a.jpg").stat().st_mtime_ns != 10**18
    restore(library / "a.jpg")
    assert (library / "a.jpg").stat().st_mtime_ns == 10**18


def test_an_object_is_named_with_what_to_do(restore):
    result = restore("s3://bucket/a.jpg")
    assert (result.exit_code, "the store's own tools" in result.stderr) == (1, True)


def test_backup_is_what_is_done_anyway(library, deblur):
    assert deblur("--in-place", "--backup", library / "a.jpg").code == 0
    assert deblur("--in-place", "--no-backup", library / "trip" / "b.jpg").code == 0
    assert [path.name for path in library.rglob("*.orig")] == ["a.jpg.orig"]
    assert deblur("--backup", library / "a.jpg").code == 2


@pytest.mark.posix
@pytest.mark.parametrize("leads_to", ["a.jpg", "trip/copy.jpg", "nowhere"])
def test_a_link_keeps_no_original_and_nothing_is_replaced(library, deblur, leads_to):
    shutil.copy(library / "a.jpg", library / "trip" / "copy.jpg")
    (library / "a.jpg.orig").symlink_to(leads_to)
    before = (library / "a.jpg").read_bytes()
    result = deblur("--in-place", library / "a.jpg")
    assert (result.code, (library / "a.jpg").read_bytes()) == (1, before)
    assert "a.jpg.orig exists: " in result.stderr


@pytest.mark.parametrize(
    ("step", "force"), [("_refuse_to_lose_work", []), ("_refuse_running", ["--force"])]
)
def test_an_edit_while_restore_looks_at_a_photo_stays(
    library, deblur, restore, monkeypatch, step, force
):
    deblur("-r", "--in-place", library)
    photo, look = library / "a.jpg", getattr(restoring, step)

    def edit_meanwhile(*files):
        look(*files)
        new = photo.with_name("new")
        new.write_bytes(b"edited")
        new.replace(photo)

    monkeypatch.setattr(restoring, step, edit_meanwhile)
    result = restore(photo, *force)
    assert "a.jpg was changed meanwhile, and stays" in result.stderr
    assert result.exit_code == 1
    assert photo.read_bytes() == b"edited"
    assert photo.with_name("a.jpg.orig").read_bytes() == make_jpeg(24, 32)


def test_what_takes_the_name_of_the_backup_meanwhile_stays(library, deblur, meanwhile):
    photo, backup = library / "a.jpg", library / "a.jpg.orig"
    before = photo.read_bytes()
    meanwhile(lambda: backup.write_bytes(b"notes"))
    result = deblur("--in-place", photo)
    assert (result.code, photo.read_bytes(), backup.read_bytes()) == (1, before, b"notes")
    assert "appeared meanwhile" in result.stderr


@pytest.mark.parametrize("step", ["write_all", "_replace"])
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EPERM])
def test_a_photo_that_cannot_be_replaced_gets_no_backup(library, deblur, monkeypatch, step, reason):
    def fail(*unused):
        raise OSError(reason, os.strerror(reason))

    before = contents(library)
    monkeypatch.setattr(drafts, step, fail)
    assert deblur("--in-place", library / "a.jpg").code == 1
    assert contents(library) == before


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_backup_stays_after_ctrl_c_only_if_the_photo_was_replaced(
    library, monkeypatch, is_replaced
):
    replace = drafts._replace

    def stop(scratch, path):
        if is_replaced:
            replace(scratch, path)
        raise KeyboardInterrupt

    photo, backup = library / "a.jpg", library / "a.jpg.orig"
    before = photo.read_bytes()
    monkeypatch.setattr(drafts, "_replace", stop)
    with pytest.raises(KeyboardInterrupt), drafts.FileDraft(photo, b"new") as draft:
        drafts.replace_with_backup(draft, photo, backup)
    assert photo.read_bytes() == (b"new" if is_replaced else before)
    assert backup.exists() == is_replaced
    assert not is_replaced or backup.read_bytes() == before


def test_an_older_backup_of_a_photo_that_cannot_be_replaced_stays(library, deblur, monkeypatch):
    def fail(*unused):
        raise OSError(errno.EPERM, "not permitted")

    shutil.copy(library / "a.jpg", library / "a.jpg.orig")  # as a killed run leaves it
    before = contents(library)
    monkeypatch.setattr(drafts, "_replace", fail)
    assert deblur("--in-place", library / "a.jpg").code == 1
    assert contents(library) == before


def test_backups_whose_names_became_upper_case_are_left_alone_and_put_back(
    library, deblur, restore
):
    original = (library / "a.jpg").read_bytes()
    deblur("--in-place", library / "a.jpg")
    upper = library / "upper"
    upper.mkdir()
    for name in ("a.jpg", "a.jpg.orig"):
        (library / name).rename(upper / name.upper())
    before = contents(upper)
    deblur("-r", "--in-place", upper)
    assert contents(upper) == before
    assert restore("-r", upper).exit_code == 0
    assert contents(upper) == {"A.JPG": original}


def test_a_photo_that_is_named_like_a_backup_gets_its_own_original_back(library, deblur, restore):
    photo = library / "b.orig"
    (library / "a.jpg").rename(photo)
    before = contents(library)
    for named in ([photo], ["-r", library]):
        deblur("--in-place", photo)
        assert restore(*named).exit_code == 0
        assert contents(library) == before


@pytest.mark.parametrize("options", [[], ["--no-backup"], ["--overwrite"]])
def test_originals_that_a_pattern_names_too_are_not_deblurred(library, deblur, options):
    deblur("-r", "--in-place", library)
    (library / "a.jpg").rename(library / "renamed.jpg")
    shutil.copy(library / "a.jpg.orig", library / "c.jpg_original")  # as ExifTool keeps it
    before = contents(library)
    files = [path for path in library.rglob("*") if path.is_file()]
    result = deblur("--in-place", "-v", *options, *files)
    assert (result.code, contents(library)) == (0, before)
    assert "a.jpg.orig: skipped: is a backup, which --in-place does not replace" in result.stderr


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["-r"]])
def test_a_photo_and_its_original_that_a_pattern_names_are_put_back_once(
    library, deblur, restore, options
):
    deblur("-r", "--in-place", library)
    files = [path for path in library.rglob("*") if path.is_file()]
    result = restore(*options, *files, *([library] if options == ["-r"] else []))
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)
    assert ".orig" not in result.stdout


def test_an_original_is_deblurred_beside_itself_or_under_another_name(library, deblur):
    deblur("-r", "--in-place", library)
    original = library / "a.jpg.orig"
    assert deblur(original, "-o", library / "again.jpg").code == 0
    assert (library / "again.jpg").read_bytes() == (library / "a.jpg").read_bytes()
    renamed = original.rename(library / "original.jpg")
    assert "1 done" in deblur("--in-place", renamed, library / "a.jpg").stderr


def test_an_original_that_is_damaged_is_named(library, deblur, restore):
    deblur("-r", "--in-place", library)
    (library / "a.jpg.orig").write_bytes(b"")
    result = restore("-r", library)
    assert result.exit_code == 1
    assert "a.jpg.orig: is not a photo" in result.stderr
    assert "1 done, 0 skipped, 1 failed" in result.stderr


@pytest.mark.parametrize("has_links", [False, True])
def test_a_photo_that_is_edited_while_its_original_is_kept_is_not_replaced(
    library, deblur, monkeypatch, has_links
):
    photo, keep = library / "a.jpg", drafts._keep

    def edit_after(path, backup):
        keep(path, backup)
        edit_picture(path)

    def no_links(*unused):
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr(drafts, "_keep", edit_after)
    if not has_links:
        monkeypatch.setattr(os, "link", no_links)
    edit_picture(library / "edited.jpg")
    result = deblur("--in-place", photo)
    assert (result.code, "a.jpg was changed meanwhile" in result.stderr) == (1, True)
    assert photo.read_bytes() == (library / "edited.jpg").read_bytes()
    assert not (library / "a.jpg.orig").exists()


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_files_that_other_programs_name_like_backups_stay(library, restore, force):
    (library / "main.py.orig").write_bytes(b"print('hello')")
    before = contents(library)
    assert restore("-r", *force, library).exit_code == 3
    assert restore(*force, library / "main.py").exit_code == 1
    assert contents(library) == before


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_in_a_photos_place_is_named(library, deblur, restore, force):
    deblur("--in-place", library / "a.jpg")
    (library / "a.jpg").unlink()
    (library / "a.jpg").mkdir()
    result = restore(*force, library / "a.jpg.orig")
    assert (result.exit_code, "a.jpg is a folder" in result.stderr) == (1, True)


@pytest.mark.posix
def test_the_backup_that_a_killed_run_left_is_no_other_name(library, deblur):
    os.link(library / "a.jpg", library / "a.jpg.orig")
    assert "hard links" not in deblur("--in-place", library / "a.jpg").stderr


@pytest.mark.posix
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_a_folder_that_cannot_be_written_to_is_named(
    library, deblur, restore, monkeypatch, dry_run
):
    deblur("--in-place", library / "a.jpg")
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may do anything
    before = contents(library)
    result = restore(*dry_run, library / "a.jpg")
    assert (result.exit_code, contents(library)) == (1, before)
    assert f"{library} cannot be written to" in result.stderr


@pytest.mark.posix
def test_a_name_without_room_for_a_backup_is_told_and_done_without_one(library, deblur):
    photo = library / ("x" * 251 + ".jpg")
    (library / "a.jpg").rename(photo)
    before = photo.read_bytes()
    result = deblur("--in-place", photo)
    assert (result.code, photo.read_bytes()) == (1, before)
    assert "no room for .orig" in result.stderr
    assert deblur("--in-place", "--no-backup", photo).code == 0
    assert photo.read_bytes() != before
