"""Which files below a folder are taken for photos, and which are left alone."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import make_jpeg

from unblur.options import Options
from unblur.run import find as find_module
from unblur.run.find import find
from unblur.run.ignored import CACHE_SIGNATURE, reason_by_name
from unblur.storage.objects import ListedObjects
from unblur.storage.places import Url, parse_place

LEFT_ALONE = [
    ("Photos Library.photoslibrary/originals/0", "a library of Apple Photos"),
    ("iPhoto Library.migratedphotolibrary/Masters", "a library of iPhoto"),
    ("old/Aperture.APLIBRARY", "a library of Aperture"),
    ("Lightroom Catalog Previews.lrdata/0/0A", "previews of Lightroom"),
    ("Shoot.cocatalog/Cache", "a catalog of Capture One"),
    ("My Films.imovielibrary/x", "films of iMovie"),
    ("Wedding.fcpbundle/x", "films of Final Cut"),
    ("TV.tvlibrary", "a library of Apple TV or Music"),
    ("Slides.key/Data", "a document stored as a folder"),
    ("Viewer.app/Contents/Resources", "a program"),
    ("@eaDir/a.jpg", "network storage"),
    ("@Recycle", "network storage"),
    ("#recycle/2020", "network storage"),
    ("#SNAPSHOT", "network storage"),
    ("$RECYCLE.BIN/S-1-5", "a bin"),
    ("$Recycle.Bin", "a bin"),
    ("Trash/files", "a bin"),
    ("System Volume Information", "a system folder"),
    ("__MACOSX/trip", "files that macOS adds to archives"),
    ("lost+found", "remains of a damaged file system"),
    ("FOUND.000", "remains of a damaged file system"),
    ("Backups.backupdb/Mac/Latest", "backups of Time Machine"),
    ("anna/files_trashbin/files", "Nextcloud"),
    ("anna/appdata_ocz8x2k1m0qa/preview/1", "previews of Nextcloud"),
    ("trip/[Originals]", "originals or previews of ACDSee"),
    ("Film.iMovieProject/Media", "films of iMovie"),
    ("Ideas.library/images/A.info", "a library of Eagle"),
    ("Papers.dtBase2/Files.noindex", "a database of DEVONthink"),
]


def put_photo(folder, name="a.jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(make_jpeg())
    return folder / name


def look(top, **options):
    """The photos below a folder, and the reasons why other files are skipped."""
    found = list(find(top, Options(recursive=True, **options), ListedObjects()))
    photos = [str(one.below) for one in found if not one.passed_over and not one.problem]
    return photos, {str(one.below): one.passed_over for one in found if one.passed_over}


@pytest.mark.posix
def test_links_to_photos_are_deblurred_only_beside_themselves_unless_named(tmp_path, unblur):
    elsewhere = [
        put_photo(tmp_path / name)
        for name in ("Photos Library.photoslibrary/originals", ".trash", "others")
    ]
    before = [photo.read_bytes() for photo in elsewhere]
    (tmp_path / "album").mkdir()
    for number, photo in enumerate(elsewhere):
        (tmp_path / "album" / f"{number}.jpg").symlink_to(photo)
    result = unblur("-r", "--in-place", "-v", tmp_path / "album")
    assert (result.code, [photo.read_bytes() for photo in elsewhere]) == (3, before)
    assert "0.jpg: passed over: a link to a file" in result.stderr
    assert "3 done" in unblur("-r", tmp_path / "album").stderr
    assert (
        unblur("--in-place", tmp_path / "album" / "2.jpg").stdout
        == os.fsencode(elsewhere[2]) + b"\n"
    )


@pytest.mark.parametrize(("folder", "reason"), LEFT_ALONE)
@pytest.mark.parametrize("depth", ["", "2020/summer/"])
def test_folders_that_are_no_folders_of_photos_are_left_alone(tmp_path, folder, reason, depth):
    put_photo(tmp_path / depth / folder)
    put_photo(tmp_path / depth, "mine.jpg")
    photos, passed_over = look(tmp_path)
    assert photos == [f"{depth}mine.jpg"]
    (told,) = passed_over.values()
    assert reason in told


@pytest.mark.parametrize(("folder", "reason"), LEFT_ALONE)
def test_a_folder_that_is_named_is_entered_whatever_it_is(tmp_path, folder, reason):
    photo = put_photo(tmp_path / folder)
    package = next(one for one in reversed(photo.parents) if reason_by_name(one.name))
    for named in (package, photo.parent):
        assert look(named)[0] == [str(photo.relative_to(named))], reason


def test_what_is_left_alone_is_told_when_asked_for(tmp_path, unblur):
    put_photo(tmp_path / "Photos Library.photoslibrary" / "originals")
    put_photo(tmp_path, "mine.jpg")
    result = unblur("-r", tmp_path, "--in-place", "--backup", "-v")
    assert "Photos Library.photoslibrary: passed over: a library of Apple Photos" in result.stderr
    assert result.stdout.decode().splitlines() == [str(tmp_path / "mine.jpg")]


@pytest.mark.parametrize(
    "name",
    [
        "trip @ sea",
        "No. #1",
        "photoslibrary",
        "Trashcan",
        "key",
        "apps",
        "originals",
        "appdata_ocean",
    ],
)
def test_folders_that_are_only_called_alike_are_entered(tmp_path, name):
    put_photo(tmp_path / name)
    assert look(tmp_path) == ([f"{name}/a.jpg"], {})


def test_a_folder_that_says_it_is_a_cache_is_left_alone(tmp_path):
    put_photo(tmp_path / "thumbs" / "deeper")
    (tmp_path / "thumbs" / "CACHEDIR.TAG").write_bytes(CACHE_SIGNATURE + b"\n# of a program")
    assert look(tmp_path) == ([], {"thumbs": "a cache: it holds CACHEDIR.TAG"})
    assert look(tmp_path / "thumbs")[0] == ["deeper/a.jpg"]


@pytest.mark.parametrize("tag", [b"", b"Signature: 8a477f", b" " + CACHE_SIGNATURE])
def test_a_tag_without_its_signature_says_nothing(tmp_path, tag):
    put_photo(tmp_path / "trip")
    (tmp_path / "trip" / "CACHEDIR.TAG").write_bytes(tag)
    assert look(tmp_path)[0] == ["trip/a.jpg"]


@pytest.mark.posix
def test_a_tag_that_is_a_link_or_a_pipe_says_nothing(tmp_path):
    put_photo(tmp_path / "trip")
    (tmp_path / "tag").write_bytes(CACHE_SIGNATURE)
    (tmp_path / "trip" / "CACHEDIR.TAG").symlink_to(tmp_path / "tag")
    put_photo(tmp_path / "walk")
    os.mkfifo(tmp_path / "walk" / "CACHEDIR.TAG")
    assert look(tmp_path)[0] == ["trip/a.jpg", "walk/a.jpg"]


@pytest.mark.parametrize(
    ("marker", "kind"),
    [
        (".nomedia", "kept out of galleries"),
        (".immich", "files of Immich"),
        (".ppstorage", "files of PhotoPrism"),
    ],
)
def test_a_folder_that_a_program_marks_is_left_alone_unless_named(tmp_path, marker, kind):
    put_photo(tmp_path / "Sent" / "deeper")
    (tmp_path / "Sent" / marker).touch()
    assert look(tmp_path) == ([], {"Sent": f"{kind}: it holds {marker}"})
    assert look(tmp_path / "Sent")[0] == ["deeper/a.jpg"]


def test_caches_of_capture_one_are_left_alone_and_a_folder_of_that_name_is_not(tmp_path):
    put_photo(tmp_path / "session" / "CaptureOne" / "Cache" / "Previews")
    put_photo(tmp_path / "CaptureOne" / "exported")
    photos, passed_over = look(tmp_path)
    assert photos == ["CaptureOne/exported/a.jpg"]
    assert passed_over == {"session/CaptureOne": "caches of Capture One"}


def test_folders_of_a_store_are_left_alone_likewise():
    import fsspec

    top = f"memory://walk-{os.urandom(4).hex()}"
    files = {f"{folder}/a.jpg": make_jpeg() for folder, _ in LEFT_ALONE}
    files |= {f"{name}/a.jpg": make_jpeg() for name in ("mine", "cache", "lies", "Sent/deeper")}
    files |= {
        "cache/CACHEDIR.TAG": CACHE_SIGNATURE,
        "lies/CACHEDIR.TAG": b"no signature",
        "Sent/.nomedia": b"-",
        "s/CaptureOne/Cache/a.jpg": make_jpeg(),
    }
    fsspec.filesystem("memory").pipe({f"{top}/{name}": data for name, data in files.items()})
    photos, passed_over = look(parse_place(top))
    assert photos == ["lies/a.jpg", "mine/a.jpg"]
    assert all(reason in passed_over[f"{folder}/a.jpg"] for folder, reason in LEFT_ALONE)
    assert look(Url("memory", f"{top[9:]}/#recycle"))[0] == ["2020/a.jpg"]


@pytest.fixture
def never_opened(monkeypatch):
    """Fail the test if it opens a file with one of these names."""
    opened, names = os.open, set()

    def checked(path, *rest, **named):
        assert Path(os.fsdecode(path)).name not in names
        return opened(path, *rest, **named)

    monkeypatch.setattr(os, "open", checked)
    return names


@pytest.mark.parametrize(
    "name",
    ["a.mov", "a.MP4", "a.jpg.zip", "notes.txt", "Thumbs.db", "a.XMP", "a.json", "scan.pdf",
     "song.mp3", "a.aae", "disk.iso", "MVI_1.THM", "a.jpg.part", "a.jpg.tmp"],
)  # fmt: skip
def test_files_whose_names_cannot_be_photos_are_not_opened(tmp_path, never_opened, name):
    put_photo(tmp_path, name)
    never_opened.add(name)
    assert look(tmp_path) == ([], {name: find_module.NO_PHOTO})


@pytest.mark.parametrize(
    "name", ["a", "a.jpg", "a.JPG", "scan0001", "a.unknown", "a.jpg_1", "mov", "a."]
)
def test_photos_are_known_by_content_whatever_else_their_names_end_in(tmp_path, name):
    put_photo(tmp_path, name)
    assert look(tmp_path)[0] == [name]


@pytest.fixture
def in_cloud(monkeypatch, never_opened):
    """Make files with these names look like cloud-only files of macOS or Windows."""
    lstat, marks = Path.lstat, {}

    def marked(path):
        real = lstat(path)
        if path.name not in never_opened:
            return real
        return SimpleNamespace(st_mode=real.st_mode, **marks)

    monkeypatch.setattr(Path, "lstat", marked)
    return never_opened, marks


CLOUD_MARKS = [
    {"st_flags": 0x40000000},  # macOS: SF_DATALESS
    {"st_file_attributes": 0x00400000},  # Windows: RECALL_ON_DATA_ACCESS
    {"st_file_attributes": 0x00040000},  # RECALL_ON_OPEN
    {"st_file_attributes": 0x00001000},  # OFFLINE
]


@pytest.mark.parametrize("mark", CLOUD_MARKS)
@pytest.mark.parametrize("command", [[], ["--in-place", "--backup"], ["score"]])
def test_files_in_the_cloud_are_not_downloaded_and_counted(
    tmp_path, unblur, in_cloud, mark, command
):
    names, marks = in_cloud
    marks.update(mark)
    for name in ("here.jpg", "there.jpg", "film.mov", "too.heic"):
        put_photo(tmp_path, name)
    names.update({"there.jpg", "too.heic", "film.mov"})
    result = unblur(*command, "-r", tmp_path, "-v") if command != ["score"] else score(tmp_path)
    assert result.code == 0
    assert "there.jpg: passed over: its content is in the cloud only" in result.stderr
    assert "2 files are in the cloud only: download the photos to deblur" in result.stderr


def score(folder):
    from click.testing import CliRunner

    from unblur.cli import main

    result = CliRunner().invoke(main, ["score", "-r", str(folder), "-v"])
    return SimpleNamespace(code=result.exit_code, stderr=result.stderr)


def test_a_folder_of_nothing_but_files_in_the_cloud_says_so(tmp_path, unblur, in_cloud):
    names, marks = in_cloud
    marks.update(CLOUD_MARKS[0])
    put_photo(tmp_path, "there.jpg")
    names.add("there.jpg")
    result = unblur("-r", tmp_path)
    assert result.code == 3
    assert "1 file is in the cloud only" in result.stderr


def test_windows_tells_of_the_cloud_in_listings(tmp_path, monkeypatch):
    asked = []
    entry = SimpleNamespace(stat=lambda follow_symlinks: asked.append(follow_symlinks))
    monkeypatch.setattr(sys, "platform", "win32")
    find_module.status_in_listing(entry, tmp_path / "missing")
    assert asked == [False]


@pytest.mark.parametrize("name", [".a.jpg.icloud", "a.jpg.nextcloud", "a.jpg.owncloud"])
def test_files_that_stand_for_ones_in_the_cloud_are_counted_too(tmp_path, never_opened, name):
    put_photo(tmp_path, name)
    put_photo(tmp_path, name.replace(".jpg", ".mov"))
    never_opened.add(name)
    _, passed_over = look(tmp_path)
    assert sorted(passed_over.values()) == [find_module.IN_THE_CLOUD, find_module.NO_PHOTO]


@pytest.fixture
def deep():
    """Make nested folders, deeper than the longest path, with photos in some of them."""
    in_memory = Path("/dev/shm")  # where removing thousands of folders takes no time
    top = Path(tempfile.mkdtemp(dir=in_memory if in_memory.is_dir() else None))

    def deep(depth, *photos):
        descriptor = os.open(top, os.O_RDONLY)
        for number in range(depth + 1):
            if number in photos:
                photo = os.open("a.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
                os.write(photo, make_jpeg())
                os.close(photo)
            os.mkdir("d", dir_fd=descriptor)
            descriptor = step(descriptor, "d")
        os.close(descriptor)
        return top

    yield deep
    for tree in (top, top / "out"):
        if tree.exists():
            remove_deep(tree)
    shutil.rmtree(top)


def remove_deep(top):
    """Remove nested folders that are too deep for pytest."""
    depth, descriptor = 0, os.open(top, os.O_RDONLY)
    while "d" in os.listdir(descriptor):  # noqa: PTH208 (Path takes no descriptor)
        depth += 1
        descriptor = step(descriptor, "d")
    for _ in range(depth):
        for name in os.listdir(descriptor):  # noqa: PTH208
            os.unlink(name, dir_fd=descriptor)
        descriptor = step(descriptor, "..")
        os.rmdir("d", dir_fd=descriptor)
    os.close(descriptor)


def step(descriptor, folder):
    """Return another folder's descriptor in place of one."""
    other = os.open(folder, os.O_RDONLY, dir_fd=descriptor)
    os.close(descriptor)
    return other


@pytest.mark.posix
@pytest.mark.parametrize("options", [[], ["--in-place"], ["-o", "out"]])
def test_a_tree_may_be_deeper_than_functions_can_call_themselves(
    deep, unblur, monkeypatch, options
):
    top = deep(1300, 0, 1300)
    monkeypatch.chdir(top)  # where the results of -o go, too
    result = unblur("-r", top, *options)
    assert (result.code, len(result.stdout.splitlines())) == (0, 2)
    assert "2 done, 0 skipped, 0 failed" in result.stderr


@pytest.mark.posix
def test_a_tree_deeper_than_paths_can_tell_is_one_line_and_the_rest_is_done(deep, unblur):
    top = deep(5000, 0, 1000, 4999)
    result = unblur("-r", top)
    assert (result.code, len(result.stdout.splitlines())) == (1, 2)
    assert "2 done, 0 skipped, 1 failed" in result.stderr
    assert result.stderr.count("cannot be listed: file name too long") == 2  # and the summary's


@pytest.mark.parametrize("name", ["a.jpg_original", "a.HEIC_original", "a.jpg~", "a.png.bak"])
def test_what_other_programs_keep_of_a_photo_is_left_alone(tmp_path, name):
    put_photo(tmp_path, name)
    put_photo(tmp_path, "the_original.jpg")
    photos, reasons = look(tmp_path)
    assert photos == ["the_original.jpg"]
    assert reasons[name] == "a backup of another program"
