import re
import time

import pytest

from shardtune.builder.receipts import Reject, ShardReceipt
from shardtune.builder.tracker import BuildTracker
from shardtune.runtime.world import World


def reject(number: int) -> Reject:
    return {"path": f"a/{number}.jpg"}


def shard(number: int, *, stored: int, rejected: int = 0) -> ShardReceipt:
    rejects = [reject(number)] * rejected
    return ShardReceipt("train", f"train-{number:05d}-of-00002", offsets=[0] * stored, rejects=rejects)


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ("reused first", r"1 rejected, [\d.]+ MB/s, [\d.]+ images/s, 0 s left"),
        ("reused last", "1 rejected"),  # nothing was timed since
        ("all reused", "1 rejected"),
    ],
)
def test_all_shards_are_heard_of_and_all_images_counted(order: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    shards = [shard(0, stored=2), shard(1, stored=1, rejected=1)]
    heard: list[Reject] = []
    with BuildTracker(World(), 4, lambda rejects: heard.__setitem__(slice(None), rejects)) as account:
        for one in reversed(shards) if order == "reused last" else shards:
            reused = one is shards[0] or order == "all reused"
            if not reused:
                account.next_image("a/2.jpg", 10)
                account.next_image("a/3.jpg", 10)
                account.rejected(reject(1))
                assert heard == [reject(1)]  # at once
            account.finished(one, reused=reused)
        account.wait(2)
    assert heard == [reject(1)]
    assert account.shards == {one.name: one for one in shards}
    [line] = capsys.readouterr().out.splitlines()
    assert re.fullmatch(f"images 4 of 4: {told}", line)


def test_what_was_written_before_the_clock_started_does_not_count_in_the_rates(capsys: pytest.CaptureFixture[str]) -> None:
    with BuildTracker(World(), 1002, lambda rejects: None) as account:
        for _ in range(1000):
            account.next_image("a/1.jpg", 10_000_000)
        account.finished(shard(0, stored=1000), reused=False)
        account.finished(shard(1, stored=1), reused=True)
        time.sleep(0.05)  # rates of no time at all are of any size
        account.next_image("a/2.jpg", 10_000_000)
        account.finished(shard(2, stored=1), reused=False)
    megabytes, images = re.findall(r"([\d.]+) (?:MB|images)/s", capsys.readouterr().out)
    assert float(megabytes) / float(images) < 100  # it is 10, and would be 10,010


def test_images_that_an_earlier_attempt_rejected_are_checked_too() -> None:
    heard: list[int] = []
    with BuildTracker(World(), 4, lambda rejects: heard.append(len(rejects))) as account:
        account.finished(shard(0, stored=1, rejected=2), reused=True)
        account.rejected(reject(1))
    assert heard[-1] == 3


def test_what_the_check_raises_ends_the_image() -> None:
    def refuse(rejects: list[Reject]) -> None:
        if rejects:
            raise ValueError("too many")

    with BuildTracker(World(), 4, refuse) as account, pytest.raises(ValueError, match="too many"):
        account.rejected(reject(1))
