"""Log in to servers with folders (SFTP, FTP, SMB, WebDAV), and rename files on them.

There, a file can be seen while it is being written. So it is written under a temporary name first,
and renamed once it is whole.
"""

from __future__ import annotations

import errno
import functools
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from unblur.errors import PhotoError
from unblur.storage import waiting
from unblur.storage.addresses import login_in, user_and_password
from unblur.storage.places import Url, longest_name, shortened

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

SSH = ("sftp", "ssh")
_DAV = {"dav": "http", "webdav": "http", "davs": "https", "webdavs": "https"}
WITH_FOLDERS = (*SSH, *_DAV, "ftp", "smb")
"""Schemes of servers with folders."""
PACKAGES = {
    **dict.fromkeys(SSH, "paramiko"),
    **dict.fromkeys(_DAV, "webdav4"),
    "smb": "smbprotocol",
}
"""Packages that the schemes need."""
ASIDE = ".before-unblur"
"""Extension of a file while another one takes its name, where that takes two steps."""


def sftp_class() -> type[AbstractFileSystem]:
    """Return a class for SFTP that checks hosts' keys, and does not wait for ever.

    Raises:
        ImportError: If paramiko is not installed.
    """
    import paramiko
    from fsspec.implementations.sftp import SFTPFileSystem

    class Sftp(SFTPFileSystem):  # type: ignore[misc]
        def _connect(self) -> None:
            patience = waiting.PATIENCE
            self.client = paramiko.SSHClient()
            self.client.load_system_host_keys()  # a host with another key than there is refused
            self.client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
            self.client.connect(self.host, timeout=patience.connect_seconds, **self.ssh_kwargs)
            self.ftp = self.client.open_sftp()
            self.ftp.get_channel().settimeout(patience.silence_seconds)

    return Sftp


def webdav_class() -> type[AbstractFileSystem]:
    """Return a class for WebDAV that takes any name for a file.

    Raises:
        ImportError: If webdav4 is not installed.
    """
    from webdav4.client import Client
    from webdav4.fsspec import WebdavFileSystem

    class Quoting(Client):  # type: ignore[misc]
        def join_url(self, path: str, add_trailing_slash: bool = False) -> Any:  # noqa: ANN401
            # Else the name "it's; a#1.jpg" would name another file.
            return super().join_url(quote(path), add_trailing_slash)

    class WebDav(WebdavFileSystem):  # type: ignore[misc]
        def __init__(self, base_url: str, auth: tuple[str, str] | None) -> None:
            seconds = waiting.PATIENCE.silence_seconds
            super().__init__(base_url, client=Quoting(base_url, auth=auth, timeout=seconds))

    return WebDav


CLASSES = {**dict.fromkeys(SSH, sftp_class), **dict.fromkeys(_DAV, webdav_class)}
"""Functions that return the class for a scheme, where that of fsspec does not do."""


def settings_of(url: Url) -> tuple[dict[str, Any], str]:
    """Return the settings with which fsspec opens a server, and a file's path on it.

    Raises:
        ValueError: If the address has no such parts.
    """
    login = login_in(url.scheme, url.path)
    host, _, name = url.path[len(login) + 1 if login else 0 :].partition("/")
    user, password = user_and_password(login)
    if url.scheme in _DAV:
        auth = None if user is None else (user, password or "")
        return {"base_url": f"{_DAV[url.scheme]}://{host}/", "auth": auth}, name
    parts = urlsplit(f"//{host}")
    if url.scheme == "smb" and user:
        user = user.replace(";", "\\")  # smb://DOMAIN;USER@host, of which the server knows nothing
    settings = {
        "host": parts.hostname or "",
        "port": parts.port,
        "username": user,
        "password": password,
        "share_access": "r" if url.scheme == "smb" else None,  # others may read meanwhile
    }
    return {key: value for key, value in settings.items() if value is not None}, f"/{name}"


def is_missing(error: BaseException) -> bool:
    """Return whether an error means that there is no such file; not all are `FileNotFoundError`."""
    number = getattr(error, "errno", None)
    return isinstance(error, FileNotFoundError) or number in (errno.ENOENT, errno.ENOTDIR)


def is_there(store: AbstractFileSystem, path: str) -> bool:
    """Return whether a server has a file; `exists` of fsspec takes every error for no."""
    try:
        store.info(path)
    except Exception as error:
        if is_missing(error):
            return False
        raise
    return True


def rename(url: Url, store: AbstractFileSystem, scratch: str, path: str, replaces: bool) -> None:
    """Give a file that is whole its name.

    Args:
        url: Address of the file.
        store: Its server.
        scratch: Path of the file until now.
        path: Its new path.
        replaces: Whether a file at the new path is replaced.

    Raises:
        FileExistsError: If there is a file at the new path, and it must not be replaced.
        Exception: If the server refuses; each library has its own errors. A file at the new path
            is then as before.
    """
    refusing, replacing = _renamers(url, store)
    try:
        (replacing if replaces else refusing)(scratch, path)
    except Exception as error:
        if not (is_there(store, path) and is_there(store, scratch)):
            raise
        if not replaces:
            raise FileExistsError(path) from error
        _replace_in_steps(url, store, scratch, path, error)


def _renamers(url: Url, store: Any) -> tuple[Any, Any]:  # noqa: ANN401 (each has other methods)
    """Return two functions that rename: one refuses to replace a file, the other replaces it."""
    if url.scheme in SSH:
        return store.ftp.rename, store.ftp.posix_rename
    if url.scheme in _DAV:
        move = store.client.move
        return move, functools.partial(move, overwrite=True)
    if url.scheme == "smb":
        return store.mv, functools.partial(_replace_in_share, store)
    return store.mv, store.mv


def _replace_in_share(store: Any, scratch: str, path: str) -> None:  # noqa: ANN401
    import smbclient

    old, new = (rf"\\{store.host}" + name.replace("/", "\\") for name in (scratch, path))
    smbclient.replace(old, new, port=store.port or 445)


def _replace_in_steps(
    url: Url, store: AbstractFileSystem, scratch: str, path: str, error: Exception
) -> None:
    """Replace a file on a server that renames nothing to a name that is taken.

    Until the new file has its name, the old one is kept under another name.
    """
    name = shortened(url.name, longest_name(url) - len(ASIDE)) + ASIDE
    aside = f"{path.rpartition('/')[0]}/{name}"
    if is_there(store, aside):
        raise PhotoError(
            f"{url.with_name(name)} exists: a run that was killed has kept it; move it away"
        ) from error
    rename, _ = _renamers(url, store)
    rename(path, aside)
    try:
        rename(scratch, path)
    except BaseException:
        rename(aside, path)
        raise
    store.rm_file(aside)
    waiting.tell(
        f"{url}: the server replaces no file in one step, so the old one was {name} for a moment"
    )
