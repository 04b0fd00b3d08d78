import json
import random
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.dataset.manifest import Manifest
from shardtune.errors import DataError, UsageError
from shardtune.report.command import report
from shardtune.report.config import ReportConfig
from shardtune.runtime.world import World
from tests.commandline import shardtune
from tests.launching import ENVIRONMENT
from tests.pictures import encoded
from tests.report.conftest import Reported
from tests.report.runs import IMAGE_FILE, SCRIPT_CLASS, write_evaluation, write_predictions_of, write_run


class Page(HTMLParser):
    """What a browser makes of a page.

    Attributes:
        text: what it shows.
        tags: the elements, each as its name and its attributes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.tags = "", list[tuple[str, dict[str, str | None]]]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def labels(self) -> list[str]:
        """What figures say to those who do not see them."""
        return [str(svg.get("aria-label")) for svg in self.all("svg")]


def make(output: Path, *runs: Path, **flags: object) -> Page:
    report(ReportConfig(runs, output, **flags), World())  # type: ignore[arg-type]
    return Page(output)


def test_a_page_has_all_its_parts(reported: Reported) -> None:
    page = Page(reported.page)
    headings = re.findall(r"<h[23][^>]*>([^<]*)", reported.page.read_text())
    assert headings[1:12] == [
        *("Curves", "Where the time of a step goes", "Evaluation", "Confusion matrix", "The most confident mistakes"),
        *("Labels that are probably wrong", "Classes", "Calibration", "Data set", "data", "Configuration"),
    ]
    curves = ["Loss", "Learning rate", "Precision@1 in validation", "Recall@5 in validation", "Images per second"]
    assert [label.partition(" by step")[0] for label in page.labels if " by step" in label] == [*curves, "Norm of the gradient"]
    assert len(page.all("img")) == 25
    assert "It has finished after 240 steps." in page.text
    assert "Images rejected: 2 (unsupported)." in " ".join(page.text.split())
    assert "6, in 3 group(s), 1 of them across splits and 0 across labels" in page.text
    assert all(text in page.text for text in ("first, second", "2026-01-01 10:00:00", "tensorflow 2.21.0", "--clip_norm"))


def test_names_that_are_html_are_shown_as_text(reported: Reported) -> None:
    page = Page(reported.page)
    assert SCRIPT_CLASS in page.text
    assert f"blue/{IMAGE_FILE}" in page.text
    assert len(page.all("script")) == 1
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert not [image for image in page.all("img") if not (image["src"] or "").startswith("data:image/jpeg;base64,")]
    assert not [attributes for _, attributes in page.tags if "style" in attributes]  # which the policy forbids


def test_every_identifier_is_there_once_and_what_is_referred_to_exists(tmp_path: Path, reported: Reported) -> None:
    page = make(tmp_path / "page.html", reported.run, reported.run)
    identifiers = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len({*identifiers})
    referred = [str(each["href"])[1:] for each in page.all("a")]
    referred += [str(attributes["aria-labelledby"]) for _, attributes in page.tags if "aria-labelledby" in attributes]
    assert {*referred} <= {*identifiers}


def test_a_run_that_has_just_begun_is_shown_as_going(tmp_path: Path, reported: Reported) -> None:
    going = {"outcome": "running", "attempt": 1, "step": 0, "host": "elsewhere", "pid": 1}
    run = write_run(tmp_path / "run", reported.data, steps=30, is_validated=False, outcome=going)
    page = make(run / "report.html", run)
    assert "This run was going when the page was made: it had taken 30 steps" in page.text
    assert "run was not validated during training so far." in page.text
    assert "Without an evaluation there are neither confusions nor mistakes to show." in page.text
    assert not list(run.glob("*.csv"))
    (run / "metrics.jsonl").unlink()
    assert "Nothing has been measured yet" in make(run / "report.html", run).text


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
    assert "not evaluated" not in make(tmp_path / "page.html", reported.run, other, third, eval_dir=evaluations).text


def test_photographs_that_are_not_to_be_had_are_missed_with_a_reason(tmp_path: Path, reported: Reported) -> None:
    run = write_run(tmp_path / "run", reported.data)
    write_evaluation(run / "eval", reported.data)
    other = shutil.copytree(reported.data, tmp_path / "other")
    assert len(make(tmp_path / "page.html", run, data_dir=other).all("img")) == 25
    replace(Manifest.load(other), provenance={}).save(other)
    page = make(tmp_path / "page.html", run, data_dir=other)
    assert f"{other} is not the data set of the evaluation any more." in page.text
    assert not page.all("img")
    assert "Images rejected" not in page.text
    with pytest.raises(DataError, match=r"dataset\.json does not exist"):
        make(tmp_path / "page.html", run, data_dir=tmp_path / "nowhere")
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace(str(reported.data), str(tmp_path / "moved")))
    page = make(tmp_path / "page.html", run)
    assert page.text.count(f"{tmp_path / 'moved' / 'dataset.json'} does not exist.") == 2
    assert not page.all("img")


def test_the_page_of_1000_classes_is_below_10_mb(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)  # what compresses least
    picture = encoded(Image.fromarray(noise), quality=95)
    for split in ("train", "validation"):
        for number in range(1000):
            path = tmp_path / "images" / split / f"class {number:03d}" / "noise.jpg"
            path.parent.mkdir(parents=True)
            path.write_bytes(picture)
    data = tmp_path / "data"
    build(
        BuildConfig(
            tmp_path / "images" / "train",
            validation_directory=tmp_path / "images" / "validation",
            output_directory=data,
            train_shards=1,
        ),
        World(),
    )
    run = write_run(tmp_path / "run", data, steps=20_000)
    labels = np.where(np.arange(1000) < 800, np.arange(1000) % 25, np.arange(1000)) + 1  # many photographs in each cell
    logits = np.random.default_rng(0).normal(size=(1000, 1001)).astype(np.float32)
    logits[:, 1:26] += 6
    write_predictions_of(run / "eval", logits, labels, [f"class {n - 1:03d}/noise.jpg" for n in labels], Manifest.load(data))
    page = make(run / "report.html", run)
    assert (run / "report.html").stat().st_size < 10e6
    pictures = page.all("img")
    assert 550 < len(pictures) <= 600
    assert min(len(str(image["src"])) for image in pictures) > 8000  # they are large ones
    assert page.text.count("class 999") >= 2


@pytest.mark.exhaustive
def test_a_killed_report_leaves_whole_files_only(tmp_path: Path, reported: Reported) -> None:
    command = [
        sys.executable,
        "-m",
        "shardtune",
        "report",
        "--train_dir",
        str(reported.run),
        "--output",
        str(tmp_path / "page.html"),
    ]
    started = time.monotonic()
    subprocess.run(command, env=ENVIRONMENT, check=True)
    seconds, generator = time.monotonic() - started, random.Random(0)
    whole = (tmp_path / "page.labels.csv").read_bytes()
    for _ in range(20):
        for path in tmp_path.iterdir():
            path.unlink()
        with subprocess.Popen(command, env=ENVIRONMENT) as process:
            time.sleep(generator.uniform(0.3, 1.1) * seconds)
            process.kill()
        page, labels = tmp_path / "page.html", tmp_path / "page.labels.csv"
        assert not page.exists() or page.read_text().endswith("</html>")
        assert not labels.exists() or labels.read_bytes() == whole


def test_flags_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--eval_dir must be given once for each train_dir, not 1"):
        ReportConfig((tmp_path, tmp_path), eval_dir=(tmp_path,))


def test_the_command_repeats_its_flags(tmp_path: Path, reported: Reported) -> None:
    other = write_run(tmp_path / "other", reported.data)
    flags = ["--train_dir", reported.run / "checkpoints", f"--train_dir={other}", "--output", tmp_path / "page.html"]
    done = shardtune("report", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{reported.run.name}: It has finished after 240 steps.",
        "other: It has finished after 240 steps.",
        f"The report is {tmp_path / 'page.html'}; labels that are probably wrong: {tmp_path / 'page.labels.csv'}.",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "page.html", "page.labels.csv"]
    wanted = "shardtune report was given no --train_dir. See shardtune report --help."
    done = shardtune("report")
    assert (done.returncode, done.stderr) == (2, f"shardtune: {wanted}\n")
    done = shardtune("report", "--train_dir", tmp_path)
    assert (done.returncode, done.stderr.count("is no run directory")) == (1, 1)


def test_the_run_gets_a_model_card(reported: Reported) -> None:
    card = (reported.run / "README.md").read_text()
    head, _, body = card.partition("\n---\n")
    [model] = yaml.safe_load(head.removeprefix("---\n"))["model-index"]
    result = json.loads((reported.run / "eval" / "eval.json").read_text())
    assert (model["name"], model["results"][0]["metrics"][0]["value"]) == ("run <b>", result["precision_at_1"])
    low, high = result["precision_at_1_interval"]
    assert f"on 25 images, 95 % interval {low:.4f} to {high:.4f} (Wilson)" in body
    assert "shardtune predict photo.jpg --checkpoint_dir ." in body
    assert "export names" not in body
    assert "<script>" not in body.replace("\\<script\\>", "")


def test_tensorflow_is_not_imported(reported: Reported, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import shardtune.cli
from shardtune.report.command import report
from shardtune.report.config import ReportConfig
from shardtune.runtime.world import World
report(ReportConfig((Path({str(reported.run)!r}),), Path({str(tmp_path / "page.html")!r})), World())
print(sorted({{"tensorflow", "keras", "horovod", "mpi4py", "requests"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


def test_augmented_examples_are_drawn_by_inspect(reported: Reported, tmp_path: Path) -> None:
    page = make(tmp_path / "page.html", reported.run, augmented=True)
    assert [image["alt"] for image in page.all("img") if (image["alt"] or "").startswith("A row for each")]
