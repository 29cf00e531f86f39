"""The page of a run: every photo before and after, in one HTML file that needs nothing else.

Small pictures are inside the page; photos and results are linked relative to it,
so that a folder can be moved or served whole. What a browser cannot show (TIFF,
HEIC, camera RAW) has its small pictures only. Jinja2 escapes whatever is put into
the template, and a content security policy lets the page load pictures, but no
script or style other than its own.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import math
import operator
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from unblur.errors import UsageError
from unblur.formats.photo import HEIF, RAW, TIFF
from unblur.options import Engine, Options
from unblur.run.jobs import Job
from unblur.run.report import Outcome, Report, Status
from unblur.storage import drafts, files
from unblur.storage.places import Place, Url, backup_of
from unblur.storage.temporaries import sweep
from unblur.version import __version__
from unblur.words import printable

if TYPE_CHECKING:
    from jinja2 import Environment

SUFFIXES = (".html", ".htm")
GENERATOR = "unblur"
"""By which a page of ours is known, so that no other file is ever replaced."""

SMALLEST_PX, LARGEST_PX = 160, 480
PIXELS_OF_ALL = 11_000
"""Side of the small pictures, times the root of their number: 5,000 photos make about 60 MB."""
NOT_SHOWN_BY_BROWSERS = frozenset(TIFF.suffixes + HEIF.suffixes + RAW.suffixes)
HEADER_BYTES = 4096
EXIF_BYTES = 1 << 17
"""How much of a JPEG file's beginning holds its EXIF block, thumbnail and all."""


@dataclass(frozen=True)
class Facts:
    """What a page tells of the whole run."""

    planned: int
    """Photos that there were to do."""
    seconds: float
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Links:
    """Where a photo's files lie as seen from the page, and its small pictures as links too."""

    original: str | None
    result: str | None
    comparison: str | None
    are_shown: bool
    """Whether a browser can show both original and result."""
    before: str | None
    after: str | None
    detail_before: str | None
    detail_after: str | None


def check_target(path: Path) -> None:
    """Find before work starts what stands against a page.

    Raises:
        UsageError: With the sentence for the user.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--report needs a name that ends in .html, not {path}")
    if files.is_folder(path):
        raise UsageError(f"{path} is a folder")
    if files.exists(path) and (files.is_device(path) or not _is_ours(path)):
        raise UsageError(f"{path} exists and is not a report of unblur: choose another name")
    folder = path.absolute().parent
    if not files.is_folder(folder):
        raise UsageError(f"{folder} is not a folder, so {path.name} cannot be written there")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder} cannot be written to")


def _is_ours(path: Path) -> bool:
    header = files.read_header(path, HEADER_BYTES)
    return header == b"" or f'name="generator" content="{GENERATOR}'.encode() in (header or b"")


def picture_side(photos: int) -> int:
    """Return how large small pictures may be, in pixels, so that a page of many stays light."""
    return min(LARGEST_PX, max(SMALLEST_PX, round(PIXELS_OF_ALL / math.sqrt(max(1, photos)))))


def write(report: Report, path: Path, options: Options, facts: Facts) -> None:
    """Write the page of a run.

    Args:
        report: What became of the photos, with all outcomes kept.
        path: The page, which is replaced if it is there.
        options: Of the run.
        facts: What else the page tells.

    Raises:
        PhotoError: If it cannot be written.
    """
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 (resolve would follow links)
    environment = _environment()
    photos = ((o, _find_links(o, folder, options)) for o in report.outcomes)
    parts = {name: _read(f"report.{name}") for name in ("css", "js")}
    pieces = environment.get_template("report.html").generate(
        photos=photos,
        report=report,
        facts=facts,
        numbers={status.value: report.counts[status] for status in Status},
        parts=parts,
        hashes={name: _policy_hash(text) for name, text in parts.items()},
        megapixels=sum(o.width * o.height for o in report.outcomes) / 1e6,
        now=datetime.now().astimezone(),
        generator=f"{GENERATOR} {__version__}",
    )
    data = bytearray()  # pieces to be joined would take as much again
    for piece in pieces:
        data += piece.encode()
    sweep(folder)
    with drafts.FileDraft(path, data, mode=_mode(report.outcomes)) as draft:
        draft.publish(replaces=True)


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("unblur.cli", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": describe_duration,
        "file_name": lambda job: printable(job.source.name if job.source else job.name),
        "folder_name": lambda job: printable(_folder(job.source)) if job.source else "",
    }
    return environment


def _folder(place: Place) -> str:
    return str(place.with_name("")) if isinstance(place, Url) else str(place.parent)


def _read(name: str) -> str:
    """Return a part of the page that is the same for all; not a template."""
    return (resources.files("unblur.cli") / "templates" / name).read_text("utf-8")


def _policy_hash(text: str) -> str:
    """Return what a content security policy calls an inline script or style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def describe_duration(seconds: float) -> str:
    """Say a time as people do."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def describe_options(options: Options) -> dict[str, str]:
    """Return the options that differ from their defaults, by their names."""
    usual, texts = vars(Options()) | vars(Engine()), {}
    left_out = ("picture_side", "screen", "engine", "model", "device", "tile", "threads")
    for name, value in (vars(options) | vars(options.engine)).items():
        if name not in left_out and value != usual[name]:
            text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            texts[f"--{name.replace('_', '-')}"] = "" if value is True else printable(text)
    return texts


def _find_links(outcome: Outcome, folder: Path, options: Options) -> Links:
    """Gather what the page shows of a photo."""
    job, failed = outcome.job, outcome.status is Status.FAILED
    before, after = _original(job, options), None if failed else job.target
    small: list[bytes | None] = [None] * 4
    if pictures := outcome.pictures:
        small = [pictures.before, pictures.after, pictures.detail_before, pictures.detail_after]
    elif not failed:
        small[:2] = _embedded_thumbnail(before), _embedded_thumbnail(after)
    original, result, comparison = (
        relative_link(path, folder) if isinstance(path, Path) and files.exists(path) else None
        for path in (before, after, None if failed else job.comparison)
    )
    return Links(
        original,
        result,
        comparison,
        original is not None and result is not None and _is_shown(before) and _is_shown(after),
        *(_as_link(data) if data else None for data in small),
    )


def _original(job: Job, options: Options) -> Place | None:
    """Return where the original is now."""
    if not options.in_place:
        return job.source
    return backup_of(job.target) if options.keeps_backup and isinstance(job.target, Path) else None


def _is_shown(path: Place | None) -> bool:
    """Tell whether browsers show a file, as far as its name tells."""
    return path is not None and path.suffix.lower() not in NOT_SHOWN_BY_BROWSERS


def _embedded_thumbnail(path: Place | None) -> bytes | None:
    """Return the picture inside a JPEG file: of photos done earlier, it is there at no cost."""
    from unblur.pictures.compare import code_thumbnail

    if not isinstance(path, Path):
        return None
    return code_thumbnail(files.read_header(path, EXIF_BYTES) or b"")


def relative_link(path: Path, folder: Path) -> str:
    """Return how a page links to a file; any bytes that a name may hold are allowed.

    Args:
        path: The file.
        folder: That of the page, absolute.
    """
    target = os.path.abspath(path)  # noqa: PTH100 (resolve would follow links)
    try:
        relative = os.path.relpath(target, folder)
    except ValueError:  # on another drive
        return Path(target).as_uri()
    return "/".join(quote(os.fsencode(part), safe="") for part in Path(relative).parts)


def _as_link(picture: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(picture).decode()


def _mode(outcomes: list[Outcome]) -> int | None:
    """Return the permissions for a page: it is as private as the most private photo in it."""
    modes = []
    for outcome in outcomes:
        if isinstance(outcome.job.source, Path):
            with contextlib.suppress(OSError):
                modes.append(stat.S_IMODE(outcome.job.source.stat().st_mode))
    common = functools.reduce(operator.and_, modes, 0o666)
    return common | stat.S_IRUSR | stat.S_IWUSR if modes else None
