from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import make_jpeg
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

from benchmarks import capacity
from training.judging.cost import kmac_per_pixel
from unblur.cli import main
from unblur.errors import ExitCode
from unblur.models import catalog
from unblur.models.weights import load_network

ROOT = Path(__file__).parents[1]
SCRIPTING = (ROOT / "docs" / "scripting.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
MODELS = (ROOT / "docs" / "models.md").read_text()
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()
CLUSTER = (ROOT / "docs" / "cluster.md").read_text("utf-8")
SCORE = (ROOT / "docs" / "score.md").read_text("utf-8")
MANAGERS = (ROOT / "docs" / "managers.md").read_text("utf-8")
SYSTEMS = (ROOT / "docs" / "systems.md").read_text("utf-8")
DOCS = README + SCRIPTING + MODELS + TROUBLESHOOTING + CLUSTER + SCORE + MANAGERS + SYSTEMS


def test_every_exit_code_is_documented():
    table = SCRIPTING.split("## Exit codes")[1].split("##")[0]
    assert {int(n) for n in re.findall(r"\b\d+\b", table.replace("SIGTERM", ""))} == set(ExitCode)


def test_every_option_that_the_docs_name_exists():
    params = [param for command in commands() for param in command.params]
    known = {name for option in params for name in option.opts + option.secondary_opts}
    known |= {"--help", "--recursive"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", DOCS))
    # Those of other programs in the examples, too.
    others = {"--pipe", "--no-cache-dir", "--job-name", "--nodes", "--ntasks-per-node", "--time"}
    others |= {"--exclusive", "--gpus-per-task", "--signal", "--address", "--min-nodes"}
    others |= {"--num-gpus", "--network", "--training", "--cost", "--fit", "--every"}
    assert named - known - others == set()


def commands(command=main):
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from commands(inner)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The documentation as a site; a link that leads nowhere fails."""
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--quiet",
        ROOT / "docs",
        folder,
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    return folder


def test_every_option_of_every_command_is_on_the_site(site):
    page = (site / "options.html").read_text("utf-8")
    told = set(re.findall(r'id="cmdoption-([^"]+)"', page))
    for ctx in contexts(main):
        words = ctx.command_path.replace(" ", "-")
        options = [p for p in ctx.command.params if isinstance(p, click.Option)]
        assert {f"{words}-{name.lstrip('-')}" for o in options for name in o.opts} <= told


def contexts(command, parent=None):
    """Contexts of a command and of those inside."""
    ctx = click.Context(command, parent=parent, info_name=command.name if parent else "unblur")
    yield ctx
    for inner in getattr(command, "commands", {}).values():
        yield from contexts(inner, ctx)


def test_every_page_is_in_the_menu_and_no_page_needs_a_network(site):
    menu = (site / "index.html").read_text("utf-8")
    for source in (ROOT / "docs").iterdir():
        if source.suffix in (".md", ".rst"):
            assert f'href="{source.stem}.html"' in menu or source.stem == "index"
    loads = re.compile(r'<(?:script|img|link)[^>]*(?:src|href)="(https?:[^"]+)')
    for page in site.glob("*.html"):
        assert loads.findall(page.read_text("utf-8")) == []


def test_every_command_and_option_has_help():
    for command in commands():
        assert command.help
        assert all(p.help for p in command.params if isinstance(p, click.Option))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="click-man needs Python 3.11")
def test_the_man_pages_are_what_the_parser_says(tmp_path):
    click_man = Path(sys.executable).with_name("click-man")
    subprocess.run([click_man, "unblur", "--target", tmp_path], check=True, capture_output=True)
    # All but the first line, which holds the date.
    made, kept = (
        {path.name: path.read_text().split("\n")[1:] for path in folder.iterdir()}
        for folder in (tmp_path, ROOT / "man")
    )
    assert made == kept, "run make man"


@pytest.fixture
def shell(tmp_path, identity_weights):
    """Run an example of the docs where there are photos."""
    if sys.platform == "win32":
        pytest.skip("the examples are for a POSIX shell")
    for name in ("in.jpg", "photos/a.jpg", "photos/b c.jpg", "photos/new\nline.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(make_jpeg())
    (tmp_path / "last-run").touch()
    os.utime(tmp_path / "last-run", (0, 0))
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "unblur"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m unblur "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "UNBLUR_MODEL": str(identity_weights),
        "UNBLUR_DEVICE": "cpu",
    }

    def run(script):
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path, env=environment, check=True, capture_output=True,
        )  # fmt: skip

    return run


def example(containing):
    blocks = re.findall(r"```sh\n(.*?)```", SCRIPTING, re.DOTALL)
    (block,) = (block for block in blocks if containing in block)
    return block


@pytest.mark.parametrize("words", ["-newer last-run", "xargs -0 -n 1000"])
def test_the_find_examples_deblur_every_photo(shell, tmp_path, words):
    shell(example(words))
    assert len(list(tmp_path.rglob("*-unblurred.jpg"))) == 4


def test_the_web_example_makes_webp_files(shell, tmp_path):
    shell(example("--format webp"))
    assert len(list((tmp_path / "web").glob("*.webp"))) == 3


def test_the_list_example_hands_on_every_name(shell):
    assert shell(example("ls -l")).stdout.count(b"unblurred.jpg") == 3


@pytest.mark.weights
def test_the_capacity_plan_is_what_its_program_says():
    network = load_network(catalog.find_weights(catalog.DEFAULT_MODEL))
    assert capacity.table(1000 * kmac_per_pixel(network)) in CLUSTER


def test_the_kubernetes_example_is_a_job_with_a_head_and_workers():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    spec = yaml.safe_load(re.search(r"```yaml\n(.*?)```", CLUSTER, re.DOTALL)[1])["spec"]
    assert spec["entrypoint"].startswith("unblur ")
    assert set(spec["rayClusterSpec"]) >= {"headGroupSpec", "workerGroupSpecs"}


def test_the_slurm_example_is_a_script():
    script = re.search(r"```sh\n(#!/bin/bash.*?)```", CLUSTER, re.DOTALL)[1]
    subprocess.run(["bash", "-n"], input=script.encode(), check=True)


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not there")
def test_the_score_example_lists_photos(shell):
    assert shell(example("unblur score")).stdout.count(b".jpg") == 3


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not there")
def test_the_pipe_example_makes_a_photo(shell, tmp_path):
    shell(example("exiftool"))
    assert (tmp_path / "out.jpg").read_bytes().startswith(b"\xff\xd8")


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not there")
def test_the_jq_example_names_what_failed(shell, tmp_path):
    (tmp_path / "photos" / "cut.jpg").write_bytes(make_jpeg()[:200])
    assert b"cut.jpg: damaged" in shell(f"{{ {example('select(.status')} }} || true").stdout


@pytest.mark.skipif(not shutil.which("parallel"), reason="GNU parallel is not there")
def test_the_parallel_example_deblurs_every_photo(shell, tmp_path):
    (tmp_path / "photos" / "new\nline.jpg").unlink()  # lines cannot hold it
    shell(example("parallel --pipe"))
    assert len(list((tmp_path / "photos").glob("*-unblurred.jpg"))) == 2


@pytest.mark.skipif(not shutil.which("inotifywait"), reason="inotifywait is not there")
def test_the_inotify_example_deblurs_what_arrives(shell, tmp_path):
    (tmp_path / "inbox").mkdir()
    (tmp_path / "done").mkdir()
    script = example("inotifywait").replace("inotifywait -m", "timeout 20 inotifywait -m")
    script = script.replace("done\n", "pkill -P $$ -x timeout || true\ndone\n")
    shell(f"(sleep 2; cp in.jpg inbox/new.jpg) & {{ {script} }} || true")
    assert (tmp_path / "done" / "new-unblurred.jpg").exists()


def test_the_makefile_example_makes_a_result(shell, tmp_path):
    rule = re.search(r"```make\n(.*?)```", SCRIPTING, re.DOTALL)[1]
    (tmp_path / "Makefile").write_text(rule)
    shell("make in-unblurred.jpg")
    assert (tmp_path / "in-unblurred.jpg").exists()


def test_every_variable_that_the_docs_name_is_read_somewhere():
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    options = {f"UNBLUR_{p.name.upper()}" for p in main.params}
    for name in set(re.findall(r"UNBLUR_[A-Z_]+", DOCS)):
        assert f'"{name}"' in source or name in options


@pytest.mark.parametrize(
    ("kind", "row"),
    [("config", "configuration"), ("data", "record of results"), ("cache", "cache")],
)
def test_the_folders_of_each_system_are_documented(monkeypatch, kind, row):
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda name: "%LOCALAPPDATA%")
    folders = [str(getattr(of("unblur"), f"user_{kind}_dir")) for of in (Unix, MacOS, Windows)]
    (line,) = (line for line in SYSTEMS.splitlines() if line.startswith(f"| {row}: "))
    told = [cell.strip(" `") for cell in line.split("|")[2:5]]
    home = str(Path.home())
    assert told[:2] == [folder.replace(home, "~").replace("\\", "/") for folder in folders[:2]]
    assert told[2] == folders[2].replace("/", "\\")


def test_every_model_is_documented():
    assert all(f"`{name}`" in MODELS for name in catalog.MODELS)


def test_the_readmes_python_and_shell_name_only_files_that_exist():
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path


def test_every_message_that_troubleshooting_explains_is_still_said():
    sources = "".join(path.read_text() for path in (ROOT / "src" / "unblur").rglob("*.py"))
    said = re.sub(r'"\s+f?"', "", sources)  # strings that go on in the next line
    rows = re.findall(r"^\| (`.+?) \| ", TROUBLESHOOTING, re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    assert len(messages) > 15
    for part in (part.strip() for message in messages for part in message.split("…")):
        assert part in said
