"""SFTP through the real protocol, with a server of paramiko in this process."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
from conftest import make_jpeg

from unblur.errors import PhotoError
from unblur.storage import objects, stores, waiting
from unblur.storage.places import parse_place

paramiko = pytest.importorskip("paramiko", reason="paramiko is not installed")
pytestmark = pytest.mark.posix

PASSWORD = "to/p@s#e?c:r%t"


class _Door(paramiko.ServerInterface):
    def check_auth_password(self, user, password):
        is_right = (user, password) == ("me", PASSWORD)
        return paramiko.AUTH_SUCCESSFUL if is_right else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, number):
        return paramiko.OPEN_SUCCEEDED


def _answered(do, *given):
    try:
        return do(*given)
    except OSError as error:
        return paramiko.SFTPServer.convert_errno(error.errno)


class _Files(paramiko.SFTPServerInterface):
    """The paths of this machine."""

    replaces_in_one_step = True

    def stat(self, path):
        return _answered(lambda: paramiko.SFTPAttributes.from_stat(Path(path).stat()))

    lstat = stat

    def list_folder(self, path):
        return [
            paramiko.SFTPAttributes.from_stat(file.stat(), file.name)
            for file in Path(path).iterdir()
        ]

    def open(self, path, flags, attributes):
        def opened():
            file = os.fdopen(os.open(path, flags, 0o644), "wb" if flags & os.O_WRONLY else "rb")
            handle = paramiko.SFTPHandle(flags)
            handle.readfile = handle.writefile = file
            handle.stat = lambda: paramiko.SFTPAttributes.from_stat(os.fstat(file.fileno()))
            return handle

        return _answered(opened)

    def remove(self, path):
        return _answered(Path(path).unlink) or paramiko.SFTP_OK

    def mkdir(self, path, attributes):
        return _answered(Path(path).mkdir) or paramiko.SFTP_OK

    def rename(self, old, new):
        if Path(new).exists():
            return paramiko.SFTP_FAILURE
        Path(old).rename(new)
        return paramiko.SFTP_OK

    def posix_rename(self, old, new):
        if not self.replaces_in_one_step:
            return paramiko.SFTP_OP_UNSUPPORTED
        Path(old).replace(new)
        return paramiko.SFTP_OK


@pytest.fixture(scope="module")
def port():
    """The port of a server; it ends with the tests."""
    key, listener, transports = paramiko.RSAKey.generate(2048), socket.socket(), []
    listener.bind(("127.0.0.1", 0))
    listener.listen(50)

    def serve():
        while True:
            try:
                transport = paramiko.Transport(listener.accept()[0])
            except OSError:
                return
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files)
            transport.start_server(server=_Door())
            transports.append(transport)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for transport in transports:
        transport.close()


@pytest.fixture
def folder(port, tmp_path, monkeypatch):
    """The address of an empty folder; the password in it is not quoted."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(waiting, "PATIENCE", waiting.Patience(retries=0))
    stores._store_class.cache_clear()
    (tmp_path / "in").mkdir()
    yield f"sftp://me:{PASSWORD}@127.0.0.1:{port}{tmp_path}/in"
    stores._store_class.cache_clear()


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_result_is_written_and_replaced(folder, tmp_path, unblur, monkeypatch, in_one_step):
    monkeypatch.setattr(_Files, "replaces_in_one_step", in_one_step)
    (tmp_path / "in/a #1?.jpg").write_bytes(make_jpeg())
    for words in ([], ["--overwrite"]):
        result = unblur("-r", folder, "-o", f"{folder}/../out/", *words, "-v")
        assert (result.code, PASSWORD in result.stderr) == (0, False), result.stderr
    assert ("in one step" in result.stderr) is not in_one_step
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a #1?-unblurred.jpg"]


def test_a_wrong_password_is_told_in_plain_words(folder):
    with pytest.raises(PhotoError, match="^the server refuses this user and password$"):
        objects.read(parse_place(folder.replace("to/p", "no") + "/a.jpg"))


def test_a_server_with_another_key_than_is_known_gets_no_password(folder, port, tmp_path):
    (tmp_path / "home/.ssh").mkdir(parents=True)
    other = paramiko.RSAKey.generate(2048).get_base64()
    known = tmp_path / "home/.ssh/known_hosts"
    known.write_text(f"[127.0.0.1]:{port} ssh-rsa {other}\n")
    with pytest.raises(PhotoError, match="another key than in ~/.ssh/known_hosts"):
        objects.read(parse_place(f"{folder}/a.jpg"))


def test_a_server_that_falls_silent_is_given_up(folder, tmp_path, monkeypatch):
    patience = waiting.Patience(retries=0, silence_seconds=0.2)
    monkeypatch.setattr(waiting, "PATIENCE", patience)
    over = threading.Event()
    monkeypatch.setattr(_Files, "stat", lambda self, path: over.wait(60))
    try:
        with pytest.raises(waiting.PassingError):
            objects.read(parse_place(f"{folder}/a.jpg"))
    finally:
        over.set()
