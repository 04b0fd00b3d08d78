"""Data sets of schema 1, byte for byte as they were written before there was a schema 2."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from shardtune.builder.receipts import RECEIPTS_NAME
from shardtune.builder.recipe import RECIPE_NAME
from shardtune.dataset.columns import RECORD_DTYPE, RECORDS_NAME, load_record_index
from shardtune.dataset.example import decode_example, encode_example
from shardtune.dataset.manifest import MANIFEST_NAME, WORK_NAME, Manifest
from shardtune.dataset.tfrecord import FOOTER_BYTES, HEADER_BYTES, frame, stored_crc


def downgrade(directory: Path) -> None:
    """Make the data set in `directory` one of schema 1: other records, no digests of reports, another recipe, no receipts."""
    manifest = Manifest.load(directory)
    starts = {split: records["start"].tolist() for split, records in load_record_index(directory, manifest).items()}
    value: dict[str, Any] = json.loads((directory / MANIFEST_NAME).read_text())
    records = []
    for split in manifest.splits:
        for shard in value["splits"][split]:
            content, new = (directory / shard["name"]).read_bytes(), b""
            mine = [starts[split].pop(0) for _ in range(shard["examples"])]
            for start, end in zip(mine, [*mine, len(content)][1:], strict=True):
                features = decode_example(content[start + HEADER_BYTES : end - FOOTER_BYTES])
                features["image/filename"] = features.pop("image/path")
                record = frame(encode_example(features))
                records.append((len(new), stored_crc(record)))
                new += record
            (directory / shard["name"]).write_bytes(new)
            shard["bytes"], shard["sha256"] = len(new), hashlib.sha256(new).hexdigest()
    recipe = json.loads((directory / WORK_NAME / RECIPE_NAME).read_text())
    del recipe["version"], recipe["digest"], recipe["files"], recipe["rejected"], recipe["ignore"]
    (directory / WORK_NAME / RECIPE_NAME).write_text(json.dumps(recipe, indent=2, ensure_ascii=False) + "\n")
    shutil.rmtree(directory / WORK_NAME / RECEIPTS_NAME)
    data = np.array(records, RECORD_DTYPE).tobytes()
    (directory / RECORDS_NAME).write_bytes(data)
    del value["manifest_sha256"], value["reports"], value["provenance"]["boxes"]
    value |= {"schema_version": 1, "records_sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    value["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (directory / MANIFEST_NAME).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
