"""Remember the results of self-tests of devices, in one small file in the cache folder.

The file may be deleted at any time; then devices are tested again.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unblur.config import NO_HOME, verdicts_file
from unblur.errors import PhotoError
from unblur.network.self_test import PRECISIONS, Verdict
from unblur.storage.drafts import FileDraft, make_folder

MOST_RESULTS = 100
"""Number of results to keep, the newest: each version of PyTorch or of a driver adds some."""


class SelfTestCache:
    """A file of verdicts by key; see `unblur.network.checked_devices.Verdicts`.

    A damaged file counts as empty. If the file cannot be written, nothing is remembered.

    Args:
        path: Path of the file; by default the user's.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or verdicts_file()

    def get(self, key: str) -> Verdict | None:
        """Return the verdict with a key, or ``None``."""
        return _verdict(self._read().get(key))

    def put(self, key: str, verdict: Verdict) -> None:
        """Store a verdict; if it is only temporary, delete the older one instead."""
        if NO_HOME in self._path.parents:
            return
        verdicts = self._read()
        known = verdicts.pop(key, None)
        if verdict.lasts:
            verdicts[key] = asdict(verdict)
        elif known is None:
            return
        newest = dict([*verdicts.items()][-MOST_RESULTS:])
        with contextlib.suppress(PhotoError):
            make_folder(self._path.parent)
            data = json.dumps(newest, indent=1).encode()
            with FileDraft(self._path, data) as draft:
                draft.publish(replaces=True)

    def _read(self) -> dict[str, Any]:
        try:
            values = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}


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
