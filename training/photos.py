"""List the photos and pairs with their licences and authors, for the model card.

``python -m training.photos > training/photos.md`` reads ``LICENSES.tsv`` in the folders of
photos and of pairs (columns: file, source, licence).
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data import HELD_OUT_PAIRS, HELD_OUT_PHOTOS, SHARED, UNUSED_PHOTOS

SOURCES = {
    "18F": "18F, a US government agency: pages and blog",
    "Budgie": "Budgie Desktop backgrounds",
    "COCO": "COCO, photos whose licence allows changes and any use (Lin et al., ECCV 2014)",
    "GOPRO": "GoPro data set, frames (Nah et al., CVPR 2017)",
    "Debian lomiri": "Debian's lomiri-wallpapers",
    "Debian mate": "Debian's mate-backgrounds",
    "Debian lxqt": "Debian's lxqt-themes",
    "Debian ukui": "Debian's ukui-wallpapers",
    "Debian palapeli": "Debian's palapeli-data",
    "Debian plasma": "Debian's plasma-workspace-wallpapers",
    "Open Images": "Open Images (Kuznetsova et al., IJCV 2020)",
    "OpenStax": "OpenStax textbooks, figures",
    "REDS": "REDS, video frames (Nah et al., CVPRW 2019)",
    "WordPress": "WordPress, theme Twenty Twenty-Four",
    "elementary": "elementary OS wallpapers",
    "fedoradesign": "Fedora's supplementary wallpapers",
    "wagtail": "Wagtail's bakery demo",
}
"""Names of sources, by their prefixes in the list of licences."""

LICENCES = {
    "Attribution 2.0 Generic / CC-BY": "CC BY 2.0",
    "CC BY": "CC BY, version not stated",
    "CC0": "CC0 1.0",
    "CC0 / Public Domain": "CC0 1.0",
    "CC0 1.0 / US public domain": "CC0 1.0 and US public domain",
    "Creative Commons Zero": "CC0 1.0",
    "Creative Commons": "Creative Commons, kind not stated",
    "GPL-2+": "GPL 2 or later",
    "LGPL-3": "LGPL 3",
    "Public Domain": "public domain",
    "Public domain": "public domain",
    "public domain / free": "public domain or free (Wikimedia Commons)",
    "CC BY-SA 3.0 / LGPL-2.1+": "CC BY-SA 3.0 or LGPL 2.1 or later",
}
"""Names of licences, by their spellings in the list."""

NEED_NO_CREDIT = ("CC0 1.0", "CC0 1.0 and US public domain", "public domain")
"""Licences that require no attribution."""


@dataclass(frozen=True)
class Work:
    """One photo."""

    file: str
    source: str
    licence: str
    credit: str
    """The author, or the source if no author is stated."""


def read_works(listed: Path) -> list[Work]:
    """Read a list of licences.

    Raises:
        ValueError: If a source is not among `SOURCES`.
    """
    with listed.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        Work(
            row["file"],
            source_name(row["source"]),
            licence_name(row["licence"]),
            credit(row["source"], row["licence"]),
        )
        for row in rows
    ]


def source_name(source: str) -> str:
    """Return the name of a source."""
    for beginning, name in SOURCES.items():
        if source.startswith(beginning):
            return name
    raise ValueError(f"unknown source: {source}")


def licence_name(licence: str) -> str:
    """Return the name of the licence at the beginning of a cell of the list."""
    name = re.split(r" \(|, see", licence)[0]
    name = re.sub(r"CC[- ]BY(-SA)?[- ](?=\d)", r"CC BY\1 ", name).replace("CC0-1.0", "CC0 1.0")
    name = re.sub(r"^CC-BY$", "CC BY", name).replace(" / Creative Commons", "")
    name = re.sub(r"^Attribution 2.0 Generic / CC[ -]BY.*", "CC BY 2.0", name)
    return LICENCES.get(name, name)


def credit(source: str, licence: str) -> str:
    """Return the attribution of a photo: its author, or else its source."""
    where = source.removeprefix("OpenStax book repository openstax/")
    where = re.sub(r" \(repository [^;)]*(?:; )?([^)]*)\)", r" \1", where).strip()
    found = re.search(r"(?:[Cc]redit: *|[Cc]ourtesy (?:of )?(?=[A-Z])|author )(.+)", licence)
    if not found:
        return where
    author = re.sub(r"\s*\[modules at.*", "", found[1]).rstrip(" ).")
    return f"{author}; {where}"


def page(photos: Sequence[Work], pairs: Sequence[Work]) -> str:
    """Return the table and the attributions, in Markdown."""
    counts = Counter((work.source, work.licence) for work in (*photos, *pairs))
    held_out = Counter((work.source, work.licence) for work in (*photos, *pairs) if _held(work))
    rows = [
        f"| {source} | {licence} | {number} | {held_out[source, licence] or ''} |"
        for (source, licence), number in sorted(counts.items())
    ]
    lines = [
        "# Photos for training",
        "",
        "What networks are trained and judged on. The [model card](../weights/README.md)",
        "sums them up for the shipped weights. Made by `python -m training.photos`.",
        "",
        f"{len(photos)} photos and {len(pairs)} pairs of frames. Those held out are never trained",
        "on. Not used, since what its licence allows is not stated: "
        + ", ".join(sorted(UNUSED_PHOTOS))
        + ".",
        "",
        "| | licence | number | of these held out |",
        "|---|---|--:|--:|",
        *rows,
        "",
        "## Credits",
        "",
        "For photos whose licence asks to name the author. All are changed: shrunk, cropped and",
        "blurred.",
    ]
    named = [work for work in (*photos, *pairs) if work.licence not in NEED_NO_CREDIT]
    for source in sorted({work.source for work in named}):
        lines += ["", f"### {source}", ""]
        credits = Counter((work.credit, work.licence) for work in named if work.source == source)
        lines += [
            f"- {who}, {licence}" + (f" ({number} files)" if number > 1 else "")
            for (who, licence), number in credits.items()
        ]
    return "\n".join(lines) + "\n"


def _held(work: Work) -> bool:
    return Path(work.file).stem in HELD_OUT_PHOTOS or work.file.startswith(HELD_OUT_PAIRS)


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument("--pairs", type=Path, default=SHARED / "pairs")
    options = parser.parse_args()
    works = (read_works(folder / "LICENSES.tsv") for folder in (options.photos, options.pairs))
    print(page(*works), end="")


if __name__ == "__main__":
    main()
