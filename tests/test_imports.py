from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "unblur"
HEAVY = ("torch", "numpy", "PIL", "rich", "safetensors")

LIBRARY_HOMES = {
    "torch": {"deblurrer", "devices", "memory", "published", "srn", "weights"},
    "click": {"cli"},
    "rich": {"ui"},
}
"""The only modules that may import these."""


def test_help_imports_nothing_heavy_and_answers_at_once():
    program = (
        "import sys\nfrom unblur.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    start = time.monotonic()
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    seconds = time.monotonic() - start
    assert run.stdout.splitlines()[-1] == "[]"
    assert seconds < 3  # ten times what it takes, for machines that are busy


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
