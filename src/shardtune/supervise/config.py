"""What a person can ask of `shardtune supervise`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from shardtune.config import check_flag, check_types
from shardtune.errors import UsageError


@dataclass(frozen=True)
class SuperviseConfig:
    """Put the launcher in front of a command, print the whole line, and run it: shardtune supervise -- shardtune train FLAGS.
    When a worker is lost, training restarts from its last checkpoint."""

    command: Annotated[tuple[str, ...], tyro.conf.arg(metavar="-- COMMAND", help_behavior_hint="")]
    """shardtune build, train, eval or predict with its flags. A command that begins with another program, as in srun shardtune
    train, brings its own launcher."""
    hosts: str = ""
    """Hosts to use over ssh, each with its number of processes: a:4,b:4. They share this folder and the data.
    Without them this machine alone is used."""
    interface: str = ""
    """Network interface between the hosts, where they have several: eth0."""
    workers: int | None = None
    """Processes on this machine (default: to build, one per core; to train, evaluate and predict, one per GPU, or
    one)."""
    max_restarts: int = 3
    """How often training is restarted. Hosts that no longer answer are left out."""
    min_workers: int = 1
    """Give up when fewer workers than this are left. Any number of workers shares the same global batch."""
    max_requeues: int | None = None
    """In a batch job of SLURM: how often the job is requeued when a worker is lost or its time is nearly over.
    It is then never restarted within the job."""
    dry_run: bool = False
    """Print the first command and run nothing."""

    def __post_init__(self) -> None:
        check_types(self)
        if not self.command:
            raise UsageError("No command follows the options.", "Type shardtune supervise [OPTIONS] -- shardtune train FLAGS.")
        check_flag(self.workers is None or self.workers > 0, "workers must be above 0", self.workers)
        check_flag(self.max_restarts >= 0, "max_restarts must be at least 0", self.max_restarts)
        check_flag(self.min_workers >= 0, "min_workers must be at least 0", self.min_workers)
        check_flag(self.max_requeues is None or self.max_requeues >= 0, "max_requeues must be at least 0", self.max_requeues)
