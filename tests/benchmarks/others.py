"""How other tools turn a folder of images into shards, each as its documentation has it.

usage: python others.py mds|webdataset|tensorflow|decode IMAGES OUTPUT

Every one reads each file, looks at its header as `shardtune build --check header` does, and writes bytes and label.
`decode` writes nothing: it decodes at 1/8 scale, which is what `--check full` must at least do, and prints images/s.
"""

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image


def examples(images: Path) -> Iterator[tuple[str, bytes, int, tuple[int, int]]]:
    for label, folder in enumerate(sorted(images.iterdir()), start=1):
        for path in sorted(folder.iterdir()):
            data = path.read_bytes()
            yield f"{folder.name}/{path.stem}", data, label, Image.open(io.BytesIO(data)).size


def mds(images: Path, output: Path) -> None:
    from streaming import MDSWriter

    columns = {"image": "bytes", "label": "int", "width": "int", "height": "int"}
    with MDSWriter(out=str(output), columns=columns) as writer:
        for _, data, label, (width, height) in examples(images):
            writer.write({"image": data, "label": label, "width": width, "height": height})


def webdataset(images: Path, output: Path) -> None:
    import webdataset as wds

    output.mkdir()
    with wds.ShardWriter(f"{output}/train-%06d.tar", maxcount=500, verbose=0) as writer:
        for name, data, label, _ in examples(images):
            writer.write({"__key__": name, "jpg": data, "cls": label})


def tensorflow(images: Path, output: Path) -> None:
    import tensorflow as tf

    def int64(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    def text(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    output.mkdir()
    writer = None
    for number, (name, data, label, (width, height)) in enumerate(examples(images)):
        if number % 500 == 0:
            if writer:
                writer.close()
            writer = tf.io.TFRecordWriter(f"{output}/train-{number // 500:05d}")
        features = {
            "image/encoded": text(data),
            "image/filename": text(name.encode()),
            "image/class/label": int64(label),
            "image/width": int64(width),
            "image/height": int64(height),
        }
        writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    if writer:
        writer.close()


def decode(images: Path, output: Path) -> None:
    contents = [data for _, data, _, _ in examples(images)]
    started = time.monotonic()
    for data in contents:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (image.width // 8, image.height // 8))
        image.load()
    print(len(contents) / (time.monotonic() - started))


if __name__ == "__main__":
    {"mds": mds, "webdataset": webdataset, "tensorflow": tensorflow, "decode": decode}[sys.argv[1]](*map(Path, sys.argv[2:]))
