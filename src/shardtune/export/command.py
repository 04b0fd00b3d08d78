"""`shardtune export`: write a checkpoint of a run in several formats, check each, and describe them."""

from functools import partial
from pathlib import Path
from typing import Any

from shardtune.errors import DataError, UsageError
from shardtune.evaluate.exported import DESCRIPTION_NAME, VERSION, read_description
from shardtune.evaluate.result import MATRIX
from shardtune.export import card, formats, trained
from shardtune.export.check import Reference, compare
from shardtune.export.config import ExportConfig
from shardtune.export.facts import Comparison, ExportResult
from shardtune.export.functions import Functions
from shardtune.runtime.files import atomic_directory, write_json
from shardtune.runtime.frameworks import tf
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.versions import package_versions
from shardtune.runtime.world import World

LABELS_NAME = "labels.txt"
NOT_COPIED = {MATRIX, "provenance"}  # of eval.json: the one is long, the other has paths of this machine


def export(config: ExportConfig, world: World) -> ExportResult:
    """Export what `config` names; `output_directory` appears when all of it is written and checked. Only rank 0 works.

    Raises:
        DataError: `output_directory` holds something, or the data set of the run is not there.
        CheckpointError: there is no checkpoint, or one of other classes.
        ExportError: an export cannot be run, or does not compute what the checkpoint does.
        UsageError: this process has used a GPU already.
    """
    world.guard.set_timeout(config.hang_timeout)
    if world.size > 1:
        print_on_root(world, f"Exporting needs one process: rank 0 of {world.size} works, the others wait.")
    return world.broadcast_from_root(lambda: _export(config, world))


def _export(config: ExportConfig, world: World) -> ExportResult:
    output = config.output_directory.resolve()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if not config.overwrite:
            raise DataError(f"{output} exists already.", "Choose another --output_directory, or pass --overwrite.")
        if foreign := _find_foreign(output):
            raise DataError(f"{output} is no export that could be replaced: {foreign}.", "Choose another --output_directory.")
    if output.is_mount() or output == Path.cwd():
        raise DataError(f"{output} cannot be renamed to.", "Choose an --output_directory within it.")
    try:
        tf.config.set_visible_devices([], "GPU")  # cores compute the same everywhere, and need not be free of other jobs
    except RuntimeError as error:
        raise UsageError("Exports are made on cores, and this process has used a GPU.", "Export in another process.") from error
    heartbeat = partial(world.guard.heartbeat, "exporting")
    model = trained.load(config, world)
    functions = Functions(model)
    print_on_root(world, f"Exporting step {model.step} of {model.run} as {', '.join(config.format)}.")
    reference = Reference.of(model, functions, heartbeat)
    with atomic_directory(output, replace=config.overwrite) as folder:
        checks: dict[str, Comparison] = {}
        for kind in dict.fromkeys(config.format):
            formats.write(kind, model, functions, folder, heartbeat)
            for name, bound in formats.BOUNDS[kind].items():
                checks[name] = compare(folder / name, bound, model, reference, heartbeat)
                print_on_root(world, f"{name}: {checks[name]}.")
        (folder / LABELS_NAME).write_text("".join(f"{name}\n" for name in model.classes), encoding="utf-8")
        write_json(folder / DESCRIPTION_NAME, _describe(model, checks, folder))
        (folder / card.CARD_NAME).write_text(card.render(model, checks), encoding="utf-8")
    print_on_root(world, f"Exported to {output}; README.md there says how to run it.")
    return ExportResult(output, checks)


def _find_foreign(output: Path) -> str:
    """Why `output` is not what an export has left there, perhaps with evaluations of it; empty if it is."""
    path = output / DESCRIPTION_NAME
    description = read_description(path) if path.is_file() else None
    if description is None:
        return f"it has no {DESCRIPTION_NAME} of one"
    others = {each.name for each in output.iterdir()} - {
        *description["models"],
        DESCRIPTION_NAME,
        LABELS_NAME,
        card.CARD_NAME,
        "eval",
    }
    return f"it has {min(others)}, too" if others else ""


def _describe(model: trained.TrainedModel, checks: dict[str, Comparison], folder: Path) -> dict[str, Any]:
    """model.json: what the export is, where it comes from, and how it was checked."""
    return {
        "version": VERSION,
        "classes": model.classes,
        "labels": model.manifest.labels,
        "image_size": model.image_size,
        "preprocessing": card.PREPROCESSING,
        "models": {name: {"bytes": _bytes_of(folder / name), "check": check.to_json_dict()} for name, check in checks.items()},
        "check_split": model.check_split,
        "precision_at_1": model.evaluation["top_1"] / model.evaluation["examples"] if model.evaluation else None,
        "conversion": model.conversion,
        "evaluation": {name: value for name, value in model.evaluation.items() if name not in NOT_COPIED}
        if model.evaluation
        else None,
        "provenance": {
            "run": model.name,
            "step": model.step,
            "averaged": model.averaged,
            "checkpoint": model.checkpoint.name,
            **model.digests,
            "versions": {name: version for name, version in package_versions().items() if version != "missing"},
        },
    }


def _bytes_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
