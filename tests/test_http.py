from __future__ import annotations

import email.utils
import gzip
import hashlib
import io
import shutil
import ssl
import subprocess
import threading
import time
from datetime import datetime, timedelta, timezone
from unittest import mock

import pytest
from servers import cut, ranged, reset, stalled, status, unsized, whole

from unblur.errors import PhotoError
from unblur.storage import http, waiting
from unblur.storage.http import Watch, fetch
from unblur.storage.waiting import Patience, in_thread

DATA = bytes(range(256)) * 4096
TAG = {"ETag": '"one"'}


@pytest.fixture
def get(tmp_path):
    """Fetch a file, and return what is in it."""

    def get(url, watch=None):
        path = tmp_path / "fetched"
        with path.open("wb") as file:
            found = fetch(url, file, watch or Watch(refuses_pages=True)).sha256
        assert found == hashlib.sha256(path.read_bytes()).hexdigest()
        return path.read_bytes()

    return get


def test_a_file_comes_whole_and_with_its_checksum(server, get):
    server.answers = [whole(DATA)]
    assert get(server.url) == DATA


def test_a_file_of_untold_size_comes_whole(server, get):
    server.answers = [unsized(DATA)]
    assert get(server.url) == DATA


def test_progress_ends_with_all_bytes(server, get):
    server.answers = [whole(DATA)]
    told = []
    get(server.url, watch=Watch(progress=lambda done, total: told.append((done, total))))
    assert told == sorted(told)
    assert told[-1] == (len(DATA), len(DATA))


def test_the_size_is_told_before_anything_is_written(server, get):
    server.answers = [whole(DATA)]

    def refuse(size):
        raise PhotoError(f"no room for {size}")

    with pytest.raises(PhotoError, match=f"no room for {len(DATA)}"):
        get(server.url, watch=Watch(begin=refuse))


@pytest.mark.parametrize("failure", [cut(DATA, 1000), stalled(DATA, 1000), status(503)])
def test_a_passing_failure_is_tried_again(server, get, failure):
    server.answers = [failure, failure, whole(DATA)]
    assert get(server.url) == DATA


def test_what_is_here_is_not_fetched_again(server, get):
    server.answers = [cut(DATA, 70_000, **TAG), ranged(DATA)]
    assert get(server.url) == DATA
    headers = server.requests[1][1]
    assert int(headers["Range"].removeprefix("bytes=").rstrip("-")) > 0
    assert headers["If-Range"] == '"one"'


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, get):
    new = DATA[::-1]
    server.answers = [cut(DATA, 70_000, **TAG), whole(new, ETag='"two"')]
    assert get(server.url) == new


@pytest.mark.parametrize("wrong", [ranged(DATA, shift=1), status(416)])
def test_a_server_that_mistakes_the_part_is_asked_for_the_whole(server, get, wrong):
    server.answers = [cut(DATA, 70_000, **TAG), wrong, whole(DATA)]
    assert get(server.url) == DATA
    assert "Range" not in server.requests[2][1]


@pytest.mark.parametrize("other", [{"ETag": '"two"'}, {"total": len(DATA) + 1}])
def test_a_part_of_another_version_is_not_added(server, get, other):
    """Some servers ignore If-Range, so that a file would be half old and half new."""
    server.answers = [cut(DATA, 70_000, **TAG), ranged(DATA[::-1], **other), whole(DATA)]
    assert get(server.url) == DATA


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_firm_version_a_file_is_fetched_anew(server, get, headers):
    server.answers = [cut(DATA, 70_000, **headers), whole(DATA)]
    assert get(server.url) == DATA
    assert "Range" not in server.requests[1][1]


def test_a_connection_that_breaks_often_but_brings_much_is_not_given_up(server, get, monkeypatch):
    monkeypatch.setattr(http, "WORTH_BYTES", 100_000)

    def part(handler):
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        place = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        promised = len(DATA) - start
        handler.head(206 if start else 200, Content_Range=place, Content_Length=promised, **TAG)
        handler.wfile.write(DATA[start : start + 200_000])

    server.answers = [part]
    assert get(server.url) == DATA
    assert len(server.requests) == 6


def test_a_body_that_is_always_cut_off_is_told_with_both_sizes(server, get):
    server.answers = [cut(DATA, 1000)]
    with pytest.raises(PhotoError, match=rf"ended after \d+ of {len(DATA)} bytes"):
        get(server.url)
    assert len(server.requests) == 3


def test_a_stalled_server_is_given_up(server, get):
    server.answers = [stalled(DATA, 1000)]
    with pytest.raises(PhotoError, match="stopped sending"):
        get(server.url)


def test_a_server_that_never_answers_is_given_up(server, get):
    server.answers = [lambda handler: handler.server.owner.over.wait()]
    with pytest.raises(PhotoError, match="does not answer"):
        get(server.url)


@pytest.mark.parametrize(
    "page",
    [
        whole(b"<p>Sorry", Content_Type="text/html; charset=utf-8"),
        whole(b"\n<!DOCTYPE html><title>Are you sure?", Content_Type="application/zip"),
    ],
)
def test_a_web_page_is_no_file(server, get, page):
    server.answers = [page]
    with pytest.raises(PhotoError, match="web page instead of the file"):
        get(server.url)
    assert len(server.requests) == 1


def test_redirects_are_followed(server, get):
    server.answers = [status(302, Location=f"{server.url}/elsewhere"), whole(DATA)]
    assert get(server.url) == DATA


def test_a_circle_of_redirects_ends(server, get):
    server.answers = [status(302, Location=server.url)]
    with pytest.raises(PhotoError, match="redirects in a loop"):
        get(server.url)


def test_a_redirect_to_a_local_file_is_not_followed(server, get, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    server.answers = [status(302, Location=secret.as_uri())]
    with pytest.raises(PhotoError, match="none of a web server"):
        get(server.url)


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_lasting_failure_is_not_tried_again(server, get, code):
    server.answers = [status(code)]
    with pytest.raises(PhotoError, match=f"answers {code}"):
        get(server.url)
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_told(get):
    with pytest.raises(PhotoError, match=r"cannot be reached \(.*refused\)"):
        get("http://127.0.0.1:9")


def test_an_address_that_is_none_is_told(get):
    with pytest.raises(PhotoError, match="Invalid URL"):
        get("mirror.example/file")


def test_a_body_of_endless_bytes_is_cut(server, get):
    def refuse(size):
        if size > 1 << 17:
            raise PhotoError("too much")

    for answer in (whole(DATA), unsized(DATA)):
        server.answers = [answer]
        with pytest.raises(PhotoError, match="too much"):
            get(server.url, Watch(check=refuse))


def test_a_full_disk_is_told(server):
    class Full:
        def seek(self, position): ...

        def truncate(self): ...

        def write(self, chunk):
            raise OSError(28, "No space left on device")

    server.answers = [whole(DATA)]
    with pytest.raises(PhotoError, match="cannot be written: no space left"):
        fetch(server.url, Full(), Watch())


@pytest.fixture
def waits(monkeypatch):
    """The seconds of all waits, none of which is done."""
    seconds = []
    monkeypatch.setattr(waiting, "PATIENCE", Patience())
    monkeypatch.setattr(waiting, "_pause", lambda time, over: seconds.append(time))
    return seconds


def test_waits_grow_and_are_not_all_the_same(server, get, waits):
    server.answers = [status(503)]
    with pytest.raises(PhotoError, match="answers 503"):
        get(server.url)
    assert waits[0] == 0
    for seconds, least in zip(waits[1:], (1, 2, 4), strict=True):
        assert least <= seconds <= least + 1
    assert {seconds % 1 for seconds in waits} != {0}


def test_a_server_that_asks_for_a_wait_gets_it(server, get, waits):
    soon = email.utils.format_datetime(datetime.now(timezone.utc) + timedelta(seconds=20))
    server.answers = [status(429, Retry_After=11), status(503, Retry_After=soon), whole(DATA)]
    assert get(server.url) == DATA
    assert waits == [11, pytest.approx(19, abs=2)]


@pytest.mark.parametrize("odd", ["soon", "-5", "", "Mon, 99 Foo 2026", "9" * 5000])
def test_a_wait_that_is_none_is_not_heeded(server, get, waits, odd):
    server.answers = [status(429, Retry_After=odd), whole(DATA)]
    assert get(server.url) == DATA
    assert waits == [0]


def test_a_server_that_asks_for_a_long_wait_is_given_up(server, get, waits):
    server.answers = [status(503, Retry_After=3600), whole(DATA)]
    with pytest.raises(PhotoError, match="answers 503 Service Unavailable, and asks to wait 1 h"):
        get(server.url)
    assert waits == []


def test_a_server_that_was_given_up_is_asked_once_until_it_answers(server, get):
    server.answers = [status(503)]
    for requests in (3, 4):
        with pytest.raises(PhotoError):
            get(server.url)
        assert len(server.requests) == requests
    server.answers = [whole(DATA), status(503), whole(DATA)]
    assert get(server.url) == get(server.url) == DATA


def test_the_retries_are_told(server, get):
    told = []
    server.answers = [status(500), reset, cut(DATA, 1000), whole(DATA)]
    monkey = Patience(retries=3, backoff_seconds=0.001)
    with waiting.waiting(told.append), mock.patch.object(waiting, "PATIENCE", monkey):
        assert get(server.url.replace("//", "//me:secret@") + "/a?token=secret&id=7") == DATA
    assert all(line.startswith(f"{server.url}/a?token=...&id=7: ") for line in told)
    reasons = "answers 500 Internal Server Error", "cannot be reached (", "the connection ended"
    for line, reason in zip(told, reasons, strict=True):
        assert line.split(": ", 1)[1].startswith(reason)
        assert "; trying again" in line


@pytest.mark.parametrize("answer", [stalled(DATA, 1000), status(503)], ids=["slow", "down"])
def test_the_end_of_a_run_ends_all_waits_at_once(server, monkeypatch, answer):
    monkeypatch.setattr(waiting, "PATIENCE", Patience(backoff_seconds=30))
    server.answers = [answer]
    over = threading.Event()
    threading.Timer(0.3, over.set).start()
    started = time.monotonic()
    with waiting.waiting(over=over), pytest.raises(KeyboardInterrupt):
        in_thread(lambda: fetch(f"{server.url}/a.jpg", io.BytesIO(), Watch()))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("has_tag", [True, False])
def test_a_file_that_is_sent_compressed_comes_whole_even_if_it_is_cut(server, get, has_tag):
    coded = gzip.compress(DATA)
    headers = {"Content_Encoding": "gzip"} | (TAG if has_tag else {})
    server.answers = [cut(coded, 900, **headers), whole(coded, **headers)]
    assert get(server.url) == DATA
    assert "Range" not in server.requests[1][1]


def test_hosts_of_no_proxy_are_asked_directly(server, get, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.answers = [whole(DATA)]
    assert get(server.url) == DATA


def test_a_proxy_of_the_environment_is_used(server, get, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.answers = [whole(DATA)]
    assert get("http://weights.example/file") == DATA
    assert server.requests[0][0] == "http://weights.example/file"


def test_a_proxy_that_is_not_there_is_told(get, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(PhotoError, match="proxy does not answer"):
        get("http://weights.example/file")


@pytest.fixture
def authority(tmp_path, server):
    """Let the server speak TLS, with a certificate that nobody knows; return the certificate."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-addext", "keyUsage=critical,keyCertSign,digitalSignature",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.encrypt(context)
    return certificate


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not there")
def test_a_certificate_of_ones_own_authority_is_trusted_if_named(
    server, get, authority, monkeypatch
):
    server.answers = [whole(DATA)]
    with pytest.raises(PhotoError, match=r"certificate is not trusted \(.*self.signed.*BUNDLE"):
        get(server.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    assert get(server.url) == DATA


def test_a_missing_file_of_authorities_is_named(get, monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(PhotoError, match=r"none\.pem"):
        get("https://127.0.0.1:9")
