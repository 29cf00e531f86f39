"""Choose the names of results and comparisons."""

from __future__ import annotations

import os

from unblur.formats.photo import CONVERSIONS, Format
from unblur.options import COMPARED, COMPARED_STRENGTHS, Options
from unblur.storage.places import Place, longest_name, shortened

COMPARISON_ENDINGS = COMPARED + ".png", COMPARED_STRENGTHS + ".png"


def wanted_format(options: Options) -> Format | None:
    """Return the format of ``--format``, or ``None`` without that option."""
    return CONVERSIONS[options.format] if options.format else None


def result_place(source: Place, like: Place, suffix: str, result: Format | None) -> Place:
    """Return the path or address of a photo's result, with an extension of the result's format.

    Names that are too long for the file system are shortened. Without a known format, the photo's
    extension is kept.

    Args:
        source: The photo.
        like: A place with the photo's name in the result's folder.
        suffix: Text between the name and its extension.
        result: Format of the result.
    """
    ending = source.suffix
    if result and ending.lower() not in result.suffixes:
        ending = result.suffixes[0]
    room = longest_name(like) - len(os.fsencode(suffix + ending))
    return like.with_name(shortened(source.stem, room) + suffix + ending)


def comparison_place(target: Place, options: Options, ending: str = "") -> Place:
    """Return the path or address of a comparison, beside the result.

    Args:
        target: The result.
        options: The user's options; their suffix is removed from the result's name.
        ending: Extension of the result, if another result's name differs only in its extension.
    """
    ending += options.compared_suffix + ".png"
    room = longest_name(target) - len(os.fsencode(ending))
    return target.with_name(shortened(target.stem.removesuffix(options.suffix), room) + ending)
