"""The job for the Kubeflow MPI Operator: its fields, and its two commands on two hosts of this machine."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.distributed.training import command, outcome
from tests.launch.hosts import Hosts
from tests.launching import ENVIRONMENT, finish, start

ROOT = Path(__file__).parents[2]
JOB = ROOT / "launch" / "kubernetes" / "mpijob.yaml"
IMAGE_ROOT = "/opt/shardtune"  # where the repository lies in the images
TEXT, NUMBER, TRUTH = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}


def fields(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


def items(one: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": one}


def one_of(*words: str) -> dict[str, Any]:
    return {"enum": [*words]}


# The fields that the job uses, as manifests/base/kubeflow.org_mpijobs.yaml of kubeflow/mpi-operator has them (at caa3c47); the
# job was checked against the whole of that once. Kubernetes drops fields that it does not know: here they are errors.
CONTAINER = fields(
    "name",
    "image",
    name=TEXT,
    image=TEXT,
    command=items(TEXT),
    args=items(TEXT),
    readinessProbe=fields(tcpSocket=fields("port", port=NUMBER)),
    volumeMounts=items(fields("name", "mountPath", name=TEXT, mountPath=TEXT)),
    resources=fields(limits={"type": "object", "additionalProperties": {"type": ["string", "integer"]}}),
)
POD = fields(
    "containers",
    containers=items(CONTAINER),
    dnsConfig=fields(searches=items(TEXT)),
    terminationGracePeriodSeconds=NUMBER,
    securityContext=fields(runAsNonRoot=TRUTH, runAsUser=NUMBER, runAsGroup=NUMBER, fsGroup=NUMBER),
    volumes=items(
        fields("name", name=TEXT, persistentVolumeClaim=fields("claimName", claimName=TEXT), emptyDir=fields(medium=TEXT))
    ),
)
REPLICAS = fields(
    "replicas",
    "template",
    replicas=NUMBER,
    restartPolicy=one_of("Always", "OnFailure", "Never", "ExitCode"),
    template=fields("spec", spec=POD),
)
SCHEMA = fields(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion=one_of("kubeflow.org/v2beta1"),
    kind=one_of("MPIJob"),
    metadata=fields("name", name=TEXT, namespace=TEXT),
    spec=fields(
        "mpiReplicaSpecs",
        slotsPerWorker=NUMBER,
        sshAuthMountPath=TEXT,
        launcherCreationPolicy=one_of("AtStartup", "WaitForWorkersReady"),
        runPolicy=fields(cleanPodPolicy=one_of("None", "Running", "All"), backoffLimit=NUMBER),
        mpiReplicaSpecs=fields("Launcher", "Worker", Launcher=REPLICAS, Worker=REPLICAS),
    ),
)


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    job = yaml.safe_load(JOB.read_text())
    jsonschema.validate(job, SCHEMA)
    return dict(job["spec"])


def pod(spec: dict[str, Any], replica: str) -> dict[str, Any]:
    return dict(spec["mpiReplicaSpecs"][replica]["template"]["spec"])


def container(spec: dict[str, Any], replica: str) -> dict[str, Any]:
    (only,) = pod(spec, replica)["containers"]
    return dict(only)


def settings(file: str) -> dict[str, str]:
    """What a configuration of ssh or sshd in the images sets."""
    text = (ROOT / "launch" / "containers" / file).read_text()
    return {line.split()[0]: line.split()[1] for line in text.splitlines() if not line.startswith("#")}


def test_its_parts_fit_each_other_and_the_image(spec: dict[str, Any]) -> None:
    assert spec["slotsPerWorker"] == container(spec, "Worker")["resources"]["limits"]["nvidia.com/gpu"]
    assert container(spec, "Worker")["readinessProbe"]["tcpSocket"]["port"] == int(settings("sshd.conf")["Port"])
    assert settings("ssh.conf")["Port"] == settings("sshd.conf")["Port"]
    assert settings("sshd.conf")["HostKey"] == f"{spec['sshAuthMountPath']}/id_rsa"
    for replica in ("Launcher", "Worker"):
        volumes = {volume["name"] for volume in pod(spec, replica)["volumes"]}
        assert volumes == {mount["name"] for mount in container(spec, replica)["volumeMounts"]}
        assert pod(spec, replica)["securityContext"]["runAsUser"] == 1000  # run.sh makes this user
    user = "useradd --uid 1000 --create-home --password '*' --shell /bin/bash shardtune"
    assert user in (ROOT / "launch" / "containers" / "run.sh").read_text()


@contextmanager
def worker(hosts: Hosts, spec: dict[str, Any], keys: Path) -> Iterator[None]:
    """The worker's command on host b, with the keys that the operator mounts."""
    words = [word.replace(IMAGE_ROOT, str(ROOT)) for word in container(spec, "Worker")["command"]]
    words += ["-o", f"HostKey={keys}/id_rsa", "-o", f"AuthorizedKeysFile={keys}/id_rsa.pub", "-o", "PermitRootLogin=yes"]
    with (keys / "log").open("w") as log:
        server = subprocess.Popen(
            hosts.command("b", *words),
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_its_commands_train_on_another_host(hosts: Hosts, spec: dict[str, Any], small_data: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-b", "521", "-m", "PEM", "-N", "", "-f", keys / "id_rsa"], check=True)
    (keys / "hostfile").write_text("b slots=2\n")
    launcher = container(spec, "Launcher")
    words = [*launcher["command"], *launcher["args"]]
    program = words.index(f"{IMAGE_ROOT}/.venv/bin/shardtune")
    run = tmp_path / "run"
    words = [*words[:program], *command(small_data, run, ranks=2)]  # the small network in place of Inception v3
    words = [str(shutil.which(word, path=ENVIRONMENT["PATH"])) if word in ("shardtune", "mpirun") else word for word in words]
    ssh = ROOT / "launch" / "containers" / "ssh.conf"
    operator = {
        "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
        "OMPI_MCA_orte_default_hostfile": str(keys / "hostfile"),
        "OMPI_MCA_plm_rsh_args": f"-o ConnectionAttempts=10 -F {ssh} -i {keys}/id_rsa",
        "OMPI_MCA_orte_set_default_slots": "2",
    }
    with worker(hosts, spec, keys):
        done = finish(start(hosts.command("a", *words), environment=operator), 240)
    assert done.returncode == 0, done.stdout + (keys / "log").read_text()
    assert "2 worker(s)" in done.stdout
    assert outcome(run)["outcome"] == "finished"
