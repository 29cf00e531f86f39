"""The number of photos in flight: in memory, and with the network."""

from __future__ import annotations

import contextlib
import threading
import time

import fakes
import pytest
from conftest import encode_image, make_jpeg, make_pixels
from PIL import Image

from unblur import main_memory
from unblur.formats.any_format import decode
from unblur.network import device_kinds
from unblur.network.pending_photo import Pending
from unblur.options import NetworkOptions, Options
from unblur.run import local_runner, memory_queue
from unblur.run.history import IN_MEMORY, History
from unblur.run.local_runner import LocalRunner
from unblur.run.memory_queue import (
    BYTES_PER_DECODER_BYTE,
    InterruptedWaitError,
    MemoryQueue,
    photos_ahead,
)
from unblur.run.plan import make_plan
from unblur.run.report import Status
from unblur.run.runner import Session, run_plan

DEADLINE = 20.0


@pytest.fixture
def waiting():
    """Wait for memory in a thread; return a list to which a name is added when the wait is over."""
    threads, over = [], []

    def start(name, hold, count):
        def wait():
            with contextlib.suppress(InterruptedWaitError):
                hold(count)
                over.append(name)

        threads.append(threading.Thread(target=wait))
        threads[-1].start()
        threads[-1].join(0.05)
        return over

    yield start
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()


def in_bytes(count):
    """The request of a decoder for a photo that takes this many bytes."""
    return int(count / BYTES_PER_DECODER_BYTE)


def test_photos_that_fit_are_in_memory_together(waiting):
    queue = MemoryQueue(budget=1000)
    first, second, third = queue.join(), queue.join(), queue.join()
    first.hold_pixels(in_bytes(400))
    second.hold_pixels(in_bytes(400))
    over = waiting("third", third.hold_pixels, in_bytes(400))
    assert over == []
    first.leave()
    time.sleep(0.05)
    assert over == ["third"]


def test_a_photo_that_is_larger_than_the_budget_is_alone(waiting):
    queue = MemoryQueue(budget=1000)
    first, large, third = queue.join(), queue.join(), queue.join()
    first.hold_pixels(in_bytes(10))
    over = waiting("large", large.hold_pixels, in_bytes(5000))
    waiting("third", third.hold_pixels, in_bytes(10))
    assert over == []
    first.leave()
    time.sleep(0.05)
    assert over == ["large"]
    large.leave()


def test_a_small_photo_does_not_take_the_memory_for_which_one_before_waits(waiting):
    queue = MemoryQueue(budget=1000)
    first, second, third = queue.join(), queue.join(), queue.join()
    first.hold_pixels(in_bytes(600))
    over = waiting("second", second.hold_pixels, in_bytes(600))
    waiting("third", third.hold_pixels, in_bytes(100))
    assert over == []
    first.leave()
    time.sleep(0.05)
    assert over == ["second", "third"]


def test_files_that_are_read_ahead_count_too(waiting):
    queue = MemoryQueue(budget=1000)
    first, second, third = queue.join(), queue.join(), queue.join()
    first.hold_file(400)
    second.hold_file(400)
    over = waiting("third", third.hold_file, 400)
    assert over == []
    queue.end()


def test_a_photo_that_is_decoded_twice_counts_once(waiting):
    queue = MemoryQueue(budget=1000)
    first, second, third = queue.join(), queue.join(), queue.join()
    first.hold_pixels(in_bytes(100))
    second.hold_pixels(in_bytes(500))
    second.hold_pixels(in_bytes(500))
    assert waiting("third", third.hold_pixels, in_bytes(390)) == ["third"]


def test_what_others_use_is_not_taken(waiting, monkeypatch):
    queue = MemoryQueue(budget=1000)
    first, second = queue.join(), queue.join()
    first.hold_pixels(in_bytes(10))
    monkeypatch.setattr(memory_queue, "obtainable_memory", lambda: 300)
    assert waiting("second", second.hold_pixels, in_bytes(400)) == []
    first.leave()


def test_nobody_waits_any_more_when_the_run_ends(waiting):
    queue = MemoryQueue(budget=1000)
    first, second = queue.join(), queue.join()
    first.hold_pixels(in_bytes(900))
    assert waiting("second", second.hold_pixels, in_bytes(900)) == []
    queue.end()


@pytest.mark.parametrize(
    ("form", "array"),
    [
        ("JPEG", make_pixels(30, 40)),
        ("PNG", make_pixels(30, 40)),
        ("WEBP", make_pixels(30, 40)),
        ("TIFF", make_pixels(30, 40)),
        ("AVIF", make_pixels(30, 40)),
        ("HEIF", make_pixels(64, 64)),
        ("PNG", make_pixels(30, 40, 1, "uint16")[..., 0]),
    ],
)
def test_every_decoder_asks_for_the_memory_of_photo_and_result(form, array, monkeypatch):
    if form == "HEIF":
        Image.init()
        for plugins in ("OPEN", "SAVE", "SAVE_ALL", "MIME", "EXTENSION"):  # only for this test
            monkeypatch.setattr(Image, plugins, dict(getattr(Image, plugins)))
        monkeypatch.setattr(Image, "ID", list(Image.ID))
        pytest.importorskip("pillow_heif").register_heif_opener()
    if array.dtype == "uint16":
        pytest.importorskip("imagecodecs")
    data, asked = encode_image(Image.fromarray(array), form), []
    with main_memory.asking_first(asked.append):
        decode(data)
    assert max(asked) == 2 * array.nbytes
    decode(data)  # asks nobody
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("cores", "on_cpu", "options", "ahead"),
    [
        (16, True, Options(), 1),
        (16, False, Options(), 14),
        (2, False, Options(), 1),
        (16, False, Options(jobs=3), 3),
        (16, True, Options(jobs=3), 3),
        (16, False, Options(network=NetworkOptions(max_memory=1 << 40)), 0),
    ],
)
def test_a_gpu_gets_as_many_decoders_and_writers_as_there_are_cores(cores, on_cpu, options, ahead):
    assert photos_ahead(options, on_cpu, cores) == ahead


class Gpu:
    """A deblurrer whose device computes in its own time.

    Args:
        kind: A row of the table of devices.
        act: Called with the number of the photo when its result is asked for.
    """

    def __init__(self, kind, act=lambda number: None):
        self.kind, self.act = kind, act
        self.used = {"device": kind.name, "tile": None}
        self.events = []

    def start(self, image, on_progress=None):
        number = sum(kind == "start" for kind, _ in self.events)
        self.events.append(("start", number))

        def finish():
            self.events.append(("result", number))
            self.act(number)
            return image // 2, {"device": self.kind.name, "tile": number}

        return Pending(finish)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Deblur a folder of photos on a device; return the outcomes, and the interrupt, if any."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.jpg").write_bytes(make_jpeg(64, 64))

    def run(deblurrer, cores=4, **options):
        monkeypatch.setattr("unblur.network.devices.available_cores", lambda: cores)
        chosen = Options(recursive=True, output=f"{tmp_path}/out/", **options)
        watcher = fakes.Watcher()
        with History(IN_MEMORY) as history:
            plan = make_plan([str(folder)], chosen, history, "settings")
            session = Session(chosen, history, "settings", watcher, -1)
            run_plan(plan, LocalRunner(lambda: deblurrer), session)
        found = sorted(watcher.outcomes, key=lambda outcome: outcome.job.name)
        return found, session.report.interrupted_by

    return run


def gpu(**options):
    return Gpu(device_kinds.KINDS[0], **options)


def ready(monkeypatch):
    """Make the runner wait for each photo to be loaded, as it does on fast machines."""
    is_ready = local_runner.Load.is_ready.fget

    def patient(load):
        local_runner.wait_for(load._future)
        return is_ready(load)

    monkeypatch.setattr(local_runner.Load, "is_ready", property(patient))


def test_a_gpu_has_the_next_photo_before_its_result_is_asked_for(run, monkeypatch):
    ready(monkeypatch)
    device = gpu()
    outcomes, _ = run(device)
    assert [outcome.status for outcome in outcomes] == [Status.DONE] * 6
    order = [("start", 0), ("start", 1), ("result", 0), ("start", 2), ("result", 1)]
    assert device.events[:5] == order
    assert device.events[-1] == ("result", 5)


def test_each_photo_tells_the_device_and_the_tile_that_made_it(run):
    outcomes, _ = run(gpu())
    assert [outcome.used["tile"] for outcome in outcomes] == [0, 1, 2, 3, 4, 5]


def test_a_cpu_has_one_photo_at_a_time(run):
    device = Gpu(device_kinds.CPU)
    run(device)
    assert device.events == [event for n in range(6) for event in (("start", n), ("result", n))]


def test_with_max_memory_a_gpu_has_one_photo_at_a_time(run, monkeypatch):
    ready(monkeypatch)
    device = gpu()
    run(device, network=NetworkOptions(max_memory=1 << 40))
    assert device.events == [event for n in range(6) for event in (("start", n), ("result", n))]


def fail_at(failing, error):
    def act(number):
        if number == failing:
            raise error

    return act


def test_a_photo_that_fails_while_two_are_under_way_fails_alone(run, monkeypatch):
    ready(monkeypatch)
    outcomes, _ = run(gpu(act=fail_at(2, RuntimeError("sizes do not match"))))
    failed = [n for n, outcome in enumerate(outcomes) if outcome.status is Status.FAILED]
    assert failed == [2]
    assert sum(outcome.status is Status.DONE for outcome in outcomes) == 5


def test_fail_fast_starts_no_photo_after_one_that_failed(run, monkeypatch):
    ready(monkeypatch)
    device = gpu(act=fail_at(1, RuntimeError("sizes do not match")))
    run(device, fail_fast=True)
    assert max(number for _, number in device.events) == 2


def test_an_interrupt_with_two_under_way_loses_no_result_and_leaves_no_other_file(
    run, monkeypatch, tmp_path
):
    ready(monkeypatch)
    outcomes, interrupted = run(gpu(act=fail_at(3, KeyboardInterrupt())))
    assert isinstance(interrupted, KeyboardInterrupt)
    assert [outcome.status for outcome in outcomes] == [Status.DONE] * 3
    written = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written == ["0-unblurred.jpg", "1-unblurred.jpg", "2-unblurred.jpg"]


def test_an_interrupt_ends_photos_that_wait_for_memory(run, monkeypatch):
    monkeypatch.setattr(memory_queue, "free_main_memory", lambda: 1000)
    started = time.monotonic()
    _, interrupted = run(gpu(act=fail_at(0, KeyboardInterrupt())), cores=10)
    assert interrupted
    assert time.monotonic() - started < DEADLINE


@pytest.mark.parametrize(("fitting", "most"), [(1, 1), (3, 3), (100, 6)])
def test_photos_in_flight_are_bounded_by_memory_however_many_cores_there_are(
    run, monkeypatch, fitting, most
):
    each = 64 * 64 * 3 * 2 * BYTES_PER_DECODER_BYTE + 10_000  # its file, too
    monkeypatch.setattr(memory_queue, "free_main_memory", lambda: 2 * fitting * each)
    lock, numbers, finish = threading.Lock(), {"now": 0, "most": 0}, local_runner.write_step.finish
    load = local_runner.load_step.load

    def loaded(*inputs):
        result = load(*inputs)
        with lock:
            numbers["now"] += 1
            numbers["most"] = max(numbers["most"], numbers["now"])
        return result

    def finished(*inputs):
        time.sleep(0.1)
        with lock:
            numbers["now"] -= 1
        return finish(*inputs)

    monkeypatch.setattr(local_runner.load_step, "load", loaded)
    monkeypatch.setattr(local_runner.write_step, "finish", finished)
    outcomes, _ = run(gpu(), cores=64)
    assert [outcome.status for outcome in outcomes] == [Status.DONE] * 6
    assert numbers["most"] == most


def meeting(step, barrier):
    def together(*inputs):
        barrier.wait()  # raises an error if fewer are at work
        return step(*inputs)

    return together


def test_with_sixteen_cores_fourteen_photos_are_decoded_and_fourteen_written_at_once(
    run, monkeypatch, tmp_path
):
    workers = 14
    for number in range(6, 2 * workers):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(make_jpeg(64, 64))
    for step, name in ((local_runner.load_step, "load"), (local_runner.write_step, "finish")):
        meets = meeting(getattr(step, name), threading.Barrier(workers, timeout=DEADLINE))
        monkeypatch.setattr(step, name, meets)
    outcomes, _ = run(gpu(), cores=16)
    assert [outcome.status for outcome in outcomes] == [Status.DONE] * 2 * workers


@pytest.mark.parametrize(("cores", "trims"), [(2, 6), (16, 0)])
def test_freed_memory_is_returned_only_if_no_other_decoder_takes_it_at_once(
    run, monkeypatch, cores, trims
):
    trimmed = []
    monkeypatch.setattr(main_memory, "return_freed_memory", lambda: trimmed.append(1))
    run(gpu(), cores=cores)
    assert len(trimmed) == trims
