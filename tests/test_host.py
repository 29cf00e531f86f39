"""The program that uses the Python interface keeps its own settings, and may have unusual ones."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fakes
import numpy as np
import pytest
from conftest import encode_image, make_jpeg, make_pixels
from PIL import Image, ImageFile
from servers import whole

import unblur
from unblur import config
from unblur.formats import any_format

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")

STATE = """
import gc, io, locale, logging, os, random, signal, sys, warnings
import numpy, PIL.Image, PIL.ImageFile

PIL.Image.init()

def state():
    return {
        "environment": dict(os.environ),
        "signals": [signal.getsignal(n) for n in signal.valid_signals() if n not in (9, 19)],
        # Old versions of PyTorch import SymPy, which adds one, when a network is first used.
        "warnings": [one for one in warnings.filters if "sympy" not in str(one)],
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "locale": locale.setlocale(locale.LC_ALL),
        "garbage": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "hooks": (sys.excepthook, sys.unraisablehook, sys.getrecursionlimit(), sys.path[:]),
        "folder": os.getcwd(),
        "random": (random.getstate(), str(numpy.random.get_state())),
        "numpy": (numpy.geterr(), numpy.get_printoptions()),
        "pillow": (
            PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES,
            PIL.ImageFile.MAXBLOCK, dict(PIL.Image.OPEN), dict(PIL.Image.SAVE),
        ),
        "torch": torch_state() if "torch" in sys.modules else None,
    }

def torch_state():
    import torch

    return (
        torch.get_num_threads(), torch.get_num_interop_threads(), torch.is_grad_enabled(),
        torch.get_default_dtype(), torch.get_default_device(),
        torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark, torch.initial_seed(),
    )

def photo(form):
    file = io.BytesIO()
    PIL.Image.effect_noise((64, 48), 50).convert("RGB").save(file, form)
    return file.getvalue()

def use(weights):
    import unblur

    with unblur.Deblurrer(weights, device="cpu") as deblur:
        for form in ("JPEG", "PNG", "WEBP", "TIFF"):
            name = "photo." + form.lower()
            with open(name, "wb") as file:
                file.write(photo(form))
            deblur(name)
            deblur(photo(form))
            unblur.find_blur(name), unblur.blur_score(photo(form))
    unblur.list_models()
"""


def run_host(program, folder, **variables):
    """Run a program of somebody else, and return what it prints."""
    run = subprocess.run(
        [sys.executable, "-c", STATE + program],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (run.stderr, run.returncode) == ("", 0)
    return run.stdout.strip()


@pytest.mark.parametrize("first", ["", "import torch"], ids=["alone", "PyTorch before"])
def test_the_host_program_finds_its_process_as_it_was(tmp_path, identity_weights, first):
    program = f"""
{first}
before = state()
use({str(identity_weights)!r})
after = state()
if not before["torch"]:
    del before["torch"], before["warnings"]  # to which PyTorch adds its own
print([name for name in before if before[name] != after[name]])
"""
    assert run_host(program, tmp_path) == "[]"


@pytest.mark.parametrize(
    "arguments", [["score", "photo.jpg"], ["photo.jpg"]], ids=["score", "deblur"]
)
def test_the_program_closes_its_files_and_names_their_encodings(
    tmp_path, identity_weights, arguments
):
    (tmp_path / "photo.jpg").write_bytes(make_jpeg())
    warned = ["-W", "error::EncodingWarning", "-W", "default::ResourceWarning"]
    model = ["--model", str(identity_weights)] * (len(arguments) == 1)
    command = [sys.executable, "-X", "warn_default_encoding", *warned, "-m", "unblur", *model]
    run = subprocess.run(
        [*command, *arguments], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8"
    )
    assert run.returncode == 0, run.stderr
    assert "Warning" not in run.stderr


@pytest.mark.posix
def test_an_empty_home_variable_stays_empty(monkeypatch):
    monkeypatch.setenv("HOME", "")
    config.home_folder()
    assert os.environ["HOME"] == ""


@pytest.mark.parametrize("form", FORMATS)
def test_pillows_limit_of_the_host_program_is_not_ours(form, monkeypatch):
    data = encode_image(Image.fromarray(make_pixels(48, 64)), form)
    score, result = unblur.blur_score(data), any_format.decode(data).pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert unblur.blur_score(data) == score
    photo = any_format.decode(data)
    assert np.array_equal(photo.pixels, result)
    any_format.encode(photo, 255 - photo.pixels)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("is_lenient", [False, True], ids=["strict", "lenient"])
@pytest.mark.parametrize("damage", ["changed", "cut off"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_damaged_pixels_are_refused_even_if_the_host_program_lets_pillow_take_them(
    mode, damage, is_lenient, monkeypatch
):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", is_lenient)
    data = encode_image(Image.fromarray(make_pixels(48, 64)).convert(mode), "PNG")
    assert any_format.decode(data).pixels.shape[:2] == (48, 64)
    start = data.index(b"IDAT") + 4
    length = int.from_bytes(data[start - 8 : start - 4], "big")
    if damage == "changed":
        middle = start + length // 2
        data = data[:middle] + bytes(32) + data[middle + 32 :]
    else:
        kept = length // 2
        data = (
            data[: start - 8] + kept.to_bytes(4, "big") + data[start - 4 : start + kept]
            + data[start + length :]
        )  # fmt: skip
    with pytest.raises(unblur.PhotoError, match="damaged or cut off PNG"):
        any_format.decode(data)


def test_decoding_photos_in_threads_silences_no_warning_of_the_host_program(monkeypatch):
    before, seen = warnings.filters, []
    codec = any_format.codec_of

    def watched(form):
        seen.append(warnings.filters is before)
        return codec(form)

    monkeypatch.setattr(any_format, "codec_of", watched)
    data = make_jpeg()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(unblur.blur_score, [data] * 64))
    assert warnings.filters is before
    assert seen
    assert all(seen)


class Watched(fakes.Identity):
    """Notes how many threads compute at the same time."""

    running, most = 0, 0

    def run_scale(self, blurred, previous, state, buffers):
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(0.01)
        self.running -= 1
        return super().run_scale(blurred, previous, state, buffers)


def test_threads_that_share_a_deblurrer_take_turns(identity_weights):
    network = Watched()
    photos = [make_pixels(40 + 8 * number, 50) for number in range(6)]
    with unblur.Deblurrer(identity_weights) as deblur, ThreadPoolExecutor(6) as pool:
        deblur._network = fakes.on_cpu(network)
        results = list(pool.map(deblur, photos))
    assert network.most == 1
    assert all(map(np.array_equal, photos, results))


def test_a_deblurrer_that_another_thread_closes_finishes_its_photo(identity_weights):
    started, closed = threading.Event(), threading.Event()

    class Waiting(fakes.Identity):
        def run_scale(self, *arguments):
            started.set()
            assert closed.wait(60)
            return super().run_scale(*arguments)

    photo = make_pixels(40, 50)
    deblur = unblur.Deblurrer(identity_weights)
    deblur._network = fakes.on_cpu(Waiting())
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(deblur, photo)
        assert started.wait(60)
        deblur.close()
        closed.set()
        assert np.array_equal(result.result(), photo)
    with pytest.raises(unblur.UsageError, match="closed"):
        deblur(photo)


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's OpenMP does not survive a fork")
@pytest.mark.parametrize("deblurrer", ["deblur", "unblur.Deblurrer(weights, device='cpu')"])
def test_a_process_forked_after_the_network_was_used_does_not_hang(
    tmp_path, identity_weights, deblurrer
):
    program = f"""
import multiprocessing, unblur

weights = {str(identity_weights)!r}
photo = numpy.full((400, 600, 3), 100, numpy.uint8)
deblur = unblur.Deblurrer(weights, device="cpu")
deblur(photo)
import torch
torch.ones(1 << 20).add_(1)  # in all threads

def work(queue):
    queue.put(numpy.array_equal({deblurrer}(photo), photo))

context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=work, args=(queue,), daemon=True)
process.start()
print(queue.get(timeout=60))
"""
    assert run_host(program, tmp_path, OMP_NUM_THREADS="2") == "True"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no forks")
def test_a_process_forked_while_a_thread_uses_the_deblurrer_does_not_wait_for_that_thread(
    tmp_path, identity_weights
):
    program = f"""
import multiprocessing, threading, unblur, fakes

started, over = threading.Event(), threading.Event()

class Busy(fakes.Identity):
    def run_scale(self, *arguments):
        if threading.current_thread() is not threading.main_thread():
            started.set()
            over.wait()
        return super().run_scale(*arguments)

photo = numpy.full((40, 60, 3), 100, numpy.uint8)
deblur = unblur.Deblurrer({str(identity_weights)!r}, device="cpu")
deblur._network = fakes.on_cpu(Busy())
thread = threading.Thread(target=deblur, args=(photo,))
thread.start()
started.wait()

def work(queue):
    deblur._network = fakes.on_cpu(fakes.Identity())
    queue.put(numpy.array_equal(deblur(photo), photo))

context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=work, args=(queue,), daemon=True)
process.start()
print(queue.get(timeout=60))
over.set()
thread.join()
"""
    places = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    assert run_host(program, tmp_path, PYTHONPATH=places) == "True"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no forks")
def test_a_process_forked_after_a_photo_came_from_a_server_asks_the_server_itself(tmp_path, server):
    server.answers = [whole(make_jpeg())]
    program = f"""
import multiprocessing, unblur

photo = "{server.url}/photo.jpg"
score = unblur.blur_score(photo)

def work(queue):
    queue.put(unblur.blur_score(photo) == score)

context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=work, args=(queue,), daemon=True)
process.start()
print(queue.get(timeout=60))
"""
    assert run_host(program, tmp_path) == "True"
