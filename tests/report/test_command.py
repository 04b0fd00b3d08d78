import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.dataset.manifest import Manifest
from shardtune.errors import DataError, UsageError
from shardtune.evaluate.predictions import Predictions
from shardtune.report.config import ReportConfig
from shardtune.runtime.world import World
from tests.commandline import shardtune
from tests.launching import ENVIRONMENT
from tests.pictures import encoded
from tests.report.conftest import Reported
from tests.report.pages import Page, make
from tests.report.runs import IMAGE_FILE, SCRIPT_CLASS, write_evaluation, write_predictions_of, write_result_of, write_run


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
    assert "This run was going when the page was made: it had taken 30 steps, and was last heard of " in page.text
    assert "run was not validated during training so far." in page.text
    assert "Without an evaluation there are neither confusions nor mistakes to show." in page.text
    assert not list(run.glob("*.csv"))
    (run / "metrics.jsonl").unlink()
    assert "Nothing has been measured yet" in make(run / "report.html", run).text


def test_photographs_that_are_not_to_be_had_are_missed_with_a_reason(tmp_path: Path, reported: Reported) -> None:
    run = write_run(tmp_path / "run", reported.data)
    write_evaluation(run / "eval", reported.data)
    other = shutil.copytree(reported.data, tmp_path / "other")
    page = make(tmp_path / "page.html", run, data_dir=other)
    assert len(page.all("img")) == 25
    assert "not trained on just this data set" not in page.text
    replace(Manifest.load(other), provenance={}).save(other)
    page = make(tmp_path / "page.html", run, data_dir=other)
    assert f"{other} is not the data set that was evaluated." in page.text
    assert not page.all("img")
    assert "Images rejected" not in page.text
    assert "run was not trained on just this data set: it was built again since, or is another one." in page.text
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


def test_the_page_of_20000_classes_is_below_10_mb(tmp_path: Path, reported: Reported) -> None:
    number = 20_000
    manifest = Manifest.load(shutil.copytree(reported.data, tmp_path / "data"))
    counts = {"train": [*range(number)], "validation": [1] * number}
    manifest = replace(manifest, labels=[f"class of butterflies {n:05d}" for n in range(number)], class_counts=counts)
    manifest.save(tmp_path / "data")
    labels = np.arange(1, number + 1)
    top = np.stack([np.where(labels % 3, labels, labels % number + 1), np.zeros_like(labels)], axis=1)
    losses, probabilities = np.full(number, 0.7), np.full((number, 2), 0.5)
    files = np.array([f"{n}.jpg" for n in labels], object)
    run = write_run(tmp_path / "run", tmp_path / "data")
    write_result_of(run / "eval", Predictions(labels - 1, files, labels, losses, top, probabilities), manifest)
    page = make(tmp_path / "page.html", run)
    assert (tmp_path / "page.html").stat().st_size < 10e6
    assert "The 19,000 classes that are recognised best are left out here: eval.json has all." in page.text
    assert "The 19,000 classes with the fewest training examples are left out here: dataset.json has all." in page.text
    _, worst, largest = re.split(r">Classes</h3>|>Data set</h2>", (tmp_path / "page.html").read_text())
    assert len({*re.findall(r"class of butterflies \d{5}(?=</th)", worst)}) == 1000
    assert re.findall(r"class of butterflies (\d{5})(?=</th)", largest) == [f"{n:05d}" for n in range(19_000, number)]


def test_flags_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--eval_dir must be given once for each train_dir, not 1"):
        ReportConfig((tmp_path, tmp_path), eval_dir=(tmp_path,))


def test_the_command_repeats_its_flags(tmp_path: Path, reported: Reported) -> None:
    one, other = (write_run(tmp_path / name, reported.data) for name in ("one <b>", "other"))
    write_evaluation(one / "eval", reported.data)
    flags = ["--train_dir", one / "checkpoints", f"--train_dir={other}", "--output", tmp_path / "page.html"]
    done = shardtune("report", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "one <b>: It has finished after 240 steps.",
        "other: It has finished after 240 steps.",
        f"The report is {tmp_path / 'page.html'}; labels that are probably wrong: {tmp_path / 'page.labels.csv'}.",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one <b>", "other", "page.html", "page.labels.csv"]
    wanted = "shardtune report was given no --train_dir. See shardtune report --help."
    done = shardtune("report")
    assert (done.returncode, done.stderr) == (2, f"shardtune: {wanted}\n")
    done = shardtune("report", "--train_dir", tmp_path)
    assert (done.returncode, done.stderr.count("is no run directory")) == (1, 1)


def test_tensorflow_is_not_imported(reported: Reported, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import shardtune.cli
from shardtune.evaluate.predictions import Predictions
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
    assert "There are no augmented examples" not in page.text
    assert [image["alt"] for image in page.all("img") if (image["alt"] or "").startswith("A row for each")]


def test_augmented_examples_that_cannot_be_drawn_are_missed_with_a_reason(
    reported: Reported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ImportError('there is none')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    page = make(tmp_path / "page.html", reported.run, augmented=True)
    assert "There are no augmented examples: shardtune: " in page.text
    assert len(page.all("img")) == 25
