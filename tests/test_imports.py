"""The direction in which modules may import each other, and what must not be imported where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import shardtune
from tests.launching import ENVIRONMENT, launch
from tests.pictures import plant

SOURCE = Path(shardtune.__file__).parent
# A room (package, or module at the top) imports from those below its own, so no stage imports another; but training measures
# itself with the evaluator, what is predicted, exported or reported is what evaluation computes, a report writes the model card
# of an export, and what is fetched is built.
FLOORS = (
    ("__main__",),
    ("api", "cli"),
    ("builder", "doctor", "evaluate", "export", "fetch", "inspect", "predict", "report", "supervise", "train"),
    ("input", "model"),
    ("dataset", "download", "images"),
    ("config", "flags"),
    ("runtime",),
    ("errors",),
)
EXCEPTIONS = {
    *((stage, "evaluate") for stage in ("train", "predict", "export", "report")),
    *{("report", "export"), ("fetch", "builder")},
}
DEPTH = {name: depth for depth, floor in enumerate(FLOORS) for name in floor}
MODULES = [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


def imported(path: Path) -> set[str]:
    """Dotted names that a module imports anywhere in it; `from a import b` gives both a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import: this test, and readers, want the full name"
            names.update([node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)])
    return names


def room(path: Path) -> str:
    """The package or top-level module of shardtune that a file belongs to."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_downwards(path: Path) -> None:
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("shardtune.")} & DEPTH.keys()
    allowed = {room(path), *(below for above, below in EXCEPTIONS if above == room(path))}
    wrong = {name for name in ours - allowed if DEPTH[name] <= DEPTH[room(path)]}
    assert not wrong, f"{path} imports {wrong} from its own floor or from above"


def test_every_room_has_a_floor() -> None:
    assert {room(path) for path in MODULES} == DEPTH.keys()


def test_every_exception_is_made_use_of() -> None:
    for above, below in EXCEPTIONS:
        names = {name for path in MODULES if room(path) == above for name in imported(path)}
        assert any(name.startswith(f"shardtune.{below}.") for name in names)


@pytest.mark.parametrize(
    ("package", "importer"),
    [
        ("mpi4py", "runtime/backends"),
        ("horovod", "runtime/backends"),
        ("tensorflow", "runtime/frameworks"),
        ("keras", "runtime/frameworks"),
        ("requests", "download/transfer"),
    ],
)
def test_one_module_imports_what_is_heavy(package: str, importer: str) -> None:
    importers = [path for path in MODULES if any(name.split(".")[0] == package for name in imported(path))]
    assert importers == [SOURCE / f"{importer}.py"]


def test_a_data_set_is_made_and_looked_at_without_what_is_slow_to_import(tmp_path: Path) -> None:
    plant(tmp_path / "images", per_class=2)
    code = f"""
import sys
from pathlib import Path
import shardtune.cli, shardtune.fetch.command
from shardtune.builder.builder import build
from shardtune.inspect.summary import inspect
from shardtune.inspect.verify import verify
from shardtune.builder.config import BuildConfig
from shardtune.inspect.config import InspectConfig, VerifyConfig
from shardtune.runtime.world import World
images, data = Path({str(tmp_path / "images")!r}), Path({str(tmp_path / "data")!r})
build(BuildConfig(images, output_directory=data, train_shards=2), World())
verify(VerifyConfig(data), World())
inspect(InspectConfig(data, data / "contact.png"), World())
print(sorted({{"tensorflow", "keras", "horovod", "mpi4py", "requests"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr
    assert (tmp_path / "data" / "dataset.json").is_file()


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_needs_neither_numpy_nor_what_is_larger(arguments: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "shardtune", *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "shardtune.cli" in modules
    assert not modules & {"numpy", "PIL", "tensorflow", "keras", "horovod", "mpi4py", "requests"}


def test_keras_is_imported_without_what_is_not_used_of_it() -> None:
    code = """
import os, sys
from shardtune.runtime.world import World
World.from_environment("horovod", os.environ)
import shardtune.train.command
print(sorted({"horovod", "keras", "matplotlib", "sklearn"} & sys.modules.keys()))
import matplotlib, sklearn
"""
    assert launch(["-c", code], launcher="mpirun", ranks=1).splitlines()[-1] == "['horovod', 'keras']"
