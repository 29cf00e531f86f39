from __future__ import annotations

import pytest
import torch

from training.synthesis import focus, motion, paths
from training.synthesis.recipe import FOCUS_RECIPE

COUNT, SIZE = 4, 48
PATHS = {
    "hand": paths.draw_hand,
    "walk": paths.draw_walk,
    "pan": paths.draw_pan,
}


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def noise(channels=3, height=SIZE, width=SIZE + 8, count=COUNT):
    return torch.rand(count, channels, height, width, generator=generator())


def draw_paths(kind, longest=20.0, instants=paths.KERNEL_INSTANTS):
    """Paths (B, T, 2) that are all as long as ``longest``."""
    return PATHS[kind](torch.full((COUNT,), longest), generator(), instants, shortest=longest)


def steady(length, instants, along):
    """A path (1, T, 2) of constant speed along one axis."""
    path = torch.zeros(1, instants, 2)
    path[0, :, along] = ((torch.arange(instants) + 0.5) / instants - 0.5) * length
    return path


def centre_of_mass(images):
    """Centres (B, 2) of the light in images (B, C, H, W), in pixels from the middle."""
    light = images.sum(1)
    return torch.stack(
        [
            (light.sum(3 - axis) * middle).sum(1) / light.sum((1, 2))
            for axis in (1, 2)
            for middle in [torch.arange(light.shape[axis]) - (light.shape[axis] - 1) / 2]
        ],
        -1,
    )


def spot(y, x, size=129, count=COUNT):
    """A soft round spot at a place measured from the middle."""
    places = torch.arange(size) - (size - 1) / 2
    light = torch.exp(-((places[:, None] - y) ** 2 + (places - x) ** 2) / 8)
    return light.expand(count, 3, -1, -1).clone()


def some_poses(longest=20.0, instants=16, size=SIZE):
    drawn = paths.draw_hand(torch.full((COUNT,), longest / 2), generator(), instants)
    return motion.draw_turning(drawn, torch.full((COUNT,), longest / 2), generator(), size)


# Kernels


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("longest", [1.0, 45.0])
def test_a_kernel_moves_nothing_and_sums_to_one(kind, longest):
    kernels = motion.kernels_of(draw_paths(kind, longest))
    assert kernels.shape[1] == kernels.shape[2]
    assert kernels.shape[1] % 2 == 1
    assert kernels.min() >= 0
    assert kernels.sum((1, 2)) == pytest.approx(1, abs=1e-5)
    assert centre_of_mass(kernels[:, None]).abs().max() < 1e-4


def test_a_kernel_of_steady_motion_is_a_line_of_its_length():
    kernel = motion.kernels_of(steady(8, 32, along=1))[0]
    middle = kernel.shape[0] // 2
    assert kernel[middle].sum() == pytest.approx(1)
    assert kernel[middle, middle - 3 : middle + 4] == pytest.approx(1 / 8, abs=1e-6)


def test_a_path_that_stands_still_has_a_kernel_that_changes_nothing():
    kernels = motion.kernels_of(torch.zeros(COUNT, 16, 2))
    assert torch.allclose(motion.blur_by_kernels(noise(), kernels), noise(), atol=1e-5)


def test_a_path_that_leaves_its_kernel_is_shrunk_without_a_shift():
    path = draw_paths("pan", 45.0)
    held, free = motion.kernels_of(path, 8), motion.kernels_of(path)
    assert held.shape[1:] == (17, 17)
    assert held.min() >= 0
    assert free.shape[1] > 17
    assert held.sum((1, 2)) == pytest.approx(1, abs=1e-5)
    assert centre_of_mass(held[:, None]).abs().max() < 1e-4


def test_a_kernel_may_be_larger_than_its_path():
    path = draw_paths("hand", 5.0)
    wide, tight = motion.kernels_of(path, 12), motion.kernels_of(path)
    rest = 12 - tight.shape[1] // 2
    assert torch.allclose(wide[:, rest:-rest, rest:-rest], tight, atol=1e-6)


def test_convolution_by_fourier_transform_is_convolution():
    image, kernels = noise(), torch.rand(COUNT, 7, 7, generator=generator())
    padded = torch.nn.functional.pad(image, (3, 3, 3, 3), mode="replicate")
    expected = [
        torch.nn.functional.conv2d(one[:, None], kernel.flip(0, 1)[None, None])[:, 0]
        for one, kernel in zip(padded, kernels, strict=True)
    ]
    assert torch.allclose(motion.blur_by_kernels(image, kernels), torch.stack(expected), atol=1e-4)


# What all kinds of blur have in common


def blur_by_kernel(image, margin=0):
    return motion.blur_by_kernels(image, motion.kernels_of(draw_paths("hand")), margin)


def blur_by_turn(image, margin=0):
    return motion.blur_by_poses(image, some_poses(), margin)


def blur_before_nothing(image, margin=0):
    nothing = torch.zeros(COUNT, 4, *image.shape[2:])
    near, far = draw_paths("pan", instants=9), draw_paths("walk", instants=9)
    return motion.blur_layers(image, nothing, far, near, margin)


BLURS = [blur_by_kernel, blur_by_turn, blur_before_nothing]


@pytest.mark.parametrize("blur", BLURS)
def test_a_flat_picture_stays_flat(blur):
    assert blur(torch.full((COUNT, 3, SIZE, SIZE), 2.5)) == pytest.approx(2.5, abs=1e-5)


@pytest.mark.parametrize("blur", BLURS)
def test_light_is_never_negative(blur):
    lamp = torch.zeros(COUNT, 3, SIZE, SIZE)
    lamp[:, :, 20:22, 20:22] = 10
    assert blur(lamp).min() >= 0
    assert blur(lamp).max() < 10


@pytest.mark.parametrize("blur", BLURS)
def test_a_margin_is_what_is_cut_off(blur):
    assert torch.allclose(blur(noise(), 5), blur(noise())[..., 5:-5, 5:-5], atol=1e-5)


@pytest.mark.parametrize("blur", BLURS)
def test_blur_is_linear_in_light(blur):
    first, second = noise(), noise().flip(3)
    together = blur(first + 3 * second)
    assert torch.allclose(together, blur(first) + 3 * blur(second), atol=1e-5)


@pytest.mark.parametrize("blur", [blur_by_kernel, blur_before_nothing])
def test_blur_keeps_the_sum_of_light_and_its_centre(blur):
    picture = spot(5, -7)
    blurred = blur(picture)
    assert (blurred - picture).abs().max() > 0.1
    assert blurred.sum((1, 2, 3)) == pytest.approx(picture.sum((1, 2, 3)), rel=1e-4)
    assert torch.allclose(centre_of_mass(blurred), centre_of_mass(picture), atol=1e-3)


def test_a_crop_is_blurred_alike_alone_and_in_a_batch():
    image, foreground = noise(), noise(4)
    path, poses = draw_paths("walk", instants=10), some_poses()
    stages = [
        (motion.kernels_of, path, 15),
        (motion.blur_by_kernels, image, motion.kernels_of(path)),
        (motion.blur_by_poses, image, poses),
        (motion.blur_layers, image, foreground, path, path.flip(1)),
        (motion.reference_of_layers, image, foreground),
    ]
    for stage, *values in stages:
        alone = [value[2:3] if isinstance(value, torch.Tensor) else value for value in values]
        assert torch.allclose(stage(*values)[2:3], stage(*alone), atol=1e-5)


def refuse(*_):
    raise AssertionError("a GPU would have to be waited for")


@pytest.fixture
def no_values(monkeypatch):
    """Make each read of a tensor's values fail."""
    for name in ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)


def test_no_stage_waits_for_its_device(no_values):
    image, foreground, random = noise(), noise(4), generator()
    longest = torch.full((COUNT,), 20.0)
    path, other, shaken = (draw(longest, random, 9) for draw in PATHS.values())
    motion.blur_by_kernels(image, motion.kernels_of(path, 20))
    motion.blur_by_poses(image, motion.draw_turning(path, longest, random, SIZE))
    motion.blur_layers(image, foreground, other, shaken)
    paths.draw_pan(longest, random, paths.KERNEL_INSTANTS)
    lenses = FOCUS_RECIPE.lenses
    focus.defocus(image[..., :SIZE], focus.draw_defocus(COUNT, random, SIZE, lenses))
    focus.defocus_layers(image, foreground, *focus.draw_layered(COUNT, random, lenses))


def test_only_the_radius_of_a_kernel_has_to_be_waited_for(no_values):
    with pytest.raises(AssertionError, match="waited"):
        motion.kernels_of(draw_paths("hand"))


# Cameras that turn


def test_a_camera_that_only_slides_blurs_as_its_kernel_does():
    path = draw_paths("hand", 12.0, instants=24)
    by_poses = motion.blur_by_poses(noise(), motion.sliding_poses(path))
    by_kernel = motion.blur_by_kernels(noise(), motion.kernels_of(path))
    assert torch.allclose(by_poses, by_kernel, atol=1e-5)


def test_a_pose_says_where_a_point_of_the_scene_is_seen():
    image = noise(height=9, width=9, count=1)
    quarter = torch.tensor([[[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]]])  # (y, x) is seen at (-x, y)
    down = torch.tensor([[[[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]]])
    turned = motion.blur_by_poses(image, quarter)
    assert turned[0, 0, 4 - 3, 4 + 2] == pytest.approx(image[0, 0, 4 + 2, 4 + 3].item(), abs=1e-5)
    moved = motion.blur_by_poses(image, down)
    assert torch.allclose(moved[..., 2:, :-1], image[..., :-2, 1:], atol=1e-5)


def test_a_zoom_shows_the_scene_larger():
    poses = motion.sliding_poses(torch.zeros(1, 1, 2)) * torch.tensor([2.0, 2.0, 1.0])
    near, far = spot(4, 8, count=1), spot(8, 16, count=1)
    seen = motion.blur_by_poses(near, poses)
    assert torch.allclose(centre_of_mass(seen), centre_of_mass(far), atol=0.02)


@pytest.mark.parametrize("pivot", [(0.0, 0.0), (300.0, -80.0)])
def test_each_point_of_the_scene_is_on_average_where_the_sharp_picture_shows_it(pivot):
    path = draw_paths("hand", 9.0, instants=16)
    angles = torch.linspace(0, 0.3, 16).expand(COUNT, -1)
    poses = motion.turning_poses(
        path, angles, (angles - 0.1).exp(), torch.tensor([pivot]).expand(COUNT, -1)
    )
    corner = torch.tensor([-90.0, 128.0, 1.0])
    assert (poses @ corner).mean(1) == pytest.approx(corner[:2].expand(COUNT, -1), abs=1e-3)


def test_a_turn_leaves_its_pivot_and_draws_arcs_around_it():
    angles = torch.linspace(-0.05, 0.05, 32)[None]
    poses = motion.turning_poses(
        torch.zeros(1, 32, 2), angles, torch.ones(1, 32), torch.tensor([[10.0, -20.0]])
    )
    pivot, point = (poses @ torch.tensor(place) for place in ([10.0, -20, 1], [10.0, 30, 1]))
    assert (pivot - torch.tensor([10.0, -20.0])).abs().max() < 1e-4
    assert (point[0, 0] - point[0, -1]).norm() == pytest.approx(50 * 0.1, rel=0.01)
    assert (point[0, :, 0].amax() - point[0, :, 0].amin()) == pytest.approx(5, rel=0.01)


@pytest.mark.parametrize("place", [(0, 0), (30, -25), (-35, -35)])
def test_a_turning_camera_shifts_no_part_of_the_picture(place):
    picture = spot(*place)
    blurred = motion.blur_by_poses(picture, some_poses(size=129))
    assert (blurred - picture).abs().max() > 0.05
    assert torch.allclose(centre_of_mass(blurred), centre_of_mass(picture), atol=0.05)


def test_a_drawn_turn_blurs_the_corners_no_more_than_its_bound():
    longest = torch.tensor([0.0, 4.0, 20.0, 45.0])
    poses = motion.draw_turning(torch.zeros(4, 20, 2), longest, generator(), 256)
    corners = torch.tensor([[y, x, 1.0] for y in (-128.0, 128) for x in (-128.0, 128)])
    seen = poses @ corners.mT  # (B, T, 2, corners)
    streaks = seen.diff(dim=1).norm(dim=2).sum(1).amax(1)
    assert (streaks <= longest + 1e-3).all()
    assert (streaks[1:] > 0.05 * longest[1:]).all()


def test_a_drawn_turn_blurs_places_differently():
    poses = some_poses(20.0, size=256)
    matrices = poses[..., :2]
    assert (matrices.amax(1) - matrices.amin(1)).amax((1, 2)).min() > 1e-3


def test_a_camera_turns_by_some_degrees_at_most():
    still, longest = torch.zeros(64, 20, 2), torch.full((64,), 100.0)
    poses = motion.draw_turning(still, longest, generator(), size=32, zoom_share=0)
    angles = torch.atan2(poses[:, :, 1, 0], poses[:, :, 0, 0])
    turned = angles.amax(1) - angles.amin(1)
    assert 0.8 * motion.STEEPEST < turned.max() <= motion.STEEPEST + 1e-5
    assert torch.allclose(poses[..., 0, 0], angles.cos(), atol=2e-3)


# Layers


def square_over(background):
    """An opaque red square (1, 4, H, W) in the middle, 20 pixels wide."""
    foreground = torch.zeros(1, 4, *background.shape[2:])
    foreground[:, 0, 14:34, 14:34] = 0.7
    foreground[:, 3, 14:34, 14:34] = 1
    return foreground


def ramp(first, last, length):
    """Share of the time in which a steadily moving segment covers each of SIZE pixels."""
    places = torch.arange(SIZE) + 0.5
    return ((places - first) / length + 0.5).clamp(0, 1) * ((last - places) / length + 0.5).clamp(
        0, 1
    )


@pytest.mark.parametrize("along", [0, 1])
@pytest.mark.parametrize("length", [6, 13])
def test_a_moving_square_covers_a_still_scene_for_a_known_share_of_the_time(along, length):
    scene = noise(height=SIZE, width=SIZE, count=1)
    foreground = square_over(scene)
    blurred = motion.blur_layers(
        scene, foreground, torch.zeros(1, 8 * length, 2), steady(length, 8 * length, along)
    )
    across = torch.zeros(SIZE)
    across[14:34] = 1
    covered = ramp(14, 34, length)
    covered = covered[:, None] * across if along == 0 else across[:, None] * covered
    red = torch.tensor([0.7, 0, 0])[:, None, None]
    # Pixels are not points: the ramp is rounded off in its first and last one.
    assert torch.allclose(
        blurred[0], covered * red + (1 - covered) * scene[0], atol=1 / (8 * length) + 1e-3
    )
    inside = (covered > 1 / length) & (covered < 1 - 1 / length)
    error = blurred[0] - covered * red - (1 - covered) * scene[0]
    assert inside.sum() >= 20 * (length - 3)
    assert error[:, inside].abs().max() < 1e-4


def test_at_each_instant_the_foreground_hides_what_is_behind_it():
    scene, foreground = noise(), noise(4)
    foreground[:, 3] = (foreground[:, 3] > 0.5).float()
    foreground[:, :3] *= foreground[:, 3:]
    near = torch.tensor([[4.0, -3.0], [-1.0, 5.0], [-3.0, -2.0]]).expand(COUNT, -1, -1)
    far = torch.tensor([[-2.0, 0.0], [2.0, 3.0], [0.0, -3.0]]).expand(COUNT, -1, -1)
    blurred = motion.blur_layers(scene, foreground, far, near, margin=6)
    expected = 0
    for there, here in zip(far[0].int().tolist(), near[0].int().tolist(), strict=True):
        front, back = (
            layer.roll(shift, (2, 3)) for layer, shift in ((foreground, here), (scene, there))
        )
        expected = expected + torch.where(front[:, 3:] == 1, front[:, :3], back) / 3
    assert torch.allclose(blurred, expected[..., 6:-6, 6:-6], atol=1e-5)


def test_a_scene_and_what_is_before_it_that_move_alike_are_one_picture():
    scene = noise(count=1)
    foreground = square_over(scene)
    path = steady(6, 7, along=1).round()
    blurred = motion.blur_layers(scene, foreground, path, path)
    picture = motion.reference_of_layers(scene, foreground)
    expected = motion.blur_by_kernels(picture, motion.kernels_of(path))
    assert torch.allclose(blurred, expected, atol=1e-5)


def test_the_wanted_picture_has_its_foreground_where_it_is_on_average():
    scene = torch.zeros(1, 3, SIZE, SIZE)
    foreground = square_over(scene)
    wanted = motion.reference_of_layers(scene, foreground, margin=4)
    path = paths.draw_walk(torch.tensor([12.0]), generator(), 16, shortest=12)
    blurred = motion.blur_layers(scene, foreground, torch.zeros(1, 16, 2), path, margin=4)
    assert wanted.shape == (1, 3, SIZE - 8, SIZE - 8)
    assert torch.equal(wanted[0, 0], foreground[0, 0, 4:-4, 4:-4])
    assert torch.allclose(centre_of_mass(blurred), centre_of_mass(wanted), atol=1e-3)


def test_glass_lets_the_scene_through():
    scene = noise(count=1)
    glass = torch.full((1, 4, SIZE, SIZE + 8), 0.25)
    wanted = motion.reference_of_layers(scene, glass)
    assert torch.allclose(wanted, 0.25 + 0.75 * scene)
