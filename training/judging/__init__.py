"""Judges networks on photos that they were never trained on."""

from __future__ import annotations
