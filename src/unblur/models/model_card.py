"""Make a network's model card, which exported files contain."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from unblur.models.catalog import MODELS
from unblur.models.weights import SOURCE_KEY, Weights, read_notes
from unblur.network.config import SRNConfig
from unblur.version import __version__

PAPER = "https://arxiv.org/abs/1802.01770"
UNKNOWN = "not known; ask where the weights come from"


@dataclass(frozen=True)
class Card:
    """The origin, licence and purpose of a network."""

    name: str
    license: str
    training_data: str
    source: str
    purpose: str
    """Kinds of photos for which it works well, and kinds for which it does not."""
    weights_sha256: str
    """Hash of the weights file."""

    @property
    def text(self) -> str:
        """The card as sentences."""
        return (
            f"{self.name} removes motion blur from photos. {self.purpose}. "
            f"Licence: {self.license}. Trained on: {self.training_data}. Source: {self.source}. "
            f"The network: {PAPER}. Exported by unblur {__version__}."
        )

    def notes(self, config: SRNConfig, precision: str) -> dict[str, str]:
        """Return the card as names and texts.

        Args:
            config: Configuration of the network.
            precision: Type of the exported weights, such as ``fp32``.
        """
        return {
            "name": self.name,
            "unblur_version": __version__,
            "license": self.license,
            "training_data": self.training_data,
            "source": self.source,
            "paper": PAPER,
            "card": self.text,
            "weights_sha256": self.weights_sha256,
            "network": json.dumps(config.to_dict()),
            "precision": precision,
        }


def read_card(model: str, weights: Weights) -> Card:
    """Return the card of a model, given by its name or by the path of a weights file.

    Raises:
        WeightsError: If the file is damaged.
    """
    known = MODELS.get(model)
    if known:
        purpose = f"Good at {known.good_at}; bad at {known.bad_at}"
        texts = (known.name, known.license, known.training_data, known.source, purpose)
    else:
        source = read_notes(weights.path).get(SOURCE_KEY, weights.path.name)
        purpose = "Its strengths and weaknesses are not known"
        texts = (Path(weights.path).stem, UNKNOWN, UNKNOWN, source, purpose)
    return Card(*texts, weights_sha256=weights.sha256)
