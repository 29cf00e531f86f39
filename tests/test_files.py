from __future__ import annotations

import dataclasses
import errno
import os
import stat
import struct
import subprocess
import sys

import pytest
from conftest import make_jpeg

from unblur.errors import PhotoError
from unblur.storage import attributes, drafts
from unblur.storage.attributes import ACCESS_LIST
from unblur.storage.drafts import FileDraft
from unblur.storage.files import read_header, read_photo_bytes
from unblur.storage.temporaries import TEMPORARY_FILES


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
    modes, write_all = [], drafts.write_all

    def look_and_write(descriptor, data):
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        write_all(descriptor, data)

    monkeypatch.setattr(drafts, "write_all", look_and_write)
    with FileDraft(tmp_path / "a.jpg", b"new", private) as draft:
        draft.publish(replaces=False)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "a.jpg").stat().st_mode) == 0o640


@pytest.mark.posix
@pytest.mark.parametrize(
    ("mode", "first"),
    [(0o644, 0o644), (0o664, 0o644), (0o444, 0o644), (0o640, 0o600), (0o604, 0o600), (0, 0o600)],
    ids=oct,
)
def test_where_permissions_cannot_be_changed_only_what_all_may_read_can_be_read_by_all(
    tmp_path, monkeypatch, mode, first
):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    _, attributes_of_photo = read_photo_bytes(photo)
    status = os.stat_result((stat.S_IFREG | mode, *attributes_of_photo.status[1:]))
    monkeypatch.setattr(attributes, "set_mode", lambda *unused: None)  # as some file systems do
    like = dataclasses.replace(attributes_of_photo, status=status)
    before = os.umask(0o022)
    try:
        with FileDraft(tmp_path / "a.jpg", b"new", like) as draft:
            draft.publish(replaces=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.jpg").stat().st_mode) == first


@pytest.mark.posix
def test_the_umask_keeps_a_result_from_others_where_permissions_cannot_be_changed(
    tmp_path, monkeypatch
):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    photo.chmod(0o644)
    monkeypatch.setattr(attributes, "set_mode", lambda *unused: None)
    before = os.umask(0o077)
    try:
        with FileDraft(tmp_path / "a.jpg", b"new", read_photo_bytes(photo)[1]) as draft:
            draft.publish(replaces=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.jpg").stat().st_mode) == 0o600


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
    with drafts.FileDraft(tagged, b"new") as draft:
        drafts.replace_with_backup(draft, tagged, backup)
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


@pytest.mark.skipif(sys.platform != "linux", reason="sets lists in the form of Linux")
@pytest.mark.parametrize("options", [[], ["--in-place"], ["--compare"]])
def test_a_folders_default_list_lets_nobody_read_a_result_who_cannot_read_its_photo(
    tagged, unblur, options
):
    tagged.chmod(0o640)
    everyone = 2**32 - 1
    # Version 2; owner rwx, user 1 rwx, group rwx, mask rwx, others r-x.
    entries = [(1, 7, everyone), (2, 7, 1), (4, 7, everyone), (16, 7, everyone), (32, 5, everyone)]
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(tagged.parent, "system.posix_acl_default", access)
    except OSError:
        pytest.skip("folders have no default lists here")
    assert unblur(tagged, *options).code == 0
    for path in tagged.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert ACCESS_LIST not in extended_attributes(path)


def test_an_attribute_that_cannot_be_read_does_not_hide_the_others(tagged, monkeypatch, unblur):
    read = attributes.getxattr

    def refuse_one(descriptor, name):
        return refuse() if name == "user.a" else read(descriptor, name)

    attributes.setxattr(tagged, "user.a", b"1")
    monkeypatch.setattr(attributes, "getxattr", refuse_one)
    unblur(tagged)
    monkeypatch.undo()
    result = tagged.with_name("tagged-unblurred.jpg")
    assert extended_attributes(result) == {"user.xdg.comment": b"the harbour"}


@pytest.mark.parametrize("call", ["listxattr", "getxattr", "setxattr"])
def test_where_a_failing_disk_would_lose_tags_the_photo_is_not_replaced(
    tagged, monkeypatch, unblur, call
):
    def full_disk(*unused):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(attributes, call, full_disk)
    assert unblur(tagged).code == 0  # the original keeps them
    result = unblur(tagged, "--in-place", "--no-backup")
    assert result.code == 1
    assert f"cannot write {tagged}: no space left on device" in result.stderr
    assert tagged.read_bytes() == make_jpeg()
    monkeypatch.undo()
    assert extended_attributes(tagged) == {"user.xdg.comment": b"the harbour"}


def test_a_result_whose_mark_cannot_be_read_is_not_deblurred_again(
    tagged, monkeypatch, unblur, brightening_weights
):
    unblur(tagged, "--in-place", "--no-backup", model=brightening_weights)
    result, read = tagged.read_bytes(), attributes.getxattr

    def failing_disk(file, name):
        if name == attributes.MARK:
            raise OSError(errno.EIO, "Input/output error")
        return read(file, name)

    monkeypatch.setattr(attributes, "getxattr", failing_disk)
    words = [tagged, "--in-place", "--no-backup", "--history", tagged.with_name("another record")]
    assert "input/output error" in unblur(*words, model=brightening_weights).stderr
    assert tagged.read_bytes() == result
    monkeypatch.undo()
    assert "already done" in unblur(*words, "-v", model=brightening_weights).stderr


def test_no_room_for_the_mark_is_no_reason_to_fail(tagged, monkeypatch, unblur):
    def set_all_but_the_mark(descriptor, name, value):
        if name == attributes.MARK:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.setxattr(descriptor, name, value)

    if sys.platform != "linux":
        pytest.skip("sets attributes as on Linux")
    monkeypatch.setattr(attributes, "setxattr", set_all_but_the_mark)
    assert unblur(tagged, "--in-place").code == 0
    monkeypatch.undo()
    assert extended_attributes(tagged) == {"user.xdg.comment": b"the harbour"}


@pytest.mark.posix
def test_where_an_access_list_cannot_be_set_the_group_gets_what_all_others_get(
    tagged, monkeypatch, unblur
):
    # Here the group's bits are the list's mask, which says nothing about the group itself.
    tagged.chmod(0o664)
    read = attributes.listxattr
    monkeypatch.setattr(attributes, "listxattr", lambda file: [*read(file), ACCESS_LIST])
    monkeypatch.setattr(attributes, "getxattr", lambda file, name: b"a list")
    monkeypatch.setattr(attributes, "setxattr", refuse)
    assert unblur(tagged).code == 0
    result = tagged.with_name("tagged-unblurred.jpg")
    assert stat.S_IMODE(result.stat().st_mode) == 0o644


@pytest.mark.posix
def test_a_program_that_writes_to_a_named_pipe_is_not_ended(tmp_path, unblur):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    (tmp_path / "a.jpg").write_bytes(make_jpeg())
    writer = subprocess.Popen([sys.executable, "-c", WRITER, pipe], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"opening\n"
    assert unblur("-r", "--in-place", tmp_path).code == 0
    assert "not a regular file" in unblur(pipe).stderr
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(timeout=0.3)
    with pipe.open("rb") as reader:
        assert reader.read() == b"bytes"
    assert writer.wait(timeout=10) == 0
    writer.stdout.close()


WRITER = """
import sys
print("opening", flush=True)
with open(sys.argv[1], "wb", buffering=0) as pipe:  # waits for a reader
    pipe.write(b"bytes")
"""


@pytest.fixture
def led_elsewhere(tmp_path, monkeypatch):
    """A file of somebody else's, to which the path of the temporary leads once it is written."""
    victim = tmp_path / "elsewhere" / "victim"
    victim.parent.mkdir()
    victim.write_bytes(b"not to be touched")
    victim.chmod(0o600)
    os.utime(victim, (1, 1))
    write_all = drafts.write_all

    def write_and_swap(descriptor, data):
        write_all(descriptor, data)
        (scratch,) = tmp_path.glob(TEMPORARY_FILES)
        scratch.unlink()
        scratch.symlink_to(victim)

    monkeypatch.setattr(drafts, "write_all", write_and_swap)
    return victim


@pytest.mark.posix
@pytest.mark.parametrize("mode", [None, 0o644])
def test_a_link_that_is_put_in_the_temporarys_place_leads_no_attribute_elsewhere(
    tagged, tmp_path, led_elsewhere, mode
):
    tagged.chmod(0o666)
    _, like = read_photo_bytes(tagged)
    before = led_elsewhere.stat()
    with FileDraft(tmp_path / "a.jpg", b"new", like, keep_time=True, mode=mode):
        pass
    after = led_elsewhere.stat()
    assert (after.st_mode, after.st_mtime, after.st_ctime) == (
        before.st_mode,
        before.st_mtime,
        before.st_ctime,
    )
    assert extended_attributes(led_elsewhere) == {}


@pytest.fixture
def of_another(tmp_path):
    """A photo of another user's, in a folder where we may write."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can give files away")
    photo = tmp_path / "theirs.jpg"
    photo.write_bytes(make_jpeg())
    os.chown(photo, 12345, 54321)
    photo.chmod(0o4640)
    return photo


@pytest.mark.parametrize("options", [[], ["--in-place"], ["--overwrite", "--compare"]])
def test_root_gives_results_to_the_owner_of_the_photo(of_another, unblur, options):
    assert unblur(of_another, *options).code == 0
    for path in of_another.parent.iterdir():
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (12345, 54321), path
        assert stat.S_IMODE(status.st_mode) == 0o4640


@pytest.mark.posix
def test_without_the_right_to_give_files_away_only_the_group_is_kept(tmp_path, monkeypatch):
    photo, asked = tmp_path / "photo.jpg", []
    photo.write_bytes(b"theirs")
    photo.chmod(0o4750)
    _, like = read_photo_bytes(photo)
    status = os.stat_result((*like.status[:4], 12345, 54321, *like.status[6:]))
    like = attributes.Attributes(status, {})

    def chown(file, owner, group):
        asked.append((type(file), owner, group))
        if owner != -1:
            refuse()

    monkeypatch.setattr(os, "chown", chown)
    with FileDraft(tmp_path / "a.jpg", b"new", like) as draft:
        draft.publish(replaces=False)
    assert asked == [(int, 12345, 54321), (int, -1, 54321)]
    mode = stat.S_IMODE((tmp_path / "a.jpg").stat().st_mode)
    assert mode == 0o750  # nobody is to run it as us
