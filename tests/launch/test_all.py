"""launch/all.sh, run: the whole story on a few images, and what a second run of it does."""

import json
from pathlib import Path

import pytest

from tests.docs.outputs import check_shown
from tests.launch.checkout import lay_out
from tests.launching import finish, start


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("is_repeated", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_the_whole_story(small_images: Path, tmp_path: Path, is_repeated: bool) -> None:
    checkout, out = lay_out(tmp_path / "checkout", "inception"), tmp_path / "results"
    (tmp_path / "photos").symlink_to(small_images)
    flags = ("--image_size", 75, "--max_steps", 8, "--batch_size", 8, "--validate_epochs", 0)
    line = [*map(str, ("env", f"--chdir={tmp_path}", checkout / "launch" / "all.sh", "photos", "results", *flags))]
    first, *others = (finish(start(line, environment={"RANKS": "2", "WORKERS": "2"}), 700) for _ in range(1 + is_repeated))
    assert first.returncode == 0, first.stdout
    assert sum(path.name.startswith(("train-", "validation-")) for path in (out / "data").iterdir()) == 128 + 24
    check_shown("docs/several-gpus.md", "+ ", first.stdout, checkout)
    evaluation = json.loads((out / "run" / "eval.json").read_text())
    assert evaluation["examples"] == 21
    assert (out / "run" / "report.html").stat().st_size > 10_000
    assert (out / "run" / "README.md").is_file()
    assert {path.name for path in (out / "export").iterdir()} == {"saved_model", "labels.txt", "model.json", "README.md"}
    assert [path.name for path in out.glob(".*")] == []
    for place in ("results/run/report.html", "results/export"):
        assert place in first.stdout
    for again in others:
        assert again.returncode == 0, again.stdout
        assert "was finished before: nothing to do" in again.stdout
        assert "This run has finished: all 8 steps" in again.stdout
