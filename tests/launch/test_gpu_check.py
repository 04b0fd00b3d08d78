"""launch/gpu_check.sh: no part hides another, and what was measured stays; marked exhaustive, all parts on the cores."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from shardtune.runtime.processes import read_status
from tests import launching
from tests.benchmarks.gpu_check.__main__ import check, run_within
from tests.benchmarks.gpu_check.parts import list_parts, worker_counts
from tests.benchmarks.gpu_check.runner import Part, last_json
from tests.benchmarks.gpu_check.table import render
from tests.launch.checkout import ROOT, lay_out

SECONDS = 100.0  # of the whole check
FIRST = Part("environment", ("echo", '{"gpus": 4}'), 0.5)
LAST = Part("last", ("echo", '{"last": true}'), 0.5)
# A child in a session of its own, as launchers start them, which outlives its parent.
WITH_CHILD = """setsid sleep 1000 & echo "{\\"child\\": $!}"; """


def bash(name: str, script: str, share: float = 0.5) -> Part:
    return Part(name, ("bash", "-c", script), share)


def is_gone(process: int) -> bool:
    status = read_status(process)
    return status is None or status.state in "ZX"


def entries(out: Path) -> dict[str, Any]:
    return dict(json.loads(out.read_text())["parts"])


@pytest.mark.parametrize(
    ("part", "status", "result", "error"),
    [
        (bash("it", "echo '{\"a\": 1}'; echo why >&2; exit 3"), "failed", {"a": 1}, ["why", "exit status 3"]),
        (bash("it", "kill -SEGV $$"), "failed", None, ["exit status -11"]),
        (Part("it", ("no-such-program",), 0.5), "failed", None, ["[Errno 2] No such file or directory: 'no-such-program'"]),
        (bash("it", "echo '{\"a\": 1}'; exec sleep 1000", 0.01), "timed out", {"a": 1}, ["no end after 1 s"]),
    ],
    ids=["fails", "crashes", "cannot start", "hangs"],
)
def test_no_part_hides_another(tmp_path: Path, part: Part, status: str, result: Any, error: list[str]) -> None:
    out = tmp_path / "out.json"
    gpus = []

    def others(count: int) -> list[Part]:
        gpus.append(count)
        return [part, LAST]

    report = check(out, SECONDS, FIRST, others)
    assert gpus == [4]
    assert json.loads(out.read_text()) == report
    found = report["parts"]
    assert [found[name]["status"] for name in ("environment", "it", "last")] == ["ok", status, "ok"]
    assert (found["it"]["result"], found["it"]["errors"]) == (result, error)
    assert found["last"]["result"] == {"last": True}


@pytest.mark.parametrize("ending", ["exec sleep 1000", "exit 0", "exit 1"], ids=["hangs", "ends", "fails"])
def test_nothing_is_left_of_a_part(ending: str) -> None:
    entry = run_within(bash("it", WITH_CHILD + ending), 2, time.monotonic() + SECONDS)
    assert is_gone(entry["result"]["child"])


def test_a_part_for_which_no_time_is_left_is_listed(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    check(out, 0.0, FIRST, lambda gpus: [LAST])
    assert {name: entry["status"] for name, entry in entries(out).items()} == dict.fromkeys(
        ("environment", "last"), "no time left"
    )


def test_a_part_gets_no_more_than_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.benchmarks.gpu_check.__main__.LEAST_SECONDS", 0.0)
    entry = run_within(bash("it", "sleep 1000"), SECONDS, time.monotonic() + 2)
    assert entry["errors"][-1] in {f"no end after {seconds} s" for seconds in (0, 1, 2)}


INTERRUPTED = """
import sys
from tests.benchmarks.gpu_check import __main__ as check
from tests.launch.test_gpu_check import FIRST, LAST, WITH_CHILD, bash
check.ENVIRONMENT = FIRST
stops = bash("stops", WITH_CHILD + "echo $! >{child}; kill -{signal} $PPID; exec sleep 1000")
check.list_parts = lambda gpus, small: [stops, LAST]
sys.argv[1:] = ["--out", {out!r}]
sys.exit(check.main())
"""


@pytest.mark.parametrize("signal", ["INT", "TERM"])
def test_a_signal_leaves_what_was_measured(tmp_path: Path, signal: str) -> None:
    out, child = tmp_path / "out.json", tmp_path / "child"
    code = INTERRUPTED.format(signal=signal, out=str(out), child=child)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130, done.stderr
    assert done.stdout.endswith(f"Stopped; {out} has the parts above.\n")
    assert {name: entry["result"] for name, entry in entries(out).items()} == {"environment": {"gpus": 4}}
    assert is_gone(int(child.read_text()))
    assert set(tmp_path.iterdir()) == {out, child}


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ('{"a": 1}\n{"a": 2}\nGoodbye.\n', {"a": 2}),
        ('[1,0]<stdout>:{"a": 1}\n', {"a": 1}),  # Open MPI's mark
        ('[0]<stdout>: {"a": 1}\n', {"a": 1}),  # Gloo's
        ('{"a": 1}\n{"a": \n', {"a": 1}),  # killed while it wrote
        ('{"a": 1}\n{not JSON}\n', {"a": 1}),
        ("", None),
    ],
)
def test_the_last_json_object_counts(output: str, found: Any) -> None:
    assert last_json(output) == found


@pytest.mark.parametrize(
    ("gpus", "counts"), [(0, [1, 2]), (1, [1]), (2, [1, 2]), (4, [1, 4, 2]), (6, [1, 6, 4, 2]), (8, [1, 8, 4, 2])]
)
def test_workers_fill_the_machine_first(gpus: int, counts: list[int]) -> None:
    assert worker_counts(gpus) == counts
    parts = {part.name: part for part in list_parts(gpus, small=False)}
    assert [name for name in parts if name.startswith("workers ")] == [f"workers {count}" for count in counts]
    for count in counts:
        assert parts[f"workers {count}"].command[:3] == ("horovodrun", "-np", str(count))


def rate(images: float, gibibytes: float) -> dict[str, float]:
    return {"images_per_second": images, "peak_memory_bytes": gibibytes * (1 << 30)}


RECORDED = {  # made up
    "environment": {
        "nvidia_smi": ["NVIDIA H200, 550.54, 143771 MiB"],
        "tensorflow": "2.21.0",
        "tensorflow_build": {"cuda_version": "12.5.1", "cudnn_version": "9"},
        "nccl": True,
    },
    "outputs": {
        "weights": "of 2016",
        "beside_cores": {"float32": {"difference": 1e-5, "relative": 1.2e-6, "same_top_class": 1.0}},
        "beside_2016": {"difference": 2e-5, "relative": 2.5e-6, "same_top_class": 1.0},
    },
    "rates --jit none --precision mixed_bfloat16": {"batch_sizes": {"64": rate(1500, 8.5), "256": {"error": "out of memory"}}},
    "rates --jit all --precision mixed_bfloat16, persistent batch norm": {
        "batch_sizes": {"32": rate(900.25, 5), "64": rate(1600, 9)}
    },
    "determinism": {"killed_after_step": 15, "two_runs_are_equal": True, "resumed_run_is_equal": False},
    "workers 1": {"workers": 1, "images_per_second": 1500.0},
    "workers 8": {"workers": 8, "images_per_second": 11400.0},
    "workers 4": {"workers": 4, "images_per_second": 6000.0},
    "largest batch --precision float32": {"largest": 256, "too_large": 512, "error": "out of memory"},
    "real data": {
        "images_per_second": 1234.5,
        "input_share": 0.031,
        "precision": "mixed_bfloat16",
        "batch_size": 64,
        "photographs": "generated",
    },
}
TABLE = """\
NVIDIA H200, 550.54, 143771 MiB; TensorFlow 2.21.0, CUDA 12.5.1, cuDNN 9; NCCL.

| images/s, one GPU or all cores | 32 | 64 | 256 |
| --- | --- | --- | --- |
| `--jit none --precision mixed_bfloat16` | – | 1,500.0 | out of memory |
| `--jit all --precision mixed_bfloat16`, persistent batch norm | 900.2 | 1,600.0 | – |

| GiB at most, one GPU or all cores | 32 | 64 | 256 |
| --- | --- | --- | --- |
| `--jit none --precision mixed_bfloat16` | – | 8.5 | out of memory |
| `--jit all --precision mixed_bfloat16`, persistent batch norm | 5.0 | 9.0 | – |

| workers | images/s | efficiency |
| --- | --- | --- |
| 1 | 1,500.0 | 1.00 |
| 4 | 6,000.0 | 1.00 |
| 8 | 11,400.0 | 0.95 |

| logits beside those of the cores in `float32`, weights of 2016 | largest difference | relative | same class |
| --- | --- | --- | --- |
| `float32` | 1e-05 | 1.2e-06 | 100% |
| `float32`, beside the graph of 2016 | 2e-05 | 2.5e-06 | 100% |

|  |  |
| --- | --- |
| two runs with `--deterministic` | equal SHA-256 |
| one killed after step 15 and resumed | different bits |
| largest batch `--precision float32` | 256, 512: out of memory |
| 64 generated photographs a batch, `mixed_bfloat16` | 1,234.5 images/s (synthetic 1,500.0), 3% waiting for input |

- workers 2: timed out
"""


def test_the_table_shows_all_that_there_is() -> None:
    parts = {name: {"status": "ok", "result": result} for name, result in RECORDED.items()}
    parts["workers 2"] = {"status": "timed out", "result": None}
    assert render({"parts": parts}) == TABLE
    for name in RECORDED:
        assert len(render({"parts": {each: parts[each] for each in parts if each != name}})) < len(TABLE)
    assert render({"parts": {"environment": {"status": "failed", "result": None}}}).endswith("- environment: failed\n")


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
def test_all_parts_work_on_the_cores(tmp_path: Path) -> None:
    scripts = lay_out(tmp_path / "checkout", "inception")
    out = tmp_path / "out.json"
    line = [scripts / "launch" / "gpu_check.sh", "--small", "--seconds", "3400", "--out", out]
    environment = {**launching.ENVIRONMENT, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    report = json.loads(out.read_text())
    assert (done.returncode, {name: entry["status"] for name, entry in report["parts"].items()}) == (
        0,
        dict.fromkeys(["environment", *(part.name for part in list_parts(0, small=True))], "ok"),
    ), report
    same = report["parts"]["determinism"]["result"]
    assert (same["two_runs_are_equal"], same["resumed_run_is_equal"]) == (True, True)
    assert set(report["efficiency"]) == {"1", "2"}
    assert render(report) in done.stdout
