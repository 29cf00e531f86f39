"""A run in which one call to the system fails, or never returns, harms no photo.

The calls that concern a folder are counted. Then the run is repeated: first its first call fails,
then its second one, and so on.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import sys
import threading
from pathlib import Path

import fakes
import pytest
from conftest import make_jpeg

from unblur.errors import UnblurError
from unblur.network.device_kinds import CPU
from unblur.network.pending_photo import Pending
from unblur.options import Options
from unblur.run.history import IN_MEMORY, History
from unblur.run.local_runner import LocalRunner
from unblur.run.plan import make_plan
from unblur.run.report import NOTHING_USED, Status
from unblur.run.restore import Choices, restore
from unblur.run.runner import Session, run_plan
from unblur.storage import attributes
from unblur.storage.temporaries import TEMPORARY_FILES

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows does not rename or remove open files"
)

CHANGING = ["link", "mkdir", "open", "rename", "replace", "unlink", "write"]
LOOKING = ["close", "fstat", "fsync", "lstat", "readlink", "scandir", "stat"]
EXTENDED = ["getxattr", "listxattr", "removexattr", "setxattr"]
PHOTOS = {"a.jpg": make_jpeg(40, 48), "b.jpg": make_jpeg(48, 40)}


class Killed(BaseException):
    """Ends a run without its cleanup, because all later calls raise it, too."""


class Disk:
    """Counts the calls that concern a folder, except those for ``b.jpg``, and lets one fail.

    Nothing is flushed to the real disk, which would take most of the time.

    Args:
        folder: The folder.
        monkeypatch: Replaces the calls.
    """

    def __init__(self, folder, monkeypatch):
        self._folder, self._opened, self._lock = str(folder), {}, threading.Lock()
        self.spare()
        self.log = []
        """Each call that succeeded: its name, and the paths of its files."""
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
        for name in CHANGING + LOOKING:
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))
        for name in EXTENDED if attributes.HAS_EXTENDED else ():
            watched = self._watched(name, getattr(attributes, name))
            monkeypatch.setattr(attributes, name, watched)

    def spare(self):
        """Let no call fail."""
        self.fail(-1, None)

    def fail(self, number, error, names=CHANGING + LOOKING + EXTENDED):
        """Let one call fail.

        Args:
            number: The number of the call, from 0.
            error: Its error, as a value of `errno`, or `Killed`.
            names: The calls to count.
        """
        self._number, self._error, self._names = number, error, names
        self._count, self.failed = 0, ""

    def _watched(self, name, call):
        @functools.wraps(call)
        def watched(*given, **named):
            paths = [self._path(file) for file in given if isinstance(file, (int, str, Path))]
            if not (paths and paths[0].startswith(self._folder)):
                return call(*given, **named)
            with self._lock:
                if name == "close":  # even if it fails, the descriptor is free
                    del self._opened[given[0]]
                    call(*given)
                if "b.jpg" not in paths[0]:
                    self._fail_if_due(name, paths[0])
                if name == "close":
                    return None
                result = call(*given, **named)
                if name == "open":
                    self._opened[result] = paths[0]
                self.log.append((name, *filter(None, paths)))
            return result

        return watched

    def _path(self, file):
        return self._opened.get(file, "") if isinstance(file, int) else str(Path(file).absolute())

    def _fail_if_due(self, name, path):
        if self.failed and self._error is Killed:
            raise Killed
        if name not in self._names:
            return
        self._count += 1
        if self._count - 1 == self._number:
            self.failed = f"{name} {path}"
            if self._error is Killed:
                raise Killed
            raise OSError(self._error, os.strerror(self._error), path)


class Inverting:
    """A deblurrer that inverts photos, so that each time that it sees one leaves a trace."""

    kind, used = CPU, NOTHING_USED

    def start(self, pixels, on_progress=None):
        return Pending(lambda: (255 - pixels, NOTHING_USED))


class Library:
    """A folder of photos, and the record of results."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.history = folder, History(IN_MEMORY)
        self.paths = [str(folder / name) for name in PHOTOS]
        for name, data in PHOTOS.items():
            (folder / name).write_bytes(data)

    def deblur(self, paths=(), **chosen):
        """Deblur photos, by default all, and return the outcomes."""
        options, watcher = Options(**chosen), fakes.Watcher()
        plan = make_plan(paths or self.paths, options, self.history, "settings")
        session = Session(options, self.history, "settings", watcher, -1)
        run_plan(plan, LocalRunner(Inverting), session)
        return watcher.outcomes

    def restore(self):
        """Put all originals back, and return the outcomes."""
        return list(restore(self.paths, Choices(), self.history))

    @property
    def files(self):
        """The content of all files, by name."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """Yield equal libraries on failing disks; the calls of each one have its number."""

    def make(prepare=lambda library: None):
        for number in itertools.count():
            library = Library(tmp_path / str(number))
            prepare(library)
            with monkeypatch.context() as patched:
                yield number, library, Disk(library.folder, patched)

    return make


RUNS = {
    "beside": {},
    "in place": {"in_place": True},
    "without backups": {"in_place": True, "backup": False},
}


@pytest.fixture(params=RUNS)
def options(request):
    return RUNS[request.param]


@pytest.fixture(params=["links", "no links"])
def has_links(request, monkeypatch):
    """Whether the disk has hard links."""

    def refuse(*unused):
        raise OSError(errno.EPERM, "no hard links")

    if request.param == "no links":
        monkeypatch.setattr(os, "link", refuse)


@pytest.fixture
def done(tmp_path, options, has_links):
    """The files after a run in which nothing fails."""
    library = Library(tmp_path / "whole")
    library.deblur(**options)
    return library.files


def of_photo(name, files):
    """Return the photo, its result and its original, of all files."""
    return {other: data for other, data in files.items() if other[0] == name[0]}


@pytest.mark.parametrize("error", [errno.EIO, errno.EPERM], ids=errno.errorcode.get)
def test_a_call_that_fails_fails_one_photo_at_most(libraries, options, done, error):
    for number, library, disk in libraries():
        disk.fail(number, error)
        outcomes = library.deblur(**options)
        if not disk.failed:
            break
        files, lost = library.files, []
        for outcome in outcomes:
            assert "unexpected" not in outcome.reason, disk.failed
            name = outcome.job.source.name
            if of_photo(name, files) != of_photo(name, done):
                assert of_photo(name, files) == {name: PHOTOS[name]}, disk.failed
                assert outcome.status is Status.FAILED, disk.failed
                lost.append(name)
            elif outcome.status is not Status.DONE:
                assert disk.failed.startswith("fsync")
                assert "was written, but may be lost if the power fails" in outcome.reason
        assert len(lost) <= 1, disk.failed
        assert files.keys() <= done.keys() | PHOTOS.keys() or "unlink" in disk.failed
        disk.spare()
        library.deblur(**options)
        assert library.files == done, disk.failed
    assert number > 20


def test_no_call_that_fails_lets_a_result_replace_its_own_photo(libraries):
    for number, library, disk in libraries():
        disk.fail(number, errno.EIO)
        photo = library.paths[0]
        with contextlib.suppress(UnblurError):
            (outcome,) = library.deblur([photo], output=photo, on_existing="overwrite")
            assert outcome.status is Status.FAILED, disk.failed
        assert library.files == PHOTOS, disk.failed
        if not disk.failed:
            break
    assert "would replace the original" in outcome.reason


def test_no_call_that_fails_lets_a_result_replace_a_link_to_its_photo(libraries):
    for number, library, disk in libraries():
        link = library.folder / "a-link.jpg"
        link.symlink_to("a.jpg")
        disk.fail(number, errno.EIO)
        with contextlib.suppress(UnblurError):
            library.deblur([str(link)], in_place=True)
        failed = disk.failed
        disk.spare()
        assert link.is_symlink(), failed
        if not failed:
            break
    assert library.files["a.jpg"] != PHOTOS["a.jpg"]


def test_the_run_after_a_killed_one_does_the_rest(libraries, options, done):
    for number, library, disk in libraries():
        disk.fail(number, Killed, CHANGING)
        with contextlib.suppress(Killed):
            library.deblur(**options)
        if not disk.failed:
            break
        for name, data in library.files.items():
            is_whole = data in (done.get(name), PHOTOS.get(name.removesuffix(".orig")))
            assert is_whole or Path(name).match(TEMPORARY_FILES), disk.failed
        disk.spare()
        library.deblur(**options)
        assert library.files == done, disk.failed
    assert number > 5


@pytest.mark.parametrize("error", [errno.EIO, Killed], ids=["fails", "never returns"])
def test_originals_are_put_back_by_the_second_try_at_the_latest(libraries, error):
    for number, library, disk in libraries(lambda library: library.deblur(in_place=True)):
        results = library.files
        disk.fail(number, error)
        with contextlib.suppress(Killed):
            library.restore()
        if not disk.failed:
            break
        for name, data in PHOTOS.items():
            assert data in (library.files[name], library.files.get(f"{name}.orig")), disk.failed
            assert library.files[name] in (data, results[name]), disk.failed
        disk.spare()
        library.restore()
        assert library.files == PHOTOS, disk.failed
        library.deblur(in_place=True)
        assert library.files == results, disk.failed
    assert number > 10


def after_power_failures(log, names):
    """Yield what a disk may hold if the power fails after any call: names, each with its file.

    A disk keeps what was flushed. Of all other changes of names it may keep any.

    Args:
        log: The calls; see `Disk`.
        names: The names of the first files, which are flushed.

    Yields:
        The names and the files that were flushed.
    """
    now = {name: f"first {name}" for name in names}
    kept, changes, flushed = dict(now), [], set(now.values())
    for number, (call, *paths) in enumerate(log):
        name = paths[-1]
        if call == "open" and name not in now and Path(name).suffix:  # no folder
            now[name] = f"file {number}"
            changes.append((None, name, now[name]))
        elif call == "link":
            now[name] = now[paths[0]]
            changes.append((None, name, now[name]))
        elif call in ("rename", "replace"):
            now[name] = now.pop(paths[0])
            changes.append((paths[0], name, now[name]))
        elif call == "unlink":
            changes.append((name, None, now.pop(name)))
        elif call == "write":
            flushed.discard(now[name])
        elif call == "fsync" and name in now:
            flushed.add(now[name])
        elif call == "fsync":
            kept, changes = dict(now), []
        for count in range(len(changes) + 1):
            for some in itertools.combinations(changes, count):
                found = dict(kept)
                for old, new, file in some:
                    found.pop(old, None)
                    found.update({new: file} if new else {})
                yield found, set(flushed)


def test_no_photo_is_lost_if_the_power_fails(libraries, options, has_links):
    disks = libraries()
    _, library, disk = next(disks)
    library.deblur(**options)
    library.restore()
    states = list(after_power_failures(disk.log, library.paths))
    assert len(states) > 100
    for photo in library.paths:
        backups = {found.get(f"{photo}.orig") for found, _ in states}
        originals = {f"first {photo}", *backups}
        for found, flushed in states:
            is_kept = originals & flushed & set(found.values())
            assert is_kept or (options.get("backup") is False and found[photo] in flushed)
    for found, flushed in states:
        unfinished = [name for name, file in found.items() if file not in flushed]
        assert all(Path(name).match(TEMPORARY_FILES) for name in unfinished)
