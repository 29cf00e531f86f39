"""Add or remove a custom action in Thunar's ``uca.xml``; other actions do not change a byte.

See Xfce, *Thunar: Custom Actions*.
"""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path
from string import Template

from unblur.config import system_config_folders
from unblur.desktop.file_mark import Mark, read_mark
from unblur.desktop.templates import ACTION, TOOLTIP, WORDS
from unblur.errors import DesktopError
from unblur.storage.files import certainly, is_regular

FILE = Path("Thunar") / "uca.xml"
"""Path of the file in a settings folder."""

_NO_ACTIONS = b'<?xml version="1.0" encoding="UTF-8"?>\n<actions>\n</actions>\n'
_END = b"</actions>"
_EMPTY = re.compile(rb"<actions\s*/>")
_ACTION = re.compile(rb"<action>(?:(?!</?action>).)*</action>\n?", re.DOTALL)
_CHOSEN_BY_USERS = ("name", "command", "patterns")
"""Elements that identify an action."""
_TEMPLATE = Template("""\
<action>
	<icon>image-x-generic</icon>
	<name>$action</name>
	<unique-id>$mark</unique-id>
	<command>$command</command>
	<description>$tooltip</description>
	<patterns>*</patterns>
	<directories/>
	<image-files/>
</action>
""")


def with_action(old: bytes | None, mark: Mark) -> bytes:
    """Return the file's content with the action.

    Args:
        old: Present content; ``None`` if there is no file. A new file begins with the actions for
            all users, because the user's file hides them.
        mark: The mark of the action.

    Raises:
        DesktopError: If the file is damaged.
    """
    rest = _without(system_actions() if old is None else old)
    rest = _EMPTY.sub(b"<actions>\n" + _END, rest)
    place = rest.rfind(_END)
    command = shlex.join([str(mark.program), *WORDS]).replace("%", "%%") + " %F"
    action = _TEMPLATE.substitute(
        mark=mark, action=ACTION, tooltip=TOOLTIP, command=html.escape(command)
    ).encode("ascii", "xmlcharrefreplace")
    new = rest[:place] + action + rest[place:]
    if place < 0 or len(_parse(new)) != len(_parse(rest)) + 1:
        raise DesktopError("has no list of actions: repair it, or move it away")
    return new


def without_action(data: bytes, mark: Mark) -> bytes | None:
    """Return the file's content without the action; ``None`` if the user has no other action.

    Raises:
        DesktopError: If the file is damaged.
    """
    rest = _without(data)
    is_made = mark.levels > 0 and _has_only_system_actions(rest)
    return None if is_made else rest


def _has_only_system_actions(data: bytes) -> bool:
    """Return whether a file contains only the actions for all users.

    Thunar gives copied actions new identifiers, and keeps only their names in the user's language.
    """
    own, others = _parse(data), _parse(system_actions())
    return len(own) == len(others) and all(
        action[tag] <= other[tag]
        for action, other in zip(own, others, strict=True)
        for tag in _CHOSEN_BY_USERS
    )


def system_actions() -> bytes:
    """Return the actions for all users."""
    for folder in system_config_folders():
        path = folder / FILE
        if certainly(is_regular, path):
            return path.read_bytes()
    return _NO_ACTIONS


def _without(data: bytes) -> bytes:
    return _ACTION.sub(lambda action: b"" if read_mark(action[0]) else action[0], data)


def _parse(data: bytes) -> list[dict[str, set[str]]]:
    """Return the actions of a file: the texts of the elements `_CHOSEN_BY_USERS`."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DesktopError(f"is not XML ({error}): repair it, or move it away") from error
    return [
        {tag: {element.text or "" for element in action.iter(tag)} for tag in _CHOSEN_BY_USERS}
        for action in root.iter("action")
    ]
