"""Servers of SFTP and FTP: folders are made, and files appear whole."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from conftest import make_jpeg
from fsspec.implementations.local import LocalFileSystem

from unblur.storage import objects, stores
from unblur.storage.places import parse_place
from unblur.storage.temporaries import sweep

PHOTO = make_jpeg()


class Sftp(LocalFileSystem):
    """A server that has the paths of this machine, with the gaps of fsspec's class for SFTP."""

    cachable = False
    failures: list[Exception] = []  # noqa: RUF012 (each test has its own)
    replaces_in_one_step = True

    def __init__(self, host, username, password):
        assert (host, username, password) == ("host", "me", "secret")
        super().__init__()
        self.ftp = self

    def rename(self, old, new):
        """As SFTP 3 has it: a name that is taken is refused."""
        if Path(new).exists():
            raise OSError("Failure")
        Path(old).rename(new)

    def posix_rename(self, old, new):
        """As an extension of OpenSSH has it, which other servers lack."""
        if not self.replaces_in_one_step:
            raise OSError("Operation unsupported")
        Path(old).replace(new)

    def mv(self, old, new):
        raise AssertionError("replaces or not, as the server likes")

    def pipe_file(self, path, value, mode="overwrite", **options):
        failure = self.failures.pop(0) if self.failures else None
        super().pipe_file(path, value[:9] if failure else value)
        if failure:
            raise failure

    def cp_file(self, path1, path2, **options):
        raise NotImplementedError


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The address of an empty folder."""
    monkeypatch.setattr(Sftp, "failures", [])
    monkeypatch.setattr(stores, "_store_class", lambda scheme: Sftp)
    (tmp_path / "in").mkdir()
    return f"sftp://me:secret@host{tmp_path.as_posix()}"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.posix
@pytest.mark.parametrize("name", ["a.jpg", "a b#1?x=2%20.jpg", "ü✓.jpg"])
def test_a_photo_is_deblurred_into_a_new_folder_once(server, tmp_path, unblur, name):
    (tmp_path / "in" / name).write_bytes(PHOTO)
    words = "-r", f"{server}/in", "-o", f"{server}/out/of/it/", "-v"
    assert unblur(*words).code == 0
    assert files(tmp_path / "out") == [f"of/it/{name[:-4]}-unblurred.jpg"]
    second = unblur(*words)
    assert (second.stdout, "already done" in second.stderr) == (b"", True)
    assert "secret" not in second.stderr


@pytest.mark.posix
def test_in_place_the_original_is_kept_without_a_copy_on_the_server(
    server, tmp_path, unblur, brightening_weights
):
    (tmp_path / "in/a.jpg").write_bytes(PHOTO)
    result = unblur(f"{server}/in/a.jpg", "--in-place", model=brightening_weights)
    assert result.code == 0, result.stderr
    assert files(tmp_path / "in") == ["a.jpg", "a.jpg.orig"]
    assert (tmp_path / "in/a.jpg.orig").read_bytes() == PHOTO
    assert (tmp_path / "in/a.jpg").read_bytes() != PHOTO


@pytest.fixture
def old_server(server, monkeypatch):
    """A server that replaces no file in one step."""
    monkeypatch.setattr(Sftp, "replaces_in_one_step", False)
    return server


@pytest.mark.posix
@pytest.mark.parametrize("words", [["--overwrite"], ["--in-place", "--no-backup"]])
def test_a_server_that_cannot_replace_keeps_the_old_file_until_the_new_one_is_there(
    old_server, tmp_path, unblur, brightening_weights, words
):
    photo = tmp_path / "in/a.jpg"
    photo.write_bytes(PHOTO)
    target = photo if "--in-place" in words else tmp_path / "in/a-unblurred.jpg"
    target.write_bytes(PHOTO)
    result = unblur(f"{old_server}/in/a.jpg", *words, "-v", model=brightening_weights)
    assert (result.code, target.read_bytes() != PHOTO) == (0, True)
    assert "the server replaces no file in one step" in result.stderr
    assert files(tmp_path / "in") == sorted({"a.jpg", target.name})


@pytest.mark.posix
def test_what_such_a_server_does_not_rename_stays_under_its_old_name(
    old_server, tmp_path, monkeypatch
):
    def rename(self, old, new):
        if new.endswith("/a.jpg") and ".tmp" in old:
            raise OSError("Failure")
        Path(old).rename(new)

    monkeypatch.setattr(Sftp, "rename", rename)
    (tmp_path / "in/a.jpg").write_bytes(b"old")
    with pytest.raises(objects.PhotoError, match="cannot write"):
        objects.write(parse_place(f"{old_server}/in/a.jpg"), b"new", replaces=True)
    assert files(tmp_path) == ["in/a.jpg"]
    assert (tmp_path / "in/a.jpg").read_bytes() == b"old"


@pytest.mark.posix
def test_what_a_killed_run_has_kept_is_not_replaced(old_server, tmp_path):
    (tmp_path / "in/a.jpg").write_bytes(b"old")
    (tmp_path / "in/a.jpg.before-unblur").write_bytes(b"older")
    with pytest.raises(objects.PhotoError, match=r"before-unblur exists: .* move it away"):
        objects.write(parse_place(f"{old_server}/in/a.jpg"), b"new", replaces=True)
    assert (tmp_path / "in/a.jpg.before-unblur").read_bytes() == b"older"


@pytest.mark.posix
def test_a_file_that_appears_meanwhile_is_refused_by_the_server_itself(
    server, tmp_path, monkeypatch
):
    url = parse_place(f"{server}/in/a.jpg")
    (tmp_path / "in/a.jpg").write_bytes(b"somebody's")
    states = iter([None])  # what it was just before
    real = objects.state_of
    monkeypatch.setattr(objects, "state_of", lambda url: next(states, real(url)))
    with pytest.raises(objects.PhotoError, match="exists"):
        objects.write(url, b"new", replaces=False)
    assert (files(tmp_path), (tmp_path / "in/a.jpg").read_bytes()) == (["in/a.jpg"], b"somebody's")


@pytest.mark.posix
@pytest.mark.parametrize(
    "failure", [ConnectionResetError(errno.ECONNRESET, "reset"), EOFError(), TimeoutError("slow")]
)
def test_an_upload_that_breaks_off_is_repeated_and_never_seen(server, tmp_path, unblur, failure):
    photo = tmp_path / "in/a.jpg"
    photo.write_bytes(PHOTO)
    Sftp.failures[:] = [failure]
    assert "trying again" in unblur(photo, "-o", f"{server}/out/", "-v").stderr
    assert files(tmp_path / "out") == ["a-unblurred.jpg"]
    assert (tmp_path / "out/a-unblurred.jpg").read_bytes().endswith(b"\xff\xd9")


@pytest.mark.posix
@pytest.mark.parametrize("failure", [ConnectionResetError("reset"), OSError(errno.ENOSPC, "full")])
def test_an_upload_that_always_breaks_off_leaves_the_old_file(server, tmp_path, failure):
    old = tmp_path / "in/a.jpg"
    old.write_bytes(PHOTO)
    Sftp.failures[:] = [failure] * 9
    with pytest.raises(objects.PhotoError, match="cannot write sftp://me@host"):
        objects.write(parse_place(f"{server}/in/a.jpg"), b"new photo", replaces=True)
    assert (files(tmp_path), old.read_bytes()) == (["in/a.jpg"], PHOTO)


@pytest.mark.posix
def test_what_a_killed_upload_leaves_is_removed_like_other_temporary_files(
    server, tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    def leave(store, path):
        raise Killed

    Sftp.failures[:] = [Killed()]
    monkeypatch.setattr(Sftp, "rm_file", leave)
    with pytest.raises(Killed):
        objects.write(parse_place(f"{server}/in/{'long' * 62}.jpg"), b"new", replaces=True)
    assert len(files(tmp_path)) == 1
    assert sweep(tmp_path / "in") == 1
    assert files(tmp_path) == []


@pytest.mark.posix
def test_a_refusal_is_not_repeated(server, tmp_path):
    Sftp.failures[:] = [PermissionError(errno.EACCES, "Permission denied")] * 2
    with pytest.raises(objects.PhotoError, match="Permission denied"):
        objects.write(parse_place(f"{server}/in/a.jpg"), b"new", replaces=True)
    assert len(Sftp.failures) == 1


def test_a_thread_keeps_its_connection(monkeypatch):
    """Libraries keep a connection for each thread, and one for each request would take long."""
    import threading

    from unblur.storage.waiting import in_thread

    first, second = in_thread(threading.get_ident), in_thread(threading.get_ident)
    assert first == second != threading.get_ident()
