"""A system that starts no more threads makes a run slower, but no photo is lost."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from conftest import make_jpeg

from unblur import errors
from unblur.cli import main, shared, trial
from unblur.cli.console import Ui
from unblur.desktop import notifications
from unblur.desktop.action import Summary, deblur_chosen
from unblur.network import devices, gpus, thread_limit, vulkan_probe
from unblur.run.memory_queue import MemoryQueue
from unblur.run.threads import FEWER_THREADS, ThreadPool
from unblur.storage import objects, stores
from unblur.storage.places import Url
from unblur.storage.waiting import in_thread


@pytest.fixture
def album(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_bytes(make_jpeg(seed=number))
    return tmp_path


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_all_photos_are_deblurred_with_few_threads_and_without(unblur, album, allow_threads, count):
    allow_threads(count)
    result = unblur("-r", album, "--jobs", "4")
    assert result.code == 0
    assert result.stderr.count(FEWER_THREADS) == 1
    assert "unexpected" not in result.stderr
    assert len([*album.glob("*-unblurred.jpg")]) == 5


def test_photos_in_a_full_memory_do_not_wait_for_each_other_without_threads(
    unblur, album, allow_threads, monkeypatch
):
    budget = MemoryQueue.__init__
    monkeypatch.setattr(MemoryQueue, "__init__", lambda queue: budget(queue, 1))
    allow_threads(0)
    assert unblur("-r", album, "--jobs", "4").code == 0
    assert len([*album.glob("*-unblurred.jpg")]) == 5


def test_photos_are_scored_without_threads(album, allow_threads):
    allow_threads(0)
    result = CliRunner().invoke(main, ["score", "-r", str(album)])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 5
    assert result.stderr.count(FEWER_THREADS) == 1


def test_a_terminal_shows_no_bars_without_threads(allow_threads, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    ui = Ui()
    with ui.progress(2):
        assert ui._bars
    allow_threads(0)
    with ui.progress(2):
        assert not ui._bars


def test_a_thread_limit_elsewhere_is_one_line_with_advice(unblur, jpeg, monkeypatch):
    def fail(*unused):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("unblur.run.load_step.load", fail)
    result = unblur(jpeg)
    assert result.code == 1
    (line,) = result.stderr.splitlines()
    assert "starts no more threads or processes: close other programs, or raise the limit" in line
    monkeypatch.setattr("unblur.run.plan.make_plan", fail)
    assert unblur(jpeg).stderr.splitlines() == [line.replace(f"{jpeg}: ", "")]


def test_a_stream_is_read_without_threads(allow_threads):
    allow_threads(0)
    assert in_thread(lambda: b"bytes") == b"bytes"


def test_a_task_is_done_once_even_if_a_thread_starts_later(allow_threads):
    done = []
    with ThreadPool(4, "test") as pool:
        allow_threads(0)
        assert pool.submit_to_thread(done.append, "skipped") is None
        assert pool.submit(done.append, "by the caller").done()
        allow_threads(1)
        pool.submit(done.append, "by a thread").result()
        allow_threads(0)
        assert pool.submit_to_thread(done.append, "by the same thread").result() is None
    assert done == ["by the caller", "by a thread", "by the same thread"]


def test_errors_of_tasks_reach_the_caller(allow_threads):
    with ThreadPool(1, "test") as pool:
        allow_threads(0)
        with pytest.raises(ValueError, match="damaged"):
            pool.submit(_fail).result()


def _fail():
    raise ValueError("damaged")


def test_other_errors_of_threads_are_bugs(monkeypatch):
    def fail(thread):
        raise RuntimeError("threads can only be started once")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with ThreadPool(1, "test") as pool, pytest.raises(RuntimeError, match="once"):
        pool.submit(int)
    with pytest.raises(RuntimeError, match="once"):
        thread_limit.startable_threads.__wrapped__()
    assert not errors.is_thread_limit(RuntimeError("once"))


def test_openblas_gets_one_thread_if_the_system_starts_too_few(allow_threads, monkeypatch):
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    shared._limit_openblas()
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    allow_threads(0)
    shared._limit_openblas()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


def test_the_system_is_asked_once_how_many_threads_it_starts(allow_threads, monkeypatch):
    allow_threads(1000)
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "numpy", raising=False)
        shared._limit_openblas()
    devices.use_threads(torch.get_num_threads())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert Ui()._shows_bars
    assert thread_limit.startable_threads.cache_info().misses == 1


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_number_of_threads_that_the_system_starts_is_found(allow_threads, monkeypatch, count):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    allow_threads(count)
    assert thread_limit.startable_threads() == count
    assert [thread_limit.starts_threads(n) for n in (count, count + 1)] == [True, False]
    assert not thread_limit.starts_threads()
    allow_threads(8)
    assert thread_limit.starts_threads()
    assert thread_limit.starts_threads(1_000_000), "no run has so many"


def test_doctor_tells_that_the_system_starts_too_few_threads(allow_threads):
    allow_threads(1)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert f"starts at most 1 more threads, so runs take longer: {errors.RAISE_LIMIT}." in said


class _Refused:
    """A process that the system does not start."""

    def __init__(self, *unused, **options):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def _runs_action():
    summary = deblur_chosen(Path(sys.executable), ["photo.jpg"])
    assert (summary.exit_code, summary.lines) == (1, (errors.START_LIMIT,))


def _runs_notifications():
    assert not notifications.show(Summary("title", (), 0))


def _runs_gpus():
    assert gpus._ask_nvidia_smi() == ()


def _runs_vulkan_probe():
    assert vulkan_probe._ask().problem == ""


def _runs_trial():
    assert not trial._open(Path.cwd() / "report.html")


STARTERS = {
    "desktop/action.py": _runs_action,
    "desktop/notifications.py": _runs_notifications,
    "network/gpus.py": _runs_gpus,
    "network/vulkan_probe.py": _runs_vulkan_probe,
    "cli/trial.py": _runs_trial,
}
"""What starts a process in each module that does."""


@pytest.mark.posix
@pytest.mark.parametrize("act", STARTERS.values(), ids=STARTERS.keys())
def test_where_the_system_starts_no_process_the_program_goes_on(act, monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, "Popen", _Refused)
    monkeypatch.setattr(shutil, "which", lambda name, *unused, **options: f"/usr/bin/{name}")
    monkeypatch.setattr(vulkan_probe, "load_drivers", lambda: ())
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("BROWSER", "firefox")
    act()


def test_all_modules_that_start_processes_are_tried_without():
    root = Path(errors.__file__).parent
    starts = re.compile(
        r"subprocess\.(run|Popen|call|check_)|webbrowser\.open|os\.(fork|spawn|system)"
    )
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if starts.search(path.read_text("utf-8"))
    }
    assert found == set(STARTERS)


def test_a_file_managers_action_tells_that_no_process_starts(monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, "Popen", _Refused)
    program = tmp_path / "unblur"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    result = CliRunner().invoke(main, ["desktop", "run", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["unblur: error", errors.START_LIMIT]


def test_a_store_without_threads_says_so(monkeypatch):
    def fail(*unused):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(stores, "open_store", fail)
    with pytest.raises(errors.PhotoError, match=re.escape(errors.START_LIMIT)):
        objects.read(Url("memory", "folder/photo.jpg"))
