"""The report of `shardtune doctor`: a green or red line for each finding, or JSON."""

import json
import os
import sys

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

TIMEOUT_SECONDS = 600.0  # of all that the ranks do together: imports, and two probes after each other


def run_doctor(config: DoctorConfig, world: World) -> None:
    """Check this host, or under a launcher all ranks and their hosts, and print what was found.

    Raises:
        WorldError: a line is red (on rank 0), or the processes of the launcher cannot find each other.
    """
    launcher = detect_launcher(os.environ)
    if launcher is None:
        findings = [*host.check_host(config.directory, os.environ), host.count_cores()]
    else:
        timeout_message = (
            f"Some ranks did not answer within {TIMEOUT_SECONDS:g} s. Check that each host reaches the others (ssh, firewall, "
            f"the networks that MPI and Horovod use)."
        )
        with time_limit(TIMEOUT_SECONDS, timeout_message):
            world, findings = ranks.check_ranks(launcher, os.environ, config.directory)
    if not world.is_root:
        return
    print_findings(findings, as_json=config.json)
    red = sum(not finding.ok for finding in findings)
    if red:
        raise WorldError(f"{red} of {len(findings)} checks failed.", "Follow the advice under each red line.")


def print_findings(findings: list[Finding], *, as_json: bool) -> None:
    """Print the findings to stdout, as one JSON object or as a table."""
    if as_json:
        lines = [
            {"ok": finding.ok, "topic": finding.topic, "found": finding.found, "how": finding.source, "advice": finding.advice}
            for finding in findings
        ]
        sys.stdout.write(json.dumps({"ok": all(finding.ok for finding in findings), "findings": lines}, indent=2) + "\n")
        return
    table = Table("", "what", "found", "by", box=None)
    for finding in findings:
        colour = "green" if finding.ok else "red"
        found = Text(finding.found)
        if finding.advice:
            found.append(f"\n→ {finding.advice}", "bold")
        table.add_row(Text(colour, colour), Text(finding.topic), found, Text(finding.source, "dim"))
    # mpirun gives a terminal as stdout even where its own output goes to a file, but not as stdin.
    console = Console(file=sys.stdout, force_terminal=None if sys.stdin.isatty() else False)
    if not console.is_terminal:
        console.width = 10_000  # lines are not broken for programs
    console.print(table)
