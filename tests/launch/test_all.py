"""launch/all.sh, run: the whole story on a few images, and what a second run of it does."""

import json
from pathlib import Path

import pytest

from tests.launch.checkout import lay_out
from tests.launching import finish, start


@pytest.mark.timeout(700)
def test_the_whole_story(small_images: Path, tmp_path: Path) -> None:
    script, out = lay_out(tmp_path / "checkout", "inception") / "launch" / "all.sh", tmp_path / "out"
    flags = ("--image_size", 75, "--batch_size", 4, "--max_steps", 2, "--validate_epochs", 0)
    line = [*map(str, (script, small_images, out, *flags))]
    first, again = (finish(start(line, environment={"RANKS": "2", "WORKERS": "2"}), 300) for _ in range(2))
    assert first.returncode == 0, first.stdout
    assert sum(path.name.startswith(("train-", "validation-")) for path in (out / "data").iterdir()) == 128 + 24
    assert "2 worker(s) × 4" in first.stdout
    evaluation = json.loads((out / "run" / "eval.json").read_text())
    assert evaluation["examples"] == 21
    assert (out / "run" / "report.html").stat().st_size > 10_000
    assert (out / "run" / "README.md").is_file()
    assert {path.name for path in (out / "export").iterdir()} == {"saved_model", "labels.txt", "model.json", "README.md"}
    assert [path.name for path in out.glob(".*")] == []
    for place in (out / "run" / "report.html", out / "export"):
        assert f"{place}" in first.stdout
    assert again.returncode == 0, again.stdout
    assert "was finished before: nothing to do" in again.stdout
    assert "This run has finished: all 2 steps" in again.stdout
