"""Two hosts on this machine: network namespaces joined by a cable, each with its own name, /etc/hosts and sshd.

What they do not have is file systems of their own: paths, this Python among them, are the same on both, as on a cluster
with a shared file system.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.launching import ENVIRONMENT, finish, start

ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2"}  # nobody else sees them
NAMED = 'hostname "$0" && exec "$@"'  # in a new UTS namespace
SECONDS_TO_START = 120  # a hang ends there
SSHD = """\
ListenAddress {address}
HostKey {folder}/key
AuthorizedKeysFile {folder}/key.pub
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
"""
SSH = """\
IdentityFile {folder}/key
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""


@dataclass(frozen=True)
class Hosts:
    """Hosts a and b, which reach each other by these names, by ssh too, over their eth0."""

    prefix: str

    def command(self, host: str, *command: object) -> list[str]:
        """`command` as it is run on a host, where `ip netns exec` binds what lies in /etc/netns over /etc."""
        return ["ip", "netns", "exec", self.prefix + host, "unshare", "--uts", "sh", "-c", NAMED, host, *map(str, command)]

    def run(
        self, host: str, *command: object, environment: Mapping[str, str] = {}, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run on a host, with stdout and stderr together; past the limit it is killed and the test fails."""
        return finish(start(self.command(host, *command), environment=environment), timeout)

    @contextmanager
    def cut(self, host: str) -> Iterator[None]:
        """Cut a host's cable, and mend it at the end of the block."""
        cable = ("-netns", self.prefix + host, "link", "set", "eth0")
        _ip(*cable, "down")
        try:
            yield
        finally:
            _ip(*cable, "up")


def why_not() -> str | None:
    """Why this machine cannot have two hosts, or None."""
    if os.geteuid():
        return "network namespaces need root"
    missing = [name for name in ("ip", "unshare", "ssh", "ssh-keygen", "sshd") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian: iproute2, util-linux, openssh-client, openssh-server)"
    probe = subprocess.run(["unshare", "--net", "--uts", "true"], capture_output=True, text=True, check=False)
    return f"no namespaces here: {probe.stderr.strip()}" if probe.returncode else None


@contextmanager
def connected(folder: Path) -> Iterator[Hosts]:
    """Set two hosts up, with keys and configurations in an empty folder; tear them down with all that runs on them."""
    hosts = Hosts(f"shardtune{os.getpid()}")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    servers = []
    try:
        _join(hosts, folder)
        for host, address in ADDRESSES.items():
            servers.append(_serve(hosts, host, address, folder))
            _wait_for(hosts, host)
        yield hosts
    finally:
        for host in ADDRESSES:
            _remove(hosts.prefix + host)
        for server in servers:
            server.wait()


def _join(hosts: Hosts, folder: Path) -> None:
    lines = ["127.0.0.1 localhost", *(f"{address} {host}" for host, address in ADDRESSES.items())]
    for host in ADDRESSES:
        _ip("netns", "add", hosts.prefix + host)
        etc = Path("/etc/netns") / (hosts.prefix + host)
        (etc / "ssh").mkdir(parents=True)
        (etc / "hosts").write_text("\n".join(lines) + "\n")
        (etc / "ssh" / "ssh_config").write_text(SSH.format(folder=folder))
    # Both ends are eth0, since launchers take one name for all hosts.
    _ip("link", "add", "eth0", "netns", f"{hosts.prefix}a", "type", "veth", "peer", "eth0", "netns", f"{hosts.prefix}b")
    for host, address in ADDRESSES.items():
        _ip("-netns", hosts.prefix + host, "address", "add", f"{address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-netns", hosts.prefix + host, "link", "set", link, "up")


def _serve(hosts: Hosts, host: str, address: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start an sshd, which says what goes wrong in the folder."""
    Path("/run/sshd").mkdir(exist_ok=True)  # without it, sshd does not start
    configuration = folder / f"sshd_config.{host}"
    configuration.write_text(SSHD.format(address=address, folder=folder))
    command = hosts.command(host, shutil.which("sshd"), "-D", "-e", "-f", configuration)
    with (folder / f"sshd.{host}.log").open("w") as log:
        return subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _wait_for(hosts: Hosts, host: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while (tried := hosts.run(host, "ssh", host, "hostname")).stdout != f"{host}\n":
        if time.monotonic() > deadline:
            raise AssertionError(f"ssh to {host} does not work: {tried.stdout}")
        time.sleep(0.1)


def _remove(namespace: str) -> None:
    pids = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False).stdout
    for pid in pids.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)
    shutil.rmtree(Path("/etc/netns") / namespace, ignore_errors=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
