"""All errors that are meant for a person. Each says what is wrong, then what to do.

ShardtuneError                    exit status 1
├── UsageError                    exit status 2: flags that are wrong or contradict each other
├── DataError                     image folders, labels, shards, manifests
├── DownloadError                 a file from the network cannot be had, is damaged, or is not what it should be
├── CheckpointError               pretrained weights and run directories
├── WorldError                    launcher, MPI and Horovod disagree, or a backend is missing; another job has the directory
│   ├── CollectiveError           an operation over all ranks failed
│   └── ReportedElsewhereError    the error has already been printed: this rank prints nothing
│       └── RootFailedError       rank 0 failed and prints why; all ranks exit with its status
├── ExportError                   an export does not compute what its checkpoint does, or cannot be loaded
├── TrainingError                 the loss diverged, or the weights of the ranks differ
└── StoppedError                  exit status 75: all ranks stopped at the same step on request and saved their state
"""

import pickle


class ShardtuneError(Exception):
    """Base class of the errors in this module.

    Args:
        message: what is wrong: one sentence.
        advice: what to do: a sentence or two; empty where it is obvious.
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
    """Images, labels, shards or a manifest are missing, damaged or not as they should be."""


class DownloadError(ShardtuneError):
    """A file cannot be downloaded or unpacked, or is not the one that was published."""


class CheckpointError(ShardtuneError):
    """Weights are missing, cannot be read, or do not fit the model."""


class WorldError(ShardtuneError):
    """The processes of a job do not form the world that the launcher promised, or share the directory with another job."""


class CollectiveError(WorldError):
    """An operation over all ranks failed, because a rank is lost or because the ranks do not agree on it."""


class ReportedElsewhereError(WorldError):
    """The error has already been printed, by this rank or by another."""


class RootFailedError(ReportedElsewhereError):
    """Raised on the other ranks when work that rank 0 does for all of them fails.

    Args:
        error: what rank 0 raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__("Rank 0 failed and prints why.")
        self.error, self.exit_status = error, exit_status_of(error)


class ExportError(ShardtuneError):
    """An export does not compute what its checkpoint does, or cannot be loaded. Nothing is left of it."""


class TrainingError(ShardtuneError):
    """Training cannot continue. Its last good checkpoint is kept."""


class StoppedError(ShardtuneError):
    """The run stopped on request. The same command resumes it."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h: run the command again


def exit_status_of(error: BaseException) -> int:
    """The exit status of a process that ends because of `error`."""
    return error.exit_status if isinstance(error, ShardtuneError) else 1


def picklable(error: Exception) -> Exception:
    """`error`, or what says the same where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does there
        return WorldError(f"Rank 0 failed: {type(error).__name__}: {error}")
    return error
