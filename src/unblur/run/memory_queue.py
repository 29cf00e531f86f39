"""Limit the number of photos that are decoded, deblurred and written at the same time.

The number of threads is one limit, free memory is the other. A decoder asks for memory as soon as
it knows the size of its photo (`unblur.main_memory.require_memory`), and waits until earlier photos
have freed enough memory.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from unblur.main_memory import asking_first, free_main_memory, obtainable_memory
from unblur.options import Options

MEMORY_SHARE = 0.5
"""Share of the free memory for all photos; the network and other programs need the rest."""
BYTES_PER_DECODER_BYTE = 2.5
"""Memory of a photo until it is written, relative to the bytes that its decoder asks for. A decoder
asks for 6 bytes per pixel, for the photo and its result. Encoding takes 8 more bytes per pixel
(`unblur.network.memory.CODING_BYTES_PER_PIXEL`)."""
FILE, PIXELS = "file", "pixels"
"""Kinds of memory that a photo takes."""
CORES_LEFT = 2
"""Number of cores for the thread that feeds a GPU, and for the system."""


def photos_ahead(options: Options, computes_on_cpu: bool, cores: int) -> int:
    """Return the number of photos to decode ahead, and to write in parallel.

    A GPU is faster than one core can decode and encode, so with a GPU nearly all cores decode and
    encode. On the CPU, the network itself uses the cores.

    Args:
        options: The user's options.
        computes_on_cpu: Whether the network runs on the CPU.
        cores: Number of cores that this process may use.

    Returns:
        The number of photos; 0: process one photo at a time, so that no photo waits in memory.
    """
    if options.network.max_memory:
        return 0
    return options.jobs or (1 if computes_on_cpu else max(1, cores - CORES_LEFT))


class InterruptedWaitError(Exception):
    """Raised in a decoder that waits for memory when the run ends."""


class MemoryQueue:
    """Admits photos to memory in order, while all photos together stay within a budget.

    The oldest photo never waits. So no photo waits for ever, and a photo larger than the budget is
    processed alone.

    Args:
        budget: Bytes for all photos; by default `MEMORY_SHARE` of the memory that is free now.
    """

    def __init__(self, budget: float | None = None) -> None:
        self._budget = MEMORY_SHARE * free_main_memory() if budget is None else budget
        self._changed = threading.Condition()
        self._slots: list[Slot] = []
        """Admitted and waiting photos, oldest first."""
        self._is_over = False

    def join(self) -> Slot:
        """Add a slot for a photo at the end of the queue."""
        with self._changed:
            slot = Slot(self)
            self._slots.append(slot)
            return slot

    def end(self) -> None:
        """Admit no more photos; waiting decoders raise `InterruptedWaitError`."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def hold(self, slot: Slot, kind: str, count: int) -> None:
        """See `Slot.hold_file` and `Slot.hold_pixels`."""
        with self._changed:
            more = count - slot.held.get(kind, 0)
            self._changed.wait_for(lambda: self._is_over or self._may_hold(slot, kind, more))
            if self._is_over:
                raise InterruptedWaitError
            slot.held[kind] = max(count, slot.held.get(kind, 0))
            self._changed.notify_all()

    def _may_hold(self, slot: Slot, kind: str, more: int) -> bool:
        older = self._slots[: self._slots.index(slot)]
        if not older:
            return True
        if kind == PIXELS and not all(PIXELS in other.held for other in older):
            return False
        held = sum(sum(other.held.values()) for other in self._slots)
        return held + more <= self._budget and more <= obtainable_memory()

    def leave(self, slot: Slot) -> None:
        """See `Slot.leave`."""
        with self._changed:
            self._slots.remove(slot)
            self._changed.notify_all()


class Slot:
    """The slot of one photo in a `MemoryQueue`."""

    def __init__(self, queue: MemoryQueue) -> None:
        self._queue = queue
        self.held: dict[str, int] = {}
        """Admitted bytes of the photo's `FILE` and of its `PIXELS`."""

    def hold_file(self, size: int) -> None:
        """Wait until a file of ``size`` bytes fits into the budget.

        Raises:
            InterruptedWaitError: If the run ends meanwhile.
        """
        self._queue.hold(self, FILE, size)

    def hold_pixels(self, count: int) -> None:
        """Wait until all earlier photos have their pixels, and this photo's pixels fit, too.

        Args:
            count: Bytes that the decoder asks for.

        Raises:
            InterruptedWaitError: If the run ends meanwhile.
        """
        self._queue.hold(self, PIXELS, int(BYTES_PER_DECODER_BYTE * count))

    @contextlib.contextmanager
    def decoding(self) -> Iterator[None]:
        """Let decoders in this thread wait for this photo's turn while the context lasts."""
        with asking_first(self.hold_pixels):
            yield

    def leave(self) -> None:
        """Release the photo's memory for waiting photos, after the photo was written or failed."""
        self._queue.leave(self)
