"""Deblur photos; everything else in the file stays as it was."""

from __future__ import annotations

__version__ = "0.1.0"
