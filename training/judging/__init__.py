"""Judge networks on held-out photos."""

from __future__ import annotations
