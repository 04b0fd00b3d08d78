"""Every way to spell a flag that TensorFlow's flags library took in 2016, rewritten as the one way that tyro takes."""

import dataclasses
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shardtune.errors import UsageError
from shardtune.flags.flags2016 import FLAGS_2016, Fixed, Kept, Rescaled, Treatment, Unused

FLAG = re.compile(r"--?([a-zA-Z][\w-]+)(?:=(.*))?", re.DOTALL)
SYNONYMS = {"model": "checkpoint_dir"}  # which may be an export, too
TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def rewrite(command: str, config: type[Any], words: Sequence[str], *, is_positional: bool) -> tuple[list[str], list[str]]:
    """The words as tyro takes them, up to a `--`, and sentences about flags without effect. Unknown flags stay as they are.

    Args:
        config: the dataclass whose fields are the flags of the command.
        is_positional: whether a word after a boolean flag may be an argument of its own.

    Raises:
        UsageError: a flag of 2016 has a value that cannot be had any more, or a flag has no value, or not one of its kind.
    """
    return _Rewriting(command, config, words, is_positional).run()


class _Rewriting:
    def __init__(self, command: str, config: type[Any], words: Sequence[str], is_positional: bool) -> None:
        self._fields = {field.name: field for field in dataclasses.fields(config)}
        self._old = FLAGS_2016.get(command, {})
        self._is_positional = is_positional
        self._booleans = {name for name, field in self._fields.items() if isinstance(field.default, bool)}
        self._booleans |= {name for name, row in self._old.items() if isinstance(row, Unused) and row.is_boolean}
        self._rest, self._words, self._notes = deque(words), list[str](), list[str]()

    def run(self) -> tuple[list[str], list[str]]:
        implied = []
        while self._rest and self._rest[0] != "--":
            word = self._rest.popleft()
            match = FLAG.fullmatch(word)
            name, is_negated = self._resolve(match[1].replace("-", "_")) if match else ("", False)
            if match is None or name not in self._fields | self._old:
                self._words.append(word)
                continue
            treatment = self._old.get(name, Kept())
            value = self._take_value(name, is_negated, match[2])
            if isinstance(treatment, Kept):
                self._words.append(self._spell(name, value))
                implied.append((name, treatment.implies))
            else:
                self._apply(name, treatment, value or "")
        for name, flag in implied:
            if flag and flag.partition("=")[0] not in [word.partition("=")[0] for word in self._words]:
                self._words.append(flag)
                self._notes.append(f"--{name} implies {flag}, as in 2016.")
        return [*self._words, *self._rest], self._notes

    def _resolve(self, name: str) -> tuple[str, bool]:
        """The flag that a name means, and whether it is the `no` of a boolean one."""
        if name not in self._fields and SYNONYMS.get(name) in self._fields:
            return SYNONYMS[name], False
        for prefix in ("no_", "no"):
            if name not in self._fields and name.startswith(prefix) and name.removeprefix(prefix) in self._booleans:
                return name.removeprefix(prefix), True
        return name, False

    def _take_value(self, name: str, is_negated: bool, value: str | None) -> str | None:
        """The value of a flag; None where it is in the next word, or words, of a flag that tyro knows."""
        following = self._rest[0] if self._rest else None
        if name not in self._booleans:
            if value is None and (following == "" or name not in self._fields):
                if following is None or FLAG.fullmatch(following):
                    raise UsageError(f"--{name} has no value.", f"Give it one, or leave out --{name}.")
                return self._rest.popleft()
            return value
        if is_negated:
            if value is not None:
                raise UsageError(f"--no{name}={value} has a value.", f"Say --no{name}, or --{name}={value}.")
            return "False"
        if value is None and not self._is_positional and following is not None and following.lower() in TRUTH:
            value = self._rest.popleft()
        if value is not None and value.lower() not in TRUTH:
            raise UsageError(f"--{name}={value} is neither true nor false.", f"Say --{name}, or --no{name}.")
        return "True" if value is None or TRUTH[value.lower()] else "False"

    def _spell(self, name: str, value: str | None) -> str:
        """A flag of ours as tyro takes it."""
        field = self._fields[name]
        if name in self._booleans:
            return f"--{name}" if value == "True" else f"--no_{name}"
        if value == "" and field.default is None:
            return f"--{name}=None"
        if value == "" and field.type is Path:  # which would be the current folder
            raise UsageError(f"--{name} has no value.", f"Name a path after --{name}.")
        return f"--{name}" if value is None else f"--{name}={value}"

    def _apply(self, name: str, treatment: Treatment, value: str) -> None:
        """What a flag that only 2016 had does now."""
        if isinstance(treatment, Unused):
            self._notes.append(f"--{name} {treatment}.")
        elif isinstance(treatment, Fixed) and value != treatment.value:
            raise UsageError(f"--{name}={value} is not possible: {treatment.reason}.", treatment.advice.format(value=value))
        elif isinstance(treatment, Rescaled):
            try:
                self._words.append(f"--{treatment.flag}={float(value) / treatment.divisor:g}")
            except ValueError:
                raise UsageError(f"--{name}={value} is not a number.", f"It {treatment}.") from None
