"""Measure networks on photos that they were never trained on, and print one table.

``python -m training.evaluate weights/srn-compact.safetensors OTHER.safetensors`` prints a
row for each measure and a column for each network, after one for the blurred photos
themselves. LPIPS is not among the measures: its package downloads the network that it is
built on. Letters need Tesseract (``apt-get install tesseract-ocr``).
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
"""The column of the blurred photos."""


def judge(
    subjects: dict[str, Subject], parts: Sequence[str], photos: Path, pairs: Path
) -> Iterator[dict[str, Column]]:
    """Judge several subjects by some parts of `PARTS`, and report times to standard error.

    Yields:
        For each part, the columns of all subjects by name.
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
        help=f"what to judge by (all but {FOCUS})",
    )
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument(
        "--views",
        type=int,
        default=1,
        choices=range(1, len(ALL_VIEWS) + 1),
        help="as unblur has it (1)",
    )
    parser.add_argument("--fp32", action="store_true", help="compute in fp32 on any device")
    parser.add_argument("--save", type=Path, help="also write the table, with tabs, to a file")
    return parser.parse_args()


def judge_weights(
    weights: dict[str, Path],
    parts: Sequence[str],
    photos: Path,
    pairs: Path,
    device: torch.device,
    views: int = 1,
    precision: torch.dtype | None = None,
) -> list[list[str]]:
    """Judge networks and the blurred photos themselves; return a table's rows, titles first.

    Args:
        weights: Weights files by the names of their columns.
        parts: Some of `PARTS`.
        photos: The folder of photos.
        pairs: The folder of real pairs.
        device: Where the networks run.
        views: How many views of a photo are averaged, as `unblur --views`.
        precision: Type that convolutions compute in; by default the device's fastest.
    """
    subjects = {BLURRED: Subject(unchanged, device)}
    for name, path in weights.items():
        network = load_network(path).to(device)
        deblur = partial(deblur_all, network, views=views, precision=precision)
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
    )
    print(aligned(rows))
    if options.save:
        options.save.write_text("".join("\t".join(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
