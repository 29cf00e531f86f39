"""``python -m unblur``."""

from __future__ import annotations

from unblur.cli import main

main()
