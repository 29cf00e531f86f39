"""Hold a network on one device, with its weights in the device's data types."""

from __future__ import annotations

from copy import deepcopy
from typing import Protocol

import torch
from torch import Tensor, nn

from unblur.network.bands import LineBuffers
from unblur.network.config import SRNConfig
from unblur.network.device_kinds import CPU, DeviceKind
from unblur.network.engines import EngineName
from unblur.network.ncnn_library import load_ncnn
from unblur.network.overlaps import margin_of
from unblur.network.srn import SRN
from unblur.network.transfer import make_transfer


class Network(Protocol):
    """The methods of `unblur.network.srn.SRN` that deblurring uses."""

    config: SRNConfig

    def run_scale(
        self, blurred: Tensor, previous: Tensor, state: Tensor | None, buffers: LineBuffers
    ) -> tuple[Tensor, Tensor | None]:
        """See `unblur.network.srn.SRN.run_scale`."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Network:
        """Move to a device, and convert the weights to a type; see `torch.nn.Module.to`."""

    def transposed(self) -> Network:
        """See `unblur.network.srn.SRN.transposed`."""


def _with_ncnn(network: Network) -> Network:
    """Return an `SRN` with ncnn's convolutions; return other networks as they are."""
    load_ncnn()
    from unblur.network.ncnn_network import NcnnNetwork

    if isinstance(network, SRN):
        return NcnnNetwork(network)
    return network


def _on_vulkan(network: Network, kind: DeviceKind, precision: torch.dtype) -> Network:
    """Return an `SRN` on a GPU with Vulkan; return other networks as they are."""
    from unblur.network.vulkan_network import VulkanNetwork

    if isinstance(network, SRN):
        return VulkanNetwork(network, kind.number or 0, precision)
    return network


class DeviceNetwork:
    """A network on one device.

    Args:
        network: The network on the CPU, in float32; it is not changed.
        kind: The device.
        precision: Data type of convolutions.
        engine: The engine that computes on a CPU.
    """

    def __init__(
        self,
        network: Network,
        kind: DeviceKind,
        precision: torch.dtype,
        engine: EngineName,
    ) -> None:
        self.config, self.kind, self.precision = network.config, kind, precision
        self.engine: EngineName = engine
        self.device = torch.device(kind.device)
        self.transfer = make_transfer(self.device)
        """Copies photos to the device's memory and back."""
        self.margin = margin_of(network.config) if kind.engine == "ncnn" else 0
        """Rows that bands compute twice, above and below each inner edge."""
        self._on_cpu = network
        self._copies: dict[tuple[torch.dtype, bool], Network] = {}

    def run_scale(
        self,
        precision: torch.dtype,
        blurred: Tensor,
        previous: Tensor,
        state: Tensor | None,
        buffers: LineBuffers,
        is_transposed: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Run the network on a band; a GPU may still compute when this returns.

        Args:
            precision: Data type of convolutions: the usual type, or float32.
            blurred: See `unblur.network.srn.SRN.run_scale`, like the next three.
            previous: The enlarged coarser result.
            state: The enlarged coarser state.
            buffers: Rows that the band above has kept.
            is_transposed: Whether the images are transposed.

        Returns:
            The finished rows of the image, (planes, C, h, W), and of the state.
        """
        network = self._copy(precision, is_transposed)
        is_cast = self.kind.engine == "torch" and precision != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, precision, is_cast):
            return network.run_scale(blurred, previous, state, buffers)

    def _copy(self, precision: torch.dtype, is_transposed: bool) -> Network:
        """Return the network in the form that the device needs; it is made on first use."""
        key = precision, is_transposed
        if key not in self._copies:
            self._copies[key] = self._make_copy(precision, is_transposed)
        return self._copies[key]

    def _make_copy(self, precision: torch.dtype, is_transposed: bool) -> Network:
        # On a CPU, casting anew costs nothing, and a copy would take memory. ncnn makes its own.
        shares_weights = self.kind is CPU or self.kind.engine == "ncnn"
        network = self._on_cpu if shares_weights else deepcopy(self._on_cpu)
        turned = network.transposed() if is_transposed else network
        if self.kind is CPU:
            return _with_ncnn(turned) if self.engine == "ncnn" else turned
        if self.kind.engine == "ncnn":
            return _on_vulkan(turned, self.kind, precision)
        moved = turned.to(self.device, precision)
        if isinstance(moved, nn.Module):
            for weight in moved.parameters():
                if weight.ndim == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        return moved
