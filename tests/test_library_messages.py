"""What C libraries print on standard error names no file, so it is collected or left out."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from conftest import make_pixels
from PIL import Image

from unblur.formats import library_messages
from unblur.formats.library_messages import collected_messages

pytestmark = pytest.mark.posix


@pytest.fixture
def allowed(monkeypatch):
    """As on the command line."""
    monkeypatch.setattr(library_messages._redirection, "is_allowed", True)


def complain(text):
    """Print as a C library does."""
    os.write(library_messages.STANDARD_ERROR, f"{text}\n".encode())


def coarse_jpeg(path):
    image = Image.fromarray(make_pixels(48, 64, 1)[..., 0])
    image.save(path, "JPEG", qtables=[np.linspace(16, 300, 64).astype(int).tolist()])
    return path


def test_messages_are_collected_while_the_context_lasts(allowed, capfd):
    complain("before")
    with collected_messages() as messages:
        complain("during")
        complain("still")
    complain("after")
    assert messages == ["during", "still"]
    assert capfd.readouterr().err == "before\nafter\n"


def test_an_error_ends_the_redirection(allowed, capfd):
    with pytest.raises(ValueError, match="wrong"), collected_messages():
        raise ValueError("wrong")
    complain("after")
    assert capfd.readouterr().err == "after\n"


def test_messages_of_several_threads_go_to_none_of_them(allowed, capfd):
    collected, both = [], threading.Barrier(2)

    def work(name):
        with collected_messages() as messages:
            both.wait()
            complain(name)
            both.wait()
        collected.append(messages)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert collected == [[], []]
    with collected_messages() as messages:
        complain("alone")
    assert messages == ["alone"]
    assert capfd.readouterr().err == ""


def test_python_programs_keep_their_standard_error(monkeypatch, capfd):
    monkeypatch.setattr(library_messages._redirection, "is_allowed", False)
    with collected_messages() as messages:
        complain("theirs")
    assert (messages, capfd.readouterr().err) == ([], "theirs\n")


def test_without_room_for_a_temporary_file_messages_are_shown(allowed, monkeypatch, capfd):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library_messages.tempfile, "TemporaryFile", full)
    with collected_messages():
        complain("shown")
    assert capfd.readouterr().err == "shown\n"


def test_a_photo_with_coarse_tables_gets_no_line_without_its_name(
    tmp_path, unblur_process, brightening_weights
):
    result = unblur_process(coarse_jpeg(tmp_path / "coarse.jpg"), model=brightening_weights)
    assert result.code == 0
    lines = result.stderr.splitlines()
    assert lines
    assert all("coarse.jpg" in line or "new record" in line for line in lines)


def test_a_camera_raw_file_that_libraw_complains_about_is_named(tmp_path, monkeypatch, allowed):
    rawpy = pytest.importorskip("rawpy", reason="rawpy is not installed")
    from unblur.formats import raw

    class Developed:
        sizes = type("Sizes", (), {"width": 64, "height": 48})

        def __enter__(self):
            return self

        def __exit__(self, *unused):
            return None

        def postprocess(self, **options):
            complain("Corrupt JPEG data: premature end of data segment")
            return np.zeros((48, 64, 3), np.uint16)

        def extract_thumb(self):
            raise rawpy.LibRawError("none")

    monkeypatch.setattr(rawpy, "imread", lambda file: Developed())
    photo = raw.decode(b"a camera's own format", 10_000)
    assert "may be damaged in parts (Corrupt JPEG data: premature end" in photo.notes[-1]
