"""Kill ``unblur --in-place`` at 200 random moments, and check that no photo was damaged.

The network makes each photo brighter each time that it sees it, so that one that
was deblurred twice differs from one that was deblurred once. Runs are children of
this process, which has PyTorch imported already: 200 starts would take minutes.

    python -m benchmarks.kill_in_place
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from PIL import Image

import unblur.models.loading  # imports PyTorch once for all children
import unblur.run.local_runner  # noqa: F401
from unblur import cli
from unblur.models.weights import save_network
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN
from unblur.storage.temporaries import has_unfinished

BRIGHTER = 0.1


def save_weights(path: Path) -> None:
    """Save a tiny network that adds to each pixel."""
    network = SRN(SRNConfig(width=1, blocks=1, kernel=1, residual=True))
    for weight in network.output.parameters():
        weight.data.zero_()
    network.output.bias.data.fill_(BRIGHTER)
    save_network(network, path)


def make_photos(folder: Path, number: int) -> dict[str, bytes]:
    """Write small, different photos, and return them by name."""
    folder.mkdir()
    made = {}
    for index in range(number):
        pixels = np.random.default_rng(index).integers(0, 200, (24, 32, 3), np.uint8)
        path = folder / f"{index:04}.jpg"
        Image.fromarray(pixels).save(path, quality=90)
        made[path.name] = path.read_bytes()
    return made


def start(folder: Path, root: Path) -> int:
    """Start a run in a child of this process, and return its process ID."""
    child = os.fork()
    if child:
        return child
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    options = ["--in-place", "--recursive", "--device", "cpu", "--threads", "1"]
    options += ["--model", str(root / "weights.safetensors")]
    options += ["--history", str(root / f"{folder.name}.sqlite3")]
    try:
        cli.main([*options, str(folder)])
    except SystemExit as error:
        os._exit(int(error.code or 0))
    os._exit(99)


def finish(folder: Path, root: Path) -> None:
    """Let a run finish."""
    code = os.waitstatus_to_exitcode(os.waitpid(start(folder, root), 0)[1])
    assert code == 0, f"a run that nobody killed ended with {code}"


def kill_many(folder: Path, root: Path, kills: int) -> int:
    """Kill runs at random moments; return the number of runs that were at work.

    The moments are such that photos last until the end.
    """
    limit, at_work, photos = 0.5, 0, len(list(folder.iterdir()))
    for number in range(kills):
        child = start(folder, root)
        time.sleep(random.uniform(0, limit))
        ended, _ = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            at_work += 1
        share = len(list(folder.glob("*.orig"))) / photos
        limit = max(0.05, limit * (0.8 if share > number / kills else 1.25))
    return at_work


def check(folder: Path, expected: Path, originals: dict[str, bytes]) -> None:
    """Compare each photo with the result of a single run."""
    names = {path.name for path in folder.iterdir()}
    assert names == {*originals, *(f"{name}.orig" for name in originals)}, "there are other files"
    assert not has_unfinished(folder)
    for name, original in originals.items():
        assert (folder / f"{name}.orig").read_bytes() == original, f"{name}: its original changed"
        once = (expected / name).read_bytes()
        assert once != original
        assert (folder / name).read_bytes() == once, f"{name}: not deblurred once"


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--photos", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    began, root = time.monotonic(), Path(tempfile.mkdtemp(prefix="unblur-kill-"))
    if os.fork() == 0:  # so that no thread of PyTorch runs in the parent of the runs
        save_weights(root / "weights.safetensors")
        os._exit(0)
    os.wait()
    originals = make_photos(root / "photos", arguments.photos)
    shutil.copytree(root / "photos", root / "expected")
    finish(root / "expected", root)
    at_work = kill_many(root / "photos", root, arguments.kills)
    done = len(list((root / "photos").glob("*.orig")))
    finish(root / "photos", root)
    check(root / "photos", root / "expected", originals)
    finish(root / "photos", root)
    check(root / "photos", root / "expected", originals)
    shutil.rmtree(root)
    seconds = time.monotonic() - began
    print(
        f"{at_work} of {arguments.kills} runs were killed before they ended, {done} of "
        f"{arguments.photos} photos were begun by then; each is deblurred once, each original is "
        f"kept, nothing else is left ({seconds:.0f} s)"
    )


if __name__ == "__main__":
    sys.exit(main())
