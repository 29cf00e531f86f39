"""Encoding with Pillow."""

from __future__ import annotations

import io
import os
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from unblur.formats.pixels import saved

NOISE = np.random.default_rng(1).integers(0, 256, (2000, 3000, 3), np.uint8)


def turns_of_another_thread(image):
    """Count another thread's steps while a photo is encoded."""
    turns, is_over = [], threading.Event()

    def work():
        while not is_over.wait(0.001):
            turns.append(1)

    other = threading.Thread(target=work)
    other.start()
    saved(image, "JPEG", quality=95, subsampling=0)
    is_over.set()
    other.join()
    return len(turns)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no files in memory")
def test_other_threads_go_on_while_a_jpeg_is_encoded(monkeypatch):
    image = Image.fromarray(NOISE)
    beside = max(turns_of_another_thread(image) for _ in range(5))  # other programs take turns, too
    monkeypatch.delattr(os, "memfd_create")
    assert beside > 2 * min(turns_of_another_thread(image) for _ in range(5))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_the_bytes_are_those_that_pillow_writes_without_a_file_in_memory(form, monkeypatch):
    image, buffer = Image.fromarray(NOISE[:50, :70]), io.BytesIO()
    image.save(buffer, form)
    assert saved(image, form) == buffer.getvalue()
    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    assert saved(image, form) == buffer.getvalue()


def refuse(name):
    raise PermissionError(name)


@pytest.mark.skipif(sys.platform != "linux", reason="this system has no files in memory")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_limit_on_file_sizes_cuts_off_no_encoded_photo(form):
    import resource

    image, limits = Image.fromarray(NOISE[:50, :70]), resource.getrlimit(resource.RLIMIT_FSIZE)
    whole = saved(image, form)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, limits[1]))
    try:
        limited = saved(image, form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert limited == whole
