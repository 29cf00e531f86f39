from __future__ import annotations

import itertools
import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed as dist
from conftest import encode_image, make_pixels
from PIL import Image
from torch.utils.data import DataLoader

from training import blur
from training.data import (
    BlurredCrops,
    Curriculum,
    random_shrink,
    random_tint,
)
from training.drawn import draw_caption, draw_over
from training.even import make_even
from training.losses import balanced_error
from training.mean import mean_network
from training.muon import orthogonalise
from training.sheet import draw
from training.train import save, saved_when_stopped
from training.trainer import COMPACT, Trainer, initialise
from unblur.bands import LineBuffers
from unblur.srn import SRN
from unblur.srn_config import SRNConfig


def test_a_flat_photo_stays_flat_when_blurred():
    flat = np.full((80, 80, 3), 0.4, np.float32)
    rng = np.random.default_rng(0)
    for kind in blur.KIND_SHARES:
        assert np.allclose(blur.blur(flat, kind, 20, rng), 0.4, atol=1e-4)


def test_a_sharp_photo_is_wanted_back_as_it_was_recorded():
    sharp = make_pixels(80, 80).astype(np.float32) / 255
    photo = blur.make_blurred(sharp, 8, 20, np.random.default_rng(0), kind=blur.SHARP)
    assert photo.blurred.shape == (64, 64, 3)
    assert np.array_equal(photo.blurred, photo.sharp)


@pytest.mark.parametrize("contrast", [0.0, 0.6])
def test_what_a_camera_stores_of_light_gives_the_light_back(contrast):
    response = blur.Response(2.2, contrast)
    stored = np.linspace(0, 1, 256, dtype=np.float32)
    assert response.encode(response.decode(stored)) == pytest.approx(stored, abs=1e-4)


def test_contrast_darkens_the_dark_and_brightens_the_bright():
    light = np.float32([0.05, 0.8])
    plain, bent = blur.Response(2.2).encode(light), blur.Response(2.2, 0.5).encode(light)
    assert bent[0] < plain[0] < plain[1] < bent[1]


def test_a_moved_photo_is_wanted_back_sharp():
    sharp = make_pixels(80, 80).astype(np.float32) / 255
    photo = blur.make_blurred(sharp, 8, 20, np.random.default_rng(0), kind=blur.MOTION)
    assert np.allclose(photo.sharp, sharp[8:-8, 8:-8], atol=1e-5)
    assert np.abs(photo.blurred - photo.sharp).mean() > 0.01


def sharpness(image):
    return np.abs(np.diff(image, axis=1)).mean()


def test_a_scene_that_is_partly_out_of_focus_keeps_detail_elsewhere():
    scene = np.random.default_rng(1).random((100, 100, 3), np.float32)
    rngs = map(np.random.default_rng, range(20))
    far = [blur.put_out_of_focus(scene, rng) for rng in rngs]
    kept = [sharpness(image) / sharpness(scene) for image in far]
    assert 0.3 < np.mean(kept) < 0.8
    assert max(kept) <= 1


def test_a_moved_photo_is_wanted_back_with_what_was_out_of_focus(monkeypatch):
    monkeypatch.setattr(blur, "KIND_SHARES", {blur.MOTION: 1.0})
    sharp = make_pixels(80, 80).astype(np.float32) / 255
    for share, is_as_it_was in ((0.0, True), (1.0, False)):
        monkeypatch.setattr(blur, "OUT_OF_FOCUS_SHARE", share)
        photo = blur.make_blurred(sharp, 8, 20, np.random.default_rng(0))
        assert np.allclose(photo.sharp, sharp[8:-8, 8:-8], atol=1e-5) == is_as_it_was
        assert np.abs(photo.blurred - photo.sharp).mean() > 0.01


@pytest.fixture
def crops(tmp_path):
    for folder in ("photos", "pairs/blur", "pairs/sharp"):
        (tmp_path / folder).mkdir(parents=True)
    image = encode_image(Image.fromarray(make_pixels(320, 320)), "PNG")
    for name in ("photos/a.png", "photos/lxqt_valendas.png", "pairs/blur/b.png",
                 "pairs/sharp/b.png", "pairs/blur/reds_street_0.png",
                 "pairs/sharp/reds_street_0.png"):  # fmt: skip
        (tmp_path / name).write_bytes(image)
    progress = multiprocessing.Value("d", 0.0)
    return BlurredCrops(tmp_path / "photos", tmp_path / "pairs", progress)


def test_what_is_held_out_is_not_trained_on(crops):
    assert len(crops.photos) == 1
    assert [pair.name for pair in crops.pairs] == ["b"]


def test_another_light_tints_photos_of_one_scene_alike_and_brightens_nothing():
    photo = make_pixels(8, 8).astype(np.float32) / 255
    seeds = map(np.random.default_rng, range(100))
    pairs = [random_tint(rng, photo, photo / 2) for rng in seeds]
    assert 50 < sum(np.array_equal(first, photo) for first, _ in pairs) < 90
    for first, second in pairs:
        light = (first / np.maximum(photo, 1e-6)).max(axis=(0, 1))
        assert light.max() == pytest.approx(1)
        assert np.allclose(first, photo * light, atol=1e-6)
        assert np.allclose(second, first / 2, atol=1e-6)


def test_what_is_drawn_depends_on_the_seed_alone_and_leaves_the_photo_as_it_was():
    photo = make_pixels(90, 120)
    untouched = photo.copy()
    first, again, other = (draw_over(photo, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(photo, untouched)
    assert first.shape == photo.shape
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_caption_covers_photos_alike_and_leaves_the_rest_as_it_was():
    caption = draw_caption(120, np.random.default_rng(3))
    photo = make_pixels(120, 120).astype(np.float32) / 255
    printed = caption.over(photo)
    opaque, clear = caption.transparency == 0, caption.transparency == 1
    assert opaque.any()
    assert clear.any()
    assert np.array_equal(printed[opaque], caption.over(1 - photo)[opaque])
    assert np.array_equal(printed[clear], photo[clear])
    assert printed.min() >= 0
    assert printed.max() <= 1


def test_a_caption_stays_sharp_on_a_moved_photo(monkeypatch):
    monkeypatch.setattr(blur, "jpeg_roundtrip", lambda encoded, rng: encoded)
    sharp = make_pixels(136, 136).astype(np.float32) / 255
    caption = draw_caption(120, np.random.default_rng(3))
    rng = np.random.default_rng(4)
    photo = blur.make_blurred(sharp, 8, 20, rng, kind=blur.MOTION, caption=caption)
    opaque = caption.transparency == 0
    assert np.array_equal(photo.blurred[opaque], photo.sharp[opaque])
    assert np.abs(photo.blurred - photo.sharp)[~opaque].mean() > 0.01


def test_a_batch_depends_on_its_number_alone(crops):
    stage = Curriculum(crop=64, batch=2, longest=10)
    first, again, other = (crops.batch(number, stage) for number in (3, 3, 4))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == first[1].shape == (2, 3, 64, 64)


def test_photos_are_shrunk_more_often_than_enlarged_and_never_beyond_what_there_is():
    rng = np.random.default_rng(1)
    shrinks = np.array([random_shrink(1.5, rng) for _ in range(500)])
    assert shrinks.min() > 0.5
    assert shrinks.max() <= 1.5
    assert 0.4 < (shrinks > 1).mean() < 0.6
    assert 0.1 < (shrinks < 1).mean() < 0.2


def test_an_enlarged_crop_is_softer_than_the_photo(crops, monkeypatch):
    def mean_sharpness(factor):
        monkeypatch.setattr("training.data.random_shrink", lambda most, rng: factor)
        stage, rng = Curriculum(crop=64, batch=1, longest=8), np.random.default_rng(3)
        return np.mean([sharpness(crops._sharp_crop(stage, rng)) for _ in range(10)])

    monkeypatch.setattr("training.data.DRAWN_SHARE", 0)
    assert mean_sharpness(0.5) < 0.7 * mean_sharpness(1.0)


def test_workers_take_turns_and_make_what_one_would(crops):
    crops.curriculum = lambda progress: Curriculum(crop=64, batch=1, longest=10)
    one, two = (
        itertools.islice(DataLoader(crops, batch_size=None, num_workers=workers), 4)
        for workers in (1, 2)
    )
    for alone, by_turns in zip(one, two, strict=True):
        assert torch.equal(alone[0], by_turns[0])


def test_short_motion_is_seen_more_often_than_long(crops, monkeypatch):
    bounds = []

    def remember(sharp, margin, longest, rng, **options):
        bounds.append(longest)
        return blur.BlurredPhoto(sharp, sharp)

    monkeypatch.setattr("training.data.make_blurred", remember)
    crops.real_share = 0.0
    crops.batch(0, Curriculum(crop=32, batch=200, longest=35))
    assert max(bounds) <= 35
    assert np.quantile(bounds, [0.0, 0.5, 1.0]) == pytest.approx([4, 19.5, 35], abs=3)


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


def agree_with_another(rank, folder):
    """Run in a process of its own: become ``rank`` + 1 everywhere, then agree."""
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    network = SRN(SRNConfig(width=1, blocks=1, kernel=1))
    trainer = Trainer(network, minutes=1, lr=1e-3, seconds=10.0 * rank, processes=2)
    for weight in [*trainer.network.parameters(), *trainer.average.parameters()]:
        weight.data.fill_(rank + 1)
    trainer.agree()
    torch.save(trainer.state_dict(), folder / f"{rank}.pt")
    dist.barrier()  # who leaves early takes the connection away from the other
    dist.destroy_process_group()


def test_two_processes_meet_half_way(tmp_path):
    torch.multiprocessing.spawn(agree_with_another, (tmp_path,), nprocs=2)
    for rank in range(2):
        state = torch.load(tmp_path / f"{rank}.pt")
        assert state["seconds"] == 5
        for weights in (state["network"], state["average"]):
            assert all((weight == 1.5).all() for weight in weights.values())


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
