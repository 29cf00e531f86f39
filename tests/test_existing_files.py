"""What a run does with files that exist: all combinations of the options that decide about it."""

from __future__ import annotations

import itertools
import json
from functools import partial

import pytest
from conftest import make_jpeg

PHOTO, RESULT, BACKUP = "photo.jpg", "photo-unblurred.jpg", "photo.jpg.orig"
SIDECAR, COPY = "photo.jpg.xmp", "photo-unblurred.jpg.xmp"
OTHER = b"a file of another program"
EDITED = make_jpeg(40, 56)

WAYS = {"beside": [], "in place": ["--in-place"], "no backup": ["--in-place", "--no-backup"]}
ON_EXISTING = {
    "error": [],
    "skip": ["--on-existing", "skip"],
    "overwrite": ["--overwrite"],
}
STATES = ("nothing", "foreign", "done", "edited")
"""What is at the place of the result beside a photo, or of the backup of a photo in place: nothing,
another file, or what an earlier run has made, which was perhaps edited since."""


def expected(way, on_existing, state):
    """The status of the photo, as the documentation promises it."""
    if state == "nothing":
        return "done"
    if way == "beside":
        when_done = {"done": "skipped"}
        by_default = when_done.get(state, "failed")
        return {"error": by_default, "skip": "skipped", "overwrite": "done"}[on_existing]
    if state == "done":
        return "skipped"  # a photo is never deblurred twice
    return "failed" if way == "in place" else "done"


@pytest.fixture
def run(unblur, brightening_weights, tmp_path, monkeypatch):
    """Run the tool with a network that makes a photo brighter, each time it sees it."""
    monkeypatch.chdir(tmp_path)
    return partial(unblur, PHOTO, model=brightening_weights)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def set_up(folder, run, way, state):
    (folder / PHOTO).write_bytes(make_jpeg())
    (folder / SIDECAR).write_text("rated")
    made = RESULT if way == "beside" else PHOTO
    if state == "foreign":
        (folder / (RESULT if way == "beside" else BACKUP)).write_bytes(OTHER)
    elif state != "nothing":
        assert run(*WAYS[way][:1]).code == 0
        if state == "edited":
            (folder / made).write_bytes(EDITED)


@pytest.mark.parametrize(
    ("way", "on_existing", "state", "sidecars"),
    [
        case
        for case in itertools.product(WAYS, ON_EXISTING, STATES, (False, True))
        if case[0] == "beside" or not case[3]
    ],
    ids=str,
)
def test_what_exists_is_replaced_skipped_or_kept_as_promised(
    tmp_path, run, way, on_existing, state, sidecars
):
    set_up(tmp_path, run, way, state)
    options = [*WAYS[way], *ON_EXISTING[on_existing], *(["--sidecars"] if sidecars else [])]
    status, before = expected(way, on_existing, state), contents(tmp_path)

    planned = run(*options, "--dry-run", "--json")
    assert contents(tmp_path) == before
    assert json.loads(planned.stdout)["status"] == {"done": "planned"}.get(status, status)

    result = run(*options, "--json")
    after = contents(tmp_path)
    assert json.loads(result.stdout)["status"] == status
    assert result.code == planned.code == (status == "failed")
    target = RESULT if way == "beside" else PHOTO
    new = {target: after[target]} if status == "done" else {}
    if status == "done" and way == "in place":
        new[BACKUP] = before[PHOTO]
    if status == "done" and sidecars:
        new[COPY] = before[SIDECAR]
    assert after == before | new
    assert status != "done" or state == "done" or after[target] != before.get(target)
    again = run(*options, "--json")
    if status == "done" and (way != "beside" or on_existing != "overwrite"):
        assert json.loads(again.stdout)["status"] == "skipped"
        assert contents(tmp_path) == after


@pytest.mark.parametrize(
    "words",
    [
        ["--in-place", "--sidecars"],
        ["--in-place", "--no-backup", "--sidecars", "--overwrite"],
        ["--no-backup"],
        ["--no-backup", "--on-existing", "skip"],
        ["--backup", "--sidecars"],
        ["--in-place", "--output", "other.jpg"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_options_that_do_not_go_together_change_nothing(tmp_path, run, words, dry_run):
    set_up(tmp_path, run, "beside", "nothing")
    before = contents(tmp_path)
    assert run(*words, *dry_run).code == 2
    assert contents(tmp_path) == before
