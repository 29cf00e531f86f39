"""Keep self-test results and the list of GPUs with Vulkan, in two files in the cache folder.

The files may be deleted at any time; then devices are tested and listed again.
"""

from __future__ import annotations

from dataclasses import asdict

from unblur.config import self_tests_file, vulkan_file
from unblur.network import vulkan_probe
from unblur.network.self_test import PRECISIONS, SelfTestResult
from unblur.storage.json_files import JsonFile

MOST_RESULTS = 100
"""Number of results to keep, the newest: each version of PyTorch or of a driver adds some."""


class SelfTestCache:
    """The user's file of results by key; see `unblur.network.checked_devices.SelfTestResults`."""

    def __init__(self) -> None:
        self._file = JsonFile(self_tests_file())

    def get(self, key: str) -> SelfTestResult | None:
        """Return the result with a key, or ``None``."""
        return _result(self._file.read().get(key))

    def put(self, key: str, result: SelfTestResult) -> None:
        """Store a result; if it is only temporary, delete the older one instead."""
        results = self._file.read()
        known = results.pop(key, None)
        if result.lasts:
            results[key] = asdict(result)
        elif known is None:
            return
        self._file.write(dict([*results.items()][-MOST_RESULTS:]))


def keep_gpu_list() -> None:
    """Keep the list of GPUs with Vulkan in the user's cache folder, for later runs."""
    vulkan_probe.keep_in(JsonFile(vulkan_file()))


def _result(values: object) -> SelfTestResult | None:
    """Return a result from its stored fields; ``None`` if they are damaged."""
    if not isinstance(values, dict):
        return None
    try:
        result = SelfTestResult(**values)
    except TypeError:  # unknown or missing fields
        return None
    texts = result.precision, result.problem, result.reason, result.process
    is_valid = all(isinstance(text, str) for text in texts) and result.precision in PRECISIONS
    return result if is_valid else None
