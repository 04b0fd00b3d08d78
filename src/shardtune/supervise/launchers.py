"""Command lines: which launcher goes in front of a command, on which hosts, with how many processes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shardtune.errors import WorldError
from shardtune.runtime.guard import STARTUP_SECONDS
from shardtune.supervise.config import SuperviseConfig
from shardtune.supervise.hosts import Host, count_processes, format_hosts
from shardtune.supervise.machine import Machine

HOROVOD_COMMANDS = ("train", "eval", "predict")  # all others talk over MPI
ONE_PROCESS_COMMANDS = ("export", "report")
LAUNCHER_ENVIRONMENT = {
    # For Open MPI: as many ranks as are asked for, even on fewer cores; in a container everything belongs to root.
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    # For horovodrun, which gives each host 30 s to start Python from a cold network disk and to find a network to the next one.
    "HOROVOD_START_TIMEOUT": f"{STARTUP_SECONDS:.0f}",
}


@dataclass(frozen=True)
class Launch:
    """A command line with its launcher, and the variables that it gets unless they are set."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def compose_launch(config: SuperviseConfig, hosts: Sequence[Host], machine: Machine) -> Launch:
    """Put a launcher in front of the command, unless it brings its own or is one process.

    Args:
        hosts: empty for this machine alone.

    Raises:
        WorldError: it would start fewer workers than are asked for.
    """
    if has_own_launcher(config.command):
        return Launch(config.command)
    command = (machine.find_program(config.command[0]), *config.command[1:])  # other hosts have no PATH of ours
    subcommand = find_subcommand(config.command)
    if subcommand in ONE_PROCESS_COMMANDS:
        return Launch(command)
    if subcommand in HOROVOD_COMMANDS:
        processes = count_processes(hosts) if hosts else config.workers or machine.count_gpus() or 1
        if processes == 1 and not hosts and machine.find_program("horovodrun") == "horovodrun":
            return Launch(command)  # horovodrun is not installed, and one process needs none
        launcher = choose_horovodrun(hosts, processes, config.interface, machine.is_local)
    else:
        processes = count_processes(hosts) if hosts else config.workers or machine.count_cores()
        launcher = choose_mpirun(machine.find_program("mpirun"), hosts, processes, config.interface)
    if subcommand == "train" and processes < config.min_workers:
        raise WorldError(
            f"Only {processes} workers are left, fewer than --min_workers {config.min_workers}.",
            "Run the same command again when there are more: the run then resumes.",
        )
    return Launch((*launcher, *command), LAUNCHER_ENVIRONMENT)


def has_own_launcher(command: Sequence[str]) -> bool:
    """Whether a command begins with another program than shardtune, such as srun."""
    return Path(command[0]).name != "shardtune"


def find_subcommand(words: Sequence[str]) -> str:
    """The word after `shardtune` in a command line; "" if there is none."""
    names = [Path(word).name for word in words]
    if "shardtune" not in names[:-1]:
        return ""
    return words[names.index("shardtune") + 1]


def choose_horovodrun(
    hosts: Sequence[Host], processes: int, interface: str, is_local: Callable[[str], bool]
) -> tuple[str, ...]:
    """horovodrun, for what runs a network.

    Args:
        hosts: empty for this machine alone.
        processes: on all hosts together.
        interface: network interface between the hosts, or "".
        is_local: whether a host name is this machine.
    """
    if not hosts:
        return "horovodrun", "-np", str(processes)
    # Gloo between machines: it needs no MPI there, and ends a job whose machines are gone.
    words = ("horovodrun", "--gloo", "-np", str(processes), "-H", format_hosts(hosts))
    # A host that is alone and is this machine uses no network: its processes could not find each other by the interface.
    needs_interface = interface and (len(hosts) > 1 or not is_local(hosts[0].name))
    return (*words, "--network-interfaces", interface) if needs_interface else words


def choose_mpirun(mpirun: str, hosts: Sequence[Host], processes: int, interface: str) -> tuple[str, ...]:
    """mpirun, for building.

    Args:
        mpirun: its whole path, so that it starts the same MPI on other hosts.
        hosts: empty for this machine alone.
        processes: on all hosts together.
        interface: network interface between the hosts, or "".
    """
    words: tuple[str, ...] = (mpirun, "-n", str(processes))
    if not hosts:
        return words
    words += ("-H", format_hosts(hosts))
    if interface:
        words += ("--mca", "btl_tcp_if_include", interface, "--mca", "oob_tcp_if_include", interface)
    return words
