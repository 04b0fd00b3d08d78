"""Class names and their numbers."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from shardtune.builder.ignored import Ignored
from shardtune.builder.listing import IMAGE_SUFFIXES, printable_path
from shardtune.errors import DataError

_TRAIN, _VALIDATION = ("train", "training"), ("validation", "valid", "val", "test", "testing", "eval", "evaluation", "dev")


def class_folders(directory: Path, ignored: Ignored) -> dict[str, str]:
    """The folder of each class in `directory`, sorted by class name.

    A class name is its folder's name in Unicode's composed form (NFC), without spaces at its ends: as a labels file has it,
    whatever file system the folder comes from.

    Raises:
        DataError: there is no such directory, or it holds no folders, images beside them, or folders whose names are no
            class names or the same one.
    """
    if not directory.is_dir():
        raise DataError(f"Images lie in folders named by class, but there is no directory {directory}: check the path.")
    entries = sorted(entry for entry in directory.iterdir() if not ignored.covers(entry.name))
    images = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.is_dir()]
    if images:
        raise DataError(
            f"Images lie in folders named by class, but {directory} itself holds {len(images)} (first {images[0].name}): move "
            f"them into such a folder, or leave them out with --ignore. If {directory.name} is the class, give "
            f"--train_directory {directory.resolve().parent}."
        )
    folders = [entry.name for entry in entries if entry.is_dir()]
    if not folders:
        raise DataError(f"Images lie in folders named by class, but {directory} has no sub-folders: make one for each class.")
    wrong = [name for name in folders if not _is_class_name(name)]
    if wrong:
        raise DataError(
            f"A class name is one line of UTF-8, but {directory} has {', '.join(map(repr, map(printable_path, wrong)))}: "
            f"rename these folders."
        )
    by_name: dict[str, str] = {}
    for folder in folders:
        twin = by_name.setdefault(class_name(folder), folder)
        if twin != folder:
            raise DataError(
                f"Each class has one folder, but {directory} has {twin!a} and {folder!a} for {class_name(folder)}: "
                f"rename one, or move its images into the other."
            )
    return dict(sorted(by_name.items()))


def class_name(text: str) -> str:
    """The class that a folder's name or a line of a labels file means."""
    return unicodedata.normalize("NFC", text.strip())


def read_labels(path: Path) -> list[str]:
    """Class names of a labels file, one a line: the first has label 1.

    Raises:
        DataError: it cannot be read, is empty, or names a class twice.
    """
    try:
        names = [class_name(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"A labels file holds one class name a line in UTF-8, but {path} cannot be read: {error}.") from error
    if not names:
        raise DataError(f"A labels file holds one class name a line, but {path} is empty: list the classes.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"A labels file names each class once, but {path} has {twice[0]!r} twice: remove one.")
    return names


def require_same(
    labels: Sequence[str], folders: Collection[str], directory: Path, *, ignore_unlisted: bool, may_lack: bool = False
) -> None:
    """Check that the classes that have `folders` in `directory` are exactly the labels.

    Args:
        ignore_unlisted: there may be more.
        may_lack: there may be fewer.

    Raises:
        DataError: names the folders that are missing or too many.
    """
    missing, extra = sorted(set(labels) - set(folders)), sorted(set(folders) - set(labels))
    missing = [] if may_lack else missing
    if missing or (extra and not ignore_unlisted):
        found = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(extra)} besides"] * bool(extra)
        raise DataError(f"Each class has one folder, but {directory} {' and '.join(found)}: rename, add or remove folders.")


def require_no_splits(directory: Path, folders: Collection[str], output: Path) -> None:
    """Check that the folders of `directory` are not those of splits, with the classes one level below.

    They are if all of them have names of splits, one that of training images, and none holds files.

    Raises:
        DataError: gives the command that was probably meant.
    """
    train = [name for name in folders if name.lower() in _TRAIN]
    others = sorted((name for name in folders if name.lower() in _VALIDATION), key=lambda name: _VALIDATION.index(name.lower()))
    if not train or len(train) + len(others) < len(folders):
        return
    ignored = Ignored()
    below = [e for name in folders for e in (directory / name).iterdir() if not ignored.covers(e.name)]
    if all(entry.is_dir() for entry in below):
        validation = f"--validation_directory {directory / others[0]} " if others else ""
        raise DataError(
            f"The folders in train_directory are classes, but those of {directory} ({', '.join(folders)}) hold nothing but "
            f"folders: did you mean shardtune build --train_directory {directory / train[0]} {validation}--output_directory "
            f"{output}? (If these are classes, list them in a --labels_file.)"
        )


def _is_class_name(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return name.splitlines() == [name] and bool(name.strip())
