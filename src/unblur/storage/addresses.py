"""Split addresses such as ``sftp://me:password@host/a.jpg``, and hide what gives access in text.

Passwords are often pasted unquoted, with ``/``, ``#``, ``?`` or ``@`` in them. Where the address
then has no host, `login_in` finds the end of the password as people mean it. Messages leave out all
that may be a part of one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote, unquote

WEB = ("http", "https")
"""Schemes of addresses of web servers."""
HIDDEN = "..."
"""Text that stands for a secret."""
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_IN_TEXT = re.compile(r"\b[a-z][a-z0-9+.-]+://[^\s'\"<>]*", re.IGNORECASE)
_CHAINED = re.compile(r"::(?=[a-z][a-z0-9+.-]+://)", re.IGNORECASE)
"""Separator of addresses of fsspec: ``zip://a.jpg::https://host/a.zip``."""
_NO_LOGIN = ("github",)
"""Schemes with an ``@`` that ends no login: ``github://OWNER:REPOSITORY@BRANCH``."""
_PORT = r"(?::(?:6553[0-5]|655[0-2]\d|65[0-4]\d\d|6[0-4]\d{3}|[1-5]?\d{1,4}))"
_HOST = rf"(?:\[[0-9a-fA-F:.%]+\]|[^\s:@/?#\[\]]+){_PORT}?"
_HOST_AND_PATH = re.compile(f"{_HOST}/")
_SURE_HOST = re.compile(rf"(?:\[[0-9a-fA-F:.%]+\]|localhost|[^\s:@/?#]+\.[^\s:@/?#]+){_PORT}?")
"""A host that can hardly be user and password, or a part of a password."""
_HOST_AND_QUERY = re.compile(rf"{_HOST}\?[\w.-]+=")
_NO_PASSWORD = re.compile(r"[^:]*(:\d*)?|\[.*|.*@.*")
"""Host and port, or what has a login."""
_SECRET_NAME = re.compile(
    "token|key|sig|pass|pwd|secret|cred|auth|sess|sid|jwt|hmac|ticket|policy|hdn|otp|bearer|"
    "^(code|pin|pw|sas|oh|hm)$",
    re.IGNORECASE,
)
"""Names of values that give access, such as signatures."""
_SECRET_VALUE = re.compile(
    r"eyJ[\w.-]{8,}|[0-9a-fA-F]{32,}|(?=.*\d)(?=.*[A-Z])(?=.*[a-z])[\w%+=~-]{24,}|.*://.*@.*"
)
"""Values that look like a token or a signature, and addresses with a login."""
_FIELD = re.compile(r"(?<=[?&;#])([^=&;#\s]*)=([^&;#\s'\"<>]+)")
_BARE = re.compile(r"(?<=[?&;#])[^=&;#\s'\"<>]+(?=[&;#]|$)")
_SECRET_VARIABLE = re.compile("PASSW|SECRET|TOKEN|ACCESS_KEY|API_?KEY|ACCOUNT_KEY|CONNECTION_STR")
_LEAST_LENGTH = 4
"""Length of the shortest secret that is searched for; a shorter one is part of many words."""
_logins: set[str] = set()
"""Logins with a password, of all addresses that the user named."""
_passwords: set[str] = set()
"""Passwords in those, and values of their queries that give access."""


def login_in(scheme: str, rest: str) -> str:
    """Return user and password of an address as they are written; empty if it has none.

    Where the standard (RFC 3986) finds a host, it decides: a password is sent to no other one.

    Args:
        scheme: The address before ``://``.
        rest: The address after it.
    """
    authority = rest.partition("/")[0]
    login, at, host = authority.rpartition("@")
    if _has_other_sign(scheme, authority):
        return ""
    if re.fullmatch(_HOST, host) or (":" not in host and not at):
        return login
    return _possible_login(scheme, rest)


def _possible_login(scheme: str, rest: str) -> str:
    """Return what may be user and password; more than `login_in` returns where that is unsure.

    Perhaps the first slash is a part of the password: then another host and slash follow.
    """
    authority = rest.partition("/")[0]
    login, at, host = authority.rpartition("@")
    if _has_other_sign(scheme, authority):
        return ""
    if at and (":" not in login or _SURE_HOST.fullmatch(host)):
        return login
    if not at and (":" not in host or _SURE_HOST.fullmatch(host)):
        return ""
    later = [at.start() for at in re.finditer("@", rest) if _HOST_AND_PATH.match(rest, at.end())]
    if later or at:
        return rest[: max(later, default=len(login))]
    return "" if re.fullmatch(_HOST, host) else rest[: max(rest.rfind("@"), 0)]


def _has_other_sign(scheme: str, authority: str) -> bool:
    """Return whether the ``@`` before the first slash, if any, ends no login."""
    if scheme.lower() in _NO_LOGIN:
        return True
    # http://host?mail=me@other
    return scheme.lower() in WEB and _HOST_AND_QUERY.match(authority) is not None


def user_and_password(login: str) -> tuple[str | None, str | None]:
    """Return the unquoted parts of a login; ``None`` for a part that it does not have."""
    user, colon, password = login.partition(":")
    return unquote(user) or None, unquote(password) if colon else None


def with_quoted_login(address: str) -> str:
    """Return an address whose user and password are quoted as web addresses must be (RFC 3986)."""
    scheme, separator, rest = address.partition("://")
    login = login_in(scheme, rest)
    if not login:
        return address
    user, colon, password = login.partition(":")
    quoted = _quoted(user) + colon + _quoted(password)
    return f"{scheme}{separator}{quoted}{rest[len(login) :]}"


def _quoted(part: str) -> str:
    return quote(re.sub("%(?![0-9a-fA-F]{2})", "%25", part), safe="%!$&'()*+,;=")


def shown(address: str) -> str:
    """Return one address without its password, tokens and signatures.

    Names of users stay, except in addresses of web servers, where they may be tokens.
    """
    return "::".join(map(_shown_one, _CHAINED.split(address)))


def _shown_one(address: str) -> str:
    match = _SCHEME.match(address)
    if match is None:
        return address
    scheme, rest = match[1], address[match.end() :]
    login, is_web = _possible_login(scheme, rest), scheme.lower() in WEB
    if login:
        user = "" if is_web else login.partition(":")[0]
        rest = (f"{user}@" if user else "") + rest[len(login) + 1 :]
    elif scheme.lower() not in _NO_LOGIN:
        rest = _without_odd_port(rest)
    if is_web and (start := re.search("[?#]", rest)):
        rest = rest[: start.start()] + _shown_query(rest[start.start() :])
    return match[0] + rest


def _without_odd_port(rest: str) -> str:
    """Return an address without a port that is none: perhaps a password whose host is missing."""
    authority, slash, path = rest.partition("/")
    if _NO_PASSWORD.fullmatch(authority):
        return rest
    return f"{authority.partition(':')[0]}:{HIDDEN}{slash}{path}"


def _shown_query(query: str) -> str:
    query = _FIELD.sub(lambda match: _shown_field(match[1], match[2]), query)
    return _BARE.sub(lambda m: HIDDEN if _SECRET_VALUE.fullmatch(unquote(m[0])) else m[0], query)


def _shown_field(name: str, value: str) -> str:
    return f"{name}={HIDDEN if _gives_access(name, value) else value}"


def _gives_access(name: str, value: str) -> bool:
    return bool(_SECRET_NAME.search(unquote(name)) or _SECRET_VALUE.fullmatch(unquote(value)))


def remember(address: str) -> None:
    """Let `without_secrets` know an address; without that, it has to guess where one ends."""
    for one in _CHAINED.split(address):
        login, secrets = _secrets_in(one)
        _logins.update(login)
        _passwords.update(secrets)


def _secrets_in(address: str) -> tuple[set[str], set[str]]:
    """Return the login of an address, and the passwords and other secrets, in every spelling."""
    match = _SCHEME.match(address)
    if match is None:
        return set(), set()
    scheme, rest = match[1], address[match.end() :]
    login, secrets = _possible_login(scheme, rest), set[str]()
    if login:
        user, _, password = login.partition(":")
        # A library may take a part before or after one of these signs for a host or a port.
        parts = re.split("[/?#@:]", password)
        secrets |= {password, *parts, *([user] if scheme.lower() in WEB else [])}
    if scheme.lower() in WEB:
        query = rest[len(login) :]
        secrets |= {value for name, value in _FIELD.findall(query) if _gives_access(name, value)}
    spelled = {form for one in secrets for form in (one, unquote(one), quote(one, safe=""))}
    return {login} if ":" in login else set(), _long_enough(spelled)


def _long_enough(texts: Iterable[str]) -> set[str]:
    return {text for text in texts if len(text) >= _LEAST_LENGTH}


def without_secrets(text: str) -> str:
    """Return a message without the passwords, tokens and signatures of the addresses in it."""
    text = _replaced(text, {f"{login}@" for login in _logins}, _user_of)
    return _IN_TEXT.sub(lambda match: shown(match[0]), text)


def _user_of(login: str) -> str:
    user = login.partition(":")[0]
    return f"{user}@" if user else ""


def without_any_secret(text: str, address: str = "") -> str:
    """Return a library's message, or a traceback, without secrets.

    Libraries quote parts of addresses, and variables of the environment. So each password and
    token that is known is left out wherever it appears.

    Args:
        text: The message.
        address: The address that the library was given; others are known from `remember`.
    """
    login, secrets = _secrets_in(address)
    proxies = [_secrets_in(value) for value in os.environ.values() if "://" in value]
    found = _passwords.union(secrets, _logins, login, _secrets_in_environment())
    for logins, others in proxies:
        found |= logins | others
    text = _replaced(without_secrets(text), found, lambda secret: HIDDEN)
    return _FIELD.sub(lambda match: _shown_field(match[1], match[2]), text)


def _secrets_in_environment() -> set[str]:
    return {
        value
        for name, value in os.environ.items()
        if len(value) >= 8
        and _SECRET_VARIABLE.search(name.upper())
        and not Path(value).is_absolute()
    }


def _replaced(text: str, secrets: Iterable[str], by: Callable[[str], str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, by(secret))
    return text
