"""A result is never taken for a photo, whatever happens to its file meanwhile."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import encode_image, make_jpeg, make_pixels, open_database
from PIL import Image

from unblur.options import Options
from unblur.run import history_tables, load_step, write_step
from unblur.run.hashes import content_of
from unblur.run.history import History, Record
from unblur.run.in_place_marks import make_mark, read_mark
from unblur.run.jobs import Job
from unblur.run.known_results import KnownResults
from unblur.storage import attributes
from unblur.storage.places import Content, FileState

NEEDS_EXIFTOOL = pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not there")


@pytest.fixture
def library(tmp_path):
    """A folder with two photos in it."""
    root = tmp_path / "library"
    for seed, name in enumerate(("a.jpg", "trip/b.jpg")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(make_pixels(24, 32, seed=seed))
        (root / name).write_bytes(encode_image(image, "JPEG", quality=90))
    return root


@pytest.fixture
def history_file():
    return Path(os.environ["UNBLUR_HISTORY"])


def photos(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in photos(folder)}


def rename_folder(root):
    return root.rename(root.with_name("renamed"))


def rename_photos(root):
    for path in photos(root):
        path.rename(path.with_name("new-" + path.name))
    return root


def move_to_another_file_system(root):
    return Path(shutil.move(root, root.with_name("another-disk")))


def copy_folder(root):
    return Path(shutil.copytree(root, root.with_name("copy")))


def touch(root):
    for path in photos(root):
        path.touch()
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return root


def round_times(root):
    for path in photos(root):
        seconds = int(path.stat().st_mtime) // 2 * 2  # as FAT does
        os.utime(path, (seconds, seconds))
    return root


def shift_by_an_hour(root):
    for path in photos(root):
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 3600 * 10**9))
    return root


def date_before_1970(root):
    for path in photos(root):
        os.utime(path, (-86400 * 365, -86400 * 365))
    return root


def date_after_2262(root):
    for path in photos(root):
        os.utime(path, (10_413_792_000, 10_413_792_000))
    return root


def restore_a_backup(root):
    saved = contents(root)
    shutil.rmtree(root)
    for name, data in saved.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def edit_tags(root):
    paths = photos(root)
    tags = ["-Artist=me", "-XMP:Rating=4", "-IPTC:Keywords=harbour", "-Orientation=6", "-n"]
    subprocess.run(["exiftool", "-q", "-overwrite_original", *tags, *paths], check=True)
    return root


def rename_and_edit_tags(root):
    return rename_folder(edit_tags(root))


CHANGES = [
    rename_folder,
    rename_photos,
    move_to_another_file_system,
    copy_folder,
    touch,
    round_times,
    shift_by_an_hour,
    date_before_1970,
    date_after_2262,
    restore_a_backup,
    pytest.param(edit_tags, marks=NEEDS_EXIFTOOL),
    pytest.param(rename_and_edit_tags, marks=NEEDS_EXIFTOOL),
]


@pytest.fixture(params=CHANGES, ids=lambda change: change.__name__)
def changed(request, monkeypatch):
    """What happens to a library between two runs; no mark helps to recognise its results."""
    monkeypatch.setattr(attributes, "HAS_EXTENDED", False)
    return request.param


@pytest.mark.parametrize("options", [["--no-backup"], []])
def test_what_replaced_its_photo_is_never_deblurred_again(library, deblur, changed, options):
    assert deblur("-r", "--in-place", *options, library).code == 0
    moved = changed(library)
    once = contents(moved)
    for _ in range(2):
        result = deblur("-r", "--in-place", *options, moved)
        assert (result.code, result.stdout) == (0, b"")
        assert "0 done, 2 skipped, 0 failed" in result.stderr
        assert contents(moved) == once


@pytest.mark.parametrize(
    "changed",
    [change for change in CHANGES if change is not rename_photos],  # which parts them
    ids=lambda change: change.__name__,
    indirect=True,
)
def test_a_result_beside_its_photo_is_done_whatever_happens_to_both(library, deblur, changed):
    assert deblur("-r", library).code == 0
    moved = changed(library)
    once = contents(moved)
    for _ in range(2):
        result = deblur("-r", moved)
        assert (result.code, result.stdout) == (0, b"")
        assert "0 done, 2 skipped, 0 failed" in result.stderr
        assert contents(moved) == once


def test_a_dry_run_knows_results_by_their_content_too(library, deblur):
    deblur("-r", "--in-place", library)
    moved = rename_folder(touch(library))
    assert deblur("-r", "--in-place", "--dry-run", moved).stdout == b""


def test_what_was_found_again_is_known_without_a_look_from_then_on(
    library, deblur, changed, monkeypatch
):
    deblur("-r", "--in-place", library)
    moved = changed(library)
    deblur("-r", "--in-place", moved)
    monkeypatch.setattr("unblur.run.known_results.read_content", _refuse_to_read)
    monkeypatch.setattr("unblur.storage.files.read_header", _refuse_to_read)
    assert "2 skipped, 0 failed" in deblur("-r", "--in-place", moved).stderr


def test_a_file_in_the_way_that_is_too_large_for_a_result_is_not_read(library, deblur, monkeypatch):
    deblur("-r", library)
    with (library / "a-unblurred.jpg").open("r+b") as file:
        file.truncate(1 << 40)  # a hole, which takes no room on the disk
    result = deblur("-r", library)
    assert "a-unblurred.jpg exists; --overwrite replaces it" in result.stderr


def _refuse_to_read(path, *unused):
    raise AssertionError(f"{path} was opened")


@pytest.mark.parametrize("options", [[], ["--in-place"], ["--compare"]])
def test_a_second_run_opens_no_photo(library, deblur, monkeypatch, options):
    (library / "lies.jpg").write_bytes(make_photo("PNG"))  # its result is called .png
    deblur("-r", library, *options)
    open_file, opened = os.open, []

    def watch(path, *args, **kwargs):
        opened.append(str(path))
        return open_file(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", watch)
    assert "3 skipped, 0 failed" in deblur("-r", library, *options).stderr
    assert [path for path in opened if str(library) in path] == []


def test_a_new_photo_is_not_read_before_its_turn(library, deblur, monkeypatch):
    deblur("-r", "--in-place", library)
    image = Image.fromarray(make_pixels(40, 48, seed=7))
    (library / "new.jpg").write_bytes(encode_image(image, "JPEG"))
    monkeypatch.setattr("unblur.run.known_results.read_content", _refuse_to_read)
    assert deblur("-r", "--in-place", library).stdout == f"{library}/new.jpg\n".encode()


def test_another_machine_with_the_same_history_knows_its_results(library, deblur, tmp_path):
    shared = tmp_path / "share" / "unblur.sqlite3"
    shared.parent.mkdir()
    assert deblur("-r", "--in-place", library, "--history", shared).code == 0
    once = contents(library)
    there = Path(shutil.copytree(library, tmp_path / "mnt" / "library"))
    assert deblur("-r", "--in-place", there, "--history", shared).stdout == b""
    assert contents(there) == once


def test_two_mount_points_do_not_make_each_other_forget(library, deblur, tmp_path, monkeypatch):
    deblur("-r", "--in-place", library)
    there = copy_folder(library)
    deblur("-r", "--in-place", there)
    monkeypatch.setattr("unblur.run.known_results.read_content", _refuse_to_read)
    for folder in (library, there, library):
        assert "2 skipped, 0 failed" in deblur("-r", "--in-place", folder).stderr


@pytest.fixture
def marked(jpeg):
    """A photo on a file system that has extended attributes."""
    if not attributes.HAS_EXTENDED:
        pytest.skip("this system has no extended attributes")
    try:
        attributes.setxattr(jpeg, "user.test", b"1")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    return jpeg


@pytest.mark.parametrize("options", [[], ["--strip-metadata"]])
def test_without_any_history_what_replaced_its_photo_is_known_by_its_mark(
    marked, deblur, monkeypatch, tmp_path, options
):
    deblur("--in-place", "--no-backup", marked, *options)
    once = marked.read_bytes()
    moved = marked.rename(tmp_path / "elsewhere.jpg")
    monkeypatch.setenv("UNBLUR_HISTORY", str(tmp_path / "another machine's.sqlite3"))
    for _ in range(2):
        assert deblur("--in-place", moved).stdout == b""
        assert moved.read_bytes() == once


def test_a_mark_is_not_trusted_on_another_picture(marked, deblur, history_file):
    deblur("--in-place", "--no-backup", marked)
    history_file.unlink()
    image = Image.fromarray(make_pixels(48, 64, seed=9))
    marked.write_bytes(encode_image(image, "JPEG"))  # an editor that keeps the mark
    assert deblur("--in-place", "--no-backup", marked).stdout


def test_a_mark_goes_to_no_other_file(marked, deblur, tmp_path):
    deblur("--in-place", marked)
    assert attributes.has_mark(marked)
    assert not attributes.has_mark(marked.with_name("photo.jpg.orig"))
    deblur("--overwrite", marked, "-o", tmp_path / "other.jpg", "--compare")
    assert not any(map(attributes.has_mark, (tmp_path / "other.jpg", *tmp_path.glob("*.png"))))
    assert deblur(marked, "-o", tmp_path / "again.jpg", "--strip-metadata", "--overwrite").stdout
    assert not attributes.has_mark(tmp_path / "again.jpg")


@pytest.mark.parametrize("mark", [b"", b"\xff", b"1", b"2\na\nb\nc\nd\ne", b"1\n\n\n\n\n"])
def test_a_mark_that_makes_no_sense_is_none(mark, tmp_path):
    assert read_mark(mark, tmp_path, FileState(1, 1, Content("", "b"))) is None


def test_a_mark_is_read_as_it_was_written(tmp_path):
    before, after = Content("JPEG 1", "2"), Content("JPEG 3", "4")
    mark = make_mark(after, FileState(1, 2, before), "settings views=2")
    record = read_mark(mark, tmp_path, FileState(5, 6, after))
    assert (record.before.content, record.after.content) == (before, after)
    assert (record.settings, record.replaced_its_photo) == ("settings views=2", True)


def test_a_renamed_result_below_a_folder_is_left_alone_with_a_reason(library, deblur, monkeypatch):
    deblur("-r", library)
    (library / "a-unblurred.jpg").rename(library / "holiday.jpg")
    (library / "a.jpg").unlink()
    before = contents(library)
    result = deblur("-r", library, "-v")
    assert (result.code, contents(library)) == (0, before)
    assert "holiday.jpg: skipped: is itself a result of unblur" in result.stderr
    monkeypatch.setattr("unblur.run.known_results.read_content", _refuse_to_read)
    assert deblur("-r", library).stdout == b""
    assert deblur(library / "holiday.jpg", "--overwrite").stdout


@NEEDS_EXIFTOOL
def test_a_renamed_result_with_other_tags_is_known_when_it_is_read(library, deblur):
    deblur("-r", library)
    renamed = edit_tags(library) / "holiday.jpg"
    (library / "a-unblurred.jpg").rename(renamed)
    (library / "a.jpg").unlink()
    result = deblur("-r", library, "-v")
    assert "holiday.jpg: skipped: is itself a result of unblur" in result.stderr
    assert not renamed.with_name("holiday-unblurred.jpg").exists()


def test_a_moved_pair_is_made_anew_with_other_settings(library, deblur):
    deblur("-r", library)
    moved = rename_folder(library)
    result = deblur("-r", moved, "--strength", "0.5")
    assert "2 done, 0 skipped, 0 failed" in result.stderr


def test_the_moved_result_of_another_photo_is_no_result_of_this_one(library, deblur):
    deblur("-r", library)
    mine = (library / "a-unblurred.jpg").read_bytes()
    shutil.copy(library / "a-unblurred.jpg", library / "trip" / "b-unblurred.jpg")
    result = deblur("-r", library)
    assert result.code == 1
    assert "b-unblurred.jpg exists" in result.stderr
    assert (library / "trip" / "b-unblurred.jpg").read_bytes() == mine


def test_an_original_of_its_results_size_and_time_is_told_from_it_by_content(deblur, tmp_path):
    photo, backup = tmp_path / "a.tif", tmp_path / "a.tif.orig"
    photo.write_bytes(encode_image(Image.fromarray(make_pixels(24, 32)), "TIFF"))
    deblur("--in-place", "--preserve-times", photo)
    once, status = photo.read_bytes(), photo.stat()
    assert len(once) == backup.stat().st_size
    assert "already done" in deblur("--in-place", photo).stderr
    shutil.copy2(backup, photo)
    os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert deblur("--in-place", "--preserve-times", photo).code == 0
    assert photo.read_bytes() == once


def test_a_photo_that_became_another_picture_is_deblurred(library, deblur):
    deblur("-r", "--in-place", "--no-backup", library)
    image = Image.fromarray(make_pixels(24, 32, seed=5))
    (library / "a.jpg").write_bytes(encode_image(image, "JPEG", quality=90))
    assert deblur("-r", "--in-place", library).stdout == f"{library}/a.jpg\n".encode()


def test_a_photo_that_deblurring_leaves_as_it_is_does_not_hide_its_copies(library, unblur):
    unblur("-r", library)
    shutil.copy(library / "a.jpg", library / "again.jpg")
    assert unblur("-r", library).stdout == f"{library}/again-unblurred.jpg\n".encode()


# The record itself


def test_the_record_lies_among_the_users_data(jpeg, deblur, monkeypatch, tmp_path):
    monkeypatch.delenv("UNBLUR_HISTORY")
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: tmp_path / "data" / name)
    deblur(jpeg)
    assert (tmp_path / "data" / "unblur" / "history.sqlite3").exists()
    assert deblur(jpeg).stdout == b""


def rows(history_file):
    with open_database(history_file) as database:
        return database.execute("SELECT count(*) FROM made").fetchone()[0]


def test_old_versions_of_a_result_are_forgotten(jpeg, deblur, history_file):
    for seed in range(8):
        image = Image.fromarray(make_pixels(48, 64, seed=seed))
        jpeg.write_bytes(encode_image(image, "JPEG"))
        assert deblur(jpeg).code == 0
    assert rows(history_file) <= history_tables.VERSIONS


def test_a_result_is_remembered_in_a_bounded_number_of_places(tmp_path):
    with History(tmp_path / "history.sqlite3") as history:
        for number in range(50):
            path = tmp_path / f"{number}.jpg"
            state = FileState(1, number, Content("JPEG 1", "2"))
            history.record(Record(path, state, path, state, "settings"))
        found = history.with_pixels("JPEG 1")
    assert len(found) == history_tables.COPIES


def test_photos_that_are_done_while_the_disk_is_waited_for_share_the_next_transaction(
    tmp_path, monkeypatch
):
    transactions, disk, insert = [], threading.Event(), history_tables.insert

    def slow_insert(database, rows):
        transactions.append(len(rows))
        assert disk.wait(10)
        insert(database, rows)

    def record(number):
        path, state = (
            tmp_path / f"{number}.jpg",
            FileState(1, number, Content(f"JPEG {number}", "")),
        )
        history.record(Record(path, state, path, state, "settings"))
        assert history.at(path, state)  # it is there before the result is published

    monkeypatch.setattr(history_tables, "insert", slow_insert)
    with History(tmp_path / "history.sqlite3") as history, ThreadPoolExecutor(9) as threads:
        results = [threads.submit(record, 0)]
        wait_until(lambda: transactions == [1])
        results += [threads.submit(record, number) for number in range(1, 9)]
        wait_until(lambda: len(history._next.rows) == 8)
        disk.set()
        for result in results:
            result.result()
    assert transactions == [1, 8]


def wait_until(is_so):
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("mark", [-(10**20), -1, 0, 2**63 - 1, 2**63, 10**20])
def test_any_time_can_be_recorded(tmp_path, mark):
    path, state = tmp_path / "a.jpg", FileState(1, mark, Content("JPEG 1", "2"))
    with History(tmp_path / "history.sqlite3") as history:
        history.record(Record(path, state, path, state, "settings"))
        assert history.at(path, state).after == state
        assert history.problem is None


DAMAGED = [b"no database" * 1000, b"SQLite format 3\0" + bytes(5000)]


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_history_is_named_and_nothing_is_replaced(library, deblur, history_file, data):
    deblur("-r", "--in-place", "--no-backup", library)
    once = contents(library)
    history_file.write_bytes(data)
    result = deblur("-r", "--in-place", library)
    assert (result.code, contents(library)) == (2, once)
    (line,) = result.stderr.splitlines()
    assert f"{history_file} is damaged" in line
    assert "delete it, or put back a copy" in line


def test_with_a_damaged_history_results_beside_photos_are_made_all_the_same(
    jpeg, deblur, history_file
):
    history_file.write_bytes(DAMAGED[0])
    result = deblur(jpeg)
    assert result.code == 0
    assert f"{history_file} is damaged" in result.stderr
    assert "exists; --overwrite replaces it" in deblur(jpeg).stderr


def test_a_history_that_cannot_be_written_lets_nothing_be_replaced(jpeg, deblur, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    before = jpeg.read_bytes()
    result = deblur(jpeg, "--in-place", "--history", tmp_path / "file" / "history.sqlite3")
    assert (result.code, jpeg.read_bytes()) == (2, before)
    assert "choose another place with --history" in result.stderr


def test_a_folder_is_no_history(jpeg, deblur, tmp_path):
    result = deblur(jpeg, "--history", tmp_path)
    assert (result.code, "is a folder" in result.stderr) == (2, True)


def test_the_database_of_another_program_is_left_alone(jpeg, deblur, tmp_path):
    catalog = tmp_path / "catalog.lrcat"
    with open_database(catalog) as database:
        database.execute("CREATE TABLE photos (name)")
    before = catalog.read_bytes()
    result = deblur(jpeg, "--in-place", "--history", catalog)
    assert (result.code, catalog.read_bytes()) == (2, before)
    assert "it is the database of another program" in result.stderr


def test_a_history_of_a_newer_version_is_left_alone(jpeg, deblur, history_file):
    with open_database(history_file) as database:
        database.execute("PRAGMA user_version = 99")
    assert "newer version" in deblur(jpeg, "--in-place").stderr


@pytest.mark.parametrize("change", ["mark = NULL", "size = 'large'", "settings = x'ff'"])
def test_odd_rows_are_damage_and_nothing_is_replaced(jpeg, deblur, history_file, change):
    deblur(jpeg, "--in-place", "--no-backup")
    with open_database(history_file) as database:
        database.execute(f"UPDATE made SET {change}")
    once = jpeg.read_bytes()
    os.utime(jpeg, ns=(1, 1))
    result = deblur(jpeg, "--in-place")
    assert jpeg.read_bytes() == once
    assert f"{history_file} is damaged" in result.stderr


def test_a_locked_history_is_named_and_nothing_is_replaced(jpeg, deblur, history_file, monkeypatch):
    monkeypatch.setattr("unblur.run.history.WAIT_SECONDS", 0.05)
    deblur(jpeg)
    before = jpeg.read_bytes()
    other = sqlite3.connect(history_file)
    other.execute("BEGIN EXCLUSIVE")
    result = deblur(jpeg, "--in-place")
    other.close()
    assert (result.code, jpeg.read_bytes()) == (2, before)
    assert f"{history_file} cannot be used (database is locked)" in result.stderr


def test_a_history_that_fails_meanwhile_lets_nothing_be_replaced(
    jpeg, deblur, history_file, meanwhile
):
    before = jpeg.read_bytes()
    meanwhile(lambda: history_file.write_bytes(b"damaged" * 5000))
    result = deblur(jpeg, "--in-place")
    assert (result.code, jpeg.read_bytes()) == (1, before)
    assert "was not replaced, because the result could not be recorded" in result.stderr
    assert list(jpeg.parent.glob(".*")) == []


def test_a_history_that_fails_meanwhile_ends_a_run_that_replaces_photos(
    tmp_path, deblur, history_file, meanwhile
):
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(make_jpeg(24, 32 + number))
    before = contents(tmp_path)
    meanwhile(lambda: history_file.write_bytes(b"damaged" * 5000))
    result = deblur("-r", "--in-place", tmp_path)
    assert (result.code, contents(tmp_path)) == (1, before)
    (count,) = re.findall(r"failed, (\d) not reached", result.stderr)
    assert int(count) >= 4
    assert "8 done" in deblur("-r", tmp_path).stderr


def test_a_history_that_can_only_be_read_is_read_and_lets_nothing_be_replaced(
    library, deblur, monkeypatch
):
    connect = sqlite3.connect

    def connect_read_only(path, uri, **options):
        return connect(path if uri else f"file:{path}?mode=ro", uri=True, **options)

    deblur("-r", library)
    before = contents(library)
    monkeypatch.setattr(sqlite3, "connect", connect_read_only)
    assert "0 done, 2 skipped, 0 failed" in deblur("-r", library).stderr
    result = deblur("-r", "--in-place", library)
    assert (result.code, contents(library)) == (2, before)
    assert "--in-place needs the record of results" in result.stderr
    assert "choose another place with --history" in result.stderr


def check_it_stays_if_put_in_place(copy, jpeg, deblur, monkeypatch):
    """A result that replaces a photo just before that is read is not deblurred again."""
    once, load = copy.read_bytes(), load_step.load

    def load_what_was_put_there(*inputs):
        copy.replace(jpeg)
        return load(*inputs)

    monkeypatch.setattr(load_step, "load", load_what_was_put_there)
    result = deblur(jpeg, "--in-place", "--no-backup", "-v")
    assert "skipped: already done" in result.stderr
    assert jpeg.read_bytes() == once


def test_a_photo_that_another_run_replaced_just_before_it_was_read_is_left_alone(
    jpeg, deblur, monkeypatch
):
    copy = Path(shutil.copy(jpeg, jpeg.with_name("copy.jpg")))
    deblur(copy, "--in-place")
    check_it_stays_if_put_in_place(copy, jpeg, deblur, monkeypatch)


def test_what_a_run_with_another_history_replaced_just_before_is_known_by_its_mark(
    jpeg, deblur, monkeypatch, tmp_path
):
    copy = Path(shutil.copy(jpeg, jpeg.with_name("copy.jpg")))
    deblur(copy, "--in-place", "--no-backup", "--history", tmp_path / "other.sqlite3")
    if not attributes.has_mark(copy):
        pytest.skip("this file system has no extended attributes")
    check_it_stays_if_put_in_place(copy, jpeg, deblur, monkeypatch)


def test_of_two_runs_that_make_the_same_result_the_later_one_takes_it_as_done(
    jpeg, deblur, monkeypatch
):
    publish = write_step.publish

    def publish_after_another_run(finished):
        other = Path(shutil.copy(finished.draft.scratch, jpeg.with_name("other")))
        os.utime(other, (1, 1))
        other.replace(jpeg)
        return publish(finished)

    monkeypatch.setattr(write_step, "publish", publish_after_another_run)
    result = deblur(jpeg, "--in-place", "-v")
    assert (result.code, "done by another run meanwhile" in result.stderr) == (0, True)


# What the hash covers


def make_photo(form, seed=0):
    image = Image.fromarray(make_pixels(24, 32, seed=seed))
    options = {"WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_deflate"}}
    return encode_image(image, form, **options.get(form, {}))


@NEEDS_EXIFTOOL
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_editing_tags_does_not_change_the_hash_of_the_pixels(form, tmp_path):
    path = tmp_path / f"photo.{form.lower()}"
    path.write_bytes(make_photo(form))
    before = content_of(path.read_bytes())
    edit = ["exiftool", "-q", "-overwrite_original", "-Artist=me", "-XMP:Rating=4"]
    subprocess.run([*edit, path], check=True)
    after = content_of(path.read_bytes())
    assert before.pixels.startswith({"WEBP": "WebP"}.get(form, form))
    assert (after.pixels, after.whole != before.whole) == (before.pixels, True)
    assert content_of(make_photo(form, seed=1)).pixels != before.pixels


def test_a_thumbnail_or_a_comment_does_not_change_the_hash():
    plain = make_jpeg()
    thumbnail = encode_image(Image.new("RGB", (8, 8)), "JPEG")
    for added in (b"\xff\xfe\0\x04hi", b"\xff\xed" + (len(thumbnail) + 2).to_bytes(2, "big")):
        payload = thumbnail if added[1] == 0xED else b""
        assert (
            content_of(plain[:2] + added + payload + plain[2:]).pixels == content_of(plain).pixels
        )
    assert content_of(plain + b"a film").pixels == content_of(plain).pixels


def test_how_a_png_is_divided_into_chunks_does_not_change_the_hash():
    from unblur.formats import png

    data = make_photo("PNG")
    chunks = list(png.chunks(data))
    coded = b"".join(chunk.data for chunk in chunks if chunk.type == b"IDAT")
    halves = png.make_chunk(b"IDAT", coded[:99]) + png.make_chunk(b"IDAT", coded[99:])
    divided = png.SIGNATURE + chunks[0].raw + halves + chunks[-1].raw
    assert content_of(divided).pixels == content_of(data).pixels


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8\xff", make_jpeg()[:60], b"II*\0" * 9])
def test_a_file_that_cannot_be_parsed_has_no_hash_of_pixels(data):
    assert content_of(data).pixels == ""


def test_overlapping_strips_are_not_hashed_for_ever():
    strips, data = 20_000, bytearray(make_photo("TIFF"))
    fields = [(256, 4, 1, 100), (257, 4, 1, strips), (262, 3, 1, 1), (278, 3, 1, 1), (258, 3, 1, 8)]
    at = len(data)
    data += np.full(strips, 8, "<u4").tobytes() + np.full(strips, 100_000, "<u4").tobytes()
    fields += [(273, 4, strips, at), (279, 4, strips, at + 4 * strips)]
    data[4:8] = len(data).to_bytes(4, "little")
    data += len(fields).to_bytes(2, "little")
    for tag, kind, count, value in sorted(fields):
        data += np.array([tag, kind], "<u2").tobytes() + np.array([count, value], "<u4").tobytes()
    data += bytes(4)
    assert content_of(bytes(data)).pixels == ""


def test_who_names_one_photo_alone_is_told_why_nothing_was_done(jpeg, deblur):
    deblur(jpeg, "--in-place")
    assert deblur(jpeg, "--in-place").stderr == f"{jpeg}: skipped: already done\n"
    assert deblur(jpeg, "--in-place", "-q").stderr == ""
    assert "is itself a result of unblur" in deblur(jpeg).stderr


def test_json_tells_why_a_result_is_skipped(library, deblur):
    deblur("-r", "--in-place", library)
    moved = rename_folder(library)
    lines = deblur("-r", "--in-place", moved, "--json").stdout.splitlines()
    assert {json.loads(line)["reason"] for line in lines} == {"already done"}


def test_objects_are_known_by_their_content_when_they_are_read(tmp_path):
    state = FileState(1, "ETag a", Content("JPEG 2", "3"))
    before = FileState(1, "ETag b", Content("JPEG 1", "2"))
    with History(tmp_path / "history.sqlite3") as history:
        history.record(Record(tmp_path / "a", before, tmp_path / "a", state, "settings"))
        memory = KnownResults(history, "settings")
        read = FileState(9, "ETag c", state.content)
        assert memory.recognise(tmp_path / "b", read, Options(in_place=True)) == "already done"
        assert not memory.is_done(Job(tmp_path / "c", tmp_path / "c"), Options(in_place=True))
