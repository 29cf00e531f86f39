"""The action in the menu of a real Thunar, on a virtual display."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time

import pytest

from unblur.desktop.installing import install, remove
from unblur.desktop.managers import MANAGERS

PROGRAMS = ("Xvfb", "xvfb-run", "dbus-run-session", "openbox", "thunar", "xdotool")
THUNAR = next(manager for manager in MANAGERS if manager.name == "thunar")
NAME = 'it\'s 50% "off" & $HOME.jpg'
MISSING = [program for program in PROGRAMS if not shutil.which(program)]

# The action stands above the last line of the menu. Thunar may not have listed the photo yet.
CHOOSE = """\
openbox &
thunar photos &
for attempt in 1 2 3 4 5 6 7 8; do
	sleep 1
	xdotool search --onlyvisible --class thunar windowactivate || continue
	xdotool key Escape ctrl+a shift+F10
	sleep 0.5
	xdotool key Up Up Return
	sleep 0.5
	[ -e called ] && break
done
"""


@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_thunar_shows_the_action_and_hands_the_photo_on(tmp_path, jpeg):
    (tmp_path / "photos").mkdir()
    jpeg.rename(tmp_path / "photos" / NAME)
    program = tmp_path / "100% <mine>" / "unblur"
    program.parent.mkdir()
    called = tmp_path / "called"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{shlex.quote(str(called))}\n")
    program.chmod(0o755)
    (actions,) = install(THUNAR, program)
    folders = {"HOME": tmp_path / "home", "XDG_RUNTIME_DIR": tmp_path / "run"}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    environment = os.environ | {name: str(folder) for name, folder in folders.items()}
    display = ["xvfb-run", "--auto-servernum", "dbus-run-session", "--", "sh", "-c", CHOOSE]
    started = time.monotonic()
    subprocess.run(display, cwd=tmp_path, env=environment, capture_output=True, timeout=60)
    assert called.exists(), f"not called within {time.monotonic() - started:.0f} s"
    photo = str(tmp_path / "photos" / NAME)
    assert called.read_text().splitlines() == ["desktop", "run", "--", photo]
    assert remove(THUNAR) == [actions]
    assert not actions.parent.exists()
