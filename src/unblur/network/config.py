"""The shape of a scale-recurrent network, as plain values that need no PyTorch.

Section numbers are those of the paper that `unblur.network.srn` cites.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

SCALES = (4, 2, 1)
"""Down-sampling factors of the three runs, coarsest first (section 3.1)."""

LSTM_KERNEL, DOUBLING_KERNEL = 3, 4
"""Kernel sides in pixels: of the ConvLSTM, and of the layers that double height and width."""
MOST_BLOCKS = 64
_RANGES = {
    "channels": (1, 3),
    "width": (1, 512),
    "kernel": (1, 31),
    "unshuffle": (1, 16),
    "levels": (2, 6),
}
"""Smallest and largest value of each field. Even the largest network can be built."""


@dataclass(frozen=True)
class SRNConfig:
    """The shape of a network, which the header of its weights file contains."""

    channels: int = 3
    """Image channels per input: 3, or 1 to run red, green and blue as a batch of three."""
    width: int = 32
    """Feature channels of the first level; each further level has twice as many."""
    blocks: int | tuple[int, ...] = 3
    """Residual blocks per level, in the encoder and again in the decoder: one number for all
    levels, or one number per level, finest first. A tuple of equal numbers becomes one number."""
    kernel: int = 5
    """Side of the convolutions' kernels; odd."""
    recurrent: bool = False
    """Whether a ConvLSTM at the bottleneck passes its state to the next scale."""
    unshuffle: int = 1
    """Side in pixels of the squares that are folded into channels before the first convolution."""
    residual: bool = False
    """Whether the network predicts the difference from the blurred image, not the sharp image."""
    resample: Literal["subsample", "area"] = "subsample"
    """How images shrink and grow between scales; see `unblur.network.srn.shrink`."""
    levels: int = 3
    """Number of resolutions inside one encoder-decoder (section 3.2), each half of the last."""

    def __post_init__(self) -> None:
        """Refuse a configuration that no network can be built from.

        Raises:
            ValueError: If a field is out of its range.
        """
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not _is_whole(value, least, most):
                raise ValueError(
                    f"{name} must be a whole number from {least} to {most}, not {value!r}"
                )
        for name in ("recurrent", "residual"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {self.kernel}")
        if self.resample not in ("subsample", "area"):
            raise ValueError(f"resample must be 'subsample' or 'area', not {self.resample!r}")
        object.__setattr__(self, "blocks", _checked_blocks(self.blocks, self.levels))

    @property
    def blocks_by_level(self) -> tuple[int, ...]:
        """Residual blocks of each level, finest first."""
        return self.blocks if isinstance(self.blocks, tuple) else (self.blocks,) * self.levels

    @property
    def widths(self) -> tuple[int, ...]:
        """Feature channels of each level, finest first."""
        return tuple(self.width << level for level in range(self.levels))

    @property
    def stride(self) -> int:
        """Side in pixels of one bottleneck position; sides of each scale's image are multiples."""
        return self.unshuffle << (self.levels - 1)

    @property
    def multiple(self) -> int:
        """The sides of a full-size image must be multiples of this."""
        return self.stride * max(SCALES)

    def padded(self, side: int) -> int:
        """Return the side of a full-size image in pixels, padded to a multiple of `multiple`."""
        return side + -side % self.multiple

    @property
    def state_channels(self) -> int:
        """Channels of the recurrent state; 0 without one."""
        return 2 * self.widths[-1] if self.recurrent else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SRNConfig:
        """Build a configuration from plain values.

        Raises:
            ValueError: If a field is unknown or out of its range.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown field {unknown[0]!r}")
        return cls(**values)


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _checked_blocks(blocks: object, levels: int) -> int | tuple[int, ...]:
    """Return blocks as one number if all levels have the same number, or else as a tuple.

    Raises:
        ValueError: If ``blocks`` is neither a number nor one number per level.
    """
    counts: list[Any] = (
        [*blocks] if isinstance(blocks, list | tuple) else [blocks for _ in range(levels)]
    )
    if len(counts) != levels or not all(_is_whole(count, 1, MOST_BLOCKS) for count in counts):
        raise ValueError(
            f"blocks must be a whole number from 1 to {MOST_BLOCKS}, "
            f"or one for each of {levels} levels, not {blocks!r}"
        )
    return counts[0] if len(set(counts)) == 1 else tuple(counts)
