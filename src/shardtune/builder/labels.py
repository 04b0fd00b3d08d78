"""Class names, their numbers, and what people call the classes."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from shardtune.builder.listing import IMAGE_SUFFIXES, printable_path
from shardtune.errors import DataError
from shardtune.images.ignored import Ignored

_TRAIN, _VALIDATION = ("train", "training"), ("validation", "valid", "val", "test", "testing", "eval", "evaluation", "dev")


def class_folders(directory: Path, ignored: Ignored) -> dict[str, str]:
    """The folder of each class in `directory`, sorted by class name.

    A class name is its folder's name in Unicode's composed form (NFC), without leading and trailing spaces, so that it equals
    a line of a labels file on every file system.

    Raises:
        DataError: there is no such directory, it has no folders, it has images beside them, a folder's name is no class name,
            or two folders have the same class name.
    """
    if not directory.is_dir():
        raise DataError(f"The image directory {directory} does not exist.", "Check the path.")
    entries = sorted(entry for entry in directory.iterdir() if not ignored.covers(entry.name))
    images = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.is_dir()]
    if images:
        raise DataError(
            f"{directory} holds {len(images)} image(s) outside of class folders (first {images[0].name}).",
            f"Move them into a folder named by their class, or leave them out with --ignore. If {directory.name} is the class, "
            f"give --train_directory {directory.resolve().parent}.",
        )
    folders = [entry.name for entry in entries if entry.is_dir()]
    if not folders:
        raise DataError(f"{directory} has no sub-folders.", "Make one for each class and put its images there.")
    invalid = [printable_path(name) for name in folders if not is_class_name(name)]
    if invalid:
        raise DataError(
            f"{directory} has folders whose names are not one line of UTF-8: {', '.join(map(repr, invalid))}.",
            "Rename these folders.",
        )
    by_name: dict[str, str] = {}
    for folder in folders:
        first = by_name.setdefault(class_name(folder), folder)
        if first != folder:
            raise DataError(
                f"{directory} has two folders for the class {class_name(folder)}: {first!a} and {folder!a}.",
                "Rename one of them, or move its images into the other.",
            )
    return dict(sorted(by_name.items()))


def class_name(text: str) -> str:
    """The class that a folder's name or a line of a labels file stands for."""
    return unicodedata.normalize("NFC", text.strip())


def read_labels(path: Path) -> list[str]:
    """The class names of a labels file, one per line; the first has label 1.

    Raises:
        DataError: the file cannot be read, is empty, or names a class twice.
    """
    try:
        names = [class_name(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The labels file {path} cannot be read: {error}.", "Give a file of class names in UTF-8.") from error
    if not names:
        raise DataError(f"The labels file {path} is empty.", "List the class names in it, one per line.")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"The labels file {path} has {repeated[0]!r} twice.", "Remove one of the two lines.")
    return names


def read_words(path: Path, names: Sequence[str]) -> list[str]:
    """What people call each class, from a file like imagenet_metadata.txt of research/inception.

    Each line has a class, a tab and its words: `n01440764<TAB>tench, Tinca tinca`. It may have other classes too.

    Args:
        names: class names; the words are in their order.

    Raises:
        DataError: the file cannot be read, has another kind of line, has a class twice, or lacks one of `names`.
    """
    words_of: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The metadata file {path} cannot be read: {error}.", "Give a file of synsets and their words in UTF-8."
        ) from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            synset, _, words = map(str.strip, line.partition("\t"))
            if not (synset and words) or "\t" in words:
                raise DataError(
                    f"Line {number} of the metadata file {path} is not a synset, a tab and its words: {line!r}.", "Correct it."
                )
            if class_name(synset) in words_of:
                raise DataError(f"The metadata file {path} has {synset!r} twice.", "Remove one of the two lines.")
            words_of[class_name(synset)] = words
    missing = [name for name in names if name not in words_of]
    if missing:
        raise DataError(
            f"The metadata file {path} has no words for {len(missing)} of {len(names)} classes (first {missing[0]!r}).",
            "Add a line for each, or leave out --imagenet_metadata_file.",
        )
    return [words_of[name] for name in names]


def check_class_folders(
    labels: Sequence[str], folders: Collection[str], directory: Path, *, ignore_unlisted: bool, allow_missing: bool = False
) -> None:
    """Check that the classes that have `folders` in `directory` are exactly the labels.

    Args:
        ignore_unlisted: allow folders of other classes.
        allow_missing: allow classes without a folder.

    Raises:
        DataError: folders are missing, or there are others.
    """
    missing = [] if allow_missing else sorted(set(labels) - set(folders))
    unlisted = [] if ignore_unlisted else sorted(set(folders) - set(labels))
    if missing or unlisted:
        problems = [f"has no folder for {', '.join(missing)}"] * bool(missing)
        problems += [f"has folders that are no class: {', '.join(unlisted)}"] * bool(unlisted)
        raise DataError(f"{directory} {' and '.join(problems)}.", "Rename, add or remove folders.")


def check_no_split_folders(directory: Path, folders: Collection[str], output: Path) -> None:
    """Check that the folders of `directory` are not splits, with the classes one level below.

    They are taken for splits if all have names of splits, one is that of training images, and none holds files.

    Raises:
        DataError: they are; it gives the command that was probably meant.
    """
    train = [name for name in folders if name.lower() in _TRAIN]
    others = sorted((name for name in folders if name.lower() in _VALIDATION), key=lambda name: _VALIDATION.index(name.lower()))
    tests = [name for name in others[1:] if name.lower() in ("test", "testing")]
    if not train or len(train) + len(others) < len(folders):
        return
    ignored = Ignored()
    entries = [entry for name in folders for entry in (directory / name).iterdir() if not ignored.covers(entry.name)]
    if all(entry.is_dir() for entry in entries):
        validation = f"--validation_directory {directory / others[0]} " if others else ""
        test = f"--test_directory {directory / tests[0]} " if tests else ""
        raise DataError(
            f"The folders of {directory} ({', '.join(folders)}) hold only folders, so they are splits rather than classes.",
            f"Did you mean shardtune build --train_directory {directory / train[0]} {validation}{test}"
            f"--output_directory {output}? "
            f"If they are classes, list them in a --labels_file.",
        )


def is_class_name(name: str) -> bool:
    """Whether a name can be a line of labels.txt."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return name.splitlines() == [name] and bool(name.strip())
