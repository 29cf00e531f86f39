"""View a photo rotated and mirrored, and average the results.

A network's errors depend a little on the direction, so the mean of several views has smaller errors
(geometric self-ensemble: Lim, Son, Kim, Nah, Lee: "Enhanced Deep Residual Networks for Single Image
Super-Resolution", CVPRW 2017, section 3.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PARTS = 16
"""Number of parts in which results are added, to save memory."""


@dataclass(frozen=True)
class View:
    """A view of a photo: optionally transposed, and then flipped along some dimensions.

    Only rows that are read or written are flipped; the photo itself is not changed.
    """

    is_transposed: bool = False
    flipped: tuple[int, ...] = ()
    """Dimensions that are flipped after transposing: 0 the rows, 1 the columns."""

    def transposed(self) -> View:
        """Return the view with rows and columns exchanged."""
        return View(not self.is_transposed, tuple(1 - dim for dim in self.flipped))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the view, for a photo's height and width."""
        return (width, height) if self.is_transposed else (height, width)

    def rows(self, photo: Tensor, start: int, stop: int) -> Tensor:
        """Return a copy of rows of the view, (stop - start, W, C); see `place`."""
        place = self.place(photo, start, stop)
        return place.flip(self.flipped) if self.flipped else place

    def write(self, photo: Tensor, start: int, rows: Tensor) -> None:
        """Write rows of the view, (h, W, C), from row ``start`` on, to their place in the photo."""
        place = self.place(photo, start, start + len(rows))
        place.copy_(rows.flip(self.flipped) if self.flipped else rows)

    def place(self, photo: Tensor, start: int, stop: int) -> Tensor:
        """Return the rows of a photo, (H, W, C), that contain rows of the view, not yet flipped."""
        turned = photo.transpose(0, 1) if self.is_transposed else photo
        if 0 in self.flipped:
            start, stop = len(turned) - stop, len(turned) - start
        return turned[start:stop]


ALL_VIEWS = tuple(
    View(is_transposed, flipped)
    for is_transposed, flipped in (
        *((False, ()), (False, (1,)), (False, (0, 1)), (False, (0,))),
        *((True, (0,)), (True, (0, 1)), (True, (1,)), (True, ())),
    )
)
"""All eight views: first the photo itself, then the views that improve the mean most."""


class Mean:
    """The rounded mean of photos of one shape and type; only the sum is kept in memory.

    Args:
        count: Number of photos.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._sum: Tensor | None = None

    def add(self, photo: Tensor) -> None:
        """Add a photo (H, W, C): uint8, or the bits of uint16 as int16."""
        if self._sum is None:
            self._dtype = photo.dtype
            self._sum = torch.zeros(photo.shape, dtype=_sum_type(photo), device=photo.device)
        for total, part in zip(self._sum.chunk(PARTS), photo.chunk(PARTS), strict=True):
            total += whole_numbers(part)

    def rounded(self) -> Tensor:
        """Return the mean of the added photos, of their shape and type; call this only once."""
        assert self._sum is not None
        self._sum += self.count // 2
        return self._sum.div_(self.count, rounding_mode="floor").to(self._dtype)


def whole_numbers(photo: Tensor) -> Tensor:
    """Return a photo's samples as numbers: uint8 unchanged, the bits of uint16 in int16 as int32.

    PyTorch has hardly any operators for uint16.
    """
    return photo if photo.dtype == torch.uint8 else photo.int().bitwise_and_(0xFFFF)


def sum_bytes(itemsize: int) -> int:
    """Return the bytes of a sample in the sum of all views, from the bytes of a photo's sample."""
    return 2 * itemsize


def _sum_type(photo: Tensor) -> torch.dtype:
    return torch.int16 if photo.dtype == torch.uint8 else torch.int32
