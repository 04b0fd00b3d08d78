"""The commands. The only module that creates a World and turns errors into exit statuses."""

import contextlib
import dataclasses
import difflib
import io
import math
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

import tyro

from shardtune.builder.config import BuildConfig
from shardtune.doctor.config import DoctorConfig
from shardtune.errors import ReportedElsewhereError, RootFailedError, ShardtuneError, StoppedError, UsageError, exit_status_of
from shardtune.evaluate.config import EvalConfig
from shardtune.fetch.config import FetchConfig
from shardtune.inspect.config import InspectConfig, VerifyConfig
from shardtune.runtime.backends import Backend, enable_timeline
from shardtune.runtime.guard import STARTUP_SECONDS, Guard
from shardtune.runtime.progress import escape_control_chars
from shardtune.runtime.streams import protect_streams
from shardtune.runtime.versions import package_versions
from shardtune.runtime.world import World
from shardtune.supervise.config import SuperviseConfig
from shardtune.train.config import TrainConfig

USAGE = """\
usage: shardtune COMMAND [FLAGS]

Images to sharded TFRecords on every core, Inception v3 fine-tuned on every GPU.

{commands}

shardtune COMMAND --help lists the flags of a command, --debug shows tracebacks, --version the versions of all packages."""
COMMANDS: dict[str, Any] = {
    "fetch": FetchConfig,
    "build": BuildConfig,
    "verify": VerifyConfig,
    "inspect": InspectConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
    "doctor": DoctorConfig,
    "supervise": SuperviseConfig,
}
POSITIONAL = ("fetch", "verify", "inspect", "supervise")  # commands whose required arguments are given without a flag
ROOT_REPORT_SECONDS = 10  # until rank 0 has printed why it fails and has ended the job, on a busy machine
Run = Callable[[Any, World], Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status: 0 done, 1 failed, 2 wrong usage, 75 stopped early on request."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(_versions())
        return
    end = arguments.index("--") if "--" in arguments else len(arguments)  # what follows belongs to a supervised command
    own, supervised = arguments[:end], arguments[end:]
    run_command(lambda: _parse([word for word in own if word != "--debug"] + supervised), _select_command, "--debug" in own)


def run_command(
    configure: Callable[[], Any], select: Callable[[Any], tuple[Backend | None, Run]], debug: bool = False
) -> NoReturn:
    """Run a command on the ranks that the launcher started, and exit with the status that says how it ended.

    Args:
        configure: returns the configuration.
        select: for the configuration, returns the backend of the ranks and the function that each rank runs.
        debug: show tracebacks.
    """
    protect_streams()
    for number in (signal.SIGTERM, signal.SIGINT):  # no Python code can run while the backend starts
        signal.signal(number, signal.SIG_DFL)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported
    guard, status = Guard(), 0
    world = World(guard=guard)
    guard.start()
    try:
        config = configure()
        guard.set_timeout(getattr(config, "hang_timeout", math.inf) + STARTUP_SECONDS)
        backend, run = select(config)
        if backend is not None:
            world = World.from_environment(backend, os.environ, guard)
        guard.interrupts.catch()
        run(config, world)
    except StoppedError as stop:
        if world.is_root:
            _print_error(str(stop))
        status = stop.exit_status  # every rank leaves in good order: a launcher complains of one that does not
    except Exception as error:
        _exit_with_error(error, world, debug)
    except KeyboardInterrupt:
        if world.is_root:
            _print_error("Stopped by a signal. The same command resumes from what is finished.")
        world.abort(StoppedError.exit_status)
    world.exit(status)


def _parse(arguments: Sequence[str]) -> Any:
    """The configuration that the arguments ask for.

    Raises:
        UsageError: an unknown command or flag, a required flag that is missing, or a value that its flag cannot have.
        SystemExit: help was printed.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage(), file=sys.stdout if arguments else sys.stderr)
        raise SystemExit(0 if arguments else UsageError.exit_status)
    command, *words = arguments
    if command not in COMMANDS:
        raise UsageError(f"{command} is not a command.", f"{_suggest(command, COMMANDS)}See shardtune --help.")
    _check_flags(command, list(takewhile(lambda word: word != "--", words)))
    captured_stderr, see_help = io.StringIO(), f"See shardtune {command} --help."
    try:
        with contextlib.redirect_stderr(captured_stderr):
            config, unused = tyro.cli(
                COMMANDS[command],
                prog=f"shardtune {command}",
                args=words,
                use_underscores=True,
                return_unknown_args=True,
                config=[tyro.conf.PositionalRequiredArgs] if command in POSITIONAL else [],
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise UsageError(_unframe(captured_stderr.getvalue()), see_help) from None
    if unused:
        raise UsageError(f"{' '.join(unused)} belongs to no flag of shardtune {command}.", see_help)
    return config


def _usage() -> str:
    first_sentences = {name: re.split(r"\.(?:\s|$)", config.__doc__)[0] for name, config in COMMANDS.items()}
    return USAGE.format(commands="\n".join(f"  {name:<9}{sentence}." for name, sentence in first_sentences.items()))


def _check_flags(command: str, words: Sequence[str]) -> None:
    """Raise UsageError for a flag that the command does not have, or for one that it requires and that is missing."""
    fields = dataclasses.fields(COMMANDS[command])
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    flags = {field.name for field in fields} | {f"no_{field.name}" for field in fields if isinstance(field.default, bool)}
    if command in POSITIONAL:
        flags, required = flags.difference(required), []
    typed = [word.partition("=")[0] for word in words if word.startswith("--")]
    names = [word[2:].replace("-", "_") for word in typed]
    see_help = f"See shardtune {command} --help."
    for word, name in zip(typed, names, strict=True):
        if name not in flags | {"help"}:
            raise UsageError(f"{word} is not a flag of shardtune {command}.", f"{_suggest(name, flags, '--')}{see_help}")
    missing = [f"--{name}" for name in required if name not in names]
    if missing and not {"-h", "--help"}.intersection(words):
        raise UsageError(f"shardtune {command} was given no {' and no '.join(missing)}.", see_help)


def _suggest(typed: str, names: Iterable[str], prefix: str = "") -> str:
    """A question that names the nearest of `names`; empty if none is near."""
    nearest = difflib.get_close_matches(typed, sorted(names), n=1)
    return f"Did you mean {prefix}{nearest[0]}? " if nearest else ""


def _unframe(box: str) -> str:
    """The first part of what tyro draws in a box, as one sentence: below the title, above the first line."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    return " ".join(takewhile(lambda line: not line.startswith(("─", "╰")), lines)).rstrip(".") + "."


def _versions() -> str:
    return "\n".join(f"{name} {version}" for name, version in package_versions().items() if version != "missing")


def _select_command(config: Any) -> tuple[Backend | None, Run]:
    """The backend and the function of a command. They are imported here, because building needs no TensorFlow."""
    if isinstance(config, DoctorConfig):
        from shardtune.doctor.doctor import run_doctor

        return None, run_doctor  # it checks by itself whether the ranks reach each other
    if isinstance(config, SuperviseConfig):
        from shardtune.supervise.command import supervise

        return None, supervise  # it starts the ranks
    if isinstance(config, FetchConfig):
        from shardtune.fetch.command import fetch

        return "mpi", fetch
    if isinstance(config, BuildConfig):
        from shardtune.builder.builder import build

        return "mpi", build
    if isinstance(config, VerifyConfig):
        from shardtune.inspect.verify import verify

        return "mpi", verify
    if isinstance(config, InspectConfig) and config.augmented:
        from shardtune.inspect.augmented import preview

        return "mpi", preview
    if isinstance(config, InspectConfig):
        from shardtune.inspect.summary import inspect

        return "mpi", inspect
    if isinstance(config, TrainConfig):
        from shardtune.train.command import train

        if config.timeline:
            enable_timeline()

        return "horovod", train
    from shardtune.evaluate.command import evaluate

    return "horovod", evaluate


def _exit_with_error(error: Exception, world: World, debug: bool) -> NoReturn:
    """Print the error in one line and end every rank."""
    for number in (signal.SIGTERM, signal.SIGINT):  # a launcher ends all ranks now: nothing more is printed
        signal.signal(number, signal.SIG_DFL)
    if debug:
        traceback.print_exc()
    elif not isinstance(error, ReportedElsewhereError):
        rank = "" if world.is_root else f"{world.name}: "
        _print_error(rank + _format_error(error))
    if not world.is_root:  # a launcher kills all ranks when the first one exits: give rank 0 time to print
        time.sleep(ROOT_REPORT_SECONDS if isinstance(error, RootFailedError) else 1)
    world.abort(exit_status_of(error))


def _print_error(text: str) -> None:
    print(f"shardtune: {escape_control_chars(text)}", file=sys.stderr, flush=True)


def _format_error(error: Exception) -> str:
    if isinstance(error, ShardtuneError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        # Writing to a full disk fails without a file name.
        return f"{error.filename or 'A file'} cannot be read or written ({error.strerror}). Fix that and run the command again."
    last = traceback.extract_tb(error.__traceback__)[-1]
    line = f"{Path(last.filename).name}:{last.lineno}"
    return f"Unexpected {type(error).__name__} in {line}: {' '.join(str(error).split())} (--debug shows the traceback)"
