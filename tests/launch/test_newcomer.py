"""README.md, typed from top to bottom on a machine that has nothing of ours."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, blocks
from tests.docs.outputs import check_shown
from tests.download.reference import inception_v3
from tests.download.server import serving
from tests.launching import finish

KEPT = ("PIP_", "SSL_", "http", "HTTP", "no_proxy", "NO_PROXY")  # how packages are had here
# What a newcomer has and the test does not: days, a cluster, and the internet.
REPLACED = {
    "\nlaunch/all.sh photos results": "\nlaunch/all.sh photos results --image_size 75",
    "--pretrained_model_checkpoint_path imagenet": "--pretrained_model_checkpoint_path inception-v3/model.ckpt-157585",
    "INTERFACE=eth0 launch/all.sh": "INTERFACE=eth0 launch/all.sh --dry_run",
    "slurm/pipeline.sh": "slurm/pipeline.sh --dry_run",
}


@pytest.mark.exhaustive
@pytest.mark.timeout(7200)
def test_all_that_the_readme_says_can_be_typed_in_order(checkout: Path, shared_data: Path, tmp_path: Path) -> None:
    shutil.copytree(shared_data / "flowers" / "train", checkout / "photos")
    environment = {
        "HOME": str(tmp_path),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHON": os.path.realpath(sys.executable),
        **{key: value for key, value in os.environ.items() if key.startswith(KEPT)},
    }
    printed = []
    with serving(inception_v3(shared_data)) as weights:
        replaced = REPLACED | {"fetch inception-v3 .": f"fetch inception-v3 . --url {weights.url()}"}
        for typed in (text for language, text in blocks(ROOT / "README.md") if language == "sh"):
            for old, new in replaced.items():
                typed = typed.replace(old, new)
            session = subprocess.Popen(
                ["bash", "-euc", typed],
                cwd=checkout,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            done = finish(session, 6000)
            assert done.returncode == 0, f"{typed}\n{done.stdout}"
            printed.append(done.stdout)
    digits, photographs, processes = printed
    check_shown("README.md", "images 1797", digits, checkout)
    check_shown("docs/quick-start.md", "setup: making", digits, checkout)
    check_shown("docs/your-photographs.md", "…: precision", photographs, checkout)
    assert (checkout / "run" / "report.html").is_file()
    assert (checkout / "results" / "export" / "README.md").is_file()
    assert processes.count("shardtune train") >= 2
