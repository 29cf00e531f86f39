"""Files in the form that SRN's authors publish, with untrained weights."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import torch
from conftest import SHARED
from test_tensorflow_checkpoint import make_checkpoint

from unblur.models.published import CONFIGS, variable_names
from unblur.network.srn import SRN

STEP = "deblur.model-523000"


def make_arrays(name, seed=0):
    """The variables of a published network, and some of the optimiser's, by name."""
    rng = np.random.default_rng(seed)
    with torch.device("meta"):
        shapes = {n: tuple(p.shape) for n, p in SRN(CONFIGS[name]).named_parameters()}
    arrays = {"beta1_power": np.ones(1, np.float32)}
    for layer, scope in variable_names(CONFIGS[name]).items():
        out, into, height, width = shapes[f"{layer}.weight"]
        kernel = rng.standard_normal((height, width, into, out), np.float32)
        arrays[f"{scope}/weights"] = kernel * np.float32(0.02)
        arrays[f"{scope}/biases"] = rng.standard_normal(shapes[f"{layer}.bias"], np.float32)
    arrays["g_net/dec1_0/weights/Adam"] = np.ones_like(arrays["g_net/dec1_0/weights"])
    return arrays


def make_zip(members):
    """The bytes of an archive of named bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # with the same time in each process
    return buffer.getvalue()


def checkpoint_members(folder, arrays, step=STEP):
    """A checkpoint's files under the names that they have in an archive."""
    index, shard = make_checkpoint(arrays)
    return {
        f"{folder}/{step}.index": index,
        f"{folder}/{step}.data-00000-of-00001": shard,
        f"{folder}/{step}.meta": b"the graph, which nobody reads",
        f"{folder}/checkpoint": f'model_checkpoint_path: "{step}"'.encode(),
    }


def golden_members():
    """The members of an archive that holds the original checkpoint."""
    files = (SHARED / "srn-golden").glob("deblur.model-*")
    return {f"checkpoints/lstm/{path.name}": path.read_bytes() for path in files}


def assert_computes_as_the_original(network, sample="lstm_noise64x96.npz"):
    """Compare a network with the results of the authors' graph, at all three scales."""
    golden = np.load(SHARED / "srn-golden" / sample)
    with torch.inference_mode():
        results = network(torch.from_numpy(golden["input"]).permute(0, 3, 1, 2))
    for scale, result in enumerate(results):
        wanted = golden[f"out{scale}"].transpose(0, 3, 1, 2)
        assert np.abs(result.numpy() - wanted).max() < 1e-4
