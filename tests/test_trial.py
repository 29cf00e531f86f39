"""``unblur try``: shows one photo on a page before any result is saved."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import webbrowser
from pathlib import Path

import fakes
import pytest

from unblur.cli import deblur
from unblur.network.srn import SRN


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The folder in which temporary folders are made."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def opened(monkeypatch):
    """A web browser that only remembers the addresses that it should open."""
    addresses = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or True)
    return addresses


@pytest.fixture
def networks():
    """The networks that were loaded."""
    return []


@pytest.fixture(autouse=True)
def chosen(monkeypatch, networks):
    """Let the tool make photos brighter, so that a change shows; remember the options."""
    made = []

    def make(network, options, ui):
        made.append(options.network)
        networks.append(network)
        return fakes.on_cpu(fakes.Brighter(), views=options.network.views)

    monkeypatch.setattr(deblur, "_make_deblurrer", make)
    return made


def test_the_page_shows_both_results_and_the_strengths(unblur, jpeg, folder, opened, chosen):
    result = unblur("try", jpeg)
    assert result.code == 0
    page = Path(os.fsdecode(result.stdout.rstrip()))
    assert opened == [page.as_uri()]
    (kept,) = folder.iterdir()
    assert sorted(path.name for path in kept.iterdir()) == [
        "photo-strengths.png",
        "photo-views-1.jpg",
        "photo-views-8.jpg",
        "report.html",
    ]
    assert str(kept) in result.stderr
    html = page.read_text("utf-8")
    notes = re.findall("made with --views [0-9]", html)
    assert notes == ["made with --views 1", "made with --views 8"]
    assert html.count('<li class="card done"') == 2
    for name in ("photo-strengths.png", "photo-views-1.jpg", "photo-views-8.jpg"):
        assert f'href="{name}"' in html
    assert [network.views for network in chosen] == [1, 8]


def test_each_result_says_first_how_it_was_made_and_how_the_photo_was_blurred(
    unblur, jpeg, folder, opened
):
    html = Path(unblur("try", jpeg).stdout.decode().rstrip()).read_text("utf-8")
    cards = html.split('<li class="card')[1:]
    assert len(cards) == 2
    for views, card in zip((1, 8), cards, strict=True):
        verdict, made, facts = (
            card.index(text)
            for text in ('class="verdict"', f"made with --views {views}", 'class="facts"')
        )
        assert verdict < made < facts < card.index("The part that changed most")


def test_the_network_is_loaded_once(unblur, jpeg, folder, opened, networks):
    unblur("try", jpeg)
    assert [type(network) for network in networks] == [SRN, SRN]
    assert networks[0] is networks[1]


def test_nothing_is_written_beside_the_photo(unblur, jpeg, folder, opened):
    before = {path.name for path in jpeg.parent.iterdir()}
    content = jpeg.read_bytes()
    unblur("try", jpeg)
    assert {path.name for path in jpeg.parent.iterdir()} == before
    assert jpeg.read_bytes() == content
    assert "already done" not in unblur(jpeg, "-v").stderr


def test_a_result_is_refused_with_the_reason(unblur, jpeg, folder, opened):
    unblur("--in-place", jpeg)
    result = unblur("try", jpeg)
    assert result.code == 2
    assert f"{jpeg} is not deblurred: it is" in result.stderr
    assert "a result of unblur" in result.stderr
    assert not opened
    assert not list(folder.iterdir())


@pytest.mark.posix
def test_others_cannot_read_the_folder(unblur, jpeg, folder, opened):
    unblur("try", jpeg)
    (kept,) = folder.iterdir()
    assert kept.stat().st_mode & 0o077 == 0


def test_the_page_is_not_opened_if_that_is_not_wanted(unblur, jpeg, folder, opened):
    result = unblur("try", jpeg, "--no-open")
    assert result.code == 0
    assert opened == []
    assert Path(os.fsdecode(result.stdout.rstrip())).exists()
    assert "web browser" not in result.stderr


def no_browser(address):
    raise webbrowser.Error("could not locate runnable browser")


@pytest.mark.parametrize("fail", [no_browser, lambda address: False])
def test_without_a_browser_the_path_is_printed(unblur, jpeg, folder, opened, monkeypatch, fail):
    monkeypatch.setattr(webbrowser, "open", fail)
    result = unblur("try", jpeg)
    assert result.code == 0
    assert "found no web browser" in result.stderr
    assert Path(os.fsdecode(result.stdout.rstrip())).exists()


def test_a_browser_for_terminals_is_not_started(unblur, jpeg, folder, opened, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert "found no web browser" in unblur("try", jpeg).stderr
    assert opened == []


def test_without_a_temporary_folder_one_line_says_what_to_do(unblur, jpeg, opened, monkeypatch):
    def fail(prefix):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    result = unblur("try", jpeg)
    assert result.code == 2
    (line,) = result.stderr.splitlines()
    assert "cannot make a temporary folder" in line
    assert "TMPDIR" in line
    assert opened == []


def test_a_photo_that_fails_leaves_no_folder(unblur, jpeg, folder, opened):
    jpeg.write_bytes(jpeg.read_bytes()[:300])
    result = unblur("try", jpeg)
    assert result.code == 1
    assert result.stderr.count("damaged") == 1
    assert (list(folder.iterdir()), opened) == ([], [])


@pytest.mark.parametrize(("name", "said"), [("-", "needs a file"), (".", "name one photo")])
def test_what_is_no_single_photo_is_refused(unblur, folder, name, said):
    result = unblur("try", name)
    assert result.code == 2
    assert said in result.stderr
    assert list(folder.iterdir()) == []


def test_a_photo_with_the_name_of_the_command_is_written_with_its_folder(unblur, jpeg, monkeypatch):
    monkeypatch.chdir(jpeg.parent)
    jpeg.rename(jpeg.with_name("try"))
    assert unblur("./try").code == 0
    assert jpeg.with_name("try-unblurred.jpg").exists() or jpeg.with_name("try-unblurred").exists()
