"""A system that starts no more threads makes a run slower, but no photo is lost."""

from __future__ import annotations

import os
import sys
import threading

import pytest
from click.testing import CliRunner
from conftest import make_jpeg

from unblur import errors, limits
from unblur.cli import main, shared
from unblur.cli.console import Ui
from unblur.run.memory_queue import MemoryQueue
from unblur.run.threads import FEWER_THREADS, ThreadPool
from unblur.storage import files


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
        assert ui._bar
    allow_threads(0)
    with ui.progress(2):
        assert not ui._bar


def test_a_thread_limit_elsewhere_is_one_line_with_advice(unblur, jpeg, monkeypatch):
    def fail(*unused):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("unblur.run.steps.load", fail)
    result = unblur(jpeg)
    assert result.code == 1
    (line,) = result.stderr.splitlines()
    assert "starts no more threads: close other programs, or raise the limit" in line
    monkeypatch.setattr("unblur.run.plan.make_plan", fail)
    assert unblur(jpeg).stderr.splitlines() == [line.replace(f"{jpeg}: ", "")]


def test_a_stream_is_read_without_threads(allow_threads):
    allow_threads(0)
    assert files._in_thread(lambda: b"bytes") == b"bytes"


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
        limits.starts_threads()
    assert not errors.is_thread_limit(RuntimeError("once"))


def test_openblas_gets_one_thread_if_the_system_starts_too_few(allow_threads, monkeypatch):
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    shared._limit_openblas()
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    allow_threads(0)
    shared._limit_openblas()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
