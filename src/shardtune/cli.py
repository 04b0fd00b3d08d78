"""The commands. The only place that creates a World and turns errors into exit statuses."""

import contextlib
import io
import math
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tyro

from shardtune.builder.config import BuildConfig
from shardtune.doctor.config import DoctorConfig
from shardtune.errors import ReportedElsewhereError, RootFailedError, ShardtuneError, StoppedError, UsageError, exit_status_of
from shardtune.evaluate.config import EvalConfig
from shardtune.inspect.config import InspectConfig, VerifyConfig
from shardtune.runtime.backends import Backend, enable_timeline
from shardtune.runtime.guard import STARTUP_SECONDS, Guard
from shardtune.runtime.progress import escape_control_chars
from shardtune.runtime.streams import protect
from shardtune.runtime.world import World
from shardtune.supervise.config import SuperviseConfig
from shardtune.train.config import TrainConfig

DESCRIPTION = (
    "Images to sharded TFRecords on every core, Inception v3 fine-tuned on every GPU. --debug shows tracebacks, --version the "
    "versions of this and of what it stands on."
)
ROOT_SECONDS = 10  # seconds in which rank 0 says why it fails, and ends the job, on a busy machine
Stage = Callable[[Any], tuple[Backend | None, Callable[[Any, World], Any]]]
Command = (
    Annotated[BuildConfig, tyro.conf.subcommand("build")]
    | Annotated[VerifyConfig, tyro.conf.PositionalRequiredArgs, tyro.conf.subcommand("verify")]
    | Annotated[InspectConfig, tyro.conf.PositionalRequiredArgs, tyro.conf.subcommand("inspect")]
    | Annotated[TrainConfig, tyro.conf.subcommand("train")]
    | Annotated[EvalConfig, tyro.conf.subcommand("eval")]
    | Annotated[DoctorConfig, tyro.conf.subcommand("doctor")]
    | Annotated[SuperviseConfig, tyro.conf.PositionalRequiredArgs, tyro.conf.subcommand("supervise")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its status: 0 done, 1 failed, 2 wrong usage, 75 stopped early on request."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(_versions())
        return
    end = arguments.index("--") if "--" in arguments else len(arguments)  # what follows belongs to a supervised command
    own, supervised = arguments[:end], arguments[end:]
    run_command(lambda: _parse([word for word in own if word != "--debug"] + supervised), _select_command, "--debug" in own)


def run_command(configure: Callable[[], Any], stage: Stage, debug: bool = False) -> None:
    """Do what is asked for in the world of the launcher, and leave with the status that says how it went.

    Args:
        configure: returns what is asked for.
        stage: for that, what its ranks talk over and what each of them does.
        debug: show tracebacks.
    """
    protect()
    for number in (signal.SIGTERM, signal.SIGINT):  # until ranks have found each other: then no Python may run
        signal.signal(number, signal.SIG_DFL)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported
    guard, status = Guard(), 0
    world = World(guard=guard)
    guard.start()
    try:
        config = configure()
        guard.set_timeout(getattr(config, "hang_timeout", math.inf) + STARTUP_SECONDS)
        backend, run = stage(config)
        if backend is not None:
            world = World.from_environment(backend, os.environ, guard)
        guard.interrupts.catch()
        run(config, world)
    except StoppedError as stop:
        if world.is_root:
            _print_error(str(stop))
        status = stop.exit_status  # every rank leaves: a launcher complains of those that do so abruptly
    except Exception as error:
        _exit_with_error(error, world, debug)
    except KeyboardInterrupt:
        if world.is_root:
            _print_error("Stopped by a signal: the same command goes on from what is finished.")
        world.abort(StoppedError.exit_status)
    world.exit(status)


def _parse(arguments: list[str]) -> Any:
    """The configuration that the flags ask for; what is wrong with them becomes one line, whatever tyro draws."""
    captured_stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured_stderr):
            return tyro.cli(Command, prog="shardtune", description=DESCRIPTION, args=arguments, use_underscores=True)
    except SystemExit as end:
        if not end.code:
            raise
        untitled = (line for line in captured_stderr.getvalue().splitlines() if not line.startswith("╭"))
        words = " ".join(re.sub("[│╰╯─]", " ", " ".join(untitled)).split())
        raise UsageError(f"{re.split(' Argument helptext| For full helptext', words)[0]}: see shardtune --help.") from None


def _versions() -> str:
    from shardtune.doctor.ranks import package_versions  # which imports none of them

    return "\n".join(f"{name} {version}" for name, version in package_versions().items() if version != "missing")


def _select_command(config: Any) -> tuple[Backend | None, Callable[[Any, World], Any]]:
    """What to run for a configuration, and over what its ranks talk. Imported here: building needs no TensorFlow."""
    if isinstance(config, DoctorConfig):
        from shardtune.doctor.doctor import run_doctor

        return None, run_doctor  # whether the ranks can talk is what it looks for
    if isinstance(config, SuperviseConfig):
        from shardtune.supervise.command import supervise

        return None, supervise  # it starts the ranks
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
        from shardtune.inspect.overview import inspect

        return "mpi", inspect
    if isinstance(config, TrainConfig):
        from shardtune.train.command import train

        if config.timeline:
            enable_timeline()

        return "horovod", train
    from shardtune.evaluate.command import evaluate

    return "horovod", evaluate


def _exit_with_error(error: Exception, world: World, debug: bool) -> NoReturn:
    """Say in one line what went wrong, and end every rank."""
    for number in (signal.SIGTERM, signal.SIGINT):  # from a launcher that ends all ranks: all is said
        signal.signal(number, signal.SIG_DFL)
    if debug:
        traceback.print_exc()
    elif not isinstance(error, ReportedElsewhereError):
        rank = "" if world.is_root else f"{world.name}: "
        _print_error(rank + _format_error(error))
    if not world.is_root:  # a launcher kills all ranks when the first one leaves: let rank 0 speak
        time.sleep(ROOT_SECONDS if isinstance(error, RootFailedError) else 1)
    world.abort(exit_status_of(error))


def _print_error(text: str) -> None:
    print(f"shardtune: {escape_control_chars(text)}", file=sys.stderr, flush=True)


def _format_error(error: Exception) -> str:
    if isinstance(error, ShardtuneError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        # Writing to a full disk fails without a name.
        return f"{error.filename or 'A file'} cannot be read or written ({error.strerror}): mend that and run again."
    last = traceback.extract_tb(error.__traceback__)[-1]
    told = " ".join(str(error).split())
    return f"unexpected {type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {told} (the whole story: --debug)"
