"""The rules for imports: packages in an order, no circles, and each library in its own place."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
import shutil
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

ORDER = (
    ("errors", "version", "user_text", "cgroups", "forks"),
    ("config", "extras", "file_limits", "main_memory", "options", "score"),
    ("blur",),
    ("storage", "formats", "network"),
    ("models", "pictures", "desktop"),
    ("run",),
    ("api", "doctor"),
    ("cli",),
    ("__init__", "__main__"),
)
"""The modules and packages of `unblur`: each imports only from rows above its own."""

LIBRARY_HOMES = {
    "PIL": ("api", "formats", "pictures"),
    "click": ("cli",),
    "fsspec": ("storage.objects", "storage.servers", "storage.stores"),
    "google_crc32c": ("models",),
    "jinja2": ("cli.page",),
    "ncnn": ("network",),
    "numpy": ("api", "blur", "score", "formats", "network", "models", "pictures"),
    "onnx": ("models.onnx_graph",),
    "paramiko": ("storage.servers",),
    "platformdirs": ("config",),
    "psutil": ("doctor", "main_memory", "network"),
    "ray": ("run.ray_dispatch", "run.ray_runner", "run.ray_worker"),
    "requests": ("storage.http",),
    "rich": ("cli",),
    "safetensors": ("models",),
    "smbclient": ("storage.servers",),
    "tomli": ("config",),
    "torch": ("doctor", "network", "models"),
    "urllib3": ("storage.http",),
    "webdav4": ("storage.servers",),
    "wcmatch": ("run.find",),
    "xattr": ("storage.attributes",),
}
"""The only modules and packages that may import these."""


def read_imports(source):
    """Return the imports of each module below a folder, by module: `unblur.run.plan`.

    Imports inside functions and those for type checkers only count too.
    """
    texts = {
        ".".join(path.relative_to(source).with_suffix("").parts): path.read_text("utf-8")
        for path in sorted(source.rglob("*.py"))
    }
    return {
        name: {_module(*names, texts.keys()) for names in _imported(text)}
        for name, text in texts.items()
    }


@functools.cache
def _imported(text):
    """Return the imports in a module's text: module and name, or a module and an empty name."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute, so that they can be read here"
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def _module(module, name, modules):
    """Return the module that an import reaches: `from unblur.run import plan` that of plan."""
    places = (f"{module}.{name}", f"{module}.{name}.__init__", module, f"{module}.__init__")
    return next((place for place in places if place in modules), module)


def room(module):
    """Return the part of `unblur` that a module belongs to, by which `ORDER` names it."""
    return module.split(".")[1]


def wrong_arrows(imports):
    """Return the pairs of modules of which the first must not import the second."""
    rows = {name: row for row, names in enumerate(ORDER) for name in names}
    return [
        (module, other)
        for module, others in imports.items()
        for other in sorted(others & imports.keys())
        if room(module) != room(other) and rows[room(module)] <= rows[room(other)]
    ]


def find_circle(imports):
    """Return modules that import each other in a circle; none if there is no circle."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def strayed_libraries(imports):
    """Return the modules that import a library outside its home, with the library."""
    return [
        (module, library)
        for module, others in imports.items()
        for library in sorted({other.split(".")[0] for other in others} & LIBRARY_HOMES.keys())
        if not any(f"{module}.".startswith(f"unblur.{home}.") for home in LIBRARY_HOMES[library])
    ]


def packages_with_code(source):
    """Return the packages whose ``__init__`` holds more than a docstring; that of cli has to."""
    inits = {path.parent.name: path for path in (source / "unblur").glob("*/__init__.py")}
    trees = {name: ast.parse(path.read_text("utf-8")) for name, path in inits.items()}
    return [
        name
        for name, tree in trees.items()
        if name != "cli" and (not ast.get_docstring(tree) or tree.body[1:])
    ]


IMPORTS = read_imports(SOURCE)


def test_every_module_is_read():
    assert len(IMPORTS) == len(list(SOURCE.rglob("*.py"))) > 90
    assert {room(module) for module in IMPORTS} == {name for row in ORDER for name in row}
    packages = {path.parent.name for path in (SOURCE / "unblur").glob("*/__init__.py")}
    assert packages == {
        "storage",
        "formats",
        "network",
        "models",
        "pictures",
        "desktop",
        "run",
        "cli",
    }


def test_folders_and_modules_stay_small():
    assert len(list((SOURCE / "unblur").glob("*.py"))) <= 16
    long = [
        path for path in SOURCE.rglob("*.py") if len(path.read_text("utf-8").splitlines()) > 400
    ]
    assert long == []


def test_contributors_are_told_of_every_package():
    table = re.findall(
        r"^\| `(\w+)/` \|", (SOURCE.parent / "CONTRIBUTING.md").read_text("utf-8"), re.M
    )
    assert set(table) == {path.parent.name for path in (SOURCE / "unblur").glob("*/__init__.py")}


def test_every_file_that_contributors_are_told_of_exists():
    named, folder = set(), ""
    for line in (SOURCE.parent / "CONTRIBUTING.md").read_text("utf-8").splitlines():
        heading = re.match(r"\| `(\w+/)` \| \|", line)
        folder = heading[1] if heading else folder if line.startswith("|") else ""
        named |= {folder + name for name in re.findall(r"`((?:\w+/)*\w+\.py)`", line)}
    tops = SOURCE / "unblur", SOURCE.parent
    missing = {name for name in named if not any((top / name).is_file() for top in tops)}
    assert missing == {"formats/jxl.py"}  # the example of a new format


def test_every_name_in_the_code_that_contributors_are_told_of_exists():
    guide = (SOURCE.parent / "CONTRIBUTING.md").read_text("utf-8")
    named = {name.rpartition(".")[2] for name in re.findall(r"`([A-Za-z_][\w.]*)`", guide)}
    folders = (SOURCE, SOURCE.parent / "tests")
    code = " ".join(path.read_text("utf-8") for top in folders for path in top.rglob("*.py"))
    assert named - set(re.findall(r"\w+", code)) - {"Dockerfile"} == set()


def modules_told(package):
    """Return the rows of a package's table for contributors, each with its modules."""
    guide = (SOURCE.parent / "CONTRIBUTING.md").read_text("utf-8")
    table = guide.split(f"| `{package}/` | |\n")[1].split("\n\n")[0]
    rows = [re.findall(r"`(\w+)\.py`", line.split("|")[1]) for line in table.splitlines()]
    return [[f"unblur.{package}.{name}" for name in row] for row in rows]


@pytest.mark.parametrize("package", ["network", "run", "storage"])
def test_contributors_are_told_of_every_module_of_a_package(package):
    told = [name for row in modules_told(package) for name in row]
    inside = {name for name in IMPORTS if name.startswith(f"unblur.{package}.")}
    assert sorted(told) == sorted(inside - {f"unblur.{package}.__init__"})


def test_the_modules_of_the_network_are_told_in_their_order():
    row_of = {name: row for row, names in enumerate(modules_told("network")) for name in names}
    upwards = [
        (module, other)
        for module in row_of
        for other in IMPORTS[module] & row_of.keys()
        if row_of[other] < row_of[module]
    ]
    assert upwards == []


def test_modules_import_only_from_packages_before_their_own():
    assert wrong_arrows(IMPORTS) == []


def test_no_modules_import_each_other_in_a_circle():
    assert find_circle(IMPORTS) == []


def test_libraries_stay_in_their_places():
    assert strayed_libraries(IMPORTS) == []


def test_every_library_has_its_place():
    imported = {name.split(".")[0] for names in IMPORTS.values() for name in names}
    standard = sys.stdlib_module_names | {"tomllib"}  # since Python 3.11
    assert imported - standard - {"unblur"} == LIBRARY_HOMES.keys()


def test_packages_hold_nothing_but_a_docstring_themselves():
    assert packages_with_code(SOURCE) == []


CACHES = shutil.ignore_patterns("__pycache__")


@pytest.fixture
def copy(tmp_path):
    """The source, to which a line of code can be added."""
    return Path(shutil.copytree(SOURCE, tmp_path / "src", ignore=CACHES))


@pytest.mark.parametrize(
    ("module", "line", "reached"),
    [
        ("storage/places", "import unblur.formats.jpeg", "formats.jpeg"),  # beside it
        ("formats/jpeg", "from unblur import storage", "storage.__init__"),
        ("network/srn", "from unblur.run import plan", "run.plan"),  # after it
        ("options", "if TYPE_CHECKING:\n    from unblur.cli.terminal import x", "cli.terminal"),
        ("errors", "def f():\n    from unblur.options import Options", "options"),
        ("config", "from unblur.extras import load_extra", "extras"),
        ("run/write_step", "def f():\n    if 1:\n        import unblur.api as api", "api"),
        ("pictures/change", "from unblur.models.weights import read_notes", "models.weights"),
        ("doctor", "from unblur import api", "api"),
        ("run/plan", "from unblur import deblur", "__init__"),
    ],
)
def test_an_import_against_the_order_is_found(copy, module, line, reached):
    add(copy, module, line)
    name = f"unblur.{module.replace('/', '.')}"
    assert wrong_arrows(read_imports(copy)) == [(name, f"unblur.{reached}")]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("run/jobs", "if TYPE_CHECKING:\n    from unblur.run.plan import make_plan"),
        ("formats/bmff_boxes", "def f():\n    from unblur.formats import bmff"),
    ],
)
def test_a_circle_is_found(copy, module, line):
    add(copy, module, line)
    assert f"unblur.{module.replace('/', '.')}" in find_circle(read_imports(copy))


@pytest.mark.parametrize(
    ("module", "line", "library"),
    [
        ("formats/jpeg", "def f():\n    import torch.nn", "torch"),
        ("run/plan", "from ray.exceptions import RayError", "ray"),
        ("run/rays", "import ray", "ray"),
        ("storage/files", "import numpy as np", "numpy"),
        ("cli/page", "import PIL.Image", "PIL"),
    ],
)
def test_a_library_in_another_place_is_found(copy, module, line, library):
    add(copy, module, line)
    name = f"unblur.{module.replace('/', '.')}"
    assert strayed_libraries(read_imports(copy)) == [(name, library)]


def test_code_in_a_package_itself_is_found(copy):
    add(copy, "run/__init__", "from unblur.run.plan import make_plan")
    assert packages_with_code(copy) == ["run"]


def add(source, module, line):
    path = source / "unblur" / f"{module}.py"
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
