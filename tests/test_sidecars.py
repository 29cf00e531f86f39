"""Files of other programs beside a photo are copied under the result's name, or named."""

from __future__ import annotations

import json
import shutil

import pytest

NAMES = {
    "photo.jpg.xmp": "photo-unblurred.jpg.xmp",
    "photo.xmp": "photo-unblurred.xmp",
    "photo.jpg.json": "photo-unblurred.jpg.json",
    "photo.jpg.supplemental-metadata.json": "photo-unblurred.jpg.supplemental-metadata.json",
    "photo.supplemental-metadata.json": "photo-unblurred.supplemental-metadata.json",
    "photo.jpg.pp3": "photo-unblurred.jpg.pp3",
    "photo.jpg.XMP": "photo-unblurred.jpg.XMP",
}
OTHERS = ("photo.aae", "photo.mov", "photo.txt", "other.xmp", "photo-2.jpg.xmp")


@pytest.mark.parametrize(("name", "copied"), NAMES.items(), ids=NAMES)
def test_a_sidecar_is_copied_under_the_results_name(name, copied, jpeg, unblur):
    jpeg.with_name(name).write_bytes(b"rating 5")
    result = unblur("--sidecars", jpeg)
    assert (result.code, "left beside" in result.stderr) == (0, False)
    assert jpeg.with_name(copied).read_bytes() == b"rating 5"
    assert jpeg.with_name(name).read_bytes() == b"rating 5"


@pytest.mark.parametrize("name", NAMES)
def test_without_the_option_a_note_names_the_sidecar(name, jpeg, unblur):
    jpeg.with_name(name).write_bytes(b"rating 5")
    (line,) = unblur(jpeg, "--json").stdout.splitlines()
    assert json.loads(line)["notes"] == [
        f"left beside the original: {name}; --sidecars copies such files"
    ]
    assert len(list(jpeg.parent.iterdir())) == 3


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_neither_copied_nor_named(name, jpeg, unblur):
    jpeg.with_name(name).write_bytes(b"something")
    assert "left beside" not in unblur("--sidecars", jpeg, "--dry-run").stderr
    assert json.loads(unblur("--sidecars", jpeg, "--json").stdout)["notes"] == []
    assert len(list(jpeg.parent.iterdir())) == 3


def test_a_result_in_another_folder_and_format_has_its_sidecars_there(jpeg, tmp_path, unblur):
    jpeg.with_name("photo.jpg.xmp").write_bytes(b"rating 5")
    assert unblur("--sidecars", "--format", "png", "-o", f"{tmp_path}/out/", jpeg).code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "photo-unblurred.png",
        "photo-unblurred.png.xmp",
    ]


@pytest.mark.parametrize(
    "named", ["{folder}/photo.jpg", "photo.jpg", pytest.param("link.jpg", marks=pytest.mark.posix)]
)
def test_a_photo_that_is_replaced_keeps_its_sidecars_without_a_note(
    named, jpeg, unblur, monkeypatch
):
    monkeypatch.chdir(jpeg.parent)
    if named == "link.jpg":
        jpeg.with_name(named).symlink_to(jpeg)
    jpeg.with_name("link.jpg.xmp").write_bytes(b"rating 4")
    sidecar = jpeg.with_name("photo.jpg.xmp")
    sidecar.write_bytes(b"rating 5")
    assert (
        json.loads(unblur("--in-place", "--json", named.format(folder=jpeg.parent)).stdout)["notes"]
        == []
    )
    assert sidecar.read_bytes() == b"rating 5"


def test_a_sidecar_that_was_edited_stays_and_an_equal_one_needs_no_note(jpeg, unblur):
    sidecar = jpeg.with_name("photo.jpg.xmp")
    copy = jpeg.with_name("photo-unblurred.jpg.xmp")
    sidecar.write_bytes(b"rating 5")
    shutil.copy(sidecar, copy)
    assert "not copied" not in unblur("--sidecars", jpeg).stderr
    copy.write_bytes(b"rating 1")
    result = unblur("--sidecars", "--overwrite", jpeg)
    assert "photo.jpg.xmp was not copied: photo-unblurred.jpg.xmp exists, and stays" in (
        result.stderr
    )
    assert (result.code, copy.read_bytes()) == (0, b"rating 1")


def test_a_copied_sidecar_appears_whole_or_not_at_all(jpeg, unblur, monkeypatch):
    from unblur.storage import drafts

    jpeg.with_name("photo.jpg.xmp").write_bytes(b"rating 5")
    monkeypatch.setattr("unblur.run.sidecars.FileDraft", _Failing)
    assert drafts.FileDraft is not _Failing
    result = unblur("--sidecars", jpeg)
    assert "photo.jpg.xmp was not copied: no space left" in result.stderr
    names = sorted(path.name for path in jpeg.parent.iterdir())
    assert names == ["photo-unblurred.jpg", "photo.jpg", "photo.jpg.xmp"]


class _Failing:
    def __init__(self, *arguments, **options):
        from unblur.errors import PhotoError

        raise PhotoError("no space left")
