"""Names in docstrings and comments: each `unblur.module.name` leads to something."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REFERENCE = re.compile(r"(?<!`)`(unblur(?:\.\w+)+)`(?!`)")


@functools.cache
def names_in(module):
    """Return all names that a module's code defines or imports; ``None`` without such a module."""
    path = ROOT / "src" / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.exists():
        return None
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    defined = {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    return defined | {node.id for node in nodes if isinstance(node, ast.Name)}


def leads_to_something(reference):
    parts = reference.split(".")
    known = [n for n in range(1, len(parts) + 1) if names_in(".".join(parts[:n])) is not None]
    last = max(known)
    module, inner = ".".join(parts[:last]), parts[last : last + 1]
    return names_in(module).issuperset(inner)


@pytest.mark.parametrize("folder", ["src", "training", "benchmarks"])
def test_every_reference_leads_to_something(folder):
    texts = [path.read_text("utf-8") for path in (ROOT / folder).rglob("*.py")]
    found = {reference for text in texts for reference in REFERENCE.findall(text)}
    assert [reference for reference in sorted(found) if not leads_to_something(reference)] == []


def test_a_reference_to_what_was_renamed_is_found():
    assert leads_to_something("unblur.run.plan.make_plan")
    assert not leads_to_something("unblur.run.plan.made_plan")
    assert not leads_to_something("unblur.run.local")
