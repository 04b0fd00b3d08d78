import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from shardtune.train.ranklog import RankLog
from shardtune.train.watchdog import IN_A_STEP, WAITING_FOR_INPUT, Watchdog, late
from shardtune.world import World
from tests.launching import ENVIRONMENT

INPUT, STEP = ({"step": 7, "phase": phase} for phase in (WAITING_FOR_INPUT, IN_A_STEP))
NEXT = {"step": 8, "phase": WAITING_FOR_INPUT}


@pytest.mark.parametrize(
    ("places", "ranks", "words"),
    [
        ([STEP, None], [1], "rank 1 of 2 on b does not answer"),
        ([None, INPUT, None], [0, 2], "rank 0 of 3 on a, rank 2 of 3 on c do not answer"),
        ([STEP, INPUT, STEP], [1], "rank 1 of 3 on b is late (waiting for input, step 7)"),
        ([NEXT, STEP, NEXT], [1], "rank 1 of 3 on b is late (in a step, step 7)"),
        ([INPUT, NEXT, INPUT], [0, 2], "rank 0 of 3 on a, rank 2 of 3 on c are late (waiting for input, step 7)"),
        ([STEP, NEXT, INPUT], [2], "rank 2 of 3 on c is late (waiting for input, step 7)"),
        ([STEP, STEP], [0, 1], "all ranks are in the same place (in a step, step 7)"),
    ],
)
def test_the_late_are_named(places: list[Any], ranks: list[int], words: str) -> None:
    assert late(places, ["a", "b", "c"][: len(places)]) == (ranks, words)


def test_who_beats_lives(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path, World(), 0.2, 1, RankLog(tmp_path, 0), lambda *_: pytest.fail("it told"))
    watchdog.start()
    for step in range(10):
        watchdog.beat(step, IN_A_STEP)
        time.sleep(0.05)
    watchdog.beat(10, IN_A_STEP, compiles=True)
    time.sleep(0.5)
    watchdog.stop()


HANG = """
import ctypes, sys, time
from pathlib import Path
from shardtune.train.ranklog import RankLog
from shardtune.train.watchdog import IN_A_STEP, Watchdog
from shardtune.world import World
directory = Path(sys.argv[1])
watchdog = Watchdog(directory, World(), 0.3, 1, RankLog(directory, 0), lambda text, late: print(text, flush=True))
watchdog.start()
watchdog.beat(41, IN_A_STEP)
def where_it_hangs():
    {hang}
where_it_hangs()
"""


@pytest.mark.parametrize(
    ("hang", "told"),
    [
        ("time.sleep(60)", "No step ended within 0.3 s: all ranks are in the same place (in a step, step 41); see the"),
        ("ctypes.PyDLL(None).sleep(60)", None),  # with Python's lock held
    ],
)
def test_a_hang_ends_with_stacks(tmp_path: Path, hang: str, told: str | None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANG.format(hang=hang), str(tmp_path)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(told) if told else not done.stdout
    assert "in where_it_hangs" in (tmp_path / "logs" / "rank-0.log").read_text()
