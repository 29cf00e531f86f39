"""What other systems do is simulated: calls are replaced by ones that behave as theirs."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import stat
import sys
import threading
import time
import unicodedata
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from conftest import encode_image, make_jpeg, make_pixels
from PIL import Image

from unblur import config
from unblur.cli import main
from unblur.cli.terminal import find_screen
from unblur.errors import PhotoError
from unblur.extras import find_program
from unblur.options import USUAL_CELL, TerminalGraphics
from unblur.run import load_step
from unblur.storage import drafts, filesystems
from unblur.storage.drafts import FileDraft, write_all
from unblur.storage.files import read_photo_bytes, read_stream
from unblur.storage.places import longest_name
from unblur.storage.temporaries import host, sweep

SHARING_VIOLATION = 32

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="simulates the other systems")


@pytest.fixture(autouse=True)
def _nothing_is_remembered():
    filesystems.ignores_case.cache_clear()
    yield
    filesystems.ignores_case.cache_clear()


@pytest.fixture
def case_ignored(monkeypatch):
    """A file system where names that differ by case are one."""
    lstat = Path.lstat

    def find(path):
        if not os.path.lexists(path) and path.parent.is_dir():
            twins = [p for p in path.parent.iterdir() if p.name.lower() == path.name.lower()]
            path = twins[0] if twins else path
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", find)


@pytest.fixture
def windows_renames(monkeypatch):
    """A system without locks that neither renames nor removes what is open."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    paths, real = {}, SimpleNamespace(open=os.open, close=os.close)

    def refuse(path):
        if os.fspath(path) in paths.values():
            raise in_use()

    def refusing(call):
        return lambda path, *rest, **named: refuse(path) or call(path, *rest, **named)

    def opened(path, *rest, **named):
        descriptor = real.open(path, *rest, **named)
        paths[descriptor] = os.fspath(path)
        return descriptor

    def closed(descriptor):
        paths.pop(descriptor, None)
        real.close(descriptor)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "close", closed)
    for name in ("replace", "rename", "unlink"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


def in_use():
    error = PermissionError(errno.EACCES, "The process cannot access the file")
    error.winerror = SHARING_VIOLATION
    return error


def names(folder):
    return sorted(os.listdir(folder))  # noqa: PTH208 (tests replace what a Path calls)


@pytest.mark.parametrize("name", ["nvidia-smi", "powershell"])
def test_windows_takes_no_program_from_the_folder_of_the_photos(tmp_path, monkeypatch, name):
    photos, programs = tmp_path / "photos", tmp_path / "programs"
    for folder in (photos, programs):
        folder.mkdir()
        (folder / name).touch(mode=0o755)

    which = shutil.which

    def look_in_current_folder_first(command):
        found = which(os.path.join(os.curdir, command))  # noqa: PTH118 (as Windows has it)
        return found if os.path.dirname(command) == "" else which(command)  # noqa: PTH120

    monkeypatch.chdir(photos)
    monkeypatch.setattr(shutil, "which", look_in_current_folder_first)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("PATH", os.pathsep.join([".", "", str(programs)]))
    assert find_program(name) == str(programs / name)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program(name) is None


def test_windows_has_no_terminal_to_ask_how_it_shows_pictures(monkeypatch):
    for name in ("ttyname", "tcgetpgrp", "getpgrp", "O_NOCTTY"):
        monkeypatch.delattr(os, name)
    for name in ("fcntl", "termios", "tty"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    terminal.fileno = lambda: 2
    screen = find_screen(terminal)
    assert (screen.graphics, screen.cell) == (TerminalGraphics.BLOCKS, USUAL_CELL)


@pytest.mark.parametrize("command", [(), ("score",)], ids=["deblur", "score"])
def test_no_wait_is_without_end_since_windows_would_notice_no_signal(
    tmp_path, monkeypatch, identity_weights, command
):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(make_jpeg())
    get, read, endless = Future.result, load_step._read, []

    def noted(future, timeout=None):
        endless.append(timeout is None and not future.done())
        return get(future, timeout)

    def read_slowly(*arguments):
        time.sleep(0.05)
        return read(*arguments)

    monkeypatch.setattr(load_step, "_read", read_slowly)
    monkeypatch.setattr(Future, "result", noted)
    monkeypatch.setenv("UNBLUR_MODEL", str(identity_weights))
    monkeypatch.setenv("UNBLUR_DEVICE", "cpu")
    assert CliRunner().invoke(main, [*command, "-r", str(tmp_path)]).exit_code == 0
    assert endless
    assert not any(endless)


@pytest.mark.parametrize("replaces", [True, False])
def test_windows_is_never_asked_to_rename_an_open_file(tmp_path, windows_renames, replaces):
    if replaces:
        (tmp_path / "a.jpg").write_bytes(b"old")
    with FileDraft(tmp_path / "a.jpg", b"new") as draft:
        draft.publish(replaces)
    assert names(tmp_path) == ["a.jpg"]
    assert (tmp_path / "a.jpg").read_bytes() == b"new"


def test_what_a_killed_run_left_is_removed_on_windows_after_an_hour(
    tmp_path, windows_renames, pass_hours
):
    left = tmp_path / f".a.jpg.unblur-{host()}-abc123.tmp"
    left.write_bytes(b"half a")
    assert sweep(tmp_path) == 0
    pass_hours(1.1)
    assert sweep(tmp_path) == 1
    assert names(tmp_path) == []


def test_what_a_running_run_writes_stays_on_windows(tmp_path, windows_renames, pass_hours):
    left = tmp_path / f".a.jpg.unblur-{host()}-abc123.tmp"
    descriptor = os.open(left, os.O_CREAT | os.O_RDWR)
    pass_hours(1.1)
    sweep(tmp_path)
    os.close(descriptor)
    assert names(tmp_path) == [left.name]


def refusing_to_replace(monkeypatch, times, error):
    """Let os.replace fail some times."""
    real, calls, pauses = os.replace, [], []

    def replace(*paths):
        calls.append(paths)
        if len(calls) <= times:
            raise error
        real(*paths)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(drafts.time, "sleep", pauses.append)
    return calls, pauses


def write(path, data):
    with FileDraft(path, data) as draft:
        draft.publish(replaces=True)


def test_a_file_that_a_viewer_holds_for_a_moment_is_replaced_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"old")
    calls, pauses = refusing_to_replace(monkeypatch, 2, in_use())
    write(tmp_path / "a.jpg", b"new")
    assert (len(calls), len(pauses)) == (3, 2)
    assert (tmp_path / "a.jpg").read_bytes() == b"new"


def test_a_file_that_stays_open_is_told_in_one_line_and_kept(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"old")
    refusing_to_replace(monkeypatch, 1000, in_use())
    with pytest.raises(PhotoError, match=r"a\.jpg: .*cannot access.*open in another program\?$"):
        write(tmp_path / "a.jpg", b"new")
    assert names(tmp_path) == ["a.jpg"]
    assert (tmp_path / "a.jpg").read_bytes() == b"old"


def test_a_refusal_that_will_not_pass_is_not_waited_for(tmp_path, monkeypatch):
    error = PermissionError(errno.EPERM, "Operation not permitted")
    calls, pauses = refusing_to_replace(monkeypatch, 1000, error)
    with pytest.raises(PhotoError, match="operation not permitted$"):
        write(tmp_path / "a.jpg", b"new")
    assert (len(calls), len(pauses)) == (1, 0)


def test_windows_is_not_asked_to_make_a_result_read_only(tmp_path, monkeypatch):
    # It could not be renamed from its other name then.
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "photo.jpg").chmod(0o444)
    _, read_only = read_photo_bytes(tmp_path / "photo.jpg")
    monkeypatch.setattr(sys, "platform", "win32")
    with FileDraft(tmp_path / "a.jpg", b"", read_only) as draft:
        draft.publish(replaces=False)
    assert (tmp_path / "a.jpg").stat().st_mode & stat.S_IWUSR


def test_macos_writes_through_the_drives_cache(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    commands = []
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda descriptor, command: commands.append(command))
    write(tmp_path / "a.jpg", b"photo")
    assert commands == [51]


@pytest.fixture(params=[143, 255])
def longest(request, monkeypatch, tmp_path):
    """The most bytes of a name in the test's folder: 143 as in eCryptfs, or 255."""
    limit, real = request.param, os.pathconf

    def pathconf(path, name):
        inside = tmp_path in (Path(path), *Path(path).parents) and Path(path).exists()
        return limit if inside and name == "PC_NAME_MAX" else real(path, name)

    def limited(call):
        def checked(*arguments, **named):
            paths = [Path(argument) for argument in arguments if isinstance(argument, Path | str)]
            for path in paths:
                if tmp_path in path.parents and len(os.fsencode(path.name)) > limit:
                    raise OSError(errno.ENAMETOOLONG, "File name too long")
            return call(*arguments, **named)

        return checked

    monkeypatch.setattr(os, "pathconf", pathconf)
    for call in ("open", "link", "rename", "replace", "lstat", "stat", "mkdir"):
        monkeypatch.setattr(os, call, limited(getattr(os, call)))
    return limit


@pytest.mark.parametrize("letter", ["n", "ż"], ids=["one-byte", "two-byte"])
def test_a_name_of_the_greatest_length_is_shortened_for_result_and_comparison(
    tmp_path, unblur, longest, letter
):
    photo = tmp_path / (letter * ((longest - 4) // len(letter.encode())) + ".jpg")
    photo.write_bytes(make_jpeg())
    assert unblur(photo, "--compare").code == 0
    written = {name for name in names(tmp_path) if name != photo.name}
    for ending in ("-unblurred.jpg", "-compared.png"):
        (name,) = (name for name in written if name.endswith(ending))
        assert longest - 3 < len(os.fsencode(name)) <= longest
    assert unblur(photo, "--compare").stdout == b""  # done already


@pytest.mark.parametrize(
    "options", [["--in-place"], ["--in-place", "--no-backup"], ["--overwrite"]]
)
def test_where_only_owners_may_replace_files_those_of_others_are_refused_before_any_work(
    jpeg, unblur, monkeypatch, options
):
    (jpeg.parent / "photo-unblurred.jpg").write_bytes(b"of another user")
    before = {path: path.read_bytes() for path in jpeg.parent.iterdir()}
    jpeg.parent.chmod(0o1777)
    owner = jpeg.stat().st_uid
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: owner + 1)
        result = unblur(*options, jpeg)
    assert (result.code, {path: path.read_bytes() for path in jpeg.parent.iterdir()}) == (1, before)
    assert f"in {jpeg.parent} (sticky bit)" in result.stderr
    assert unblur(*options, jpeg).code == 0


def test_a_photo_is_replaced_and_kept_if_its_backups_name_just_fits(tmp_path, unblur, longest):
    fits = tmp_path / ("n" * (longest - len(".jpg.orig")) + ".jpg")
    fits.write_bytes(make_jpeg())
    assert unblur(fits, "--in-place").code == 0
    assert names(tmp_path) == [fits.name, f"{fits.name}.orig"]


def test_a_photo_whose_backups_name_does_not_fit_is_refused_before_any_work(
    tmp_path, unblur, longest
):
    photo = tmp_path / ("n" * (longest - len(".jpg.orig") + 1) + ".jpg")
    photo.write_bytes(make_jpeg())
    before = photo.read_bytes()
    planned = unblur(photo, "--in-place", "--dry-run")
    assert planned.code == 1
    assert "its name has no room for .orig: shorten it, or give --no-backup" in planned.stderr
    assert (names(tmp_path), photo.read_bytes()) == ([photo.name], before)
    assert unblur(photo, "--in-place", "--no-backup").code == 0


def test_the_folder_of_the_result_limits_its_name_even_before_it_is_there(
    tmp_path, unblur, longest, tmp_path_factory
):
    photo = tmp_path_factory.mktemp("other") / ("n" * 251 + ".jpg")
    photo.write_bytes(make_jpeg())
    assert unblur(photo, "-o", f"{tmp_path}/new/newer/").code == 0
    (name,) = names(tmp_path / "new" / "newer")
    assert len(name) == longest
    assert name.endswith("n-unblurred.jpg")


@pytest.mark.parametrize("letter", ["q", "ż", "🙂"], ids=["one-byte", "two-byte", "four-byte"])
def test_a_librarys_long_names_are_shortened_in_a_folder_that_takes_only_short_ones(
    tmp_path, unblur, longest, letter, tmp_path_factory
):
    library = tmp_path_factory.mktemp("library")
    photo = library / "trip" / (letter * (247 // len(letter.encode())) + ".jpg")
    photo.parent.mkdir()
    photo.write_bytes(make_jpeg())
    photo.with_name(f"{photo.name}.xmp").write_bytes(b"rating 5")
    result = unblur("-r", library, "-o", f"{tmp_path}/out", "--compare", "--sidecars")
    assert result.code == 0
    written = names(tmp_path / "out" / "trip")
    assert [len(os.fsencode(name)) <= longest for name in written] == [True] * len(written)
    endings = sorted(name.rpartition(letter)[2] for name in written)
    assert endings[:2] == ["-compared.png", "-unblurred.jpg"]
    assert unblur("-r", library, "-o", f"{tmp_path}/out", "--compare").stdout == b""  # done already


def test_a_sidecar_whose_name_has_no_room_is_named_in_a_note(tmp_path, unblur, longest):
    photo = tmp_path / ("n" * (longest - len(".jpg.xmp")) + ".jpg")
    photo.write_bytes(make_jpeg())
    photo.with_name(f"{photo.name}.xmp").write_bytes(b"rating 5")
    result = unblur(photo, "--sidecars")
    assert result.code == 0
    assert f"{photo.name}.xmp was not copied: cannot write" in result.stderr
    assert "too long" in result.stderr
    assert not list(tmp_path.glob(".*"))


def test_a_folders_name_that_does_not_fit_fails_its_photos_alone(
    tmp_path, unblur, longest, tmp_path_factory
):
    library = tmp_path_factory.mktemp("library")
    for folder in ("short", "n" * 200):
        (library / folder).mkdir()
        (library / folder / "a.jpg").write_bytes(make_jpeg())
    result = unblur("-r", library, "-o", f"{tmp_path}/out")
    assert names(tmp_path / "out" / "short") == ["a-unblurred.jpg"]
    assert result.code == (1 if longest < 200 else 0)
    assert ("name too long" in result.stderr) == (longest < 200)
    assert "unexpected" not in result.stderr


def test_a_models_name_that_is_too_long_is_refused_in_one_line(
    tmp_path, identity_weights, longest, monkeypatch
):
    monkeypatch.setenv("UNBLUR_MODELS_DIR", str(tmp_path / "models"))
    command = ["models", "import", str(identity_weights), "--name"]
    fits = "n" * (longest - len(".safetensors"))
    assert CliRunner().invoke(main, [*command, fits]).exit_code == 0
    result = CliRunner().invoke(main, [*command, fits + "n"])
    assert (result.exit_code, "too long" in result.stderr) == (4, True)
    assert result.stderr.count("\n") == 1
    assert names(tmp_path / "models") == [f"{fits}.safetensors"]


def test_a_system_that_does_not_tell_its_longest_names_takes_255_bytes(tmp_path, monkeypatch):
    for answer in (lambda path, name: -1, lambda path, name: 1530, None):
        monkeypatch.setattr(os, "pathconf", answer)
        assert longest_name(tmp_path / "a.jpg") == 255
    monkeypatch.delattr(os, "pathconf")
    assert longest_name(tmp_path / "a.jpg") == 255


NOT_SUPPORTED = ["ENOTSUP", "EOPNOTSUPP", "EINVAL", "ENOSYS", "ENOTTY"]
REAL_FAULTS = ["EIO", "ENOSPC", "EDQUOT", "EROFS"]


@pytest.fixture
def refuse_fsync(monkeypatch):
    """Let fsync fail, for files or for folders."""
    real = os.fsync

    def refuse(name, of_folders):
        number = getattr(errno, name)

        def fsync(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_folders:
                raise OSError(number, os.strerror(number))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)

    return refuse


@pytest.mark.parametrize("of_folders", [False, True], ids=["files", "folders"])
@pytest.mark.parametrize("name", NOT_SUPPORTED)
def test_a_file_system_without_fsync_takes_results(jpeg, unblur, refuse_fsync, name, of_folders):
    refuse_fsync(name, of_folders)
    assert unblur(jpeg).code == 0
    assert unblur(jpeg, "--in-place").code == 0
    assert names(jpeg.parent) == ["photo-unblurred.jpg", "photo.jpg", "photo.jpg.orig"]


@pytest.mark.parametrize(
    ("of_folders", "told"),
    [(False, r"cannot write .*a\.jpg: "), (True, r"a\.jpg was written, but may be lost if the")],
    ids=["files", "folders"],
)
@pytest.mark.parametrize("name", REAL_FAULTS)
def test_a_disk_that_fails_is_told(tmp_path, refuse_fsync, name, of_folders, told):
    refuse_fsync(name, of_folders)
    with pytest.raises(PhotoError, match=told):
        write(tmp_path / "a.jpg", b"photo")


def test_only_a_folder_may_be_flushed_in_vain_since_it_is_open_for_reading(tmp_path, refuse_fsync):
    refuse_fsync("EBADF", of_folders=True)
    write(tmp_path / "a.jpg", b"photo")
    refuse_fsync("EBADF", of_folders=False)
    with pytest.raises(PhotoError, match="bad file descriptor"):
        write(tmp_path / "b.jpg", b"photo")


@pytest.mark.parametrize("name", ["ENOTSUP", "EINVAL", "ENOTTY", "EIO"])
def test_macos_can_go_without_flushing_the_drives_cache_unless_the_disk_fails(
    tmp_path, monkeypatch, name
):
    fcntl = pytest.importorskip("fcntl")

    def refuse(descriptor, command):
        raise OSError(getattr(errno, name), name)

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    if name == "EIO":
        with pytest.raises(PhotoError, match="eio"):
            write(tmp_path / "a.jpg", b"photo")
    else:
        write(tmp_path / "a.jpg", b"photo")


def test_a_reader_that_has_gone_is_a_broken_pipe_on_windows_too(monkeypatch):
    def write(descriptor, data):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="Invalid argument"):
        write_all(1, b"path")
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(BrokenPipeError):
        write_all(1, b"path")


@pytest.fixture
def twins(tmp_path):
    """Two photos whose results get names that differ only by case."""
    for name in ("one/IMG.JPG", "two/img.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(make_jpeg())
    return [tmp_path / "one/IMG.JPG", tmp_path / "two/img.jpg"]


def test_twins_that_differ_by_case_are_both_done_where_case_counts(twins, tmp_path, unblur):
    if filesystems.ignores_case(tmp_path):
        pytest.skip("case does not count here")
    assert unblur(*twins, "-o", f"{tmp_path}/out/").code == 0
    assert names(tmp_path / "out") == ["IMG-unblurred.JPG", "img-unblurred.jpg"]


def test_twins_that_differ_by_case_never_replace_each_other(twins, tmp_path, unblur, case_ignored):
    result = unblur(*twins, "-o", f"{tmp_path}/out/", "--overwrite")
    assert result.code == 1
    assert f"{twins[0]} would also become {tmp_path}/out/img-unblurred.jpg" in result.stderr
    assert names(tmp_path / "out") == ["IMG-unblurred.JPG"]


@pytest.fixture
def folding_disk(tmp_path, monkeypatch):
    """A new disk that ignores case and the form of accents, and gives each spelling an inode.

    exFAT in user space does so. Only the names below this folder are looked up in that way.
    """
    disk = tmp_path / "disk"
    disk.mkdir()

    def fold(name):
        return unicodedata.normalize("NFC", name).casefold()

    def there(path):
        """The path by the names on the disk."""
        path = os.fspath(path)
        if not isinstance(path, str) or not path.startswith(f"{disk}/"):
            return path
        found = str(disk)
        for name in path.removeprefix(f"{disk}/").split("/"):
            listed = original["listdir"](found) if os.path.isdir(found) else []  # noqa: PTH112
            found += "/" + next((one for one in listed if fold(one) == fold(name)), name)
        return found

    def seen(call):
        def looked_up(*paths, **named):
            return call(*(there(p) if isinstance(p, str | Path) else p for p in paths), **named)

        return looked_up

    original = {"listdir": os.listdir}
    for name in ("stat", "lstat", "link", "rename", "replace", "open", "mkdir", "scandir"):
        monkeypatch.setattr(os, name, seen(getattr(os, name)))
    monkeypatch.setattr(os, "listdir", seen(original["listdir"]))
    return disk


ALIKE = [
    ("IMG.JPG", "img.jpg"),
    (unicodedata.normalize("NFC", "zdję.jpg"), unicodedata.normalize("NFD", "zdję.jpg")),
    ("Straße.jpg", "STRASSE.jpg"),
]
"""Names that a disk may take for one."""


@pytest.fixture(params=ALIKE, ids=["case", "accents", "sharp s"])
def alike(request, tmp_path):
    """Two photos whose results get names that a disk may take for one."""
    photos = [tmp_path / "one" / request.param[0], tmp_path / "two" / request.param[1]]
    for seed, photo in enumerate(photos):
        photo.parent.mkdir()
        pixels = Image.fromarray(make_pixels(48, 64, seed=seed))
        photo.write_bytes(encode_image(pixels, "JPEG"))
    return photos


@pytest.mark.posix
@pytest.mark.parametrize("words", [(), ("--overwrite",), ("--overwrite", "--jobs", "4")])
def test_no_result_replaces_its_twin_on_a_new_disk(alike, folding_disk, unblur, words):
    result = unblur(*alike, "-o", f"{folding_disk}/out/", *words)
    assert result.code == 1
    assert "1 done, 0 skipped, 1 failed" in result.stderr
    (written,) = (folding_disk / "out").iterdir()
    assert f"{written} on this disk, the result of another photo" in result.stderr
    content = written.read_bytes()
    again = unblur(*alike, "-o", f"{folding_disk}/out/", "--overwrite")
    assert again.code == 1
    assert f"{alike[0]} would also become {folding_disk}/out/" in again.stderr
    assert written.read_bytes() == content or "--jobs" in words


@pytest.mark.posix
def test_no_comparison_replaces_its_twin_on_a_new_disk(tmp_path, folding_disk, unblur, jpeg, png):
    other = png.rename(tmp_path / "PHOTO.png")
    result = unblur(jpeg, other, "-o", f"{folding_disk}/out/", "--overwrite", "--compare")
    assert result.code == 1
    assert names(folding_disk / "out") == ["photo-compared.png", "photo-unblurred.jpg"]


@pytest.mark.posix
def test_no_result_replaces_one_in_a_folder_with_a_twin(alike, folding_disk, tmp_path, unblur):
    for photo, name in zip(alike, ("Below", "below"), strict=True):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        photo.rename(folder / "photo.jpg")
    result = unblur("-r", tmp_path / "photos", "-o", f"{folding_disk}/out/", "--overwrite")
    assert result.code == 1
    assert "on this disk, the result of another photo" in result.stderr
    assert len([*(folding_disk / "out").rglob("*.jpg")]) == 1


def test_twins_are_both_done_again_where_they_are_two(alike, tmp_path, unblur):
    if filesystems.ignores_case(tmp_path):
        pytest.skip("case does not count here")
    for _ in range(2):
        assert unblur(*alike, "-o", f"{tmp_path}/out/", "--overwrite").code == 0
        assert len(names(tmp_path / "out")) == 2


def test_twins_that_differ_by_unicode_form_never_replace_each_other_on_macos(
    tmp_path, unblur, monkeypatch
):
    photos = []
    for form in ("NFC", "NFD"):
        photos.append(tmp_path / form / unicodedata.normalize(form, "zdjęcie.jpg"))
        photos[-1].parent.mkdir()
        photos[-1].write_bytes(make_jpeg())
    monkeypatch.setattr(filesystems.sys, "platform", "darwin")
    result = unblur(*photos, "-o", f"{tmp_path}/out/", "--overwrite", "--dry-run")
    assert "would also become" in result.stderr


def test_a_photo_named_in_other_case_is_known_from_the_first_run(jpeg, unblur, case_ignored):
    assert unblur(jpeg).code == 0
    other = jpeg.with_name("PHOTO.jpg")
    # As the system finds either by both names:
    other.hardlink_to(jpeg)
    other.with_name("PHOTO-unblurred.jpg").hardlink_to(jpeg.with_name("photo-unblurred.jpg"))
    result = unblur(other)
    assert (result.code, result.stdout) == (0, b"")


def test_a_missing_folder_is_like_the_one_above_it(tmp_path, case_ignored):
    (tmp_path / "Photos").mkdir()
    assert filesystems.ignores_case(tmp_path / "new" / "newer")


def test_a_dangling_link_does_not_hide_that_case_is_ignored(tmp_path, case_ignored):
    (tmp_path / "link").symlink_to("nowhere")
    assert filesystems.ignores_case(tmp_path)


@pytest.mark.parametrize(
    ("path", "prefixed"),
    [
        ("C:\\photos\\a.jpg", "\\\\?\\C:\\photos\\a.jpg"),
        ("\\\\server\\share\\a.jpg", "\\\\?\\UNC\\server\\share\\a.jpg"),
        ("\\\\?\\C:\\a.jpg", "\\\\?\\C:\\a.jpg"),
    ],
)
def test_long_paths_get_the_prefix_that_windows_wants(path, prefixed):
    assert filesystems.with_prefix(path) == prefixed


def test_only_long_paths_get_it_and_only_on_windows(tmp_path, monkeypatch):
    short, long = tmp_path / "a.jpg", tmp_path / ("b" * 200) / ("c" * 100)
    assert filesystems.unlimited(long) == long
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(filesystems, "with_prefix", lambda absolute: f"?{absolute}")
    assert filesystems.unlimited(short) == short
    assert filesystems.unlimited(long / ".." / "d") == Path(f"?{long.parent / 'd'}")


def test_photos_deep_below_a_folder_are_found_by_their_long_paths(tmp_path, unblur, monkeypatch):
    """The prefix is a link here, and what is longer than Windows takes cannot be opened."""
    photo = tmp_path / "library" / ("b" * 100) / ("c" * 100) / "a.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(make_jpeg())
    (tmp_path / "prefix").symlink_to("/")
    stat_of, scandir, opened = Path.stat, os.scandir, os.open

    def limited(call):
        def checked(path, *rest, **named):
            text = os.fspath(path)
            if isinstance(text, str) and "c" * 100 in text and "/prefix/" not in text:
                raise FileNotFoundError(errno.ENOENT, "The system cannot find the path")
            return call(path, *rest, **named)

        return checked

    monkeypatch.setattr(Path, "stat", limited(stat_of))
    monkeypatch.setattr(os, "scandir", limited(scandir))
    monkeypatch.setattr(os, "open", limited(opened))
    prefix = f"{tmp_path}/prefix"
    monkeypatch.setattr(
        filesystems,
        "with_prefix",
        lambda path: path if path.startswith(prefix) else prefix + path,
    )
    monkeypatch.setattr(filesystems, "LONGEST_PLAIN_PATH", len(str(tmp_path)) + 110)
    assert unblur("-r", tmp_path / "library").code == 1  # without the prefix it cannot be listed
    monkeypatch.setattr(filesystems, "sys", SimpleNamespace(platform="win32"))
    assert unblur("-r", tmp_path / "library").code == 0
    assert names(photo.parent) == ["a-unblurred.jpg", "a.jpg"]


@pytest.mark.parametrize(
    "name",
    ["con", "NUL.jpg", "aux.tar.jpg", "LPT1", "COM¹.png", "nul .jpg", "a:b.jpg", "a?.jpg",
     "a.", "a ", "a\nb.jpg"],
)  # fmt: skip
def test_names_that_windows_keeps_for_itself_are_known(name, monkeypatch):
    assert filesystems.can_be_named(name)
    monkeypatch.setattr(sys, "platform", "win32")
    assert not filesystems.can_be_named(name)


@pytest.mark.parametrize("name", ["console.jpg", "a.con", "com10.jpg", "zdjęcie 图片.jpg", ".a"])
def test_other_names_are_let_through(name, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert filesystems.can_be_named(name)


def test_a_result_with_a_devices_name_is_a_problem_before_work_starts(
    jpeg, unblur, monkeypatch, tmp_path
):
    monkeypatch.setattr(filesystems, "sys", SimpleNamespace(platform="win32"))
    result = unblur(jpeg, "-o", tmp_path / "aux.jpg")
    assert result.code == 1
    assert "aux.jpg cannot be the name of a file on Windows" in result.stderr


@pytest.mark.parametrize(
    "status",
    [
        {"st_file_attributes": stat.FILE_ATTRIBUTE_HIDDEN | stat.FILE_ATTRIBUTE_SYSTEM},
        {"st_flags": stat.UF_HIDDEN},
    ],
    ids=["windows", "macos"],
)
def test_what_the_system_marks_as_hidden_is_passed_over(tmp_path, unblur, monkeypatch, status):
    for folder in ("$RECYCLE.BIN", "trip"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(make_jpeg())
    lstat = Path.lstat

    def marked(path):
        real = lstat(path)
        extra = status if path.name == "$RECYCLE.BIN" else {}
        return SimpleNamespace(
            st_mode=real.st_mode, st_ino=real.st_ino, st_dev=real.st_dev, **extra
        )

    monkeypatch.setattr(Path, "lstat", marked)
    result = unblur("-r", tmp_path, "-v")
    assert f"{tmp_path / '$RECYCLE.BIN'}: passed over: hidden" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_junctions_are_not_followed(tmp_path, unblur, monkeypatch):
    (tmp_path / "My Pictures").mkdir()
    (tmp_path / "My Pictures" / "a.jpg").write_bytes(make_jpeg())
    (tmp_path / "b.jpg").write_bytes(make_jpeg())
    lstat = Path.lstat

    def with_tag(path):
        real = lstat(path)
        tag = 0xA0000003 if path.name == "My Pictures" else 0
        return SimpleNamespace(
            st_mode=real.st_mode, st_ino=real.st_ino, st_dev=real.st_dev, st_reparse_tag=tag
        )

    monkeypatch.setattr(Path, "lstat", with_tag)
    result = unblur("-r", tmp_path, "-v")
    assert "My Pictures: passed over: a link to a folder" in result.stderr
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_from_powershell_begins_with_a_byte_order_mark(tmp_path, unblur, encoding):
    photo = tmp_path / "zdjęcie.jpg"
    photo.write_bytes(make_jpeg())
    listed = tmp_path / "list.txt"
    listed.write_bytes(f"{photo}\r\n".encode(encoding))
    assert unblur("--files-from", listed).code == 0


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_without_a_mark_is_told_what_to_do(tmp_path, unblur, encoding):
    listed = tmp_path / "list.txt"
    listed.write_bytes("C:\\a.jpg\r\nC:\\b.jpg\r\n".encode(encoding))
    result = unblur("--files-from", listed)
    assert result.code == 2
    assert (
        f"{listed}: is in UTF-16 or another encoding: save it with the encoding UTF-8"
        in result.stderr
    )


def test_a_configuration_may_begin_with_a_byte_order_mark(jpeg, tmp_path, unblur):
    config = tmp_path / "unblur.toml"
    config.write_text('suffix = "-ostrość"\n', "utf-8-sig")
    assert unblur("--config", config, jpeg).code == 0
    assert names(tmp_path) == ["photo-ostrość.jpg", "photo.jpg", "unblur.toml"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1250"])
def test_a_configuration_in_another_encoding_is_told_what_to_do(jpeg, tmp_path, unblur, encoding):
    config = tmp_path / "unblur.toml"
    config.write_text('suffix = "-ostrość"\n', encoding)
    result = unblur("--config", config, jpeg)
    assert result.code == 2
    line = f"{config}: is in UTF-16 or another encoding: save it with the encoding UTF-8"
    assert line in result.stderr


def test_a_list_in_another_encoding_is_told_where_names_are_utf_8(unblur, tmp_path, monkeypatch):
    listed = tmp_path / "list.txt"
    listed.write_bytes("zdjęcie.jpg".encode("cp1250"))
    fsdecode = os.fsdecode
    monkeypatch.setattr(
        os, "fsdecode", lambda n: n.decode("utf-8") if isinstance(n, bytes) else fsdecode(n)
    )
    result = unblur("--files-from", listed)
    assert result.code == 2
    assert "is in UTF-16 or another encoding" in result.stderr


def test_a_folder_that_cannot_be_made_is_told_in_one_line(jpeg, unblur, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", refuse)
    result = unblur(jpeg, "-o", f"{tmp_path}/new/")
    assert f"cannot create {tmp_path / 'new'}: no space left on device" in result.stderr


def test_on_windows_ctrl_c_ends_the_wait_for_a_silent_standard_input(monkeypatch):
    reader, writer = os.pipe()
    readers, read = [], os.read

    def blocking_read(descriptor, size):  # which no signal interrupts there
        readers.append(threading.current_thread())
        return read(descriptor, size)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "read", blocking_read)
    stream = SimpleNamespace(fileno=lambda: reader, read1=pytest.fail)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        read_stream(stream)
    os.close(writer)
    readers[0].join(5)
    assert (readers[0].daemon, readers[0].is_alive()) == (True, False)
    os.close(reader)


def test_on_windows_a_pipe_is_read_to_its_end(monkeypatch):
    reader, writer = os.pipe()
    os.write(writer, b"a photo")
    os.close(writer)
    monkeypatch.setattr(sys, "platform", "win32")
    with os.fdopen(reader, "rb") as stream:
        assert read_stream(stream) == b"a photo"
    assert read_stream(io.BytesIO(b"another")) == b"another"


@pytest.mark.posix
def test_a_configuration_that_is_a_folder_gets_one_plain_line(jpeg, tmp_path, unblur, monkeypatch):
    (tmp_path / "unblur" / "unblur.toml").mkdir(parents=True)
    monkeypatch.setattr(config, "config_file", lambda: tmp_path / "unblur" / "unblur.toml")
    result = unblur(jpeg)
    assert result.code == 2
    assert "unblur.toml: cannot be read: is a directory" in " ".join(result.stderr.split())
