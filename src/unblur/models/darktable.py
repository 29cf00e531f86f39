"""Write model packages for the module "neural restore" of darktable 5.6 and newer.

``docs/dtmodel-format.md`` and ``docs/model-yaml-spec.md`` of
https://github.com/andriiryzhkov/darktable-ai-sdk describe the format. ``src/ai/README.md`` of
https://github.com/darktable-org/darktable describes the input that darktable gives a model.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

from unblur.errors import UsageError
from unblur.models.model_card import PAPER, Card
from unblur.version import __version__

TASK = "denoise"
"""darktable has no task for deblurring; this task has the same input and output, a photo."""
ENDING = ".dtmodel"
TIME = (1980, 1, 1, 0, 0, 0)
"""Fixed time of an archive's members, so that the same model always gives the same bytes."""
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9.]+)*")


def check_id(identifier: str) -> None:
    """Raise `UsageError` if darktable cannot use an identifier as a folder's name."""
    if not _ID.fullmatch(identifier):
        raise UsageError(
            f"{identifier}{ENDING}: darktable takes the name of the file as the model's "
            f"identifier; use lower-case letters, digits and hyphens: {TASK}-NAME{ENDING}"
        )


def pack(onnx: bytes, identifier: str, card: Card) -> bytes:
    """Return the bytes of a package.

    Args:
        onnx: The network; see `unblur.models.onnx_graph.encode_onnx`.
        identifier: Name of the package's file without its extension.
        card: The network's model card.
    """
    config = _config(identifier, card)
    members: dict[str, str | bytes] = {
        "config.json": _json(config),
        "model.onnx": onnx,
        # The input of darktable's own packaging tool. JSON is also valid YAML.
        "model.yaml": _json(config | {"type": "single"}),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(f"{identifier}/{name}", TIME)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
    return buffer.getvalue()


def _config(identifier: str, card: Card) -> dict[str, Any]:
    """Return the content of ``config.json``.

    Without ``input_sizes``, darktable uses its largest tile that fits into memory.
    """
    return {
        "id": identifier,
        "name": f"unblur {card.name}",
        "description": "Removes motion blur; darktable has no task of its own for this",
        "task": TASK,
        "arch": "srn",
        "backend": "onnx",
        "version": ".".join(__version__.split(".")[:2]),
        "tiling": True,
        "num_inputs": 1,
        "spatial_dims": ["height", "width"],
        "model_card": {
            "long_description": card.text,
            "scope": "removing motion blur from a photo",
            "source": card.source,
            "paper": PAPER,
            "license": card.license,
            "training_data": card.training_data,
            "notes": f"sha256 of the weights file: {card.weights_sha256}",
        },
    }


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=4, ensure_ascii=False) + "\n"
