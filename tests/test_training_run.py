"""Training as a command, with tiny sizes: it trains, judges, saves, and continues."""

from __future__ import annotations

import contextlib
import copy
import functools
import re
import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
import torch
from conftest import make_pixels
from PIL import Image

from training import kept_files, loop, pack, train
from training.data import FIRST_HELD_OUT
from training.judging import defocused
from training.lent.machine import PACKAGES
from training.synthesis import batches
from training.synthesis.recipe import FOCUS_RECIPE
from training.trainer import COMPACT, Trainer
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
    monkeypatch.setattr(defocused, "CROP", 64)

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
    monkeypatch.setattr(kept_files, "PIECE_BYTES", 10)
    data = np.arange(25, dtype=np.uint8).tobytes()
    (tmp_path / "whole").write_bytes(data)
    kept_files.copy_in_pieces(tmp_path / "whole", tmp_path / "copy")
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


def test_the_data_may_arrive_while_the_step_is_compiled(run, data, tmp_path, monkeypatch):
    away = data.rename(tmp_path / "away")
    file = tmp_path / "sent"

    def arrive(seconds):
        away.rename(data)
        file.touch()

    monkeypatch.setattr(train.time, "sleep", arrive)
    folder = run("--seconds", "1", "--parts", "--wait-for", str(file))
    assert (folder / "compact" / "state.pt").exists()


def test_a_step_that_was_prepared_trains_like_any_other():
    crops = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    weights = {}
    for is_prepared in (False, True):
        torch.manual_seed(0)
        trainer = Trainer(SRN(TINY), 1.0, 1e-3, head_weight=0.02)
        head = copy.deepcopy(trainer.head.state_dict())
        if is_prepared:
            trainer.prepare(torch.zeros_like(crops[0]))
        assert all(torch.equal(head[name], w) for name, w in trainer.head.state_dict().items())
        for _ in range(3):
            trainer.train_on(*crops)
        weights[is_prepared] = trainer.average.state_dict() | trainer.head.state_dict()
    for name, value in weights[False].items():
        torch.testing.assert_close(weights[True][name], value, rtol=1e-3, atol=1e-6)


def test_weights_against_motion_go_on_against_focus_blur(run, tmp_path, monkeypatch):
    kinds = set()
    make_batch = batches.make_batch

    def note(sources, recipe, kind, *others):
        kinds.add(kind)
        return make_batch(sources, recipe, kind, *others)

    monkeypatch.setattr(batches, "make_batch", note)
    save_network(SRN(TINY), tmp_path / "tiny.safetensors")
    home = tmp_path / "home"
    start = ["--start-from", str(tmp_path / "tiny.safetensors"), "--begin", "0.6"]
    run("--recipe", "focus", "--seconds", "2", "--judging", "1", *start, "--keep", str(home))
    assert kinds <= set(FOCUS_RECIPE.kind_shares)
    table = (home / "table.txt").read_text()
    assert "defocus of 1 px: gain, dB (to ship: +1.50)" in table
    assert "short: gain, dB" in table
    trained, begun = (
        load_network(home / f"{name}.safetensors") for name in ("compact", "compact-start")
    )
    assert not torch.equal(trained.output.weight, begun.output.weight)


@pytest.mark.parametrize(
    ("recipe", "folder", "parts", "head_weight"),
    [
        ("motion", "next", ["oldest", "kinds", "lamps"], 0.0),
        ("focus", "focus", ["focus", "oldest"], 0.15),
    ],
)
def test_each_recipe_has_its_own_folder_judges_and_second_loss(
    monkeypatch, recipe, folder, parts, head_weight
):
    monkeypatch.setattr(train, "SHAPES", {"compact": TINY})
    monkeypatch.setattr(sys, "argv", ["train", "--seconds", "9", "--recipe", recipe])
    options = train.parse_options()
    assert options.folder.name == folder
    assert options.parts == parts
    assert options.head_weight == head_weight
    assert train.make_trainer(options, "compact").head_weight == head_weight


TRAIN_WITH_FEW_PACKAGES = """
import builtins, sys

usual = builtins.__import__

def refuse(name, globals=None, *others):
    importer = (globals or {}).get("__name__", "").partition(".")[0]
    if importer in ("training", "unblur") and name.partition(".")[0] in sys.argv[1].split():
        raise ModuleNotFoundError(f"{globals['__name__']} wants {name}, which is not there")
    return usual(name, globals, *others)

builtins.__import__ = refuse

from dataclasses import replace
from pathlib import Path
import torch
from training import evaluate, mean, pack, sheet, train
from training.judging import cost
from training.synthesis import contact_sheet, speed
from training.trainer import COMPACT, Trainer
from unblur.models.weights import load_network, save_network
from unblur.network.srn import SRN

weights, cost.SIDE = Path(sys.argv[2]), 64
save_network(SRN(replace(COMPACT, width=2, blocks=1)), weights)
photos = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
Trainer(load_network(weights).requires_grad_(True), 1, 1e-3).train_on(photos, photos)
rows = evaluate.judge_weights({"tiny": weights}, ["cost"], None, None, torch.device("cpu"))
assert len(rows) == 3
"""


def modules_beyond(packages):
    """The installed top-level modules that belong neither to packages nor to their requirements."""
    waiting, seen = [*packages], {"unblur"}
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            with contextlib.suppress(metadata.PackageNotFoundError):
                waiting += needed_by(name)
    return sorted(
        module
        for module, names in metadata.packages_distributions().items()
        if not seen & {name.lower().replace("_", "-") for name in names}
    )


def needed_by(package):
    """Names of the packages that a package always requires."""
    for line in metadata.requires(package) or ():
        if "extra ==" not in line:
            yield re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 lists few packages' modules")
def test_a_machine_needs_no_packages_but_those_that_are_listed(tmp_path):
    missing = modules_beyond(PACKAGES)
    assert {"click", "rich"} <= set(missing)
    code = [sys.executable, "-c", TRAIN_WITH_FEW_PACKAGES, " ".join(missing)]
    subprocess.run([*code, str(tmp_path / "tiny.safetensors")], check=True)
