"""The names of results and of comparisons."""

from __future__ import annotations

import os

from unblur.formats.photo import Format
from unblur.options import COMPARED
from unblur.storage.places import LONGEST_NAME_BYTES, Place, shortened

COMPARISON_ENDING = COMPARED + ".png"


def output_name(source: Place, suffix: str, result: Format | None) -> str:
    """Return the name of a photo's result, whose ending tells what is inside.

    A name that would be longer than file systems allow is shortened.

    Args:
        source: The photo.
        suffix: Put between its name and its ending.
        result: What it becomes; ``None`` if that is not known.
    """
    ending = source.suffix
    if result and ending.lower() not in result.suffixes:
        ending = result.suffixes[0]
    room = LONGEST_NAME_BYTES - len(os.fsencode(suffix + ending))
    return shortened(source.stem, room) + suffix + ending


def comparison_place(target: Place, suffix: str, ending: str = "") -> Place:
    """Return where the comparison of a photo and its result goes: beside the result.

    Args:
        target: The result.
        suffix: Put between the photo's name and its ending in the result's name.
        ending: The result's, if another result differs from it in that alone.
    """
    ending += COMPARISON_ENDING
    room = LONGEST_NAME_BYTES - len(os.fsencode(ending))
    return target.with_name(shortened(target.stem.removesuffix(suffix), room) + ending)
