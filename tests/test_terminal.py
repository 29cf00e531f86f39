from __future__ import annotations

import base64
import io
import os
import re
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import PseudoTerminal, encode_image, make_pixels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unblur.cli.terminal import QUESTION, find_screen, read_answer
from unblur.formats import any_format
from unblur.options import Screen, TerminalGraphics
from unblur.pictures.compare import make_pair
from unblur.pictures.preview import draw_preview, half_blocks, to_kitty, to_sixel

pytest.importorskip("pty", reason="pseudo-terminals are POSIX's")

VT220, VT340 = b"\x1b[?62;1;2;6c", b"\x1b[?63;1;4;6;22c"
KITTY = b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c"


class FakeTerminal:
    """Runs a program in a pseudo-terminal, and answers what it asks the terminal."""

    def __init__(self, answer, size=(40, 100, 1000, 800)):
        self.answer, self.size = answer, size
        self.shown = b""

    def run(self, *command, **environment):
        import fcntl
        import termios

        terminal = PseudoTerminal(QUESTION, self.answer)
        fcntl.ioctl(terminal.descriptor, termios.TIOCSWINSZ, struct.pack("4H", *self.size))
        before = termios.tcgetattr(terminal.descriptor)

        def own_terminal():
            fcntl.ioctl(2, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdin=terminal.descriptor, stdout=subprocess.PIPE, stderr=terminal.descriptor,
            start_new_session=True, preexec_fn=own_terminal,
            env=os.environ | {"TERM": "xterm-256color"} | environment,
        )  # fmt: skip
        stdout, _ = process.communicate(timeout=120)
        after = termios.tcgetattr(terminal.descriptor)
        terminal.close()
        self.shown = terminal.shown
        assert after == before, "left the terminal in another state"
        return process.returncode, stdout


SAY_SCREEN = (
    "import sys; from unblur.cli.terminal import find_screen; print(find_screen(sys.stderr))"
)


@pytest.mark.parametrize(
    ("answer", "graphics"),
    [
        (KITTY, TerminalGraphics.KITTY),
        (VT340, TerminalGraphics.SIXEL),
        (VT220, TerminalGraphics.BLOCKS),
    ],
)
def test_a_terminal_is_asked_what_it_can_show(answer, graphics):
    _, stdout = FakeTerminal(answer).run("-c", SAY_SCREEN)
    assert stdout.decode().strip() == repr(Screen(graphics, 100, 40, (10, 20)))


def test_a_terminal_that_does_not_answer_is_not_waited_for_long():
    started = time.monotonic()
    _, stdout = FakeTerminal(b"").run("-c", SAY_SCREEN)
    assert b"BLOCKS" in stdout
    assert time.monotonic() - started < 60


def test_pixels_that_a_terminal_does_not_tell_are_guessed():
    _, stdout = FakeTerminal(VT340, size=(40, 100, 0, 0)).run("-c", SAY_SCREEN)
    assert stdout.decode().strip() == repr(Screen(TerminalGraphics.SIXEL, 100, 40, (10, 20)))


@pytest.mark.parametrize(
    "environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"TERM": "xterm", "COLORTERM": ""}]
)
def test_a_terminal_of_few_colours_shows_nothing(environment):
    _, stdout = FakeTerminal(VT220).run("-c", SAY_SCREEN, **environment)
    assert stdout.strip() == b"None"


def test_what_is_no_terminal_shows_nothing():
    assert find_screen(io.StringIO()) is None


@pytest.mark.parametrize(
    ("answer", "graphics"),
    [
        (b"", TerminalGraphics.BLOCKS),
        (b"\x1b[?6c", TerminalGraphics.BLOCKS),
        (b"\x1b[?64;14;44c", TerminalGraphics.BLOCKS),  # neither is 4
        (b"typed ahead\x1b[?4c", TerminalGraphics.SIXEL),
        (b"\x1b_Gi=31;ENOTSUPPORTED\x1b\\\x1b[?62;4c", TerminalGraphics.SIXEL),
    ],
)
def test_answers_are_understood(answer, graphics):
    assert read_answer(answer) is graphics


@given(st.binary(max_size=40))
def test_no_answer_is_an_error(answer):
    assert read_answer(answer) in TerminalGraphics


def unblur_in(terminal, *arguments, weights):
    options = ("--preview", "--device", "cpu", "--model", weights)
    return terminal.run("-m", "unblur", *arguments, *options)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(KITTY, rb"\x1b_Ga=T,f=100"), (VT340, rb"\x1bP0;1q"), (VT220, "▀".encode())],
    ids=["kitty", "sixel", "blocks"],
)
def test_each_photo_is_shown_above_the_progress_bar(jpeg, png, identity_weights, answer, expected):
    png = png.rename(png.with_name("other.png"))
    terminal = FakeTerminal(answer)
    code, stdout = unblur_in(terminal, jpeg, png, weights=identity_weights)
    assert code == 0
    assert b"2 done" in terminal.shown
    assert b"photos" in terminal.shown  # the bar
    assert b"\x1b_G" not in stdout
    first, second = (
        re.search(name + rb"-unblurred\.\w+ \(64x48", terminal.shown)
        for name in (b"photo", b"other")
    )
    positions = [match.start() for match in re.finditer(expected, terminal.shown)]
    assert first.start() < positions[0] < second.start() < positions[-1]


def test_quiet_shows_no_photo_and_asks_nothing(jpeg, identity_weights):
    terminal = FakeTerminal(KITTY)
    unblur_in(terminal, jpeg, "-q", weights=identity_weights)
    assert terminal.shown == b""


def test_in_a_pipe_nothing_is_shown(jpeg, unblur_process):
    result = unblur_process(jpeg, "--preview")
    assert result.code == 0
    assert "\x1b" not in result.stderr
    assert "▀" not in result.stderr


def test_a_terminal_that_cannot_show_photos_is_told_of(jpeg, identity_weights):
    terminal = FakeTerminal(VT220)
    code, _ = terminal.run(
        "-m", "unblur", jpeg, "--preview", "--model", identity_weights, NO_COLOR="1"
    )
    assert code == 0
    assert b"neither pictures nor 256 colours" in terminal.shown


def picture_of(height, width, seed=0):
    return Image.fromarray(make_pixels(height, width, seed=seed))


@given(height=st.integers(1, 40), width=st.integers(1, 60))
def test_kittys_code_is_a_png_in_chunks(height, width):
    picture = picture_of(height, width)
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", to_kitty(picture))
    assert chunks[0][0].startswith("a=T,f=100,q=2,")
    assert all(len(data) <= 4096 for _, data in chunks)
    assert [keys[-3:] for keys, _ in chunks] == ["m=1"] * (len(chunks) - 1) + ["m=0"]
    with Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in chunks)))) as shown:
        assert np.array_equal(shown, picture)


def decode_sixel(code):
    """The picture that a terminal draws from sixels, after the VT340's manual."""
    header, body = re.fullmatch(r'\x1bP0;1q"1;1;(\d+;\d+)(.*)\x1b\\', code, re.DOTALL).groups()
    width, height = map(int, header.split(";"))
    pixels = np.full((height + 6, width, 3), -1)
    palette, color, x, top = {}, None, 0, 0
    tokens = re.findall(r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])", body)
    for index, red, green, blue, count, repeated, single, move in tokens:
        if index:
            color = int(index)
            if red:
                palette[color] = [int(level) * 255 / 100 for level in (red, green, blue)]
        elif move:
            x, top = 0, top + (6 if move == "-" else 0)
        else:
            bits, length = ord(repeated or single) - 63, int(count or 1)
            for row in range(6):
                if bits >> row & 1:
                    pixels[top + row, x : x + length] = palette[color]
            x += length
    assert (pixels[height:] == -1).all()
    assert (pixels[:height] >= 0).all()
    return pixels[:height]


@given(height=st.integers(1, 30), width=st.integers(1, 40), seed=st.integers(0, 5))
def test_sixels_show_every_pixel_in_nearly_its_colour(height, width, seed):
    picture = picture_of(height, width, seed)
    shown = decode_sixel(to_sixel(picture))
    assert shown.shape == (height, width, 3)
    assert abs(shown - np.asarray(picture, int)).mean() < 25


def test_half_blocks_are_two_pixels_each():
    picture = picture_of(6, 5)
    lines = [list(line) for line in half_blocks(picture)]
    assert [len(line) for line in lines] == [5, 5, 5]
    assert lines[1][2] == (picture.getpixel((2, 2)), picture.getpixel((2, 3)))


@pytest.mark.parametrize("graphics", TerminalGraphics)
@pytest.mark.parametrize("terminal", [(20, 5), (80, 24), (300, 100)])
@pytest.mark.parametrize("shape", [(1, 1), (400, 90), (90, 400), (300, 400)])
def test_a_photo_fits_into_the_terminal(graphics, terminal, shape):
    photo = any_format.decode(encode_image(picture_of(*shape), "PNG"))
    screen = Screen(graphics, *terminal)
    preview = draw_preview(make_pair(photo, photo.pixels // 2), screen)
    if graphics is TerminalGraphics.BLOCKS:
        assert preview.blocks.width <= screen.columns
    elif graphics is TerminalGraphics.SIXEL:
        width, height = map(int, re.search(r'"1;1;(\d+);(\d+)', preview.code).groups())
        assert width <= screen.columns * 10
        assert height <= screen.rows * 20
