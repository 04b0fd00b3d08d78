"""The doctor's report: a line for each finding, green or red, for people or as JSON."""

import json
import os
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shardtune.doctor import host, ranks
from shardtune.doctor.config import DoctorConfig
from shardtune.doctor.finding import Finding
from shardtune.errors import WorldError
from shardtune.runtime.launcher import detect_launcher
from shardtune.runtime.timelimit import time_limit
from shardtune.runtime.world import World

SECONDS = 60  # for all that ranks do together: several times what it takes where all is well
TOO_LATE = (
    f"Ranks answer each other within {SECONDS} s, but some did not: see that each host reaches the others (ssh, firewall, the "
    f"networks that MPI and Horovod take)."
)


def run_doctor(config: DoctorConfig, world: World) -> None:
    """Look at this host, or under a launcher at all of its ranks and hosts, and print what was found.

    Raises:
        WorldError: a line is red; raised on rank 0. Or processes were started that cannot find each other.
    """
    launcher = detect_launcher(os.environ)
    if launcher is None:
        findings = [*host.examine(config.directory, os.environ), host.cores()]
    else:
        with time_limit(SECONDS, TOO_LATE):
            world, findings = ranks.examine(launcher, os.environ, config.directory)
    if not world.is_root:
        return
    show(findings, as_json=config.json)
    red = sum(not finding.ok for finding in findings)
    if red:
        raise WorldError(f"Where all is well no line is red, but {red} of {len(findings)} are: do what they say.")


def show(findings: list[Finding], *, as_json: bool) -> None:
    """Print to stdout: one JSON object, or a table."""
    if as_json:
        lines = [{"ok": finding.ok, **asdict(finding)} for finding in findings]
        sys.stdout.write(json.dumps({"ok": all(finding.ok for finding in findings), "findings": lines}, indent=2) + "\n")
        return
    table = Table("", "what", "found", "by", box=None)
    for finding in findings:
        colour = "green" if finding.ok else "red"
        found = Text(finding.found)
        if finding.advice:
            found.append(f"\n→ {finding.advice}", "bold")
        table.add_row(Text(colour, colour), Text(finding.topic), found, Text(finding.how, "dim"))
    # mpirun gives a terminal to write to even where its own output goes to a file, but none to read from.
    console = Console(file=sys.stdout, force_terminal=None if sys.stdin.isatty() else False)
    if not console.is_terminal:
        console.width = 10_000  # lines are never broken for programs
    console.print(table)
