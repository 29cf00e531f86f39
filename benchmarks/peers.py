"""Other ways to deblur, for timing beside ours; their results are not judged.

The networks come from ``spandrel`` and its extras, with random weights, since speed does not
depend on them; their sizes are those that their authors published for deblurring.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

RICHARDSON_LUCY_STEPS = 30


def _import_spandrel() -> None:
    """Import spandrel, also where torchvision has no build for this PyTorch.

    Only two networks use it, neither of them timed here.
    """
    try:
        import torchvision  # noqa: F401
    except ImportError:
        for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
            stand_in = ModuleType(name)
            stand_in.InterpolationMode = stand_in.rotate = stand_in.normalize = None
            sys.modules[name] = stand_in
    import spandrel  # noqa: F401


def make_nafnet():  # noqa: ANN201 (torch is imported late)
    """Build NAFNet-width32 for GoPro (Chen et al., ECCV 2022)."""
    _import_spandrel()
    from spandrel.architectures.NAFNet import NAFNet

    return NAFNet(width=32, middle_blk_num=1, enc_blk_nums=[1, 1, 1, 28], dec_blk_nums=[1, 1, 1, 1])


def make_restormer():  # noqa: ANN201 (torch is imported late)
    """Build Restormer for motion deblurring (Zamir et al., CVPR 2022)."""
    _import_spandrel()
    from spandrel_extra_arches.architectures.Restormer import Restormer

    return Restormer(
        dim=48,
        num_blocks=[4, 6, 6, 8],
        num_refinement_blocks=4,
        heads=[1, 2, 4, 8],
        ffn_expansion_factor=2.66,
        bias=False,
        LayerNorm_type="WithBias",
    )


def make_richardson_lucy(pixels: NDArray[np.uint8]) -> Callable[[], object]:
    """Return a deconvolution with a known kernel: a straight motion of 15 pixels."""
    from skimage.restoration import richardson_lucy

    kernel = np.full((1, 15), 1 / 15, np.float32)
    planes = pixels.transpose(2, 0, 1).astype(np.float32) / 255
    return lambda: [richardson_lucy(plane, kernel, RICHARDSON_LUCY_STEPS) for plane in planes]
