"""Every error that a person can cause, each one sentence: the rule, what was received, what to do.

ShardtuneError               exit status 1
├── UsageError               exit status 2: flags that are wrong or contradict each other
├── DataError                image folders, labels, shards, manifests
├── CheckpointError          pretrained weights and run directories
└── WorldError               launcher, MPI and Horovod disagree, or a backend is missing
    └── RootFailedError           rank 0 failed and has said why: the other ranks leave in silence
"""


class ShardtuneError(Exception):
    """Base of all errors whose message is meant for a person."""

    exit_status = 1


class UsageError(ShardtuneError):
    """A flag is missing, malformed or contradicts another one."""

    exit_status = 2


class DataError(ShardtuneError):
    """Images, labels, shards or a manifest break their contract."""


class CheckpointError(ShardtuneError):
    """Weights cannot be found, read, or do not fit the model."""


class WorldError(ShardtuneError):
    """The processes of a job do not form the world that the launcher promised."""


class RootFailedError(WorldError):
    """Raised on every other rank when rank 0 failed at work done for all of them."""
