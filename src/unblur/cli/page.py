"""The web page of ``--report``: all photos before and after, in one HTML file.

Small pictures are inside the page. Photos and results are linked by relative paths, so that a
folder can be moved or served. Formats that browsers cannot show (TIFF, HEIC, camera RAW) have small
pictures only. Jinja2 escapes all values in the template, and a content security policy allows
pictures, but no script or style other than the page's own.
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
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from unblur.blur import Kind
from unblur.errors import PhotoError, UsageError
from unblur.formats.photo import format_by_suffix
from unblur.options import NetworkOptions, Options
from unblur.run.jobs import Job
from unblur.run.report import Outcome, Report, Status
from unblur.storage import drafts, files
from unblur.storage.addresses import without_secrets
from unblur.storage.folders import SeenFolder
from unblur.storage.places import Place, Url, backup_of
from unblur.storage.targets import problem_of_file
from unblur.storage.temporaries import sweep
from unblur.user_text import duration, megapixels, percent, printable
from unblur.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

SUFFIXES = (".html", ".htm")
GENERATOR = "unblur"
"""Text in each page, by which it is recognised: no other file is ever replaced."""

NETWORK = ("network", "model", "device", "engine", "tile", "threads")
"""Options that the facts of the run tell."""
KIND_LABELS = {
    Kind.SHARP: "Sharp",
    Kind.MOTION: "Moved",
    Kind.FOCUS: "Out of focus",
    Kind.UNCLEAR: "Unclear",
}

SMALLEST_PX, LARGEST_PX = 160, 480
PIXELS_OF_ALL = 11_000
"""Side of the small pictures times the root of their number: 5,000 photos make about 60 MB."""
HEADER_BYTES = 4096
EXIF_BYTES = 1 << 17
"""First bytes of a JPEG file to read for its EXIF block and thumbnail."""


@dataclass(frozen=True)
class Facts:
    """Facts about the whole run for the page."""

    planned: int
    """Number of photos in the plan."""
    seconds: float
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Links:
    """Relative links to a photo's files, and small pictures as ``data:`` links."""

    original: str | None
    result: str | None
    comparison: str | None
    are_shown: bool
    """Whether a browser can show both original and result."""
    before: str | None
    after: str | None
    detail_before: str | None
    detail_after: str | None


def check_target(path: Path) -> SeenFolder | None:
    """Check, before the run, that a page can be written; return its folder.

    Raises:
        UsageError: If the page cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--report needs a name that ends in .html, not {path}")
    try:
        is_other = files.is_regular(path) and not _is_ours(path)
        has_folder = files.is_folder(path.parent)
    except PhotoError as error:
        raise UsageError(f"--report {path}: {error}") from error
    if is_other:
        raise UsageError(f"{path} exists and is not a report of unblur: choose another name")
    if not has_folder:
        raise UsageError(f"{path.parent} is not a folder, so {path.name} cannot be written there")
    if problem := problem_of_file(path, may_replace=True):
        raise UsageError(problem)
    return SeenFolder.above(path.parent)


def _is_ours(path: Path) -> bool:
    header = files.read_header(path, HEADER_BYTES)
    return header == b"" or f'name="generator" content="{GENERATOR}'.encode() in (header or b"")


def picture_side(photos: int) -> int:
    """Return the side of small pictures in pixels; less for more photos, to keep the page small."""
    return min(LARGEST_PX, max(SMALLEST_PX, round(PIXELS_OF_ALL / math.sqrt(max(1, photos)))))


def write(report: Report, path: Path, options: Options, facts: Facts) -> None:
    """Write the page of a run, whose report has kept all outcomes; replace an existing page.

    Raises:
        PhotoError: If the page cannot be written.
    """
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 (resolve would follow links)
    environment = _environment()
    photos = ((o, _find_links(o, folder, options, report)) for o in report.outcomes)
    parts = {name: _read(f"report.{name}") for name in ("css", "js")}
    pieces = environment.get_template("report.html").generate(
        photos=photos,
        report=report,
        facts=facts,
        numbers={status.value: report.counts[status] for status in Status},
        blurs=_blur_filters(report.outcomes),
        parts=parts,
        hashes={name: _policy_hash(text) for name, text in parts.items()},
        pixels=sum(o.width * o.height for o in report.outcomes),
        now=datetime.now().astimezone(),
        generator=f"{GENERATOR} {__version__}",
    )
    data = bytearray()  # joining a list of pieces would take twice the memory
    for piece in pieces:
        data += piece.encode()
    sweep(folder)
    with drafts.FileDraft(path, data, mode=_mode(report.outcomes)) as draft:
        draft.publish(replaces=True)


def _blur_filters(outcomes: list[Outcome]) -> list[tuple[str, str, int]]:
    """Return a filter for each kind of blur that was found: its value, label and number."""
    counts = Counter(outcome.verdict.blur.kind for outcome in outcomes if outcome.verdict)
    return [(kind.value, KIND_LABELS[kind], counts[kind]) for kind in Kind if counts[kind]]


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
        "duration": duration,
        "percent": percent,
        "megapixels": megapixels,
        "kind": lambda verdict: KIND_LABELS[verdict.blur.kind],
        "file_name": lambda job: printable(job.source.name if job.source else job.name),
        "folder_name": lambda job: printable(_folder(job.source)) if job.source else "",
    }
    return environment


def _folder(place: Place) -> str:
    """Return the folder of a photo; empty for the current folder."""
    if isinstance(place, Url):
        return str(place.with_name(""))
    return "" if place.parent == Path() else str(place.parent)


def _read(name: str) -> str:
    """Return the text of a style sheet or script of the page."""
    return (resources.files("unblur.cli") / "templates" / name).read_text("utf-8")


def _policy_hash(text: str) -> str:
    """Return the hash by which a content security policy allows an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def describe_options(options: Options) -> dict[str, str]:
    """Return the options that differ from their defaults, by their names."""
    usual, texts = vars(Options()) | vars(NetworkOptions()), {}
    if options.only_motion:
        texts["--only"] = "motion"
    left_out = ("picture_side", "screen", "verdict", "only_motion", *NETWORK)
    for name, value in (vars(options) | vars(options.network)).items():
        if name not in left_out and value != usual[name]:
            text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            texts[f"--{name.replace('_', '-')}"] = (
                "" if value is True else printable(without_secrets(text))
            )
    return texts


def _find_links(outcome: Outcome, folder: Path, options: Options, report: Report) -> Links:
    """Return the links and small pictures of a photo."""
    job, failed = outcome.job, outcome.status is Status.FAILED
    before, after = _original(job, options), None if failed else job.target
    small: tuple[bytes | None, ...] = (None,) * 4
    if outcome.pictures:
        small = outcome.pictures.coded
    elif not failed:
        small = (*_embedded_thumbnails(before, after, report), None, None)
    original, result, comparison = (
        relative_link(path, folder)
        if isinstance(path, Path) and files.certainly(files.exists, path)
        else None
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
    """Return the present place of the original; ``None`` if it is gone."""
    if not options.in_place:
        return job.source
    return backup_of(job.target) if options.keeps_backup and isinstance(job.target, Path) else None


def _is_shown(path: Place | None) -> bool:
    """Return whether browsers show a file, by its suffix; an unknown one counts as shown."""
    form = format_by_suffix(path.suffix) if path else None
    return path is not None and (form is None or form.browsers_show)


def _embedded_thumbnails(
    before: Place | None, after: Place | None, report: Report
) -> tuple[bytes | None, bytes | None]:
    """Return the thumbnails of a photo and its result; none if the page is full."""
    pair = _embedded_thumbnail(before), _embedded_thumbnail(after)
    size = sum(len(data) for data in pair if data)
    return pair if not size or report.takes(size) else (None, None)


def _embedded_thumbnail(path: Place | None) -> bytes | None:
    """Return the thumbnail in a JPEG file: the picture of photos that were done earlier."""
    from unblur.pictures.compare import code_thumbnail

    if not isinstance(path, Path):
        return None
    return code_thumbnail(files.read_header(path, EXIF_BYTES) or b"")


def relative_link(path: Path, folder: Path) -> str:
    """Return the relative link from an absolute folder to a file; its name may have any bytes."""
    target = os.path.abspath(path)  # noqa: PTH100 (resolve would follow links)
    try:
        relative = os.path.relpath(target, folder)
    except ValueError:  # on another drive
        return Path(target).as_uri()
    return "/".join(quote(os.fsencode(part), safe="") for part in Path(relative).parts)


def _as_link(picture: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(picture).decode()


def _mode(outcomes: list[Outcome]) -> int | None:
    """Return the permissions of a page: the ones that all photos share; ``None`` without files."""
    modes = []
    for outcome in outcomes:
        if isinstance(outcome.job.source, Path):
            with contextlib.suppress(OSError):
                modes.append(stat.S_IMODE(outcome.job.source.stat().st_mode))
    common = functools.reduce(operator.and_, modes, 0o666)
    return common | stat.S_IRUSR | stat.S_IWUSR if modes else None
