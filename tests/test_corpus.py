"""Real files of many makers; a manifest states the expected result for each."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED

from unblur.errors import PhotoError
from unblur.formats import any_format
from unblur.formats.photo import HEADER_BYTES, identify

CORPUS = SHARED / "corpus"

GENERATION_LOSS = 0.2
"""Mean absolute difference, of 255, that coding unchanged pixels again may make."""


def read_manifest():
    manifest = CORPUS / "MANIFEST.tsv"
    if not manifest.exists():
        return []
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def read_row(row):
    return (CORPUS / row["name"]).read_bytes()


def metadata_loss(before, after, notes):
    """The metadata that was lost, as a separate program finds; empty if nothing was."""
    options = []
    if any("palette" in note for note in notes):  # which is how pixels were coded
        options += ["--tags-only", "--ignore", "^PNG:(Palette|Transparency)$"]
    if any("C2PA" in note for note in notes):
        options += ["--ignore", "^(JUMBF|CBOR|JSON|Jpeg2000):"]
    command = [sys.executable, SHARED / "metadiff.py", *options, before, after]
    judge = subprocess.run(command, capture_output=True, text=True)
    return judge.stdout + judge.stderr if judge.returncode else ""


def check_facts(before, after, note):
    """Check that a developed photo, or a note about it, accounts for its RAW file's metadata."""
    names = ("Make", "DateTimeOriginal", "ExposureTime", "FNumber", "ISO", "GPSPosition")
    command = ["exiftool", "-json", *(f"-{name}" for name in names), before, after]
    read = subprocess.run(command, capture_output=True, text=True, check=True)
    old, new = ({n: one[n] for n in names if n in one} for one in json.loads(read.stdout))
    if "date" in note:
        assert "DateTimeOriginal" not in new
    else:
        assert new == old


def check_refusal(expected, form, reason):
    assert "\n" not in reason
    if form is None and expected == "processed":
        pytest.skip("the format is not processed")
    assert "refused" in expected or "passed over" in expected, reason
    if form and "naming the extra" in expected and not expected.endswith("or refused"):
        assert "unblur[" in reason


MANIFEST = [pytest.param(row, id=row["name"]) for row in read_manifest()]


@pytest.mark.shared
@pytest.mark.parametrize("row", MANIFEST)
def test_a_real_file_keeps_its_metadata_or_is_refused_as_expected(row, tmp_path):
    data, expected = read_row(row), row["expected"]
    try:
        photo = any_format.decode(data)
    except PhotoError as error:
        check_refusal(expected, identify(data[:HEADER_BYTES]), str(error))
        return
    assert "processed" in expected or "new 16-bit TIFF" in expected
    encoded = any_format.encode(photo, photo.pixels)
    assert any_format.decode(encoded.data).pixels.shape == photo.pixels.shape
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool, which compares metadata, is not there")
    result = tmp_path / "result"
    result.write_bytes(encoded.data)
    if "new 16-bit TIFF" in expected:  # another format, whose metadata cannot all be the same
        check_facts(CORPUS / row["name"], result, " ".join(photo.notes))
        return
    assert not metadata_loss(CORPUS / row["name"], result, photo.notes + encoded.notes)


@pytest.mark.shared
@pytest.mark.parametrize("row", [p for p in MANIFEST if p.id.startswith("cam_")])
def test_coding_a_camera_photo_again_loses_next_to_nothing(row):
    photo = any_format.decode(read_row(row))
    again = any_format.decode(any_format.encode(photo, photo.pixels).data)
    loss = np.abs(photo.pixels.astype(np.int16) - again.pixels).mean()
    assert loss < GENERATION_LOSS


@pytest.mark.shared
@pytest.mark.posix
def test_of_awkward_names_and_places_only_links_that_lead_nowhere_fail(jpeg, tmp_path, unblur):
    folder = tmp_path / "names"
    make_names = ["bash", SHARED / "make_names.sh", folder, jpeg]
    subprocess.run(make_names, check=True, capture_output=True)
    # Root may read what nobody else may.
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
    found = (Path(top) / name for top, _, names in os.walk(folder) for name in names)
    photos = [str(path) for path in found if path.is_file() and not path.name.startswith(".")]
    outcomes = {"done": [], "failed": []}
    for line in unblur("-r", folder, "--json").stdout.splitlines():
        outcome = json.loads(line)
        outcomes[outcome["status"]].append(outcome["input"])
    assert sorted(outcomes["done"]) == sorted(photos)
    assert sorted(outcomes["failed"]) == [f"{folder}/dangling.jpg", f"{folder}/self.jpg"]
