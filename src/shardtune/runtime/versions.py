"""Versions of what is installed."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("shardtune", "tensorflow", "tensorflow-cpu", "keras", "horovod", "mpi4py", "numpy", "pillow")


def package_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The versions of Python and of these packages, without importing them; "missing" for those that are not installed."""
    return {"Python": platform.python_version(), **{package: _version(package) for package in packages}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
