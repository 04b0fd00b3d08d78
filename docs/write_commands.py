"""Writes docs/commands/ from the configurations of the commands: `python -m docs.write_commands`.

A test says when the pages are no longer those of the code.
"""

import ast
import dataclasses
import inspect
import re
import textwrap
from itertools import zip_longest
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from shardtune.cli import COMMANDS, POSITIONAL
from shardtune.flags.flags2016 import FLAGS_2016

FOLDER = Path(__file__).parent / "commands"
INDEX = """\
# Commands

`shardtune COMMAND --help` prints what these pages say.

| command | |
|---|---|
{rows}

- A flag may be spelt `--flag value`, `--flag=value` or `-flag=value`, with `_` or `-` between its words.
- A flag that is on or off is switched on by `--flag` and off by `--no_flag`.
- `--debug` shows the traceback of an error. `shardtune --version` prints the versions of all packages.
- Exit statuses: 0 done, 1 failed, 2 wrong usage, 75 stopped early on request.
"""
PAGE = """\
# shardtune {command}

{about}{more}

```text
{usage}
```

## Flags

{flags}
"""
MORE = {
    "train": " [Recipes](../recipes.md) have flags that work: most used are `--pretrained_model_checkpoint_path`, "
    "`--fine_tune`, `--freeze_until`, `--batch_size`, `--initial_learning_rate` and `--epochs`.",
}
OLD = """
## Flags of 2016

What became of the flags of the scripts of `research/inception`. Their commands, old and new, are
[on a page of their own](../coming-from-research-inception.md).

| flag | |
|---|---|
{rows}
"""


def pages() -> dict[str, str]:
    """The text of each page by its name."""
    rows = [f"| [`{name}`]({name}.md) | {inline(_first_sentence(config.__doc__))} |" for name, config in COMMANDS.items()]
    return {
        "index.md": INDEX.format(rows="\n".join(rows)),
        **{f"{command}.md": _page(command, config) for command, config in COMMANDS.items()},
    }


def help_texts(config: type[Any]) -> dict[str, str]:
    """The string below each field of a dataclass, in one line: what --help says of the flag."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _page(command: str, config: type[Any]) -> str:
    hints, texts = get_type_hints(config, include_extras=True), help_texts(config)
    words, flags = [f"shardtune {command} [FLAGS]"], []
    for field in dataclasses.fields(config):
        hint, is_required = hints[field.name], field.default is dataclasses.MISSING
        is_positional = "Positional" in repr(hint) or (is_required and command in POSITIONAL)
        name = field.name.upper() if is_positional else f"--{field.name}"
        if is_positional:
            words.append(f"-- {name}" if command == "supervise" else name)
        elif is_required:
            words.append(f"{name} {'|'.join(_values(hint))}")
        flags.append(f"### `{name}`\n\n{_describe(hint, field.default)}\n\n{inline(texts[field.name])}")
    page = PAGE.format(
        command=command,
        about=inline(config.__doc__),
        more=MORE.get(command, ""),
        usage=" ".join(words),
        flags="\n\n".join(flags),
    )
    old = [f"| `--{name}` | {inline(str(treatment))} |" for name, treatment in FLAGS_2016.get(command, {}).items()]
    return page + (OLD.format(rows="\n".join(old)) if old else "")


def _describe(hint: Any, default: object) -> str:
    """The values that a flag can have, and the one that it has by itself."""
    if isinstance(default, bool):
        return f"on or off; {'on' if default else 'off'} by default"
    *most, last = [f"`{value}`" for value in _values(hint)]
    values = f"{', '.join(most)} or {last}" if most else last
    if "tuple" in repr(hint):
        values = f"one or several: {values}"
    if default is dataclasses.MISSING:
        return f"{values}; required"
    if default in (None, (), ""):
        return f"{values}; optional"
    return f"{values}; `{_shown(default)}` by default"


def _values(hint: Any) -> list[str]:
    """The values of a type as a person would write them; of a tuple, those of one of its members."""
    arguments = [argument for argument in get_args(hint) if argument is not NoneType]
    if get_origin(hint) is Literal:
        return [str(argument) for argument in arguments]
    if arguments:
        return _values(arguments[0])
    return {Path: ["PATH"], int: ["INTEGER"], float: ["NUMBER"], str: ["TEXT"]}[hint]


def _shown(default: object) -> str:
    if isinstance(default, float):
        return f"{default:.6f}".rstrip("0").rstrip(".")
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def inline(text: str | None) -> str:
    """Plain text as Markdown: flags and what stands in backticks are code, and nothing else is a mark."""
    parts = re.split(r"(`[^`]*`|--[a-z]\w*(?:=\w+)?)", " ".join((text or "").split()))
    codes = (f"`{part.strip('`')}`" for part in parts[1::2])
    plain = [re.sub(r"([*<\[|\\]|\b_)", r"\\\1", part) for part in parts[::2]]
    return "".join(part for pair in zip_longest(plain, codes, fillvalue="") for part in pair)


def _first_sentence(text: str | None) -> str:
    return re.split(r"\.(?:\s|$)", text or "")[0] + "."


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
