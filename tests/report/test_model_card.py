import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from shardtune.dataset.manifest import Manifest
from shardtune.export import card
from shardtune.model.checkpoint_file import best_path, checkpoint_path
from shardtune.report.command import report
from shardtune.report.config import ReportConfig
from shardtune.runtime.world import World
from tests.report.conftest import Reported


def test_the_run_gets_a_model_card(reported: Reported) -> None:
    card = (reported.run / "README.md").read_text()
    head, _, body = card.partition("\n---\n")
    [model] = yaml.safe_load(head.removeprefix("---\n"))["model-index"]
    result = json.loads((reported.run / "eval" / "eval.json").read_text())
    assert (model["name"], model["results"][0]["metrics"][0]["value"]) == (reported.run.name, result["precision_at_1"])
    low, high = result["precision_at_1_interval"]
    assert f"on 25 images, 95 % interval {low:.4f} to {high:.4f} (Wilson)" in body
    assert "shardtune predict photo.jpg --checkpoint_dir . --checkpoint 240\n" in body
    assert "export names" not in body
    assert "<script>" not in body.replace("\\<script\\>", "")


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        ("no data", "dataset.json does not exist"),
        ("evaluated on other data", "is not what the run was trained and evaluated on."),
        ("trained on other data", "is not what the run was trained and evaluated on."),
        ("other size", "it was evaluated with images of 75 pixels and trained with 299."),
        ("other weights", "the weights that were evaluated are not in it."),
        ("weights are gone", "the weights that were evaluated are not in it."),
        ("a readme", "README.md is there already, and not of shardtune."),
    ],
)
def test_no_card_is_written_that_would_not_be_true_and_that_is_said(
    reported: Reported, tmp_path: Path, capsys: pytest.CaptureFixture[str], obstacle: str, reason: str
) -> None:
    run, data = shutil.copytree(reported.run, tmp_path / "run"), shutil.copytree(reported.data, tmp_path / "data")
    path = run / card.CARD_NAME
    path.unlink()
    if obstacle == "no data":
        data = tmp_path / "nowhere"
    elif obstacle.endswith("other data"):
        replace(Manifest.load(data), provenance={"seed": 5}).save(data)
    elif obstacle == "other size":
        change(run / "eval" / "eval.json", image_size=75)
    elif obstacle == "other weights":
        checkpoint_path(run, 240).write_bytes(b"others")
    elif obstacle == "weights are gone":
        checkpoint_path(run, 240).unlink()
    else:
        path.write_text("# My notes")
    changed = Manifest.load(data).sha256 if obstacle.endswith("other data") else ""
    if obstacle == "trained on other data":
        result = json.loads((run / "eval" / "eval.json").read_text())
        change(run / "eval" / "eval.json", provenance={**result["provenance"], "data_sha256": changed})
    if obstacle == "evaluated on other data":
        change(run / "config.json", data_sha256=changed)
    change(run / "config.json", config={**json.loads((run / "config.json").read_text())["config"], "data_dir": str(data)})
    report(ReportConfig((run,)), World())
    [said] = [line for line in capsys.readouterr().out.splitlines() if "model card" in line]
    assert said.startswith("No model card was written: ")
    assert reason in said
    assert (path.read_text() if path.exists() else None) == ("# My notes" if obstacle == "a readme" else None)


def test_a_card_of_before_is_written_again_also_where_nobody_knows_which_weights_are_best(
    reported: Reported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(reported.run, tmp_path / "run")
    best_path(run).write_text("{")
    (run / card.CARD_NAME).write_text(f"{card.MARK}\nold")
    report(ReportConfig((run,)), World())
    assert f"Its model card is {run / card.CARD_NAME}." in capsys.readouterr().out.splitlines()
    assert "chosen by its precision" in (reported.run / card.CARD_NAME).read_text()
    assert "chosen by its precision" not in (run / card.CARD_NAME).read_text()
