"""Plain lenses for tests."""

from __future__ import annotations

import torch

from training.synthesis.lenses import Lens


def round_lens(count):
    """Lenses of one colour whose spots are discs."""
    return Lens(
        blades=torch.zeros(count, dtype=torch.long),
        turn=torch.zeros(count),
        is_gaussian=torch.zeros(count, dtype=torch.bool),
        stretch=torch.ones(count),
        axis=torch.zeros(count),
        fringe=torch.zeros(count, 3),
    )
