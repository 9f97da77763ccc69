"""Every reader of foreign bytes in ``mmms_server``, with valid files to begin from."""

from __future__ import annotations

from pathlib import Path

from fuzz_readers import Reader

from mmms_server.launcher import cached_entry_bytes

CONFIG = """name: "csnet"
response_cache { enable: true }  # features
output [
  { name: "features" data_type: TYPE_FP16 dims: [ 3, 1000 ] },
  { name: "more" data_type: TYPE_FP32 dims: [ -1 ] }
]
"""


def configurations(_: Path) -> list[bytes]:
    return [CONFIG.encode(), CONFIG.replace(" {", ": {").replace("output ", "output: ").encode()]


def see_configuration(path: Path) -> None:
    assert 0 <= cached_entry_bytes(path.parents[1]) < 1 << 60


READERS = (Reader("configuration of a model", "m/config.pbtxt", "text", configurations, see_configuration),)
