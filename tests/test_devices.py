from __future__ import annotations

import os

import psutil
import pytest
import torch

from unblur import cgroups
from unblur.network.devices import affinity_cores, available_cores, use_threads
from unblur.network.openmp import VARIABLES, openmp_variables


@pytest.fixture
def affinity(monkeypatch):
    """Let this process be allowed on eight cores."""
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: list(range(8)), raising=False)


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return a folder for the files of control groups, and for this process's list of them."""
    monkeypatch.setattr(cgroups, "MOUNTED", tmp_path)
    monkeypatch.setattr(cgroups, "OWN", tmp_path / "own")
    return tmp_path


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "5000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "6400000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_a_containers_quota_and_the_affinity_limit_the_cores(groups, affinity, files, cores):
    for name, text in files.items():
        (groups / name).parent.mkdir(exist_ok=True)
        (groups / name).write_text(text)
    assert available_cores() == cores


@pytest.mark.parametrize("own", ["0::/job/step\n", "3:cpu,cpuacct:/job/step\n"])
def test_the_tightest_quota_of_nested_groups_counts(groups, affinity, own):
    for group, quota in (("", 600000), ("job", 200000), ("job/step", 400000)):
        for version in ("", "cpu"):
            folder = groups / version / group
            folder.mkdir(parents=True, exist_ok=True)
        (groups / group / "cpu.max").write_text(f"{quota} 100000\n")
        (groups / "cpu" / group / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (groups / "cpu" / group / "cpu.cfs_period_us").write_text("100000\n")
    (groups / "own").write_text(own)
    assert available_cores() == 2


def test_the_user_may_choose_the_threads_but_no_more_than_cores(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    try:
        use_threads(100_000)
        assert torch.get_num_threads() == 4
        use_threads(3)
        assert torch.get_num_threads() == 3
        use_threads()
        assert 1 <= torch.get_num_threads() <= 3
    finally:
        torch.set_num_threads(before)


def test_torch_gets_one_thread_if_the_system_starts_too_few(allow_threads, monkeypatch):
    before = torch.get_num_threads()
    allow_threads(5)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    try:
        use_threads(3)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "text"), VARIABLES.items())
def test_libraries_of_openmp_find_settings_that_are_gone_afterwards(name, text, monkeypatch):
    monkeypatch.setattr(os, "environ", {"PATH": "bin"})
    with openmp_variables():
        assert os.environ[name] == text
    assert os.environ == {"PATH": "bin"}


@pytest.mark.parametrize("name", VARIABLES)
def test_settings_of_the_user_are_kept(name, monkeypatch):
    monkeypatch.setattr(os, "environ", {name: "7"})
    with openmp_variables():
        assert os.environ[name] == "7"
    assert os.environ == {name: "7"}


def test_cores_are_counted_in_a_sandbox_without_proc(monkeypatch):
    def fail():
        raise psutil.NoSuchProcess(1)

    monkeypatch.setattr(psutil, "Process", fail)
    assert 1 <= affinity_cores() <= os.cpu_count()
