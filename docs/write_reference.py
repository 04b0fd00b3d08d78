"""Writes docs/python-reference.md from the docstrings of `shardtune`: `python -m docs.write_reference`.

A test says when the page is no longer that of the code.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args

import shardtune
from docs.write_commands import inline
from shardtune.cli import COMMANDS
from shardtune.config import Augmentation
from shardtune.dataset.splits import Split

PAGE = Path(__file__).parent / "python-reference.md"
TITLE = """\
# Python reference

All names of `shardtune.__all__`. [Python](python-api.md) says how to use them.
"""
FUNCTIONS = ("build", "train", "evaluate", "export", "report", "load_dataset", "load_arrays")
RESULTS = ("Prediction", "Manifest", "Shard", "TrainResult", "StepMetrics", "Validation", "ExportResult", "Comparison")
CLASSES = ("Predictor", *RESULTS)
ALIASES = {  # what is no public name, and what it stands for
    "Arrays": "tuple[NDArray[float32], NDArray[int64]]",
    "Augmentation": " | ".join(map(repr, get_args(Augmentation))),
    "Split": " | ".join(map(repr, get_args(Split))),
}
NEW_LINE = "\n"
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):$", re.MULTILINE)


def page() -> str:
    """The text of the page."""
    parts = [TITLE, "## Functions", *map(_function, FUNCTIONS), "## Classes", *map(_class, CLASSES)]
    parts += ["## Configurations", CONFIGURATIONS, "\n".join(_configurations()), "## Errors", ERRORS, "\n".join(_errors())]
    parts += ["## Others", OTHERS]
    return "\n\n".join(part.strip() for part in parts) + "\n"


CONFIGURATIONS = """\
Frozen dataclasses. Their fields are the flags of a command, with the same names, values and defaults, and a value that a flag
cannot have is a `UsageError`."""
ERRORS = """\
Each has a `message`, what is wrong, and `advice`, what to do; `str` has both. Errors of the operating system, as of a full
disk, are Python's `OSError`."""
OTHERS = """\
- `ImageSource`: the type of an image for `Predictor.predict`.
- `__version__`: the version as text."""


def _function(name: str) -> str:
    function = getattr(shardtune, name)
    return f"### `{name}`\n\n```python\n{_signature(name, function)}\n```\n\n{_text(function)}"


def _class(name: str) -> str:
    cls = getattr(shardtune, name)
    shown = "" if is_dataclass(cls) or issubclass(cls, tuple) else f"```python\n{_signature(name, cls)}\n```\n\n"
    members = [
        f"#### `{name}.{member}`\n\n{_member(member, value)}"
        for member, value in vars(cls).items()
        if not member.startswith("_") and member not in ("count", "index") and _document(value)
    ]
    return "\n\n".join([f"### `{name}`\n\n{shown}{_text(cls)}", *members])


def _member(name: str, value: Any) -> str:
    if isinstance(value, property):
        return _text(value)
    function = value.__func__ if isinstance(value, staticmethod) else value
    return f"```python\n{_signature(name, function)}\n```\n\n{_text(function)}"


def _document(value: Any) -> str | None:
    return value.__doc__ if isinstance(value, property | staticmethod) or inspect.isfunction(value) else None


def _signature(name: str, function: Any) -> str:
    """A call with one line for each argument, with the types that the source has: another Python would spell others."""
    source = function.__init__ if isinstance(function, type) else function
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(source))).body
    assert isinstance(definition, ast.FunctionDef)
    given = definition.args
    first_default = len(given.args) - len(given.defaults)
    lines = [
        _argument(argument, given.defaults[i - first_default] if i >= first_default else None)
        for i, argument in enumerate(given.args)
        if argument.arg != "self"
    ]
    lines += ["*"] * bool(given.kwonlyargs) + [
        _argument(*each) for each in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    returned = "" if definition.name == "__init__" else f" -> {_type(definition.returns)}"
    return f"{name}({''.join(f'{NEW_LINE}    {line},' for line in lines)}{NEW_LINE * bool(lines)}){returned}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    shown = "" if default is None else f" = {'…' if isinstance(default, ast.Attribute) else ast.unparse(default)}"
    return f"{argument.arg}: {_type(argument.annotation)}{shown}"


def _type(annotation: ast.expr | None) -> str:
    text = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation) if annotation else ""
    return re.sub(r"\w+", lambda match: ALIASES.get(match[0], match[0]), str(text))


def _text(documented: Any) -> str:
    """A docstring as Markdown."""
    first, *sections = SECTION.split(inspect.cleandoc(documented.__doc__ or ""))
    parts = [inline(paragraph) for paragraph in first.strip().split("\n\n")]
    for name, text in zip(sections[::2], sections[1::2], strict=True):
        text = inspect.cleandoc(f"\n{text}")
        entries = [inline(text)] if name == "Returns" else list(_entries(text))
        parts.append(f"{name}:" if len(entries) > 1 or name != "Returns" else f"Returns: {entries[0]}")
        if name != "Returns":
            parts.append("\n".join(f"- {entry}" for entry in entries))
    return "\n\n".join(parts)


def _entries(text: str) -> Iterator[str]:
    """`name: text`, whose further lines are indented."""
    for entry in re.split(r"\n(?=\S)", text):
        names, _, meaning = entry.partition(": ")
        yield f"{', '.join(f'`{name}`' for name in names.split(', '))}: {inline(meaning)}"


def _configurations() -> Iterator[str]:
    for command, config in COMMANDS.items():
        if config.__name__ in shardtune.__all__:
            yield f"- `{config.__name__}`: [the flags of `{command}`](commands/{command}.md#flags)"


def _errors() -> Iterator[str]:
    for name in shardtune.__all__:
        value = getattr(shardtune, name)
        if isinstance(value, type) and issubclass(value, shardtune.ShardtuneError):
            base = "" if value is shardtune.ShardtuneError else f", a `{value.__base__.__name__}`"
            meaning, *_ = inspect.cleandoc(value.__doc__ or "").split("\n\n")
            yield f"- `{name}`{base}: {inline(meaning)}"


if __name__ == "__main__":
    PAGE.write_text(page())
