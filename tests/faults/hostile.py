"""A file system that behaves as badly as it may: `python -m tests.faults.hostile BACKING MOUNTPOINT LOG OPTIONS`.

It passes all calls on to the folder BACKING, and writes a line "kind path" to LOG for each of them that can fail. Two mounts of
one folder are two hosts that see each other's changes late. NFS and Lustre differ from it in more.
"""

import errno
import fcntl
import json
import os
import sys
import threading
import time
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

os.environ["FUSE_LIBRARY_NAME"] = "fuse3"  # read when mfusepy is imported; its other choice would be version 2

import mfusepy

from tests.faults.mounts import CRASH, DELAYED, FAILED, THREADS, Fault, Options

TIMES = ("st_atime", "st_mtime", "st_ctime")
STATUS = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_blksize")


class Hostile(mfusepy.Operations):
    use_ns = True

    def __init__(self, backing: Path, log: Path, options: Options) -> None:
        self._backing, self._options = backing, options
        self._log = log.open("a", buffering=1, encoding="utf-8")
        self._matches = 0  # of the fault
        self._lock = threading.Lock()
        self._names: dict[str, dict[str, int]] = {}  # of files in each folder that are durable, and their inodes
        self._content: dict[int, bytes] = {}  # of each inode, what is durable
        self._inodes = Path(f"{backing}.inodes")  # keeps them, so that none is given to another file
        if options.crash:
            self._inodes.mkdir(exist_ok=True)
            for folder in (backing, *(path for path in backing.rglob("*") if path.is_dir())):
                self._sync_names(folder)
                for path in folder.iterdir():
                    if path.is_file():
                        self._keep(path)
                        self._content[path.stat().st_ino] = path.read_bytes()
        if options.flock == "local":
            self.flock = None  # the kernel then does it by itself

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        config_3.entry_timeout = config_3.negative_timeout = config_3.attr_timeout = self._options.late
        config_3.hard_remove = True
        fault = self._options.fail
        config_3.direct_io = bool(fault and fault.call == "read")  # else the kernel reads again what it could not read ahead

    def _enter(self, kind: str, path: str) -> str:
        """The path below; or the call fails."""
        with self._lock:
            self._log.write(f"{kind} {path}\n")
        self._fail(kind, path)
        return self._below(path)

    def _fail(self, kind: str, path: str) -> None:
        """Raise, if this is the call that is to fail."""
        fault = self._options.fail
        if fault and fnmatchcase(kind, fault.call) and fnmatchcase(path, fault.path):
            with self._lock:
                self._matches += 1
                if self._matches == fault.number:
                    self._log.write(f"{FAILED}{kind} {path}\n")
                    raise OSError(getattr(errno, fault.error), fault.error)

    def _wait(self, kind: str, path: str) -> None:
        """Take the time that a slow file system takes, and log the end of it."""
        if self._options.delay:
            time.sleep(self._options.delay)
            self._log.write(f"{DELAYED}{kind} {path}\n")

    def _below(self, path: str) -> str:
        return f"{self._backing}{path}"

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if self._options.delay and fh is None:
            self._log.write(f"status {path}\n")
            self._wait("status", path)
        self._fail("status", path)
        status = os.lstat(self._below(path)) if fh is None else os.fstat(fh)
        return {**{name: getattr(status, name) for name in STATUS}, **{name: getattr(status, f"{name}_ns") for name in TIMES}}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._enter("readdir", path))]

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        below = self._enter("create", path)
        file = os.open(below, _in_place(fi) | os.O_CREAT, mode)
        if self._options.crash:
            self._keep(Path(below))
        return file

    def open(self, path: str, flags: int) -> int:
        below = self._enter("open", path)
        self._wait("open", path)
        return os.open(below, _in_place(flags))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._enter("read", path)
        self._wait("read", path)
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._enter("write", path)
        if self._options.garble and self._options.garble in path and offset == 0:
            data = bytes([data[0] ^ 1]) + data[1:]
        return os.pwrite(fh, data[: self._options.short or None], offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        below = self._enter("truncate", path)
        os.truncate(below if fh is None else fh, length)
        return 0

    def flush(self, path: str, fh: int) -> int:
        self._enter("close", path)
        return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._enter("fsync", path)
        if self._options.crash:
            with self._lock:
                status = os.fstat(fh)
                self._content[status.st_ino] = Path(f"/proc/self/fd/{fh}").read_bytes()
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        below = self._enter("fsyncdir", path)
        if self._options.sync_directory:
            raise OSError(getattr(errno, self._options.sync_directory), self._options.sync_directory)
        if self._options.crash:
            with self._lock:
                self._sync_names(Path(below))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        if path == f"/{CRASH}":
            self._crash()
            raise OSError(errno.EIO, "crashed")
        os.mkdir(self._enter("mkdir", path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._enter("rmdir", path))
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._enter("unlink", path))
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._below(old), self._enter("rename", new))
        return 0

    def link(self, target: str, source: str) -> int:
        os.link(self._below(source), self._enter("link", target))
        return 0

    def symlink(self, target: str, source: str) -> int:
        os.symlink(source, self._enter("symlink", target))
        return 0

    def readlink(self, path: str) -> str:
        return os.readlink(self._below(path))

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._below(path), ns=times)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._below(path), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.chown(self._below(path), uid, gid)
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        status = os.statvfs(self._below(path))
        names = ["f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize", "f_namemax"]
        return {name: getattr(status, name) for name in names}

    def flock(self, path: str, fh: int, op: int) -> int:
        if self._options.flock != "works":
            raise OSError(getattr(errno, self._options.flock), self._options.flock)
        self._fail("flock", path)
        fcntl.flock(fh, op | fcntl.LOCK_NB)  # none of ours waits
        return 0

    def _keep(self, path: Path) -> None:
        with suppress(FileExistsError):
            os.link(path, self._inodes / str(path.stat().st_ino))

    def _sync_names(self, folder: Path) -> None:
        self._names[str(folder)] = {path.name: path.stat().st_ino for path in folder.iterdir() if path.is_file()}

    def _crash(self) -> None:
        """Leave in each folder the names that are durable, and in each file what is durable of it, which may be nothing."""
        with self._lock:
            for folder in (self._backing, *(path for path in self._backing.rglob("*") if path.is_dir())):
                durable = self._names.get(str(folder), {})
                for path in folder.iterdir():
                    if path.is_file():
                        path.unlink()
                for name, inode in durable.items():
                    (folder / name).write_bytes(self._content.get(inode, b""))


def _in_place(flags: int) -> int:
    return flags & ~os.O_APPEND  # the kernel says where, as NFS does


def main(backing: str, mountpoint: str, log: str, options: str) -> None:
    os.umask(0)
    given = json.loads(options)
    given["fail"] = Fault(**given["fail"]) if given["fail"] else None
    operations = Hostile(Path(backing), Path(log), Options(**given))
    mfusepy.FUSE(operations, mountpoint, foreground=True, max_threads=THREADS)


if __name__ == "__main__":
    main(*sys.argv[1:])
