"""`mmms-client encode --shard`: together the shards are all images, and no image is in two."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmms_client.annotate.encoding import shard_of
from mmms_client.annotate.images import find_images
from mmms_client.errors import UsageError


def test_shards(folder: Path) -> None:
    images = find_images(str(folder / "rgb"), {}, "", [])
    assert len(images) == 5 and shard_of(images, None) == images
    for count in (1, 2, 5):
        parts = [shard_of(images, f"{index}/{count}") for index in range(count)]
        assert sorted(i.name for part in parts for i in part) == sorted(i.name for i in images)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("shard", ["", "1", "/", "a/2", "2/2", "-1/2", "0/0"])
def test_no_shard(folder: Path, shard: str) -> None:
    images = find_images(str(folder / "rgb"), {}, "", [])
    with pytest.raises(UsageError, match=r"^Expected --shard INDEX/COUNT with INDEX below COUNT but got"):
        shard_of(images, shard)
    with pytest.raises(UsageError, match=r"^Expected an image for --shard 5/6 but got only 5 image"):
        shard_of(images, "5/6")
