"""A small tree of images like ImageNet's, with the files that build_imagenet_data.py of research/inception took."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.pictures import encoded, picture

WORDS = {  # of WordNet; a crane is a bird and a machine
    "n01440764": "tench, Tinca tinca",
    "n02012849": "crane",
    "n02105855": "Shetland sheepdog, Shetland sheep dog, Shetland",
    "n03126707": "crane",
    "n07583066": "guacamole",
}
PNG, CMYK = "n02105855/n02105855_2933.JPEG", "n07583066/n07583066_647.JPEG"
BOXES = {  # by image, as in imagenet_2012_bounding_boxes.csv: xmin, ymin, xmax, ymax
    "n01440764/n01440764_1.JPEG": [(0.006, 0.262, 0.7545, 0.994), (0.0, 0.0, 1.0, 0.5)],
    "n02105855/n02105855_2933.JPEG": [(0.25, 0.125, 0.75, 1.0)],
    "n07583066/n07583066_647.JPEG": [(0.1, 0.2, 0.3, 0.4)],
}
TRAIN, VALIDATION = 4, 2  # images of each synset


@dataclass(frozen=True)
class SynsetTree:
    """Folders `train` and `validation` of a folder for each synset, and the files of flags of 2016."""

    directory: Path

    @property
    def images(self) -> Path:
        return self.directory / "train"

    @property
    def metadata(self) -> Path:
        return self.directory / "imagenet_metadata.txt"

    @property
    def boxes(self) -> Path:
        return self.directory / "imagenet_2012_bounding_boxes.csv"

    @property
    def options(self) -> dict[str, Any]:
        """Flags of `build` but for train_directory and output_directory."""
        return {
            "validation_directory": self.directory / "validation",
            "labels_file": self.directory / "imagenet_lsvrc_2015_synsets.txt",
            "imagenet_metadata_file": self.metadata,
            "bounding_box_file": self.boxes,
        }


def plant_synsets(directory: Path) -> SynsetTree:
    """Make the tree in `directory`: 20 training images, of which `PNG` is a PNG and `CMYK` has inks, and 10 others."""
    tree, generator, number = SynsetTree(directory), np.random.default_rng(5), 0
    for synset in WORDS:
        (tree.images / synset).mkdir(parents=True)
        for index in range(TRAIN):
            (tree.images / synset / f"{synset}_{index}.JPEG").write_bytes(encoded(picture(generator, 64, 48)))
        (directory / "validation" / synset).mkdir(parents=True)
        for _ in range(VALIDATION):
            number += 1
            path = directory / "validation" / synset / f"ILSVRC2012_val_{number:08d}.JPEG"
            path.write_bytes(encoded(picture(generator, 64, 48)))
    (tree.images / PNG).write_bytes(encoded(picture(generator, 64, 48), "PNG"))
    (tree.images / CMYK).write_bytes(encoded(picture(generator, 64, 48).convert("CMYK")))
    for path in (PNG, CMYK):
        (tree.images / path).with_name(f"{path.partition('/')[0]}_0.JPEG").unlink()
    tree.options["labels_file"].write_text("".join(f"{synset}\n" for synset in WORDS))
    others = {"n00004475": "organism, being", "n07579688": "piece de resistance, pièce de résistance"}
    tree.metadata.write_text("".join(f"{synset}\t{words}\n" for synset, words in sorted({**WORDS, **others}.items())))
    tree.boxes.write_text(
        "".join(
            f"{Path(path).name},{','.join(f'{side:.4f}' for side in box)}\n"
            for path, boxes in BOXES.items()
            for box in sorted(boxes)
        )
    )
    return tree
