"""What `import shardtune` gives, and what it costs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest
import tensorflow

import shardtune
from shardtune import api
from tests.api.users import check_types
from tests.launching import ENVIRONMENT

USER = """
from pathlib import Path

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

import shardtune

run = shardtune.train(shardtune.TrainConfig(Path("data"), Path("run")), on_step=lambda step, metrics: print(metrics.loss))
assert_type(run, shardtune.TrainResult)
assert_type(shardtune.build(shardtune.BuildConfig(Path("images"), output_directory=Path("data"))).labels, list[str])
assert_type(shardtune.Predictor("run").predict(["a.jpg", b"", Path("b.jpg")]), list[shardtune.Prediction])
assert_type(shardtune.report(shardtune.ReportConfig((Path("run"),))), Path)
for images, labels in shardtune.load_arrays("data"):
    assert_type(labels, npt.NDArray[np.int64])
try:
    shardtune.export(shardtune.ExportConfig(Path("run"), Path("export")))
except shardtune.ExportError as error:
    assert_type(error.advice, str)
"""
WRONG = """
import shardtune

shardtune.build("images")
shardtune.train(shardtune.TrainConfig("data", "run"), on_epoch=lambda: None)
shardtune.nonsense
"""


def test_an_import_does_no_work() -> None:
    code = "import sys; before = set(sys.modules); import shardtune; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "shardtune" in loaded
    assert loaded <= {"shardtune", "importlib", "warnings"}  # and those two have been imported by most programs


def test_every_public_name_is_there_and_listed() -> None:
    defined = {name for name, value in vars(api).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert shardtune.__all__ == sorted(defined | {"__version__"}) == dir(shardtune)
    for name in shardtune.__all__:
        assert getattr(shardtune, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="module 'shardtune' has no attribute 'nonsense'"):
        shardtune.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_what_public_fields_and_results_hold_is_public_too() -> None:
    public = {getattr(shardtune, name) for name in shardtune.__all__ if name not in ("__version__", "ImageSource")}
    readers = [each.fget for one in public for each in vars(one).values() if isinstance(each, property)]
    hints = [hint for one in [*public, *readers] for hint in get_type_hints(one, localns={"tf": tensorflow}).values()]
    named = {each for hint in hints for each in classes_in(hint)}
    assert {each for each in named if each.__module__.startswith("shardtune")} <= public


def classes_in(hint: Any) -> Iterator[type]:
    if isinstance(hint, type):
        yield hint
    for each in get_args(hint):
        yield from classes_in(each)


def test_functions_stay_although_packages_have_their_names() -> None:
    code = """
import shardtune
import shardtune.train.config, shardtune.evaluate.config, shardtune.export.config, shardtune.report.config
from shardtune.train.config import TrainConfig
functions = [shardtune.train, shardtune.evaluate, shardtune.export, shardtune.report]
print([function.__module__ for function in functions], shardtune.TrainConfig is TrainConfig)
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{['shardtune.api.commands'] * 4} True\n"


def test_it_can_be_loaded_again() -> None:
    code = """
import importlib, sys, shardtune
importlib.reload(shardtune)
del sys.modules["shardtune"]
import shardtune
print(shardtune.train.__module__)
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("shardtune.api.commands\n", "")


def test_warnings_are_not_printed() -> None:
    code = "from shardtune.runtime.progress import LOGGER; LOGGER.warning('x')"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_types_are_known_to_those_who_use_it(tmp_path: Path) -> None:
    assert check_types(tmp_path, USER) == []
    wrong = check_types(tmp_path, WRONG)
    assert [line.rpartition("[")[2].rstrip("]") for line in wrong if line.startswith("error")] == [
        *("arg-type", "arg-type", "arg-type", "misc", "arg-type", "attr-defined")
    ]
