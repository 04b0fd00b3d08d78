"""Every error that a person can cause: what is wrong, then what to do.

ShardtuneError               exit status 1
├── UsageError               exit status 2: flags that are wrong or contradict each other
├── DataError                image folders, labels, shards, manifests
├── CheckpointError          pretrained weights and run directories
├── WorldError               launcher, MPI and Horovod disagree, or a backend is missing; a rank is lost
│   └── ReportedElsewhereError             what is wrong has been said: this rank leaves in silence
│       └── RootFailedError   rank 0 failed: it says why, and its status is that of all ranks
├── TrainingError            the loss is no number, or the ranks' weights differ
└── StoppedError             exit status 75: all ranks stopped at the same step on request, with their state saved
"""


class ShardtuneError(Exception):
    """Base of all errors that are meant for a person.

    Args:
        message: what is wrong, in one sentence.
        advice: what to do; empty where that is obvious.
    """

    exit_status = 1

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message, advice)
        self.message, self.advice = message, advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class UsageError(ShardtuneError):
    """A flag is missing, malformed or contradicts another one."""

    exit_status = 2


class DataError(ShardtuneError):
    """Images, labels, shards or a manifest break their contract."""


class CheckpointError(ShardtuneError):
    """Weights cannot be found, read, or do not fit the model."""


class WorldError(ShardtuneError):
    """The processes of a job do not form the world that the launcher promised."""


class ReportedElsewhereError(WorldError):
    """A rank has said what is wrong, this one or another."""


class RootFailedError(ReportedElsewhereError):
    """Raised on every other rank when rank 0 failed at work done for all of them.

    Args:
        exit_status: rank 0's.
    """

    def __init__(self, exit_status: int) -> None:
        super().__init__("Rank 0 failed and says why.")
        self.exit_status = exit_status


class TrainingError(ShardtuneError):
    """Training cannot go on from here: its last good checkpoint is kept."""


class StoppedError(ShardtuneError):
    """The run was asked to stop and has done so: the same command goes on from there."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h: to be run again


def exit_status_of(error: Exception) -> int:
    """The status with which a process ends because of `error`."""
    return error.exit_status if isinstance(error, ShardtuneError) else 1
