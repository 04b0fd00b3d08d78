"""How a rank that cannot go on ends the job."""

import time
from typing import NoReturn

from shardtune.errors import RootFailedError, exit_status_of
from shardtune.runtime.world import World

ROOT_REPORT_SECONDS = 10  # until rank 0 has printed why it fails and has ended the job, on a busy machine


def end_all_ranks(world: World, error: BaseException) -> NoReturn:
    """End this process, whose error has been printed, and with it every rank, with the status of the error."""
    if not world.is_root:  # a launcher kills all ranks when the first one exits: give rank 0 time to print
        time.sleep(ROOT_REPORT_SECONDS if isinstance(error, RootFailedError) else 1)
    world.abort(exit_status_of(error))
