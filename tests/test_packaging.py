"""Packaging recipes and CI agree with pyproject.toml."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import make_jpeg

from unblur import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


def read(path):
    return (ROOT / path).read_text("utf-8")


PYPROJECT = tomllib.loads(read("pyproject.toml"))
PROJECT = PYPROJECT["project"]


def bounds(requirements):
    """Lower bounds by the packages' names."""
    texts = [text for text in requirements if isinstance(text, str)]
    parts = [re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?>=([0-9.]+)", text) for text in texts]
    assert all(parts), texts
    return {part[1]: part[2] for part in parts}


def test_the_oldest_versions_that_ci_tries_are_the_oldest_that_are_allowed():
    extras = [one for extra in PROJECT["optional-dependencies"].values() for one in extra]
    groups = PYPROJECT["dependency-groups"]
    allowed = bounds(
        PROJECT["dependencies"] + extras + groups["test"] + groups["extras"] + groups["s3-server"]
    )
    tried = dict(re.findall(r"^([\w.-]+)==([0-9.]+)", read("constraints-oldest.txt"), re.MULTILINE))
    assert tried.keys() == allowed.keys()
    for name, lowest in allowed.items():
        assert f"{tried[name]}.0.0".startswith(f"{lowest}."), name


def test_the_conda_recipe_needs_what_the_package_needs():
    run = read("packaging/conda/recipe.yaml").split("\n  run:\n")[1].split("\n\n")[0]
    needed = dict(re.findall(r"- ([\w-]+) >=([0-9.]+)", run))
    wanted = bounds(PROJECT["dependencies"]) | {"python": PROJECT["requires-python"].strip(">=")}
    wanted["pytorch"] = wanted.pop("torch")
    del wanted["xattr"]  # for macOS alone, which one recipe for all systems cannot say
    assert needed == wanted


def test_the_homebrew_formula_names_every_dependency():
    formula = read("packaging/homebrew/unblur.rb").replace('"pytorch"', '"torch"')
    for name in bounds(PROJECT["dependencies"]):
        assert re.search(rf"\b{name}\b", formula) or name == "tomli"  # which only Python 3.10 needs


def test_the_snap_takes_its_dependencies_from_the_package_itself():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    snap = yaml.safe_load(read("packaging/snap/snapcraft.yaml"))
    (part,) = snap["parts"].values()
    assert part["plugin"] == "python"
    assert not part.keys() & {"python-packages", "python-requirements", "stage-packages"}
    assert snap["apps"]["unblur"]["command"] == f"bin/{next(iter(PROJECT['scripts']))}"
    assert snap["license"] == PROJECT["license"]


def test_the_readme_says_first_what_works_before_a_release():
    for path in ("README.md", "docs/install.md"):
        text = read(path)
        assert text.index("pip install .") < text.index("is on PyPI, ")
        for command in ("pipx install .", "uv tool install ."):
            assert command in text


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("CITATION.cff", r"^version: (.*)$"),
        ("packaging/conda/recipe.yaml", r'^  version: "(.*)"$'),
        ("packaging/homebrew/unblur.rb", r"unblur-(.*)\.tar\.gz"),
        ("packaging/snap/snapcraft.yaml", r'^version: "(.*)"$'),
        ("packaging/snap/snapcraft.yaml", r"unblur-(.*)\.tar\.gz"),
    ],
)
def test_one_version_is_told_everywhere(path, pattern):
    assert re.search(pattern, read(path), re.MULTILINE)[1] == __version__


def test_ci_calls_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    for path in (".ci/run", ".github/workflows/ci.yml"):
        called = set(re.findall(r"\bmake ([a-z]+)", read(path)))
        assert called
        assert called <= targets


@pytest.mark.posix
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("minor", "is_enough"), [(-1, False), (0, True)])
def test_make_names_a_python_that_is_too_old_before_it_sets_anything_up(tmp_path, minor, is_enough):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    oldest = [int(part) for part in PROJECT["requires-python"].strip(">=").split(".")]
    version = (oldest[0], oldest[1] + minor, 9)
    python = tmp_path / "old-python"
    python.write_text(
        f"#!/bin/sh\n[ $1 = -c ] || exit 77\n"
        f'exec "{sys.executable}" -c "import sys; sys.version_info = {version}; $2"\n'
    )
    python.chmod(0o755)
    command = ["make", "demo", f"PYTHON={python}"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ("Error 77" in run.stderr) == is_enough  # the next step
    said = f"{python} is older than Python {oldest[0]}.{oldest[1]}"
    assert (said in run.stderr) == (not is_enough)


def test_the_image_is_built_from_all_that_the_wheel_is_made_of():
    sent = set(re.findall(r"^!(.+)$", read(".dockerignore"), re.MULTILINE))
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    parts = [*wheel["packages"], *wheel["force-include"], *wheel["shared-data"]]
    needed = {Path(part).parts[0] for part in parts} | set(PROJECT["license-files"])
    assert needed | {"pyproject.toml", PROJECT["readme"], "constraints.txt"} <= sent


def test_packages_leave_out_weights_that_are_no_model_yet():
    targets = PYPROJECT["tool"]["hatch"]["build"]["targets"]
    assert "weights/next" in targets["sdist"]["exclude"]
    assert all(Path(file).parent == Path("weights") for file in targets["wheel"]["force-include"])
    ignored = read(".dockerignore").splitlines()
    assert ignored.index("weights/next") > ignored.index("!weights")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The package in a zip file, from which Python can run it."""
    path = tmp_path_factory.mktemp("archive") / "unblur.zip"
    with zipfile.ZipFile(path, "w") as file:
        for part in sorted((ROOT / "src" / "unblur").rglob("*")):
            if part.is_file() and "__pycache__" not in part.parts:
                file.write(part, part.relative_to(ROOT / "src"))
    return path


def run_in(archive, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(archive)}
    command = [sys.executable, "-m", "unblur", *map(str, arguments)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=archive.parent
    )


def test_in_a_zip_file_the_program_says_where_its_weights_are_needed(archive):
    (archive.parent / "photo.jpg").write_bytes(make_jpeg())
    run = run_in(archive, "photo.jpg")
    assert run.returncode == 4
    assert run.stderr == (
        f"unblur: error: srn-compact.safetensors cannot be read inside the archive {archive}: "
        "unpack the archive, or install it with pip\n"
    )


def test_in_a_zip_file_the_program_deblurs_with_weights_outside(archive, identity_weights):
    (archive.parent / "other.jpg").write_bytes(make_jpeg())
    run = run_in(archive, "--model", identity_weights, "--report", "page.html", "other.jpg")
    assert run.returncode == 0, run.stderr
    assert (archive.parent / "page.html").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_in_a_zip_file_completion_works(archive, shell):
    run = run_in(archive, "--completion", shell)
    assert (run.returncode, run.stderr) == (0, "")
    assert "unblur" in run.stdout
