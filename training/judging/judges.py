"""Define the parts of a network's judgement; each part prepares its photos only once.

The subject of a judgement is a network or, for the figures of the blurred photos,
`training.judging.inference.unchanged`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch

from training.data import Pair
from training.judging import cost, dark, defocused, lamps, letters, nights
from training.judging.inference import Deblur
from training.judging.scores import Crops, Score, judge_crops
from training.judging.validation import (
    sets_by_kind,
    synthetic_sets,
    validation_sets,
)
from unblur.network.srn import SRN

Column: TypeAlias = dict[str, str]
"""The name of a measure, and its figure."""

FOCUS = "focus"
"""The part for networks that undo focus blur."""
WORST_CROPS = 3
"""Number of crops to list, those with the largest loss."""
SHRUNK_CROPS, SHRINK = 5, 2
"""Number of crops of each photo in the oldest sets, and divisor of the photos' sides."""

FIGURES: dict[str, Callable[[Score], str]] = {
    "gain, dB": lambda score: f"{score.gain:+.2f}",
    "crops that lose 0.1 dB": lambda score: f"{score.worse:.0%}",
    "SSIM": lambda score: f"{score.ssim:.3f}",
    "sharp photos changed by, of 255": lambda score: f"{score.harm:.2f}",
}
"""Measures of every set."""
MORE_FIGURES = FIGURES | {
    "PSNR, dB": lambda score: f"{score.psnr:.2f}",
    "colours off by, of Lab": lambda score: f"{score.tint:.2f}",
    "overshoot": lambda score: f"{score.overshoot:.2%}",
    "sharp photos' colours changed by, of Lab": lambda score: f"{score.harm_to_colour:.2f}",
}
"""Measures of the oldest sets."""


@dataclass(frozen=True)
class Subject:
    """The subject of a judgement."""

    deblur: Deblur
    device: torch.device
    network: SRN | None = None
    """The network that deblurs; ``None`` for the blurred photos."""


@dataclass(frozen=True)
class Part:
    """A part of the judgement."""

    prepare: Callable[[Path, Path], Any]
    """Takes the folders of photos and of real pairs; returns the function that judges."""
    judge: Callable[[Any, Subject], Column]


def judge_sets(
    sets: dict[str, list[Pair]],
    subject: Subject,
    figures: dict[str, Callable[[Score], str]] = FIGURES,
    together: str | None = None,
) -> Column:
    """Score sets of pairs, and list the crops with the largest loss.

    Args:
        sets: The sets by name.
        subject: The subject of the judgement.
        figures: Measures of each set.
        together: Name of the score of all sets together; or empty.
    """
    crops = {
        name: judge_crops(subject.deblur, pairs, subject.device) for name, pairs in sets.items()
    }
    scores = {name: measured.score() for name, measured in crops.items()}
    if together:
        scores[together] = Crops.joined(list(crops.values())).score()
    column = {
        f"{name}: {label}": figure(result)
        for name, result in scores.items()
        for label, figure in figures.items()
    }
    losses = sorted(
        (gain, f"{name}, {pair.name}")
        for name, pairs in sets.items()
        for gain, pair in zip(crops[name].gains().tolist(), pairs, strict=True)
        if gain < 0
    )
    among = f"{next(iter(sets))} to {list(sets)[-1]}"
    for place, (gain, crop) in enumerate(losses[:WORST_CROPS], 1):
        column[f"{among}: worst crop {place}"] = f"{gain:+.2f} dB ({crop})"
    return column


def judge_lamps(sets: dict[str, list[Pair]], subject: Subject) -> Column:
    """Measure the treatment of lamps in sets of photos at night."""
    column: Column = {}
    for name, pairs in sets.items():
        results = subject.deblur([pair.blurred for pair in pairs])
        found = lamps.judge_lamps(results, [pair.sharp for pair in pairs], subject.device)
        column[f"lamps in {name}: white that is lost"] = f"{found.lost:.1%}"
        column[f"lamps in {name}: overshoot beside it"] = f"{found.overshoot:.1%}"
    return column


def judge_letters(pages: list[letters.TextPage], subject: Subject) -> Column:
    """Measure the share of correctly read letters, by the length of the blur."""
    if not letters.is_installed():
        return {"letters": "not judged: tesseract is not installed"}
    texts = [page.text for page in pages]
    moved = letters.read_pages(subject.deblur([page.pair.blurred for page in pages]))
    still = letters.read_pages(subject.deblur([page.pair.sharp for page in pages]))
    column: Column = {}
    for length in letters.LENGTHS:
        chosen = [index for index, page in enumerate(pages) if page.length == length]
        found = letters.judge_letters([texts[i] for i in chosen], [moved[i] for i in chosen])
        column |= _shares(f"letters moved by {length} px", found)
    return (
        column
        | _shares("letters moved, all", letters.judge_letters(texts, moved))
        | _shares("sharp letters", letters.judge_letters(texts, still))
    )


def _shares(name: str, found: letters.Letters) -> Column:
    return {
        f"{name}: right": f"{found.right:.1%}",
        f"{name}: turned into others": f"{found.turned:.1%}",
    }


def judge_defocused(sets: dict[str, list[Pair]], subject: Subject) -> Column:
    """Score photos out of focus and sharp photos, beside the limits for shipping weights."""
    crops = {
        name: judge_crops(subject.deblur, pairs, subject.device) for name, pairs in sets.items()
    }
    sharp = crops.pop(defocused.SHARP)
    column: Column = {}
    for (name, measured), wanted in zip(
        crops.items(), defocused.WANTED_GAINS.values(), strict=True
    ):
        score = measured.score()
        column[f"{name}: gain, dB (to ship: {wanted:+.2f})"] = FIGURES["gain, dB"](score)
        column[f"{name}: crops that lose 0.1 dB"] = FIGURES["crops that lose 0.1 dB"](score)
        column[f"{name}: SSIM"] = FIGURES["SSIM"](score)
    bar = f"of 255 (to ship: below {defocused.MOST_HARM:.2f})"
    clean = Crops.joined(list(crops.values())).harm
    column[f"{defocused.SHARP} changed by, {bar}"] = f"{clean.mean():.3f}"
    column[f"{defocused.SHARP} with noise and coding changed by, {bar}"] = (
        f"{sharp.harm.mean():.3f}"
    )
    return column


def judge_cost(_: None, subject: Subject) -> Column:
    """Measure the cost of a network; the blurred photos have none."""
    if subject.network is None:
        return {}
    seconds = cost.seconds_per_megapixel(subject.network, subject.device.type)
    return {
        "kMAC a pixel": f"{cost.kmac_per_pixel(subject.network):.0f}",
        f"seconds a megapixel on {subject.device.type}": f"{seconds:.3f}",
    }


def _shrunk_sets(photos: Path, _: Path) -> dict[str, list[Pair]]:
    sets = synthetic_sets(photos, SHRUNK_CROPS, SHRINK)
    return {f"shrunk {name}": pairs for name, pairs in sets.items()}


def _night_sets(photos: Path, _: Path) -> dict[str, list[Pair]]:
    return {"drawn nights": nights.drawn_pairs(), "photos": nights.photo_pairs(photos)}


PARTS = {
    "oldest": Part(validation_sets, partial(judge_sets, figures=MORE_FIGURES)),
    "shrunk": Part(_shrunk_sets, judge_sets),
    "kinds": Part(
        lambda photos, _: sets_by_kind(photos), partial(judge_sets, together="all kinds")
    ),
    FOCUS: Part(lambda photos, _: defocused.defocused_sets(photos), judge_defocused),
    "dark": Part(lambda photos, _: dark.dark_sets(photos), judge_sets),
    "pale": Part(lambda photos, _: dark.pale_sets(photos), judge_sets),
    "lamps": Part(_night_sets, judge_lamps),
    "letters": Part(lambda photos, pairs: letters.pages(), judge_letters),
    "cost": Part(lambda photos, pairs: None, judge_cost),
}
"""All parts by name, in the order of the table."""
