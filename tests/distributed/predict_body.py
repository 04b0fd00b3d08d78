"""`shardtune predict` with a small network in place of Inception v3: `python -m tests.distributed.predict_body flag…`."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from shardtune import cli
from shardtune.flags.parser import parse_flags
from shardtune.predict.config import PredictConfig
from shardtune.runtime.world import Backend, World


def stage(config: PredictConfig) -> tuple[Backend, Callable[[Any, World], None]]:
    from shardtune.predict.command import predict
    from tests.train.networks import small

    return "horovod", partial(predict, build_model=partial(small, auxiliary=True))


if __name__ == "__main__":
    cli.run_command(lambda: parse_flags("predict", PredictConfig, sys.argv[1:], is_positional=False)[0], stage)
