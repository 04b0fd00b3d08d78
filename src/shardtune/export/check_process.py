"""The other process of check.py: reads a task as JSON from stdin, and prints the probabilities of each batch as a line of JSON.

It has nothing of the model but the export.
"""

import json
import sys
from pathlib import Path

import numpy as np

from shardtune.dataset.index import open_data_set
from shardtune.export.predictors import load
from shardtune.input.pipeline import parse
from shardtune.input.reader import RecordReader
from shardtune.runtime.world import World

BATCH_SIZE = 8  # another than the trained model's: an export must not depend on it


def main() -> None:
    task = json.load(sys.stdin)
    data_dir = Path(task["data_dir"])
    manifest, records = open_data_set(data_dir, World())
    reader = RecordReader(data_dir, manifest, task["split"], records[task["split"]])
    predict = load(Path(task["path"]), task["classes"], task["image_size"])
    for batch in np.array_split(np.arange(task["examples"]), -(-task["examples"] // BATCH_SIZE)):
        jpegs = [parse(record, boxes=False)[0].numpy() for record in reader.read(batch)]
        print(json.dumps(predict(jpegs).tolist()), flush=True)


if __name__ == "__main__":
    main()
