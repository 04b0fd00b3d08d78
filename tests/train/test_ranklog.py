from pathlib import Path

from shardtune.train.ranklog import RankLog


def test_the_last_lines(tmp_path: Path) -> None:
    log = RankLog(tmp_path, 3)
    for number in range(300):
        log.write(f"line {number}")
    assert log.path == tmp_path / "logs" / "rank-3.log"
    assert [line.split(" ", 2)[2] for line in log.tail(20)] == [f"line {number}" for number in range(280, 300)]
    assert len(RankLog(tmp_path, 3).tail(400)) == 300
