"""A small classifier on the network's deepest features that tells sharp crops from others.

It is used only in training. With the loss of the restored crops alone, a network learns too late
to tell a sharp crop from one that is out of focus by 1 px: as long as it cannot, changing nothing
has the least error, so nothing teaches it the difference. A second loss on shared features teaches
the difference directly (Caruana, "Multitask Learning", Machine Learning 28, 1997).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.network.srn import State

WIDTH = 64


class SharpHead(nn.Module):
    """Tells whether crops are sharp by the mean and the spread of each feature.

    Args:
        channels: Number of features of the state, `SRNConfig.state_channels`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * channels, WIDTH)
        self.output = nn.Linear(WIDTH, 1)

    def forward(self, state: State) -> Tensor:
        """Return the logits (B,) of being sharp for states (B, channels, h, w)."""
        state = state.float()
        spread, mean = torch.var_mean(state, (2, 3), correction=0)
        features = torch.cat([mean, (spread + 1e-6).sqrt()], dim=1)
        logits: Tensor = self.output(F.relu(self.hidden(features)))
        return logits[:, 0]

    def loss(self, state: State, is_sharp: Tensor) -> Tensor:
        """Return the cross entropy, a scalar.

        Args:
            state: State of the network's finest scale.
            is_sharp: Whether each crop is sharp, (B,) bool; see `are_equal`.
        """
        return F.binary_cross_entropy_with_logits(self(state), is_sharp.float())


def are_equal(blurred: Tensor, wanted: Tensor) -> Tensor:
    """Return whether each crop (B, C, H, W) uint8 is sharp, (B,): equal to its target.

    The stored bytes are compared, since a compiler may round the two fractions differently.
    """
    return (blurred == wanted).flatten(1).all(1)
