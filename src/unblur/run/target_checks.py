"""Check before a run whether a result can be written to its target."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.formats.photo import format_by_suffix
from unblur.options import Options
from unblur.run.find import reason_of_backup
from unblur.run.result_names import wanted_format
from unblur.storage import objects
from unblur.storage.files import certainly, is_taken, keeps
from unblur.storage.places import Place, Url, backup_of, is_backup, longest_name
from unblur.storage.targets import EXISTS, is_special, problem_of_file, problem_of_replacing

if TYPE_CHECKING:
    from unblur.formats.photo import Format
    from unblur.run.known_results import Look


IS_ORIGINAL = "is a backup, which --in-place does not replace; rename it to deblur it"


def is_original(photo: Place, look: Look) -> bool:
    """Return whether a photo is the original of another one, or a backup of another program.

    A pattern such as ``*`` also names the originals that an earlier run kept. A photo whose name
    only ends like theirs is none.

    Raises:
        PhotoError: If a store does not answer.
    """
    if not is_backup(photo.name):
        return reason_of_backup(photo.name) is not None
    its_photo = photo.with_name(photo.stem)
    return format_by_suffix(its_photo.suffix) is not None or look(its_photo) is not None


def problem_in_place(photo: Place, keeps_backup: bool, look: Look) -> str | None:
    """Return why a photo cannot be replaced by its result; ``None`` if it can.

    Raises:
        PhotoError: If a store does not answer.
    """
    if isinstance(photo, Path):  # permissions of objects are known to their store only
        if photo.is_symlink():  # the disk did not say where it leads
            return "is a link that cannot be followed"
        if not os.access(photo, os.W_OK):
            return "is read-only, so it cannot be replaced"
        if problem := problem_of_replacing(photo):
            return problem
        if keeps_backup and len(os.fsencode(backup_of(photo).name)) > longest_name(photo):
            return "its name has no room for .orig: shorten it, or give --no-backup"
    if isinstance(photo, Url) and photo.is_web:
        return f"nothing can be written to {photo.scheme}:// addresses: leave out --in-place"
    if keeps_backup and (other := _other_backup(photo, look)):
        return (
            f"{other} exists: if that is the original of this photo, it is deblurred already; "
            "if not, move it away"
        )
    return None


def _other_backup(photo: Place, look: Look) -> Place | None:
    """Return the place of a photo's backup if another file is there.

    After a killed run, the backup may be the photo itself, which is no obstacle.
    """
    if isinstance(photo, Path):
        backup = backup_of(photo)
        return backup if is_taken(backup) and not keeps(backup, photo) else None
    copy = backup_of(photo)
    there, wanted = look(copy), look(photo)
    if there is None or wanted is None:
        return None
    is_copy = there.size == wanted.size and objects.read(copy)[0] == objects.read(photo)[0]
    return None if is_copy else copy


def problem_of_format(target: Place | None, form: Format, options: Options) -> str | None:
    """Return why a photo's result cannot have its target's name; ``None`` if it can.

    Args:
        target: Place of the result; ``None`` is standard output.
        form: The photo's format.
        options: The user's options.
    """
    result = wanted_format(options) or form.result
    if options.in_place and result is not form:
        return f"a {form.name} file becomes {result.name}, so --in-place cannot replace it"
    if options.in_place or target is None or target.suffix.lower() in result.suffixes:
        return None
    verb = "stays one" if result is form else f"becomes {result.name}"
    return (
        f"is a {form.name} file and {verb}, "
        f"but {target.name} does not end in {result.suffixes[0]}; see --format"
    )


def problem_of_target(target: Place, may_replace: bool, look: Look) -> str | None:
    """Return why a result cannot be written; ``None`` if it can.

    Raises:
        PhotoError: If a store does not answer.
    """
    if isinstance(target, Url):
        if target.is_web:
            return (
                f"nothing can be written to {target.scheme}:// addresses: choose a folder with -o"
            )
        return EXISTS.format(target) if look(target) and not may_replace else None
    if certainly(is_special, target):
        return f"{target} is not a regular file; use - for standard output"
    return problem_of_file(target, may_replace)
