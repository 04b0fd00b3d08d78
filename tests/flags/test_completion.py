"""The scripts that complete a command line, in a shell."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.commandline import shardtune
from tests.launching import ENVIRONMENT

# What bash does when the tab key is pressed.
TAB = """
source "$0"
COMP_WORDS=(shardtune "$@") COMP_CWORD=$#
$(complete -p shardtune | sed -E 's/.*-F ([^ ]+) .*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = shardtune("--tyro-print-completion", "bash")
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path_factory.mktemp("completion") / "shardtune.bash"
    path.write_text(done.stdout)
    return path


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["pre"], ["predict"]),
        (["train", "--moving"], ["--moving_average_decay"]),
        (["train", "--optimizer", "ad"], ["adam", "adamw"]),
        (["build", "--no_dry"], ["--no_dry_run"]),
        (["verify", "--"], ["--hang_timeout", "--help"]),
    ],
)
def test_bash_completes_commands_flags_and_values(script: Path, words: list[str], completed: list[str]) -> None:
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", TAB, script, *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (sorted(done.stdout.split()), done.stderr) == (completed, "")


def test_there_is_one_for_zsh() -> None:
    done = shardtune("--tyro-print-completion", "zsh")
    assert done.stdout.startswith("#compdef shardtune\n")
    assert "moving_average_decay" in done.stdout


@pytest.mark.parametrize("words", [[], ["csh"]])
def test_other_shells_have_none(words: list[str]) -> None:
    done = shardtune("--tyro-print-completion", *words)
    assert done.returncode == 2
    assert done.stderr == f"shardtune: There is no completion for the shell {''.join(words)!r}. Name one of bash, zsh.\n"
