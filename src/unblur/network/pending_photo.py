"""A photo that is being deblurred while the caller prepares the next photo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unblur.network.photo_rows import Pixels


class Pending:
    """A photo that `unblur.network.deblurrer.NetworkDeblurrer.start` has begun to deblur.

    Args:
        finish: Waits for the result; returns it with the device, engine and tile that were used.
    """

    def __init__(self, finish: Callable[[], tuple[Pixels, dict[str, Any]]]) -> None:
        self._finish: Callable[[], tuple[Pixels, dict[str, Any]]] | None = finish
        self._finished: tuple[Pixels, dict[str, Any]] | None = None

    def result(self) -> Pixels:
        """Wait for the deblurred photo, and return it. All calls return the same array.

        Returns:
            A new array of the photo's shape and type.

        Raises:
            PhotoError: If the photo needs more memory than ``max_memory`` (by default, than is
                free), or the network's result contains values that are not numbers.
            MemoryError: If memory runs out even with the smallest tiles on the CPU.
        """
        return self._wait()[0]

    @property
    def used(self) -> dict[str, Any]:
        """Device, engine and tile of the result, as reports contain them; waits for the result."""
        return self._wait()[1]

    def _wait(self) -> tuple[Pixels, dict[str, Any]]:
        if self._finished is None:
            assert self._finish is not None
            self._finished = self._finish()
            self._finish = None  # and the photo that it holds
        return self._finished
