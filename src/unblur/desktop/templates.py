"""Write the files that file managers read: scripts, service menus, workflows and shortcuts."""

from __future__ import annotations

import re
import shlex
import struct
from string import Template

from unblur.desktop.file_mark import Mark

ACTION = "Deblur with unblur"
"""Name of the action in the menu."""
TOOLTIP = "Remove motion blur; the original stays as it is"
WORDS = ("desktop", "run", "--")
"""Arguments between the program and the selected files."""

_SCRIPT = Template("""\
#!/bin/sh
# $mark
exec $program desktop run -- "$$@"
""")

# `Type=Service` and `X-KDE-ServiceTypes` are for KDE Frameworks 5; version 6 takes them, too.
_SERVICE_MENU = Template("""\
# $mark
[Desktop Entry]
Type=Service
Name=$action
X-KDE-ServiceTypes=KonqPopupMenu/Plugin
X-KDE-Priority=TopLevel
MimeType=image/*;inode/directory;
Actions=deblur;

[Desktop Action deblur]
Name=$action
Icon=image-x-generic
Exec=$program desktop run -- %F
""")


def shell_script(mark: Mark) -> bytes:
    """Return a script for Nautilus and Nemo; its arguments are the selected files."""
    return _SCRIPT.substitute(mark=mark, program=shlex.quote(str(mark.program))).encode()


def service_menu(mark: Mark) -> bytes:
    """Return a service menu of Dolphin.

    See KDE, *Creating Dolphin service menus*; freedesktop.org, *Desktop Entry Specification*.
    """
    program = desktop_word(str(mark.program))
    return _SERVICE_MENU.substitute(mark=mark, action=ACTION, program=program).encode()


def desktop_word(word: str) -> str:
    """Quote a word of the key ``Exec``; see *Desktop Entry Specification*, "The Exec key".

    Backslashes are escaped twice: for the word, and for the value of a key.
    """
    quoted = re.sub(r'(["`$\\])', r"\\\1", word)
    return '"' + quoted.replace("\\", "\\\\").replace("%", "%%") + '"'


def workflow_info(mark: Mark) -> bytes:
    """Return the ``Info.plist`` of a Quick Action of macOS.

    See Apple, *Services Implementation Guide*, "Services Properties".
    """
    import plistlib

    service = {
        "NSMenuItem": {"default": ACTION},
        "NSMessage": "runWorkflowAsService",
        "NSRequiredContext": {"NSApplicationIdentifier": "com.apple.finder"},
        "NSSendFileTypes": ["public.image", "public.folder"],
    }
    return plistlib.dumps({"NSServices": [service], "UnblurMark": str(mark)})


def workflow(mark: Mark) -> bytes:
    """Return the ``document.wflow`` of a Quick Action: Automator's action *Run Shell Script*.

    The script's arguments are the selected files. It always succeeds, because Automator would
    report a failure a second time.
    """
    import plistlib

    call = shlex.join([str(mark.program), *WORDS])
    action = {
        "AMAccepts": {"Container": "List", "Optional": True, "Types": ["com.apple.cocoa.path"]},
        "AMActionVersion": "2.0.3",
        "AMApplication": ["Automator"],
        "AMProvides": {"Container": "List", "Types": ["com.apple.cocoa.string"]},
        "ActionBundlePath": "/System/Library/Automator/Run Shell Script.action",
        "ActionName": "Run Shell Script",
        "ActionParameters": {
            "COMMAND_STRING": f'# {mark}\n{call} "$@" || true\n',
            "CheckedForUserDefaultShell": True,
            "inputMethod": 1,  # as arguments
            "shell": "/bin/sh",
            "source": "",
        },
        "BundleIdentifier": "com.apple.RunShellScript",
        "CFBundleVersion": "2.0.3",
        "Class Name": "RunShellScriptAction",
        "InputUUID": "3F1C7E52-9E0B-4B63-8F0A-5B7A5C2D9A01",
        "OutputUUID": "3F1C7E52-9E0B-4B63-8F0A-5B7A5C2D9A02",
        "UUID": "3F1C7E52-9E0B-4B63-8F0A-5B7A5C2D9A03",
    }
    kind = {
        "serviceApplicationBundleID": "com.apple.finder",
        "serviceInputTypeIdentifier": "com.apple.Automator.fileSystemObject",
        "serviceOutputTypeIdentifier": "com.apple.Automator.nothing",
        "serviceProcessesInput": 0,
        "workflowTypeIdentifier": "com.apple.Automator.servicesMenu",
    }
    return plistlib.dumps({
        "AMDocumentVersion": "2",
        "actions": [{"action": action, "isViewVisible": True}],
        "connectors": {},
        "workflowMetaData": kind,
    })  # fmt: skip


def shortcut(mark: Mark) -> bytes:
    """Return a shortcut of Windows (``.lnk``) that starts the program in a minimised window.

    A batch file would be unsafe: the shell would run any text after ``&`` in a photo's name.

    See Microsoft, *[MS-SHLLINK]: Shell Link (.LNK) Binary File Format*, 2.1 (the header), 2.4 (the
    texts) and 2.5.4 (the target, as a path in which variables are replaced).
    """
    link_class = bytes.fromhex("0114020000000000c000000000000046")
    flags = 0x4 | 0x20 | 0x80 | 0x200  # HasName, HasArguments, IsUnicode, HasExpString
    minimised = 7  # SW_SHOWMINNOACTIVE
    header = struct.pack("<I16sII24xIiIHHII", 76, link_class, flags, 0, 0, 0, minimised, 0, 0, 0, 0)
    target = str(mark.program)
    narrow = target.encode("ascii", "replace")[:259]
    wide = target.encode("utf-16-le")[:518]
    block = struct.pack("<II260s520s", 788, 0xA0000001, narrow, wide)
    return header + _counted(str(mark)) + _counted(" ".join(WORDS)) + block + bytes(4)


def _counted(text: str) -> bytes:
    """Return a text in a shortcut's form: the number of characters, then UTF-16 bytes."""
    data = text.encode("utf-16-le")
    return struct.pack("<H", len(data) // 2) + data
