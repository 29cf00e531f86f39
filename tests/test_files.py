from __future__ import annotations

import errno
import os
import stat
import struct

import pytest
from conftest import make_jpeg

from unblur import attributes, files
from unblur.attributes import ACCESS_LIST
from unblur.errors import PhotoError
from unblur.files import FileDraft, read_header, read_photo_bytes, sweep


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refuse(*unused):
    raise OSError(errno.EPERM, "Operation not permitted")


def write_atomically(path, data, replaces):
    with FileDraft(path, data) as draft:
        draft.publish(replaces)


def test_a_file_appears_whole_and_alone(tmp_path):
    write_atomically(tmp_path / "a.jpg", b"photo", replaces=False)
    assert names(tmp_path) == ["a.jpg"]
    assert (tmp_path / "a.jpg").read_bytes() == b"photo"


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"old")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(PhotoError, match="no space left on device"):
        write_atomically(tmp_path / "a.jpg", b"new", replaces=True)
    assert names(tmp_path) == ["a.jpg"]
    assert (tmp_path / "a.jpg").read_bytes() == b"old"


def test_an_interrupted_write_leaves_no_litter(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.jpg", b"new", replaces=True)
    assert names(tmp_path) == []


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_appeared_meanwhile_is_not_replaced(tmp_path, monkeypatch, hard_links):
    if not hard_links:
        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a.jpg").write_bytes(b"somebody's")
    with pytest.raises(PhotoError, match="exists"):
        write_atomically(tmp_path / "a.jpg", b"new", replaces=False)
    assert (tmp_path / "a.jpg").read_bytes() == b"somebody's"
    assert names(tmp_path) == ["a.jpg"]


def test_without_hard_links_a_new_file_is_still_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)
    write_atomically(tmp_path / "a.jpg", b"new", replaces=False)
    assert (tmp_path / "a.jpg").read_bytes() == b"new"


def test_a_name_of_the_longest_length_can_be_written(tmp_path):
    path = tmp_path / ("ż" * 125 + "a.jpg")
    write_atomically(path, b"photo", replaces=False)
    assert names(tmp_path) == [path.name]


@pytest.mark.posix
def test_a_new_file_gets_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a.jpg", b"photo", replaces=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.jpg").stat().st_mode) == 0o640


@pytest.mark.posix
def test_a_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoError, match="not a regular file"):
        read_photo_bytes(tmp_path / "pipe.jpg")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"first half")
    real_fstat, seen = os.fstat, []

    def fstat(descriptor):
        seen.append(descriptor)
        status = real_fstat(descriptor)
        if len(seen) == 2:  # the state before reading
            with path.open("ab") as file:
                file.write(b" and second half")
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    os.utime(path, ns=(0, 0))
    with pytest.raises(PhotoError, match="changed while it was read"):
        read_photo_bytes(path)


def test_a_missing_file_has_no_header(tmp_path):
    assert read_header(tmp_path / "missing.jpg", 64) is None


def test_a_missing_file_is_named_as_missing(tmp_path):
    with pytest.raises(PhotoError, match="no such file"):
        read_photo_bytes(tmp_path / "missing.jpg")


@pytest.mark.posix
def test_a_private_photo_is_never_open_to_others_not_even_while_it_is_written(
    tmp_path, monkeypatch
):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"private")
    photo.chmod(0o640)
    _, private = read_photo_bytes(photo)
    modes, write_all = [], files.write_all

    def look_and_write(descriptor, data):
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        write_all(descriptor, data)

    monkeypatch.setattr(files, "write_all", look_and_write)
    with FileDraft(tmp_path / "a.jpg", b"new", private) as draft:
        draft.publish(replaces=False)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "a.jpg").stat().st_mode) == 0o640


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


@pytest.fixture(params=["os", "xattr"])
def tagged(tmp_path, monkeypatch, request):
    """A file with a comment of the user's, reached as on Linux and as on macOS."""
    module = pytest.importorskip(request.param)
    path = tmp_path / "tagged.jpg"
    path.write_bytes(make_jpeg())
    try:
        for name in ("getxattr", "listxattr", "setxattr"):
            monkeypatch.setattr(attributes, name, getattr(module, name))
        attributes.setxattr(path, "user.xdg.comment", b"the harbour")
    except (AttributeError, OSError):
        pytest.skip("files have no extended attributes here")
    return path


def extended_attributes(path):
    return {
        name: attributes.getxattr(path, name)
        for name in attributes.listxattr(path)
        if not name.startswith("com.apple.")  # which macOS gives to any file
    }


@pytest.mark.parametrize("options", [[], ["--in-place", "--compare"]])
def test_a_result_has_its_photos_extended_attributes(tagged, unblur, options):
    assert unblur(tagged, *options).code == 0
    result = tagged if options else tagged.with_name("tagged-unblurred.jpg")
    assert extended_attributes(result)["user.xdg.comment"] == b"the harbour"
    assert all(extended_attributes(path) == {} for path in tagged.parent.glob("*-compared.png"))


def test_finders_tags_go_along_and_what_macos_keeps_for_itself_does_not(
    tmp_path, monkeypatch, unblur
):
    tags = {"com.apple.metadata:_kMDItemUserTags": b"bplist00"}
    of_photo, of_result = tags | {"com.apple.quarantine": b"0083"}, {}
    for name, value in {
        "HAS_EXTENDED": True,
        "listxattr": lambda descriptor: list(of_photo),
        "getxattr": lambda descriptor, name: of_photo[name],
        "setxattr": lambda path, name, value: of_result.update({name: value}),
    }.items():
        monkeypatch.setattr(attributes, name, value, raising=False)
    (tmp_path / "a.jpg").write_bytes(make_jpeg())
    assert unblur(tmp_path / "a.jpg").code == 0
    assert of_result == tags


def test_stripped_of_metadata_a_result_has_no_extended_attributes(tagged, unblur):
    assert unblur(tagged, "--strip-metadata").code == 0
    assert extended_attributes(tagged.with_name("tagged-unblurred.jpg")) == {}


def test_a_backup_on_a_disk_without_hard_links_has_them_too(tagged, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)
    backup = tagged.with_name("backup.jpg")
    files.keep_backup(tagged, backup)
    assert backup.read_bytes() == make_jpeg()
    assert extended_attributes(backup) == {"user.xdg.comment": b"the harbour"}


def test_a_result_can_be_read_by_those_who_can_read_its_photo(tagged, unblur):
    # In Linux' own form: version 2; owner rw-, user 1 r--, group ---, mask r--, others ---.
    entries = [(1, 6, 2**32 - 1), (2, 4, 1), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1)]
    entries.append((32, 0, 2**32 - 1))
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        attributes.setxattr(tagged, ACCESS_LIST, access)
    except OSError:
        pytest.skip("files have no access lists here")
    unblur(tagged, "--strip-metadata")
    result = tagged.with_name("tagged-unblurred.jpg")
    assert extended_attributes(result) == {ACCESS_LIST: access}


@pytest.mark.parametrize("still_holds_it", [True, False])
def test_a_file_that_another_run_sweeps_before_it_is_locked_is_written_anew(
    tmp_path, monkeypatch, still_holds_it
):
    pytest.importorskip("fcntl", reason="files cannot be locked here")
    lock = files._lock

    def be_too_late(descriptor):
        monkeypatch.setattr(files, "_lock", lock)
        (scratch,) = tmp_path.iterdir()
        scratch.unlink()
        if still_holds_it:
            raise BlockingIOError
        return lock(descriptor)

    monkeypatch.setattr(files, "_lock", be_too_late)
    write_atomically(tmp_path / "a.jpg", b"photo", replaces=False)
    assert names(tmp_path) == ["a.jpg"]
