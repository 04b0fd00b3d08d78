"""What a file of the check holds, as Markdown for docs/performance.md."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

GIB = 1 << 30
MISSING = "–"
UNITS = {"images_per_second": 1.0, "peak_memory_bytes": 1.0 / GIB}

Results = dict[str, Any]  # of the parts, by their names


def render(report: Mapping[str, Any]) -> str:
    """The tables of what there is, and a list of the parts that are not ok."""
    results = {name: entry["result"] for name, entry in report["parts"].items() if entry["result"]}
    parts = [
        _machine(results.get("environment", {})),
        _rates("images/s", "images_per_second", results),
        _rates("GiB at most", "peak_memory_bytes", results),
        _workers(report),
        _outputs(results.get("outputs")),
        _rest(results),
        _troubles(report["parts"]),
    ]
    return "\n".join(part for part in parts if part)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(heads), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _machine(found: Mapping[str, Any]) -> str:
    build = found.get("tensorflow_build", {})
    gpus = ", ".join(found.get("nvidia_smi", [])) or f"no GPU, {found.get('cores', '?')} cores"
    versions = [f"TensorFlow {found.get('tensorflow', '?')}"]
    versions += [f"{name} {build[key]}" for name, key in (("CUDA", "cuda_version"), ("cuDNN", "cudnn_version")) if key in build]
    return f"{gpus}; {', '.join(versions)}; {'NCCL' if found.get('nccl') else 'no NCCL'}.\n"


def _rates(what: str, key: str, results: Results) -> str:
    """A row for each way to compile and precision, a column for each batch size."""
    rates = {name.removeprefix("rates "): found["batch_sizes"] for name, found in results.items() if name.startswith("rates ")}
    sizes = sorted({size for row in rates.values() for size in row}, key=int)
    rows = ([re.sub("^[^,]+", r"`\g<0>`", name), *(_cell(row.get(size), key) for size in sizes)] for name, row in rates.items())
    return _table([f"{what}, one GPU or all cores", *sizes], rows) if rates else ""


def _cell(measured: Mapping[str, Any] | None, key: str) -> str:
    if measured is None:
        return MISSING
    return f"{measured[key] * UNITS[key]:,.1f}" if key in measured else str(measured["error"])


def efficiency(report: Mapping[str, Any]) -> dict[str, float]:
    """By the number of workers: their rate, divided by as many times that of one worker; empty where that is not known."""
    rates = _worker_rates(report)
    return {str(count): round(rate / count / rates[1], 3) for count, rate in rates.items()} if 1 in rates else {}


def _worker_rates(report: Mapping[str, Any]) -> dict[int, float]:
    results = [entry["result"] for name, entry in report["parts"].items() if name.startswith("workers ") and entry["result"]]
    return {result["workers"]: result["images_per_second"] for result in results}


def _workers(report: Mapping[str, Any]) -> str:
    rates, shares = _worker_rates(report), efficiency(report)
    rows = [
        [str(count), f"{rate:,.1f}", f"{shares[str(count)]:.2f}" if shares else MISSING]
        for count, rate in sorted(rates.items())
    ]
    return _table(["workers", "images/s", "efficiency"], rows) if rows else ""


def _outputs(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    compared = {f"`{precision}`": figures for precision, figures in found["beside_cores"].items()}
    if "beside_2016" in found:
        compared["`float32`, beside the graph of 2016"] = found["beside_2016"]
    rows = (
        [name, f"{each['difference']:.2g}", f"{each['relative']:.2g}", f"{each['same_top_class']:.0%}"]
        for name, each in compared.items()
    )
    what = f"logits beside those of the cores in `float32`, weights {found['weights']}"
    return _table([what, "largest difference", "relative", "same class"], rows)


def _rest(results: Results) -> str:
    rows = []
    if same := results.get("determinism"):
        rows.append(["two runs with `--deterministic`", _equal(same["two_runs_are_equal"])])
        rows.append([f"one killed after step {same['killed_after_step']} and resumed", _equal(same["resumed_run_is_equal"])])
    for name, found in results.items():
        if name.startswith("largest batch "):
            limit = f", {found['too_large']}: {found['error']}" if "error" in found else ""
            rows.append([re.sub(r"(--\S+ \S+)", r"`\1`", name), f"{found['largest']}{limit}"])
    if real := results.get("real data"):
        synthetic = results.get(f"rates --jit none --precision {real['precision']}", {}).get("batch_sizes", {})
        beside = _cell(synthetic.get(str(real["batch_size"])), "images_per_second")
        what = f"{real['batch_size']} {real['photographs']} photographs a batch, `{real['precision']}`"
        rate = f"{real['images_per_second']:,.1f} images/s (synthetic {beside}), {real['input_share']:.0%} waiting for input"
        rows.append([what, rate])
    return _table(["", ""], rows) if rows else ""


def _equal(is_equal: bool) -> str:
    return "equal SHA-256" if is_equal else "different bits"


def _troubles(parts: Mapping[str, Mapping[str, Any]]) -> str:
    return "".join(f"- {name}: {entry['status']}\n" for name, entry in parts.items() if entry["status"] != "ok")
