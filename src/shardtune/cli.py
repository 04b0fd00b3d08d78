"""The commands. The only module that creates a World and turns errors into exit statuses."""

import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from shardtune.builder.config import BuildConfig
from shardtune.doctor.config import DoctorConfig
from shardtune.errors import ReportedElsewhereError, ShardtuneError, StoppedError, UsageError
from shardtune.evaluate.config import EvalConfig
from shardtune.export.config import ExportConfig
from shardtune.fetch.config import FetchConfig
from shardtune.flags.completion import COMPLETION_FLAG, completion_script
from shardtune.flags.parser import parse_flags, suggest
from shardtune.inspect.config import InspectConfig, VerifyConfig
from shardtune.predict.config import PredictConfig
from shardtune.report.config import ReportConfig
from shardtune.runtime.backends import Backend, enable_timeline
from shardtune.runtime.guard import STARTUP_SECONDS, Guard
from shardtune.runtime.leaving import end_all_ranks
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

shardtune COMMAND --help lists the flags of a command, --debug shows tracebacks, --version the versions of all packages.
shardtune --tyro-print-completion bash (or zsh) prints a script that completes commands and flags."""
COMMANDS: dict[str, Any] = {
    "fetch": FetchConfig,
    "build": BuildConfig,
    "verify": VerifyConfig,
    "inspect": InspectConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
    "predict": PredictConfig,
    "export": ExportConfig,
    "report": ReportConfig,
    "doctor": DoctorConfig,
    "supervise": SuperviseConfig,
}
RESUMING = (BuildConfig, FetchConfig, TrainConfig)
POSITIONAL = ("fetch", "verify", "inspect", "supervise")  # commands whose required arguments are given without a flag
Run = Callable[[Any, World], Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status: 0 done, 1 failed, 2 wrong usage, 75 stopped early on request."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(_versions())
        return
    end = arguments.index("--") if "--" in arguments else len(arguments)  # what follows belongs to a supervised command
    own, supervised = arguments[:end], arguments[end:]
    words, notes = [word for word in own if word != "--debug"] + supervised, list[str]()

    def select(config: Any) -> tuple[Backend | None, Run]:
        backend, run = _select_command(config)
        return backend, partial(_run_with_notes, notes, run)

    run_command(lambda: _parse(words, notes), select, "--debug" in own)


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
    guard, status, config = Guard(), 0, None
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
        with suppress(Exception):  # of ranks that are gone
            # A launcher ends all ranks when one has left, so none leaves before rank 0 has printed.
            world.run_on_root(partial(_print_error, str(stop)))
        status = stop.exit_status  # every rank leaves in good order: a launcher complains of one that does not
    except Exception as error:
        _exit_with_error(error, world, debug)
    except KeyboardInterrupt:
        if world.is_root:
            resumes = " The same command resumes from what is finished." if isinstance(config, RESUMING) else ""
            _print_error(f"Stopped by a signal.{resumes}")
        world.abort(StoppedError.exit_status)
    world.exit(status)


def _parse(arguments: Sequence[str], notes: list[str]) -> Any:
    """The configuration that the arguments ask for. What rank 0 should say of their flags is added to `notes`.

    Raises:
        UsageError: an unknown command or flag, a required flag that is missing, or a value that its flag cannot have.
        SystemExit: help, or a script for a shell, was printed.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage(), file=sys.stdout if arguments else sys.stderr)
        raise SystemExit(0 if arguments else UsageError.exit_status)
    command, *words = arguments
    if command == COMPLETION_FLAG:
        print(completion_script("".join(words), COMMANDS, POSITIONAL))
        raise SystemExit(0)
    if command not in COMMANDS:
        raise UsageError(f"{command} is not a command.", f"{suggest(command, COMMANDS)}See shardtune --help.")
    config, sentences = parse_flags(command, COMMANDS[command], words, is_positional=command in POSITIONAL)
    notes.extend(sentences)
    return config


def _usage() -> str:
    first_sentences = {name: re.split(r"\.(?:\s|$)", config.__doc__)[0] for name, config in COMMANDS.items()}
    return USAGE.format(commands="\n".join(f"  {name:<10}{sentence}." for name, sentence in first_sentences.items()))


def _versions() -> str:
    return "\n".join(f"{name} {version}" for name, version in package_versions().items() if version != "missing")


def _select_command(config: Any) -> tuple[Backend | None, Run]:
    """The backend and the function of a command. They are imported here, because building needs no TensorFlow."""
    if isinstance(config, DoctorConfig):
        from shardtune.doctor.doctor import run_doctor

        return None, run_doctor  # it checks by itself whether the ranks reach each other
    if isinstance(config, ReportConfig):
        from shardtune.report.command import report

        return None, report  # one process is enough
    if isinstance(config, SuperviseConfig):
        from shardtune.supervise.command import supervise

        return None, supervise  # it starts the ranks
    if isinstance(config, FetchConfig):
        from shardtune.fetch.command import fetch

        return "mpi", fetch
    if isinstance(config, BuildConfig):
        from shardtune.builder.builder import build
        from shardtune.builder.preview import preview as preview_build

        return "mpi", preview_build if config.dry_run else build
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
    if isinstance(config, PredictConfig):
        from shardtune.predict.command import predict

        return "horovod", predict
    if isinstance(config, ExportConfig):
        from shardtune.export.command import export

        return "mpi", export
    from shardtune.evaluate.command import evaluate

    return "horovod", evaluate


def _run_with_notes(notes: Sequence[str], run: Run, config: Any, world: World) -> None:
    for note in notes if world.is_root else ():
        _print_error(note)
    run(config, world)


def _exit_with_error(error: Exception, world: World, debug: bool) -> NoReturn:
    """Print the error in one line and end every rank."""
    for number in (signal.SIGTERM, signal.SIGINT):  # a launcher ends all ranks now: nothing more is printed
        signal.signal(number, signal.SIG_DFL)
    if debug:
        traceback.print_exc()
    elif not isinstance(error, ReportedElsewhereError):
        rank = "" if world.is_root else f"{world.name}: "
        _print_error(rank + _format_error(error))
    end_all_ranks(world, error)


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
