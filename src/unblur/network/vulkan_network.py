"""Run the network on a GPU through ncnn and Vulkan, in overlapping pieces."""

from __future__ import annotations

import ncnn
import torch
import torch.nn.functional as F  # noqa: N812 (as PyTorch)
from torch import Tensor

from unblur.network import vulkan
from unblur.network.bands import LineBuffers
from unblur.network.memory import VRAM_SHARE
from unblur.network.ncnn_tensors import (
    FLOAT32_BYTES,
    as_mat,
    as_tensor,
    compute_in_float32,
    load_graph,
)
from unblur.network.overlaps import (
    PIXELS,
    STATE,
    Columns,
    cut_columns,
    join,
    keep,
    margin_of,
    rows_of_band,
)
from unblur.network.srn import SRN, State
from unblur.network.srn_memory import vulkan_pixels
from unblur.network.vulkan_gpus import load_drivers
from unblur.network.vulkan_graph import CHANGE, NEW_STATE, ScaleGraph

ALIGNMENT_BYTES = 16
OUT_OF_MEMORY = -100
"""ncnn's return value if it cannot allocate a map."""


class VulkanNetwork:
    """An `SRN` on a GPU. PyTorch's tensors stay on the CPU; ncnn copies them to the GPU and back.

    ncnn ends the program if an allocation fails. So each piece first asks for the device's free
    memory, and raises `MemoryError` if it is too small.

    Args:
        network: The network, on the CPU.
        number: Index of the device in `unblur.network.vulkan.find_gpus`.
        precision: Data type of feature maps, float32 or float16; sums are in float32.
        most_pixels: Pixels of the largest piece. Default: as many as the free memory allows.
    """

    def __init__(
        self, network: SRN, number: int, precision: torch.dtype, most_pixels: int | None = None
    ) -> None:
        self._net = ncnn.Net()  # the first attribute is deleted first: before its allocators
        self.config, self._original = network.config, network
        self._number, self._precision, self._most_pixels = number, precision, most_pixels
        self._margin = margin_of(network.config)
        graph = ScaleGraph(network)
        self._stages = graph.stages
        index = load_drivers()[number].index
        self._device = ncnn.get_gpu_device(index)
        self._blobs, self._staging = (
            ncnn.VkBlobAllocator(self._device),
            ncnn.VkStagingAllocator(self._device),
        )
        _set_options(self._net.opt, precision)
        self._net.set_vulkan_device(index)
        self._net.opt.blob_vkallocator = self._net.opt.workspace_vkallocator = self._blobs
        self._net.opt.staging_vkallocator = self._staging
        load_graph(self._net, graph.layers)

    def to(self, device: torch.device, dtype: torch.dtype) -> VulkanNetwork:
        """Return the network itself, which is already on its device."""
        return self

    def transposed(self) -> VulkanNetwork:
        """See `SRN.transposed`."""
        turned = self._original.transposed()
        return VulkanNetwork(turned, self._number, self._precision, self._most_pixels)

    def run_scale(
        self, blurred: Tensor, previous: Tensor, state: State | None, buffers: LineBuffers
    ) -> tuple[Tensor, State | None]:
        """See `SRN.run_scale`; all tensors are on the CPU."""
        stride = self.config.stride
        pixels = join(buffers, PIXELS, torch.cat([blurred, previous], dim=1))
        rows = rows_of_band(buffers, pixels, self._margin)
        keep(buffers, PIXELS, pixels, rows.kept_from)
        if self.config.recurrent:
            state = self._whole_state(blurred) if state is None else state
            state = join(buffers, STATE, state)
            keep(buffers, STATE, state, rows.kept_from // stride)
        if rows.ready == rows.above:
            empty = None if state is None else state[:, :, :0]
            return blurred[:, :, :0], empty
        image, state = self._run_rows(pixels, state)
        finished = rows.finished(image)
        if self.config.residual:
            finished = finished + rows.finished(pixels[:, : self.config.channels])
        return finished, None if state is None else rows.finished(state, stride)

    def _whole_state(self, blurred: Tensor) -> State:
        batch, _, height, width = blurred.shape
        stride = self.config.stride
        return blurred.new_zeros(
            batch, self.config.state_channels, height // stride, width // stride
        )

    def _run_rows(self, pixels: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        """Compute rows of full width, in pieces that fit into the device's memory."""
        stride = self.config.stride
        height, width = pixels.shape[2:]
        pieces = cut_columns(width, self._room() // height, self._margin, stride)
        results = [self._run_piece(pixels, state, piece) for piece in pieces]
        changes = torch.cat([change for change, _ in results], dim=3)
        if state is None:
            return changes, None
        return changes, torch.cat([new for _, new in results if new is not None], dim=3)

    def _room(self) -> int:
        """Return the number of pixels that the device can compute at once now."""
        if self._most_pixels is not None:
            return self._most_pixels
        with vulkan.select(self._number):
            budget = VRAM_SHARE * vulkan.free_memory()
        return vulkan_pixels(self.config, self._precision.itemsize, budget)

    def _run_piece(
        self, pixels: Tensor, state: State | None, columns: Columns
    ) -> tuple[Tensor, State | None]:
        """Compute a piece of each image of a batch, and return the correct columns."""
        stride = self.config.stride
        folded = F.pixel_unshuffle(columns.cut(pixels), self.config.unshuffle).contiguous()
        seen = None if state is None else columns.cut(state, stride).contiguous()
        found = [
            self._run_graph(image, None if seen is None else seen[number])
            for number, image in enumerate(folded)
        ]
        change = F.pixel_shuffle(torch.stack([part[0] for part in found]), self.config.unshuffle)
        change = columns.right_part(change)
        if seen is None:
            return change, None
        new = torch.stack([part[1] for part in found if part[1] is not None])
        return change, columns.right_part(new, stride)

    def _run_graph(self, pixels: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        """Run the graph on contiguous maps; see `unblur.network.vulkan_graph` for shapes."""
        extractor = self._net.create_extractor()
        try:
            extractor.input(PIXELS, _aligned(pixels))
            if state is not None:
                extractor.input(STATE, _aligned(state))
            for stage in self._stages:
                _extract(extractor, stage)
            change = as_tensor(_extract(extractor, CHANGE)).clone()
            if state is None:
                return change, None
            return change, as_tensor(_extract(extractor, NEW_STATE)).clone()
        finally:
            extractor.clear()
            self._blobs.clear()
            self._staging.clear()


def _set_options(options: ncnn.Option, precision: torch.dtype) -> None:
    """Let ncnn compute with Vulkan, with maps in float16 or float32, and sums in float32."""
    compute_in_float32(options)
    options.use_vulkan_compute = True
    # ncnn would compile a second algorithm, for small maps, at each start; that takes longer.
    options.use_winograd23_convolution = False
    options.use_fp16_packed = options.use_fp16_storage = precision == torch.float16


def _aligned(x: Tensor) -> ncnn.Mat:
    """View or copy a map (C, H, W) so that each channel begins at a multiple of 16 bytes.

    ncnn copies maps to a GPU as if their channels were aligned.
    """
    mat = as_mat(x)
    return mat.clone() if x[0].numel() * FLOAT32_BYTES % ALIGNMENT_BYTES else mat


def _extract(extractor: ncnn.Extractor, name: str) -> ncnn.Mat:
    """Compute an output of the graph.

    Raises:
        MemoryError: If memory ran out.
        RuntimeError: If the device failed.
    """
    failed, found = extractor.extract(name)
    if failed == OUT_OF_MEMORY:
        raise MemoryError
    if failed or found.empty():
        raise RuntimeError(f"Vulkan error {failed} in {name}")
    return found
