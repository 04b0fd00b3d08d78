import json
from pathlib import Path

import pytest

from shardtune.dataset.manifest import Manifest
from shardtune.report.command import report
from shardtune.report.config import ReportConfig
from shardtune.runtime.world import World
from tests.report.conftest import Reported
from tests.report.pages import Page, headline, make
from tests.report.runs import write_evaluation, write_run


def test_several_runs_are_side_by_side(tmp_path: Path, reported: Reported) -> None:
    other = write_run(tmp_path / reported.run.name, reported.data, steps=100, is_validated=False, flags={"seed": 3})
    third = write_run(tmp_path / "third", reported.data, steps=100)
    write_evaluation(tmp_path / "elsewhere", reported.data, skill=5.0, seed=1)
    page = make(tmp_path / "page.html", reported.run, other, third)
    names = [f"{run.parent.name}/{run.name}" for run in (reported.run, other, third)]
    (losses,) = [label for label in page.labels if label.startswith("Loss by step")]
    assert all(f"{name}: " in losses for name in names)
    assert "--seed030" in page.text
    assert page.text.count("not evaluated") == 2
    assert (tmp_path / "page.labels.csv").read_text().count(names[0]) > 0
    evaluations = (reported.run / "eval", tmp_path / "elsewhere", tmp_path / "elsewhere")
    page = make(tmp_path / "page.html", reported.run, other, third, eval_dir=evaluations)
    assert "not evaluated" not in page.text
    assert "These evaluations are not all of the same examples" not in page.text


def test_figures_of_several_runs_say_what_they_are_of(tmp_path: Path, reported: Reported) -> None:
    runs = [write_run(tmp_path / name, reported.data) for name in ("a", "b", "c")]
    for run in runs[:2]:
        write_evaluation(run / "eval", reported.data)
    make(tmp_path / "page.html", *runs)
    header, first, _, last = headline(tmp_path / "page.html")
    assert header[5:8] == ["split", "examples", "weights of step"]
    assert (header[2], *first[5:8]) == ("recall@4", "validation", "25", "240")
    assert last == ["c", "not evaluated", "240", "0.875"]
    result = json.loads((runs[1] / "eval" / "eval.json").read_text())
    result |= {
        "subset": "train",
        "step": 1200,
        "k": 5,
        "provenance": {**result["provenance"], "data_sha256": "0123456789abcdef"},
    }
    (runs[1] / "eval" / "eval.json").write_text(json.dumps(result))
    page = make(tmp_path / "page.html", *runs)
    header, first, other, _ = headline(tmp_path / "page.html")
    assert header[5:9] == ["data set (SHA-256)", "split", "examples", "weights of step"]
    assert (header[2], first[2][-7:], other[2][-7:]) == ("recall@k", "(k = 4)", "(k = 5)")
    assert first[5:9] == [Manifest.load(reported.data).sha256[:12], "validation", "25", "240"]
    assert other[5:9] == ["0123456789ab", "train", "25", "1,200"]
    assert "These evaluations are not all of the same examples" in page.text


@pytest.mark.parametrize("best", ["[", "[1]", '{"step": 3}', '{"precision_at_1": 0.5}', '{"step": [], "precision_at_1": "x"}'])
def test_a_best_validation_that_cannot_be_read_is_left_out(tmp_path: Path, reported: Reported, best: str) -> None:
    run = write_run(tmp_path / "run", reported.data)
    write_evaluation(run / "eval", reported.data)
    (run / "checkpoints" / "best.json").write_text(best)
    report(ReportConfig((run,)), World())
    assert ("Best validation" in Page(run / "report.html").text) == ("0.5" in best)
    assert (run / "README.md").exists()
    make(tmp_path / "page.html", run, run)
    assert headline(tmp_path / "page.html")[1][-1] == ("0.5" if "0.5" in best else "–")
