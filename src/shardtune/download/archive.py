"""Unpack an archive of which nothing is trusted: it may be made to write elsewhere, or to fill the disk."""

import gzip
import io
import secrets
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from shardtune.errors import DownloadError

MAX_BYTES = 1 << 30  # of an unpacked archive: four times the largest that is fetched, the photographs of flowers
MAX_MEMBERS = 100_000
CHUNK_BYTES = 1 << 20
UNREADABLE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError)


def unpack(archive: Path, target: Path, heartbeat: Callable[[], None]) -> None:
    """Unpack what a .tar.gz has under the name of `target` to `target`, which is replaced when all is there.

    Args:
        target: a file or a folder.
        heartbeat: called for each file.

    Raises:
        DownloadError: the archive is damaged, has no such file or folder, is larger than `MAX_BYTES` or `MAX_MEMBERS`, or holds
            what no archive of files should: a path that leads out of it, a link, a device, a name twice.
        OSError: a file cannot be written.
    """
    temporary = target.parent / f".{target.name}.{secrets.token_hex(8)}.tmp"
    unpacked, replaced = temporary / "new", temporary / "old"
    try:
        unpacked.mkdir(parents=True)
        try:
            _extract(archive, unpacked, heartbeat)
        except UNREADABLE as error:
            raise DownloadError(f"{archive} cannot be unpacked ({error}).", "Remove it, and run the command again.") from error
        if not (unpacked / target.name).exists():
            raise DownloadError(f"{archive} holds no {target.name}.", "Give another file with --url.")
        if target.exists():
            target.rename(replaced)
        (unpacked / target.name).rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Bounded(io.RawIOBase):
    """The unpacked bytes of a gzip file: at most `MAX_BYTES`, also of the headers, which tarfile reads into memory."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file, self._left = file, MAX_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise tarfile.TarError(f"it has more than {MAX_BYTES} bytes")
        return data


def _extract(archive: Path, directory: Path, heartbeat: Callable[[], None]) -> None:
    with gzip.open(archive) as file:
        stream = _Bounded(file)
        with tarfile.open(fileobj=stream, mode="r|") as members:
            for count, member in enumerate(members):
                heartbeat()
                if count == MAX_MEMBERS:
                    raise tarfile.TarError(f"it has more than {MAX_MEMBERS} files")
                _extract_member(members, member, directory / _checked_path(member))
        while stream.read(CHUNK_BYTES):  # to the checksum at the end
            pass


def _checked_path(member: tarfile.TarInfo) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise tarfile.TarError(f"{member.name!r} leads out of its folder")
    if not member.name.isprintable():
        raise tarfile.TarError(f"{member.name!r} is no name of a file")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
        raise tarfile.TarError(f"{member.name!r} is neither a file nor a folder")
    return path


def _extract_member(members: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    try:
        (path if member.isdir() else path.parent).mkdir(parents=True, exist_ok=True)
        source = members.extractfile(member)
        if source is not None:
            with source, path.open("xb") as file:
                shutil.copyfileobj(source, file, CHUNK_BYTES)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise tarfile.TarError(f"{member.name!r} is in it twice") from error
