"""What a scale-recurrent network looks like, as plain values that need no PyTorch.

Section numbers are those of the paper that `unblur.srn` cites.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

SCALES = (4, 2, 1)
"""Down-sampling factors of the three runs, coarsest first (section 3.1)."""

LEVELS = 3
"""Resolutions inside one encoder-decoder; each halves the one before (section 3.2)."""

_LARGEST = {"channels": 3, "width": 512, "blocks": 64, "kernel": 31, "unshuffle": 16}
"""A header that asks for more is wrong; a network of these sizes can still be laid out."""


@dataclass(frozen=True)
class SRNConfig:
    """What a network looks like; travels in the header of its weights file."""

    channels: int = 3
    """Image channels seen at once: 3, or 1 to run red, green and blue as a batch."""
    width: int = 32
    """Feature channels of the first level; each level doubles them."""
    blocks: int = 3
    """Residual blocks per level, in the encoder and again in the decoder."""
    kernel: int = 5
    """Side of the convolutions' kernels; odd."""
    recurrent: bool = False
    """Whether a ConvLSTM at the bottleneck hands its state to the next scale."""
    unshuffle: int = 1
    """Pixels per side folded into channels before the first convolution."""
    residual: bool = False
    """Predict what to add to the blurred image, rather than the image itself."""
    resample: Literal["subsample", "area"] = "subsample"
    """How images shrink and grow between scales; see `unblur.srn.shrink`."""

    def __post_init__(self) -> None:
        """Refuse a configuration that no network can be built from.

        Raises:
            ValueError: If a field is out of its range.
        """
        for name, most in _LARGEST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise ValueError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
        for name in ("recurrent", "residual"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {self.kernel}")
        if self.resample not in ("subsample", "area"):
            raise ValueError(f"resample must be 'subsample' or 'area', not {self.resample!r}")

    @property
    def stride(self) -> int:
        """Pixels of one scale's image per bottleneck position; sides must be multiples of it."""
        return self.unshuffle << (LEVELS - 1)

    @property
    def multiple(self) -> int:
        """What the sides of a full-size image must be multiples of."""
        return self.stride * max(SCALES)

    @property
    def state_channels(self) -> int:
        """Channels of the recurrent state; 0 without one."""
        return 2 * (self.width << (LEVELS - 1)) if self.recurrent else 0

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
