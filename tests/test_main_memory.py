"""The amount of free main memory, under all kinds of limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import encode_image, make_jpeg, make_pixels
from PIL import Image

from unblur import cgroups, main_memory
from unblur.errors import ExitCode, PhotoError
from unblur.formats import pixels
from unblur.formats.any_format import decode
from unblur.main_memory import limiting_file, obtainable_memory, return_freed_memory, tightest_limit

V1 = {"memory/memory.limit_in_bytes": "900", "memory/memory.usage_in_bytes": "100"}


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Write the files of control groups, and return what is free in that of this process."""

    def free(files, own="0::/\n"):
        for name, text in files.items():
            (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "root" / name).write_text(text)
        (tmp_path / "own").write_text(own)
        limit = tightest_limit()
        return limit and limit[0]

    monkeypatch.setattr(cgroups, "MOUNTED", tmp_path / "root")
    monkeypatch.setattr(cgroups, "OWN", tmp_path / "own")
    return free


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "1000\n", "memory.current": "400\n"}, 600),
        ({"memory.max": "1000\n", "memory.current": "4000\n"}, 0),
        ({"memory.max": "max\n", "memory.current": "400\n"}, None),
        (V1, 800),
        ({}, None),
    ],
)
def test_a_containers_limit_is_respected(groups, files, free):
    assert groups(files) == free


@pytest.mark.parametrize(
    ("tight", "free"), [("slurm", 50), ("slurm/job/step", 60), ("slurm/job", 70)]
)
def test_the_tightest_limit_of_nested_groups_counts(groups, tight, free):
    files = {}
    for group in ("", "slurm", "slurm/job", "slurm/job/step"):
        files[f"{group}/memory.max".strip("/")] = str(100 + free) if group == tight else "max"
        files[f"{group}/memory.current".strip("/")] = "100"
    assert groups(files, "0::/slurm/job/step\n") == free


def test_the_file_of_the_tightest_limit_is_known_if_it_limits(groups, tmp_path):
    files = {"memory.max": "5000", "memory.current": "10"}
    files |= {"job/memory.max": "500", "job/memory.current": "10"}
    groups(files, "0::/job\n")
    assert limiting_file() == tmp_path / "root" / "job" / "memory.max"
    groups({"memory.max": str(1 << 60), "job/memory.max": "max"}, "0::/job\n")
    assert limiting_file() is None


def test_groups_of_version_1_are_found_by_their_controller(groups):
    files = V1 | {
        "memory/docker/1/memory.limit_in_bytes": "300",
        "memory/docker/1/memory.usage_in_bytes": "100",
    }
    own = "12:cpu,cpuacct:/other\n4:memory:/docker/1\n1:name=systemd:/\n0::/\n"
    assert groups(files, own) == 200


@pytest.mark.parametrize(
    ("names", "entry"),
    [
        (("memory.max", "memory.current", "memory.stat"), "inactive_file"),
        (
            ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
            "total_inactive_file",
        ),
    ],
)
def test_pages_of_files_that_were_read_count_as_free(groups, names, entry):
    stat = f"anon 100\n{entry} 700\nslab 3\n"
    assert groups(dict(zip(names, ("1000", "900", stat), strict=True))) == 800


def test_a_system_without_groups_has_no_limit(groups, tmp_path):
    assert not (tmp_path / "own").exists()
    assert tightest_limit() is None
    assert limiting_file() is None


@pytest.fixture
def meminfo(tmp_path, monkeypatch):
    """The file in which Linux tells its swap; here it tells nothing."""
    monkeypatch.setattr(main_memory, "_MEMINFO", tmp_path / "meminfo")
    return tmp_path / "meminfo"


def test_swap_can_be_had_but_not_beyond_a_containers_limit(monkeypatch, meminfo):
    available = main_memory.psutil.virtual_memory().available
    swap = type("Swap", (), {"free": 1 << 40})
    meminfo.write_text(f"MemFree: 5 kB\nSwapTotal: 7 kB\nSwapFree: {1 << 30} kB\n")
    monkeypatch.setattr(main_memory.psutil, "swap_memory", lambda: swap)
    monkeypatch.setattr(main_memory, "tightest_limit", lambda: None)
    assert obtainable_memory() > available / 2 + (1 << 40)
    monkeypatch.setattr(main_memory, "tightest_limit", lambda: (1000, Path("memory.max")))
    assert obtainable_memory() == 1000


@pytest.mark.parametrize("content", [None, "", "MemFree: 5 kB", "SwapFree: much", "no table"])
def test_a_system_that_does_not_tell_its_swap_has_none(monkeypatch, meminfo, content):
    def fail():
        raise RuntimeError("PdhAddEnglishCounterW failed")

    if content is not None:
        meminfo.write_text(content)
    monkeypatch.setattr(main_memory.psutil, "swap_memory", fail)
    assert 0 < obtainable_memory() < 1 << 50


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photo_that_cannot_even_be_decoded_with_what_is_free_is_refused(form, monkeypatch):
    data = encode_image(Image.fromarray(make_pixels(300, 400)), form)
    monkeypatch.setattr(main_memory, "obtainable_memory", lambda: 2 * 3 * 300 * 400 - 1)
    with pytest.raises(
        PhotoError, match=r"needs about 720\.0 kB more memory, 719\.9 kB are free: close"
    ):
        decode(data)
    monkeypatch.setattr(main_memory, "obtainable_memory", lambda: 2 * 3 * 300 * 400)
    assert decode(data).pixels.shape == (300, 400, 3)


def test_memory_that_runs_out_while_decoding_is_not_taken_for_damage(monkeypatch):
    def run_out(count):
        raise MemoryError

    monkeypatch.setattr(pixels, "require_memory", run_out)
    with pytest.raises(MemoryError):
        decode(make_jpeg())


def test_the_lack_is_told_with_the_photos_name(unblur, tmp_path, monkeypatch):
    (tmp_path / "panorama.jpg").write_bytes(make_jpeg(300, 400))
    monkeypatch.setattr(main_memory, "obtainable_memory", lambda: 1000)
    result = unblur(tmp_path / "panorama.jpg")
    assert result.code == ExitCode.FAILED
    (line,) = [line for line in result.stderr.splitlines() if "memory" in line]
    assert "panorama.jpg" in line
    assert "kB are free: close other programs, or use --jobs 1" in line


def test_freed_memory_can_be_returned_anywhere():
    return_freed_memory()


@pytest.mark.posix
def test_a_sandbox_without_proc_tells_its_free_memory_otherwise(monkeypatch):
    def fail():
        raise FileNotFoundError(2, "No such file or directory", "/proc/meminfo")

    monkeypatch.setattr(main_memory.psutil, "virtual_memory", fail)
    assert main_memory.free_main_memory() > 1 << 20
