"""Options that have no effect together are refused if both are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import make_jpeg

from unblur.cli import main

SILENT = {
    "--suffix": [
        *(["--in-place", "--suffix=-new", "photo.jpg"], ["--suffix=-new", "-o", "-", "photo.jpg"]),
        *(["--suffix=-new", "-"], ["--suffix=-new", "-o", "new.jpg", "photo.jpg"]),
    ],
    "--overwrite": [["--overwrite", "-"]],
    "--on-existing": [["--on-existing", "skip", "-o", "-", "photo.jpg"]],
    "--sidecars": [["--sidecars", "--in-place", "photo.jpg"], ["--sidecars", "-"]],
    "--preserve-times": [["--preserve-times", "-o", "-", "photo.jpg"]],
    "--no-backup": [["--no-backup", "photo.jpg"]],
    "--keep-thumbnail": [["--keep-thumbnail", "--strip-metadata", "photo.jpg"]],
    "--blur-level": [["--blur-level", "1", "photo.jpg"]],
    "--workers": [["--workers", "2", "photo.jpg"]],
    "--include": [["--include", "*.jpg", "photo.jpg"], ["score", "--include", "*", "photo.jpg"]],
    "--exclude": [["--exclude", "*.png", "photo.jpg"], ["score", "--exclude", "*", "photo.jpg"]],
    "--null": [
        *(["--null", "--json", "photo.jpg"], ["score", "-0", "--json", "photo.jpg"]),
        ["restore", "-0", "--json", "photo.jpg"],
    ],
}
CASES = [(name, words) for name, cases in SILENT.items() for words in cases]


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(make_jpeg())
    Path("list.txt").write_bytes(b"photo.jpg\0")


@pytest.mark.usefixtures("photo")
@pytest.mark.parametrize(("name", "words"), CASES, ids=[" ".join(words) for _, words in CASES])
def test_an_option_without_effect_is_refused_by_its_name(name, words):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    spelling = "--on-existing" if name == "--overwrite" else name
    assert (
        line.startswith(f"unblur: error: {spelling} has no effect w") or "standard output" in line
    )
    assert sorted(path.name for path in Path().iterdir()) == ["list.txt", "photo.jpg"]


@pytest.mark.usefixtures("photo")
@pytest.mark.parametrize(
    "words",
    [
        *(["--suffix=-new", "photo.jpg"], ["--suffix=-new", "-o", "new/", "photo.jpg"]),
        *(["--in-place", "--no-backup", "photo.jpg"], ["-r", "--include", "*.jpg", "."]),
        *(["--keep-thumbnail", "photo.jpg"], ["-0", "--json", "--files-from", "list.txt"]),
        *(["--overwrite", "photo.jpg"], ["--in-place", "--overwrite", "photo.jpg"]),
    ],
    ids=" ".join,
)
def test_an_option_with_an_effect_is_taken(words):
    assert CliRunner().invoke(main, ["-n", *words]).exit_code == 0


@pytest.mark.usefixtures("photo")
@pytest.mark.parametrize("source", ["environment", "configuration"])
def test_a_default_of_the_environment_or_the_configuration_need_not_apply(source, monkeypatch):
    if source == "environment":
        monkeypatch.setenv("UNBLUR_SUFFIX", "-new")
        monkeypatch.setenv("UNBLUR_EXCLUDE", "*.png")
        config = []
    else:
        Path("my.toml").write_text('suffix = "-new"\nexclude = ["*.png"]\n')
        config = ["--config", "my.toml"]
    assert CliRunner().invoke(main, ["-n", *config, "--in-place", "photo.jpg"]).exit_code == 0
