"""Photos on web servers: what is read, what is done already, and what is never shown."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import make_jpeg, open_database
from servers import cut, reset, status, unsized, whole

from unblur.errors import PhotoError
from unblur.storage import objects, stores, web
from unblur.storage.addresses import without_secrets
from unblur.storage.places import FileState, Url, parse_place

PHOTO, OTHER = make_jpeg(), make_jpeg(32, 32)


def versions(name):
    """Serves the photo with another version each time, as some clusters of servers do."""
    numbers = itertools.count()
    return lambda handler: whole(PHOTO, **{name: f'"{next(numbers)}"'})(handler)


def padded(photo, size):
    return photo + bytes(size - len(photo))


SAME_SIZE = padded(OTHER, len(PHOTO))


@pytest.mark.parametrize(
    "answer",
    [
        whole(PHOTO, ETag='"one"'),
        whole(PHOTO, Last_Modified="Mon, 01 Jan 2024 00:00:00 GMT"),
        whole(PHOTO),
        unsized(PHOTO),
        versions("ETag"),
        versions("Last_Modified"),
    ],
    ids=["tag", "time", "size", "nothing", "changing tag", "changing time"],
)
def test_a_photo_is_deblurred_once_whatever_the_server_tells_of_it(
    unblur, server, tmp_path, answer
):
    server.answers = [answer]
    words = f"{server.url}/a.jpg", "-o", f"{tmp_path}/", "-v"
    assert unblur(*words).code == 0
    result = unblur(*words)
    assert (result.code, result.stdout) == (0, b"")
    assert "skipped: already done" in result.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (whole(PHOTO, ETag='"one"'), whole(SAME_SIZE, ETag='"two"')),
        (
            whole(PHOTO, Last_Modified="Mon, 01 Jan 2024 00:00:00 GMT"),
            whole(SAME_SIZE, Last_Modified="Mon, 08 Jan 2024 00:00:00 GMT"),
        ),
        (whole(PHOTO), whole(SAME_SIZE)),
        (unsized(PHOTO), unsized(OTHER)),
    ],
    ids=["tag", "time", "size", "nothing"],
)
def test_another_photo_at_the_same_address_is_deblurred(unblur, server, tmp_path, before, after):
    words = f"{server.url}/a.jpg", "-o", f"{tmp_path}/"
    server.answers = [before]
    assert unblur(*words).code == 0
    first = (tmp_path / "a-unblurred.jpg").read_bytes()
    server.answers = [after]
    assert unblur(*words).stdout == f"{tmp_path}/a-unblurred.jpg\n".encode()
    assert (tmp_path / "a-unblurred.jpg").read_bytes() != first


@pytest.mark.parametrize("failure", [status(429, Retry_After=0), status(500), reset])
def test_a_failure_that_passes_loses_no_photo(unblur, server, tmp_path, failure):
    server.answers = [failure, whole(PHOTO), failure, cut(PHOTO, 99), whole(PHOTO)]
    result = unblur(f"{server.url}/a.jpg", "-o", f"{tmp_path}/", "-v")
    assert (result.code, "trying again" in result.stderr) == (0, True)


def test_a_failure_that_stays_is_told_in_one_line_and_the_batch_goes_on(
    unblur, server, tmp_path, jpeg
):
    server.answers = [status(502)]
    result = unblur(f"{server.url}/a.jpg", jpeg, "-o", f"{tmp_path}/out/", "-q")
    assert result.code == 1
    assert result.stderr == f"unblur: error: {server.url}/a.jpg: answers 502 Bad Gateway\n"
    assert (tmp_path / f"out/{jpeg.stem}-unblurred.jpg").exists()


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://[::1/a.jpg",
        "http://host:99999/a.jpg",
        "http://a:1:2/a",
        "http://\u2100/a",
    ],
)
def test_an_address_that_cannot_be_is_told_in_one_line(unblur, tmp_path, address):
    result = unblur(address, "-o", f"{tmp_path}/", "-q")
    (line,) = result.stderr.splitlines()
    assert result.code == 1
    assert line.startswith("unblur: error: http://")
    assert "unexpected" not in line


def test_a_server_that_does_not_encrypt_is_told(unblur, server, tmp_path):
    server.answers = [whole(PHOTO)]
    address = server.url.replace("http:", "https:") + "/a.jpg"
    told = unblur(address, "-o", f"{tmp_path}/").stderr
    assert f"{address}: makes no secure connection (" in told
    assert "_ssl" not in told


def test_python_programs_find_the_retries_in_their_log(server, caplog):
    server.answers = [status(500), whole(PHOTO)]
    with caplog.at_level("INFO", "unblur"):
        assert objects.read(parse_place(f"{server.url}/a.jpg"))[0] == PHOTO
    assert f"{server.url}/a.jpg: answers 500 Internal Server Error; trying again" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        status(503, Retry_After="9" * 5000),
        status(206, Content_Range=f"bytes {'9' * 5000}-9/{'9' * 5000}"),
        status(302, Location="ftp://me:secret@host/a.jpg"),
        status(302, Location="http://me:secret@[::1/a.jpg?sig=secret"),
    ],
    ids=["huge wait", "huge range", "other scheme", "no address"],
)
def test_an_odd_answer_fails_one_photo_and_the_batch_goes_on(
    unblur, server, tmp_path, jpeg, answer
):
    server.answers = [answer]
    result = unblur(f"{server.url}/a.jpg", jpeg, "-o", f"{tmp_path}/out/", "-q", "-vvv")
    assert result.code == 1
    assert "Traceback" not in result.stderr
    assert "secret" not in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{jpeg.stem}-unblurred.jpg"]


def test_redirects_in_a_loop_are_told(unblur, server, tmp_path):
    server.answers = [status(302, Location=server.url)]
    result = unblur(f"{server.url}/a.jpg", "-o", f"{tmp_path}/")
    assert f"{server.url}/a.jpg: redirects in a loop" in result.stderr


@pytest.mark.posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_that_waits_for_a_server(server, tmp_path, number):
    begun = threading.Event()

    def slow(handler):
        handler.head(Content_Length=9999)
        begun.set()
        while not handler.server.owner.over.wait(0.1):
            handler.wfile.write(b"x")

    server.answers = [whole(PHOTO), slow]
    command = [sys.executable, "-m", "unblur", f"{server.url}/a.jpg", "-o", tmp_path, "-q"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        begun.wait(60)
        sent = time.monotonic()
        run.send_signal(number)
        told = run.communicate(timeout=60)[1]
    assert time.monotonic() - sent < 5
    assert (run.returncode, told) == (128 + number, "unblur: error: interrupted\n")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("a%20photo.jpg", "a photo-unblurred.jpg"),
        ("%C3%BC.jpg?size=large&back=/b", "ü-unblurred.jpg"),
        ("a.jpg#top", "a-unblurred.jpg"),
        ("100%.jpg", "100%-unblurred.jpg"),
        ("album?id=7", "album-unblurred.jpg"),
        ("?id=7", "photo-unblurred.jpg"),
        ("", "photo-unblurred.jpg"),
        ("a/..", "photo-unblurred.jpg"),
        ("%2e%2e%2fa.jpg", "%2e%2e%2fa-unblurred.jpg"),
        ("a%5Cb.jpg", "a%5Cb-unblurred.jpg"),
    ],
)
def test_a_result_has_the_name_that_people_read(unblur, server, tmp_path, address, name):
    server.answers = [whole(PHOTO)]
    assert unblur(f"{server.url}/{address}", "-o", f"{tmp_path}/out/").code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.parametrize("photo", [b"<!DOCTYPE html><a href=a.jpg>", b"", b"text"])
def test_a_page_is_not_searched_for_photos(unblur, server, tmp_path, photo):
    server.answers = [whole(photo)]
    result = unblur("-r", f"{server.url}/album", "-o", f"{tmp_path}/")
    assert result.code == 1
    assert "--recursive cannot search a web server" in result.stderr


def test_a_photo_may_be_named_with_recursive(unblur, server, tmp_path):
    server.answers = [whole(PHOTO)]
    assert unblur("-r", f"{server.url}/photo", "-o", f"{tmp_path}/").code == 0


def test_only_the_start_of_a_header_is_received(server):
    server.answers = [whole(PHOTO)]
    assert web.read_header(Url("http", server.url.removeprefix("http://")), 16) == PHOTO[:16]
    assert server.requests[0][1]["Range"] == "bytes=0-15"


def test_a_photo_that_grows_beyond_what_was_stated_is_refused(server):
    server.answers = [unsized(bytes(3 << 20))]
    with pytest.raises(PhotoError, match="larger than"):
        objects.read(parse_place(f"{server.url}/a.jpg"), 1 << 20)


@pytest.mark.parametrize("answer", [whole(PHOTO), status(403), status(500), cut(PHOTO, 9)])
def test_no_password_is_shown_or_recorded(unblur, server, tmp_path, monkeypatch, answer):
    server.answers = [answer]
    address = server.url.replace("//", "//me:top@secret@") + "/a.jpg?id=7&X-Amz-Signature=secret"
    words = "-o", f"{tmp_path}/out/", "--report", tmp_path / "page.html", "--json", "-vv"
    result = unblur(address, *words)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with open_database(os.environ["UNBLUR_HISTORY"]) as database:
        record = "".join(database.iterdump())
    assert "secret" not in result.stderr + result.stdout.decode() + record
    assert b"secret" not in written
    shown = f"{server.url}/a.jpg?id=7&X-Amz-Signature=..."
    assert json.loads(result.stdout)["input"] == shown
    assert shown in result.stderr
    assert "Basic" in server.requests[0][1]["Authorization"]


def test_no_password_is_in_a_traceback(unblur, monkeypatch):
    address = "sftp://me:secret@host/a.jpg"

    def fail(*unused):
        raise OSError(f"no route to {address}")

    monkeypatch.setattr(stores, "open_store", fail)
    for words in ([address], ["photo.jpg", "-o", address], [address, "--only-blurry=x"]):
        result = unblur(*words, "-vv")
        assert result.code != 0
        assert "secret" not in result.stderr
    monkeypatch.setattr("unblur.run.plan.make_plan", fail)
    assert "Traceback" in (told := unblur("a.jpg", "-vv").stderr)
    assert "secret" not in told


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:pass@host/a.jpg", "http://host/a.jpg"),
        ("https://token@host/a@b.jpg", "https://host/a@b.jpg"),
        ("http://me:pa/ss@host/a.jpg", "http://host/a.jpg"),
        ("http://host:8080/a@b.jpg", "http://host:8080/a@b.jpg"),
        ("sftp://me:p@ss@host/a@b.jpg", "sftp://me@host/a@b.jpg"),
        ("ftp://me@host/a.jpg", "ftp://me@host/a.jpg"),
        ("ftp://host:21/a:b@c.jpg", "ftp://host:21/a:b@c.jpg"),
        ("github://owner:repository@main/a.jpg", "github://owner:repository@main/a.jpg"),
        ("s3://bucket/a:b@c.jpg?key=1", "s3://bucket/a:b@c.jpg?key=1"),
        ("https://host/a?token=1&id=2&sig=3", "https://host/a?token=...&id=2&sig=..."),
        ("'http://me:p@a/b' and http://me:q@c/d", "'http://a/b' and http://c/d"),
    ],
)
def test_what_gives_access_is_left_out_of_an_address(address, shown):
    assert without_secrets(address) == shown


def test_a_state_without_a_version_is_no_promise(server):
    server.answers = [whole(PHOTO)]
    url = parse_place(f"{server.url}/a.jpg")
    state = objects.read(url)[1]
    assert objects.state_of(url) == FileState(len(PHOTO), "")
    assert objects.holds(url, state)
    server.answers = [whole(SAME_SIZE)]
    assert not objects.holds(url, state)
