"""No password, token or signature appears in any output, however the address is written."""

from __future__ import annotations

import logging
import os
import pickle
import sqlite3
import warnings

import pytest
from conftest import make_jpeg
from hypothesis import example, given
from hypothesis import strategies as st
from servers import reset, status, whole

from unblur.cli.console import Ui, libraries_logged
from unblur.errors import PhotoError
from unblur.run.jobs import Job
from unblur.run.report import outcome_of_error
from unblur.run.watcher import DEBUG
from unblur.storage import addresses, objects, stores
from unblur.storage.addresses import (
    login_in,
    shown,
    user_and_password,
    with_quoted_login,
    without_any_secret,
    without_secrets,
)
from unblur.storage.places import parse_place

PHOTO = make_jpeg()
PASSWORDS = (
    *("s3kr/t", "#s3kr", "s3kr?", "s3kr@t", "@s3kr", "s3:kr", "s3kr%t", "s3kr%2Ft", "a/s3kr@b/c"),
    *("12/s3kr", "s3kr t", "p@ss/s3kr#1?2", "s3kr::t", "ü/s3kr", "s3kr'\"<t>", "[s3kr]"),
)

UNSURE = ("12/s3kr", "p@ss/s3kr#1?2")
"""Passwords that are hidden, but not sent to the host that follows: another one may be meant."""


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch):
    monkeypatch.setattr(addresses, "_logins", set())
    monkeypatch.setattr(addresses, "_passwords", set())


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("scheme", ["http", "sftp", "ftp", "smb", "webdavs", "unknown"])
def test_an_unquoted_password_is_neither_shown_nor_cut(scheme, password):
    address = f"{scheme}://me:{password}@host/in/a b@2x.jpg"
    user = "" if scheme == "http" else "me@"
    assert shown(address) == f"{scheme}://{user}host/in/a b@2x.jpg"
    assert str(parse_place(address)) == shown(address)
    assert without_secrets(f"{address}: no; see '{address}'").count("s3kr") == 0
    login = login_in(scheme, with_quoted_login(address).partition("://")[2])
    if password not in UNSURE:
        assert user_and_password(login) == ("me", password.replace("%2F", "/"))


@pytest.mark.parametrize(
    ("address", "login"),
    [
        ("sftp://me:p@nas/jan@other.org/a.jpg", "me:p"),
        ("http://nas:80/jan@other.org/a.jpg", ""),
        ("ftp://me@nas/jan@other/a.jpg", "me"),
        ("smb://nas:445/a:b@c/a.jpg", ""),
    ],
)
def test_a_sign_in_a_path_sends_no_password_to_another_host(address, login):
    scheme, _, rest = address.partition("://")
    assert login_in(scheme, rest) == login
    assert parse_place(address).address == address


ANY = st.text("ab1/#?@:%.[]", min_size=1, max_size=8)


@given(ANY)
@example("1/2@b.")
def test_an_address_with_a_quoted_login_is_split_where_the_standard_says(password):
    from urllib.parse import quote

    place = parse_place(f"sftp://me:{quote(password, safe='')}@host.org/a@b.jpg")
    assert user_and_password(login_in(place.scheme, place.path)) == ("me", password)
    assert str(place) == "sftp://me@host.org/a@b.jpg"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://host?mail=me@other.org", "http://host?mail=me@other.org"),
        ("http://nas/jan@example.org/a.jpg", "http://nas/jan@example.org/a.jpg"),
        ("http://nas.lan:80/jan@example.org/a", "http://nas.lan:80/jan@example.org/a"),
        ("davs://me:p@cloud.org/jan@example.org/a", "davs://me@cloud.org/jan@example.org/a"),
        ("sftp://me:p@[::1]:22/a.jpg", "sftp://me@[::1]:22/a.jpg"),
        ("s3://KEY:SE/CR+ET@bucket/a.jpg", "s3://KEY@bucket/a.jpg"),
        ("ftp://me:s3kr/a.jpg", "ftp://me:.../a.jpg"),
        ("zip://a.jpg::https://me:pw@host/x.zip", "zip://a.jpg::https://host/x.zip"),
        ("abfs://box@account.net/a.jpg", "abfs://box@account.net/a.jpg"),
        ("http://[::1/a.jpg", "http://[::1/a.jpg"),
        ("https://h/a?X-Amz-Credential=A%2F2&w=1", "https://h/a?X-Amz-Credential=...&w=1"),
        ("https://h/a?X%2DGoog%2DSignature=12", "https://h/a?X%2DGoog%2DSignature=..."),
        ("https://h/a?sv=2022&sr=b&sig=abc%3D", "https://h/a?sv=2022&sr=b&sig=..."),
        ("https://h/a?PHPSESSID=12#access_token=3", "https://h/a?PHPSESSID=...#access_token=..."),
        ("https://h/a?u=http%3A%2F%2Fme%3Apw%40x%2F", "https://h/a?u=..."),
        ("https://h/a?0123456789abcdef0123456789abcdef", "https://h/a?..."),
        ("https://h/a?id=1&f=DSC_0001.jpg", "https://h/a?id=1&f=DSC_0001.jpg"),
    ],
)
def test_what_is_no_secret_stays(address, expected):
    assert shown(address) == without_secrets(address) == without_secrets(expected) == expected


@pytest.mark.parametrize("password", ["s3kr/et", "s3kr#et", "s3kr?et", "s3kr@et", "s3kr%25et"])
@pytest.mark.parametrize("answer", [whole(PHOTO), status(403), reset], ids=["ok", "no", "broken"])
def test_no_output_of_a_run_has_a_part_of_the_password(
    unblur, server, tmp_path, monkeypatch, password, answer
):
    server.answers = [answer]
    address = server.url.replace("//", f"//me:{password}@") + "/a.jpg?X-Amz-Signature=s3kr&n=1"
    monkeypatch.setenv("UNBLUR_OUTPUT", f"{tmp_path}/out/")
    result = unblur(address, "--report", tmp_path / "page.html", "--json", "-vv")
    assert (result.code == 0) == (answer.__qualname__ == "whole.<locals>.answer")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    names = " ".join(map(str, tmp_path.rglob("*")))
    record = "".join(sqlite3.connect(os.environ["UNBLUR_HISTORY"]).iterdump())
    for output in (result.stderr, result.stdout.decode(), written.decode("latin-1"), names, record):
        assert "s3kr" not in output
    if server.requests and answer is not reset:
        import base64

        from requests.utils import unquote

        told = base64.b64decode(server.requests[0][1]["Authorization"].split()[1]).decode()
        assert told == f"me:{unquote(password)}"


@pytest.mark.parametrize("text", ["cannot resolve 's3kr'", "bad port: 't@host'", "/a?sig=s3kr"])
def test_a_library_that_quotes_a_part_of_an_address_tells_none(unblur, monkeypatch, text):
    def fail(*unused):
        raise OSError(text)

    monkeypatch.setattr(stores, "open_store", fail)
    with pytest.raises(PhotoError) as caught:
        objects.read(parse_place("unknown://me:s3kr/longer-t@host/a.jpg"))
    assert "s3kr" not in str(caught.value)
    assert "s3kr" not in unblur("unknown://me:s3kr/longer-t@host/a.jpg", "-vv", "--json").stderr


def test_an_unexpected_error_tells_no_secret_and_neither_does_its_traceback(capsys):
    job = Job(parse_place("sftp://me:s3krt@host/a.jpg"), None)
    outcome = outcome_of_error(job, RuntimeError("no login me:s3krt, s3krt"))
    Ui(DEBUG).outcome(outcome)
    assert "s3krt" not in outcome.to_json({}) + capsys.readouterr().err


def test_credentials_of_the_environment_are_left_out_of_what_libraries_say(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_s3krs3kr\n")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:s3kr/et@proxy:3128")
    monkeypatch.setenv("GOOGLE_TOKEN_FILE", "/etc/token")
    text = "bad header 'Bearer hf_s3krs3kr\n', proxy s3kr/et, /etc/token"
    assert without_any_secret(text) == "bad header 'Bearer ...', proxy ..., /etc/token"


def test_what_libraries_log_is_told_at_vv_only_and_without_secrets(capsys):
    parse_place("sftp://me:s3krt@host/a.jpg")
    for verbosity, told in ((DEBUG, "host, ..."), (DEBUG - 1, "")):
        with libraries_logged(Ui(verbosity)):
            logging.getLogger("paramiko").error("cannot reach %s", "host, s3krt")
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn("odd: s3krt", stacklevel=1)
        shown_text = capsys.readouterr().err
        assert "s3krt" not in shown_text
        assert told in shown_text
        assert bool(told) == bool(shown_text)


def test_a_place_keeps_its_login_on_the_way_to_a_worker():
    place = parse_place("sftp://me:s3/kr@host/a.jpg")
    assert pickle.loads(pickle.dumps(place)).address == place.address
    assert "s3" not in str(place)
