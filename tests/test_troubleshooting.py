"""Each message that the program can show has a line in ``docs/troubleshooting.md``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
SOURCES = {
    str(path.relative_to(ROOT / "src" / "unblur")): ast.parse(path.read_text("utf-8"))
    for path in sorted((ROOT / "src" / "unblur").rglob("*.py"))
}

ERRORS = {
    *("PhotoError", "UsageError", "DeviceError", "WeightsError", "ExcessError", "DesktopError"),
    *("PassingError", "MissingError"),
    "LeftAlone",
}
"""Exceptions whose text is for the user; `LeftAlone` tells why a photo was skipped."""
RETURNED = ("run/target_checks.py", "storage/targets.py", "formats/refusals.py")
"""Modules whose functions return sentences."""
HOLE = "…"
"""Stands for a name or a number, in sentences and on the page."""
SHORTEST = 8
"""Letters and spaces without which a text is no sentence."""


def literal(node, constants):
    """The text of an expression, with holes for unknown parts; empty if nothing is known."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr():
            return "".join(literal(part, constants) for part in node.values)
        case ast.BinOp():
            return literal(node.left, constants) + literal(node.right, constants)
        case ast.Name(id=name) if name in constants:
            return constants[name]
        case ast.Call(func=ast.Attribute(attr="format", value=text)):
            return re.sub(r"\{.*?\}", HOLE, literal(text, constants))
    return HOLE


def choices(node, functions):
    """The expressions whose value an expression may have."""
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in functions:
            return [choice for answer in answers(functions[name]) for choice in choices(answer, {})]
        case ast.IfExp():
            return [*choices(node.body, functions), *choices(node.orelse, functions)]
        case ast.Tuple() | ast.List():
            return [choice for element in node.elts for choice in choices(element, functions)]
    return [node]


def expressions(module, tree):
    """The expressions of a module that become messages."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in ERRORS:
                yield first
            case ast.Call(func=ast.Attribute(attr="warn"), args=[first, *_]):
                yield first
            case ast.Call(func=ast.Attribute(attr="append", value=ast.Name(id="notes"))):
                yield node.args[0]
            case ast.Assign(targets=[ast.Name(id="notes" | "note" | "reason" | "problem")]):
                yield node.value
            case ast.keyword(arg="problem" | "skip" | "reason"):
                yield node.value
            case ast.AnnAssign(target=ast.Name(id="notes")) if node.value:
                yield node.value
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(id="notes"), slice=key)]):
                yield key
            case ast.FunctionDef(returns=returned) if returned:
                is_note = ast.unparse(returned) == "tuple[str, ...]" and module[:4] != "cli/"
                is_reason = module in RETURNED and "str" in ast.unparse(returned)
                if is_note or is_reason:
                    yield from answers(node)


def answers(function):
    """The expressions that a function returns."""
    inner = (node for node in ast.walk(function) if isinstance(node, ast.Return))
    return [node.value for node in inner if node.value]


def sentences(sources=SOURCES):
    """All messages, each with its module."""
    constants = {
        node.targets[0].id: literal(node.value, {})
        for tree in sources.values()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    functions = {
        node.name: node
        for tree in sources.values()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and ast.unparse(node.returns or node) == "str"
    }
    found = {}
    for module, tree in sources.items():
        for expression in expressions(module, tree):
            for choice in choices(expression, functions):
                text = literal(choice, constants)
                if len(re.sub(r"[^a-z ]", "", text)) >= SHORTEST and " " in text.strip():
                    found[text] = module
    return found


def lines(page=PAGE):
    """The messages in the first column of the page's tables."""
    rows = re.findall(r"^\| (`.+?) \| ", page.replace("(with `-v`)", ""), re.MULTILINE)
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row)]


def explains(message, sentence):
    """Whether a line of the page explains a message: it has the message's parts in this order."""
    parts = [part.strip() for part in message.split(HOLE) if part.strip()]
    return bool(parts) and re.search(".*".join(map(re.escape, parts)), sentence) is not None


SENTENCES, LINES = sentences(), lines()


def test_many_sentences_are_found():
    assert len(SENTENCES) > 120
    said = " ".join(SENTENCES)
    for part in ("a tile needs at least", "the C2PA manifest", "rounded to 8 bits", "is a folder"):
        assert part in said


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_has_its_line(sentence):
    assert any(explains(message, sentence) for message in LINES), SENTENCES[sentence]


def test_a_new_sentence_without_a_line_is_noticed():
    new = ast.parse("def refuse(n):\n    raise PhotoError(f'the photo has {n} purple moons')\n")
    (sentence,) = sentences({"new.py": new})
    assert sentence == "the photo has … purple moons"
    assert not any(explains(message, sentence) for message in LINES)
    assert explains("has … purple moons", sentence)


def test_no_line_is_so_short_that_it_explains_everything():
    for message in LINES:
        assert len(message.replace(HOLE, "")) >= SHORTEST, message
