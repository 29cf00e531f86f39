"""Read the command line and print. Each command has its own module."""

from __future__ import annotations

from unblur.cli.signals import imports_ended_at_once

with imports_ended_at_once():
    from unblur.cli.program import main

__all__ = ["main"]
