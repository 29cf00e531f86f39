"""Keep self-test results and the list of GPUs with Vulkan, in two files in the cache folder.

The files may be deleted at any time; then devices are tested and listed again.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from unblur.config import verdicts_file, vulkan_file
from unblur.network import vulkan_probe
from unblur.network.self_test import PRECISIONS, Verdict
from unblur.storage.json_files import JsonFile

MOST_RESULTS = 100
"""Number of results to keep, the newest: each version of PyTorch or of a driver adds some."""


class SelfTestCache:
    """A file of verdicts by key; see `unblur.network.checked_devices.Verdicts`.

    Args:
        path: Path of the file; by default the user's.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = JsonFile(path or verdicts_file())

    def get(self, key: str) -> Verdict | None:
        """Return the verdict with a key, or ``None``."""
        return _verdict(self._file.read().get(key))

    def put(self, key: str, verdict: Verdict) -> None:
        """Store a verdict; if it is only temporary, delete the older one instead."""
        verdicts = self._file.read()
        known = verdicts.pop(key, None)
        if verdict.lasts:
            verdicts[key] = asdict(verdict)
        elif known is None:
            return
        self._file.write(dict([*verdicts.items()][-MOST_RESULTS:]))


def keep_gpu_list() -> None:
    """Keep the list of GPUs with Vulkan in the user's cache folder, for later runs."""
    vulkan_probe.keep_in(JsonFile(vulkan_file()))


def _verdict(values: object) -> Verdict | None:
    """Return a verdict from its stored fields; ``None`` if they are damaged."""
    if not isinstance(values, dict):
        return None
    try:
        verdict = Verdict(**values)
    except TypeError:  # unknown or missing fields
        return None
    texts = verdict.precision, verdict.problem, verdict.reason, verdict.process
    is_valid = all(isinstance(text, str) for text in texts) and verdict.precision in PRECISIONS
    return verdict if is_valid else None
