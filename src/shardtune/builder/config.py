"""What a person can ask of `shardtune build`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shardtune.config import check_flag


@dataclass(frozen=True)
class BuildConfig:
    """Turn a folder of labelled images (one sub-folder a class) into sharded TFRecords. Runs on any number of MPI ranks."""

    train_directory: Path
    """Folder of training images: train_directory/label/image.jpg. A label of which no image is usable is an error."""
    output_directory: Path
    """Where shards, labels.txt and dataset.json go; made if it does not exist."""
    validation_directory: Path | None = None
    """Folder of validation images, laid out like train_directory. Classes may be missing there, which is told."""
    validation_fraction: float = 0.0
    """Without a validation_directory: the share (0 to 1) of the images in train_directory held out for validation,
    rounded, but one at least; from each class in proportion. Small classes may have none, which is told."""
    validation_examples: int = 0
    """Without a validation_directory: how many images of train_directory are held out, shared out in the same way."""
    labels_file: Path | None = None
    """Class names, one a line: the first has label 1. Without it, the sorted sub-folders of train_directory."""
    ignore_unlisted: bool = False
    """Leave out folders that labels_file does not list, which is an error otherwise."""
    ignore: tuple[str, ...] = ()
    """Files and folders to leave out, as shell patterns of their names or of their paths from the split's directory:
    --ignore '*.txt' 'cats/old/*'. Hidden ones, and what file managers leave (Thumbs.db, __MACOSX and the like), always are."""
    bounding_box_file: Path | None = None
    """CSV of objects: filename,xmin,ymin,xmax,ymax[,label].
    filename: the path from the split's directory, or its last part alone; with or without the extension.
    xmin to ymax: shares (0 to 1) of the upright image as people see it, from its left and its top.
    label: a class name or number; without it, the image's."""
    train_shards: int = 128
    """Number of training shards."""
    validation_shards: int = 24
    """Number of validation shards."""
    seed: int = 0
    """Decides the order of the examples and what is held out."""
    duplicates: Literal["keep", "skip"] = "keep"
    """Identical files are always reported; skip stores one of them, in validation where one is there, with the boxes of all."""
    check: Literal["full", "header"] = "full"
    """full: every image is decoded to its end. header: the pixel data of clean JPEGs is trusted, which is faster."""
    exif: Literal["upright", "keep"] = "upright"
    """upright: turn images as their EXIF orientation says. keep: leave them as they lie."""
    max_side: int | None = None
    """Scale images down so that their longer side has at most so many pixels."""
    quality: int = 95
    """JPEG quality (1 to 100) of images that must be encoded anew; clean RGB JPEGs keep their bytes."""
    max_rejects: int = 0
    """How many images may be unusable before the build fails; each is listed in rejects.jsonl."""
    overwrite: bool = False
    """Replace what another build left in output_directory, or a finished data set. Needed where images were changed in place
    with the same size and time: a build knows its images by these, and by content only where times differ."""
    hang_timeout: float = 600.0
    """Seconds without progress after which the job ends and says which rank is late."""
    num_threads: int = 1
    """Without effect, for command lines of research/inception: a rank is one thread, and mpirun -n 8 starts 8 of them."""

    def __post_init__(self) -> None:
        for name in ("train_shards", "validation_shards", "num_threads"):
            check_flag(getattr(self, name) > 0, f"{name} is at least 1", getattr(self, name))
        for name in ("max_rejects", "validation_examples"):
            check_flag(getattr(self, name) >= 0, f"{name} is at least 0", getattr(self, name))
        check_flag(0 <= self.validation_fraction < 1, "validation_fraction lies in 0 to 1", self.validation_fraction)
        check_flag(self.max_side is None or self.max_side > 0, "max_side is at least 1", self.max_side)
        check_flag(1 <= self.quality <= 100, "quality lies in 1 to 100", self.quality)
        check_flag(self.hang_timeout > 0, "hang_timeout is above 0", self.hang_timeout)
        check_flag(-(2**63) <= self.seed < 2**63, "seed is a 64-bit integer", self.seed)
        check_flag(
            not self.ignore_unlisted or self.labels_file is not None,
            "ignore_unlisted goes with labels_file",
            "--ignore_unlisted alone",
        )
        check_flag(
            self.exif == "upright" or self.bounding_box_file is None,
            "Bounding boxes are those of upright images",
            "--exif keep with bounding_box_file",
        )
        sources = ("validation_directory", "validation_fraction", "validation_examples")
        given = [name for name in sources if getattr(self, name)]
        check_flag(len(given) < 2, f"Validation images come from one of {', '.join(sources)}", " and ".join(given))
