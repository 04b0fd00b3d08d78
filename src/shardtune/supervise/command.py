"""`shardtune supervise`: choose the launcher of a command and run it."""

import os
import shlex
import sys
from collections.abc import Mapping

from shardtune.runtime.world import World
from shardtune.supervise.config import SuperviseConfig
from shardtune.supervise.hosts import parse_hosts
from shardtune.supervise.launchers import compose_launch, find_subcommand
from shardtune.supervise.machine import LocalMachine, Machine
from shardtune.supervise.outcome import find_train_dir
from shardtune.supervise.training import check_signals, keep_reachable, supervise_training


def supervise(config: SuperviseConfig, world: World) -> None:
    """Run the command and leave with its status."""
    world.guard.stop()  # it would end this process after a signal, while the ranks still write a checkpoint
    world.exit(run(config, LocalMachine(os.environ), os.environ))


def run(config: SuperviseConfig, machine: Machine, environ: Mapping[str, str]) -> int:
    """Run the command; returns the status of training. For any other command this process becomes its launcher.

    Args:
        environ: environment variables, by which SLURM says which job this is.

    Raises:
        UsageError: the hosts or the command line are wrong.
        WorldError: no host answers, too few workers are left, or the run was lost too often.
        TrainingError: the run failed with an error that would come again.
    """
    subcommand, hosts = find_subcommand(config.command), parse_hosts(config.hosts)
    train_dir = find_train_dir(config.command) if subcommand == "train" else None
    if config.dry_run:
        sys.stdout.write(f"{shlex.join(compose_launch(config, hosts, machine).words)}\n")
        return 0
    if train_dir:
        return supervise_training(config, hosts, train_dir, machine, environ)
    if subcommand == "eval":  # its counts are the same for any number of workers
        hosts = keep_reachable(hosts, machine)
    launch = compose_launch(config, hosts, machine)
    check_signals(machine)
    machine.show(launch.words)
    machine.replace(launch.words, launch.environment)
