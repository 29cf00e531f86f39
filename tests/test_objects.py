from __future__ import annotations

import json
import sys

import fsspec
import pytest
from conftest import make_jpeg
from servers import unsized

from unblur.errors import PhotoError
from unblur.options import Options
from unblur.run import plan
from unblur.run.history import History, Record
from unblur.run.jobs import Job
from unblur.run.known_results import KnownResults
from unblur.run.plan import make_plan
from unblur.storage import objects, stores
from unblur.storage.places import FileState, Url, parse_place


@pytest.fixture(params=["memory", "s3"])
def bucket(request):
    """The address of an empty bucket, in memory or on a server."""
    if request.param == "s3":
        return request.getfixturevalue("s3_bucket")
    fsspec.filesystem("memory").store.clear()
    return "memory://bucket"


def put(url, data):
    store, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    store.pipe_file(path, data)


def get(url):
    store, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    return store.cat_file(path)


def names(bucket):
    store, path = fsspec.core.url_to_fs(bucket, use_listings_cache=False)
    return sorted(name.removeprefix(path).lstrip("/") for name in store.find(path))


@pytest.fixture
def library(bucket):
    for key in ("a.jpg", "trip/b.jpg", "trip/c.JPG", ".trash/d.jpg", "trip/notes.txt"):
        put(f"{bucket}/in/{key}", make_jpeg())
    return f"{bucket}/in"


def test_an_object_is_deblurred_beside_itself(bucket, unblur):
    put(f"{bucket}/a photo #1?.jpg", make_jpeg())
    result = unblur(f"{bucket}/a photo #1?.jpg", "--json")
    line = json.loads(result.stdout)
    assert (result.code, line["status"]) == (0, "done")
    assert line["output"] == f"{bucket}/a photo #1?-unblurred.jpg"
    assert get(line["output"]).endswith(b"\xff\xd9")


def test_an_object_without_an_ending_is_told_by_its_content(bucket, unblur):
    put(f"{bucket}/photo", make_jpeg())
    assert unblur(f"{bucket}/photo").stdout.decode() == f"{bucket}/photo-unblurred.jpg\n"


def test_a_prefix_is_mirrored_below_another(bucket, library, unblur):
    result = unblur("-r", library, "-o", f"{bucket}/out")
    assert result.code == 0
    assert [name for name in names(bucket) if name.startswith("out")] == [
        "out/a-unblurred.jpg",
        "out/trip/b-unblurred.jpg",
        "out/trip/c-unblurred.JPG",
    ]


def test_a_name_with_an_empty_part_is_taken_as_it_is(s3_bucket, unblur):
    put(f"{s3_bucket}/in//a.jpg", make_jpeg())
    assert unblur("-r", f"{s3_bucket}/in").code == 0
    assert names(s3_bucket) == ["in//a-unblurred.jpg", "in//a.jpg"]


def test_results_below_the_photos_are_not_taken_for_photos(bucket, library, unblur):
    unblur("-r", library, "-o", f"{library}/out/")
    assert (
        "3 done, 0 skipped" in unblur("-r", library, "-o", f"{library}/out/", "--overwrite").stderr
    )


def test_a_second_run_does_only_what_is_not_done_or_has_changed(library, unblur):
    unblur("-r", library)
    put(f"{library}/a.jpg", make_jpeg(32, 32))
    result = unblur("-r", library)
    assert result.stdout.decode() == f"{library}/a-unblurred.jpg\n"
    assert "1 done, 2 skipped, 0 failed" in result.stderr


def test_a_result_that_somebody_changed_is_not_replaced(bucket, unblur):
    put(f"{bucket}/a.jpg", make_jpeg())
    unblur(f"{bucket}/a.jpg")
    put(f"{bucket}/a-unblurred.jpg", b"retouched by hand")
    result = unblur(f"{bucket}/a.jpg")
    assert result.code == 1
    assert "exists; --overwrite replaces it" in result.stderr
    assert get(f"{bucket}/a-unblurred.jpg") == b"retouched by hand"


def test_in_place_the_original_is_kept_and_a_second_run_does_nothing(bucket, unblur):
    put(f"{bucket}/a.jpg", make_jpeg())
    assert unblur(f"{bucket}/a.jpg", "--in-place", "--backup").code == 0
    assert get(f"{bucket}/a.jpg.orig") == make_jpeg()
    once = objects.state_of(parse_place(f"{bucket}/a.jpg"))
    assert unblur(f"{bucket}/a.jpg", "--in-place").stdout == b""
    assert objects.state_of(parse_place(f"{bucket}/a.jpg")) == once


def test_in_place_a_backup_of_another_photo_is_not_taken_for_this_one(bucket, unblur):
    put(f"{bucket}/a.jpg", make_jpeg())
    assert unblur(f"{bucket}/a.jpg", "--in-place", "--backup").code == 0
    put(f"{bucket}/a.jpg", make_jpeg(32, 32))
    result = unblur(f"{bucket}/a.jpg", "--in-place", "--backup")
    assert (result.code, get(f"{bucket}/a.jpg")) == (1, make_jpeg(32, 32))
    assert "a.jpg.orig exists: " in result.stderr
    put(f"{bucket}/a.jpg.orig", make_jpeg(32, 32))  # as a run that was killed leaves it
    assert unblur(f"{bucket}/a.jpg", "--in-place", "--backup").code == 0


def test_in_place_what_takes_the_name_of_the_backup_meanwhile_stays(
    bucket, unblur, meanwhile, brightening_weights
):
    put(f"{bucket}/a.jpg", make_jpeg())
    meanwhile(lambda: put(f"{bucket}/a.jpg.orig", b"notes"))
    result = unblur(f"{bucket}/a.jpg", "--in-place", model=brightening_weights)
    assert (result.code, get(f"{bucket}/a.jpg")) == (1, make_jpeg())
    assert get(f"{bucket}/a.jpg.orig") == b"notes"
    assert "a.jpg.orig appeared meanwhile: move it away and run again" in result.stderr


def test_in_place_an_object_that_changes_while_it_is_copied_is_not_replaced(
    bucket, unblur, monkeypatch
):
    def copy_slowly(source, target):
        copy(source, target)
        put(f"{bucket}/a.jpg", make_jpeg(32, 32))

    put(f"{bucket}/a.jpg", make_jpeg())
    copy = objects.copy
    monkeypatch.setattr(objects, "copy", copy_slowly)
    result = unblur(f"{bucket}/a.jpg", "--in-place")
    assert (result.code, get(f"{bucket}/a.jpg")) == (1, make_jpeg(32, 32))
    assert "was changed meanwhile, and stays; run again" in result.stderr


def test_in_place_originals_named_by_a_pattern_are_not_deblurred(bucket, unblur):
    put(f"{bucket}/a.jpg", make_jpeg())
    named = f"{bucket}/a.jpg", f"{bucket}/a.jpg.orig"
    assert unblur(named[0], "--in-place").code == 0
    assert unblur(*named, "--in-place", "--no-backup").stdout == b""
    assert get(named[1]) == make_jpeg()


def test_a_store_that_does_not_tell_ends_no_run(library, unblur, monkeypatch):
    class Deaf(KnownResults):
        def is_done(self, job, options):
            raise PhotoError("connection reset")

    monkeypatch.setattr("unblur.run.runner.KnownResults", Deaf)
    assert unblur("-r", library).code == 0


def test_an_object_that_changes_meanwhile_is_not_replaced(bucket, unblur, meanwhile):
    put(f"{bucket}/a.jpg", make_jpeg())
    meanwhile(lambda: put(f"{bucket}/a.jpg", make_jpeg(32, 32)))
    result = unblur(f"{bucket}/a.jpg", "--in-place")
    assert result.code == 1
    assert "was changed meanwhile, and stays; run again" in result.stderr
    assert get(f"{bucket}/a.jpg") == make_jpeg(32, 32)


def test_photos_go_from_a_store_to_a_folder_and_back(bucket, library, tmp_path, unblur):
    assert unblur("-r", library, "-o", f"{tmp_path}/").code == 0
    found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert found == ["a-unblurred.jpg", "trip/b-unblurred.jpg", "trip/c-unblurred.JPG"]
    options = ["--suffix", "-again", "-o", f"{bucket}/back/"]
    assert unblur("-r", tmp_path, *options).code == 0
    assert "back/trip/b-unblurred-again.jpg" in names(bucket)


def test_a_key_cannot_lead_out_of_the_folder_for_results(bucket, tmp_path, unblur):
    put(f"{bucket}/in/../../evil.jpg", make_jpeg())
    result = unblur("-r", f"{bucket}/in", "-o", f"{tmp_path}/out/", "-v")
    assert "lead out of the output folder" in result.stderr
    assert list(tmp_path.rglob("*.jpg")) == []


def test_a_key_with_an_empty_part_leads_to_the_folder_for_results_not_to_the_root(
    s3_bucket, tmp_path, unblur, monkeypatch
):
    put(f"{s3_bucket}/in//a.jpg", make_jpeg())
    put(f"{s3_bucket}/in///trip//b.jpg", make_jpeg())
    real_target = plan._below
    monkeypatch.setattr(plan, "_below", lambda *given: checked(real_target(*given)))

    def checked(target):  # before it is written, lest a failure leaves a file in the root
        assert target.is_relative_to(tmp_path)
        return target

    assert unblur("-r", f"{s3_bucket}/in", "-o", f"{tmp_path}/out/").code == 0
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg"))
    assert found == ["out/a-unblurred.jpg", "out/trip/b-unblurred.jpg"]


def test_what_is_not_there_is_told_in_a_line(bucket, unblur):
    put(f"{bucket}/cut.jpg", make_jpeg()[:200])
    result = unblur(f"{bucket}/cut.jpg", f"{bucket}/missing.jpg")
    assert result.code == 1
    assert f"{bucket}/missing.jpg: no such object" in result.stderr
    assert f"{bucket}/cut.jpg: damaged" in result.stderr


def test_a_missing_bucket_is_told_in_a_line(s3_bucket, unblur):
    result = unblur("-r", "s3://there-is-none/photos")
    assert result.code == 1
    assert len(result.stderr.splitlines()) == 1


def test_an_object_that_appeared_meanwhile_is_not_replaced(bucket, monkeypatch):
    url = parse_place(f"{bucket}/a.jpg")
    put(str(url), b"somebody's")
    real = objects.state_of
    states = iter([None])  # what it was just before
    monkeypatch.setattr(objects, "state_of", lambda url: next(states, real(url)))
    with pytest.raises(PhotoError, match="exists"):
        objects.write(url, b"new", replaces=False)
    assert get(str(url)) == b"somebody's"


def test_a_write_that_was_repeated_finds_its_own_work(bucket, monkeypatch):
    url = parse_place(f"{bucket}/a.jpg")
    put(str(url), b"new")
    real = objects.state_of
    states = iter([None])
    monkeypatch.setattr(objects, "state_of", lambda url: next(states, real(url)))
    assert objects.write(url, b"new", replaces=False) == real(url)


def test_a_run_that_was_killed_before_it_knew_the_version_is_resumed(bucket, tmp_path):
    source, target = parse_place(f"{bucket}/a.jpg"), parse_place(f"{bucket}/b.jpg")
    put(str(source), b"photo")
    with History(tmp_path / "history.sqlite3") as history:
        memory, job = KnownResults(history, "settings"), Job(source, target)
        upload = objects.Upload(target, b"sharp")
        before = objects.state_of(source)
        history.record(Record(source, before, target, upload.state, "settings"))
        assert not memory.is_done(job, Options())
        upload.publish(replaces=False)
        assert memory.is_done(job, Options())
        put(str(target), b"other")  # as long as the result was
        assert not memory.is_done(job, Options())
        assert not memory.is_ours(target, source)


def test_below_a_prefix_no_object_costs_a_request_of_its_own(
    library, bucket, tmp_path, monkeypatch
):
    monkeypatch.setattr(objects, "state_of", pytest.fail)
    monkeypatch.setattr(objects, "read_header", pytest.fail)
    options = Options(recursive=True, output=f"{bucket}/out/")
    with History(tmp_path / "history.sqlite3") as history:
        planned = make_plan([library], options, history, "settings")
    assert [job.problem for job in planned.jobs] == [None] * 3


@pytest.mark.parametrize("scheme", ["s3", "memory", "sftp"])
def test_without_the_library_of_all_stores_unblur_is_to_be_installed_again(
    scheme, unblur, monkeypatch
):
    stores._store_class.cache_clear()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    result = unblur(f"{scheme}://a/b.jpg")
    stores._store_class.cache_clear()
    assert "the Python library fsspec is missing: install unblur again" in result.stderr


def test_objects_bear_the_type_of_their_content(s3_bucket, unblur):
    put(f"{s3_bucket}/a.jpg", make_jpeg())
    unblur(f"{s3_bucket}/a.jpg", "--format", "webp")
    store, path = fsspec.core.url_to_fs(f"{s3_bucket}/a-unblurred.webp")
    assert (
        store.call_s3("head_object", **dict(zip(("Bucket", "Key"), path.split("/"), strict=True)))[
            "ContentType"
        ]
        == "image/webp"
    )


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nowhere://a/b.jpg", "not a known kind of store"),
        ("abfs://a/b.jpg", "abfs://"),
        ("gs://a/b.jpg", "'unblur[gs]'"),
    ],
)
def test_a_kind_of_store_that_cannot_be_used_is_wrong_usage(address, told, unblur, monkeypatch):
    def get_class(scheme):
        if scheme == "nowhere":
            raise ValueError("Protocol not known")
        missing = ModuleNotFoundError("No module named 'gcsfs'", name="gcsfs")
        raise ImportError("Install a library") from missing

    stores._store_class.cache_clear()
    monkeypatch.setattr(fsspec, "get_filesystem_class", get_class)
    result = unblur(address)
    stores._store_class.cache_clear()
    assert (result.code, len(result.stderr.splitlines())) == (2, 1)
    assert told in result.stderr


@pytest.mark.parametrize("paths", [["memory://a.jpg"], ["a.jpg", "-o", "memory://b/"]])
def test_objects_cannot_have_a_photos_time(paths, unblur):
    result = unblur(*paths, "--preserve-times")
    assert result.code == 2
    assert "--preserve-times is for files" in result.stderr


def test_addresses_are_taken_as_they_are():
    url = parse_place("S3://bucket/a//b%20c.d.jpg/")
    assert url == Url("s3", "bucket/a//b%20c.d.jpg")
    assert (url.name, url.stem, url.suffix) == ("b%20c.d.jpg", "b%20c.d", ".jpg")
    assert str(url.with_name("e.jpg")) == "s3://bucket/a//e.jpg"


def test_a_state_is_the_same_from_a_list_and_by_itself(bucket):
    put(f"{bucket}/a/b.jpg", b"photo")
    listing = objects.ListedObjects()
    (url,) = listing.add(parse_place(bucket))
    assert listing.state_of(url) == objects.state_of(url) != FileState(5, "")


SIDECARS = {
    "photo.jpg.xmp": "photo-unblurred.jpg.xmp",
    "photo.xmp": "photo-unblurred.xmp",
    "photo.jpg.supplemental-metadata.json": "photo-unblurred.jpg.supplemental-metadata.json",
    "photo.jpg.XMP": "photo-unblurred.jpg.XMP",
}


def test_sidecars_are_copied_inside_the_store(bucket, unblur):
    for name in ("photo.jpg", *SIDECARS, "photo.aae", "photo.deep/photo.xmp", "photo2.xmp"):
        put(f"{bucket}/in/{name}", make_jpeg() if name == "photo.jpg" else name.encode())
    result = unblur("-r", f"{bucket}/in", "--include", "*.jpg", "--sidecars", "--json")
    assert (result.code, json.loads(result.stdout)["notes"]) == (0, [])
    for name, copied in SIDECARS.items():
        assert get(f"{bucket}/in/{copied}") == name.encode()
    assert len(names(bucket)) == 8 + 1 + len(SIDECARS)


def test_a_sidecar_in_a_store_is_never_replaced(bucket, unblur):
    put(f"{bucket}/photo.jpg", make_jpeg())
    put(f"{bucket}/photo.xmp", b"rating 5")
    put(f"{bucket}/photo-unblurred.xmp", b"rating 1")
    result = unblur(f"{bucket}/photo.jpg", "--sidecars")
    told = "photo.xmp was not copied: photo-unblurred.xmp exists, and stays"
    assert (result.code, told in result.stderr) == (0, True)
    assert get(f"{bucket}/photo-unblurred.xmp") == b"rating 1"
    put(f"{bucket}/photo-unblurred.xmp", b"rating 5")
    assert "was not copied" not in unblur(f"{bucket}/photo.jpg", "--sidecars", "--overwrite").stderr


def test_sidecars_cross_between_a_store_and_a_disk(bucket, unblur, tmp_path):
    put(f"{bucket}/photo.jpg", make_jpeg())
    put(f"{bucket}/photo.jpg.xmp", b"rating 5")
    assert unblur(f"{bucket}/photo.jpg", "--sidecars", "-o", f"{tmp_path}/").code == 0
    copy = tmp_path / "photo-unblurred.jpg.xmp"
    assert copy.read_bytes() == b"rating 5"
    back = tmp_path / "photo-unblurred.jpg"
    assert unblur(back, "--sidecars", "--overwrite", "-o", f"{bucket}/back/").code == 0
    assert get(f"{bucket}/back/photo-unblurred-unblurred.jpg.xmp") == b"rating 5"


def test_without_the_option_a_store_is_not_asked_for_sidecars(bucket, unblur, monkeypatch):
    put(f"{bucket}/photo.jpg", make_jpeg())
    put(f"{bucket}/photo.xmp", b"rating 5")
    monkeypatch.setattr(objects, "existing_beside", pytest.fail)
    result = unblur(f"{bucket}/photo.jpg", "--json")
    assert (result.code, json.loads(result.stdout)["notes"]) == (0, [])


def test_a_store_that_fails_to_list_sidecars_loses_no_result(bucket, unblur, monkeypatch):
    def fail(*_):
        raise PhotoError("slow down")

    put(f"{bucket}/photo.jpg", make_jpeg())
    monkeypatch.setattr(objects, "existing_beside", fail)
    result = unblur(f"{bucket}/photo.jpg", "--sidecars")
    assert (result.code, "sidecars were not looked for: slow down" in result.stderr) == (0, True)


def test_a_store_that_cannot_be_reached_does_not_end_the_batch(unblur, jpeg, tmp_path):
    results = tmp_path / "results"
    address = "ftp://127.0.0.1:1/a.jpg"  # no server listens at this port
    result = unblur(address, jpeg, "-o", f"{results}/")
    assert result.code == 1
    assert f"{address}: " in result.stderr
    assert "unexpected" not in result.stderr
    assert [path.name for path in results.iterdir()] == [f"{jpeg.stem}-unblurred.jpg"]


def test_a_web_server_that_does_not_tell_the_size_is_read_to_the_end(unblur, server, tmp_path):
    server.answers = [unsized(make_jpeg())]
    result = unblur(f"{server.url}/a.jpg", "-o", f"{tmp_path}/results/")
    assert (result.code, "error" in result.stderr) == (0, False)
    assert (tmp_path / "results/a-unblurred.jpg").read_bytes().endswith(b"\xff\xd9")


def test_an_object_of_unknown_size_is_refused_once_it_is_too_large(server):
    server.answers = [unsized(bytes(3 << 20))]
    with pytest.raises(PhotoError, match="larger than"):
        objects.read(parse_place(f"{server.url}/a.jpg"), 1 << 20)


@pytest.mark.parametrize("option", ["--history", "--report"])
def test_the_record_and_the_report_are_files_on_this_machine(option, unblur, jpeg, tmp_path):
    result = unblur(jpeg, option, "s3://bucket/file.html")
    assert result.code == 2
    assert "s3://bucket/file.html is an object: name a file on this machine" in result.stderr
    assert unblur(jpeg, option, (tmp_path / "a file.html").as_uri()).code == 0
    assert (tmp_path / "a file.html").is_file()
