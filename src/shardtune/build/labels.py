"""Class names and their numbers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from shardtune.errors import DataError


def class_folders(directory: Path) -> list[str]:
    """Names of the classes that have a folder in `directory`, sorted; hidden folders are no classes.

    Raises:
        DataError: there is no such directory, or it holds no folders.
    """
    if not directory.is_dir():
        raise DataError(f"Images lie in folders named by class, but there is no directory {directory}: check the path.")
    names = sorted(entry.name for entry in directory.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"Images lie in folders named by class, but {directory} has no sub-folders: make one for each class.")
    for name in names:
        if name.splitlines() != [name] or not _is_text(name):
            raise DataError(f"A class name is one line of UTF-8, but {directory} has a folder {name!r}: rename it.")
    return names


def read_labels(path: Path) -> list[str]:
    """Class names of a labels file, one a line: the first has label 1.

    Raises:
        DataError: it cannot be read, is empty, or names a class twice.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"A labels file holds one class name a line in UTF-8, but {path} cannot be read: {error}.") from error
    if not names:
        raise DataError(f"A labels file holds one class name a line, but {path} is empty: list the classes.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"A labels file names each class once, but {path} has {twice[0]!r} twice: remove one.")
    return names


def require_same(labels: Sequence[str], directory: Path, *, ignore_unlisted: bool, may_lack: bool = False) -> None:
    """Check that the folders of `directory` are exactly the classes.

    Args:
        ignore_unlisted: there may be more.
        may_lack: there may be fewer.

    Raises:
        DataError: names the folders that are missing or too many.
    """
    folders = class_folders(directory)
    missing, extra = sorted(set(labels) - set(folders)), sorted(set(folders) - set(labels))
    missing = [] if may_lack else missing
    if missing or (extra and not ignore_unlisted):
        found = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(extra)} besides"] * bool(extra)
        raise DataError(f"Each class has one folder, but {directory} {' and '.join(found)}: rename, add or remove folders.")


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
