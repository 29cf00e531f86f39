"""Read the command line and print. Each command has its own module."""

from __future__ import annotations

import sys

from unblur.cli.signals import imports_ended_at_once
from unblur.errors import describe_unexpected

try:
    with imports_ended_at_once():
        from unblur.cli.program import main
except ModuleNotFoundError as error:  # installed without what it needs, such as with --no-deps
    sys.exit(f"unblur: error: {describe_unexpected(error)}")

__all__ = ["main"]
