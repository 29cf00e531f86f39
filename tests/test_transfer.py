"""Copies of photos to a device and back; a made-up CUDA records their order."""

from __future__ import annotations

import contextlib

import pytest
import torch

from unblur.network.transfer import IN_MAIN_MEMORY, CudaTransfer, PinnedBuffers


def test_photos_that_stay_in_main_memory_are_not_copied():
    photo = torch.zeros(4, 5, 3, dtype=torch.uint8)
    assert IN_MAIN_MEMORY.upload(photo) is photo
    result, flag = IN_MAIN_MEMORY.download(photo, torch.tensor(True))()
    assert result is photo
    assert flag is True


@pytest.fixture
def allocated():
    """The sizes of all buffers made."""
    return []


@pytest.fixture
def buffers(allocated):
    def allocate(size):
        allocated.append(size)
        return torch.zeros(size, dtype=torch.uint8)

    return PinnedBuffers(allocate)


def test_a_buffer_is_used_again_for_photos_that_fit(buffers, allocated):
    for shape, dtype in (
        ((4, 5, 3), torch.int16),
        ((4, 5, 3), torch.uint8),
        ((2, 2, 1), torch.int16),
    ):
        memory, give_back = buffers.take(torch.zeros(shape, dtype=dtype))
        assert (memory.shape, memory.dtype) == (shape, dtype)
        give_back()
    assert allocated == [120]


def test_a_buffer_that_is_too_small_is_replaced(buffers, allocated):
    for side in (2, 3, 2):
        buffers.take(torch.zeros(side, side, dtype=torch.uint8))[1]()
    assert allocated == [4, 9]


def test_buffers_that_are_in_use_are_not_shared(buffers, allocated):
    first, second = (buffers.take(torch.zeros(4, dtype=torch.uint8))[0] for _ in range(2))
    first += 1
    assert not second.any()
    assert allocated == [4, 4]


class Events:
    """A made-up `torch.cuda`, whose streams and events record their calls."""

    def __init__(self, names=("in", "out")):
        self.noted, self.names, self.current = [], list(names), "computing"

    def Stream(self, device):  # noqa: N802
        return _Stream(self, self.names.pop(0))

    def current_stream(self, device):
        return _Stream(self, self.current)

    def Event(self):  # noqa: N802
        return _Event(self)

    @contextlib.contextmanager
    def stream(self, stream):
        self.current = stream.name
        yield
        self.current = "computing"


class _Stream:
    def __init__(self, events, name):
        self.events, self.name = events, name

    def wait_event(self, event):
        self.events.noted.append(f"{self.name} waits for {event.of}")


class _Event:
    def __init__(self, events):
        self.events, self.is_over = events, True

    def record(self, stream=None):
        self.of = stream.name if stream else self.events.current

    def query(self):
        return self.is_over

    def synchronize(self):
        self.events.noted.append(f"the program waits for {self.of}")


@pytest.fixture
def cuda(monkeypatch):
    """Use main memory in place of a GPU's."""
    events, empty = Events(), torch.empty

    def empty_unpinned(*sizes, pin_memory=False, **options):
        return empty(*sizes, **options)

    monkeypatch.setattr(torch, "cuda", events)
    monkeypatch.setattr(torch, "empty", empty_unpinned)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)
    return events


def test_copies_wait_for_computing_only_where_they_must(cuda):
    transfer = CudaTransfer(torch.device("cpu"))
    photo = torch.arange(60, dtype=torch.uint8).view(4, 5, 3)
    finishes = []
    for is_finite in (True, False):
        copy = transfer.upload(photo)
        finishes.append(transfer.download(copy + 1, torch.tensor(is_finite)))
    started = ["computing waits for in", "out waits for computing"]
    assert cuda.noted == 2 * started
    for finish, is_finite in zip(finishes, (True, False), strict=True):
        result, flag = finish()
        assert torch.equal(result, photo + 1)
        assert flag is is_finite
    assert cuda.noted == 2 * started + 2 * ["the program waits for out"]


def test_results_are_not_overwritten_by_those_of_later_photos(cuda):
    transfer, flag = CudaTransfer(torch.device("cpu")), torch.tensor(True)
    first = transfer.download(torch.zeros(4, dtype=torch.uint8), flag)()[0]
    transfer.download(torch.ones(4, dtype=torch.uint8), flag)()
    assert not first.any()
