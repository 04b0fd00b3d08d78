import json
from pathlib import Path

from shardtune.train.metrics import append


def test_lines_are_added_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines: list[dict[str, float]] = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1e-9}]
    for number, line in enumerate(lines, start=1):
        append(path, line)
        assert [json.loads(text) for text in path.read_text().splitlines()] == lines[:number]
