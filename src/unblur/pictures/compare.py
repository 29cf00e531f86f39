"""Draw a photo and its result side by side, and make small pictures of both for pages."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unblur.formats import jpeg_markers, jpeg_thumbnail
from unblur.formats.metadata import find_thumbnail, read_orientation
from unblur.formats.photo import Photo
from unblur.formats.pixels import to_8_bit_image, turned
from unblur.pictures.change import Change, measure_change
from unblur.pictures.display import Area, Upright, make_views
from unblur.score import blur_score

SIDE_PX = 960
"""Longest side in pixels of a photo in the comparison."""
MAGNIFIED = 3
"""Magnification of the part below the photos."""
DETAIL_SHAPE = 4, 3
DETAIL_PX = 192
"""Width in pixels of the detail in a page, at full resolution; less in a smaller photo."""

GAP_PX, LABEL_PX, LABEL_WIDTH_PX, FONT_PX = 16, 40, 240, 22
GROUND, INK, MARK = (24, 25, 27), (235, 236, 238), (255, 196, 0)

DRAWING_BYTES = 80 << 20
"""Upper bound of the memory for drawing photos of any size, in addition to photo and result.
Measured: 60 MB at 8 bits, 69 MB at 16 bits."""

PICTURE_CODING = {"format": "WEBP", "quality": 60, "method": 4}


@dataclass(frozen=True)
class BeforeAfter:
    """A photo and its result, ready to be drawn."""

    before: Upright
    after: Upright
    change: Change

    def strongest(self, width: int) -> Area:
        """Return the part that changed most, of this width in pixels and the usual aspect ratio."""
        return self.change.strongest(width, max(1, width * DETAIL_SHAPE[1] // DETAIL_SHAPE[0]))


@dataclass(frozen=True)
class Pictures:
    """Small upright pictures of a photo for a page, as WebP files, and facts about the change."""

    before: bytes
    after: bytes
    detail_before: bytes
    """The part that changed most, at full resolution."""
    detail_after: bytes
    size: tuple[int, int]
    """Width and height of the upright photo."""
    focus: tuple[float, float]
    """Centre of the detail, as shares of the width and of the height."""
    change: float
    """Mean difference of the result from the photo, from 0 to 1."""
    scores: tuple[float, float]
    """Blur scores before and after; see `unblur.score.blur_score`."""

    @property
    def coded(self) -> tuple[bytes, bytes, bytes, bytes]:
        """All four pictures."""
        return self.before, self.after, self.detail_before, self.detail_after

    def uncoded(self) -> Pictures:
        """Return a copy with the facts, and with empty pictures."""
        return replace(self, before=b"", after=b"", detail_before=b"", detail_after=b"")


def make_pair(photo: Photo, pixels: NDArray[Any]) -> BeforeAfter:
    """Pair a photo with its result, whose pixels have the same shape and type."""
    before, after = make_views(photo, pixels)
    return BeforeAfter(before, after, measure_change(before.pixels, after.pixels))


def draw_comparison(pair: BeforeAfter, side: int = SIDE_PX) -> Image.Image:
    """Draw before and after side by side; below, draw the part that changed most, magnified.

    Each photo is at most ``side`` pixels wide and high.
    """
    wholes = [view.fitted(side, side) for view in (pair.before, pair.after)]
    column = max(wholes[0].width, LABEL_WIDTH_PX)
    area = pair.strongest(column // MAGNIFIED)
    for whole in wholes:
        _mark(whole, area, whole.width / pair.before.size[0])
    size = (area.width * MAGNIFIED, area.height * MAGNIFIED)
    parts = [
        view.part(area).resize(size, Image.Resampling.LANCZOS) for view in (pair.before, pair.after)
    ]
    middle = LABEL_PX + wholes[0].height
    sheet = Image.new(
        "RGB", (2 * column + 3 * GAP_PX, middle + LABEL_PX + size[1] + GAP_PX), GROUND
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    labels = (("before", "after"), (f"what changed most, {MAGNIFIED}x", ""))
    for index in range(2):
        left = GAP_PX + index * (column + GAP_PX)
        for top, label, picture in zip(
            (0, middle), (row[index] for row in labels), (wholes[index], parts[index]), strict=True
        ):
            draw.text((left, top + LABEL_PX // 2), label, INK, font, anchor="lm")
            sheet.paste(picture, (left, top + LABEL_PX))
    return sheet


def draw_coarsely(pair: BeforeAfter, side: int, height: int) -> Image.Image:
    """Draw the part that changed most, at full resolution; above, the whole photo if there is room.

    Args:
        pair: The photo, drawn on the left, and its result.
        side: Largest width of each photo in pixels.
        height: Largest height of the picture in pixels.
    """
    area = pair.strongest(side)
    views = (pair.before, pair.after)
    rows = [[view.fitted(side, side) for view in views], [view.part(area) for view in views]]
    if sum(row[0].height + 2 for row in rows) > height:
        del rows[0]
    sheet = Image.new("RGB", (2 * side + 1, sum(row[0].height // 2 * 2 + 2 for row in rows)))
    top = 0
    for left, right in rows:
        sheet.paste(left, (0, top))
        sheet.paste(right, (side + 1, top))
        top += left.height // 2 * 2 + 2
    return sheet


def code_comparison(pair: BeforeAfter) -> bytes:
    """Draw a comparison, and encode it as a PNG file."""
    return coded_png(draw_comparison(pair))


def coded_png(picture: Image.Image) -> bytes:
    """Encode a picture as a PNG file."""
    return _code(picture, format="PNG")


def make_pictures(pair: BeforeAfter, side: int) -> Pictures:
    """Make small pictures for a page; whole photos are at most ``side`` pixels wide and high."""
    area, (width, height) = pair.strongest(min(DETAIL_PX, side)), pair.before.size
    before, after, detail_before, detail_after = (
        _code(picture, **PICTURE_CODING)
        for picture in (
            pair.before.fitted(side, side),
            pair.after.fitted(side, side),
            pair.before.part(area),
            pair.after.part(area),
        )
    )
    focus = (area.left + area.width / 2) / width, (area.top + area.height / 2) / height
    return Pictures(
        before,
        after,
        detail_before,
        detail_after,
        size=(width, height),
        focus=focus,
        change=pair.change.amount,
        scores=(blur_score(pair.before.pixels), blur_score(pair.after.pixels)),
    )


def code_thumbnail(header: bytes) -> bytes | None:
    """Return the thumbnail in a JPEG file, upright, and encoded like the other small pictures.

    Args:
        header: The beginning of the file, long enough to contain its EXIF block.

    Returns:
        The encoded picture; ``None`` if there is no readable thumbnail.
    """
    exif = jpeg_markers.first_exif(header)
    place = find_thumbnail(exif)
    if place is None:
        return None
    small = jpeg_thumbnail.read_pixels(exif[place])
    if small is None:
        return None
    picture = to_8_bit_image(turned(small, read_orientation(exif))).convert("RGB")
    return _code(picture, **PICTURE_CODING)


def _mark(picture: Image.Image, area: Area, scale: float) -> None:
    """Draw a frame around a part of the photo."""
    corners = [
        round(scale * x)
        for x in (area.left, area.top, area.left + area.width - 1, area.top + area.height - 1)
    ]
    ImageDraw.Draw(picture).rectangle(corners, outline=MARK, width=2)


def _code(picture: Image.Image, **coding: Any) -> bytes:  # noqa: ANN401 (Pillow's options)
    buffer = io.BytesIO()
    picture.save(buffer, **coding)
    return buffer.getvalue()
