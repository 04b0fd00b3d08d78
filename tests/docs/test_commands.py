"""Every command of the pages is one that the programs take."""

import dataclasses
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from shardtune.cli import COMMANDS, POSITIONAL
from shardtune.errors import UsageError
from shardtune.flags.completion import COMPLETION_FLAG, completion_script
from shardtune.flags.flags2016 import FLAGS_2016
from shardtune.flags.parser import parse_flags
from shardtune.flags.spelling import SYNONYMS
from tests.docs.markdown import PAGES, ROOT, blocks, codes, lines, name
from tests.launch.checkout import lay_out

LAUNCHERS = ("mpirun", "horovodrun", "srun")
OTHER_PROGRAMS = {"apptainer", "docker", "echo", "find", "kubectl", "mypy", "pip", "ruff", "source", "zensical", "{", "}"}
IMAGE = re.compile(r"shardtune(:gpu|(-gpu)?\.sif)?")
DRY_SCRIPTS = {
    "launch/all.sh",
    "launch/build.sh",
    "launch/train.sh",
    "launch/eval.sh",
    "launch/flowers.sh",
    "slurm/pipeline.sh",
}
OTHER_FLAGS = {
    "sbatch, srun": {"account", "gpus_per_node", "gpus_per_task", "mem", "mpi", "nodes", "ntasks_per_node", "partition"},
    "mpirun, horovodrun": {"gloo", "bind_to"},
    "benchmarks": {"others", "small", "table"},
    "docker": {"shm_size"},
    "tensorboard": {"logdir"},
    "any program, where a spelling is shown": {"flag", "no_flag"},
}
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=name)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("checkout"), "inception")


@EVERY_PAGE
def test_what_is_typed_can_be_typed(page: Path, checkout: Path) -> None:
    for line in lines(page):
        check(shlex.split(line.replace("…", "1"), comments=True), checkout)  # … stands for a value


@EVERY_PAGE
def test_every_block_says_whether_it_is_typed_or_printed(page: Path) -> None:
    assert {language for language, _ in blocks(page)} <= {"sh", "text", "python"}


@EVERY_PAGE
def test_every_flag_in_a_sentence_is_one(page: Path) -> None:
    known = {flag for command in COMMANDS for flag in flags_of(command)}.union(*OTHER_FLAGS.values())
    named = [flag for code in codes(page) for flag in re.findall(r"(?<![\w-])--([a-z][\w-]*)", code)]
    assert [flag for flag in named if flag.replace("-", "_") not in known] == []


@EVERY_PAGE
def test_every_command_in_a_sentence_is_one_and_has_its_flags(page: Path) -> None:
    for command, rest in (match.groups() for code in codes(page) if (match := re.search(r"\bshardtune ([a-z]\w*)(.*)", code))):
        own = [word[2:].partition("=")[0] for word in rest.split(" -- ")[0].split() if word.startswith("--")]
        assert [command, *(flag for flag in own if flag not in flags_of(command))] == [command]


@EVERY_PAGE
def test_every_benchmark_in_a_sentence_is_one(page: Path) -> None:
    named = [match[1] for code in codes(page) if (match := re.match(r"python -m (tests\.benchmarks\.[a-z_]+)", code))]
    assert [module for module in named if find_spec(module) is None] == []


def flags_of(command: str) -> set[str]:
    """Names of the flags that a command takes."""
    names = {field.name for field in dataclasses.fields(COMMANDS[command])} | set(FLAGS_2016.get(command, {}))
    synonyms = {synonym for synonym, meant in SYNONYMS.items() if meant in names}
    return names | synonyms | {f"no_{one}" for one in names} | {f"no{one}" for one in names} | {"help", "debug", "version"}


def check(words: Sequence[str], checkout: Path) -> None:
    """Raise if a command line is not one that can be typed in the folder of the repository."""
    words = list(words)
    variables = {}
    while words and re.match(r"[A-Z_]+=", words[0]):
        key, variables[key] = words.pop(0).split("=", 1)
    if words and words[0] in LAUNCHERS:
        words = words[next(i for i, word in enumerate(words) if word in ("shardtune", "apptainer")) :]
    if words[1:2] == ["run"] and words[0] in ("apptainer", "docker"):  # what follows the image belongs to shardtune
        words = ["shardtune", *words[1 + next(i for i, word in enumerate(words) if IMAGE.fullmatch(word)) :]]
    if words[:1] == ["bash"]:
        words = words[1:]
    if not words or words[0] in OTHER_PROGRAMS:
        return
    program, *arguments = words
    if arguments[:1] == [COMPLETION_FLAG]:
        completion_script(arguments[1], COMMANDS, POSITIONAL)
    elif Path(program).name == "shardtune":
        parse(arguments, checkout)
    elif program == "sbatch":
        parse(after_the_launcher(words), checkout)
    elif program in DRY_SCRIPTS:
        for line in dry_run(program, arguments, variables, checkout):
            parse(after_the_launcher(shlex.split(line)), checkout)
    elif program == "python":
        assert arguments[0] == "-m"
        assert find_spec(arguments[1]), arguments[1]
    else:
        assert (ROOT / program).is_file(), f"{program} is not in this repository: is it another program?"


def parse(arguments: Sequence[str], checkout: Path) -> Any:
    """The configuration that the words after `shardtune` give."""
    command, *words = arguments
    try:
        config, _ = parse_flags(command, COMMANDS[command], words, is_positional=command in POSITIONAL)
    except UsageError as error:
        raise AssertionError(f"shardtune {' '.join(arguments)}: {error}") from None
    if command == "supervise":
        check(config.command, checkout)
    return config


def dry_run(script: str, arguments: Sequence[str], variables: dict[str, str], checkout: Path) -> list[str]:
    """The commands that a script would run."""
    done = subprocess.run(
        [script, "--dry_run", *arguments],
        cwd=checkout,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return (done.stdout + done.stderr).splitlines()


def after_the_launcher(words: Sequence[str]) -> list[str]:
    """The words after `shardtune` in a line that a dry run has printed, or those that a job of SLURM puts there."""
    for i, word in enumerate(words):
        if Path(word).name == "shardtune":
            return list(words[i + 1 :])
        if (job := re.fullmatch(r"slurm/(build|train|eval)\.sbatch", word)) is not None:
            return [job[1], *words[i + 1 :]]
        if word == "slurm/report.sbatch":
            return ["report", "--train_dir", words[i + 1]]
    raise AssertionError(f"{words} has no command")
