"""Judge letters: blur and deblur pages of text, and read them with Tesseract OCR.

A letter that becomes another letter is worse than an unreadable letter. The pages are rendered, so
their text is known. https://github.com/tesseract-ocr/tesseract
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data import Pair, Pixels
from training.judging.fixed_blur import Array, decode, expose
from training.judging.validation import CROP, MARGIN

GAMMA = 2.2
FONT_PX = (14, 20, 28)
LENGTHS = (4, 8, 12, 16)
"""Lengths of the blur in pixels."""
LINES = 5
WORDS = """
above apple bread bridge camera candle castle circle cloud corner dinner dream early evening
fabric father flower forest friend garden ground harbour hotel house island journey kitchen
letter light market minute mirror morning mountain music night ocean orange paper people
picture quiet railway river school shadow silver sister station street summer table train
travel valley village water weather window winter yellow
"""
ENLARGED = 3
"""Factor by which pages are enlarged for reading: Tesseract needs capitals of 30 pixels."""


@dataclass(frozen=True)
class TextPage:
    """Text, and photos of it."""

    text: str
    length: int
    """Length of the camera's motion in pixels."""
    pair: Pair


@dataclass(frozen=True)
class Letters:
    """Shares of all letters that were read; the other letters were not read at all."""

    right: float
    turned: float
    """Share of letters that were read as another letter."""


def is_installed() -> bool:
    """Return whether letters can be judged."""
    return shutil.which("tesseract") is not None


def pages(lengths: Sequence[int] = LENGTHS) -> list[TextPage]:
    """Photograph pages of text, two for each size of letters and length of blur."""
    made = []
    for length in lengths:
        for font_px in FONT_PX:
            for number in range(2):
                rng = np.random.default_rng([20263, length, font_px, number])
                text = _random_text(font_px, rng)
                scene = decode(_render(text, font_px, rng), GAMMA)
                name = f"letters of {font_px} px moved by {length} px, page {number + 1}"
                photos = expose(scene, MARGIN, length, GAMMA, rng)
                made.append(TextPage(text, length, Pair(name, *photos)))
    return made


def _random_text(font_px: int, rng: np.random.Generator) -> str:
    """Return lines of words and numbers of a page's width."""
    font = ImageFont.load_default(font_px)
    lines = []
    for _ in range(LINES):
        line = ""
        while True:
            word = (
                str(rng.choice(WORDS.split()))
                if rng.random() < 0.85
                else str(rng.integers(10, 9999))
            )
            word = word.capitalize() if rng.random() < 0.3 else word
            longer = f"{line} {word}".strip()
            if font.getlength(longer) > CROP - 24:
                break
            line = longer
        lines.append(line)
    return "\n".join(lines)


def _render(text: str, font_px: int, rng: np.random.Generator) -> Array:
    """Draw a page with its margin, dark on light or light on dark, in [0, 1]."""
    side = CROP + 2 * MARGIN
    mask = Image.new("L", (2 * side, 2 * side))
    corner = (2 * (MARGIN + 12), 2 * (MARGIN + 14))
    font = ImageFont.load_default(2.0 * font_px)
    ImageDraw.Draw(mask).multiline_text(corner, text, 255, font, spacing=font_px)
    ink = np.asarray(mask.reduce(2), np.float32)[..., None] / 255
    dark, light = rng.uniform(0.02, 0.25, 3), rng.uniform(0.75, 0.98, 3)
    paper, letters = (light, dark) if rng.random() < 0.7 else (dark, light)
    return (paper + ink * (letters - paper)).astype(np.float32)


def judge_letters(texts: Sequence[str], read: Sequence[str]) -> Letters:
    """Compare read texts with the pages' texts."""
    counts = np.array([compare(text, page) for text, page in zip(texts, read, strict=True)])
    total = sum(len("".join(text.split())) for text in texts)
    right, turned = counts.sum(axis=0) / total
    return Letters(float(right), float(turned))


def read_pages(photos: Sequence[Pixels]) -> list[str]:
    """Return the texts that Tesseract reads in photos, with one process per core.

    Raises:
        FileNotFoundError: If Tesseract is not installed.
        subprocess.CalledProcessError: If it fails.
    """
    processes = min(os.cpu_count() or 1, len(photos))
    shares = [photos[start::processes] for start in range(processes)]
    texts = [""] * len(photos)
    with ThreadPoolExecutor(processes) as threads:
        for start, read in enumerate(threads.map(_read_in_one_process, shares)):
            texts[start::processes] = read
    return texts


def _read_in_one_process(photos: Sequence[Pixels]) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for number, photo in enumerate(photos):
            image = Image.fromarray(photo)
            size = (image.width * ENLARGED, image.height * ENLARGED)
            names.append(str(Path(folder, f"{number}.png")))
            image.resize(size, Image.Resampling.BICUBIC).save(names[-1], compress_level=1)
        listed = Path(folder, "pages.txt")
        listed.write_text("\n".join(names))
        command = ["tesseract", str(listed), "stdout", "--psm", "6", "--dpi", "300"]
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            encoding="utf-8",
            env=os.environ | {"OMP_THREAD_LIMIT": "1"},
        )
    return done.stdout.split("\f")[: len(photos)]


def compare(text: str, read: str) -> tuple[int, int]:
    """Align a read text with the true text, and count correct letters and other letters.

    Letters are aligned with the fewest insertions, deletions and substitutions (Wagner and
    Fischer, "The String-to-String Correction Problem", JACM 1974); spaces do not count.

    Returns:
        The number of correctly read letters, and the number of letters read as another letter.
    """
    text, read = "".join(text.split()), "".join(read.split())
    # Of each cell: edits, letters that are not right, letters that turned; the least is best.
    row = [(count, 0, 0) for count in range(len(read) + 1)]
    for letter in text:
        above, row = row, [(row[0][0] + 1, row[0][1] + 1, row[0][2])]
        for column, other in enumerate(read):
            edits, wrong, turned = above[column]
            is_other = letter != other
            row.append(
                min(
                    (edits + is_other, wrong + is_other, turned + is_other),
                    (above[column + 1][0] + 1, above[column + 1][1] + 1, above[column + 1][2]),
                    (row[column][0] + 1, row[column][1], row[column][2]),
                )
            )
    _, wrong, turned = row[-1]
    return len(text) - wrong, turned
