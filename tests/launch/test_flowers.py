"""launch/flowers.sh, run on a small archive: the tutorial, and what a second run of it does."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.download.archives import of_photographs
from tests.download.reference import inception_v3
from tests.download.server import serving
from tests.launch.checkout import lay_out
from tests.launching import finish, start


@pytest.mark.timeout(700)
def test_the_tutorial_goes_on_where_it_stopped(shared_data: Path, tmp_path: Path) -> None:
    script, out = lay_out(tmp_path / "checkout", "inception") / "launch" / "flowers.sh", tmp_path / "out"
    archive = of_photographs(tmp_path / "flower_photos")
    with serving(archive) as flowers, serving(inception_v3(shared_data)) as inception:
        environment = {
            "RANKS": "2",
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "FLOWERS_OPTIONS": f"--url {flowers.url()} --sha256 {hashlib.sha256(archive).hexdigest()} --validation_examples 7",
            "WEIGHTS_OPTIONS": f"--url {inception.url()}",
        }
        line = [*map(str, (script, out, "--image_size", 75, "--max_steps", 2, "--validate_epochs", 0))]
        first, again = (finish(start(line, environment=environment), 300) for _ in range(2))
        assert (len(flowers.ranges), len(inception.ranges)) == (1, 1)
    assert first.returncode == 0, first.stdout
    assert "Training 23 images of 3 classes for 2 steps of 32 " in first.stdout
    assert json.loads((out / "run" / "eval.json").read_text())["examples"] == 7
    assert again.returncode == 0, again.stdout
    assert "was finished before: nothing to do" in again.stdout
    assert "This run has finished: all 2 steps" in again.stdout
