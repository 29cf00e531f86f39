"""Measure networks on held-out photos, and print one table.

``python -m training.evaluate weights/srn-compact.safetensors OTHER.safetensors`` prints a row for
each measure. The first column is for the blurred photos, the others for the networks. LPIPS is not
among the measures, because its package downloads a network. Letters need Tesseract (``apt-get
install tesseract-ocr``).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from training.data import SHARED
from training.judging.inference import deblur_all, unchanged
from training.judging.judges import FOCUS, PARTS, Column, Subject
from unblur.models.weights import load_network
from unblur.network.views import ALL_VIEWS

BLURRED = "blurred"
"""Name of the column for the blurred photos."""


def judge(
    subjects: dict[str, Subject], parts: Sequence[str], photos: Path, pairs: Path
) -> Iterator[dict[str, Column]]:
    """Judge several subjects by parts of `PARTS`, and print times on standard error.

    Yields:
        For each part, the columns of all subjects, by name.
    """
    for part in parts:
        begun = time.monotonic()
        prepared = PARTS[part].prepare(photos, pairs)
        times = [f"photos {time.monotonic() - begun:.1f} s"]
        columns = {}
        for name, subject in subjects.items():
            begun = time.monotonic()
            columns[name] = PARTS[part].judge(prepared, subject)
            times.append(f"{name} {time.monotonic() - begun:.1f} s")
        print(f"{part}: {', '.join(times)}", file=sys.stderr, flush=True)
        yield columns


def rows_of(columns: dict[str, Column]) -> list[list[str]]:
    """Return a row for each measure: its name, then each subject's figure, if there is one."""
    measures = dict.fromkeys(measure for column in columns.values() for measure in column)
    return [
        [measure, *(column.get(measure, "") for column in columns.values())] for measure in measures
    ]


def aligned(rows: list[list[str]]) -> str:
    """Format a table for a terminal."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument("--pairs", type=Path, default=SHARED / "pairs")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=[part for part in PARTS if part != FOCUS],
        help=f"parts of the judgement (all but {FOCUS})",
    )
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument(
        "--views",
        type=int,
        default=1,
        choices=range(1, len(ALL_VIEWS) + 1),
        help="views to average, as unblur --views (1)",
    )
    parser.add_argument(
        "--no-guard",
        action="store_true",
        help="judge the network alone: neither change tones for it, nor guard its results",
    )
    parser.add_argument("--fp32", action="store_true", help="compute in fp32 on any device")
    parser.add_argument("--save", type=Path, help="also write the table to a file, with tabs")
    return parser.parse_args()


def judge_weights(
    weights: dict[str, Path],
    parts: Sequence[str],
    photos: Path,
    pairs: Path,
    device: torch.device,
    views: int = 1,
    precision: torch.dtype | None = None,
    is_guarded: bool = True,
) -> list[list[str]]:
    """Judge networks and the blurred photos; return the rows of a table, titles first.

    Args:
        weights: Weights files by the names of their columns.
        parts: Some of `PARTS`.
        photos: The folder of photos.
        pairs: The folder of real pairs.
        device: Device that runs the networks.
        views: Number of views of a photo to average, as `unblur --views`.
        precision: Data type of convolutions. Default: the device's fastest type.
        is_guarded: Whether to give dark and pale photos usual tones, and guard white areas and fine
            patterns, as unblur does.
    """
    subjects = {BLURRED: Subject(unchanged, device)}
    for name, path in weights.items():
        network = load_network(path).to(device)
        deblur = partial(
            deblur_all, network, views=views, precision=precision, is_guarded=is_guarded
        )
        subjects[name] = Subject(deblur, device, network)
    judged = judge(subjects, parts, photos, pairs)
    return [["", *subjects], *(row for columns in judged for row in rows_of(columns))]


def main() -> None:
    """Evaluate weights files from the command line."""
    options = parse_options()
    stems = [path.stem for path in options.weights]
    rows = judge_weights(
        {str(p) if stems.count(p.stem) > 1 else p.stem: p for p in options.weights},
        options.parts,
        options.photos,
        options.pairs,
        options.device,
        options.views,
        torch.float32 if options.fp32 else None,
        not options.no_guard,
    )
    print(aligned(rows))
    if options.save:
        options.save.write_text("".join("\t".join(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
