from __future__ import annotations

import errno
import os
import socket
import time
from pathlib import Path

import pytest

from unblur.storage import temporaries
from unblur.storage.drafts import FileDraft
from unblur.storage.files import read_photo_bytes
from unblur.storage.json_files import JsonFile
from unblur.storage.temporaries import has_unfinished, host, sweep, temporary_beside, time_in


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def on_host(monkeypatch):
    """Make the program believe that it runs on another machine."""

    def on_host(name, number=b""):
        monkeypatch.setattr(socket, "gethostname", lambda: name)
        monkeypatch.setattr(temporaries, "MACHINE_ID", _Number(number))
        host.cache_clear()

    yield on_host
    host.cache_clear()


class _Number:
    def __init__(self, number):
        self.number = number

    def read_bytes(self):
        return self.number


def killed_run(folder, name="a.jpg"):
    """Leave a temporary file as a killed run does."""
    path = temporaries._create(folder / name, 0o666)
    os.close(path.descriptor)
    return path.path


def test_a_name_of_the_longest_length_can_be_written(tmp_path):
    path = tmp_path / ("ż" * 125 + "a.jpg")
    with FileDraft(path, b"photo") as draft:
        draft.publish(replaces=False)
    assert names(tmp_path) == [path.name]


def test_what_another_run_writes_stays_however_long_that_takes(tmp_path, pass_hours):
    pytest.importorskip("fcntl", reason="files cannot be locked here")
    with FileDraft(tmp_path / "a.jpg", b"new") as draft:
        pass_hours(2)
        assert sweep(tmp_path) == 0
        draft.publish(replaces=False)
    assert (tmp_path / "a.jpg").read_bytes() == b"new"


def test_what_another_run_writes_stays_though_it_has_its_photos_old_time(tmp_path):
    (tmp_path / "old.jpg").touch()
    os.utime(tmp_path / "old.jpg", (0, 0))
    _, old = read_photo_bytes(tmp_path / "old.jpg")
    with FileDraft(tmp_path / "a.jpg", b"new", like=old, keep_time=True) as draft:
        assert sweep(tmp_path) == 0
        assert sweep(tmp_path, trust_locks=False) == 0
        draft.publish(replaces=False)
    assert (tmp_path / "a.jpg").stat().st_mtime == 0


@pytest.mark.parametrize("still_holds_it", [True, False])
def test_a_file_that_another_run_sweeps_before_it_is_locked_is_written_anew(
    tmp_path, monkeypatch, still_holds_it
):
    pytest.importorskip("fcntl", reason="files cannot be locked here")
    lock = temporaries._lock

    def be_too_late(descriptor):
        monkeypatch.setattr(temporaries, "_lock", lock)
        (scratch,) = tmp_path.iterdir()
        scratch.unlink()
        if still_holds_it:
            raise BlockingIOError
        return lock(descriptor)

    monkeypatch.setattr(temporaries, "_lock", be_too_late)
    with FileDraft(tmp_path / "a.jpg", b"photo") as draft:
        draft.publish(replaces=False)
    assert names(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("nas", "nas-"),
        ("Jan's MacBook-Pro.local", "jan-s-macboo-"),
        ("\x1b[31m/../x", "31m-x-"),
        ("żółw", "w-"),
        ("", ""),
    ],
)
def test_a_temporary_file_carries_the_name_of_its_machine(tmp_path, on_host, name, shown):
    on_host(name)
    with temporary_beside(tmp_path / "a.jpg") as temporary:
        start, _, rest = temporary.path.name.partition(".unblur-")
        assert start == ".a.jpg"
        assert rest.startswith(shown)
        assert rest.isascii()
        assert len(rest) <= len("123456789012-abcd-123456.tmp")
        assert temporaries._has_our_locks(temporary.path)


def test_machines_that_are_called_alike_are_told_apart_by_their_numbers(on_host):
    hosts = set()
    for number in (b"", b"one", b"two"):
        on_host("localhost", number)
        hosts.add(host())
    assert len(hosts) == 3


def test_what_a_killed_run_of_this_machine_left_is_removed_at_once(tmp_path):
    pytest.importorskip("fcntl", reason="files cannot be locked here")
    killed_run(tmp_path)
    assert has_unfinished(tmp_path)
    assert sweep(tmp_path) == 1
    assert names(tmp_path) == []


def test_a_cache_is_written_without_what_a_killed_run_left(tmp_path):
    pytest.importorskip("fcntl", reason="files cannot be locked here")
    killed_run(tmp_path, "self-tests.json")
    JsonFile(tmp_path / "self-tests.json").write({})
    assert names(tmp_path) == ["self-tests.json"]


def test_what_another_machine_writes_stays_although_its_lock_is_not_seen(
    tmp_path, on_host, pass_hours
):
    on_host("nas")
    written = killed_run(tmp_path)  # to us: locks of others are not seen on some network disks
    on_host("laptop")
    assert not has_unfinished(tmp_path)
    assert sweep(tmp_path) == 0
    assert names(tmp_path) == [written.name]
    pass_hours(1.1)
    assert sweep(tmp_path) == 1


@pytest.mark.parametrize("hours", [-50, 50])
def test_age_is_told_by_the_clock_of_the_file_system(tmp_path, on_host, monkeypatch, hours):
    on_host("nas")
    written = killed_run(tmp_path)
    on_host("laptop")
    clock = time.time  # of this machine, which is wrong
    monkeypatch.setattr(time, "time", lambda: clock() + 3600 * hours)
    assert abs(time_in(tmp_path) - clock()) < 60
    assert sweep(tmp_path) == 0
    assert names(tmp_path) == [written.name]


@pytest.mark.parametrize("hours", [-50, 50])
def test_a_server_whose_clock_is_wrong_ages_its_files_by_it(
    tmp_path, on_host, monkeypatch, pass_hours, hours
):
    on_host("nas")
    killed_run(tmp_path)
    on_host("laptop")
    times = temporaries._times
    monkeypatch.setattr(
        temporaries, "_times", lambda status: tuple(t + 3600 * hours for t in times(status))
    )
    assert sweep(tmp_path) == 0
    pass_hours(1.1)
    assert sweep(tmp_path) == 1


@pytest.mark.parametrize("year", [1960, 2040, 2200])
def test_what_a_killed_run_left_with_its_photos_time_is_removed_after_an_hour(
    tmp_path, on_host, pass_hours, year
):
    on_host("nas")
    seconds = (year - 1970) * 31_556_952
    os.utime(killed_run(tmp_path), (seconds, seconds))
    on_host("laptop")
    assert sweep(tmp_path) == 0
    pass_hours(1.1)
    assert sweep(tmp_path) == 1


def test_where_no_file_can_be_made_nothing_is_removed(tmp_path, on_host, monkeypatch):
    on_host("nas")
    written = killed_run(tmp_path)
    on_host("laptop")

    def refuse(folder):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(temporaries, "time_in", refuse)
    assert sweep(tmp_path) == 0
    assert names(tmp_path) == [written.name]


def test_a_lock_of_another_machine_that_is_seen_is_heeded(tmp_path, on_host, pass_hours):
    pytest.importorskip("fcntl", reason="files cannot be locked here")
    on_host("nas")
    with temporary_beside(tmp_path / "a.jpg") as temporary:
        on_host("laptop")
        pass_hours(2)
        assert sweep(tmp_path) == 0
        assert temporary.path.exists()


@pytest.mark.parametrize(
    "name",
    [".a.jpg.unblur-notes.tmp", ".a.jpg.unblur-nas-12345.tmp", "a.unblur-nas-123456.tmp",
     ".a.unblur-nas-123456.tmp.jpg"],
)  # fmt: skip
def test_files_that_are_only_called_alike_stay(tmp_path, pass_hours, name):
    (tmp_path / name).touch()
    pass_hours(100)
    assert sweep(tmp_path) == 0
    assert names(tmp_path) == [name]


def test_a_folder_that_lets_nobody_remove_files_takes_a_result(jpeg, unblur, monkeypatch):
    unlink = Path.unlink

    def refuse(path, *rest, **options):
        if path.name.endswith(".tmp"):  # as in an append-only folder, see chattr(1)
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(path, *rest, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    result = unblur(jpeg)
    assert (result.code, "photo.jpg -> " in result.stderr) == (0, True)
