"""The effect of the embedded weights, as a user sees it in photos."""

from __future__ import annotations

import fakes
import numpy as np
import pytest
import torch
from conftest import SHARED
from PIL import Image, ImageDraw

from training.data import read_pairs
from training.judging.fixed_blur import convolve, motion_kernel, trajectory
from training.judging.scores import score_network
from unblur.models.catalog import DEFAULT_MODEL, find_weights
from unblur.models.weights import load_network

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def network():
    return load_network(find_weights(DEFAULT_MODEL))


@pytest.fixture(scope="module")
def scene():
    """Edges in all directions and colours, with room for blur around them."""
    image = Image.new("RGB", (256, 192), (120, 130, 110))
    draw = ImageDraw.Draw(image)
    for index in range(14):
        x, y = 18 * index, (37 * index) % 150
        draw.rectangle((x, y, x + 30, y + 22), fill=(20 * index % 256, 60 * index % 256, 200))
        draw.line((x, 0, 255 - x, 191), fill=(250, 240, 30 * index % 256), width=2)
    return np.asarray(image)


def blurred(pixels, length):
    kernel = motion_kernel(trajectory(length, np.random.default_rng(5)))
    linear = (pixels.astype(np.float32) / 255) ** 2.2
    return np.round(np.clip(convolve(linear, kernel), 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def error(first, second):
    return np.square(first.astype(float) - second).mean()


@pytest.mark.parametrize("length", [5, 9])
def test_a_moved_scene_comes_closer_to_the_truth(network, scene, length):
    moved = blurred(scene, length)
    assert error(fakes.on_cpu(network)(moved), scene) < 0.99 * error(moved, scene)


@pytest.mark.parametrize("level", [0, 30, 128, 255])
def test_a_flat_card_keeps_its_colour(network, level):
    card = np.full((96, 96, 3), level, np.uint8)
    result = fakes.on_cpu(network)(card).astype(int)
    assert np.abs(result - level).max() <= 2
    assert np.abs(result.mean(axis=(0, 1)) - level).max() <= 1


def test_the_tint_of_a_scene_comes_no_further_from_the_truth(network, scene):
    moved = blurred(scene, 7)
    truth, before = scene.mean(axis=(0, 1)), moved.mean(axis=(0, 1))
    after = fakes.on_cpu(network)(moved).mean(axis=(0, 1))
    assert np.all(np.abs(after - truth) < np.abs(before - truth) + 0.3)


def test_edges_return_to_where_they_were_before_the_blur(network, scene):
    moved = blurred(scene, 7)
    assert offset(moved, scene) != (0, 0)
    assert offset(fakes.on_cpu(network)(moved), scene) == (0, 0)


@pytest.mark.parametrize("is_upright", [True, False])
@pytest.mark.parametrize("length", [6, 10])
def test_an_edge_gets_no_dots_along_it(network, length, is_upright):
    edge = np.full((96, 96, 3), 200, np.uint8)
    edge[:, :48] = 40
    photo = blurred(edge, length)
    turned = photo if is_upright else photo.transpose(1, 0, 2).copy()
    result = fakes.on_cpu(network, precision=torch.float32)(turned).astype(int)
    rows = (result if is_upright else result.transpose(1, 0, 2))[24:72]
    assert np.abs(rows.mean(axis=0) - photo[0]).max() > 10  # it was made sharper
    assert np.abs(rows[::2].mean(axis=0) - rows[1::2].mean(axis=0)).max() < 0.75


def offset(first, second):
    """The place of the peak of two pictures' cross-correlation."""
    spectra = [np.fft.fft2(p.mean(axis=2) - p.mean()) for p in (first, second)]
    correlation = np.fft.ifft2(spectra[0] * np.conj(spectra[1])).real
    return np.unravel_index(correlation.argmax(), correlation.shape)


def test_half_precision_is_close_to_full(network, scene):
    half, full = (
        fakes.on_cpu(network, precision=precision)(scene)
        for precision in (torch.bfloat16, torch.float32)
    )
    assert 10 * np.log10(255**2 / error(half, full)) > 50


def test_tiles_leave_no_seams(network, scene):
    large = np.tile(blurred(scene, 7), (2, 2, 1))
    tiled, whole = (fakes.on_cpu(network, t, torch.float32)(large) for t in (320, 1024))
    assert np.abs(tiled.astype(int) - whole).max() <= 1  # where two roundings differ


@pytest.mark.shared
def test_real_blurred_photos_come_closer_to_the_truth(network):
    pairs = read_pairs(SHARED / "pairs", held_out=True)[:2]
    assert score_network(network, pairs).gain > 0.3
