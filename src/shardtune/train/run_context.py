"""What all phases of one attempt at a run share."""

from dataclasses import dataclass
from enum import IntEnum

from shardtune.runtime.outcome import read_outcome
from shardtune.runtime.versions import package_versions
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig
from shardtune.train.consistency import STEP_PACKAGES
from shardtune.train.progress import NO_CALLBACKS, Callbacks
from shardtune.train.ranklog import RankLog
from shardtune.train.stopping import OutcomeFile, StopRequest


class Phase(IntEnum):
    """Where a rank is between two steps, in the order in which the phases come."""

    VALIDATING = 0
    SAVING = 1
    WAITING_FOR_INPUT = 2
    IN_A_STEP = 3

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class RunContext:
    """One attempt at a run, on this rank.

    Attributes:
        threads: cores of this rank.
        callbacks: of the program that trains.
    """

    config: TrainConfig
    world: World
    stop_request: StopRequest
    outcome: OutcomeFile
    log: RankLog
    threads: int
    callbacks: Callbacks = NO_CALLBACKS

    @staticmethod
    def open(
        config: TrainConfig, world: World, stop_request: StopRequest, threads: int, callbacks: Callbacks = NO_CALLBACKS
    ) -> "RunContext":
        """Begin the next attempt in `config.train_dir`. For all ranks to call."""
        directory = config.train_dir
        attempt = world.broadcast(read_outcome(directory).get("attempt", 0)) + 1
        log = RankLog(directory, world.rank)
        log.write(f"Attempt {attempt}, {world.name}: {package_versions(STEP_PACKAGES)}")
        return RunContext(config, world, stop_request, OutcomeFile(directory, world.rank, attempt), log, threads, callbacks)

    def heartbeat(self, phase: Phase, step: int, *, compiles: bool = False) -> None:
        """Tell the guard that this rank has reached `phase` after `step` steps; `compiles`: something may be compiled there."""
        self.world.guard.heartbeat(f"{phase}, step {step}", step=step, phase=int(phase), compiles=compiles)
