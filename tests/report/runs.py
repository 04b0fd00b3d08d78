"""Run directories as training and evaluation leave them, without training: for tests of the report."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.config import to_json_dict
from shardtune.dataset.columns import load_record_index
from shardtune.dataset.example import decode_example
from shardtune.dataset.manifest import Manifest
from shardtune.evaluate.names import source_name
from shardtune.evaluate.predictions import BACKGROUND, Predictions, write_predictions
from shardtune.evaluate.result import measure, write_result
from shardtune.input.reader import RecordReader
from shardtune.model.checkpoint_file import checkpoint_path
from shardtune.runtime.files import sha256_file
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig
from tests.pictures import plant

SCRIPT_CLASS = "<script>alert(1)</script>"
WEIGHTS = b"what a checkpoint would be"
BACKWARDS_CLASS = "\u202edesrever"  # which writes what follows from right to left
IMAGE_FILE = '"><img src=x onerror=alert(1)>\u202e.jpg'


def hostile_data(directory: Path) -> Path:
    """A data set with classes and a file whose names are HTML and turn what follows around; returns its directory."""
    for split, each in (("train", 4), ("validation", 8)):
        images = plant(directory / "images" / split, per_class=each, seed=each)
        (images / "blue" / "blue-00.jpg").rename(images / "blue" / IMAGE_FILE)
        (images / "green" / "broken\u202e.jpg").write_bytes(b"<b>no image</b>")
        (images / "red" / "a twin\u202e.jpg").write_bytes((images / "red" / "red-00.jpg").read_bytes())
    train, validation = directory / "images" / "train", directory / "images" / "validation"
    data = directory / "data"
    build(
        BuildConfig(
            train, validation_directory=validation, output_directory=data, train_shards=2, validation_shards=2, max_rejects=2
        ),
        World(),
    )
    manifest = Manifest.load(data)  # a folder cannot have this name, but a class of another tool's shards can
    replace(manifest, labels=[SCRIPT_CLASS, *manifest.labels[1:-1], BACKWARDS_CLASS]).save(data)
    return data


def write_run(
    directory: Path,
    data: Path,
    *,
    steps: int = 240,
    outcome: dict[str, Any] | None = None,
    is_validated: bool = True,
    attempts: Sequence[Sequence[str]] = (("first", "second"),),
    flags: dict[str, Any] | None = None,
) -> Path:
    """Write a run with a line of metrics for each tenth step; returns its directory.

    Args:
        outcome: of its last attempt; that it has finished without it.
        attempts: for each, the host of every rank.
    """
    (directory / "logs").mkdir(parents=True)
    manifest = Manifest.load(data)
    config = {
        "version": 1,
        "config": to_json_dict(TrainConfig(data_dir=data, train_dir=directory, **(flags or {}))),
        **{"workers": len(attempts[0]), "global_batch": 64, "scale": 2.0},
        **{"labels": manifest.labels, "data_sha256": manifest.sha256},
    }
    (directory / "config.json").write_text(json.dumps(config))
    with (directory / "metrics.jsonl").open("w") as file:
        for step in range(10, steps + 1, 10):
            shares = {"step_seconds": 0.4, "input_share": 0.1, "communication_share": 0.05}
            noise = 0.3 * math.sin(step * 1.7) * math.exp(-step / 150)
            line = {"step": step, "loss": 0.4 + 2 * math.exp(-step / 80) + noise, "learning_rate": 0.002 * (1 - step / steps)}
            file.write(
                json.dumps({**line, "gradient_norm": 3.1 - step / steps, "images_per_second": 150.0 + noise, **shares}) + "\n"
            )
            if is_validated and step % 60 == 0:
                share = 1 - math.exp(-step / 90)
                file.write(json.dumps({"step": step, "validation_precision_at_1": share, "validation_recall_at_5": 1.0}) + "\n")
    (directory / "checkpoints").mkdir()
    checkpoint_path(directory, steps).write_bytes(WEIGHTS)
    if is_validated:
        (directory / "checkpoints" / "best.json").write_text(json.dumps({"step": steps, "precision_at_1": 0.875}))
    for number, hosts in enumerate(attempts, start=1):
        for rank, host in enumerate(hosts):
            with (directory / "logs" / f"rank-{rank}.log").open("a") as file:
                versions = {"Python": "3.12.1", "shardtune": "0.1.0", "tensorflow": "2.21.0"}
                file.write(f"2026-01-0{number} 10:00:00 Attempt {number}, rank {rank} of {len(hosts)} on {host}: {versions}\n")
    written = outcome or {"outcome": "finished", "attempt": len(attempts), "step": steps}
    (directory / "outcome.json").write_text(json.dumps(written))
    return directory


def write_evaluation(directory: Path, data: Path, *, skill: float = 2.0, seed: int = 0) -> Predictions:
    """Write what `shardtune eval` leaves of a network whose logit of the right class is higher by `skill`."""
    manifest = Manifest.load(data)
    reader = RecordReader(data, manifest, "validation", load_record_index(data, manifest)["validation"])
    records = reader.read(np.arange(len(reader)))
    labels = np.array([decode_example(record)["image/class/label"][0] for record in records])
    logits = np.random.default_rng(seed).normal(size=(len(labels), manifest.num_classes)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += skill
    logits[:, 0] -= 8
    return write_predictions_of(directory, logits, labels, [source_name(record) for record in records], manifest)


def write_predictions_of(directory: Path, logits: Any, labels: Any, files: Sequence[str], manifest: Manifest) -> Predictions:
    """Write an evaluation of examples with these logits, labels and files."""
    return write_result_of(directory, Predictions.from_logits(np.arange(len(labels)), files, labels, logits), manifest)


def write_result_of(directory: Path, predictions: Predictions, manifest: Manifest) -> Predictions:
    """Write an evaluation with these predictions."""
    names = [BACKGROUND, *manifest.labels]
    directory.mkdir(parents=True, exist_ok=True)
    path = write_predictions(directory, predictions, names)
    result = {
        **measure(predictions, names),
        **{"temperature": 1.2, "corrupt_records": 0, "subset": "validation", "step": 240, "averaged": True},
        **{"image_size": TrainConfig.image_size, "images_per_second": 90.0},
        "provenance": {
            "data_sha256": manifest.sha256,
            "checkpoint_sha256": hashlib.sha256(WEIGHTS).hexdigest(),
            "predictions_sha256": sha256_file(path),
        },
    }
    write_result(directory, result)
    return predictions
