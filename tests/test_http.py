from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess

import pytest
from servers import cut, ranged, stalled, status, unsized, whole

from unblur.errors import WeightsError
from unblur.models import http as fetch_module
from unblur.models.http import Patience, Watch, fetch

DATA = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(DATA).hexdigest()
TAG = {"ETag": '"one"'}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    quick = Patience(retries=2, backoff_seconds=0, connect_seconds=5, silence_seconds=0.2)
    monkeypatch.setattr(fetch_module, "PATIENCE", quick)


@pytest.fixture
def get(tmp_path):
    """Fetch a file, and return what is in it."""

    def get(url, size=None, sha256=None, watch=None):
        path = tmp_path / "fetched"
        with path.open("wb") as file:
            found = fetch(url, file, size, sha256, watch or Watch())
        assert found == hashlib.sha256(path.read_bytes()).hexdigest()
        return path.read_bytes()

    return get


def test_a_file_comes_whole_and_with_its_checksum(server, get):
    server.answers = [whole(DATA)]
    assert get(server.url, size=len(DATA), sha256=SHA256) == DATA


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
        raise WeightsError(f"no room for {size}")

    with pytest.raises(WeightsError, match=f"no room for {len(DATA)}"):
        get(server.url, watch=Watch(begin=refuse))


@pytest.mark.parametrize("failure", [cut(DATA, 1000), stalled(DATA, 1000), status(503)])
def test_a_passing_failure_is_tried_again(server, get, failure):
    server.answers = [failure, failure, whole(DATA)]
    assert get(server.url) == DATA


def test_what_is_here_is_not_fetched_again(server, get):
    server.answers = [cut(DATA, 70_000, **TAG), ranged(DATA)]
    assert get(server.url, sha256=SHA256) == DATA
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


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_firm_version_a_file_is_fetched_anew(server, get, headers):
    server.answers = [cut(DATA, 70_000, **headers), whole(DATA)]
    assert get(server.url) == DATA
    assert "Range" not in server.requests[1][1]


def test_a_connection_that_breaks_often_but_brings_much_is_not_given_up(server, get, monkeypatch):
    monkeypatch.setattr(fetch_module, "WORTH_BYTES", 100_000)

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
    with pytest.raises(WeightsError, match=rf"ended after \d+ of {len(DATA)} bytes"):
        get(server.url)
    assert len(server.requests) == 3


def test_a_stalled_server_is_given_up(server, get):
    server.answers = [stalled(DATA, 1000)]
    with pytest.raises(WeightsError, match="stopped sending"):
        get(server.url)


def test_a_server_that_never_answers_is_given_up(server, get):
    server.answers = [lambda handler: handler.server.owner.over.wait()]
    with pytest.raises(WeightsError, match="does not answer"):
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
    with pytest.raises(WeightsError, match="web page instead of the file"):
        get(server.url)
    assert len(server.requests) == 1


def test_a_wrong_checksum_is_told_with_both(server, get):
    server.answers = [whole(DATA + b"!")]
    with pytest.raises(WeightsError, match=rf"its sha256 is \w+, not {SHA256}"):
        get(server.url, sha256=SHA256)


def test_a_wrong_size_is_told_with_both(server, get):
    server.answers = [whole(DATA)]
    with pytest.raises(WeightsError, match=f"sent {len(DATA)} bytes instead of 41"):
        get(server.url, size=41)


def test_redirects_are_followed(server, get):
    server.answers = [status(302, Location=f"{server.url}/elsewhere"), whole(DATA)]
    assert get(server.url) == DATA


def test_a_circle_of_redirects_ends(server, get):
    server.answers = [status(302, Location=server.url)]
    with pytest.raises(WeightsError, match="redirects in a loop"):
        get(server.url)


def test_a_redirect_to_a_local_file_is_not_followed(server, get, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    server.answers = [status(302, Location=secret.as_uri())]
    with pytest.raises(WeightsError, match="No connection adapters"):
        get(server.url)


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_lasting_failure_is_not_tried_again(server, get, code):
    server.answers = [status(code)]
    with pytest.raises(WeightsError, match=f"answers {code}"):
        get(server.url)
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_told(get):
    with pytest.raises(WeightsError, match=r"cannot be reached \(.*refused\)"):
        get("http://127.0.0.1:9")


def test_an_address_that_is_none_is_told(get):
    with pytest.raises(WeightsError, match="Invalid URL"):
        get("mirror.example/file")


def test_a_body_of_endless_bytes_is_cut(server, get, monkeypatch):
    monkeypatch.setattr(fetch_module, "LARGEST_DOWNLOAD_BYTES", 1 << 17)
    for answer in (whole(DATA), unsized(DATA)):
        server.answers = [answer]
        with pytest.raises(WeightsError, match="too much for a weights file"):
            get(server.url)


def test_a_full_disk_is_told(server):
    class Full:
        def seek(self, position): ...

        def truncate(self): ...

        def write(self, chunk):
            raise OSError(28, "No space left on device")

    server.answers = [whole(DATA)]
    with pytest.raises(WeightsError, match="cannot be written: no space left"):
        fetch(server.url, Full(), None, None, Watch())


def test_waits_grow_and_are_not_all_the_same(server, get, monkeypatch):
    waits = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    monkeypatch.setattr(fetch_module, "PATIENCE", Patience())
    server.answers = [status(503)]
    with pytest.raises(WeightsError, match="answers 503"):
        get(server.url)
    for seconds, least in zip(waits, (1, 2, 4), strict=True):
        assert least <= seconds <= least + 1
    assert {seconds % 1 for seconds in waits} != {0}


def test_a_server_cannot_ask_for_a_long_wait(server, get, monkeypatch):
    waits = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    server.answers = [status(503, Retry_After=3600), whole(DATA)]
    assert get(server.url) == DATA
    assert sum(waits) == 0


def test_a_proxy_of_the_environment_is_used(server, get, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.answers = [whole(DATA)]
    assert get("http://weights.example/file") == DATA
    assert server.requests[0][0] == "http://weights.example/file"


def test_a_proxy_that_is_not_there_is_told(get, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match="proxy does not answer"):
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
    with pytest.raises(WeightsError, match=r"certificate is not trusted \(.*self.signed.*BUNDLE"):
        get(server.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    assert get(server.url) == DATA


def test_a_missing_file_of_authorities_is_named(get, monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(WeightsError, match=r"none\.pem"):
        get("https://127.0.0.1:9")
