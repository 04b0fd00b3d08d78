from pathlib import Path
from typing import Any

import pytest

from shardtune.builder.partition import ShardPlan
from shardtune.builder.shard import write_shard
from shardtune.builder.sources import SourceReader
from shardtune.builder.tracker import BuildTracker
from shardtune.images.pixels import ImageOptions
from shardtune.runtime.world import World
from tests.listings import listing_of
from tests.pictures import plant


def test_an_error_that_nobody_expected_names_the_image_and_leaves_no_shard(tmp_path: Path) -> None:
    root, output = plant(tmp_path / "images", per_class=2, classes=("a",)), tmp_path / "data"
    output.mkdir()
    shard = ShardPlan("train", "train-00000-of-00001", root, listing_of(["a/a-00.jpg", "a/a-01.jpg"]), {})
    wrong: Any = None
    tracker = BuildTracker(World(), 2, lambda rejects: None)
    with (
        SourceReader([(root, shard.sources)]) as sources,
        pytest.raises(RuntimeError, match=r"images/a/a-00\.jpg: AttributeError"),
    ):
        write_shard(shard, output, ["a"], [], wrong, sources, tracker)
    assert not list(output.iterdir())
    with SourceReader([(root, shard.sources)]) as sources:
        assert len(write_shard(shard, output, ["a"], [], ImageOptions(), sources, tracker).offsets) == 2
