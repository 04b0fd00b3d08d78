"""JSON files that a later process reads back. Each has the version of its layout and a digest of its content."""

import hashlib
import json
from pathlib import Path
from typing import Any

from shardtune.runtime.files import atomic_write, read_bytes


def json_digest(value: dict[str, Any]) -> str:
    """SHA-256 of `value` as JSON with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_sealed(path: Path, version: int, value: dict[str, Any], *, durable: bool = True) -> None:
    """Write `value` atomically.

    Args:
        value: without the keys "version" and "digest".
        durable: whether the file survives a crash of the machine.
    """
    value = {"version": version, **value}
    with atomic_write(path, durable=durable) as file:
        file.write(json.dumps({**value, "digest": json_digest(value)}, ensure_ascii=False).encode() + b"\n")


def read_sealed(path: Path, version: int) -> dict[str, Any] | None:
    """The value that `write_sealed` wrote; None if the file is missing, damaged, edited or of another version."""
    try:
        value: dict[str, Any] = json.loads(read_bytes(path))
        if value.pop("digest") != json_digest(value) or value.pop("version") != version:
            return None
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return value
