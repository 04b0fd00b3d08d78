"""README.md of a run that was evaluated: its model card."""

from shardtune.evaluate.result import Result
from shardtune.export import card
from shardtune.export.facts import ModelFacts
from shardtune.model.checkpoint_file import checkpoint_path
from shardtune.report.data_set import DataSet
from shardtune.report.run import Run
from shardtune.runtime.files import atomic_write, exists, sha256_file


def write_card(run: Run, result: Result, data_set: DataSet | str) -> str:
    """Write the card; returns a sentence that says where it is, or why there is none.

    Args:
        result: of an evaluation of the run.
        data_set: see `report.page.render`.
    """
    path = run.directory / card.CARD_NAME
    if isinstance(data_set, str) or (obstacle := _find_obstacle(run, result, data_set)):
        return f"No model card was written: {data_set if isinstance(data_set, str) else obstacle}"
    facts = ModelFacts(
        run=run.directory,
        config=run.config,
        step=result["step"],
        is_best=run.best.get("step") == result["step"],
        averaged=result["averaged"],
        image_size=result["image_size"],
        background=True,  # which competes in the evaluation
        data_dir=data_set.directory,
        manifest=data_set.manifest,
        evaluation=result,
    )
    with atomic_write(path) as file:
        file.write(card.render(facts, {}).encode(errors="replace"))
    return f"Its model card is {path}."


def _find_obstacle(run: Run, result: Result, data_set: DataSet) -> str:
    """Why a card would not be true, or not ours to write; empty if there is no reason."""
    path, checkpoint = run.directory / card.CARD_NAME, checkpoint_path(run.directory, result["step"])
    if not data_set.is_of(result) or data_set.manifest.sha256 != run.config.get("data_sha256"):
        return f"{data_set.directory} is not what the run was trained and evaluated on."
    if result["image_size"] != run.flags["image_size"]:
        return f"it was evaluated with images of {result['image_size']} pixels and trained with {run.flags['image_size']}."
    if not exists(checkpoint) or sha256_file(checkpoint) != result["provenance"].get("checkpoint_sha256"):
        return "the weights that were evaluated are not in it."
    if exists(path) and card.MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return f"{path} is there already, and not of shardtune."
    return ""
