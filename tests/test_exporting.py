from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import Result
from fakes import on_cpu

from unblur.cli import main
from unblur.errors import UsageError, WeightsError
from unblur.extras import is_older
from unblur.models import darktable, onnx_graph
from unblur.models.catalog import MODELS
from unblur.models.exporting import check_target
from unblur.models.importing import keep
from unblur.models.model_card import UNKNOWN, read_card
from unblur.models.onnx_graph import PhotoNetwork, encode_onnx
from unblur.models.weights import open_model
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN

COMPACT = SRNConfig(
    width=2, blocks=1, kernel=3, unshuffle=2, residual=True, resample="area", levels=2
)
GRAY = SRNConfig(channels=1, width=2, blocks=1, kernel=5, recurrent=True, levels=2)
SIZES = [(1, 1, 1), (1, 5, 33), (2, 17, 32), (1, 61, 47)]
"""Batch sizes, heights and widths; only one needs no padding."""


def random_network(config):
    torch.manual_seed(3)
    return SRN(config).eval().requires_grad_(False)


def export(*arguments):
    """Run ``unblur models export``."""
    result = CliRunner().invoke(main, ["models", "export", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout_bytes, result.stderr)


def needs_libraries():
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    if is_older(torch.__version__, onnx_graph.LEAST_TORCH):
        pytest.skip("this PyTorch is too old to export ONNX files")


@pytest.fixture(scope="module")
def exported():
    """A small network that sees one channel at a time, as `srn-lstm` does, and its ONNX file."""
    needs_libraries()
    network = random_network(GRAY)
    return network, encode_onnx(network, half=False, notes={"license": "MIT", "name": "small"})


@pytest.fixture(scope="module")
def halved():
    """A small network that folds pixels, as `srn-compact` does, and its ONNX file in float16."""
    needs_libraries()
    network = random_network(COMPACT)
    return network, encode_onnx(network, half=True, notes={})


def run_onnx(data, photos, sides=()):
    """Run an ONNX file; perhaps with fixed sides, as darktable does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    for name, side in sides:
        options.add_free_dimension_override_by_name(name, side)
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (result,) = session.run(["output"], {"input": photos})
    return result


def run_network(network, photos):
    with torch.inference_mode():
        return PhotoNetwork(network)(torch.from_numpy(photos)).numpy()


def photos_of(size):
    batch, height, width = size
    return np.random.default_rng(0).random((batch, 3, height, width), np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_another_program_makes_the_same_photo_of_any_size(exported, size):
    network, data = exported
    photos = photos_of(size)
    result = run_onnx(data, photos)
    assert (result.shape, result.dtype) == (photos.shape, np.float32)
    assert np.abs(result - run_network(network, photos)).max() < 1e-5
    assert np.abs(result - photos).max() > 0.01


@pytest.mark.parametrize("size", SIZES)
def test_float16_makes_nearly_the_same_photo(halved, size):
    network, data = halved
    photos = photos_of(size)
    result = run_onnx(data, photos)
    assert (result.shape, result.dtype) == (photos.shape, np.float32)
    assert np.abs(result - run_network(network, photos)).max() < 1e-3


def test_the_graph_pads_as_the_program_does(exported):
    network, data = exported
    photo = np.random.default_rng(1).integers(0, 85, (37, 51, 3), np.uint8)  # without patterns
    wanted = on_cpu(network, precision=torch.float32)(photo)
    result = run_onnx(data, photo.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    assert np.abs(np.rint(result[0].transpose(1, 2, 0) * 255) - wanted).max() <= 1


def test_an_export_leaves_the_network_as_it_was(halved):
    network, _ = halved
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}


def test_a_file_tells_where_it_comes_from_and_nothing_of_this_machine(exported):
    import onnx

    _, data = exported
    model = onnx.load_from_string(data)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told == {"license": "MIT", "name": "small"}
    shape = model.graph.output[0].type.tensor_type.shape
    assert [d.dim_param or d.dim_value for d in shape.dim] == ["batch", 3, "height", "width"]
    assert b".py" not in data


def test_dimensions_can_be_fixed_by_name_as_darktable_does(exported):
    network, data = exported
    photos = photos_of((1, 64, 64))
    result = run_onnx(data, photos, [("batch", 1), ("height", 64), ("width", 64)])
    assert np.abs(result - run_network(network, photos)).max() < 1e-5


def test_the_command_writes_what_is_known_of_a_model(exported, monkeypatch, tmp_path):
    _, data = exported
    seen = {}

    def fake(network, half, notes):
        seen.update(notes, half=half, width=network.config.width)
        return data

    monkeypatch.setattr("unblur.models.onnx_graph.encode_onnx", fake)
    keep(random_network(COMPACT), "mine", "mine.pt", None)
    file = tmp_path / "mine.onnx"
    result = export("--model", "mine", "--precision", "fp16", file)
    assert (result.code, result.stdout.decode().strip()) == (0, str(file))
    assert file.read_bytes() == data
    assert (seen["half"], seen["precision"], seen["width"]) == (True, "fp16", 2)
    assert (seen["name"], seen["source"], seen["license"]) == ("mine", "mine.pt", UNKNOWN)
    assert seen["weights_sha256"] == open_model("mine").sha256
    assert json.loads(seen["network"])["unshuffle"] == 2
    refused = export("--model", "mine", file)
    assert (refused.code, f"{file} exists; --overwrite replaces it" in refused.stderr) == (2, True)
    assert export("--model", "mine", "--overwrite", file).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine.onnx"]


@pytest.mark.weights
def test_the_card_of_the_embedded_network_is_complete():
    weights, known = open_model("srn-compact"), MODELS["srn-compact"]
    card = read_card("srn-compact", weights)
    notes = card.notes(known.config, "fp32")
    assert notes["license"] == "MIT"
    assert notes["weights_sha256"] == known.sha256
    for text in (known.training_data, known.good_at, known.bad_at, known.source):
        assert text in notes["card"]


def package(onnx=b"the graph", name="denoise-small"):
    """The members of a package for darktable."""
    keep(random_network(COMPACT), "small", "small.pt", None)
    data = darktable.pack(onnx, name, read_card("small", open_model("small")))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


def test_a_package_is_laid_out_as_darktable_reads_it():
    members = package()
    assert [*members] == [
        "denoise-small/config.json", "denoise-small/model.onnx", "denoise-small/model.yaml",
    ]  # fmt: skip
    config = json.loads(members["denoise-small/config.json"])
    for key in ("id", "name", "description", "task", "backend", "version"):
        assert isinstance(config[key], str)
    assert (config["id"], config["task"], config["backend"]) == ("denoise-small", "denoise", "onnx")
    assert (config["tiling"], config["spatial_dims"]) == (True, ["height", "width"])
    assert all(isinstance(text, str) for text in config["model_card"].values())
    assert {"license", "training_data", "source", "paper"} <= config["model_card"].keys()


def test_a_package_describes_itself_to_the_packaging_tool_of_darktable():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    members = package()
    described = yaml.safe_load(members["denoise-small/model.yaml"])
    config = json.loads(members["denoise-small/config.json"])
    assert described == config | {"type": "single"}


def test_the_same_package_has_the_same_bytes():
    keep(random_network(COMPACT), "small", "small.pt", None)
    card = read_card("small", open_model("small"))
    assert darktable.pack(b"graph", "denoise-a", card) == darktable.pack(
        b"graph", "denoise-a", card
    )


def test_the_network_in_a_package_runs(exported):
    _, data = exported
    members = package(data)
    photos = photos_of((1, 40, 24))
    assert run_onnx(members["denoise-small/model.onnx"], photos).shape == photos.shape


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("model", None, "choose a --format"),
        ("model.pt", None, "choose a --format"),
        ("model.dtmodel", "onnx", "does not fit --format onnx"),
        ("model.onnx", "dtmodel", "does not fit --format dtmodel"),
        ("model", "dtmodel", "does not fit --format dtmodel"),
        ("My Model.dtmodel", None, "use lower-case letters"),
        ("..dtmodel", None, "use lower-case letters"),
        ("missing/model.onnx", None, "the folder does not exist"),
        ("folder.onnx", None, "is a folder"),
        ("photo.jpg/model.onnx", None, "photo.jpg is not a folder"),
    ],
)
def test_a_name_that_cannot_be_written_is_refused(tmp_path, name, kind, words):
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UsageError, match=words):
        check_target(tmp_path / name, kind, overwrite=False)


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [("a.onnx", None, "onnx"), ("A.ONNX", None, "onnx"), ("a", "onnx", "onnx"),
     ("denoise-a.dtmodel", None, "dtmodel"), ("denoise-a.dtmodel", "dtmodel", "dtmodel")],
)  # fmt: skip
def test_the_format_follows_from_the_name(tmp_path, name, kind, found):
    assert check_target(tmp_path / name, kind, overwrite=False) == found


def test_without_the_extra_one_line_says_how_to_install_it(tmp_path, monkeypatch):
    keep(random_network(COMPACT), "mine", "mine.pt", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = export("--model", "mine", tmp_path / "mine.onnx")
    assert result.code == 4
    assert "need the extra onnx: pip install 'unblur[onnx]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.glob("mine*")) == []


def test_an_old_pytorch_is_refused(monkeypatch):
    needs_libraries()
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(WeightsError, match=r"need PyTorch 2\.7 or newer"):
        encode_onnx(random_network(COMPACT), half=False, notes={})


def test_the_help_of_the_command_imports_nothing_heavy():
    program = (
        "import sys\nfrom unblur.cli import main\n"
        "try: main(['models', 'export', '--help'])\n"
        "except SystemExit: print([n for n in ('torch', 'onnx', 'numpy') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]"
