"""Addresses and files of the wrong kind are refused in one plain line."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import make_jpeg
from servers import whole

from unblur.cli import main
from unblur.errors import PhotoError, UsageError
from unblur.storage import objects, stores
from unblur.storage.places import Url, parse_place
from unblur.user_text import problem_of_text

PYTHONS = ("expected", "unpack", "Errno", "ssl:", "__init__", "NoneType")
"""What only programmers understand."""


@pytest.mark.posix
@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("file:///tmp/a%20b.jpg", "/tmp/a b.jpg"),
        ("file://localhost/tmp/a.jpg", "/tmp/a.jpg"),
        ("FILE://LOCALHOST/tmp/a.jpg", "/tmp/a.jpg"),
        ("file:///tmp/a#b?c.jpg", "/tmp/a#b?c.jpg"),
    ],
)
def test_the_address_of_a_file_here_is_its_path(address, path):
    assert parse_place(address) == Path(path)


@pytest.mark.posix
@pytest.mark.parametrize(
    "address", ["file://other/tmp/a.jpg", "file://a.jpg", "file://127.0.0.2/a"]
)
def test_the_address_of_a_file_elsewhere_is_refused(address):
    with pytest.raises(UsageError, match="is on the computer"):
        parse_place(address)


def test_an_error_of_the_place_of_results_names_it_and_not_the_photo(jpeg, unblur, closed_port):
    folder = f"webhdfs://127.0.0.1:{closed_port}/out"
    result = unblur(jpeg, "-o", f"{folder}/", "-q")
    assert f"{jpeg}: {folder}/{jpeg.stem}-unblurred.jpg: cannot connect" in result.stderr


@pytest.fixture
def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize(
    "words",
    [["{url}"], ["score", "{url}"], ["{url}", "-o", "."], ["photo.jpg", "--mask", "{url}"]],
    ids=["beside", "score", "output", "mask"],
)
def test_a_server_that_does_not_answer_is_named(tmp_path, monkeypatch, closed_port, words):
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(make_jpeg())
    url = f"http://127.0.0.1:{closed_port}/a.jpg"
    result = CliRunner().invoke(main, [word.format(url=url) for word in words])
    assert result.exit_code in (1, 2)
    assert f"{url}: cannot be reached ({os.strerror(errno.ECONNREFUSED)})" in result.stderr


def test_a_name_that_no_server_has_is_told():
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    error = type("NoConnection", (Exception,), {"os_error": unknown})("host x:443 ssl:default")
    assert stores._reason(error) == "cannot connect: name or service not known"
    assert "ssl" not in stores._reason(OSError("Cannot connect to host x:443 ssl:default [no]"))


@pytest.mark.parametrize("address", ["data://", "data://x", "github://x/y.jpg", "abc://x"])
def test_an_address_that_is_none_is_told_without_pythons_own_words(address):
    result = CliRunner().invoke(main, [address])
    assert result.exit_code in (1, 2)
    (line,) = result.stderr.splitlines()
    assert address.partition(":")[0] in line
    assert not [word for word in PYTHONS if word in line.partition("(")[0]]


def test_the_faults_of_a_library_are_told_as_faults_of_the_address(monkeypatch):
    def fail(*unused):
        raise ValueError("not enough values to unpack (expected 2, got 1)")

    monkeypatch.setattr(stores, "open_store", fail)
    with pytest.raises(PhotoError, match="^is not an address of a photo in such a store"):
        objects.read(Url("memory", "x"))


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["photo.jpg", "-o", "https://host/a.jpg"], "--output https://host/a.jpg: nothing can be"),
        (["-r", ".", "-o", "http://host/"], "--output http://host: nothing can be written"),
        (["{url}/a.jpg"], "addresses: choose a folder with -o"),
        (["--in-place", "{url}/a.jpg"], "addresses: leave out --in-place"),
    ],
)
def test_what_would_be_written_to_a_web_server_is_refused_before_any_work(
    tmp_path, unblur, monkeypatch, server, words, advice
):
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(make_jpeg())
    server.answers = [whole(make_jpeg())]
    result = unblur(*(word.format(url=server.url) for word in words))
    assert result.code in (1, 2)
    assert advice in result.stderr


def test_an_output_in_a_store_that_does_not_answer_is_named(jpeg, unblur, monkeypatch):
    def fail(*unused):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr(stores, "open_store", fail)
    result = unblur(jpeg, "-o", "memory://host/a.jpg")
    assert "--output memory://host/a.jpg: Connection refused" in result.stderr


TEXT = 'suffix = "-ostrość"\r\n'
OTHER, BINARY = "is in UTF-16 or another encoding", "is not a text file"
FILES = {
    **{name: (TEXT.encode(name), None) for name in ("utf-8", "utf-8-sig")},
    **{name: (TEXT.encode(name), OTHER) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")},
    "empty": (b"", None),
    "cp1250": (TEXT.encode("cp1250"), OTHER),
    "Japanese": ("写真.jpg".encode("utf-16"), OTHER),
    "photo": (make_jpeg(), BINARY),
    "all bytes": (bytes(range(256)), BINARY),
    "zeros": (bytes(99), BINARY),
    "a zero": (b"\0", BINARY),
}


@pytest.mark.parametrize(("data", "problem"), FILES.values(), ids=FILES.keys())
def test_a_text_in_another_encoding_is_told_from_what_is_no_text(data, problem):
    assert (problem_of_text(data) or "").startswith(problem or "")
    assert (problem_of_text(data) is None) == (problem is None)


@pytest.mark.parametrize("option", ["--files-from", "--config"])
def test_a_photo_given_as_a_list_or_as_configuration_is_no_text(jpeg, option):
    result = CliRunner().invoke(main, [option, str(jpeg), "photo.jpg"])
    assert result.exit_code == 2
    assert f"{jpeg}: {BINARY}" in result.stderr
