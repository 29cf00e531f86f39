"""The program that measures the speed goals, on a tiny photo."""

from __future__ import annotations

import argparse
import sys

import pytest
from fakes import brightening_srn

from benchmarks import goals
from unblur.models.weights import save_network


@pytest.fixture
def measure(tmp_path, monkeypatch, capsys):
    """Run the program with a tiny network; return the cells of each row by the first one."""
    save_network(brightening_srn(), tmp_path / "tiny.safetensors")
    monkeypatch.setattr("unblur.models.catalog.DEFAULT_MODEL", str(tmp_path / "tiny.safetensors"))
    monkeypatch.setattr(
        goals.Checkout,
        "measured",
        lambda self, parts, photo, options: goals.run_children(parts, with_photo(options, photo)),
    )

    def measure(*arguments):
        tiny = ["--device", "cpu", "--megapixels", "0.01", "--rounds", "1", "--photos", "3"]
        monkeypatch.setattr(sys, "argv", ["goals", *tiny, *arguments])
        goals.main()
        output, progress = capsys.readouterr()
        lines = output.splitlines()
        cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if "|" in line]
        return {first: rest for first, *rest in cells}, lines, progress.splitlines()

    return measure


def with_photo(options, photo):
    return argparse.Namespace(**vars(options) | {"photo": photo})


def test_the_engine_and_the_parts_of_its_time_are_measured_beside_another_version(
    measure, tmp_path
):
    rows, lines, _ = measure("--parts", "load", "engine", "tiles", "--against", str(tmp_path))
    assert "cores, PyTorch" in lines[0]
    assert "--megapixels 0.01" in lines[2]
    assert rows[""] == ["here", "there", "of there"]
    for name in ("engine, two in flight, seconds a photo", "engine, --views 8, seconds"):
        here, there, ratio = map(float, rows[name])
        assert here / there == pytest.approx(ratio, rel=0.02, abs=0.006)
    assert {name for name in rows if name.startswith("engine, --tile")} == {
        f"engine, --tile {tile}, seconds" for tile in goals.TILES_PX
    }
    assert sum("alone, seconds" in name for name in rows) == 3


def test_tiles_and_views_are_measured_only_if_they_are_asked_for(measure, monkeypatch):
    monkeypatch.setattr(goals, "measure_batch", lambda *inputs: {"batch": 1.0})
    monkeypatch.setattr(goals, "measure_command", lambda *inputs: {"command": 1.0})
    rows, *_ = measure()
    assert {"batch", "command", "bare network alone, seconds"} <= rows.keys()
    assert not any("--tile" in name or "--views" in name for name in rows)


def test_a_run_that_is_cut_off_has_told_what_it_measured(measure, monkeypatch, capsys, tmp_path):
    run, started = goals.run_children, []

    def cut_off(parts, options):
        if started:
            raise KeyboardInterrupt
        started.append(parts)
        return run(parts, options)

    monkeypatch.setattr(goals, "run_children", cut_off)
    with pytest.raises(KeyboardInterrupt):
        measure("--parts", "engine", "--against", str(tmp_path))
    told = [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()]
    assert told[:3] == [
        "here:",
        "engine, one photo at a time, seconds",
        "engine, two in flight, seconds a photo",
    ]
    assert told[-1] == f"{tmp_path}:"


def test_a_batch_is_timed_by_the_whole_command(measure):
    rows, *_ = measure("--parts", "batch")
    assert float(rows["batch, photos a second after the first"][0]) > 0
    assert 0.1 < float(rows["batch, peak main memory, GB"][0]) < 10


def test_the_command_runs_as_on_a_cpu_without_bfloat16(monkeypatch, tmp_path):
    started = []

    class Run(goals.Checkout):
        def start(self, *arguments, **variables):
            started.append((arguments, variables))
            return super().start("-c", "print()", **variables)

    run = Run("here", goals.ROOT)
    figures = [goals.measure_command(run, tmp_path / "photo.jpg", has) for has in (True, False)]
    assert [len(found) for found in figures] == [3, 3]
    (_, usual), (program, limited) = started
    assert "bf16_instructions" in program[1]
    assert limited.items() >= goals.WITHOUT_BFLOAT16.items()
    assert not usual.items() & goals.WITHOUT_BFLOAT16.items()


def test_without_bfloat16_the_network_computes_in_float32(monkeypatch):
    import torch

    from unblur.network import device_kinds
    from unblur.network.devices import choose_precision

    monkeypatch.setattr(device_kinds, "bf16_instructions", lambda torch: {})
    assert choose_precision(device_kinds.CPU) == torch.float32
