"""Small JSON files of the program itself, such as caches, which may be deleted at any time."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from unblur.config import NO_HOME
from unblur.errors import PhotoError
from unblur.storage.drafts import FileDraft, make_folder
from unblur.storage.temporaries import sweep


class JsonFile:
    """A file with one JSON object; no method raises an error if the file cannot be used.

    Args:
        path: Path of the file, which may be missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """Return the object; empty if the file is missing, damaged or unreadable."""
        try:
            values = json.loads(self.path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}

    def write(self, values: dict[str, Any]) -> None:
        """Replace the file in one step; without a home folder or permission, do nothing."""
        if NO_HOME in self.path.parents:
            return
        with contextlib.suppress(PhotoError):
            make_folder(self.path.parent)
            sweep(self.path.parent)
            with FileDraft(self.path, json.dumps(values, indent=1).encode()) as draft:
                draft.publish(replaces=True)

    def delete(self) -> None:
        """Delete the file if it exists."""
        with contextlib.suppress(OSError):
            self.path.unlink()
