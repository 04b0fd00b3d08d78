"""Training that survives lost workers: it is restarted here, or requeued by SLURM."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from shardtune.errors import StoppedError, UsageError, WorldError
from shardtune.supervise.config import SuperviseConfig
from shardtune.supervise.decisions import Exit, decide_requeue, decide_restart
from shardtune.supervise.hosts import Host, format_hosts
from shardtune.supervise.launchers import compose_launch, has_own_launcher
from shardtune.supervise.machine import Machine
from shardtune.supervise.watch import POLL_SECONDS, Watch


class InterruptedBySignalError(StoppedError):
    """A signal came while no launcher ran."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Stopped by signal {number} while no process of the job was running.", "The same command resumes.")
        self.exit_status = 128 + number


def supervise_training(
    config: SuperviseConfig, hosts: Sequence[Host], train_dir: Path, machine: Machine, environ: Mapping[str, str]
) -> int:
    """Train until the run has ended for good; returns the exit status.

    Args:
        hosts: those that were asked for; empty for this machine alone.

    Raises:
        WorldError, TrainingError: see `compose_launch`, `decide_restart`, `decide_requeue` and `keep_reachable`.
        InterruptedBySignalError: a signal came between two starts.
        UsageError: `max_requeues` is set outside of a SLURM job.
    """
    if config.max_requeues is not None:
        return _train_in_job(config, hosts, train_dir, machine, environ)
    reachable, restarts = hosts, 0
    while True:
        end = Watch(machine, compose_launch(config, reachable, machine), train_dir).wait()
        decision = decide_restart(end, train_dir, restarts=restarts, max_restarts=config.max_restarts)
        if isinstance(decision, Exit):
            return decision.status
        _pause(decision.pause_seconds, machine)
        reachable = keep_reachable(hosts, machine)
        restarts += 1
        where = f" on {format_hosts(reachable)}" if reachable else ""
        machine.say(
            f"A worker was lost. The run in {train_dir} resumes from its last checkpoint{where} "
            f"(restart {restarts} of {config.max_restarts})."
        )


def _train_in_job(
    config: SuperviseConfig, hosts: Sequence[Host], train_dir: Path, machine: Machine, environ: Mapping[str, str]
) -> int:
    """In a batch job of SLURM, which starts the same script again when the job is requeued."""
    job = environ.get("SLURM_JOB_ID")
    if not job:
        raise UsageError(
            "--max_requeues is set, but SLURM_JOB_ID is not: this is no job of SLURM.", "Use --max_restarts outside of SLURM."
        )
    launch = compose_launch(config, hosts, machine)
    end = Watch(machine, launch, train_dir, signal_launcher=has_own_launcher(config.command)).wait()
    requeues = int(environ.get("SLURM_RESTART_COUNT") or 0)
    decision = decide_requeue(end, train_dir, requeues=requeues, max_requeues=config.max_requeues or 0)
    if isinstance(decision, Exit):
        return decision.status
    machine.say(f"The run in {train_dir} was {end.result}. The job is requeued and resumes from the last checkpoint.")
    return machine.requeue(job)


def keep_reachable(hosts: Sequence[Host], machine: Machine) -> tuple[Host, ...]:
    """The hosts that answer; the others are reported.

    Raises:
        WorldError: none of them answers.
        InterruptedBySignalError: a signal came meanwhile.
    """
    reachable = machine.keep_reachable(hosts) if hosts else ()
    check_signals(machine)
    for host in hosts:
        if host not in reachable:
            machine.say(f"Host {host.name} does not answer and is left out.")
    if hosts and not reachable:
        raise WorldError(f"None of the hosts {format_hosts(hosts)} answers.", "Run the same command again when one does.")
    return reachable


def _pause(seconds: float, machine: Machine) -> None:
    deadline = machine.now() + seconds
    while machine.now() < deadline:
        machine.sleep(POLL_SECONDS)
        check_signals(machine)


def check_signals(machine: Machine) -> None:
    """Raise InterruptedBySignalError if a signal has come."""
    signals = machine.take_signals()
    if signals:
        raise InterruptedBySignalError(signals[-1])
