"""Scripts with which a shell completes commands, flags and their values. tyro writes them."""

import contextlib
import functools
import io
import operator
from collections.abc import Collection, Mapping
from typing import Annotated, Any

import tyro

from shardtune.errors import UsageError

COMPLETION_FLAG = "--tyro-print-completion"
SHELLS = ("bash", "zsh")


def completion_script(shell: str, commands: Mapping[str, type[Any]], positional: Collection[str]) -> str:
    """The script for a shell.

    Args:
        commands: the dataclass of each command, whose fields are the flags.
        positional: the commands whose required arguments are given without a flag.

    Raises:
        UsageError: there is none for this shell.
    """
    if shell not in SHELLS:
        raise UsageError(f"There is no completion for the shell {shell!r}.", f"Name one of {', '.join(SHELLS)}.")
    subcommands: list[Any] = []
    for name, config in commands.items():
        subcommand: Any = Annotated[config, tyro.conf.subcommand(name)]
        subcommands.append(Annotated[subcommand, tyro.conf.PositionalRequiredArgs] if name in positional else subcommand)
    union: Any = functools.reduce(operator.or_, subcommands)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(union, prog="shardtune", args=[COMPLETION_FLAG, shell], use_underscores=True)
    return printed.getvalue()
