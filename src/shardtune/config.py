"""What the configurations of all commands share. Each command has a frozen dataclass in its own config.py, from which its flags
and their help are made."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from shardtune.errors import UsageError

Augmentation = Literal["inception", "light", "none"]
OnCorrupt = Literal["error", "skip"]


def check_flag(condition: bool, requirement: str, value: object) -> None:
    """Raise UsageError if the value of a flag breaks a requirement, as "batch_size must be above 0"."""
    check_flags(condition, f"--{requirement}, not {value}.", "See --help.")


def check_flags(condition: bool, message: str, advice: str) -> None:
    """Raise UsageError if flags contradict each other."""
    if not condition:
        raise UsageError(message, advice)


def check_checkpoint_choice(choice: str | None) -> None:
    """Raise UsageError for a --checkpoint that is neither best nor last nor a step."""
    is_choice = choice in (None, "best", "last") or str(choice).isdecimal()
    check_flag(is_choice, "checkpoint must be best, last or the number of a step", choice)


def to_json_dict(config: object) -> dict[str, Any]:
    """The fields of a config dataclass as JSON values: paths as text, tuples as lists."""
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()  # type: ignore[call-overload]
    }
