"""The model card: README.md of an export, and of a run that has been evaluated, made from the run alone.

Its parts are those of the template of Hugging Face's hub (huggingface_hub/templates/modelcard_template.md).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from shardtune.evaluate.statistics import wilson_interval
from shardtune.export import usage
from shardtune.export.facts import Comparison, ModelFacts

CARD_NAME = "README.md"
CLASSES_LISTED = 100
MARK = "<!-- Made by shardtune, which may write it again: remove this line before you edit. -->"
PREPROCESSING = (
    "The central 87.5 % of height and width (int(0.0625 × side) pixels are cut off each edge), resized bilinearly without "
    "antialiasing to image_size × image_size, RGB, divided by 127.5, minus 1."
)
_PROCEDURE = {  # flags of `train` that the card tells, if they are set
    "max_steps": "steps",
    "epochs": "epochs",
    "optimizer": "optimizer",
    "initial_learning_rate": "learning rate of one worker",
    "lr_scaling": "scaling of the learning rate by workers",
    "learning_rate_decay": "decay of the learning rate",
    "weight_decay": "weight decay",
    "augment": "augmentation",
    "precision": "precision",
    "batch_norm": "batch normalisation",
    "freeze_until": "frozen up to block",
    "freeze_trunk": "only the final layers were trained",
    "seed": "seed",
}


def render(trained: ModelFacts, checks: Mapping[str, Comparison]) -> str:
    """The whole card as Markdown.

    Args:
        trained: with its evaluation where there are no checks.
        checks: of the files of an export, by name; empty for the card of the run itself.
    """
    name = trained.name
    result, how = _result(trained, list(checks.values()))
    parts = [
        _head(name, trained, result),
        MARK,
        f"# {_escape(name)}",
        f"Sorts photographs into {len(trained.manifest.labels)} classes with Inception v3.",
        "## Model details",
        _details(trained, "model.json" if checks else "config.json and eval.json"),
        "## Uses",
        "For pictures like those that it was trained on, and for these classes alone: it always names one of them, also for a "
        "picture of none. Before probabilities decide anything that matters, look at how well they are calibrated: `shardtune "
        "eval` measures it. Do not use it to decide about people.",
        "## How to run it",
        usage.render(list(checks), trained.image_size) if checks else usage.of_a_run(trained.step, averaged=trained.averaged),
        "## Training data",
        _data(trained),
        "## Training procedure",
        _procedure(trained),
        "## Evaluation",
        how,
        *([_checks(checks, trained)] if checks else []),
        "## Limits",
        "\n".join([_limits(trained), *([_limits_of_files(trained)] if checks else [])]),
    ]
    return "\n\n".join(parts) + "\n"


def _result(trained: ModelFacts, checks: Sequence[Comparison]) -> tuple[float, str]:
    """Precision@1 of the head, and a paragraph about it: from eval.json, else from what the check of the export counted."""
    if trained.evaluation:
        examples, hits = int(trained.evaluation["examples"]), int(trained.evaluation["top_1"])
        source = f"`shardtune eval` counted on the {trained.evaluation['subset']} split. The background class competes there."
    else:
        examples, hits = checks[0].examples, round(checks[0].precision_at_1_before * checks[0].examples)
        source = f"The check of this export counted on the first images of the {trained.check_split} split."
    low, high = wilson_interval(hits, examples)
    interval = f"95 % interval {low:.4f} to {high:.4f} (Wilson)"
    if trained.is_best and not (trained.evaluation and trained.evaluation["subset"] == "test"):
        source += " The checkpoint was chosen by its precision on the validation split, so a figure on that split flatters."
    return hits / examples, f"precision@1 = **{hits / examples:.4f}** on {examples} images, {interval}. {source}"


def _head(name: str, trained: ModelFacts, precision: float) -> str:
    data_set = trained.data_name
    split = trained.evaluation["subset"] if trained.evaluation else trained.check_split
    return "\n".join(
        [
            "---",
            "pipeline_tag: image-classification",
            "tags: [image-classification, inception-v3, shardtune]",
            "metrics: [accuracy]",
            "model-index:",
            f"- name: {_yaml(name)}",
            "  results:",
            "  - task: {type: image-classification}",
            f"    dataset: {{name: {_yaml(data_set)}, type: {_yaml(data_set)}, split: {_yaml(split)}}}",
            "    metrics:",
            f"    - {{type: accuracy, name: precision@1, value: {precision}}}",
            "---",
        ]
    )


def _details(trained: ModelFacts, source: str) -> str:
    weights = "averaged weights" if trained.averaged else "weights of the last step"
    first = "The first output is the background class, which no training image has." if trained.background else (
        "The background class 0 of the network is left out: probabilities are those of the other classes, given that it is "
        "not the background, and sum to 1."
    )  # fmt: skip
    listed = [_escape(label) for label in trained.classes[:CLASSES_LISTED]]
    more = len(trained.classes) - len(listed)
    return "\n".join(
        [
            f"- Network: Inception v3 (Szegedy et al. 2015, arXiv:1512.00567), images of {trained.image_size} × "
            f"{trained.image_size} pixels, {weights} after step {trained.step}, without the auxiliary head",
            f"- Outputs: {first}",
            f"- Classes, in the order of the outputs: {', '.join(listed)}" + (f" and {more} more" if more else ""),
            f"- Preprocessing: {PREPROCESSING}",
            f"- Where it comes from, with digests of checkpoint, configuration and data set: {source}",
        ]
    )


def _data(trained: ModelFacts) -> str:
    manifest = trained.manifest
    counts = manifest.class_counts["train"]
    return (
        f"{manifest.examples('train')} images of {len(counts)} classes, {min(counts)} to {max(counts)} a class; "
        f"{manifest.examples('validation')} others for validation. Data set {_escape(trained.data_name)}, "
        f"SHA-256 of its manifest {manifest.sha256}."
    )


def _procedure(trained: ModelFacts) -> str:
    run, flags = trained.config, trained.config["config"]
    start = flags.get("pretrained_model_checkpoint_path")
    rows = [
        f"- started from {'random weights' if start is None else _escape(Path(start).name)}",
        f"- {run['workers']} worker(s), global batch {run.get('global_batch', 'unknown')}",
        *(
            f"- {text}: {_escape(str(flags[name]))}"
            for name, text in _PROCEDURE.items()
            if flags.get(name) not in (None, False)
        ),
    ]
    return "\n".join(rows)


def _checks(checks: Mapping[str, Comparison], trained: ModelFacts) -> str:
    some = next(iter(checks.values()))
    rows = [
        f"| {name} | {check.largest_difference:.2g} | {check.bound:g} | {check.precision_at_1_after:.4f} |"
        for name, check in checks.items()
    ]
    return "\n".join(
        [
            f"Each file was loaded by another process and compared with the checkpoint on the first {some.examples} images of "
            f"the {trained.check_split} split. Among the classes that are given out, the checkpoint has precision@1 = "
            f"{some.precision_at_1_before:.4f}.",
            "",
            "| file | largest difference of a probability | bound | precision@1 |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def _limits(trained: ModelFacts) -> str:
    lines = [
        f"- The numbers above are for images like those of {_escape(trained.data_name)}.",
        "- Nothing was measured about fairness between groups of people, or against images made to deceive.",
    ]
    return "\n".join(lines)


def _limits_of_files(trained: ModelFacts) -> str:
    """What the files of an export leave to those who run them."""
    background = "- Where the background class wins, `shardtune eval` counts a mistake; this export names the best other class."
    side, exif = trained.conversion.get("max_side"), trained.conversion.get("exif")
    small = f"- Training images were scaled down to at most {side} pixels a side (by Pillow, Lanczos): do so first."
    turned = "- Training images were not turned upright: leave out what the programs above do about EXIF."
    lines = [
        *([] if trained.background else [background]),
        *([small] if side else []),
        *([turned] if exif == "keep" else []),
        *usage.LIMITS,
    ]
    return "\n".join(lines)


def _yaml(text: str) -> str:
    """In double quotes. JSON would do but for characters that it writes as two, which YAML takes for two."""
    shown = (char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text)
    return f'"{"".join(shown)}"'


def _escape(text: str) -> str:
    """Text that Markdown and HTML show as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#|&~])", r"\\\1", " ".join(text.split()))
