from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "unblur"
HEAVY = ("torch", "numpy", "PIL", "rich", "safetensors", "requests", "jinja2")

LIBRARY_HOMES = {
    "torch": {
        "bands",
        "deblurrer",
        "devices",
        "doctor",
        "importing",
        "memory",
        "photo_rows",
        "published",
        "self_test",
        "srn",
        "weights",
    },
    "requests": {"fetch"},
    "click": {
        "cli",
        "commands",
        "doctor_cli",
        "models_cli",
        "option_groups",
        "restore_cli",
        "score_cli",
    },
    "rich": {"terminal", "ui"},
    "jinja2": {"page"},
    "fsspec": {"stores"},
    "ray": {"cluster", "dispatch", "worker"},
}
"""The only modules that may import these."""


def test_help_imports_nothing_heavy():
    program = (
        "import sys\nfrom unblur.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(sys.platform == "win32", reason="processor time of children")
def test_help_takes_less_than_a_third_of_a_second_of_processor_time():
    def seconds():
        import resource

        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "unblur", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_libraries_stay_in_their_modules(path):
    for library, homes in LIBRARY_HOMES.items():
        if path.stem not in homes:
            assert library not in set(imported(path))
