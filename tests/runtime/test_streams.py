import os
import subprocess
import sys

import pytest

from shardtune.runtime.streams import stderr_without


def test_lines_that_match_are_left_out_whoever_writes_them(capfd: pytest.CaptureFixture[str]) -> None:
    with stderr_without("^I[0-9]+ "):
        os.write(2, b"I0000 noise\nneeded I0000\n")
    os.write(2, b"I0000 later\n")
    assert capfd.readouterr().err == "needed I0000\nI0000 later\n"


def test_nothing_is_lost_of_a_process_that_dies_meanwhile() -> None:
    code = (
        "import os; from shardtune.runtime.streams import stderr_without\n"
        "with stderr_without('noise'): os.write(2, b'noise\\nlast words\\n'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-9, "last words\n")


@pytest.mark.parametrize(("before", "error"), [("os.environ['PATH'] = ''", "noise\n"), ("os.close(2)", "")])
def test_without_grep_or_stderr_the_block_runs_all_the_same(before: str, error: str) -> None:
    code = (
        f"import os; {before}; from shardtune.runtime.streams import stderr_without\n"
        "with stderr_without('noise'): os.system('echo noise >&2'); print('ran')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", error)


@pytest.mark.parametrize(("level", "is_silent"), [("3", True), ("0", False)])
def test_tensorflow_says_while_it_loads_what_the_log_level_asks_for(level: str, is_silent: bool) -> None:
    code = "import shardtune.runtime.frameworks"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": level}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (done.stderr == "") == is_silent
