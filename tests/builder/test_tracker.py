import re
import time

import pytest

from shardtune.builder.receipts import Reject, ShardReceipt
from shardtune.builder.tracker import BuildTracker
from shardtune.runtime.world import World


def reject(number: int) -> Reject:
    return {"split": "train", "path": f"a/{number}.jpg", "reason": "empty", "detail": "the file has no bytes"}


def shard(number: int, *, stored: int, rejected: int = 0) -> ShardReceipt:
    rejects = [reject(number)] * rejected
    return ShardReceipt("train", f"train-{number:05d}-of-00002", offsets=[0] * stored, rejects=rejects)


@pytest.mark.parametrize(
    ("order", "shown"),
    [
        ("reused first", r"1 rejected, [\d.]+ MB/s, [\d.]+ images/s, 0 s left"),
        ("reused last", "1 rejected"),  # nothing was timed since
        ("all reused", "1 rejected"),
    ],
)
def test_all_receipts_arrive_and_all_images_counted(order: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    shards = [shard(0, stored=2), shard(1, stored=1, rejected=1)]
    known: list[Reject] = []
    with BuildTracker(World(), 4, lambda rejects: known.__setitem__(slice(None), rejects)) as tracker:
        for one in reversed(shards) if order == "reused last" else shards:
            reused = one is shards[0] or order == "all reused"
            if not reused:
                tracker.image_started("a/2.jpg", 10)
                tracker.image_started("a/3.jpg", 10)
                tracker.image_rejected(reject(1))
                assert known == [reject(1)]  # at once
            tracker.shard_finished(one, reused=reused)
        tracker.wait_for_shards(2)
    assert known == [reject(1)]
    assert tracker.receipts == {one.name: one for one in shards}
    [line] = capsys.readouterr().out.splitlines()
    assert re.fullmatch(f"images 4 of 4: {shown}", line)


def test_what_was_written_before_the_clock_started_does_not_count_in_the_rates(capsys: pytest.CaptureFixture[str]) -> None:
    with BuildTracker(World(), 1002, lambda rejects: None) as tracker:
        for _ in range(1000):
            tracker.image_started("a/1.jpg", 10_000_000)
        tracker.shard_finished(shard(0, stored=1000), reused=False)
        tracker.shard_finished(shard(1, stored=1), reused=True)
        time.sleep(0.05)  # rates of no time at all are of any size
        tracker.image_started("a/2.jpg", 10_000_000)
        tracker.shard_finished(shard(2, stored=1), reused=False)
    megabytes, images = re.findall(r"([\d.]+) (?:MB|images)/s", capsys.readouterr().out)
    assert float(megabytes) / float(images) < 100  # it is 10, and would be 10,010


def test_images_that_an_earlier_attempt_rejected_are_checked_too() -> None:
    known: list[int] = []
    with BuildTracker(World(), 4, lambda rejects: known.append(len(rejects))) as tracker:
        tracker.shard_finished(shard(0, stored=1, rejected=2), reused=True)
        tracker.image_rejected(reject(1))
    assert known[-1] == 3


def test_what_the_check_raises_ends_the_image() -> None:
    def refuse(rejects: list[Reject]) -> None:
        if rejects:
            raise ValueError("too many")

    with BuildTracker(World(), 4, refuse) as tracker, pytest.raises(ValueError, match="too many"):
        tracker.image_rejected(reject(1))
