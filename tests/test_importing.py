from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from published_files import (
    STEP,
    assert_computes_as_the_original,
    checkpoint_members,
    golden_members,
    make_arrays,
    make_zip,
)
from safetensors.torch import save_file
from test_tensorflow_checkpoint import make_checkpoint

from unblur.errors import UsageError, WeightsError
from unblur.models import importing
from unblur.models.catalog import MODELS, find_weights, installed_path
from unblur.models.importing import keep, read_networks
from unblur.models.published import CONFIGS, load_published
from unblur.models.weights import decode_network, load_network, read_notes, save_network
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN
from unblur.storage.temporaries import temporary_name

COMPACT = MODELS["srn-compact"].config


@pytest.fixture
def color(monkeypatch):
    """The variables of a published colour network, as if it were small."""
    for name, config in CONFIGS.items():
        monkeypatch.setitem(CONFIGS, name, replace(config, width=2, blocks=1))
    return make_arrays("srn-color")


@pytest.fixture(scope="module")
def compact():
    """A network of the embedded one's configuration."""
    torch.manual_seed(0)
    return SRN(COMPACT)


@pytest.fixture
def write(tmp_path):
    """Write an archive of members and return its path."""

    def write(members, name="weights.zip"):
        (tmp_path / name).write_bytes(make_zip(members))
        return tmp_path / name

    return write


def write_files(folder, arrays):
    for name, data in zip(("index", "data-00000-of-00001"), make_checkpoint(arrays), strict=True):
        (folder / f"{STEP}.{name}").write_bytes(data)
    return folder / STEP


def same(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_a_checkpoint_is_found_by_its_prefix_or_any_of_its_files(tmp_path, color, ending):
    prefix = write_files(tmp_path, color)
    ((name, found),) = read_networks(prefix.with_name(prefix.name + ending)).items()
    assert name == "srn-color"
    assert same(found, load_published(prefix))


@pytest.mark.parametrize(
    "folder", ["checkpoints/color", "color/checkpoints", "a\\b", "x/y/../../z"]
)
def test_an_archive_is_read_wherever_its_checkpoint_lies(tmp_path, write, color, folder):
    ((name, found),) = read_networks(write(checkpoint_members(folder, color))).items()
    assert name == "srn-color"
    assert same(found, load_published(write_files(tmp_path, color)))
    assert {path.name for path in tmp_path.iterdir()} == {
        "weights.zip", f"{STEP}.index", f"{STEP}.data-00000-of-00001",
    }  # fmt: skip


def test_of_several_checkpoints_the_authors_step_is_taken(tmp_path, write, color):
    other = make_arrays("srn-color", seed=1)
    members = checkpoint_members("a", other, "deblur.model-600000")
    members |= checkpoint_members("b", color) | checkpoint_members("c", other, "deblur.model-9")
    (found,) = read_networks(write(members)).values()
    assert same(found, load_published(write_files(tmp_path, color)))


def optimiser_variables(arrays):
    """Variables that TensorFlow saves in addition to those of a network in training."""
    slots = ("Adam", "Adam_1", "Momentum", "ExponentialMovingAverage")
    scalars = {"Variable": np.int32(262000), "global_step": np.int64(262000)}
    powers = {f"beta{n}_power": np.float32(0.5) for n in (1, 2)}
    rest = {f"{name}/{slot}": np.zeros_like(a) for name, a in arrays.items() for slot in slots}
    rest |= {f"train/{name}/Adam": np.zeros_like(array) for name, array in arrays.items()}
    return rest | {name: np.asarray(value) for name, value in (scalars | powers).items()}


REAL_BLUR = [
    ("srn-realblur-j", "RealBlurJ_pre_trained+GOPRO+BSD500", 262000),
    ("srn-realblur-r", "RealBlurR_pre_trained+GOPRO+BSD500", 20000),
    ("srn-rsblur", "SRN-Deblur_RSBlur_real", 262000),
]


@pytest.mark.parametrize(("name", "folder", "step"), REAL_BLUR)
def test_a_checkpoint_of_real_blur_is_known_by_its_folder(tmp_path, color, name, folder, step):
    prefix = tmp_path / folder / "checkpoints" / f"deblur.model-{step}"
    prefix.parent.mkdir(parents=True)
    weights = {key: array for key, array in color.items() if key.endswith(("weights", "biases"))}
    files = make_checkpoint(weights | optimiser_variables(weights))
    for ending, data in zip(("index", "data-00000-of-00001"), files, strict=True):
        prefix.with_name(f"{prefix.name}.{ending}").write_bytes(data)
    ((found, network),) = read_networks(prefix.with_name(f"{prefix.name}.index")).items()
    assert found == name
    assert same(network, load_published(write_files(tmp_path, color)))


def test_an_archive_of_real_blur_gives_each_network_its_name(write, color):
    members = {}
    for seed, (_, folder, step) in enumerate(REAL_BLUR):
        arrays = make_arrays("srn-color", seed)
        members |= checkpoint_members(folder, arrays, f"deblur.model-{step}")
    found = read_networks(write(members))
    assert found.keys() == {name for name, _, _ in REAL_BLUR}
    assert not same(found["srn-realblur-j"], found["srn-realblur-r"])


def test_a_checkpoint_of_other_training_does_not_get_the_authors_name(tmp_path, color):
    write_files(tmp_path, color)
    for path in tmp_path.glob(f"{STEP}.*"):
        path.rename(path.with_name(path.name.replace("523000", "262000")))
    (name,) = read_networks(tmp_path / "deblur.model-262000")
    assert name == "deblur.model-262000"


def test_files_that_macos_adds_are_passed_over(write, color):
    members = {"__MACOSX/a/._deblur.model-523000.index": b"junk"}
    assert read_networks(write(members | checkpoint_members("a", color)))


def test_only_the_wanted_networks_are_read(write, color):
    gray = checkpoint_members("gray", make_arrays("srn-gray"))
    gray[f"gray/{STEP}.data-00000-of-00001"] = b"damaged"
    path = write(checkpoint_members("color", color) | gray)
    assert [*read_networks(path, {"srn-color"})] == ["srn-color"]
    with pytest.raises(WeightsError, match=f"gray/{STEP}.*cut off"):
        read_networks(path)


def without(arrays, name):
    return {key: value for key, value in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda a: without(a, "g_net/enc2_2/conv1/biases"),
            "no variable g_net/enc2_2/conv1/biases",
        ),
        (
            lambda a: a | {"g_net/enc9_1/weights": np.ones(1, np.float32)},
            "'g_net/enc9_1/weights' do",
        ),
        (
            lambda a: a | {"g_net/enc2_1/biases": np.ones(63, np.float32)},
            r"entries.1.bias .*\(63,\)",
        ),
        (
            lambda a: a | {"g_net/enc2_1/weights": np.ones(9, np.float32)},
            r"enc2_1/weights .*\(9,\)",
        ),
        (
            lambda a: a | {"g_net/dec1_0/biases": np.full(3, np.nan, np.float32)},
            "output.bias holds values that are not finite",
        ),
        (lambda a: {"generator/w": np.ones(1, np.float32)}, "not a checkpoint of a published SRN"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_the_first_difference(
    write, color, change, words
):
    with pytest.raises(WeightsError, match=rf"weights\.zip: folder/{STEP}.*{words}"):
        read_networks(write(checkpoint_members("folder", change(color))))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "neither"),
        (b"<html>not found</html>", "neither"),
        (b"PK\3\4 and then nothing", "damaged or incomplete archive"),
        (make_zip({"readme.txt": b"hello"}), "holds no TensorFlow checkpoints"),
        (make_zip({"a.index": b"junk"}), r"a\.index: damaged or not a checkpoint"),
        (make_zip({f"{n}.index": b"" for n in range(17)}), "holds 17 TensorFlow checkpoints"),
        (b"\x10\0\0\0\0\0\0\0{ and then nothing", "header"),
    ],
)
def test_what_is_no_weights_is_refused_by_name(tmp_path, data, words):
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=rf"bad: .*{words}"):
        read_networks(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(WeightsError, match="none: no such file"):
        read_networks(tmp_path / "none")


def test_an_archive_that_was_cut_off_is_refused(write, color):
    path = write(checkpoint_members("a", color))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="incomplete archive"):
        read_networks(path)


def test_a_member_that_was_damaged_is_named(write, color):
    path = write(checkpoint_members("a", color))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=rf"a/{STEP}\.data-00000-of-00001 is damaged"):
        read_networks(path)


def test_an_archive_cannot_unpack_to_more_than_weights_need(write, monkeypatch):
    monkeypatch.setattr(importing, "LARGEST_INDEX_BYTES", 1000)
    with pytest.raises(WeightsError, match=r"a\.index is too large"):
        read_networks(write({"a.index": bytes(10_000)}))


class Evil:
    def __reduce__(self):
        return print, ("a file ran code",)


@pytest.fixture
def safe_torch(monkeypatch):
    """The oldest version of PyTorch that may read its files; tests may have an older one."""
    monkeypatch.setattr(importing, "SAFE_TORCH", "2.5")


@pytest.mark.usefixtures("safe_torch")
def test_a_pytorch_file_cannot_run_code(tmp_path, capsys):
    torch.save({"output.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match="holds more than weights, which is not loaded"):
        read_networks(tmp_path / "evil.pt")
    assert "ran code" not in capsys.readouterr().out


def test_an_old_pytorch_reads_no_pytorch_files(tmp_path, compact, monkeypatch):
    torch.save(compact.state_dict(), tmp_path / "net.pt")
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(WeightsError, match="need PyTorch 2.10 or newer"):
        read_networks(tmp_path / "net.pt")


@pytest.mark.usefixtures("safe_torch")
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": {f"module.{name}": value for name, value in weights.items()}},
        lambda weights: {name: value.double() for name, value in weights.items()},
    ],
)
def test_a_state_dict_of_this_network_is_read(tmp_path, compact, wrap):
    path = tmp_path / "mine.pth"
    torch.save(wrap(compact.state_dict()), path)
    ((name, found),) = read_networks(path).items()
    assert (name, found.config) == ("mine", COMPACT)
    assert same(found, compact)


@pytest.mark.usefixtures("safe_torch")
@pytest.mark.filterwarnings("ignore:Validating sparse tensor:UserWarning")  # PyTorch 2.14
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds no state dict"),
        ({"output.weight": 3}, "'output.weight' is no plain array"),
        ({"output.weight": torch.ones(2, 2).to_sparse()}, "no plain array"),
        ({"output.weight": torch.empty(3, 3, device="meta")}, "no plain array"),
        ({"conv.weight": torch.ones(1)}, "output.weight is missing"),
        ({"output.weight": torch.ones(5, 32, 3, 3)}, r"shape \(5, 32, 3, 3\), without LSTM"),
        ({"output.weight": torch.tensor(1.0)}, r"shape \(\), without LSTM"),
        ({"output.weight": torch.ones(3, 32, 5, 5)}, "decoders.0.0.conv1.bias is missing"),
    ],
)
def test_a_state_dict_of_another_network_is_refused(tmp_path, content, words):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=words):
        read_networks(tmp_path / "other.pt")


@pytest.mark.usefixtures("safe_torch")
def test_whole_numbers_are_no_weights(tmp_path, compact):
    weights = compact.state_dict() | {"output.bias": torch.zeros(12, dtype=torch.int32)}
    torch.save(weights, tmp_path / "ints.pt")
    with pytest.raises(WeightsError, match=r"output.bias holds torch.int32"):
        read_networks(tmp_path / "ints.pt")


@pytest.mark.usefixtures("safe_torch")
def test_arrays_that_share_memory_are_kept_apart(tmp_path, compact):
    weights = compact.state_dict()
    weights["encoders.0.0.conv2.bias"] = weights["encoders.0.0.conv1.bias"]
    torch.save(weights, tmp_path / "tied.pt")
    (found,) = read_networks(tmp_path / "tied.pt").values()
    assert same(load_network(keep(found, "tied", "tied.pt", None)), found)


def test_a_safetensors_file_keeps_its_configuration_and_precision(tmp_path):
    network = SRN(SRNConfig(width=2, blocks=1))
    save_network(network, tmp_path / "small.safetensors", torch.float16)
    (found,) = read_networks(tmp_path / "small.safetensors").values()
    assert found.config == network.config
    kept = keep(found, "small", "small.safetensors", None)
    assert {p.dtype for p in decode_network(kept.read_bytes()).parameters()} == {torch.float16}


def test_a_safetensors_file_of_another_program_is_recognised_by_its_shapes(tmp_path, compact):
    save_file(compact.state_dict(), tmp_path / "bare.safetensors")
    (found,) = read_networks(tmp_path / "bare.safetensors").values()
    assert same(found, compact)


def test_what_is_kept_is_known_by_its_name_and_tells_where_it_is_from(compact):
    path = keep(compact, "mine", "mine.pt", "c0ffee")
    assert find_weights("mine") == path == installed_path("mine")
    assert same(load_network(path), compact)
    notes = read_notes(path)
    assert (notes["unblur.source"], notes["unblur.source-sha256"]) == ("mine.pt", "c0ffee")
    assert [other.name for other in path.parent.iterdir()] == ["mine.safetensors"]


def test_keeping_the_same_weights_again_changes_nothing(compact):
    path = keep(compact, "mine", "mine.pt", None)
    before = path.stat().st_mtime_ns
    assert keep(compact, "mine", "elsewhere.pt", None).stat().st_mtime_ns == before


def test_what_a_killed_import_left_is_removed_after_an_hour(compact, pass_hours):
    folder = installed_path("mine").parent
    folder.mkdir(parents=True)
    (folder / temporary_name("mine.safetensors", 200)).touch()
    pass_hours(1.1)
    kept = keep(compact, "mine", "mine.pt", None)
    assert list(folder.iterdir()) == [kept]


def test_other_weights_of_a_name_are_not_replaced(compact):
    path = keep(compact, "mine", "mine.pt", None)
    with pytest.raises(WeightsError, match="run: unblur models remove mine"):
        keep(SRN(COMPACT), "mine", "mine.pt", None)
    assert same(load_network(path), compact)


def test_damaged_weights_are_replaced(compact):
    path = keep(compact, "mine", "mine.pt", None)
    path.write_bytes(path.read_bytes()[:-1])
    assert same(load_network(keep(compact, "mine", "mine.pt", None)), compact)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../mine", "is not a model name"),
        ("", "is not a model name"),
        (".hidden", "is not a model name"),
        ("srn-compact", "comes with the program"),
        ("srn-color", "srn-color is another network"),
    ],
)
def test_a_name_that_is_taken_or_none_is_refused(compact, name, words):
    with pytest.raises(UsageError, match=words):
        keep(compact, name, "mine.pt", None)


def test_a_full_disk_is_told_beforehand(compact, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 10**6))
    with pytest.raises(WeightsError, match=r"15\.1 MB are needed, 1\.0 MB are free"):
        keep(compact, "mine", "mine.pt", None)
    assert list(installed_path("mine").parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_with_the_way_out(compact, monkeypatch, jpeg):
    monkeypatch.setenv("UNBLUR_MODELS_DIR", str(jpeg / "models"))
    with pytest.raises(WeightsError, match="UNBLUR_MODELS_DIR names another"):
        keep(compact, "mine", "mine.pt", None)


@pytest.mark.shared
def test_the_authors_graph_is_computed_by_what_was_imported(tmp_path):
    (tmp_path / "srndeblur_models.zip").write_bytes(make_zip(golden_members()))
    ((name, found),) = read_networks(tmp_path / "srndeblur_models.zip").items()
    kept = keep(found, name, "srndeblur_models.zip", None)
    assert_computes_as_the_original(load_network(kept))
