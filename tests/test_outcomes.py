"""Functions return outcomes only, never outcomes or other values: to end early, they raise."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from unblur.errors import PhotoError
from unblur.run.jobs import Job
from unblur.run.report import LeftAlone, Status, outcome_of_error, planned_outcome

SOURCE = Path(__file__).parents[1] / "src"
RECORDS = {"Outcome", "FinishedPhoto"}
"""The two records of a photo's result: finished, and reported."""


def mixtures(text):
    """Return the unions with a result's record, and the tests for its type, in a module's text."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(text)) if _is_mixture(node)]


def _is_mixture(node):
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = {ast.unparse(side) for side in (node.left, node.right)}
        return bool(sides & RECORDS) and "None" not in sides
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Union"):
        return bool(_names(node.slice) & RECORDS)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
        return bool(_names(node.args[1]) & RECORDS)
    return isinstance(node, ast.MatchClass) and ast.unparse(node.cls) in RECORDS


def _names(tree):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_no_module_mixes_outcomes_with_other_values():
    found = {path.name: mixtures(path.read_text("utf-8")) for path in SOURCE.rglob("*.py")}
    assert len(found) > 80
    assert {name: nodes for name, nodes in found.items() if nodes} == {}


@pytest.mark.parametrize(
    "line",
    [
        "def load() -> Photo | Outcome: ...",
        "Heard = tuple[int, Outcome | Photo]",
        "def load() -> Union[Photo, Outcome]: ...",
        "x = isinstance(loaded, Outcome)",
        "x = isinstance(loaded, (Photo, FinishedPhoto))",
        "match loaded:\n    case Outcome():\n        pass",
    ],
)
def test_a_mixture_is_found(line):
    assert len(mixtures(line)) == 1


def test_an_outcome_or_nothing_is_no_mixture():
    assert mixtures("last: Outcome | None = None") == []


JOB = Job(Path("a.jpg"), Path("b.jpg"))


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (LeftAlone("already done"), Status.SKIPPED, "already done"),
        (PhotoError("is cut off"), Status.FAILED, "is cut off"),
        (MemoryError(), Status.FAILED, "out of memory; a smaller --tile or --jobs 1 needs less"),
        (KeyError("x"), Status.FAILED, "unexpected KeyError: 'x'; -vv shows where"),
    ],
)
def test_an_exception_becomes_an_outcome(error, status, reason):
    outcome = outcome_of_error(JOB, error)
    assert (outcome.job, outcome.status, outcome.reason) == (JOB, status, reason)
    assert ("KeyError" in outcome.trace) is isinstance(error, KeyError)


@pytest.mark.parametrize(
    ("job", "status", "reason"),
    [
        (Job(None, None, problem="is a folder"), Status.FAILED, "is a folder"),
        (Job(None, None, skip="already done"), Status.SKIPPED, "already done"),
        (JOB, Status.PLANNED, ""),
    ],
)
def test_a_plan_tells_the_outcomes_of_jobs_that_need_no_work(job, status, reason):
    outcome = planned_outcome(job)
    assert (outcome.status, outcome.reason) == (status, reason)
