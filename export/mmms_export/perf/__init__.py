"""``mmms-perf``: where the milliseconds of an encode and of a click go, measured in one run; see :mod:`.cli`."""

from __future__ import annotations

from mmms_export.perf.cli import main

__all__ = ["main"]
