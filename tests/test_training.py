from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from conftest import make_pixels
from crop_sources import make_sources

from training.drawn import draw_over
from training.even_kernels import make_even
from training.loop import save, saved_when_stopped, train
from training.losses import BALANCED, SQUARED, weighted_error
from training.mean import mean_network
from training.muon import orthogonalise
from training.pool import CropPool
from training.sharp_head import SharpHead, are_equal
from training.sheet import draw
from training.synthesis.batches import BatchMaker
from training.synthesis.recipe import Recipe
from training.trainer import COMPACT, Trainer, compiled, initialise
from unblur.models.weights import load_network
from unblur.network.bands import LineBuffers
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN


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


def sharp_and_soft_crops():
    """Batches (blurred, wanted) of noise: in each, the first two crops are wanted as they are."""
    while True:
        wanted = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
        soft = torch.nn.functional.avg_pool2d(wanted[2:].float(), 3, 1, 1).byte()
        yield torch.cat([wanted[:2], soft]), wanted


def test_a_network_is_taught_to_tell_sharp_crops_from_soft_ones(trainer):
    taught = Trainer(trainer.network, minutes=60, lr=5e-3, head_weight=0.5)
    for blurred, wanted in itertools.islice(sharp_and_soft_crops(), 80):
        taught.train_on(blurred, wanted)
    crops, _ = next(sharp_and_soft_crops())
    logits = taught.head(taught.network.run_scales(crops / 255)[1])
    assert logits[:2].min() > 0 > logits[2:].max()


def test_what_tells_sharp_crops_is_taught_to_the_network_itself(trainer):
    head = SharpHead(trainer.network.config.state_channels)
    blurred, wanted = next(sharp_and_soft_crops())
    is_sharp = are_equal(blurred, wanted)
    assert is_sharp.tolist() == [True, True, False, False]
    head.loss(trainer.network.run_scales(blurred / 255)[1], is_sharp).backward()
    assert trainer.network.entries[0].weight.grad.abs().sum() > 0


def test_a_training_with_a_head_goes_on_from_its_state(trainer):
    first = Trainer(trainer.network, minutes=60, lr=2e-3, head_weight=0.02)
    batches = sharp_and_soft_crops()
    first.train_on(*next(batches))
    resumed = Trainer(SRN(trainer.network.config), minutes=60, lr=2e-3, head_weight=0.02)
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    batch = next(batches)
    assert resumed.train_on(*batch) == first.train_on(*batch)
    weights = zip(resumed.head.parameters(), first.head.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.02), (0.02, 0.0)])
def test_a_training_goes_on_with_a_head_that_it_lacked_and_without_one(trainer, before, after):
    first = Trainer(trainer.network, minutes=60, lr=2e-3, head_weight=before)
    batches = sharp_and_soft_crops()
    first.train_on(*next(batches))
    resumed = Trainer(SRN(trainer.network.config), minutes=60, lr=2e-3, head_weight=after)
    new = copy.deepcopy(resumed.head.state_dict()) if resumed.head else {}
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    assert all(torch.equal(value, resumed.head.state_dict()[name]) for name, value in new.items())
    assert resumed.step == 1
    batch = next(batches)
    assert resumed.train_on(*batch) == first.train_on(*batch)  # errors before this step
    assert resumed.optimisers[1].state_dict()["state"][0]["step"] == 2


def test_weights_that_are_kept_have_no_head(trainer, tmp_path):
    with_head = Trainer(trainer.network, minutes=60, lr=2e-3, head_weight=0.02)
    with_head.train_on(*next(sharp_and_soft_crops()))
    save(with_head, tmp_path)
    kept = load_network(tmp_path / "average.safetensors")
    names = [name for name, _ in trainer.network.named_parameters()]
    assert [name for name, _ in kept.named_parameters()] == names


def test_inner_convolutions_alone_are_for_muon(trainer):
    with_head = Trainer(trainer.network, minutes=60, lr=2e-3, head_weight=0.02)
    muon, adamw, for_head = (
        {id(weight) for group in optimiser.param_groups for weight in group["params"]}
        for optimiser in with_head.optimisers
    )
    assert for_head == {id(weight) for weight in with_head.head.parameters()}
    by_id = {id(weight): name for name, weight in with_head.network.named_parameters()}
    assert muon | adamw == set(by_id)
    assert not muon & adamw
    outer = {by_id[key] for key in adamw if not by_id[key].endswith("bias")}
    assert outer == {"entries.0.weight", "output.weight"}


def test_a_training_without_the_second_loss_has_no_head(trainer):
    assert trainer.head is None
    assert trainer.state_dict()["head"] == {}


def features_that_change_along_x(channels):
    return torch.randn(1, channels, 1, 20).expand(1, channels, 20, 20)


def interior(image):
    return image[:, :, 8:-8, 8:-8]


@pytest.fixture
def enlargers(trainer):
    """Layers that enlarge the maps of a network of random weights, with 4, 8 and 16 channels."""
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
    assert torch.load(tmp_path / "state.pt", weights_only=True)["seconds"] == 90
    assert "Stopped after 1.5 min" in capsys.readouterr().out


def test_a_training_that_was_stopped_goes_on_with_new_crops(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr("training.loop.STEPS_OF_A_LINE", 2)
    make, asked = BatchMaker(make_sources(), Recipe(), 2, 32, lambda: 8.0, seed=0), []

    def remember(number):
        asked.append(number)
        return make(number)

    def train_on(trainer):
        trainer.go_on(minutes=1e-9)  # over when the first line is printed
        pool = CropPool(remember, trainer.batches_made, pooled=3, looks=1)
        train(trainer, pool, tmp_path)

    train_on(trainer)
    resumed = Trainer(SRN(trainer.network.config), minutes=60, lr=2e-3)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
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


def test_the_logarithm_of_the_error_counts_from_the_second_half_on(trainer):
    image = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    for seconds, weights in ((0, SQUARED), (0.9 * 3600, BALANCED)):
        trainer.seconds = seconds
        trainer.train_on(image, image.flip(3))
        assert trainer.error_weights.tolist() == pytest.approx(weights)


def test_a_schedule_goes_on_where_the_last_one_stopped_and_ends_where_it_is_told(trainer):
    trainer.go_on(minutes=10, end=0.6)
    trainer.seconds += 300
    assert trainer.progress == pytest.approx(0.3)
    trainer.go_on(minutes=5)
    assert trainer.progress == pytest.approx(0.3)
    trainer.seconds += 300
    assert trainer.progress == 1
    assert trainer.is_over
    trainer.go_on(minutes=5, begin=0.5)
    assert trainer.progress == 0.5
    assert not trainer.is_over


def test_the_balanced_error_pulls_harder_at_what_is_nearly_right():
    wanted = torch.full((2, 3, 8, 8), 0.5)
    off = torch.tensor([0.01, 0.1]).reshape(2, 1, 1, 1)

    def pull(weights):
        result = (wanted + off).requires_grad_(True)
        weighted_error(result, wanted, torch.tensor(weights)).backward()
        return result.grad.mean((1, 2, 3)) / off.flatten()

    assert pull(SQUARED)[0] == pytest.approx(pull(SQUARED)[1].item(), rel=1e-4)
    assert pull(BALANCED)[0] > 2 * pull(BALANCED)[1]


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


@pytest.mark.filterwarnings("ignore:Guards may run slower:RuntimeWarning")  # only with 3.13.0
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("head_weight", [0.0, 0.02])
def test_a_step_is_one_graph_for_the_compiler(trainer, head_weight, precision):
    trainer = Trainer(trainer.network, minutes=60, lr=2e-3, head_weight=head_weight)
    trainer._precision = precision
    try:
        judge = torch.compile(trainer._judge, dynamic=False, backend="eager", fullgraph=True)
    except RuntimeError as error:
        pytest.skip(str(error))
    blurred = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    sharp = blurred.roll(1, 3)
    loss, *_ = judge(blurred, sharp)
    assert loss.item() == pytest.approx(trainer._judge(blurred, sharp)[0].item())
    loss.backward()
    for weight in trainer._trained():
        assert weight.grad.dtype == torch.float32
        assert weight.grad.isfinite().all()


def squared_error(blurred, sharp):
    return [(blurred - sharp).square().mean()]


@pytest.mark.parametrize("error", [RuntimeError, ImportError, OSError])
def test_a_machine_that_cannot_compile_trains_without_it(monkeypatch, capsys, error):
    def fail(blurred, sharp):
        raise error("no C compiler was found\nand more lines")

    monkeypatch.setattr(torch, "compile", lambda judge, dynamic: fail)
    blurred, sharp = torch.zeros(3, requires_grad=True), torch.ones(3)
    assert compiled(squared_error, blurred, sharp) is squared_error
    said = "not compiled, so training is slower: no C compiler was found\n"
    assert capsys.readouterr().out == said


def test_a_machine_that_fails_on_the_way_back_trains_without_compiling(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda judge, dynamic: lambda *photos: judge(*photos))
    assert compiled(squared_error, torch.zeros(3), torch.ones(3)) is squared_error  # no gradient
    blurred = torch.zeros(3, requires_grad=True)
    assert compiled(squared_error, blurred, torch.ones(3)) is not squared_error
    assert blurred.grad is not None


def test_a_device_without_memory_left_is_not_taken_for_one_that_cannot_compile(monkeypatch):
    def fail(blurred, sharp):
        raise torch.OutOfMemoryError("no memory is left")

    monkeypatch.setattr(torch, "compile", lambda judge, dynamic: fail)
    with pytest.raises(torch.OutOfMemoryError):
        compiled(squared_error, torch.zeros(3), torch.ones(3))
