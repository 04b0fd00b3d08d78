"""Read the flags of a command. They are the fields of a dataclass, and those of 2016."""

import contextlib
import dataclasses
import difflib
import io
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

import tyro

from shardtune.errors import UsageError
from shardtune.flags.flags2016 import FLAGS_2016, describe
from shardtune.flags.spelling import rewrite


def parse_flags(command: str, config: type[Any], words: Sequence[str], *, is_positional: bool) -> tuple[Any, list[str]]:
    """The configuration that the words after a command ask for, and sentences about those without effect.

    Args:
        config: the dataclass whose fields are the flags.
        is_positional: whether required arguments are given without a flag.

    Raises:
        UsageError: an unknown flag, a required one that is missing, or a value that its flag cannot have.
        SystemExit: help was printed.
    """
    words, notes = rewrite(command, config, words, is_positional=is_positional)
    _check_flags(command, config, list(takewhile(lambda word: word != "--", words)), is_positional)
    captured_stderr, see_help = io.StringIO(), f"See shardtune {command} --help."
    try:
        with contextlib.redirect_stderr(captured_stderr):
            parsed, unused = tyro.cli(
                config,
                prog=f"shardtune {command}",
                args=words,
                use_underscores=True,
                return_unknown_args=True,
                config=[tyro.conf.PositionalRequiredArgs] if is_positional else [],
            )
    except SystemExit as end:
        if not end.code:
            print(describe(command), end="")
            raise
        raise UsageError(_unframe(captured_stderr.getvalue()), see_help) from None
    if unused:
        raise UsageError(f"{' '.join(unused)} belongs to no flag of shardtune {command}.", see_help)
    return parsed, notes


def suggest(typed: str, names: Iterable[str], prefix: str = "") -> str:
    """A question that names the nearest of `names`; empty if none is near."""
    nearest = difflib.get_close_matches(typed, sorted(names), n=1)
    return f"Did you mean {prefix}{nearest[0]}? " if nearest else ""


def _check_flags(command: str, config: type[Any], words: Sequence[str], is_positional: bool) -> None:
    """Raise UsageError for a flag that the command does not have, or for one that it requires and that is missing."""
    fields = dataclasses.fields(config)
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    flags = {field.name for field in fields} | {f"no_{field.name}" for field in fields if isinstance(field.default, bool)}
    if is_positional:
        flags, required = flags.difference(required), []
    typed = [word.partition("=")[0] for word in words if word.startswith("--")]
    names = [word[2:].replace("-", "_") for word in typed]
    see_help = f"See shardtune {command} --help."
    for word, name in zip(typed, names, strict=True):
        if name not in flags | {"help"}:
            advice = f"{suggest(name, flags.union(FLAGS_2016.get(command, {})), '--')}{see_help}"
            raise UsageError(f"{word} is not a flag of shardtune {command}.", advice)
    missing = [f"--{name}" for name in required if name not in names]
    if missing and not {"-h", "--help"}.intersection(words):
        raise UsageError(f"shardtune {command} was given no {' and no '.join(missing)}.", see_help)


def _unframe(box: str) -> str:
    """The first part of what tyro draws in a box, as one sentence: below the title, above the first line."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    return " ".join(takewhile(lambda line: not line.startswith(("─", "╰")), lines)).rstrip(".") + "."
