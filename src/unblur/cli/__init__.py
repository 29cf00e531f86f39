"""The command line: all that a terminal sees. Each command has a module."""

from __future__ import annotations

from unblur.cli.program import main

__all__ = ["main"]
