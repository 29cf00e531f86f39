from __future__ import annotations

import functools
import re

import numpy as np
import pytest
import torch
from conftest import encode_image, make_pixels
from crop_sources import make_sources
from PIL import Image

from training.data import Pair
from training.drawn import draw_over
from training.even import make_even
from training.losses import balanced_error
from training.mean import mean_network
from training.muon import orthogonalise
from training.pool import CropPool
from training.sheet import draw
from training.synthesis.batches import BatchMaker
from training.synthesis.recipe import Recipe
from training.synthesis.sources import read_sources
from training.train import main, save, saved_when_stopped, train
from training.trainer import COMPACT, Trainer, initialise
from unblur.bands import LineBuffers
from unblur.srn import SRN
from unblur.srn_config import SRNConfig
from unblur.weights import load_network


def test_what_is_drawn_depends_on_the_seed_alone_and_leaves_the_photo_as_it_was():
    photo = make_pixels(90, 120)
    untouched = photo.copy()
    first, again, other = (draw_over(photo, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(photo, untouched)
    assert first.shape == photo.shape
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_orthogonalising_brings_all_singular_values_near_one():
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(16, 40)))
    assert values.min() > 0.5
    assert values.max() < 1.5


@pytest.mark.parametrize("shape", [(3, 16, 40), (3, 40, 16)])
def test_orthogonalising_several_at_once_is_doing_it_to_each(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape) * torch.tensor([0.1, 1, 10]).reshape(3, 1, 1)
    at_once = orthogonalise(matrices)
    for matrix, expected in zip(matrices, at_once, strict=True):
        assert torch.allclose(orthogonalise(matrix), expected, atol=0.02)


@pytest.fixture
def trainer():
    torch.manual_seed(0)
    config = SRNConfig(**COMPACT.to_dict() | {"width": 4, "blocks": 1})
    network = SRN(config)
    initialise(network)
    return Trainer(network, minutes=60, lr=2e-3)


def test_a_new_network_returns_its_input(trainer):
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(trainer.network(image)[-1], image)


def test_training_learns_and_can_go_on_from_its_state(trainer):
    torch.manual_seed(1)
    sharp = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    sharp = sharp.repeat_interleave(2, 2).repeat_interleave(2, 3)
    blurred = torch.nn.functional.avg_pool2d(sharp.float(), 3, 1, 1).byte()
    errors = [trainer.train_on(blurred, sharp) for _ in range(40)]
    assert errors[-1][1] < 0.96 * errors[0][0]

    resumed = Trainer(SRN(trainer.network.config), minutes=60, lr=2e-3)
    resumed.load_state_dict(trainer.state_dict())
    assert resumed.step == 40
    assert resumed.train_on(blurred, sharp) == trainer.train_on(blurred, sharp)


def features_that_change_along_x(channels):
    return torch.randn(1, channels, 1, 20).expand(1, channels, 20, 20)


def interior(image):
    return image[:, :, 8:-8, 8:-8]


@pytest.fixture
def enlargers(trainer):
    """What enlarges the maps of a network of random weights, of 4, 8 and 16 channels."""
    network = trainer.network
    for weight in network.parameters():
        torch.nn.init.normal_(weight)
    shuffle = torch.nn.PixelShuffle(2)
    return network, [lambda x, buffers: shuffle(network.output(x, buffers)), *network.exits]


def test_an_even_network_draws_no_dots_along_an_edge(enlargers):
    network, layers = enlargers
    for is_even in (False, True):
        for layer, channels in zip(layers, (4, 8, 16), strict=True):
            along_x = features_that_change_along_x(channels)
            for features, dim in ((along_x, 2), (along_x.mT, 3)):
                enlarged = interior(layer(features, LineBuffers()))
                assert (enlarged.diff(dim=dim).abs().max() < 1e-4) == is_even
                assert enlarged.diff(dim=5 - dim).abs().max() > 1
        make_even(network)


def assert_even(network):
    before = [weight.clone() for weight in network.parameters()]
    make_even(network)
    for old, new in zip(before, network.parameters(), strict=True):
        assert torch.allclose(old, new, atol=1e-6)


def test_to_make_a_network_even_again_changes_nothing(enlargers):
    network, _ = enlargers
    make_even(network)
    assert_even(network)


def test_a_network_stays_even_while_it_learns(trainer):
    sharp = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    for _ in range(3):
        trainer.train_on(sharp.flip(2), sharp)
    assert_even(trainer.network)
    assert_even(trainer.average)


def test_weights_are_kept_for_each_report(trainer, tmp_path):
    for trainer.seconds in (600, 1200):
        save(trainer, tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == ["average-10.0.safetensors", "average-20.0.safetensors", "average.safetensors"]


def test_what_was_learned_is_kept_when_training_is_stopped(trainer, tmp_path, capsys):
    trainer.seconds = 90
    with saved_when_stopped(trainer, tmp_path):
        raise KeyboardInterrupt
    assert (tmp_path / "average-1.5.safetensors").exists()
    assert torch.load(tmp_path / "state.pt")["seconds"] == 90
    assert "Stopped after 1.5 min" in capsys.readouterr().out


def test_a_training_that_was_stopped_goes_on_with_new_crops(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr("training.train.STEPS_OF_A_LINE", 2)
    make, asked = BatchMaker(make_sources(), Recipe(), 2, 32, lambda: 8.0, seed=0), []

    def remember(number):
        asked.append(number)
        return make(number)

    def train_on(trainer):
        trainer.minutes = 1e-9  # over when the first line is printed
        pool = CropPool(remember, trainer.batches_made, pooled=3, looks=1)
        sets = {"set": [Pair("a", make_pixels(32, 32), make_pixels(32, 32, seed=1))]}
        train(trainer, pool, tmp_path, report_every=1e9, sets=sets)

    train_on(trainer)
    resumed = Trainer(SRN(trainer.network.config), minutes=60, lr=2e-3)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert (resumed.step, resumed.batches_made) == (2, len(asked))
    before = [weight.clone() for weight in resumed.average.parameters()]
    for old, weight in zip(trainer.average.parameters(), before, strict=True):
        assert torch.equal(old, weight)
    train_on(resumed)
    assert resumed.step == 4
    assert resumed.seconds > trainer.seconds > 0
    assert asked == list(range(len(asked)))
    pairs = zip(before, resumed.average.parameters(), strict=True)
    assert not all(torch.equal(old, new) for old, new in pairs)
    rows = (tmp_path / "curve.tsv").read_text().splitlines()
    assert [row.split("\t")[2] for row in rows] == ["set", "set"]


def test_the_command_trains_saves_and_reports(tmp_path, monkeypatch, capsys):
    for name in ("photos/a", "photos/lxqt_valendas", "pairs/blur/b", "pairs/sharp/b",
                 "pairs/blur/reds_street_0", "pairs/sharp/reds_street_0"):  # fmt: skip
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(Image.fromarray(make_pixels(340, 340)), "PNG"))
    small = SRNConfig(**COMPACT.to_dict() | {"width": 1, "blocks": 1})
    monkeypatch.setattr("training.train.COMPACT", small)
    monkeypatch.setattr("training.train.STEPS_OF_A_LINE", 2)
    few = functools.partial(read_sources, overlays=2, captions=2)
    monkeypatch.setattr("training.train.read_sources", few)
    folders = [f"--{name}={tmp_path / name}" for name in ("photos", "pairs", "folder")]
    sizes = ["--crop=32", "--batch=2", "--pooled=3", "--minutes=1e-9", "--device=cpu"]
    monkeypatch.setattr("sys.argv", ["train", *sizes, *folders])
    main()
    main()
    steps = re.findall(r"step (\d+)", capsys.readouterr().out)
    assert steps == ["2", "4"]
    rows = [row.split("\t")[2] for row in (tmp_path / "folder/curve.tsv").read_text().splitlines()]
    assert rows == 2 * ["short", "medium", "long", "drawn", "real"]
    assert load_network(tmp_path / "folder" / "average.safetensors").config == small


def test_another_error_takes_over_in_the_second_half(trainer):
    called = []

    def error(result, wanted):
        called.append(result.shape[-1])
        return balanced_error(result, wanted)

    trainer.later_error = error
    image = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    trainer.train_on(image, image.flip(3))
    assert not called
    trainer.seconds = 0.9 * 3600
    trainer.train_on(image, image.flip(3))
    assert called == [8, 16, 32]


def test_the_balanced_error_pulls_harder_at_what_is_nearly_right():
    wanted = torch.full((2, 3, 8, 8), 0.5)
    off = torch.tensor([0.01, 0.1]).reshape(2, 1, 1, 1)
    result = (wanted + off).requires_grad_(True)
    balanced_error(result, wanted).backward()
    per_level = result.grad.mean((1, 2, 3)) / off.flatten()
    assert per_level[0] > 2 * per_level[1]  # the squared error pulls in proportion


def filled_network(value, width=1):
    network = SRN(SRNConfig(width=width, blocks=1, kernel=1)).requires_grad_(False)
    for weight in network.parameters():
        weight.fill_(value)
    return network


def test_the_mean_of_three_networks_has_the_mean_of_their_weights():
    mean = mean_network([filled_network(value) for value in (1, 2, 6)])
    assert all((weight == 3).all() for weight in mean.parameters())


def test_networks_of_different_widths_have_no_mean():
    with pytest.raises(ValueError, match="different configurations"):
        mean_network([filled_network(1), filled_network(1, width=2)])


def test_a_sheet_shows_the_middle_of_every_picture():
    bright, dark = np.full((30, 40, 3), 200, np.uint8), np.full((50, 60, 3), 10, np.uint8)
    sheet = np.asarray(draw(iter([[bright, dark], [dark, bright]]), 20, 30))
    assert sheet.shape == (44, 64, 3)
    assert (sheet[10, 10, 0], sheet[10, 50, 0], sheet[34, 10, 0]) == (200, 10, 10)
