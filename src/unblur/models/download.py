"""Download models of the catalog from their publishers into the models folder.

If the publisher states no checksum, the checksum of the first download is recorded, and later
downloads must match it: trust on first use, as ``ssh`` trusts a host's key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from unblur.config import MIRROR_VARIABLE, MODELS_VARIABLE, models_folder
from unblur.errors import PhotoError, WeightsError
from unblur.models.catalog import Model, errors_as_weights_errors, installed_path
from unblur.models.importing import check_room, keep, prepare_models_folder, read_networks
from unblur.storage.addresses import shown
from unblur.storage.drafts import FileDraft
from unblur.storage.files import exists
from unblur.storage.http import Watch, fetch
from unblur.storage.temporaries import temporary_beside
from unblur.user_text import describe_os_error

LARGEST_DOWNLOAD_BYTES = 4 << 30
"""Largest download: larger than any network here, including its optimiser's state."""


@dataclass(frozen=True)
class Downloaded:
    """Result of a download."""

    paths: list[Path]
    """Paths of the weights files."""
    checksum: str
    """The sha256 of the published file."""
    is_first: bool
    """Whether the file could not be verified, because no checksum was known."""


def address(model: Model) -> str:
    """Return the address of a model's published file, at the mirror if one is set."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    return f"{mirror.rstrip('/')}/{model.file}" if mirror else model.url


def offline_recipe(model: Model) -> str:
    """Return instructions for copying a model to a machine without internet access."""
    return (
        f"{model.name} cannot be downloaded offline: either download {model.url} on another "
        f"machine and run: unblur models import {model.file}; or, on a machine that has "
        f"{model.name}, run: unblur models path {model.name}; and copy that file to "
        f"{installed_path(model.name)}"
    )


def download(models: Sequence[Model], watch: Watch) -> Downloaded:
    """Download a published file once, and store its networks.

    Args:
        models: Networks of the same published file.
        watch: Callbacks of the transfer.

    Raises:
        WeightsError: If the file cannot be downloaded, has changed, or does not contain the
            networks. The models folder is then unchanged.
    """
    model, folder = models[0], models_folder()
    prepare_models_folder(folder)
    record = folder / f"{model.file}.sha256"
    recorded = _read_record(record)
    expected = model.sha256 or recorded
    # Each network is stored in a separate file, in float32.
    unpacked = sum(4 * one.parameters for one in models)
    watch = replace(
        watch,
        begin=lambda size: check_room(folder, size + unpacked),
        check=_refuse_oversize,
        refuses_pages=True,
    )
    try:
        with (
            temporary_beside(folder / model.file) as temporary,
            os.fdopen(temporary.descriptor, "wb", closefd=False) as file,
        ):
            checksum = _fetch(address(model), file, model.size, expected, watch)
            paths = _keep_all(models, temporary.path, checksum)
            if expected is None:
                with FileDraft(record, f"{checksum}  {model.file}\n".encode()) as draft:
                    draft.publish(replaces=True)
    except OSError as error:
        raise WeightsError(
            f"cannot write to {folder}: {describe_os_error(error)}; "
            f"{MODELS_VARIABLE} names another folder"
        ) from error
    except (PhotoError, WeightsError) as error:
        trust = f"; if you trust a file that has changed, delete {record}" if recorded else ""
        raise WeightsError(
            f"{model.file} was not downloaded: {error}{trust}; "
            "to use a copy that you have, run: unblur models import FILE"
        ) from error
    return Downloaded(paths, checksum, expected is None)


def _fetch(url: str, file: BinaryIO, size: int | None, sha256: str | None, watch: Watch) -> str:
    """Download a file, and return its sha256.

    Raises:
        PhotoError: If the server does not send the file.
        WeightsError: If it sends another one.
    """
    try:
        found = fetch(url, file, watch).sha256
        if size is not None and file.tell() != size:
            raise WeightsError(f"sent {file.tell()} bytes instead of {size}")
        if sha256 is not None and found != sha256:
            raise WeightsError(f"sent another file: its sha256 is {found}, not {sha256}")
    except (PhotoError, WeightsError) as error:
        raise type(error)(f"{shown(url)}: {error}") from error
    return found


def _refuse_oversize(size: int) -> None:
    """Raise `WeightsError` if a file has too many bytes."""
    if size > LARGEST_DOWNLOAD_BYTES:
        raise WeightsError(
            f"sends more than {LARGEST_DOWNLOAD_BYTES >> 30} GiB, too much for a weights file"
        )


def _keep_all(models: Sequence[Model], scratch: Path, checksum: str) -> list[Path]:
    """Read all networks of an archive, then store them."""
    names = {model.name for model in models}
    file = models[0].file
    try:
        found = read_networks(scratch, names)
    except WeightsError as error:
        raise WeightsError(str(error).replace(str(scratch), file)) from error
    if missing := sorted(names - found.keys()):
        raise WeightsError(f"{file} does not hold {', '.join(missing)}")
    source = shown(address(models[0]))
    return [keep(found[name], name, source, checksum) for name in sorted(names)]


def _read_record(record: Path) -> str | None:
    """Return the recorded checksum of the first download, or ``None`` if there is none."""
    with errors_as_weights_errors(record):
        if not exists(record):
            return None
        checksum = record.read_text("utf-8", "replace").partition(" ")[0]
        if not re.fullmatch("[0-9a-f]{64}", checksum):
            raise ValueError("holds no sha256; delete it to trust the next download")
        return checksum
