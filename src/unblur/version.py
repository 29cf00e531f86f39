"""The version, in a module that all other modules may import."""

from __future__ import annotations

__version__ = "0.1.0"
