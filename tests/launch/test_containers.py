"""The recipes of images: linted, and their steps run in a bare Debian, because there is nothing here that builds an image."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pictures import plant

ROOT = Path(__file__).parents[2]
CONTAINERS = ROOT / "launch" / "containers"
CALLED = re.compile(r"bash /opt/shardtune/(launch/containers/\w+\.sh)")
MIRROR = "http://deb.debian.org/debian"
# Mounted for the command alone: where a test is killed, nothing of this machine is left in a folder that is removed later.
ENTER = 'mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'
USER = (
    "setpriv",
    "--reuid=1000",
    "--regid=1000",
    "--clear-groups",
    "env",
    "-i",
)  # as in the container: nothing of this machine's
VARIABLES = ("HOME=/home/shardtune", "PATH=/opt/shardtune/.venv/bin:/usr/bin:/bin", "OMPI_MCA_rmaps_base_oversubscribe=1")


def sections(definition: str) -> dict[str, list[str]]:
    """The lines of each section of an Apptainer definition, without their indentation; those before the first as header."""
    found, name = {"header": list[str]()}, "header"
    for line in definition.splitlines():
        if line.startswith("%"):
            name = line.split()[0][1:]
            found[name] = []
        elif line.strip() and not line.startswith("#"):
            found[name].append(line.strip())
    return found


@pytest.fixture(scope="module")
def definition() -> dict[str, list[str]]:
    return sections((CONTAINERS / "shardtune.def").read_text())


def test_the_dockerfile_has_no_faults() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, CONTAINERS / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_both_recipes_begin_and_build_alike(definition: dict[str, list[str]]) -> None:
    dockerfile = (CONTAINERS / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert {f"From: {base}" for base in bases} == {line for line in definition["header"] if line.startswith("From")}
    called = CALLED.findall(dockerfile)
    assert called == [script for line in definition["post"] for script in CALLED.findall(line)]
    assert called
    assert all((ROOT / script).is_file() for script in called)
    assert "kind=cpu" in definition["arguments"]
    assert {*definition} == {"header", "arguments", "files", "post", "environment", "runscript", "labels", "help"}


def test_what_git_ignores_stays_out_of_the_image() -> None:
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    lines = (CONTAINERS / "Dockerfile.dockerignore").read_text().splitlines()
    assert [line.removeprefix("**/") for line in lines if not line.startswith("#")] == ignored


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    """A bare Debian 12 with the repository in /opt/shardtune, as the images have it, or a skipped test."""
    if os.geteuid() or shutil.which("debootstrap") is None:
        pytest.skip("needs root and debootstrap (Debian: debootstrap)")
    root = tmp_path / "debian"
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root, MIRROR], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["git", "clone", "--quiet", ROOT, root / "opt" / "shardtune"], check=True)
    certificates = os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")  # of a proxy, where there is one
    # Containers are given the first two; in hosts horovodrun looks for its own host.
    for source, target in (("/etc/resolv.conf", "resolv.conf"), ("/etc/hosts", "hosts"), (certificates, "certificates.crt")):
        shutil.copy(source, root / "etc" / target)
    return root


def inside(root: Path, *words: str) -> str:
    """What a command prints in the other root; the test fails if it fails."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", ENTER, root, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@pytest.mark.exhaustive
@pytest.mark.timeout(3000)
def test_the_steps_make_a_debian_in_which_a_user_builds_and_trains(debian: Path, definition: dict[str, list[str]]) -> None:
    variables = ("env", "-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PIP_CERT=/etc/certificates.crt")
    for line in definition["post"]:
        inside(debian, *variables, "sh", "-ec", line.replace("{{ kind }}", "cpu"))
    assert inside(debian, "sh", "-c", "command -v g++ git mpicxx || echo none") == "none\n"
    plant(debian / "home" / "shardtune" / "photos", per_class=4)
    work = ("env", "--chdir=/home/shardtune")
    data = ("--train_directory", "photos", "--output_directory", "data")
    train = ("--data_dir", "data", "--validate_epochs", "0", "--image_size", "75", "--batch_size", "4", "--max_steps", "2")
    for words in (("shardtune", "--version"), ("mpirun", "-n", "2", "shardtune", "build", *data)):
        inside(debian, *USER, *VARIABLES, *work, *words)
    for launcher in (("horovodrun", "-np", "2"), ("mpirun", "--bind-to", "none", "-n", "2")):
        output = inside(debian, *USER, *VARIABLES, *work, *launcher, "shardtune", "train", *train, "--train_dir", launcher[0])
        assert "2 worker(s)" in output
        assert "Finished 2 steps" in output
