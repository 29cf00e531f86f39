"""Estimate the memory that a scale-recurrent network needs, from its configuration.

All figures are upper bounds, which tests compare with networks of many shapes. This module does not
need PyTorch.
"""

from __future__ import annotations

import itertools
import math

from unblur.network.config import DOUBLING_KERNEL, LSTM_KERNEL, SCALES, SRNConfig

MAPS_ALIVE = {"torch": 16, "ncnn": 28, "vulkan": 28}
"""Number of feature maps of the first level's size at the measured peak of memory, by engine;
``vulkan`` is ncnn on a GPU."""
BYTES_PER_PARAMETER = {"torch": 12, "ncnn": 28, "vulkan": 28}
"""Bytes of a weight in float32 and of its copies for convolutions: in another type, in another
order, and for ncnn transformed, with 36 numbers for a kernel of 9."""
WINOGRAD_GROWTH = 4
"""Size of the map of transformed squares, relative to its input: 4 x 4 numbers for each 2 x 2
pixels."""
LARGEST_BUFFER_BYTES = 1 << 30
"""Largest buffer that all drivers of desktop GPUs allow; some of Intel's allow no larger buffer."""
HALF_BYTES, FLOAT32_BYTES = 2, 4
"""Bytes of a number: between scales, images and states are in float16, within a scale in
float32."""
IMAGE_BYTES_PER_PIXEL = 8 * 3 * FLOAT32_BYTES
"""Bytes of the eight images of a tile that exist at once, in main memory even if a GPU computes."""


def count_parameters(config: SRNConfig) -> int:
    """Return the number of the network's weights."""
    folded, square = config.channels * config.unshuffle**2, config.kernel**2
    widths = (2 * folded, *config.widths)
    count = square * config.width * folded + folded
    for (narrow, wide), blocks in zip(
        itertools.pairwise(widths), config.blocks_by_level, strict=True
    ):
        count += (square * narrow + 1) * wide + 4 * blocks * (square * wide + 1) * wide
    for narrow, wide in itertools.pairwise(config.widths):
        count += (DOUBLING_KERNEL**2 * wide + 1) * narrow
    if config.recurrent:
        deepest = config.widths[-1]
        count += (LSTM_KERNEL**2 * 2 * deepest + 1) * 4 * deepest
    return count


def weight_bytes(config: SRNConfig, engine: str) -> int:
    """Return the bytes of a network's weights while an engine runs it."""
    return BYTES_PER_PARAMETER[engine] * count_parameters(config)


def tile_bytes_per_pixel(config: SRNConfig, itemsize: int, engine: str = "torch") -> int:
    """Return the bytes per pixel of a tile.

    Args:
        config: Shape of the network.
        itemsize: Bytes of the type that convolutions compute in.
        engine: The engine that computes.
    """
    planes = 3 // config.channels
    features = MAPS_ALIVE[engine] * planes * config.width / config.unshuffle**2 * itemsize
    return math.ceil(features + IMAGE_BYTES_PER_PIXEL)


def coarse_result_bytes(height: int, width: int, config: SRNConfig) -> float:
    """Return the bytes of all coarser scales' images and states, for a photo's size in pixels."""
    states = 3 // config.channels * config.state_channels / config.stride**2
    pixels = config.padded(height) * config.padded(width) * sum(scale**-2 for scale in SCALES[:-1])
    return HALF_BYTES * (3 + states) * pixels


def rows_behind(config: SRNConfig) -> int:
    """Return the number of rows of pixels by which a band's result lags behind its input.

    A convolution waits for the lower rows that its kernel covers.
    """
    half = config.kernel // 2
    first_level = half + 4 * half * config.blocks_by_level[0] + half  # entry, blocks, output
    return first_level * config.unshuffle + _rows_behind_below(config, 0)


def _rows_behind_below(config: SRNConfig, level: int) -> int:
    """Return the rows of pixels by which deeper levels lag behind a level's skip connection."""
    half, lag = config.kernel // 2, 0
    for deeper in range(level + 1, config.levels):
        exit_rows = 1
        rows = half + 4 * half * config.blocks_by_level[deeper] + exit_rows
        lag += rows * _row_height(config, deeper)
    return lag + (config.stride if config.recurrent else 0)  # a row for the ConvLSTM


def _row_height(config: SRNConfig, level: int) -> int:
    """Return the height in pixels of one row of a level's features."""
    return config.unshuffle << level


def line_buffer_bytes(width: int, config: SRNConfig, itemsize: int) -> int:
    """Return the bytes of all line buffers.

    A row of features has the same size at each level, because each level has half the columns and
    twice the channels. Buffers of two bands exist at once, because a band may have to be computed
    again.

    Args:
        width: Width of the image, in pixels.
        config: Shape of the network.
        itemsize: Bytes of the type that convolutions compute in.
    """
    planes = 3 // config.channels
    row = planes * config.width / config.unshuffle
    first_inputs = (config.kernel - 1) * 2 * 3 * config.unshuffle
    per_column = itemsize * (row * _kept_rows(config) + first_inputs)
    if config.recurrent:
        per_column += FLOAT32_BYTES * row * _kept_state_rows(config)
    if config.residual:
        per_column += FLOAT32_BYTES * 3 * rows_behind(config)  # the blurred image
    return math.ceil(2 * per_column * width)


def _kept_rows(config: SRNConfig) -> int:
    """Return the number of feature rows in all line buffers, except for the input and the state."""
    overlap, doublings = config.kernel - 1, config.levels - 1
    in_blocks = 3 * 2 * sum(config.blocks_by_level)  # two convolutions, and what is added to
    rows = overlap * (in_blocks + doublings + 1)  # entries, output
    rows += 2 * doublings  # exits
    for level in range(doublings):
        rows += math.ceil(_rows_behind_below(config, level) / _row_height(config, level))
    return rows + 2 * (LSTM_KERNEL - 1) * config.recurrent  # features and hidden maps


def _kept_state_rows(config: SRNConfig) -> int:
    """Return the number of rows of the ConvLSTM's cell and hidden maps in line buffers."""
    half, lag = config.kernel // 2, 0
    for level, blocks in enumerate(config.blocks_by_level):
        lag += (half + 2 * half * blocks) * _row_height(config, level)
    return 2 * math.ceil(lag / config.stride) + 1


def vulkan_pixels(config: SRNConfig, itemsize: int, budget: float) -> int:
    """Return the number of pixels that ncnn can compute at once on a GPU with a budget in bytes."""
    fitting = budget / tile_bytes_per_pixel(config, itemsize, "vulkan")
    largest_map = WINOGRAD_GROWTH * config.width / config.unshuffle**2 * itemsize
    folded = 2 * config.channels * FLOAT32_BYTES
    return int(min(fitting, LARGEST_BUFFER_BYTES / max(largest_map, folded)))
