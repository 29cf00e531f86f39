"""The command line: all that a terminal or a reader of the report page sees."""

from __future__ import annotations

from unblur.cli.deblur import main

__all__ = ["main"]
