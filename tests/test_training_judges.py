from __future__ import annotations

import fakes
import numpy as np
import pytest
import torch
from conftest import make_pixels
from fakes import unchanging_srn
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity
from torch import nn

from training.data import Pair
from training.evaluate import aligned, judge, rows_of
from training.judging import letters
from training.judging.cost import kmac_per_pixel, seconds_per_megapixel
from training.judging.dark import NOISE, toned
from training.judging.inference import deblur, deblur_all, unchanged
from training.judging.judges import Subject, judge_letters, judge_sets
from training.judging.lamps import judge_lamps
from training.judging.letters import compare
from training.judging.nights import area_of_lamps, draw_night, drawn_pairs
from training.judging.quality import mean_colour, ssim
from training.judging.scores import Crops, judge_crops, score_network
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN

CPU = torch.device("cpu")


def some_network():
    torch.manual_seed(1)
    return SRN(SRNConfig(width=2, blocks=1, recurrent=True, residual=True)).eval()


@pytest.mark.parametrize("views", [1, 3, 8])
def test_what_is_evaluated_is_what_the_tool_makes(views):
    network = some_network()
    pixels = make_pixels(61, 75)
    expected = fakes.on_cpu(network, precision=torch.float32, views=views)(pixels)
    result = deblur(network, pixels, views, torch.float32)
    assert np.abs(result.astype(int) - expected).max() <= 1  # where two roundings differ
    assert not np.array_equal(result, pixels)


def test_lamps_are_guarded_where_they_are_judged_as_the_tool_does():
    network = unchanging_srn()
    network.output.bias.data.fill_(-0.1)
    pixels = make_pixels(61, 75) // 2
    pixels[20:40, 30:50] = 255
    expected = fakes.on_cpu(network, precision=torch.float32)(pixels)
    assert np.array_equal(deblur(network, pixels, precision=torch.float32), expected)
    alone = deblur_all(network, [pixels], precision=torch.float32, is_guarded=False)[0]
    assert alone[30, 40, 0] < 250 < expected[30, 40, 0]


@pytest.mark.parametrize("black", [0, 120])
def test_dark_and_pale_photos_get_usual_tones_where_they_are_judged_as_the_tool_does(black):
    network, pixels = some_network(), make_pixels(61, 75) // 5 + np.uint8(black)
    expected = fakes.on_cpu(network, precision=torch.float32)(pixels).astype(int)
    photos = [pixels, make_pixels(61, 75)]
    dark, _ = deblur_all(network, photos, precision=torch.float32)
    assert np.abs(dark - expected).max() <= 1
    alone, _ = deblur_all(network, photos, precision=torch.float32, is_guarded=False)
    assert np.abs(alone - expected).max() > 1


@pytest.mark.parametrize("black", [0, 0.4])
def test_a_dark_pair_has_less_light_and_a_pale_pair_less_contrast(black):
    pair = Pair("a", make_pixels(40, 50), make_pixels(40, 50, seed=1))
    other = toned(pair, black, 0.2)
    for photo, usual in ((other.blurred, pair.blurred), (other.sharp, pair.sharp)):
        assert photo.dtype == np.uint8
        assert np.abs(photo - (255 * black + 0.2 * usual)).mean() < 2 * NOISE


def test_photos_deblurred_together_come_out_as_those_deblurred_alone(monkeypatch):
    monkeypatch.setattr("training.judging.inference.PIXELS_AT_ONCE", 2 * 40 * 50)
    network = some_network()
    photos = [make_pixels(40, 50, seed=seed) for seed in range(3)]
    photos.insert(1, make_pixels(50, 40, seed=3))
    together = deblur_all(network, photos, 2, torch.float32)
    for photo, result in zip(photos, together, strict=True):
        alone = deblur(network, photo, 2, torch.float32)
        assert np.abs(result.astype(int) - alone).max() <= 1


def as_tensor(pixels):
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))[None]


def test_similarity_and_colours_are_those_of_scikit_image():
    photo, other = make_pixels(60, 70), make_pixels(60, 70, seed=1) // 2
    expected = structural_similarity(photo, other, channel_axis=2, data_range=255)
    assert ssim(as_tensor(photo), as_tensor(other)).item() == pytest.approx(expected, abs=1e-4)
    colour = rgb2lab(other).mean(axis=(0, 1))
    assert mean_colour(as_tensor(other))[0].numpy() == pytest.approx(colour, abs=1e-2)


def test_a_network_that_returns_its_input_gains_nothing_and_harms_nothing():
    pairs = [Pair("a", make_pixels(40, 50), make_pixels(40, 50, seed=1))]
    score = score_network(unchanging_srn(), pairs)
    assert score == judge_crops(unchanged, pairs, CPU).score()
    assert (score.gain, score.worse, score.harm, score.harm_to_colour) == (0, 0, 0, 0)
    assert score.ssim < 1
    assert score.tint > 0


def test_a_network_that_reddens_gains_nothing_and_takes_colours_from_the_truth():
    network = unchanging_srn()
    network.output.bias.data[0] = 0.1
    sharp = make_pixels(40, 50)
    pairs = [Pair("a", sharp // 2, sharp)]
    score, before = score_network(network, pairs), judge_crops(unchanged, pairs, CPU).score()
    assert score.gain < 1
    assert score.tint > before.tint + 5
    assert score.harm == pytest.approx(0.1 * 255 / 3, rel=0.2)
    assert score.harm_to_colour > 5


def test_a_network_that_makes_halos_is_said_to_overshoot():
    sharp = np.full((40, 50, 3), 100, np.uint8)
    sharp[:, 25:] = 180
    halo = sharp.copy()
    halo[:, 25:27] = 200  # 20 brighter than anything near it
    moved = np.roll(sharp, 3, axis=1)  # what is left of blur within three pixels is none
    crops = judge_crops(
        unchanged, [Pair("halo", halo, sharp), Pair("moved", moved[:, 5:], sharp[:, 5:])], CPU
    )
    assert crops.overshoot.tolist() == pytest.approx([2 / 50, 0])


def test_photos_that_a_network_spoils_are_counted():
    network = unchanging_srn()
    network.output.bias.data[:] = 0.1
    grey = np.full((40, 50, 3), 128, np.uint8)
    pairs = [Pair("bright", grey, grey + 40), Pair("dark", grey, grey - 40)]
    assert score_network(network, pairs).worse == 0.5


def halved(photos):
    return [photo // 2 for photo in photos]


def test_several_sets_together_score_as_one_set_of_all_their_photos():
    pairs = [Pair(str(n), make_pixels(40, 50), make_pixels(40, 50, seed=n)) for n in (1, 2, 3)]
    parts = [judge_crops(halved, part, CPU) for part in (pairs[:1], pairs[1:])]
    assert Crops.joined(parts).score() == judge_crops(halved, pairs, CPU).score()


def test_the_crops_that_lose_most_are_listed_with_their_loss():
    photo = make_pixels(40, 50)
    nearly = np.maximum(photo, 1) - 1
    sets = {
        "dark": [Pair("first", photo, photo // 3), Pair("second", nearly, photo)],
        "bright": [Pair("third", photo, photo)],
    }
    column = judge_sets(sets, Subject(halved, CPU), together="both")
    assert column["dark: crops that lose 0.1 dB"] == "50%"
    assert column["both: crops that lose 0.1 dB"] == "67%"
    assert float(column["both: sharp photos changed by, of 255"]) > 10
    worst = [column[f"dark to bright: worst crop {place}"] for place in (1, 2)]
    assert worst[0].endswith("dB (bright, third)")
    assert worst[1].endswith("dB (dark, second)")
    assert float(worst[0].split()[0]) < float(worst[1].split()[0]) < 0
    assert "dark to bright: worst crop 3" not in column


def lamp(value):
    photo = np.full((40, 40, 3), 20, np.uint8)
    photo[10:20, 10:20] = value
    return photo


def test_a_lamp_that_goes_grey_has_lost_its_white():
    white = lamp(255)
    assert judge_lamps([white], [white], CPU).lost == 0
    assert judge_lamps([lamp(226)], [white], CPU).lost == 0
    half = white.copy()
    half[10:15, 10:20] = 200
    assert judge_lamps([half], [white], CPU).lost == pytest.approx(4 / 8)  # of 8 rows inside
    assert judge_lamps([lamp(224)], [white], CPU).lost == 1


def test_the_channel_of_a_coloured_lamp_that_clips_must_stay_clipped():
    red = lamp((255, 40, 40))
    assert judge_lamps([lamp((255, 0, 0))], [red], CPU).lost == 0
    assert judge_lamps([lamp((200, 40, 40))], [red], CPU).lost == 1


def test_what_is_made_beside_a_lamp_is_counted_and_what_is_far_from_it_is_not():
    white = lamp(255)
    beside, far = white.copy(), white.copy()
    beside[10:20, 23:26] = 60  # brighter than all that is within three pixels
    far[35:] = 60
    assert judge_lamps([beside], [white], CPU).overshoot > 0.05
    assert judge_lamps([far], [white], CPU).overshoot == 0


def test_clipped_areas_of_synthetic_nights_are_wanted_white():
    scene = draw_night(200, np.random.default_rng(1))
    assert scene.min() >= 0
    assert scene.max() > 1.5
    [pair] = drawn_pairs(1)
    clipped = (pair.sharp >= 250).all(axis=2)
    assert 0.002 < clipped.mean() < 0.2
    assert judge_lamps([pair.sharp], [pair.sharp], CPU).lost == 0
    assert judge_lamps([pair.blurred // 2], [pair.sharp], CPU).lost == 1


def test_lamps_are_looked_for_where_little_is_white():
    dark, street, snow = (np.full((40, 40, 3), 20, np.uint8) for _ in range(3))
    street[10:15, 10:20] = 250
    snow[:20] = 250
    assert area_of_lamps(street) > area_of_lamps(dark) == area_of_lamps(snow) == 0


@pytest.mark.parametrize(
    ("text", "read", "right", "turned"),
    [
        ("night train", "night train", 10, 0),
        ("night train", "nighttrain\n", 10, 0),
        ("night", "might", 4, 1),
        ("night", "nght", 4, 0),  # a letter that is not read is no other letter
        ("night", "nigghht", 5, 0),
        ("modern", "modem", 4, 1),  # r and n were taken for m
        ("night", "", 0, 0),
    ],
)
def test_letters_that_are_right_and_those_that_turned_are_told_apart(text, read, right, turned):
    assert compare(text, read) == (right, turned)


@pytest.mark.skipif(not letters.is_installed(), reason="tesseract is not installed")
def test_sharp_letters_are_read_and_a_letter_turned_into_another_is_counted():
    [page, *_] = letters.pages(lengths=[4])
    read = letters.read_pages([page.pair.sharp])
    found = letters.judge_letters([page.text], read)
    assert found.right > 0.95
    wrong = page.text.replace("e", "x")
    share = page.text.count("e") / len("".join(page.text.split()))
    assert letters.judge_letters([wrong], read).turned == pytest.approx(share, abs=0.03)


def test_letters_are_not_judged_without_tesseract(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    column = judge_letters([], Subject(unchanged, CPU))
    assert column == {"letters": "not judged: tesseract is not installed"}


class OneConvolution(nn.Module):
    """Sees the picture through one kernel of 3x3, 3 to 4 channels."""

    config = SRNConfig()

    def __init__(self):
        super().__init__()
        self.output = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, photo):
        return [self.output(photo)]


def test_the_multiply_adds_of_one_convolution_are_those_counted_by_hand():
    assert kmac_per_pixel(OneConvolution()) == pytest.approx(3 * 4 * 3 * 3 / 1000)


def test_a_network_takes_time(monkeypatch):
    monkeypatch.setattr("training.judging.cost.SIDE", 64)
    assert 0 < seconds_per_megapixel(unchanging_srn(), "cpu", runs=1) < 60


def test_the_table_has_a_row_for_each_measure_and_a_column_for_each_network(monkeypatch, capsys):
    monkeypatch.setattr("training.judging.cost.SIDE", 64)
    network = unchanging_srn()
    subjects = {"blurred": Subject(unchanged, CPU), "next": Subject(unchanged, CPU, network)}
    [columns] = judge(subjects, ["cost"], None, None)
    rows = rows_of(columns)
    assert [row[:2] for row in rows] == [["kMAC a pixel", ""], ["seconds a megapixel on cpu", ""]]
    assert float(rows[0][2]) == round(kmac_per_pixel(network))
    assert "cost: photos" in capsys.readouterr().err


def test_columns_of_the_table_are_aligned():
    lines = aligned([["", "blurred", "next"], ["gain", "+0.00", "+2.67"]]).splitlines()
    assert lines == ["      blurred  next", "gain  +0.00    +2.67"]
