"""What the configurations of all commands share. Each command has a frozen dataclass in its own config.py, from which its flags
and their help are made."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from shardtune.errors import UsageError

Augmentation = Literal["inception", "light", "none"]
OnCorrupt = Literal["error", "skip"]


def check_flag(condition: bool, rule: str, value: object) -> None:
    """Raise UsageError if `condition` is false.

    Args:
        rule: the flag and what it must be, as "batch_size is above 0".
        value: what was given in place of that: a value, or flags that contradict each other.
    """
    if not condition:
        raise UsageError(f"{value} is not allowed: {rule}.", "See --help.")


def to_json_dict(config: object) -> dict[str, Any]:
    """The fields of a config dataclass as JSON values: paths as text, tuples as lists."""
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()  # type: ignore[call-overload]
    }
