"""What research/inception (2016) left is used as it is: its shards train and are evaluated, its checkpoints are evaluated."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from shardtune.dataset.index import open_data_set
from shardtune.model import checkpoint_file, inception
from shardtune.model.averages import EMA_SUFFIX
from shardtune.model.inception import named_variables
from shardtune.runtime.world import World
from tests.distributed.training import train
from tests.launching import launch, shardtune
from tests.model.checkpoints import V1, V2, Arrays, auxiliary_head, in_release_layout, save, stand_in
from tests.records import by_tensorflow, fields
from tests.research_inception import NAMES, image_example, imagenet_example, write_split


@dataclass(frozen=True)
class Old:
    """A data set, a checkpoint of 2016, a run of shardtune with the same weights, and what `evaluated` says of it."""

    data: Path
    prefix: Path
    run: Path
    found: dict[str, Any]
    output: str


def shards_of_2016(directory: Path, example: Callable[[int, int], tf.train.Example]) -> Path:
    """24 examples in 3 shards for training, and 12 in 2."""
    for split, first, counts in (("train", 0, (8, 8, 8)), ("validation", 24, (8, 4))):
        numbers = iter(range(first, first + sum(counts)))
        write_split(directory, split, [[example(1 + n % len(NAMES), n) for n in islice(numbers, count)] for count in counts])
    return directory


@pytest.mark.parametrize("example", [imagenet_example, pytest.param(image_example, marks=pytest.mark.exhaustive)])
def test_its_shards_train_and_are_evaluated(tmp_path: Path, example: Callable[[int, int], tf.train.Example]) -> None:
    data, run = shards_of_2016(tmp_path / "data", example), tmp_path / "run"
    output = train(data, run, "--augment", "inception", "--max_steps", 2, over="alone", ranks=1)
    assert "Training 24 images of 4 classes for 2 steps of 12" in output
    assert "Finished 2 steps" in output
    flags = ("--data_dir", data, "--checkpoint_dir", run, "--eval_dir", tmp_path)
    output = launch(["-m", "tests.distributed.eval_body", "12", *map(str, flags)])
    assert re.search(r": precision @ 1 = \d\.\d{4} recall @ 5 = 1\.0000 \[12 examples\]", output)


def evaluated(data: Path, checkpoint_dir: Path, *flags: object, **launcher: Any) -> tuple[dict[str, Any], str]:
    """eval.json without its rate and its provenance, and the output."""
    directories = ("--data_dir", data, "--checkpoint_dir", checkpoint_dir, "--eval_dir", checkpoint_dir / "eval")
    output = shardtune("eval", *directories, *flags, **launcher)
    result = json.loads((checkpoint_dir / "eval" / "eval.json").read_text())
    del result["images_per_second"], result["provenance"]
    return result, output


def run_of(directory: Path, data: Path, image_size: int, tensors: Arrays) -> Path:
    """A run of shardtune with these weights and averages at step 1999."""
    directory.mkdir()
    labels = open_data_set(data, World())[0].labels
    run_config = {"config": {"image_size": image_size}, "workers": 1, "labels": labels}
    (directory / checkpoint_file.RUN_CONFIG_NAME).write_text(json.dumps(run_config))
    checkpoint_file.save(directory, 1999, tensors)
    return directory


def named_elsewhere(old: Path) -> None:
    """Let the file `checkpoint` name the path that the checkpoint had on another machine."""
    (old / "checkpoint").write_text('model_checkpoint_path: "/tmp/flowers_train/model.ckpt-1999"\n')


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Old:
    """A checkpoint with an auxiliary head, evaluated by two ranks, and a run with its weights, of images of another size."""
    directory = tmp_path_factory.mktemp("old")
    data = shards_of_2016(directory / "data", image_example)
    shapes = {name: variable.shape for name, variable in named_variables(inception.build(5, 75)).items()} | auxiliary_head(5)
    last = {name: stand_in(name, shape) for name, shape in shapes.items()}
    averages = {name: stand_in(f"averaged/{name}", shape) for name, shape in shapes.items()}
    prefix = save(directory / "old" / "model.ckpt-1999", in_release_layout(last, averages), V2)
    named_elsewhere(prefix.parent)
    averaged = {f"{name}{EMA_SUFFIX}": array for name, array in averages.items()}
    run = run_of(directory / "run", data, 107, {**last, **averaged})
    return Old(data, prefix, run, *evaluated(data, prefix.parent, launcher="mpirun", ranks=2))


def test_its_checkpoint_counts_what_the_same_weights_count_in_a_run(old: Old) -> None:
    assert old.found == evaluated(old.data, old.run, "--image_size=299")[0]
    assert [old.found[name] for name in ("step", "averaged", "examples", "image_size")] == [1999, True, 12, 299]
    lines = (
        rf"Successfully loaded model from {old.prefix} at step=1999\.\n",
        r"It has no names of classes: its outputs are taken for the classes of the data set in their order\.\n",
        r": starting evaluation on \(validation\)\.\n",
        r": precision @ 1 = \d\.\d{4} recall @ 5 = 1\.0000 \[12 examples\]",
    )
    positions = [[match.start() for match in re.finditer(line, old.output)] for line in lines]
    assert [len(found) for found in positions] == [1] * 4
    assert positions == sorted(positions)


def test_its_checkpoint_predicts_what_it_is_evaluated_by(old: Old, tmp_path: Path) -> None:
    shards = sorted(map(str, old.data.glob("validation-*")))
    for number, record in enumerate(tf.data.TFRecordDataset(shards).as_numpy_iterator()):
        (tmp_path / f"{number:02}.jpg").write_bytes(fields(record)["image/encoded"])
    output = tmp_path / "predictions.csv"
    shardtune("predict", f"{tmp_path}/*.jpg", "--model", old.prefix, "--data_dir", old.data, "--output", output)
    texts = (path.read_text() for path in (output, old.prefix.parent / "eval" / "predictions.csv"))
    ours, its = ([*csv.DictReader(text.splitlines())] for text in texts)
    columns = [f"{name}_{rank}" for rank in range(1, 6) for name in ("label", "class", "probability")]
    assert [[row[column] for column in columns] for row in ours] == [[row[column] for column in columns] for row in its]
    assert len({row["probability_1"] for row in ours}) > 1  # it tells images apart


@pytest.mark.exhaustive
def test_the_released_trunk_with_other_logits_at_299_pixels(shared_data: Path, tmp_path: Path) -> None:
    reader = tf.train.load_checkpoint(str(shared_data / "inception-v3-2016-03-01" / "model.ckpt-157585"))
    weights = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    generator = np.random.default_rng(5)
    for name, array in weights.items():
        if name.startswith(inception.HEAD_PREFIXES):
            weights[name] = generator.normal(0, 0.1, (*array.shape[:-1], 6)).astype(np.float32)
    folders = sorted(path for path in (shared_data / "flowers" / "validation").iterdir())
    examples = [
        by_tensorflow(
            {"image/encoded": [photo.read_bytes()], "image/class/label": [label], "image/class/text": [folder.name.encode()]}
        )
        for label, folder in enumerate(folders, start=1)
        for photo in sorted(folder.iterdir())[:2]
    ]
    write_split(tmp_path / "data", "validation", [examples])
    prefix = save(
        tmp_path / "old" / "model.ckpt-1999", {**weights, "global_step": np.float32(2000) + np.zeros((), np.float32)}, V1
    )
    named_elsewhere(prefix.parent)
    run = run_of(tmp_path / "run", tmp_path / "data", 299, weights)
    found, output = evaluated(tmp_path / "data", prefix.parent)
    assert "It has no averaged weights: those of its last step are taken.\n" in output
    assert found == evaluated(tmp_path / "data", run, "--no_ema")[0]
    assert found["examples"] == 10
