from __future__ import annotations

import itertools
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.network.bands import LineBuffers, RowQueue, next_band
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN, Doubling, SameConv

CONFIGS = [
    SRNConfig(width=2, blocks=1),
    SRNConfig(channels=1, width=2, blocks=2, recurrent=True),
    SRNConfig(width=2, blocks=1, kernel=1, recurrent=True, resample="area"),
    SRNConfig(
        width=4, blocks=2, kernel=3, recurrent=True, unshuffle=2, residual=True, resample="area"
    ),
    SRNConfig(width=2, blocks=1, kernel=7, unshuffle=3, residual=True),
    SRNConfig(width=2, levels=2, blocks=(2, 1), kernel=3, residual=True),
    SRNConfig(width=2, levels=4, blocks=(1, 1, 2, 2), kernel=3, unshuffle=2, resample="area"),
    SRNConfig(channels=1, width=2, levels=4, blocks=(1, 2, 1, 3), kernel=3, recurrent=True),
    SRNConfig(
        width=4, blocks=1, kernel=3, recurrent=True, unshuffle=4, residual=True, resample="area"
    ),
]


def random_network(config):
    torch.manual_seed(2)
    return SRN(config).eval().requires_grad_(False)


def cut(height, multiple, at):
    """Rows of the bands that result from cuts at any multiples."""
    edges = sorted({0, height, *(multiple * a for a in at if multiple * a < height)})
    return [after - before for before, after in itertools.pairwise(edges)]


def in_bands(run, heights, *images):
    """Run the bands of several images that belong together, and join the results."""
    buffers, results, top = LineBuffers(is_last=len(heights) == 1), [], 0
    for index, height in enumerate(heights):
        results.append(run(*(image[:, :, top : top + height] for image in images), buffers))
        top += height
        buffers = buffers.next(is_last=index + 2 == len(heights))
    return results


cuts = st.lists(st.integers(1, 40), max_size=8)


@given(st.integers(1, 300), st.integers(1, 400), st.sampled_from([1, 4, 8]))
def test_bands_cover_all_rows_in_order_on_the_grid(count, most, multiple):
    height, bands = count * multiple, []
    while not bands or bands[-1].stop < height:
        bands.append(next_band(bands[-1].stop if bands else 0, height, most, multiple))
    assert bands[0].start == 0
    assert bands[-1].stop == height
    for before, after in itertools.pairwise(bands):
        assert before.stop == after.start
        assert after.start % multiple == 0
    heights = [band.stop - band.start for band in bands]
    assert max(heights) <= max(most, multiple)
    assert len(bands) == 1 or heights[-1] == multiple
    assert max(heights[:-1], default=0) - min(heights[:-1], default=0) <= multiple * len(bands)


def test_all_bands_but_the_last_are_of_one_height_where_they_can_be():
    heights, top = [], 0
    while top < 808:
        band = next_band(top, 808, 210, 8)
        heights.append(band.stop - band.start)
        top = band.stop
    assert heights == [200, 200, 200, 200, 8]


some = st.lists(st.integers(1, 9), min_size=1, max_size=9)


@given(some, st.lists(st.tuples(st.integers(0, 9), st.integers(1, 12)), max_size=9))
def test_a_queue_returns_any_rows_that_are_not_above_those_read_before(heights, reads):
    rows = torch.arange(sum(heights) * 3 * 2).reshape(-1, 3, 2).half()
    queue, top, start = RowQueue(), 0, 0
    for height in heights:
        queue.append(queue.copied(rows[top : top + height]))
        top += height
    for further, count in reads:
        start = min(start + further, top - 1)
        assert torch.equal(queue.read(start, start + count), rows[start : start + count])


def test_a_queue_frees_what_lies_above_the_rows_that_are_read():
    queue = RowQueue()
    for _ in range(3):
        queue.append(queue.copied(torch.ones(4, 5, 3)))
    first = weakref.ref(queue._blocks[0])
    queue.read(3, 12)
    assert first() is not None
    queue.read(4, 12)
    assert first() is None


def test_a_queue_on_a_device_keeps_copies_there_in_half_precision():
    device, rows = torch.device("meta"), torch.ones(4, 5, 3, device="meta")
    copied = RowQueue(device).copied(rows)
    assert (copied.device, copied.dtype) == (device, torch.float16)


@given(cuts, st.sampled_from([(1, 1), (3, 1), (3, 2), (5, 1), (5, 2), (1, 2)]))
def test_a_convolution_of_bands_is_the_convolution_of_the_whole(at, layer):
    torch.manual_seed(0)
    convolution = SameConv(2, 3, *layer).requires_grad_(False)
    image = torch.rand(2, 2, 40, 6)
    whole = convolution(image, LineBuffers())
    joined = torch.cat(in_bands(convolution, cut(40, 2, at), image), dim=2)
    assert torch.allclose(joined, whole, atol=1e-6)


@given(cuts)
def test_bands_are_doubled_as_the_whole_is(at):
    torch.manual_seed(0)
    doubling = Doubling(2, 3).requires_grad_(False)
    image = torch.rand(1, 2, 23, 5)
    whole = doubling(image, LineBuffers())
    assert whole.shape == (1, 3, 46, 10)
    joined = torch.cat(in_bands(doubling, cut(23, 1, at), image), dim=2)
    assert torch.allclose(joined, whole, atol=1e-6)


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=40)
@given(cuts)
def test_bands_of_any_height_come_out_as_the_whole_image_does(config, at):
    network = random_network(config)
    height, width = config.stride * 20, config.stride * 3
    blurred, previous = torch.rand(2, 1, config.channels, height, width)
    state = torch.rand(1, config.state_channels, 20, 3) if config.recurrent else None
    whole, whole_state = network.run_scale(blurred, previous, state)

    def run(blurred, previous, lines, buffers):
        start = int(lines[0, 0, 0, 0]) // config.stride
        stop = start + blurred.shape[2] // config.stride
        rows = None if state is None else state[:, :, start:stop]
        return network.run_scale(blurred, previous, rows, buffers)

    lines = torch.arange(height).reshape(1, 1, -1, 1)
    results = in_bands(run, cut(height, config.stride, at), blurred, previous, lines)
    images, states = zip(*results, strict=True)
    assert torch.allclose(torch.cat(images, dim=2), whole, atol=1e-5)
    if config.recurrent:
        assert torch.allclose(torch.cat(states, dim=2), whole_state, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_band_that_failed_anywhere_can_be_tried_again(config):
    network = random_network(config)
    image = torch.rand(1, config.channels, config.stride * 24, config.stride * 2)
    heights = [config.stride * rows for rows in (5, 6, 6, 6, 1)]
    calls = fails_at = 0

    def count(*_):
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise MemoryError

    for layer in network.modules():
        if isinstance(layer, SameConv | Doubling):
            layer.register_forward_pre_hook(count)

    def run(blurred, buffers):
        nonlocal calls, fails_at
        calls = fails_at = 0
        result = network.run_scale(blurred, blurred, None, buffers)[0]
        for attempt in range(1, calls + 1, 5):
            calls, fails_at = 0, attempt
            with pytest.raises(MemoryError):
                network.run_scale(blurred, blurred, None, buffers)
        calls = fails_at = 0
        again = network.run_scale(blurred, blurred, None, buffers)[0]
        assert torch.equal(again, result)
        return again

    whole = network.run_scale(image, image, None)[0]
    joined = torch.cat(in_bands(run, heights, image), dim=2)
    assert torch.allclose(joined, whole, atol=1e-5)
