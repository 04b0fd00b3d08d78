"""What a supervisor does after a launcher has ended, as a pure function of what became of the run."""

from dataclasses import dataclass
from pathlib import Path
from signal import SIGUSR1, Signals

from shardtune.errors import StoppedError, TrainingError, WorldError
from shardtune.supervise.outcome import Result

REFUSED_PAUSE_SECONDS = 60.0  # a host that is gone may keep the run's lock for a while


@dataclass(frozen=True)
class End:
    """How one start of the launcher ended.

    Attributes:
        result: what became of the run.
        status: the launcher's exit status.
        signal: the last signal that asked the supervisor to stop the run, or None.
        error: of the rank that failed.
    """

    result: Result
    status: int
    signal: Signals | None = None
    error: str = ""


@dataclass(frozen=True)
class Exit:
    """Leave with a status."""

    status: int


@dataclass(frozen=True)
class Restart:
    """Start the launcher again after a pause."""

    pause_seconds: float


@dataclass(frozen=True)
class Requeue:
    """Put the SLURM job back into the queue."""


def decide_restart(end: End, train_dir: Path, *, restarts: int, max_restarts: int) -> Exit | Restart:
    """Outside of SLURM's batch jobs.

    Args:
        restarts: how often the launcher has been restarted so far.

    Raises:
        TrainingError: the run failed with an error that would come again.
        WorldError: it was lost once too often.
    """
    if end.result == "finished":
        return Exit(0)
    if end.result == "stopped":
        return Exit(StoppedError.exit_status)
    if end.result == "failed":
        raise TrainingError(f"The run in {train_dir} has failed: {end.error}")
    if end.result == "refused" and restarts == 0:
        return Exit(end.status)  # the command has said why
    if restarts >= max_restarts:
        raise WorldError(
            f"The run in {train_dir} was {end.result} after {restarts} restarts, as many as --max_restarts allows.",
            f"Its logs are in {train_dir / 'logs'}. Run the same command again to resume.",
        )
    return Restart(REFUSED_PAUSE_SECONDS if end.result == "refused" else 0.0)


def decide_requeue(end: End, train_dir: Path, *, requeues: int, max_requeues: int) -> Exit | Requeue:
    """In a batch job of SLURM.

    Args:
        requeues: how often the job has been requeued so far.

    Raises:
        WorldError: the job would have to be requeued once too often.
    """
    if end.result == "finished":
        return Exit(0)
    if end.result in ("refused", "failed"):
        return Exit(1)  # the command has said why
    if end.result == "stopped" and end.signal != SIGUSR1:  # cancelled, or by its own --time_limit
        return Exit(StoppedError.exit_status)
    if requeues >= max_requeues:
        raise WorldError(
            f"The run in {train_dir} was {end.result} after {requeues} requeues, and at most {max_requeues} are allowed.",
            "Submit the job again to resume.",
        )
    return Requeue()
