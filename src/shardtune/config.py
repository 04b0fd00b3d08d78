"""What the configurations of commands share. Each command has a frozen dataclass in its own config.py: the source of its flags
and of their help."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from shardtune.errors import UsageError

Augmentation = Literal["inception", "light", "none"]
OnCorrupt = Literal["error", "skip"]


def check_flag(holds: bool, rule: str, received: object) -> None:
    """Raise UsageError for a flag that breaks `rule`."""
    if not holds:
        raise UsageError(f"{rule}, but {received} was given: see --help.")


def to_json_dict(config: object) -> dict[str, Any]:
    """The fields of a config dataclass as JSON values; paths as text, tuples as lists."""
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()  # type: ignore[call-overload]
    }
