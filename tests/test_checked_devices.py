"""Devices are tested once, and the result is remembered."""

from __future__ import annotations

import json
from dataclasses import replace

import fakes
import pytest
import torch
from click.testing import CliRunner
from fakes import PLAYED

from unblur import config, doctor
from unblur.cli import main
from unblur.errors import DeviceError
from unblur.models import device_caches
from unblur.models.device_caches import SelfTestCache
from unblur.network import checked_devices, device_kinds
from unblur.network.checked_devices import CheckedDevices, key_of
from unblur.network.config import SRNConfig
from unblur.network.device_kinds import CPU
from unblur.network.self_test import SelfTestResult

RIGHT, WRONG = (
    SelfTestResult("bfloat16", seconds=0.5),
    SelfTestResult("float32", "it returns a black picture"),
)
FAILED = SelfTestResult("float32", "it cannot run the network", lasts=False)


@pytest.fixture
def tests(monkeypatch):
    """Put a device into the table; return the list of its next self-tests' results."""
    tests = []

    def examine(network, kind, engine):
        result = tests.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(device_kinds, "KINDS", (PLAYED, CPU))
    monkeypatch.setattr(checked_devices, "examine", examine)
    monkeypatch.setattr(
        checked_devices,
        "needs_test",
        lambda kind, engine: kind is not CPU or engine == "ncnn",
    )
    return tests


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file of results in an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return config.self_tests_file()


def start(name="other", network=None):
    """Choose the first device as a new run does; return its name, its type, and the messages.

    The message that a test begins is left out.
    """
    said = []
    network = network or fakes.Identity()
    devices = CheckedDevices(
        network, name, "auto", SelfTestCache(), warn=said.append, tell=said.append
    )
    kind = devices.first()
    precision = devices.precision(kind)
    return kind.name, precision, [text for text in said if not text.startswith("testing ")]


def test_a_right_device_is_tested_once(tests, file):
    tests += [RIGHT]
    assert [start() for _ in range(3)] == [("other", torch.bfloat16, [])] * 3
    assert tests == []
    assert file.stat().st_size < 1000


def test_a_run_says_before_its_first_photo_that_it_tests_the_device(tests, file):
    tests += [RIGHT]
    told = []
    for _ in range(2):
        CheckedDevices(
            fakes.Identity(), "other", "auto", SelfTestCache(), warn=told.append, tell=told.append
        ).first()
    assert told == ["testing other, before it is first used"]


def test_a_wrong_device_is_remembered_and_told_of_in_every_run(tests, file):
    tests += [WRONG]
    for _ in range(2):
        name, _, said = start("auto")
        assert name == "cpu"
        assert said[0] == (
            "other failed its self-test: it returns a black picture; going on with the CPU"
        )
        with pytest.raises(DeviceError, match="unblur doctor, which repeats the test"):
            start("other")
    assert tests == []


def test_a_device_that_could_not_run_is_tested_again(tests, file):
    tests += [FAILED, RIGHT]
    assert start("auto")[0] == "cpu"
    assert not file.exists()
    assert start("auto")[0] == "other"
    assert start("auto")[0] == "other"


def test_a_full_device_is_not_remembered_and_tested_again_for_the_next_photo(tests, file):
    said = []
    tests += [MemoryError(), MemoryError(), RIGHT]
    devices = CheckedDevices(
        fakes.Identity(), "other", "auto", SelfTestCache(), warn=said.append, tell=said.append
    )
    assert [devices.first().name for _ in range(4)] == ["cpu", "cpu", "other", "other"]
    test, full = "testing other, before it is first used", "out of memory on other"
    assert said == [test, f"{full}: going on with the CPU"]


def test_a_reason_for_float32_is_told_once(tests, file):
    tests += [
        replace(RIGHT, precision="float32", reason="with bfloat16 it takes 4.0 times as long")
    ]
    for _ in range(2):
        said = start()[2]
        assert said == ["other computes in float32: with bfloat16 it takes 4.0 times as long"]


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(torch, "__version__", "9.9"),
        lambda patch: patch.setattr(
            device_kinds, "KINDS", (replace(PLAYED, driver=lambda torch: "580.1"), CPU)
        ),
        lambda patch: patch.setattr(
            device_kinds, "KINDS", (replace(PLAYED, hardware=lambda torch: "a newer one"), CPU)
        ),
        lambda patch: patch.setattr(
            device_kinds, "KINDS", (replace(PLAYED, has_bfloat16=lambda torch: True), CPU)
        ),
        lambda patch: patch.setattr(fakes.Identity, "config", SRNConfig(levels=4)),
    ],
    ids=["PyTorch", "driver", "hardware", "precision", "weights"],
)
def test_whatever_may_change_the_verdict_makes_a_new_test(tests, file, monkeypatch, change):
    tests += [RIGHT, RIGHT]
    start()
    assert len(tests) == 1
    change(monkeypatch)
    start()
    assert tests == []


def test_another_number_of_threads_makes_a_new_test_of_the_cpu(monkeypatch):
    before = key_of(fakes.Identity(), CPU)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 999)
    assert key_of(fakes.Identity(), CPU) != before


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\0", b"[]", b"{", b'"text"', b"[" * 100_000, b"{}"],
    ids=["empty", "no text", "list", "cut", "string", "deep", "nothing"],
)
def test_a_damaged_file_is_ignored_and_written_anew(tests, file, content):
    tests += [RIGHT]
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert start()[0] == start()[0] == "other"
    assert len(json.loads(file.read_bytes())) == 1


@pytest.mark.parametrize(
    "values",
    [
        None,
        7,
        {},
        {"precision": "float32; import os"},
        {"precision": ["float32"]},
        {"precision": "float32", "more": 1},
        {"precision": "float32", "problem": 3},
    ],
)
def test_a_damaged_verdict_is_ignored(tests, file, values):
    tests += [RIGHT]
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({key_of(fakes.Identity(), PLAYED): values}))
    assert start() == ("other", torch.bfloat16, [])
    assert tests == []


def test_a_folder_that_cannot_be_written_costs_only_the_memory(tests, file):
    tests += [RIGHT, RIGHT]
    file.parent.parent.mkdir()
    file.parent.write_bytes(b"a file where the folder should be")
    assert start()[0] == start()[0] == "other"


def test_a_user_without_a_home_folder_gets_no_file(tests, monkeypatch):
    tests += [RIGHT, RIGHT]
    monkeypatch.setattr(
        device_caches, "self_tests_file", lambda: config.NO_HOME / "self-tests.json"
    )
    assert start()[0] == start()[0] == "other"


def test_old_verdicts_are_forgotten(file, monkeypatch):
    monkeypatch.setattr(device_caches, "MOST_RESULTS", 3)
    for number in range(5):
        SelfTestCache().put(f"device {number}", RIGHT)
    known = [SelfTestCache().get(f"device {number}") for number in range(5)]
    assert known == [None, None, RIGHT, RIGHT, RIGHT]


def test_the_cpu_in_float32_is_not_compared_with_itself(tests, file):
    assert start("cpu") == ("cpu", torch.float32, [])
    assert not file.exists()


def ask_doctor():
    return " ".join(CliRunner().invoke(main, ["doctor"]).stdout.split())


def test_doctor_repeats_the_test_and_clears_the_name_of_a_device(tests, file, monkeypatch):
    monkeypatch.setattr(doctor, "find_gpus", lambda: ())
    tests += [WRONG, RIGHT, RIGHT]
    assert "other failed its self-test: it returns a black picture" in ask_doctor_twice(tests)


def ask_doctor_twice(tests):
    tests[1:1] = [SelfTestResult("float32")]  # the CPU's
    first = ask_doctor()
    second = ask_doctor()
    assert "an earlier test failed, so it was not used until now" in second
    assert "All is well." in second
    return first


def test_doctor_tells_why_a_device_computes_in_float32(tests, file, monkeypatch):
    monkeypatch.setattr(doctor, "find_gpus", lambda: ())
    reason = "with bfloat16 it takes 4.0 times as long"
    tests += [RIGHT, SelfTestResult("float32", reason=reason)]
    said = ask_doctor()
    assert f"float32 ({reason})" in said
    assert str(file) in said
