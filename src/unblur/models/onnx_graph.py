"""Convert a network to one ONNX graph for photos of any size.

https://onnx.ai/onnx/intro/
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unblur.errors import WeightsError
from unblur.extras import is_older, load_extra
from unblur.network.srn import SRN

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto

OPSET = 18
"""Version of ONNX's operators; ONNX Runtime 1.14 and newer support it."""
IR_VERSION = 8
"""Version of the file format that fits these operators; PyTorch writes a newer version."""
LEAST_TORCH = "2.7"
"""Oldest version of PyTorch that writes names of the dynamic dimensions."""
DIMENSIONS = ("batch", "channels", "height", "width")
EXAMPLE = (2, 3, 50, 70)
"""Shape of the photos for tracing the network. The sides need padding, and no two are equal."""


class PhotoNetwork(nn.Module):
    """The three scales of a network, with padding before and cropping after them.

    Args:
        network: The network, in the data type of convolutions: float32 or float16.
    """

    def __init__(self, network: SRN) -> None:
        super().__init__()
        self.network = network

    def forward(self, photos: Tensor) -> Tensor:
        """Deblur photos.

        Args:
            photos: (B, 3, H, W), float32, sRGB values in [0, 1]; H and W are at least 1.

        Returns:
            The deblurred photos, of the same shape, type and range.
        """
        height, width = photos.shape[2:]
        config = self.network.config
        padded = _padded(_padded(photos, 2, config.multiple), 3, config.multiple)
        seen = padded.reshape(-1, config.channels, *padded.shape[2:])
        result = self.network(seen)[-1].float().reshape(-1, 3, *padded.shape[2:])
        cropped: Tensor = result[:, :, :height, :width]
        return cropped.clamp(0, 1)


def _padded(photos: Tensor, dim: int, multiple: int) -> Tensor:
    """Repeat the last row or column until the side is a multiple.

    `torch.nn.functional.pad` would need a side that the exporter can prove to be a multiple.
    """
    side = photos.shape[dim]
    places = torch.arange((side + multiple - 1) // multiple * multiple, device=photos.device)
    return photos.index_select(dim, places.clamp(max=side - 1))


def encode_onnx(network: SRN, half: bool, notes: dict[str, str]) -> bytes:
    """Return a network as the bytes of an ONNX file.

    The graph has one input, ``input``, and one output, ``output``, as in
    `PhotoNetwork.forward`; the dimensions ``batch``, ``height`` and ``width`` are dynamic.

    Args:
        network: The network, in float32.
        half: Whether to store weights and compute in float16; input and output are float32.
        notes: Entries of the file's ``metadata_props``.

    Raises:
        WeightsError: If a library is missing or too old.
    """
    onnx = load_extra("onnx", "onnx", "ONNX files", WeightsError)
    load_extra("onnxscript", "onnx", "ONNX files", WeightsError)
    if is_older(torch.__version__, LEAST_TORCH):
        raise WeightsError(f"ONNX files need PyTorch {LEAST_TORCH} or newer")
    model = _trace(deepcopy(network).half() if half else network)
    _tidy(model.graph)
    onnx.helper.set_model_props(model, notes)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "unblur", notes.get("unblur_version", "")
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _trace(network: SRN) -> ModelProto:
    """Export a network's operators by tracing it."""
    with _silent():
        program = torch.onnx.export(
            PhotoNetwork(network).eval(),
            (torch.zeros(EXAMPLE),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes={"photos": {0: "batch", 2: "height", 3: "width"}},
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _tidy(graph: GraphProto) -> None:
    """Remove paths of this machine from a graph, and name the dimensions of its result.

    PyTorch records for each operator its line in the source code.
    """
    values: list[ValueInfoProto] = [*graph.input, *graph.output, *graph.value_info]
    for part in (graph, *graph.node, *graph.initializer, *values):
        del part.metadata_props[:]
        part.doc_string = ""
    (output,) = graph.output
    for place, name in enumerate(DIMENSIONS):
        if name != "channels":
            output.type.tensor_type.shape.dim[place].dim_param = name


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Hide the exporter's messages, which are meant for programmers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
