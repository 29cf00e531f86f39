"""The action in the menus of file managers: installed, called, and removed without a trace."""

from __future__ import annotations

import json
import plistlib
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from unblur.cli import main
from unblur.desktop import action, installing, notifications
from unblur.desktop.file_mark import Mark, read_mark
from unblur.desktop.installing import ABSENT, CHANGED, FOREIGN, INSTALLED
from unblur.desktop.managers import MANAGERS, managers_of
from unblur.errors import DesktopError
from unblur.run.report import Status

BY_NAME = {manager.name: manager for manager in MANAGERS}
WHOLE_FILES = [manager.name for manager in MANAGERS if manager.name != "thunar"]
NAMES = ['it\'s 50% "off".jpg', "$HOME `id` & <b>.jpg", "-r", "new\nline.jpg", "a\\b ü.jpg"]
"""Names of photos that a careless script would misread."""

SYSTEM_ACTIONS = """\
<?xml version="1.0" encoding="UTF-8"?>
<actions>
  <action>
    <icon>utilities-terminal</icon>
    <name>Open Terminal Here</name>
    <name xml:lang="de">Terminal hier öffnen</name>
    <command>exo-open %f</command>
    <patterns>*</patterns>
    <directories/>
  </action>
</actions>
"""
REWRITTEN_ACTION = """\
<action>
	<icon>utilities-terminal</icon>
	<name>Terminal hier öffnen</name>
	<unique-id>1795815053331818-1</unique-id>
	<command>exo-open %f</command>
	<patterns>*</patterns>
	<directories/>
</action>
"""
"""How Thunar writes the action for all users into the user's file."""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder, for the programs of each system."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / ".local" / "share"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "etc"))
    monkeypatch.setenv("APPDATA", str(home / "AppData"))
    return home


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The folder of all programs that are on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def program(tmp_path):
    """A program at a difficult path that writes down its arguments, each ended by NUL."""
    path = tmp_path / "it's 100% $HOME & <é>" / "unblur"
    path.parent.mkdir()
    return make_program(path, f"printf '%s\\0' \"$@\" >>{shlex.quote(str(tmp_path / 'called'))}")


def make_program(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    path.chmod(0o755)
    return path


def called(tmp_path):
    return (tmp_path / "called").read_bytes().decode().split("\0")[:-1]


def tree(folder):
    """All that is below a folder: the modes and bytes of files."""
    return {
        path.relative_to(folder): (path.lstat().st_mode, path.is_file() and path.read_bytes())
        for path in folder.rglob("*")
    }


def unblur(*words):
    return CliRunner().invoke(main, ["desktop", *map(str, words)])


every_manager = pytest.mark.parametrize("name", BY_NAME)


@every_manager
def test_an_installed_action_names_its_program(home, program, name):
    installing.install(BY_NAME[name], program)
    state = installing.look_up(BY_NAME[name])
    assert (state.state, state.program, state.program_exists) == (INSTALLED, str(program), True)
    program.unlink()
    assert not installing.look_up(BY_NAME[name]).program_exists


@every_manager
@pytest.mark.parametrize("has_folders", [False, True])
def test_removal_leaves_no_trace(home, program, name, has_folders):
    manager = BY_NAME[name]
    if has_folders:
        manager.parts[0].path().parent.parent.mkdir(parents=True)
        (home / "neighbour").write_text("mine")
    before = tree(home)
    assert installing.look_up(manager).state == ABSENT
    installing.install(manager, program)
    installed = tree(home)
    assert installed != before
    installing.install(manager, program)
    assert tree(home) == installed
    installing.remove(manager)
    assert tree(home) == before
    assert installing.remove(manager) == []


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_removal_from_several_file_managers_leaves_no_trace(
    home, program, monkeypatch, system, order
):
    managers = managers_of(system)
    monkeypatch.setattr("unblur.cli.desktop.managers_of", lambda: managers)
    for manager in managers[::order]:
        installing.install(manager, program)
    names = [manager.name for manager in managers]
    assert unblur("remove", *names).exit_code == 0
    assert tree(home) == {}


@every_manager
def test_a_new_program_replaces_the_old_one(home, program, tmp_path, name):
    before = tree(home)
    installing.install(BY_NAME[name], tmp_path / "gone")
    installing.install(BY_NAME[name], program)
    assert installing.look_up(BY_NAME[name]).program == str(program)
    assert b"gone" not in b"".join(data or b"" for _, data in tree(home).values())
    installing.remove(BY_NAME[name])
    assert tree(home) == before


@pytest.mark.parametrize("name", WHOLE_FILES)
def test_a_file_of_the_user_is_neither_replaced_nor_removed(home, program, name):
    path = BY_NAME[name].parts[-1].path()
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    before = tree(home)
    with pytest.raises(DesktopError, match=re.escape(f"{path}: was not made by unblur")):
        installing.install(BY_NAME[name], program)
    assert installing.remove(BY_NAME[name]) == []
    assert installing.look_up(BY_NAME[name]).state == FOREIGN
    assert tree(home) == before


@pytest.mark.posix
@pytest.mark.parametrize("name", WHOLE_FILES)
def test_a_link_of_the_user_is_not_replaced(home, program, name, tmp_path):
    path = BY_NAME[name].parts[0].path()
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DesktopError, match="was not made by unblur"):
        installing.install(BY_NAME[name], program)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", WHOLE_FILES)
def test_an_edited_file_is_told(home, program, name):
    (*_, path) = installing.install(BY_NAME[name], program)
    path.write_bytes(path.read_bytes() + b"\n")
    assert installing.look_up(BY_NAME[name]).state == CHANGED


@every_manager
def test_without_a_home_folder_nothing_is_installed(program, monkeypatch, name):
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "")

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr("platformdirs.user_data_path", no_home)
    monkeypatch.setattr("platformdirs.user_config_path", no_home)
    assert installing.look_up(BY_NAME[name]).state == ABSENT
    with pytest.raises(DesktopError, match="there is no home folder: set HOME"):
        installing.install(BY_NAME[name], program)


@pytest.mark.posix
@pytest.mark.parametrize("name", ["nautilus", "nemo"])
def test_a_script_hands_every_name_on(home, program, tmp_path, name):
    (script,) = installing.install(BY_NAME[name], program)
    subprocess.run([script, *NAMES], check=True, cwd=tmp_path)
    assert called(tmp_path) == ["desktop", "run", "--", *NAMES]


@pytest.mark.posix
def test_a_quick_action_hands_every_name_on(home, program, tmp_path):
    info, workflow = installing.install(BY_NAME["finder"], program)
    (service,) = plistlib.loads(info.read_bytes())["NSServices"]
    assert service["NSMenuItem"] == {"default": "Deblur with unblur"}
    (action,) = plistlib.loads(workflow.read_bytes())["actions"]
    settings = action["action"]["ActionParameters"]
    assert settings["inputMethod"] == 1
    command = [settings["shell"], "-c", settings["COMMAND_STRING"], "-", *NAMES]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert called(tmp_path) == ["desktop", "run", "--", *NAMES]


@pytest.mark.posix
def test_a_service_menu_calls_the_program(home, program):
    (menu,) = installing.install(BY_NAME["dolphin"], program)
    line = re.search("^Exec=(.*)$", menu.read_text("utf-8"), re.M)[1]
    # The specification quotes words as the shell does.
    script = "printf '%s\\n' " + line.replace("\\\\", "\\")
    words = subprocess.check_output(["sh", "-c", script], text=True).splitlines()
    assert words == [str(program).replace("%", "%%"), "desktop", "run", "--", "%F"]
    assert menu.stat().st_mode & 0o111


@pytest.mark.skipif(not shutil.which("desktop-file-validate"), reason="it is not there")
def test_a_service_menu_is_valid(home, program):
    (menu,) = installing.install(BY_NAME["dolphin"], program)
    check = subprocess.run(["desktop-file-validate", menu], capture_output=True, text=True)
    # KDE's own documentation has `MimeType` and `Actions` in files of the type `Service`.
    errors = [line for line in check.stdout.splitlines() if ": error: " in line]
    assert [line for line in errors if 'only valid for type "Application"' not in line] == []
    assert len(errors) <= 2


def test_a_shortcut_has_the_target_and_its_arguments(home):
    program = Path("/C/Program Files/é/unblur.exe")
    (path,) = installing.install(BY_NAME["explorer"], program)
    data = path.read_bytes()
    size, link_class, flags = struct.unpack_from("<I16sI", data)
    assert (size, link_class.hex()) == (0x4C, "0114020000000000c000000000000046")
    assert flags == 0x2A4
    texts, place = [], size
    for _ in range(2):
        (count,) = struct.unpack_from("<H", data, place)
        texts.append(data[place + 2 : place + 2 + 2 * count].decode("utf-16-le"))
        place += 2 + 2 * count
    assert texts[1] == "desktop run --"
    assert read_mark(texts[0].encode()).program == program
    assert struct.unpack_from("<II", data, place) == (0x314, 0xA0000001)
    assert data[place + 8 + 260 : place + 0x314].decode("utf-16-le").rstrip("\0") == str(program)
    assert data[place + 0x314 :] == bytes(4)


def test_a_mark_is_read_from_the_texts_of_every_format():
    mark = Mark(3, Path("/a b/ü%/unblur"))
    assert read_mark(f"<x>{mark}</x>".encode()) == read_mark(f"x{mark}\n".encode("utf-16")) == mark


def make_actions(home, text):
    path = home / ".config" / "Thunar" / "uca.xml"
    path.parent.mkdir(parents=True)
    path.write_text(text, "utf-8")
    return path


def make_system_actions(tmp_path):
    path = tmp_path / "etc" / "Thunar" / "uca.xml"
    path.parent.mkdir(parents=True)
    path.write_text(SYSTEM_ACTIONS, "utf-8")


@pytest.mark.parametrize(
    "text",
    [
        SYSTEM_ACTIONS,
        f"<actions>{REWRITTEN_ACTION}</actions>",
        "<actions><!-- <action> --></actions>",
    ],
)
def test_other_actions_of_thunar_stay_byte_for_byte(home, program, text):
    path = make_actions(home, text)
    before = tree(home)
    installing.install(BY_NAME["thunar"], program)
    mine = list(ElementTree.parse(path).getroot())[-1]
    words = shlex.split(mine.findtext("command"))
    assert words == [str(program).replace("%", "%%"), "desktop", "run", "--", "%F"]
    assert path.read_text("utf-8").startswith(text[: text.rindex("</actions>")])
    installing.remove(BY_NAME["thunar"])
    assert tree(home) == before


def test_actions_for_all_users_are_still_shown(home, program, tmp_path):
    make_system_actions(tmp_path)
    (path,) = installing.install(BY_NAME["thunar"], program)
    names = [action.findtext("name") for action in ElementTree.parse(path).getroot()]
    assert names == ["Open Terminal Here", "Deblur with unblur"]


def test_no_trace_is_left_even_if_thunar_has_written_the_file_anew(home, program, tmp_path):
    make_system_actions(tmp_path)
    before = tree(home)
    (path,) = installing.install(BY_NAME["thunar"], program)
    text = path.read_text("utf-8")
    mine = text[text.rindex("<action>") : text.rindex("</actions>")]
    path.write_text(f"<actions>\n{REWRITTEN_ACTION}{mine}</actions>", "utf-8")
    installing.remove(BY_NAME["thunar"])
    assert tree(home) == before


def test_an_action_that_the_user_has_added_since_stays(home, program, tmp_path):
    make_system_actions(tmp_path)
    (path,) = installing.install(BY_NAME["thunar"], program)
    own = REWRITTEN_ACTION.replace("exo-open", "mine")
    path.write_text(path.read_text("utf-8").replace("</actions>", own + "</actions>"), "utf-8")
    installing.remove(BY_NAME["thunar"])
    commands = [action.findtext("command") for action in ElementTree.parse(path).getroot()]
    assert commands == ["exo-open %f", "mine %f"]


def test_an_empty_list_of_actions_gets_one(home, program):
    path = make_actions(home, "<actions/>")
    installing.install(BY_NAME["thunar"], program)
    assert len(ElementTree.parse(path).getroot()) == 1
    installing.remove(BY_NAME["thunar"])
    assert len(ElementTree.parse(path).getroot()) == 0


@pytest.mark.parametrize("text", ["", "<actions>", "<other></other>", "<a></a><!-- </actions> -->"])
def test_a_damaged_list_of_actions_stays_as_it_is(home, program, text):
    path = make_actions(home, text)
    with pytest.raises(DesktopError, match=f"^{re.escape(str(path))}: (is not XML|has no list)"):
        installing.install(BY_NAME["thunar"], program)
    assert path.read_text("utf-8") == text


@pytest.mark.posix
def test_a_list_of_actions_that_is_a_link_stays_one(home, program, tmp_path):
    path = make_actions(home, "")
    path.unlink()
    (tmp_path / "dotfiles.xml").write_text(SYSTEM_ACTIONS, "utf-8")
    path.symlink_to(tmp_path / "dotfiles.xml")
    installing.install(BY_NAME["thunar"], program)
    assert installing.look_up(BY_NAME["thunar"]).state == INSTALLED
    installing.remove(BY_NAME["thunar"])
    assert path.is_symlink()
    assert (tmp_path / "dotfiles.xml").read_text("utf-8") == SYSTEM_ACTIONS


@pytest.fixture
def started(program, monkeypatch):
    """The program that started unblur."""
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setattr("unblur.cli.desktop.managers_of", lambda: managers_of("linux"))
    return program


@pytest.mark.posix
def test_the_action_is_installed_for_the_file_managers_that_are_there(home, programs, started):
    make_program(programs / "nemo", "")
    result = unblur("install")
    (path,) = (path for path in home.rglob("*") if path.is_file())
    assert (result.exit_code, result.stdout) == (0, f"{path}\n")
    assert "added to nemo" in result.stderr
    lines = map(json.loads, unblur("status", "--json").stdout.splitlines())
    states = {line["name"]: line for line in lines}
    assert states["nemo"]["is_found"]
    assert states["nemo"]["state"] == INSTALLED
    assert states["nemo"]["program"] == str(started)
    assert (states["thunar"]["is_found"], states["thunar"]["state"]) == (False, ABSENT)
    assert unblur("remove").stdout == f"{path}\n"
    assert unblur("remove").stdout == ""


@pytest.mark.posix
def test_where_there_is_no_file_manager_one_can_be_named(home, programs, started):
    result = unblur("install")
    assert result.exit_code == 2
    assert "found no file manager" in result.stderr
    assert unblur("install", "dolphin").exit_code == 0
    result = unblur("install", "explorer")
    assert (result.exit_code, "belongs to another system" in result.stderr) == (2, True)


@pytest.mark.posix
def test_one_file_manager_that_fails_does_not_stop_the_others(home, programs, started):
    make_actions(home, "damaged")
    result = unblur("install", "thunar", "nemo")
    assert result.exit_code == 1
    assert "error: thunar: " in result.stderr
    assert "added to nemo" in result.stderr


@pytest.mark.posix
def test_status_tells_that_the_program_is_gone(home, programs, started):
    unblur("install", "nautilus")
    started.unlink()
    assert f"{started} (missing: run unblur desktop install)" in unblur("status").stdout


@pytest.mark.posix
def test_the_program_is_the_installed_one(tmp_path, monkeypatch, program):
    monkeypatch.setattr(sys, "argv", ["/usr/lib/unblur/__main__.py"])
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(program.parent))
    assert installing.find_program() == program
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(DesktopError, match="there is no program unblur to start"):
        installing.find_program()
    odd = tmp_path / "line\nend"
    odd.mkdir()
    monkeypatch.setattr(sys, "argv", [str(make_program(odd / "unblur", ""))])
    with pytest.raises(DesktopError, match="its path is not text"):
        installing.find_program()


def summary(*lines, code=0):
    return action.Summary("unblur: 1 done", lines, code)


@pytest.fixture
def notifiers(programs, tmp_path, monkeypatch):
    """Make fake programs that show texts; what they get is read by `called`."""
    monkeypatch.setenv("DISPLAY", ":9")

    def make(name, code=0):
        place = shlex.quote(str(tmp_path / "called"))
        make_program(programs / name, f"printf '%s\\0' {name} \"$@\" >>{place}; exit {code}")

    return make


@pytest.mark.posix
def test_a_notification_takes_names_neither_as_markup_nor_as_escapes(notifiers, tmp_path):
    notifiers("notify-send")
    notifiers("zenity")
    assert notifications.show(summary("<b> & a\\nb.jpg"))
    assert called(tmp_path)[-2:] == ["unblur: 1 done", "&lt;b&gt; &amp; a\\\\nb.jpg"]
    assert called(tmp_path)[:2] == ["notify-send", "--urgency=normal"]


@pytest.mark.posix
@pytest.mark.parametrize("window", ["zenity", "kdialog", "xmessage"])
def test_where_no_notification_is_shown_a_window_is(notifiers, tmp_path, window):
    notifiers("notify-send", code=1)
    notifiers(window, code=1)  # closed without a button
    assert notifications.show(summary("<b>.jpg", code=1))
    assert window in called(tmp_path)
    assert "<b>.jpg" in called(tmp_path)[-1].replace("&lt;", "<").replace("&gt;", ">")


@pytest.mark.posix
def test_without_a_display_there_is_no_window(notifiers, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    notifiers("zenity", code=1)
    assert not notifications.show(summary("a.jpg"))


@pytest.mark.posix
def test_the_chosen_photos_are_deblurred_and_named(
    notifiers, tmp_path, jpeg, identity_weights, monkeypatch
):
    make = f'exec "{sys.executable}" -c "from unblur.cli import main; main()" "$@"'
    (tmp_path / "bin").mkdir()
    program = make_program(tmp_path / "bin" / "unblur", make)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("UNBLUR_MODEL", str(identity_weights))
    monkeypatch.setenv("UNBLUR_DEVICE", "cpu")
    notifiers("notify-send")
    album = tmp_path / NAMES[0]
    album.mkdir()
    (album / NAMES[3]).write_bytes(jpeg.read_bytes())
    (tmp_path / "cut.jpg").write_bytes(jpeg.read_bytes()[:200])
    monkeypatch.chdir(tmp_path)
    result = unblur("run", "--", NAMES[0], "photo.jpg", "cut.jpg")
    assert result.exit_code == 1
    heading, text = called(tmp_path)[-2:]
    failed, *done = text.split("\n")
    assert heading == "unblur: 1 failed, 2 done"
    assert failed.startswith("cut.jpg: damaged")
    assert sorted(done) == ["new\\\\nline-unblurred.jpg", "photo-unblurred.jpg"]
    assert (tmp_path / "photo-unblurred.jpg").exists()


@pytest.mark.posix
def test_errors_that_stop_a_run_are_shown(notifiers, program, tmp_path):
    body = "echo 'unblur: error: the weights are damaged' >&2; exit 4"
    result = action.deblur_chosen(make_program(program, body), ["a.jpg"])
    assert (result.title, result.lines, result.exit_code) == (
        "unblur: error",
        ("the weights are damaged",),
        4,
    )
    killed = action.deblur_chosen(make_program(program, "kill -9 $$"), ["a.jpg"])
    assert killed.lines == ("unblur ended with code -9",)


@pytest.mark.posix
def test_where_nothing_can_be_shown_the_terminal_gets_the_text(programs, started):
    result = unblur("run")
    assert result.exit_code == 3
    assert "no file was chosen" in result.stderr


def test_a_long_list_is_cut():
    text = action.Summary("", tuple(map(str, range(20))), 0).text
    assert text.split("\n") == [*map(str, range(8)), "and 12 more"]


@pytest.mark.posix
def test_each_status_of_a_photo_is_told(program):
    """A configuration may say `dry-run = true`."""
    photos = [
        {"input": f"/{status.value}.jpg", "output": f"/{status.value}-unblurred.jpg"}
        | {"status": status.value, "reason": "why"}
        for status in Status
    ]
    lines = "\n".join(map(json.dumps, photos))
    result = action.deblur_chosen(make_program(program, f"cat <<'END'\n{lines}\nEND"), ["a.jpg"])
    assert result.title == "unblur: 1 failed, 1 done, 1 planned, 1 skipped"
    assert result.lines == (
        "failed.jpg: why",
        "done-unblurred.jpg",
        "planned-unblurred.jpg",
        "skipped.jpg: skipped: why",
    )
