"""The command line: options, commands and everything that is printed. One module per command."""

from __future__ import annotations

from unblur.cli.program import main

__all__ = ["main"]
