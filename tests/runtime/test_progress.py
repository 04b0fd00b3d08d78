import os
import pty
import re
import subprocess
import sys

import pytest

from shardtune.runtime.progress import ProgressReporter, print_on_root
from shardtune.runtime.world import World
from tests.launching import ENVIRONMENT

OTHER = World(rank=1, size=2)


def test_only_rank_0_prints(capsys: pytest.CaptureFixture[str]) -> None:
    for world in (OTHER, World()):
        print_on_root(world, f"rank {world.rank}")
        with ProgressReporter(world, "images", 1) as progress:
            progress.advance()
    first, second = capsys.readouterr().out.splitlines()
    assert first == "rank 0"
    assert second.startswith("images 1 of 1: ")


def test_what_would_command_a_terminal_is_shown_instead(capsys: pytest.CaptureFixture[str]) -> None:
    print_on_root(World(), "a\x1b[2Jb\udc80 \u202eç\nd")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\udc80 \\u202eç\nd\n"


def test_without_a_terminal_the_last_line_tells_all(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressReporter(World(), "steps", 8, start=2, items_per_count=10, rate_unit="images") as progress:
        progress.advance("loss 2")
        progress.advance("loss 1", 2)
        progress.advance(count=3)
    [line] = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"steps 8 of 8: loss 1, \d+\.\d images/s, 0 s left", line)


def test_what_was_done_before_does_not_count_in_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressReporter(World(), "images", 10) as progress:
        progress.advance(count=3)
        assert progress.rate > 0
        progress.advance_untimed(4)
        assert progress.rate == 0
        progress.advance(count=3)
        assert progress.rate > 0
    assert capsys.readouterr().out.startswith("images 10 of 10: ")


@pytest.mark.parametrize(("status", "expected"), [(None, ""), ("loss 2", ": loss 2")])
def test_the_last_line_is_printed_although_nothing_was_timed(
    status: str | None, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressReporter(World(), "steps", 2) as progress:
        progress.advance_untimed(1)
        progress.advance_untimed(1, status)
    assert capsys.readouterr().out == f"steps 2 of 2{expected}\n"


@pytest.mark.parametrize(("rank", "bar"), [(0, True), (1, False)])
def test_a_terminal_gets_a_bar_from_rank_0(rank: int, bar: bool) -> None:
    ours, theirs = pty.openpty()
    code = (
        "from shardtune.runtime.progress import ProgressReporter; from shardtune.runtime.world import World\n"
        f"with ProgressReporter(World({rank}, 2), 'images', 3) as progress: progress.advance('1 rejected', 3)"
    )
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", code], stdin=theirs, stdout=theirs, env=environment, timeout=60, check=True)
    os.write(theirs, b"that is all\n")  # reading what nobody wrote would wait
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    os.close(theirs)
    assert ("━" in shown) == ("3/3" in shown) == ("1 rejected" in shown) == bar
    assert "images 3 of 3" not in shown
