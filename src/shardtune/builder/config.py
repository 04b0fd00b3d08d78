"""The flags of `shardtune build`."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from shardtune.config import check_flag, check_flags, check_types
from shardtune.errors import UsageError


@dataclass(frozen=True)
class BuildConfig:
    """Turn a folder of labelled images (one sub-folder a class) into sharded TFRecords. Runs on any number of MPI ranks."""

    train_directory: Path | None = None
    """Folder of training images: train_directory/label/image.jpg. A label without any usable image is an error."""
    output_directory: Path = field(kw_only=True)
    """Where shards, labels.txt and dataset.json are written; created if it does not exist."""
    list: Path | None = None
    """In place of directories: a CSV, TSV or JSON lines file of path, label and, if you like, split (train, validation or test)
    and group, named in its first line. Images of one group are never on two sides of a split that is held out."""
    image_root: Path | None = None
    """Folder to which the paths of --list are relative (default: the folder of the list). image/path has them as written."""
    validation_directory: Path | None = None
    """Folder of validation images, laid out like train_directory. Classes may be missing from it; they are reported."""
    validation_fraction: float = 0.0
    """Without a validation_directory: the fraction (0 to 1) of the images in train_directory to hold out for
    validation, rounded, at least one image; taken from the classes in proportion. Classes that give none are reported."""
    validation_examples: int = 0
    """Without a validation_directory: how many images of train_directory to hold out, taken in the same way."""
    test_directory: Path | None = None
    """Folder of test images, laid out like train_directory, for eval --subset test. Training never sees them."""
    test_fraction: float = 0.0
    """Without a test_directory: the fraction (0 to 1) of the images in train_directory to hold out as the test split, in the
    same way as for validation. The images held out for validation are the same with and without it."""
    group_by: str | None = None
    """A regular expression that is searched for in the path of each image: what its first parentheses match names the image's
    group, as in --group_by 'patient-([0-9]+)'. Images of one group are never on two sides of a split."""
    labels_file: Path | None = None
    """Class names, one per line; the first has label 1. Without it, the sorted sub-folders of train_directory, or the sorted
    labels of the list."""
    imagenet_metadata_file: Path | None = None
    """What people call each class, as imagenet_metadata.txt does: one class (synset) a line, a tab, and its words. The words
    go into image/class/text, which otherwise has the class name, and the class name into image/class/synset."""
    ignore_unlisted: bool = False
    """Leave out folders or lines of the list whose class labels_file does not list, and boxes of images that are not there.
    Without this flag they are an error."""
    ignore: tuple[str, ...] = ()
    """Files and folders to leave out: shell patterns of their names, or of their paths relative to the split's directory, as in
    --ignore '*.txt' 'cats/old/*'. Hidden files and those of file managers (Thumbs.db, __MACOSX, ...) are always left out."""
    bounding_box_file: Path | None = None
    """CSV of objects: filename,xmin,ymin,xmax,ymax[,label].
    filename: the path relative to the split's directory, or its last part alone; with or without the extension.
    xmin to ymax: fractions (0 to 1) of the upright image's width and height, from the left and from the top.
    label: a class name or number; the default is the label of the image."""
    train_shards: int = 128
    """Number of training shards. One rank writes a shard, so ranks beyond the number of shards have none to write."""
    validation_shards: int = 24
    """Number of validation shards."""
    test_shards: int = 24
    """Number of test shards."""
    seed: int = 0
    """Decides the order of the examples and which images are held out."""
    duplicates: Literal["keep", "skip"] = "keep"
    """Identical files are always reported. skip stores one of them, in test if one is there, else in validation,
    with the boxes of all."""
    check: Literal["full", "header"] = "full"
    """full: every coded byte of every image is decoded. header: the pixel data of clean JPEGs is not checked, which is
    faster."""
    exif: Literal["upright", "keep"] = "upright"
    """upright: rotate images as their EXIF orientation says. keep: do not rotate them."""
    max_side: int | None = None
    """Scale larger images down until their longer side has this many pixels."""
    quality: int = 95
    """JPEG quality (1 to 100) of images that must be encoded again; clean RGB JPEGs keep their bytes."""
    min_side: int | None = None
    """Leave out images whose shorter side has fewer pixels, before --max_side; they count as rejected."""
    strip_metadata: bool = False
    """Leave EXIF (places, names, cameras), XMP, IPTC, comments and thumbnails out of the stored JPEGs, whose pixels do not
    change. Without it, clean JPEGs keep all their bytes. Paths and names of files are stored in any case."""
    max_rejects: int = 0
    """Fail if more images than this cannot be stored. All of them are listed in rejects.jsonl."""
    overwrite: bool = False
    """Replace the shards of another build in output_directory, or a finished data set. Needed if an image changed in place and
    kept its size and time: a build compares contents only where times differ."""
    dry_run: bool = False
    """Write nothing: print classes, what is held out, shards, and the space that is needed, on as many ranks as it has."""
    hang_timeout: float = 600.0
    """Seconds without progress after which the job ends and reports which rank is late."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("train_shards", "validation_shards", "test_shards"):
            check_flag(getattr(self, name) > 0, f"{name} must be at least 1", getattr(self, name))
        for name in ("max_rejects", "validation_examples"):
            check_flag(getattr(self, name) >= 0, f"{name} must be at least 0", getattr(self, name))
        for name in ("validation_fraction", "test_fraction"):
            check_flag(0 <= getattr(self, name) < 1, f"{name} must be at least 0 and below 1", getattr(self, name))
        for name in ("max_side", "min_side"):
            side = getattr(self, name)
            check_flag(side is None or side > 0, f"{name} must be at least 1", side)
        check_flag(1 <= self.quality <= 100, "quality must be between 1 and 100", self.quality)
        check_flag(self.hang_timeout > 0, "hang_timeout must be above 0", self.hang_timeout)
        check_flag(-(2**63) <= self.seed < 2**63, "seed must be a 64-bit integer", self.seed)
        check_flags(
            not self.ignore_unlisted or self.labels_file is not None,
            "--ignore_unlisted needs --labels_file.",
            "Give a --labels_file, or leave out --ignore_unlisted.",
        )
        check_flags(
            self.exif == "upright" or self.bounding_box_file is None,
            "--exif keep contradicts --bounding_box_file: boxes refer to upright images.",
            "Leave out one of them.",
        )
        self._check_splits()
        self._check_list()
        if self.group_by is not None:
            try:
                groups = re.compile(self.group_by).groups
            except re.error as error:
                raise UsageError(f"--group_by {self.group_by} is no regular expression: {error}.", "See --help.") from None
            check_flag(groups > 0, "group_by must have parentheses around the name of the group", self.group_by)

    @property
    def holds_out(self) -> bool:
        """Whether training images are held out for another split."""
        return bool(self.validation_fraction or self.validation_examples or self.test_fraction)

    def _check_splits(self) -> None:
        """Check that it is clear which images are held out."""
        validation = ("validation_directory", "validation_fraction", "validation_examples")
        for split, names in (("validation", validation), ("test", ("test_directory", "test_fraction"))):
            given = [name for name in names if getattr(self, name)]
            flags = " and ".join(f"--{name}" for name in given)
            check_flags(len(given) < 2, f"{flags} both say which images are for {split}.", "Leave out all but one.")
        check_flags(
            self.validation_fraction + self.test_fraction < 1,
            f"--validation_fraction {self.validation_fraction} and --test_fraction {self.test_fraction} leave nothing.",
            "Give fractions whose sum is below 1.",
        )

    def _check_list(self) -> None:
        """Check that the images are either in directories or in a list."""
        if self.list is None:
            check_flags(
                self.train_directory is not None,
                "shardtune build was given no --train_directory and no --list.",
                "See shardtune build --help.",
            )
            check_flags(self.image_root is None, "--image_root needs --list.", "Give a --list, or leave out --image_root.")
            return
        others = ("train_directory", "validation_directory", "test_directory", "ignore")
        flags = " and ".join(f"--{name}" for name in others if getattr(self, name))
        check_flags(not flags, f"{flags} and --list both say which images are there.", "Leave out one of them.")
