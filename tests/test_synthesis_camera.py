from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import make_pixels

from training.synthesis import light, processing, sensor
from training.synthesis.light import CAMERA_TO_SRGB, Colours, Highlights, Response
from training.synthesis.processing import Denoising, Sharpening
from training.synthesis.sensor import Camera


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def photos(count=3, height=32, width=48):
    """Photos of different content, (count, 3, height, width) in [0, 1]."""
    pixels = make_pixels(height, width * count).astype(np.float32) / 255
    return (
        torch.from_numpy(pixels)
        .permute(2, 0, 1)
        .reshape(3, height, count, width)
        .transpose(0, 2)
        .transpose(1, 2)
        .contiguous()
    )


def nth(parameters, index):
    """The parameters of one image of a batch."""
    if isinstance(parameters, torch.Tensor):
        return parameters[index : index + 1]
    fields = {f.name: getattr(parameters, f.name) for f in dataclasses.fields(parameters)}
    return type(parameters)(**{name: nth(field, index) for name, field in fields.items()})


def true_colours(count=1):
    """A camera that sees sRGB and needs no white balance."""
    return Colours(torch.ones(count, 3), torch.eye(3).repeat(count, 1, 1))


def camera(count=1, shot=0.0, read=0.0, phase=0, detail=0.0, colours=None):
    return Camera(
        colours=colours or true_colours(count),
        shot=torch.full((count,), shot),
        read=torch.full((count,), read),
        phase=torch.full((count,), phase),
        detail=torch.full((count,), detail),
        is_used=torch.ones(count, dtype=torch.bool),
    )


def highlights(boost, area=0.0, start=0.5, is_by_channel=False):
    return Highlights(
        torch.tensor([boost]),
        torch.tensor([area]),
        torch.tensor([start]),
        torch.tensor([is_by_channel]),
    )


RESPONSES = Response(torch.tensor([1.8, 2.2, 2.4]), torch.tensor([0.0, 0.3, 0.6]))


def test_light_that_was_stored_is_found_again():
    stored = photos()
    assert torch.allclose(RESPONSES.encode(RESPONSES.decode(stored)), stored, atol=1e-6)


def test_the_response_has_the_numbers_of_the_formula():
    linear = photos()
    for index, gamma, contrast in [(0, 1.8, 0.0), (1, 2.2, 0.3), (2, 2.4, 0.6)]:
        y = linear[index].double() ** (1 / gamma)
        expected = (1 - contrast) * y + contrast * (3 * y**2 - 2 * y**3)
        assert torch.allclose(RESPONSES.encode(linear)[index].double(), expected, atol=1e-6)


def test_what_is_brighter_than_white_is_stored_as_white():
    assert torch.equal(RESPONSES.encode(torch.full((3, 3, 2, 2), 7.0)), torch.ones(3, 3, 2, 2))


def lit_sign(colour):
    """A nearly clipped sign with dark letters, on a dark wall."""
    scene = torch.full((1, 3, 64, 64), 0.1)
    scene[..., 16:48, 12:52] = torch.tensor(colour)[:, None, None]
    scene[..., 24:40, 20:44:6] = 0.15
    return scene


@pytest.mark.parametrize(("colour", "area"), [((0.97, 0.97, 0.97), 0.0), ((0.75, 0.7, 0.6), 0.3)])
def test_the_clipped_areas_of_the_wanted_picture_of_a_lit_sign_are_white(colour, area):
    response, scene = nth(RESPONSES, 1), lit_sign(colour)
    bright = light.brighten(response.decode(scene), highlights(8.0, area))
    wanted = response.encode(sensor.expose(bright, camera()))
    sign = (scene > 0.5).all(1, keepdim=True)
    assert sign.sum() > 1000
    assert (wanted.amin(1, keepdim=True)[sign] == 1).all()
    assert torch.allclose(wanted[:, :, :16], scene[:, :, :16], atol=1e-6)


def test_no_white_of_a_blurred_lit_sign_is_wanted_as_grey():
    response, scene = nth(RESPONSES, 1), lit_sign((0.97, 0.95, 0.93))
    bright = light.brighten(response.decode(scene), highlights(10.0))
    blurred = response.encode(torch.stack([bright.roll(d, 2) for d in range(-4, 5)]).mean(0))
    clipped = (blurred == 1) & (scene > 0.5)
    assert clipped.sum() > 1000
    assert (response.encode(bright)[clipped] == 1).all()
    assert (scene[clipped] < 1).all()


@pytest.mark.parametrize(("area", "is_by_channel"), [(0.0, False), (0.2, False), (0.0, True)])
def test_brightening_keeps_the_order_of_light_and_makes_no_cliffs(area, is_by_channel):
    grey = torch.linspace(0, 1, 4096).view(1, 1, 64, 64).expand(1, 3, 64, 64)
    bright = light.brighten(grey, highlights(10.0, area, 0.5, is_by_channel)).flatten(2)
    steps = bright.diff(dim=2)
    assert (steps > 0).all()
    assert steps.max() < 60 / 4096
    assert bright.max() == pytest.approx(10, rel=1e-5)


def test_only_the_channel_that_is_at_white_of_a_coloured_lamp_is_brightened():
    lamp = torch.tensor([1.0, 0.2, 0.1]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    bright = light.brighten(lamp, highlights(5.0, is_by_channel=True))
    assert torch.allclose(bright[0, :, 0, 0], torch.tensor([5.0, 0.2, 0.1]))
    assert torch.equal(light.brighten(lamp, highlights(5.0)), lamp)


def test_a_lit_area_is_the_brightest_share_of_the_scene():
    scene = torch.rand(1, 3, 64, 64, generator=seeded()) * 0.5
    bright = light.brighten(scene, highlights(10.0, 0.05, 0.75))
    boosted = (bright > 9.99 * scene).all(1).float().mean()
    assert boosted == pytest.approx(0.05, abs=0.02)


def test_the_boost_of_a_lit_area_reaches_three_times_its_pixels_at_most():
    scene = torch.rand(1, 1, 64, 64, generator=seeded()).expand(1, 3, 64, 64) ** 8
    bright = light.brighten(scene, highlights(10.0, 0.05, 0.3))
    assert 0.1 < (bright > scene).any(1).float().mean() < 0.17


def test_a_scene_that_is_all_bright_is_brightened_without_a_cliff():
    scene = torch.linspace(0.5, 1.5, 4096).clamp(max=1).view(1, 1, 64, 64).expand(1, 3, 64, 64)
    steps = light.brighten(scene, highlights(10.0, 0.05, 0.3)).flatten(2).diff(dim=2)
    assert steps.min() >= 0
    assert steps.max() < 0.05


def test_scenes_without_highlights_and_tint_stay_exactly_as_they_are():
    scene = photos()
    nothing = light.draw_highlights(3, seeded(), share=0)
    assert torch.equal(light.brighten(scene, nothing), scene)
    assert torch.equal(light.tint(scene, light.draw_tint(3, seeded(), share=0)), scene)


def test_a_tint_keeps_the_brightest_channel_and_dims_the_others():
    colour = light.draw_tint(200, seeded(), share=1)
    assert torch.equal(colour.amax(1), torch.ones(200))
    assert 0 < colour.amin() < 0.3


def test_cameras_keep_grey_and_every_colour_of_srgb():
    matrices = torch.tensor(CAMERA_TO_SRGB)
    assert torch.allclose(matrices.sum(2), torch.ones(len(matrices), 3))
    assert (torch.linalg.inv(matrices) >= 0).all()
    drawn = sensor.draw_camera(8, seeded())
    colours = torch.rand(8, 3, 9, 9, generator=seeded())
    assert torch.allclose(sensor.expose(colours, drawn), colours, atol=1e-5)


def test_a_white_lamp_is_white_through_every_camera():
    lamp = torch.full((8, 3, 12, 12), 6.0)
    drawn = sensor.draw_camera(8, seeded())
    assert torch.allclose(sensor.expose(lamp, drawn), torch.ones(8, 3, 12, 12), atol=1e-5)
    recorded = sensor.record(lamp, drawn, seeded())
    assert torch.allclose(recorded, torch.ones(8, 3, 12, 12), atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.02, 0.5])
def test_noise_has_the_variance_of_shot_and_read_noise(level):
    constants = dataclasses.replace(
        camera(2), shot=torch.tensor([1e-3, 4e-3]), read=torch.tensor([2e-3, 1e-2])
    )
    raw = torch.full((2, 1, 256, 256), level)
    normal = torch.randn(raw.shape, generator=seeded())
    noise = sensor.add_noise(raw, constants, normal) - raw
    expected = level * constants.shot + constants.read**2
    assert torch.allclose(noise.var(dim=(1, 2, 3)), expected, rtol=0.03)
    assert noise.mean().abs() < 5e-4


def autocorrelation(channel, lags):
    """Correlation (lags,) of pairs of pixels (down, right) apart, means over a batch."""
    height, width = channel.shape[-2:]
    return [
        float((channel[..., : height - y, : width - x] * channel[..., y:, x:]).mean())
        / float((channel**2).mean())
        for y, x in lags
    ]


def test_demosaiced_noise_is_correlated_as_bilinear_kernels_imply():
    grey = torch.full((4, 3, 256, 256), 0.5)
    noise = sensor.record(grey, camera(4, read=0.01), seeded()) - grey
    red, green, blue = noise[..., 2:-2, 2:-2].unbind(1)
    # Red and blue: a quarter of the pixels, kernel (1/2, 1, 1/2) along each axis, whose
    # autocorrelation is (3/2, 1, 1/4). Green: half of them, kernel 1 and four times 1/4.
    lags = [(0, 1), (1, 0), (1, 1), (0, 2), (0, 3)]
    for channel in (red, blue):
        expected = [2 / 3, 2 / 3, 4 / 9, 1 / 6, 0]
        assert autocorrelation(channel, lags) == pytest.approx(expected, abs=0.02)
        assert float(channel.var()) == pytest.approx(1e-4 * 9 / 16, rel=0.05)
    assert autocorrelation(green, lags) == pytest.approx([0.4, 0.4, 0.1, 0.05, 0], abs=0.02)
    assert float(green.var()) == pytest.approx(1e-4 * 5 / 8, rel=0.05)


def test_noise_is_stronger_where_white_balance_multiplies():
    colours = Colours(torch.tensor([[2.0, 1.0, 1.5]]), torch.eye(3)[None])
    grey = torch.full((1, 3, 256, 256), 0.5)
    noise = sensor.record(grey, camera(1, read=0.01, colours=colours), seeded()) - grey
    deviation = noise.std(dim=(0, 2, 3)) / torch.tensor([3 / 4, (5 / 8) ** 0.5, 3 / 4])
    assert torch.allclose(deviation, 0.01 * colours.gains[0], rtol=0.03)


@pytest.mark.parametrize(("phase", "rows"), [*enumerate(["RG GB", "GR BG", "GB RG", "BG GR"])])
def test_the_phase_tells_the_colours_of_the_first_pixels(phase, rows):
    sites = sensor.mosaic_sites(torch.tensor([phase]), 4, 6)[0]
    assert torch.equal(sites.sum(0), torch.ones(4, 6))
    seen = [["RGGB"[int(kind)] for kind in row] for row in sites.argmax(0)]
    assert seen == [list(row * 3) for row in rows.split() * 2]


@pytest.mark.parametrize("phase", range(4))
@pytest.mark.parametrize("detail", [0.0, 1.0])
def test_demosaicing_keeps_flat_and_linear_areas(phase, detail):
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(26.0), indexing="ij")
    ramps = torch.stack([0.2 + 0.01 * x, 0.7 - 0.02 * y, 0.1 + 0.01 * (x + y)])[None]
    flat = torch.tensor([0.8, 0.3, 0.1]).view(1, 3, 1, 1).expand(1, 3, 20, 26)
    recorder = camera(phase=phase, detail=detail)
    assert torch.allclose(sensor.record(flat, recorder, seeded())[..., 1:, 1:], flat[..., 1:, 1:])
    inner = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(sensor.record(ramps, recorder, seeded())[inner], ramps[inner], atol=1e-6)


@pytest.mark.parametrize("phase", range(4))
@pytest.mark.parametrize("detail", [0.0, 1.0])
def test_recording_shifts_nothing(phase, detail):
    y, x = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")
    spot = (0.5 * torch.exp(-((y - 15.3) ** 2 + (x - 16.8) ** 2) / 18)).expand(1, 3, 33, 33)
    recorded = sensor.record(spot, camera(phase=phase, detail=detail), seeded())
    for channel in recorded[0]:
        assert float((channel * y).sum() / channel.sum()) == pytest.approx(15.3, abs=0.01)
        assert float((channel * x).sum() / channel.sum()) == pytest.approx(16.8, abs=0.01)


def test_light_that_no_camera_records_stays_exactly_as_it_is():
    scene, none = photos() * 3, sensor.draw_camera(3, seeded(), share=0)
    assert torch.equal(sensor.record(scene, none, seeded()), scene)
    assert torch.equal(sensor.expose(scene, none), scene)


def test_the_noise_of_drawn_cameras_is_what_was_measured_or_of_the_dark():
    drawn = sensor.draw_camera(500, seeded(), dark_share=0)
    assert drawn.shot.min() > 4e-5
    assert drawn.shot.max() < 1.6e-4
    assert drawn.read.max() < 1.4e-3
    dark = sensor.draw_camera(500, seeded(), dark_share=1)
    assert dark.shot.min() < 5e-4
    assert dark.shot.max() > 5e-3
    assert 1e-3 < dark.read.max() < 0.03


def test_processing_of_no_strength_leaves_photos_exactly_as_they_are():
    stored = photos()
    none = Denoising(torch.zeros(3), torch.full((3,), 0.05))
    assert torch.equal(processing.denoise(stored, none), stored)
    none = Sharpening(torch.zeros(3), torch.full((3,), 1.0))
    assert torch.equal(processing.sharpen(stored, none), stored)
    assert torch.equal(processing.shrink(stored[..., :32], 32), stored[..., :32])


def test_denoising_takes_noise_and_keeps_edges():
    clean = torch.full((1, 3, 64, 64), 0.3)
    clean[..., 32:] = 0.8
    noisy = clean + 0.02 * torch.randn(clean.shape, generator=seeded())
    smooth = processing.denoise(noisy, Denoising(torch.tensor([1.0]), torch.tensor([0.04])))
    assert (smooth - clean)[..., :26].std() < 0.5 * (noisy - clean)[..., :26].std()
    assert (smooth - clean)[..., 30:34].abs().mean() < 0.03
    assert smooth.mean() == pytest.approx(float(noisy.mean()), abs=1e-3)


@pytest.mark.parametrize("size", [(31, 45), (32, 44)])
def test_denoising_keeps_ramps_of_any_size(size):
    y, x = (torch.arange(n, dtype=torch.float32) for n in size)
    ramp = (0.2 + 0.01 * y[:, None] + 0.005 * x).expand(1, 3, *size)
    smooth = processing.denoise(ramp, Denoising(torch.tensor([1.0]), torch.tensor([0.01])))
    assert torch.allclose(smooth, ramp, atol=0.01)
    assert (smooth - ramp)[..., 4:-4, 4:-4].mean().abs() < 1e-4


def test_sharpening_adds_what_a_gaussian_blur_takes_away():
    grating = 0.5 + 0.2 * torch.sin(torch.arange(64.0) * 0.7).expand(1, 3, 64, 64)
    sharp = processing.sharpen(grating, Sharpening(torch.tensor([0.8]), torch.tensor([1.2])))
    gain = 1 + 0.8 * (1 - np.exp(-0.5 * (1.2 * 0.7) ** 2))
    inner = (..., slice(8, -8), slice(8, -8))
    assert torch.allclose(sharp[inner] - 0.5, (grating[inner] - 0.5) * gain, atol=1e-4)


def test_sharpening_stays_in_range_and_keeps_flat_areas():
    stored = photos()
    sharp = processing.sharpen(stored, Sharpening(torch.full((3,), 0.8), torch.full((3,), 1.0)))
    assert sharp.min() >= 0
    assert sharp.max() <= 1
    edge = torch.zeros(1, 3, 16, 16)
    edge[..., 8:] = 1
    again = processing.sharpen(edge, Sharpening(torch.tensor([0.8]), torch.tensor([1.0])))
    assert torch.equal(again, edge)
    flat = torch.full((1, 3, 16, 16), 0.4)
    again = processing.sharpen(flat, Sharpening(torch.tensor([0.8]), torch.tensor([1.0])))
    assert torch.allclose(again, flat)


@pytest.mark.parametrize("factor", [1.0, 1.37, 2.0])
def test_shrinking_shifts_nothing_and_keeps_the_mean(factor):
    size = processing.size_before_shrinking(48, factor)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    spot = torch.exp(-((y - 0.4 * size) ** 2 + (x - 0.55 * size) ** 2) / 50).expand(
        1, 3, size, size
    )
    small = processing.shrink(spot, 48)
    assert small.shape == (1, 3, 48, 48)
    position = (torch.arange(48) + 0.5) * size / 48 - 0.5
    mass = small[0, 0].sum()
    assert float((small[0, 0].sum(1) * position).sum() / mass) == pytest.approx(
        0.4 * size, abs=0.02
    )
    assert float((small[0, 0].sum(0) * position).sum() / mass) == pytest.approx(
        0.55 * size, abs=0.02
    )
    assert float(small.mean()) == pytest.approx(float(spot.mean()), rel=1e-3)


def silent(drawn):
    """The same cameras without noise, which is random."""
    return dataclasses.replace(drawn, shot=drawn.shot * 0, read=drawn.read * 0)


STAGES = {
    "encode": (lambda images, p: p.encode(images), light.draw_response),
    "decode": (lambda images, p: p.decode(images), light.draw_response),
    "brighten": (light.brighten, lambda n, g: light.draw_highlights(n, g, share=1)),
    "tint": (light.tint, lambda n, g: light.draw_tint(n, g, share=1)),
    "record": (
        lambda images, p: sensor.record(images, p, seeded()),
        lambda n, g: silent(sensor.draw_camera(n, g)),
    ),
    "expose": (sensor.expose, sensor.draw_camera),
    "denoise": (processing.denoise, lambda n, g: processing.draw_denoising(n, g, share=1)),
    "sharpen": (processing.sharpen, lambda n, g: processing.draw_sharpening(n, g, share=1)),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_batch_is_the_same_as_its_photos_one_by_one(name):
    stage, draw = STAGES[name]
    images, parameters = photos(6), draw(6, seeded())
    batch = stage(images, parameters)
    for index in range(6):
        alone = stage(images[index : index + 1], nth(parameters, index))
        assert torch.allclose(batch[index : index + 1], alone, atol=1e-6)
