"""Pass weights and feature maps between PyTorch and ncnn; both use the same memory for maps."""

from __future__ import annotations

import ctypes

import ncnn
import numpy as np
import torch
from torch import Tensor

from unblur.network.ncnn_graph import Layer, graph_text, graph_weights

FLOAT32_BYTES = 4


class _Reader(ncnn.DataReader):  # type: ignore[misc]
    """Reads weights from memory for ncnn, which copies them; `load_model_mem` makes no copy."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._rest = memoryview(data)

    def read(self, memory: object, size: int) -> int:
        """Copy the next bytes to the memory that a capsule of Python's C interface points to."""
        part, self._rest = self._rest[:size], self._rest[size:]
        ctypes.memmove(_address(memory, None), bytes(part), len(part))
        return len(part)


_address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def load_graph(net: ncnn.Net, layers: list[Layer]) -> None:
    """Give a net of ncnn, whose options are set, its layers and their weights."""
    if net.load_param_mem(graph_text(layers)) or net.load_model(_Reader(graph_weights(layers))):
        raise RuntimeError("ncnn cannot read its graph")


def compute_in_float32(options: ncnn.Option) -> None:
    """Let ncnn compute in float32, with PyTorch's number of threads; by default it rounds."""
    options.num_threads = torch.get_num_threads()
    for name in dir(options):  # versions differ
        if name.startswith(("use_fp16_", "use_bf16_")):
            setattr(options, name, False)


def as_mat(x: Tensor, pack: int = 1) -> ncnn.Mat:
    """View a tensor (C / pack, H, W * pack) as ncnn's matrix; the tensor must outlive it."""
    channels, rows, width = x.shape
    whole = x.as_strided((channels, x.stride(0) // width, width), x.stride())
    mat = ncnn.Mat(whole.numpy())
    mat.h, mat.w, mat.cstep = rows, width // pack, x.stride(0) // pack
    mat.elempack, mat.elemsize = pack, FLOAT32_BYTES * pack
    return mat


class _Map:
    """A matrix of ncnn, for NumPy; it outlives neither its memory nor the owner of this memory.

    Args:
        mat: The matrix, packed; it is (C / pack, H, W * pack) afterwards.
        allocator: Owns its memory. ncnn ends the process if an allocator is deleted before.
    """

    def __init__(self, mat: ncnn.Mat, allocator: ncnn.Allocator | None) -> None:
        self._mat, self._allocator = mat, allocator
        pack = mat.elempack
        mat.w, mat.cstep = mat.w * pack, mat.cstep * pack
        mat.elempack, mat.elemsize = 1, FLOAT32_BYTES
        self.__array_interface__ = np.asarray(mat).__array_interface__

    def __del__(self) -> None:
        del self._mat  # before the allocator


def as_tensor(mat: ncnn.Mat, allocator: ncnn.Allocator | None = None) -> Tensor:
    """View ncnn's matrix as a tensor (C / pack, H, W * pack), which keeps it in memory.

    Args:
        mat: The matrix; it is changed.
        allocator: Owner of its memory, if ncnn was given one.
    """
    return torch.from_numpy(np.asarray(_Map(mat, allocator)))
