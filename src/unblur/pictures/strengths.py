"""Draw one part of a photo at several strengths, side by side."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from unblur.pictures.compare import FONT_PX, GAP_PX, GROUND, INK, LABEL_PX, BeforeAfter, coded_png
from unblur.pictures.display import blended_part

STRENGTHS = 0.0, 0.25, 0.5, 0.75, 1.0
"""Strengths to show, as values of ``--strength``."""
PART_PX = 360, 480
"""Largest width and height of a part: five parts side by side fill a screen of 1920 pixels."""
LEAST_COLUMN_PX = 210
"""Smallest width of a column, so that its label fits above a narrow photo."""


def draw_strengths(pair: BeforeAfter) -> Image.Image:
    """Draw the part that changed most at full resolution, once for each of `STRENGTHS`.

    Args:
        pair: The photo, and its result of strength 1.
    """
    area = pair.change.strongest(*PART_PX)
    column = max(area.width, LEAST_COLUMN_PX)
    width = len(STRENGTHS) * (column + GAP_PX) + GAP_PX
    sheet = Image.new("RGB", (width, LABEL_PX + area.height + GAP_PX), GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    for index, strength in enumerate(STRENGTHS):
        left = GAP_PX + index * (column + GAP_PX)
        draw.text((left, LABEL_PX // 2), label_of(strength), INK, font, anchor="lm")
        sheet.paste(blended_part(pair.before, pair.after, area, strength), (left, LABEL_PX))
    return sheet


def label_of(strength: float) -> str:
    """Return the label above a part."""
    names = {0.0: " (before)", 1.0: " (default)"}
    return f"strength {strength:g}{names.get(strength, '')}"


def code_strengths(pair: BeforeAfter) -> bytes:
    """Draw a part at several strengths, and encode the picture as a PNG file."""
    return coded_png(draw_strengths(pair))
