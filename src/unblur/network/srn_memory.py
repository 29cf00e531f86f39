"""How much memory a scale-recurrent network takes, by its configuration alone.

All figures are upper bounds; tests compare them with networks of many shapes. Nothing here
needs PyTorch. Section numbers are those of the paper that `unblur.network.srn` cites.
"""

from __future__ import annotations

import itertools
import math

from unblur.network.config import SRNConfig

MAPS_ALIVE = 16
"""Feature maps of the first level's size that are alive at once, measured at the peak."""
IMAGES_ALIVE = 8
"""Images of a band's size, in float32, that are alive at once."""
BYTES_PER_PARAMETER = 12
"""A weight in float32, and what convolutions copy of it: in another type, in another order."""
HALF_BYTES = 2
"""Of what a scale leaves for the next."""
FLOAT32_BYTES = 4
"""Images and recurrent states are in float32, whatever type convolutions compute in."""
LSTM_KERNEL = 3


def count_parameters(config: SRNConfig) -> int:
    """Return how many numbers the network's weights are."""
    folded, square = config.channels * config.unshuffle**2, config.kernel**2
    widths = (2 * folded, *config.widths)
    count = square * config.width * folded + folded
    for (narrow, wide), blocks in zip(
        itertools.pairwise(widths), config.blocks_by_level, strict=True
    ):
        count += (square * narrow + 1) * wide + 4 * blocks * (square * wide + 1) * wide
    for narrow, wide in itertools.pairwise(config.widths):
        count += (4**2 * wide + 1) * narrow
    if config.recurrent:
        deepest = config.widths[-1]
        count += (LSTM_KERNEL**2 * 2 * deepest + 1) * 4 * deepest
    return count


def weight_bytes(config: SRNConfig) -> int:
    """Return the bytes that a network's weights take while it is at work."""
    return BYTES_PER_PARAMETER * count_parameters(config)


def tile_bytes_per_pixel(config: SRNConfig, itemsize: int) -> int:
    """Return the bytes that a tile takes for each of its pixels.

    Args:
        config: The network's.
        itemsize: Bytes of the type that convolutions compute in.
    """
    planes = 3 // config.channels
    features = MAPS_ALIVE * planes * config.width / config.unshuffle**2 * itemsize
    return math.ceil(features + image_bytes_per_pixel())


def image_bytes_per_pixel() -> int:
    """Return the bytes that a tile's images take, which main memory holds for a GPU, too."""
    return IMAGES_ALIVE * 3 * FLOAT32_BYTES


def scale_bytes_per_pixel(config: SRNConfig) -> float:
    """Return the bytes that a scale's image and state, in half precision, take per pixel."""
    states = 3 // config.channels * config.state_channels / config.stride**2
    return HALF_BYTES * (3 + states)


def rows_behind(config: SRNConfig) -> int:
    """Return by how many rows of pixels a band's result lags behind the rows put in.

    A convolution waits for the rows below that its kernel covers.
    """
    half = config.kernel // 2
    first_level = half + 4 * half * config.blocks_by_level[0] + half  # entry, blocks, output
    return first_level * config.unshuffle + _rows_behind_below(config, 0)


def _rows_behind_below(config: SRNConfig, level: int) -> int:
    """Return by how many rows of pixels a level's skipped features are ahead of deeper ones."""
    half, lag = config.kernel // 2, 0
    for deeper in range(level + 1, config.levels):
        exit_rows = 1
        rows = half + 4 * half * config.blocks_by_level[deeper] + exit_rows
        lag += rows * _row_height(config, deeper)
    return lag + (config.stride if config.recurrent else 0)  # a row for the ConvLSTM


def _row_height(config: SRNConfig, level: int) -> int:
    """Return the pixels that a row of a level's features is high."""
    return config.unshuffle << level


def line_buffer_bytes(width: int, config: SRNConfig, itemsize: int) -> int:
    """Return the bytes that layers keep of one band for the next.

    A row of features is as long in bytes at each level: half as many, twice as wide.
    Buffers of two bands exist at once, since a band may have to be tried again.

    Args:
        width: Of the image, in pixels.
        config: The network's.
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
    """Return how many rows of features all layers keep, but for the first and for states."""
    overlap, doublings = config.kernel - 1, config.levels - 1
    in_blocks = 3 * 2 * sum(config.blocks_by_level)  # two convolutions, and what is added to
    rows = overlap * (in_blocks + doublings + 1)  # entries, output
    rows += 2 * doublings  # exits
    for level in range(doublings):
        rows += math.ceil(_rows_behind_below(config, level) / _row_height(config, level))
    return rows + 2 * (LSTM_KERNEL - 1) * config.recurrent  # features and hidden maps


def _kept_state_rows(config: SRNConfig) -> int:
    """Return how many rows of the ConvLSTM's maps wait for features, cell and hidden apart."""
    half, lag = config.kernel // 2, 0
    for level, blocks in enumerate(config.blocks_by_level):
        lag += (half + 2 * half * blocks) * _row_height(config, level)
    return 2 * math.ceil(lag / config.stride) + 1
