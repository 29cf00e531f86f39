"""Files larger than any photo are refused by their size, before they are read."""

from __future__ import annotations

import io
import os
import tracemalloc

import fsspec
import pytest
from click.testing import CliRunner
from conftest import make_jpeg

from unblur import file_limits
from unblur.cli import main
from unblur.errors import PhotoError
from unblur.options import Options
from unblur.run import load_step
from unblur.run.plan import find_photos
from unblur.storage import files

ALLOWED = "larger than [0-9.]+ [kMG]B.*--max-pixels"


@pytest.fixture
def huge(tmp_path):
    """A sparse TIFF file of 80 GB."""
    path = tmp_path / "huge.tif"
    with path.open("wb") as file:
        file.write(b"II*\0\x08\0\0\0")
        try:
            os.truncate(path, 80 << 30)
        except OSError as error:
            pytest.skip(f"no file of 80 GB here: {error}")
    if path.stat().st_blocks > 1000:
        pytest.skip("the file system fills holes")
    return path


@pytest.mark.posix
def test_a_file_of_80_gb_is_refused_by_its_size(huge, unblur):
    tracemalloc.start()
    result = unblur("--recursive", huge.parent)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.code == 1
    assert "huge.tif: larger than 5.0 GB" in " ".join(result.stderr.split())
    assert peak < 100 << 20


@pytest.mark.posix
def test_its_score_is_refused_too(huge):
    result = CliRunner().invoke(main, ["score", str(huge)])
    assert result.exit_code == 1
    assert "larger than" in result.stderr


def test_the_most_that_a_photo_takes_grows_with_the_limit_of_pixels():
    deep_layers = 8 * 100_000_000 + (900 << 20)
    assert file_limits.most_bytes(100_000_000) > deep_layers
    file_limits.refuse_oversize(deep_layers, None)


@pytest.fixture
def small_files(monkeypatch):
    """Lower the limit on bytes in addition to pixels, so that small files exceed it."""
    monkeypatch.setattr(file_limits, "BYTES_BESIDE_PIXELS", 1000)


def test_standard_input_is_not_read_on_when_it_is_too_long(small_files, unblur):
    result = unblur("-", "--max-pixels", "10", stdin=make_jpeg(200, 200))
    assert result.code == 1
    assert "larger than" in result.stderr


def test_a_stream_without_an_end_is_left():
    class Endless(io.RawIOBase):
        given = 0

        def read1(self, size=-1):
            self.given += size
            return bytes(size)

    stream = Endless()
    with pytest.raises(PhotoError, match=ALLOWED):
        files.read_stream(stream, most=3 << 20)
    assert stream.given <= 4 << 20


def test_a_stream_is_read_to_its_end():
    data = bytes(range(256)) * 10_000
    assert files.read_stream(io.BytesIO(data), most=len(data)) == data


def test_an_object_is_refused_by_the_size_that_its_store_tells(small_files, monkeypatch):
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pipe_file("/bucket/a.jpg", make_jpeg(200, 200))
    options = Options(max_pixels=10)
    (job,) = find_photos(["memory://bucket/a.jpg"], options).jobs
    monkeypatch.setattr(type(store), "cat_file", pytest.fail)
    with pytest.raises(PhotoError, match=ALLOWED):
        load_step.read_reduced(job, options)


def test_a_file_within_the_limit_is_read(small_files, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(1080))
    assert len(files.read_photo_bytes(path, file_limits.most_bytes(10))[0]) == 1080
    with pytest.raises(PhotoError, match=ALLOWED):
        files.read_photo_bytes(path, file_limits.most_bytes(9))
