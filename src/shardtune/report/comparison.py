"""What differs between runs."""

from collections.abc import Sequence
from typing import Any

from shardtune.report.run import Run

_NEVER_TOLD = {"train_dir"}  # it differs always, and names the run


def differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Name and values, by run, of whatever the runs were told or given that is not the same in all."""
    facts = [_facts(run) for run in runs]
    names = list(dict.fromkeys(name for each in facts for name in each))
    rows = [(name, [_text(each.get(name)) for each in facts]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _facts(run: Run) -> dict[str, Any]:
    versions = run.attempts[-1].versions if run.attempts else {}
    own = {
        "workers": run.config["workers"],
        "global batch": run.config.get("global_batch"),
        "data set (SHA-256)": str(run.config.get("data_sha256") or "–")[:12],
        "hosts": ", ".join(run.attempts[-1].hosts) if run.attempts else None,
        "starts": len(run.attempts),
    }
    flags = {f"--{name}": value for name, value in run.flags.items() if name not in _NEVER_TOLD}
    return {**flags, **own, **{f"version of {name}": version for name, version in versions.items() if version != "missing"}}


def _text(value: Any) -> str:
    return "–" if value is None else str(value)
