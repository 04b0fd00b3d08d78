"""The page: everything that the templates show, with the style and the script inside."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from shardtune import __version__
from shardtune.report import figures, scale
from shardtune.report.comparison import differences
from shardtune.report.curves import COLORS, Line, line_chart
from shardtune.report.data_set import DataSet
from shardtune.report.evaluation_view import view_evaluation
from shardtune.report.run import Run

CURVES = {  # keys of metrics.jsonl
    "loss": "Loss",
    "learning_rate": "Learning rate",
    "validation_precision_at_1": "Precision@1 in validation",
    "validation_recall_at_5": "Recall@5 in validation",
    "images_per_second": "Images per second",
    "gradient_norm": "Norm of the gradient",
}
MAX_PICTURES = 600  # of a page: at most 6 MB


def render(runs: Sequence[Run], data_sets: Sequence[DataSet | str], labels_name: str | None) -> str:
    """The whole page.

    Args:
        data_sets: that of each run, or why it is not there.
        labels_name: of the file beside the page that lists labels that are probably wrong.
    """
    names = [run.name for run in runs]
    style, script = _read("style.css"), _read("script.js")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("shardtune.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": scale.format_number, "bytes": scale.format_bytes, "seconds": scale.format_seconds}
    limit = MAX_PICTURES // len(runs)
    views = [view_evaluation(run, data_set, limit) for run, data_set in zip(runs, data_sets, strict=True)]
    context: dict[str, Any] = {
        "title": f"Report of {', '.join(names)}",
        "policy": _policy(style, script),
        "style": Markup(style),
        "script": Markup(script),
        "made": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
        "version": __version__,
        "runs": list(zip(runs, views, range(len(runs)), strict=True)),
        "colors": COLORS,
        "differences": differences(runs),
        "curves": [(name, line_chart(name, _lines(runs, key), is_share="validation" in key)) for key, name in CURVES.items()],
        "data_sets": _distinct(runs, data_sets),
        "labels_name": labels_name,
        "figures": figures,
    }
    return environment.get_template("page.html").render(context)


def _lines(runs: Sequence[Run], key: str) -> list[Line]:
    return [Line.of(run.name, number, run.metrics, key) for number, run in enumerate(runs)]


def _distinct(runs: Sequence[Run], data_sets: Sequence[DataSet | str]) -> list[tuple[DataSet | str, list[str]]]:
    """Each data set once, or why it is not there, with the names of its runs that were not trained on just this."""
    found: dict[int | str, tuple[DataSet | str, list[str]]] = {}
    for run, data_set in zip(runs, data_sets, strict=True):
        _, others = found.setdefault(data_set if isinstance(data_set, str) else id(data_set), (data_set, []))
        if isinstance(data_set, DataSet) and run.config.get("data_sha256") not in (None, data_set.manifest.sha256):
            others.append(run.name)
    return list(found.values())


def _policy(style: str, script: str) -> str:
    """The Content-Security-Policy that lets the page use its own style, script and pictures, and nothing else."""

    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    allowed = f"img-src data:; style-src {source(style)}; script-src {source(script)}"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _read(name: str) -> str:
    return (files("shardtune.report") / "templates" / name).read_text(encoding="utf-8")
