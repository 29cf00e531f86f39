"""The memory that ncnn takes for a photo, measured from outside, and what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from test_srn_memory import SHAPES

pytest.importorskip("ncnn")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is there on Linux only")

DEBLUR = """\
import json, re, sys
from pathlib import Path
import numpy as np, psutil, torch
from unblur.network.config import SRNConfig
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.network.device_kinds import CPU
from unblur.network.memory import photo_needs
from unblur.network.srn import SRN
from unblur.options import NetworkOptions

torch.set_num_threads(1)
values, tile = json.loads(sys.argv[1]), int(sys.argv[2])
config = SRNConfig.from_dict(values)
network = SRN(config).eval().requires_grad_(False)
options = NetworkOptions(device="cpu", engine="ncnn", tile=tile)
NetworkDeblurrer(network, options)(np.zeros((40, 50, 3), np.uint8))  # loads the libraries
photo = np.random.default_rng(0).integers(0, 256, (480, 320, 3), np.uint8)
needs = photo_needs(
    photo, config, torch.float32, CPU, views=1, is_resident=False, engine="ncnn"
)
before = psutil.Process().memory_info().rss
NetworkDeblurrer(network, options)(photo)
status = Path("/proc/self/status").read_text()  # getrusage counts the parent process, too
taken = (int(re.search(r"VmHWM:\\s+([0-9]+) kB", status)[1]) << 10) - before
print(json.dumps([taken, needs.total(tile) - needs.there]))
"""


@pytest.mark.parametrize("shape", ["compact", "of the paper"])
def test_a_photo_takes_no_more_memory_than_is_told(shape):
    values = SHAPES[shape].to_dict() | {"width": 32, "blocks": 1}
    command = [sys.executable, "-c", DEBLUR, json.dumps(values), "192"]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    taken, told = json.loads(answer.stdout)
    assert 0.3 * told <= taken <= told, (taken, told)
