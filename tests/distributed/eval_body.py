"""`shardtune eval` with a small network in place of Inception v3: `python -m tests.distributed.eval_body EXAMPLES flag…`.

EXAMPLES are numbers of examples, as 1,7: it evaluates the first one, then the first seven, into folders 1 and 7 of --eval_dir.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import tyro

from shardtune import cli
from shardtune.evaluate.config import EvalConfig
from shardtune.runtime.world import Backend, World


def stage(config: EvalConfig) -> tuple[Backend, Callable[[Any, World], None]]:
    from shardtune.evaluate.command import evaluate
    from tests.train.networks import small

    def evaluate_all(config: EvalConfig, world: World) -> None:
        for examples in map(int, sys.argv[1].split(",")):
            assert config.eval_dir
            one = replace(config, num_examples=examples, eval_dir=config.eval_dir / str(examples))
            evaluate(one, world, build_model=partial(small, auxiliary=True))

    return "horovod", evaluate_all


if __name__ == "__main__":
    cli.run_command(lambda: tyro.cli(EvalConfig, args=sys.argv[2:]), stage)
