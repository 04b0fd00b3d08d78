"""What the configurations of all commands share. Each command has a frozen dataclass in its own config.py, from which its flags
and their help are made."""

from dataclasses import asdict
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from shardtune.errors import UsageError

Augmentation = Literal["inception", "light", "none"]
OnCorrupt = Literal["error", "skip"]
WeightSource = Literal["2016", "slim", "keras", "keras_notop"]
TYPE_NAMES: dict[type, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a pathlib.Path",
    NoneType: "None",
}


def check_flag(condition: bool, requirement: str, value: object) -> None:
    """Raise UsageError if the value of a flag breaks a requirement, as "batch_size must be above 0"."""
    check_flags(condition, f"--{requirement}, not {value}.", "See --help.")


def check_flags(condition: bool, message: str, advice: str) -> None:
    """Raise UsageError if flags contradict each other."""
    if not condition:
        raise UsageError(message, advice)


def check_types(config: object, prefix: str = "--") -> None:
    """Raise UsageError if a field of a config has a value that its type does not allow, as only a program can give it."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        check_flags(_fits(value, hint), f"{prefix}{name} must be {_describe(hint)}, not {value!r}.", "")


def _fits(value: object, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(each, arguments[0]) for each in value)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _describe(hint: Any) -> str:
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return f"one of {', '.join(arguments)}"
    if get_origin(hint) is tuple:
        return f"a tuple, each {_describe(arguments[0])}"
    return " or ".join(map(_describe, arguments)) or TYPE_NAMES[hint]


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
