"""Keep contrast: where a result has less contrast than its photo, keep the photo.

Motion lowers the contrast between neighbouring pixels, so removing it raises this contrast. The
network does the opposite with some fine patterns of high contrast, such as the dots of a printed
picture: it takes them for streaks, and fills the white between them with grey. Hardly any blurred
photo has such patterns. So the photo replaces the result where its own contrast is very high, and
where the result has less contrast or another brightness: motion moves light, but keeps its amount.

``weights/README.md`` has measurements of this guard.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812 (as PyTorch)
from torch import Tensor

from unblur.network.views import whole_numbers

BLOCK_PX = 16
"""Side of the blocks whose contrast is compared, each together with its eight neighbours."""
HIGH = 0.15
"""Least contrast of a pattern: the root mean square of the differences of neighbouring pixels, as a
share of the network's white, in rows and in columns. Motion makes it smaller in one of the two."""
LOWER, MUCH_LOWER = 0.95, 0.85
"""Shares of the photo's contrast. Results from ``LOWER`` on stay, the photo replaces results up to
``MUCH_LOWER``, and values between become a weighted mean of both."""
OTHER, QUITE_OTHER = 0.03, 0.06
"""Differences of the mean brightness of photo and result, as shares of the network's white. Results
up to ``OTHER`` stay, the photo replaces results from ``QUITE_OTHER`` on."""
CPU_PIXELS_AT_ONCE, PIXELS_AT_ONCE = 1 << 18, 1 << 22
"""Number of pixels that are compared at once on CPUs and on other devices, to save memory."""


def keep_contrast(result: Tensor, photo: Tensor, span: float, strength: float = 1) -> None:
    """Put the photo back where a result has less contrast or another brightness than a pattern.

    Args:
        result: The deblurred photo, (H, W, C): uint8, or the bits of uint16 as int16.
        photo: The photo, of the same shape and type, on the same device.
        span: The difference of the samples that are black and white for the network; see
            `unblur.network.exposure.Tones`.
        strength: Share of the network's change that the result has, from 0 to 1.
    """
    if strength == 0:
        return
    before = _measured(photo, photo, 1)
    is_high = before[:2].amin(0) >= (HIGH * span) ** 2
    # A GPU would have to wait for the answer.
    if is_high.device.type == "cpu" and not is_high.any():
        return
    after = _measured(result, photo, strength)
    share = (after[:2].sum(0) / before[:2].sum(0).clamp(min=1e-3)).sqrt_()
    difference = (after[2] - before[2]).abs_() / span
    is_less = (LOWER - share) / (LOWER - MUCH_LOWER)
    is_other = (difference - OTHER) / (QUITE_OTHER - OTHER)
    put_back = torch.maximum(is_less, is_other).clamp_(0, 1).mul_(is_high)
    put_back = F.max_pool2d(put_back[None, None], 3, 1, 1)  # the blocks around fail in part
    around = F.pad(put_back, (1, 1, 1, 1), mode="replicate")
    for rows in _strips(photo):
        top, bottom = rows.start // BLOCK_PX, -(-rows.stop // BLOCK_PX)
        weights = F.interpolate(around[:, :, top : bottom + 2], None, BLOCK_PX, "bilinear")
        weights = weights[0, 0, BLOCK_PX:, BLOCK_PX:, None]
        weights = weights[: rows.stop - rows.start, : photo.shape[1]]
        if weights.device.type == "cpu" and not weights.any():
            continue
        old, new = (whole_numbers(pixels[rows]).float() for pixels in (photo, result))
        mixed = torch.lerp(new, old, weights).round_()
        # Through int32: larger numbers than int16 has cannot be converted directly.
        result[rows] = mixed.byte() if result.dtype == torch.uint8 else mixed.int().short()


def _measured(pixels: Tensor, photo: Tensor, strength: float) -> Tensor:
    """Measure contrast and brightness in and around blocks; return (3, rows, columns).

    The first plane has the mean squared differences of neighbours in columns, the second those in
    rows, the third the mean.

    Args:
        pixels: The photo, or its result.
        photo: The photo.
        strength: See `keep_contrast`: the whole change counts.
    """
    blocks = []
    for rows in _strips(pixels):
        seen = slice(rows.start, rows.stop + 1)
        values = whole_numbers(pixels[seen]).float().mean(2)
        if strength != 1:
            old = whole_numbers(photo[seen]).float().mean(2)
            values = values.sub_(old).div_(strength).add_(old)
        inside = values[: rows.stop - rows.start]
        down = F.pad(values.diff(dim=0), (0, 0, 0, len(inside) + 1 - len(values)))
        across = F.pad(inside.diff(dim=1), (0, 1))
        planes = torch.stack([down.square_(), across.square_(), inside])
        blocks.append(F.avg_pool2d(planes, BLOCK_PX, ceil_mode=True))
    together = torch.cat(blocks, 1)
    return F.avg_pool2d(together, 3, 1, 1, count_include_pad=False)


def _strips(pixels: Tensor) -> Iterator[slice]:
    """Yield the rows of strips of a photo (H, W, C), each of whole blocks but for the last."""
    height, width = pixels.shape[:2]
    most = CPU_PIXELS_AT_ONCE if pixels.device.type == "cpu" else PIXELS_AT_ONCE
    count = max(1, most // (width * BLOCK_PX)) * BLOCK_PX
    for top in range(0, height, count):
        yield slice(top, min(top + count, height))
