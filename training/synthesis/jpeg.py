"""JPEG coding and decoding that gives the same numbers as libjpeg.

Each step follows libjpeg's default settings (ITU-T T.81 and T.871; libjpeg's jccolor, jcsample,
jfdctint, jcdctmgr, jidctint, jdsample and jdcolor). All numbers between the steps are whole.
Float32 holds them exactly or nearly so; products in TF32 would not.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from training.synthesis.draws import chance, constant, per_image, whole

FULL_COLOUR, HALF_WIDTH, HALF_SIDES = 0, 1, 2
"""Chroma subsampling, numbered as in Pillow: 4:4:4, 4:2:2 and 4:2:0."""

NOT_CODED = 0
"""Stands for the quality of a photo that is not coded."""

# Each row is a cosine wave, in units of 1/8192. libjpeg's fast transform (Loeffler, Ligtenberg and
# Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications", ICASSP 1989) adds rounded
# constants, so some numbers differ by one from the nearest to the cosine.
_WAVES = (
    (8192, 8192, 8192, 8192, 8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260, -2260, -6437, -9633, -11363),
    (10703, 4433, -4433, -10703, -10703, -4433, 4433, 10703),
    (9633, -2259, -11362, -6436, 6436, 11362, 2259, -9633),
    (8192, -8192, -8192, 8192, 8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633, -9633, -2261, 11362, -6437),
    (4433, -10704, 10704, -4433, -4433, 10704, -10704, 4433),
    (2260, -6436, 9633, -11363, 11363, -9633, 6436, -2260),
)

# ITU-T T.81, tables K.1 and K.2.
_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


def roundtrip(stored: Tensor, quality: Tensor, subsampling: int) -> Tensor:
    """Code photos as JPEG and decode them.

    Args:
        stored: Photos (B, 3, H, W) in [0, 1], of any size.
        quality: (B,), libjpeg's quality from 1 to 100, or `NOT_CODED`.
        subsampling: Chroma subsampling: 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0.

    Returns:
        Photos of the same shape, multiples of 1/255 where they were coded.
    """
    with torch.autocast(stored.device.type, enabled=False):
        luma, chroma = to_ycbcr((stored.float().clamp(0, 1) * 255).round()).split([1, 2], dim=1)
        table = constant((_LUMA_TABLE, _CHROMA_TABLE), stored.device)
        tables = quantisation(table, quality)
        chroma = _coded_chroma(chroma, tables[:, 1], subsampling)
        decoded = to_rgb(torch.cat([_code(luma, tables[:, 0]), chroma], dim=1)) / 255
    return torch.where(per_image(quality == NOT_CODED), stored, decoded)


def quantisation(tables: Tensor, quality: Tensor) -> Tensor:
    """Scale standard tables (N, 8, 8) to qualities (B,): (B, N, 8, 8), from 1 to 255."""
    quality = quality.round().clamp(1, 100)
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    return ((tables * per_image(scale) + 50) / 100).floor().clamp(1, 255)


def to_ycbcr(rgb: Tensor) -> Tensor:
    """Convert RGB (B, 3, H, W) in [0, 255] to JFIF's luma and chroma, rounded to whole numbers."""
    red, green, blue = rgb.split(1, dim=1)
    luma = _fixed(0.299) * red + _fixed(0.587) * green + _fixed(0.114) * blue
    chroma_blue = _fixed(-0.168735892) * red + _fixed(-0.331264108) * green + 0.5 * blue
    chroma_red = 0.5 * red + _fixed(-0.418687589) * green + _fixed(-0.081312411) * blue
    chroma = torch.cat([chroma_blue, chroma_red], dim=1)
    return torch.cat([(luma + 0.5).floor(), (chroma + 127.5).ceil()], dim=1)


def to_rgb(ycbcr: Tensor) -> Tensor:
    """Undo `to_ycbcr` as libjpeg does: whole numbers in [0, 255]."""
    luma, blue, red = ycbcr.split(1, dim=1)
    blue, red = blue - 128, red - 128
    green = _fixed(-0.344136286) * blue + _fixed(-0.714136286) * red
    changes = torch.cat([_fixed(1.402) * red, green, _fixed(1.772) * blue], dim=1)
    return (luma + (changes + 0.5).floor()).clamp(0, 255)


def _fixed(factor: float) -> float:
    """Round a factor to 16 binary digits, as libjpeg does: products are then exact in float32."""
    return round(factor * 65536) / 65536


def _coded_chroma(chroma: Tensor, table: Tensor, subsampling: int) -> Tensor:
    if subsampling == FULL_COLOUR:
        return _code(chroma, table)
    height, width = chroma.shape[-2:]
    coded = _code(downsample(chroma, subsampling), table)
    # What is beyond the edge is not upsampled: the last column is repeated instead.
    coded = coded[..., : math.ceil(width / 2)]
    return upsample(coded, subsampling)[..., :height, :width]


def downsample(chroma: Tensor, subsampling: int) -> Tensor:
    """Average two samples of a row, or 2x2; ties are rounded up and down in turn.

    Args:
        chroma: (B, 2, H, W), whole numbers; edges are repeated to an even height and to
            a width of whole blocks.
        subsampling: `HALF_WIDTH` or `HALF_SIDES`.
    """
    chroma = _pad(chroma, 2 if subsampling == HALF_SIDES else 1, 16)
    total = chroma[..., ::2] + chroma[..., 1::2]
    turn = torch.arange(total.shape[-1], device=chroma.device) % 2
    if subsampling == HALF_WIDTH:
        return ((total + turn) / 2).floor()
    return ((total[..., ::2, :] + total[..., 1::2, :] + 1 + turn) / 4).floor()


def upsample(chroma: Tensor, subsampling: int) -> Tensor:
    """Double the width, or both sides: three parts of the nearest sample, one of the next.

    This is what libjpeg calls fancy upsampling.
    """
    if subsampling == HALF_WIDTH:
        return _doubled(chroma, 3, (1, 2), 4)
    rows = _doubled(chroma.transpose(2, 3), 3, (0, 0), 1).transpose(2, 3)
    return _doubled(rows, 3, (8, 7), 16)


def _doubled(samples: Tensor, nearest: int, rounding: tuple[int, int], divisor: int) -> Tensor:
    """Double the last axis: each sample becomes one nearer its left and one nearer its right."""
    padded = F.pad(samples, (1, 1, 0, 0), mode="replicate")
    before = nearest * samples + padded[..., :-2] + rounding[0]
    after = nearest * samples + padded[..., 2:] + rounding[1]
    return (torch.stack([before, after], dim=-1) / divisor).floor().flatten(-2)


def _code(samples: Tensor, table: Tensor) -> Tensor:
    """Quantise the cosine transform of 8x8 blocks.

    Args:
        samples: (B, C, H, W) in 0 to 255; edges are repeated to whole blocks.
        table: (B, 8, 8).
    """
    batch, channels, height, width = samples.shape
    padded = _pad(samples, 8, 8) - 128
    rows, columns = padded.shape[-2] // 8, padded.shape[-1] // 8
    blocks = padded.view(batch, channels, rows, 8, columns, 8).transpose(3, 4)
    step = table.reshape(batch, 1, 64)
    ratio = _transformed(blocks.reshape(batch, -1, 64)) / (8 * step)
    quantised = ratio.sign() * (ratio.abs() + 0.5).floor() * step
    decoded = (_untransformed(quantised) + 128).clamp(0, 255)
    blocks = decoded.view(batch, channels, rows, columns, 8, 8).transpose(3, 4)
    return blocks.reshape(padded.shape)[..., :height, :width]


def _pad(samples: Tensor, rows: int, columns: int) -> Tensor:
    """Repeat the bottom and right edges until both sides are multiples of a number."""
    height, width = samples.shape[-2:]
    return F.pad(samples, (0, -width % columns, 0, -height % rows), mode="replicate")


def _transformed(blocks: Tensor) -> Tensor:
    """Return 8 times the DCT of blocks (..., 64), rounded after each axis as in jfdctint."""
    along_rows, along_columns = _cosine_transforms(blocks.device)
    rows = (blocks @ along_rows.T * 4 + 0.5).floor()
    return (rows @ along_columns.T / 4 + 0.5).floor()


def _untransformed(coefficients: Tensor) -> Tensor:
    """Invert the DCT of blocks (..., 64) to whole samples, as jidctint does."""
    along_rows, along_columns = _cosine_transforms(coefficients.device)
    columns = (coefficients @ along_columns * 4 + 0.5).floor()
    return (columns @ along_rows / 32 + 0.5).floor()


def _cosine_transforms(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return sqrt(8) times the DCT of flattened 8x8 samples along rows and along columns.

    These are two matrices (64, 64): one product with 64 columns is faster than eight with 8.
    """
    waves, same = constant(_WAVES, device) / 8192, torch.eye(8, device=device)
    return torch.kron(same, waves), torch.kron(waves, same)


def draw_quality(
    count: int,
    generator: torch.Generator,
    share: float = 0.9,
    lowest: int = 50,
    highest: int = 98,
) -> Tensor:
    """Draw whole-number qualities (B,); photos outside of the share get `NOT_CODED`."""
    quality = whole(lowest, highest + 1, (count,), generator)
    return quality * chance(share, (count,), generator)
