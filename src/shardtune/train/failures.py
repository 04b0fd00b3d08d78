"""Run one attempt; record and report how it failed."""

import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from shardtune.errors import CollectiveError, ReportedElsewhereError, ShardtuneError, StoppedError, TrainingError
from shardtune.train.ranklog import RankLog
from shardtune.train.run_context import RunContext

T = TypeVar("T")
LAST_LINES = 20  # of a rank's log that are shown when it fails


def run_reporting_failures(context: RunContext, run: Callable[[], T]) -> T:
    """Call `run`, and return what it does; a failure goes to the log of this rank and to outcome.json, and is raised.

    Raises:
        TrainingError: an operation over all workers failed although none is lost.
        ReportedElsewhereError: the same, or a worker is lost, and one rank reports it.
    """
    context.world.guard.report_to(context.log.path, partial(_report_late_ranks, context))
    try:
        try:
            with context.world.translate_failures():
                return run()
        except CollectiveError as error:
            context.log.write("".join(traceback.format_exception(error)))
            raise _explain_collective_failure(context, error.message) from error
    except (StoppedError, ReportedElsewhereError):
        raise
    except BaseException as error:
        if context.world.prints and not isinstance(error, Exception):
            raise  # a signal ends the process of a command, which outcome.json names
        if context.world.prints and not isinstance(error, ShardtuneError):
            _show_last_lines(context.log)
        context.log.write("".join(traceback.format_exception(error)))
        context.outcome.mark_failed(error=str(error) or repr(error), rank=context.world.rank)
        raise


def _explain_collective_failure(context: RunContext, reason: str) -> ShardtuneError:
    """The error to raise: a worker is lost, or the operation itself failed. One rank reports it."""
    silent, sentence, is_reporter = context.world.guard.find_silent_ranks()
    if silent and is_reporter and not context.outcome.has_failed:
        _report_late_ranks(context, f"A worker is lost: {sentence}", silent)
    if silent or not is_reporter:
        return ReportedElsewhereError("Another rank reports the cause.")
    return TrainingError(
        f"An operation over all workers failed ({reason}).", f"See the logs of all ranks in {context.log.path.parent}."
    )


def _report_late_ranks(context: RunContext, sentence: str, ranks: list[int]) -> None:
    """Write which ranks are late to outcome.json and to stderr, with the last lines of their logs."""
    sentence = f"{sentence}; see the logs of all ranks in {context.log.path.parent}."
    context.outcome.mark_failed(error=sentence)
    for rank in ranks:
        _show_last_lines(RankLog(context.config.train_dir, rank))
    sys.stderr.write(f"shardtune: {sentence}\n")
    sys.stderr.flush()


def _show_last_lines(log: RankLog) -> None:
    """Show what a rank did before it failed unexpectedly."""
    sys.stderr.write("".join(f"{log.path.name}: {line}\n" for line in log.tail(LAST_LINES)))
