"""Training as a command, with tiny sizes: it trains, judges, keeps, and goes on."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_pixels
from PIL import Image

from training import kept, loop, pack, train
from training.data import FIRST_HELD_OUT
from training.trainer import COMPACT
from unblur.models.weights import load_network, save_network
from unblur.network.srn import SRN

TINY = replace(COMPACT, width=2, blocks=1)


@pytest.fixture
def data(tmp_path):
    """A folder of photos and pairs, some of them held out."""
    folder = tmp_path / "data"
    names = {
        "photos": ["one.png", "two.png", f"{FIRST_HELD_OUT[0]}.png"],
        "pairs/blur": ["walk_1.png", "reds_street_1.png"],
        "pairs/sharp": ["walk_1.png", "reds_street_1.png"],
    }
    for number, (place, files) in enumerate(names.items()):
        (folder / place).mkdir(parents=True)
        for file in files:
            pixels = make_pixels(400, 420, seed=number)
            Image.fromarray(pixels).save(folder / place / file)
    return folder


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    """Run the command with tiny networks; return its folder."""
    shapes = {"compact": TINY, "deep": replace(TINY, levels=4)}
    monkeypatch.setattr(train, "SHAPES", shapes)
    few_layers = functools.partial(train.read_sources, overlays=2, captions=2)
    monkeypatch.setattr(train, "read_sources", few_layers)
    monkeypatch.setattr(loop, "STEPS_OF_A_LINE", 1)

    def run(*options):
        sizes = ["--crop", "64", "--batch", "2", "--pooled", "2", "--save-every", "1"]
        folders = ["--data", str(data), "--folder", str(tmp_path / "run")]
        monkeypatch.setattr(sys, "argv", ["train", "--device", "cpu", *folders, *sizes, *options])
        train.main()
        return tmp_path / "run"

    return run


def test_shapes_share_the_time_and_are_judged_side_by_side(run, tmp_path, capsys):
    home = tmp_path / "home"
    folder = run(
        *("--seconds", "1", "--parts", "oldest", "--keep", str(home)),
        *("--shapes", "compact", "deep"),
    )
    table = (home / "table.txt").read_text()
    assert table.splitlines()[0].split() == ["blurred", "compact", "deep"]
    assert "real: gain, dB" in table
    assert table in capsys.readouterr().out
    for shape in ("compact", "deep"):
        weights = load_network(home / f"{shape}.safetensors")
        assert weights.config == train.SHAPES[shape]
        assert (folder / shape / "state.pt").exists()


def test_a_training_goes_on_where_it_stopped_with_crops_not_seen_before(run, monkeypatch):
    seen = []
    go_on = train.Trainer.go_on

    def note(trainer, *schedule):
        seen.append((trainer.step, trainer.progress, trainer.batches_made))
        go_on(trainer, *schedule)

    monkeypatch.setattr(train.Trainer, "go_on", note)
    run("--seconds", "1", "--parts", "--end", "0.6")
    run("--seconds", "1", "--parts")
    first, second = seen
    assert first == (0, 0.0, 0)
    step, progress, batches_made = second
    assert step > 0
    assert progress == pytest.approx(0.6, abs=0.1)  # where time ends in the midst of a step
    assert batches_made >= 2  # those that filled the pool


def test_large_files_are_kept_in_pieces_that_join_to_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "PIECE_BYTES", 10)
    data = np.arange(25, dtype=np.uint8).tobytes()
    (tmp_path / "whole").write_bytes(data)
    kept.copy_in_pieces(tmp_path / "whole", tmp_path / "copy")
    pieces = [tmp_path / f"copy.{number}" for number in (1, 2, 3)]
    assert b"".join(piece.read_bytes() for piece in pieces) == data
    assert not (tmp_path / "copy.4").exists()


def test_data_are_divided_into_parts_that_together_are_all_of_them(data, tmp_path):
    parts = pack.write_parts(data, tmp_path / "parts", most_bytes=1_500_000)
    assert len(parts) > 1
    sent = [path.relative_to(part) for part in parts for path in part.rglob("*.png")]
    assert sorted(sent) == sorted(path.relative_to(data) for path in data.rglob("*.png"))
    for part in parts:
        assert sum(path.stat().st_size for path in part.rglob("*.png")) <= 1_500_000


def test_the_first_part_has_what_judging_needs(data, tmp_path):
    first, *_ = pack.write_parts(data, tmp_path / "parts", most_bytes=1e9)
    assert (first / "photos" / f"{FIRST_HELD_OUT[0]}.png").exists()
    assert (first / "pairs/blur/reds_street_1.png").exists()


def test_dead_units_of_weights_are_revived_before_a_training_goes_on(run, tmp_path, capsys):
    network = SRN(TINY)
    with torch.no_grad():
        network.encoders[2][0].conv1.bias[:3] = -100
    save_network(network, tmp_path / "tiny.safetensors")
    home = tmp_path / "home"
    run(
        *("--seconds", "1", "--parts", "--keep", str(home)),
        *("--shapes", "compact", "--start-from", str(tmp_path / "tiny.safetensors")),
    )
    revived = capsys.readouterr().out.split()[0]
    assert int(revived) >= 3
    start = load_network(home / "compact-start.safetensors")
    assert start.encoders[2][0].conv1.bias[:3].min() > -10
    trained = load_network(home / "compact.safetensors")
    assert not torch.equal(trained.output.weight, start.output.weight)


def test_weights_of_another_shape_are_refused(run, tmp_path):
    save_network(SRN(TINY), tmp_path / "tiny.safetensors")
    with pytest.raises(SystemExit, match="of another shape than deep"):
        run(
            "--seconds", "1", "--shapes", "deep", "--start-from", str(tmp_path / "tiny.safetensors")
        )
