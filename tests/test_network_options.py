"""One record holds the network's options, so that a new option cannot be forgotten anywhere."""

from __future__ import annotations

import ast
import hashlib
import math
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

import click
import numpy as np
import pytest

import unblur as package
from unblur.cli import deblur, main
from unblur.errors import UsageError
from unblur.models import loading
from unblur.models.catalog import DEFAULT_MODEL, find_weights
from unblur.options import SAME_RESULT, NetworkOptions, Options

SOURCE = Path(package.__file__).parent
CHANGES_RESULTS = {field.name for field in fields(NetworkOptions)} - SAME_RESULT


@dataclass(frozen=True)
class NewNetworkOptions(NetworkOptions):
    """The network's options with one more."""

    gamma: float = 1.0


def with_value(record, name, value):
    """Return a record with a value that its checks may refuse."""
    object.__setattr__(record, name, value)
    return record


def test_the_key_of_the_defaults_is_empty():
    assert Options().settings == ""


def test_the_key_reads_as_in_the_histories_of_earlier_versions():
    network = NetworkOptions(
        model="m", device="cpu", tile=256, strength=0.5, views=3, threads=2, max_memory=9
    )
    options = Options(
        refresh_thumbnail=False, format="webp", quality=70, strip_metadata=True, network=network
    )
    assert options.settings == (
        " keep-thumbnail format=webp quality=70 strip-metadata strength=0.5 views=3"
    )


@pytest.mark.parametrize("name", [field.name for field in fields(Options)])
def test_each_option_is_in_the_key_or_listed_as_changing_no_result(name):
    value = NetworkOptions() if name == "network" else "another"
    key = with_value(Options(), name, value).settings
    assert key == ("" if name in SAME_RESULT else f" {name.replace('_', '-')}=another")


@pytest.mark.parametrize("name", [field.name for field in fields(NetworkOptions)])
def test_each_option_of_the_network_is_in_the_key_or_listed_as_changing_no_result(name):
    key = Options(network=with_value(NetworkOptions(), name, "another")).settings
    assert key == ("" if name in SAME_RESULT else f" {name}=another")


def test_only_options_that_there_are_can_be_left_out_of_the_key():
    names = [field.name for field in (*fields(Options), *fields(NetworkOptions))]
    assert len(set(names)) == len(names)
    assert set(names) > SAME_RESULT


def test_a_new_field_is_in_the_key_and_in_reports():
    options = Options(network=NewNetworkOptions(gamma=2.0))
    assert options.settings == " gamma=2.0"
    assert options.network.reported["gamma"] == 2.0


@pytest.mark.parametrize("values", [{"strength": 1.5}, {"strength": -0.1}, {"views": 0}])
def test_values_out_of_range_are_refused_before_a_network_is_loaded(values):
    with pytest.raises(UsageError, match=f"{next(iter(values))} (is|are) from"):
        NetworkOptions(**values)


@pytest.fixture
def new_option(monkeypatch):
    """Add an option to the record and to the parser, and to nothing else.

    Returns the options with which networks are loaded.
    """
    option = click.Option(["--gamma"], type=float, default=NewNetworkOptions.gamma)
    monkeypatch.setattr(main, "params", [*main.params, option])
    monkeypatch.setattr(deblur, "NetworkOptions", NewNetworkOptions)
    used, load = [], loading.load_deblurrer

    def load_and_tell(weights, options, **others):
        used.append(options)
        return load(weights, options, **others)

    monkeypatch.setattr(loading, "load_deblurrer", load_and_tell)
    return used


def test_a_new_option_reaches_the_network_and_the_history(unblur, jpeg, new_option):
    assert unblur(jpeg).code == 0
    assert "already done" in unblur(jpeg, "-v").stderr
    result = unblur(jpeg, "--gamma", "2", "--json")
    assert b'"gamma": 2.0' in result.stdout
    assert "already done" in unblur(jpeg, "--gamma", "2", "-v").stderr
    assert [options.gamma for options in new_option] == [1, 2]


def test_a_new_option_reaches_the_workers_of_a_cluster(monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed")
    from unblur.run import ray_worker

    used = []

    def load(network, options, **others):
        used.append(options)
        raise UsageError("seen")

    monkeypatch.setattr("ray.get", lambda network: network)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "a node")
    monkeypatch.setattr(ray_worker, "load_deblurrer", load)
    wanted = NewNetworkOptions(device="auto", gamma=2.0, views=3, max_memory=1 << 30)
    worker = ray_worker.Worker(["network"], Options(network=wanted), {"num_cpus": 2})
    assert "seen" in str(worker.prepare(package.__version__, []))
    assert used == [replace(wanted, device="cpu", threads=2)]


def spellings(name, tree):
    """Yield the places where a module names an option: by field, flag, or use of its value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == "NetworkOptions":
            yield from (
                n for n in node.body if isinstance(n, ast.AnnAssign) and n.target.id == name
            )
        elif isinstance(node, ast.Constant) and node.value == f"--{name}":
            yield node
        elif isinstance(node, ast.Attribute) and node.attr == name:
            owner = getattr(node.value, "attr", getattr(node.value, "id", ""))
            if owner in ("network", "options", "_options"):
                yield node
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            if node.slice.value == name:
                yield node
        elif isinstance(node, ast.Call) and any(word.arg == name for word in node.keywords):
            yield node


@pytest.mark.parametrize("name", sorted(CHANGES_RESULTS))
def test_an_option_that_changes_results_is_spelled_in_three_places(name):
    found = {
        path.relative_to(SOURCE).as_posix(): len([*spellings(name, ast.parse(path.read_text()))])
        for path in SOURCE.rglob("*.py")
        # The keyword arguments of one are public; the other shows a photo with two of the values.
        if path.name not in ("api.py", "trial.py")
    }
    assert {path: count for path, count in found.items() if count} == {
        "options.py": 1,
        "cli/program.py": 1,
        "network/deblurrer.py": 1,
    }


class Reading:
    """Counts how often a file is opened, and how often as many bytes as its size are hashed."""

    def __init__(self, path):
        self.path, self.opened, self.hashed, self.is_on = path, 0, 0, True
        self.most = path.stat().st_size // 2
        sys.addaudithook(self._hear)  # which cannot be undone

    def _hear(self, event, arguments):
        if self.is_on and event == "open" and str(arguments[0]) == str(self.path):
            self.opened += 1

    def sha256(self, data=b"", sha256=hashlib.sha256, **others):
        """Hash, and count it if the data are large."""
        self.hashed += len(data) > self.most
        return CountedHash(self, sha256(data, **others))


class CountedHash:
    """A hash that is being computed."""

    def __init__(self, reading, digest):
        self._reading, self._digest = reading, digest

    def __getattr__(self, name):
        return getattr(self._digest, name)

    def update(self, data):
        self._reading.hashed += len(data) > self._reading.most
        self._digest.update(data)


@pytest.fixture
def embedded(monkeypatch):
    """Count what is done with the embedded weights."""
    reading = Reading(find_weights(DEFAULT_MODEL))
    monkeypatch.setattr(hashlib, "sha256", reading.sha256)
    yield reading
    reading.is_on = False


@pytest.mark.weights
def test_a_run_reads_and_hashes_the_embedded_weights_once(embedded, unblur, jpeg):
    assert unblur(jpeg, model=DEFAULT_MODEL).code == 0
    assert (embedded.opened, embedded.hashed) == (1, 1)


@pytest.mark.weights
def test_the_python_interface_reads_and_hashes_the_embedded_weights_once(embedded):
    with package.Deblurrer(device="cpu"):
        assert (embedded.opened, embedded.hashed) == (1, 1)


@pytest.mark.weights
def test_doctor_reads_and_hashes_the_embedded_weights_once(embedded, monkeypatch):
    from unblur import doctor

    monkeypatch.setattr(doctor, "find_gpus", lambda: ())
    assert doctor.examine().pytorch.devices[-1].tile
    assert (embedded.opened, embedded.hashed) == (1, 1)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("model", None, "model takes a name or a path, not None"),
        ("device", 3, "device takes a name, not 3"),
        ("engine", "tensorflow", "engine takes auto, torch or ncnn, not 'tensorflow'"),
        ("engine", None, "engine takes auto, torch or ncnn, not None"),
        ("tile", "512", "tile takes auto or a whole number, not '512'"),
        ("tile", None, "tile takes auto or a whole number, not None"),
        ("tile", math.nan, "tile takes auto or a whole number, not nan"),
        ("strength", "1", "strength takes a number, not '1'"),
        ("strength", math.nan, "strength is from 0 to 1, not nan"),
        ("views", 1.5, "views takes a whole number, not 1.5"),
        ("threads", 1.5, "threads takes a whole number, not 1.5"),
        ("max_memory", "2G", "max_memory takes a whole number of bytes, not '2G'"),
        ("max_memory", math.inf, "max_memory takes a whole number of bytes, not inf"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_by_name(field, value, words):
    with pytest.raises(UsageError) as caught:
        NetworkOptions(**{field: value})
    assert str(caught.value) == words


def test_numbers_of_numpy_are_numbers():
    options = NetworkOptions(tile=np.int64(512), strength=np.float32(0.5), views=np.uint8(2))
    assert options == NetworkOptions(tile=512, strength=0.5, views=2)


@pytest.mark.parametrize("name", ["output", "mask", "suffix"])
@pytest.mark.parametrize("text", ["a\0b", "\ud800"], ids=["NUL", "surrogate"])
def test_what_no_path_can_have_is_refused(name, text):
    with pytest.raises(UsageError, match=f"--{name} has a character that no path"):
        Options(**{name: text})
    with pytest.raises(UsageError, match="--model has a character that no path"):
        Options(network=NetworkOptions(model=text))
