"""Hosts that a job may use, each with its number of processes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shardtune.errors import UsageError

# A name that ssh cannot take for an option.
HOST_PATTERN = re.compile(r"(?P<name>[^\s:,-][^\s:,]*):(?P<processes>[1-9][0-9]{0,5})")


@dataclass(frozen=True)
class Host:
    """A host and how many processes of a job it runs."""

    name: str
    processes: int


def parse_hosts(text: str) -> tuple[Host, ...]:
    """The hosts of "a:4,b:4"; none for an empty text.

    Raises:
        UsageError: an entry is not a name and a number of processes.
    """
    hosts = []
    for entry in filter(None, text.split(",")):
        match = HOST_PATTERN.fullmatch(entry)
        if match is None:
            raise UsageError(f"{entry!r} in the list of hosts is not HOST:PROCESSES.", "Write the list like a:4,b:4.")
        hosts.append(Host(match["name"], int(match["processes"])))
    return tuple(hosts)


def format_hosts(hosts: Sequence[Host]) -> str:
    """The inverse of `parse_hosts`, as launchers take it."""
    return ",".join(f"{host.name}:{host.processes}" for host in hosts)


def count_processes(hosts: Sequence[Host]) -> int:
    return sum(host.processes for host in hosts)
