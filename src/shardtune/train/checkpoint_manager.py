"""Which checkpoints of a run there are: when one is written, by a thread beside the training, which stay, which is resumed."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file
from shardtune.model.checkpoint_file import Tensors
from shardtune.runtime.files import write_json

BEST_NAME = "best.json"


@dataclass
class ValidationHistory:
    """The validations of a run so far, oldest first, each {"step", "precision_at_1"}; kept in every checkpoint."""

    validations: list[dict[str, float]] = field(default_factory=list)

    def add(self, step: int, precision_at_1: float) -> None:
        self.validations.append({"step": step, "precision_at_1": precision_at_1})

    @property
    def best(self) -> dict[str, float] | None:
        """The first one with the highest precision."""
        return max(self.validations, key=lambda validation: validation["precision_at_1"], default=None)

    @property
    def validations_since_best(self) -> int:
        """How many validations came after the best one."""
        return 0 if self.best is None else len(self.validations) - 1 - self.validations.index(self.best)


class CheckpointManager:
    """Writes checkpoints of the run in `directory` on a thread of its own. For rank 0.

    Args:
        keep: how many of the newest stay; the best by validation stays too.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory, self._keep = directory, keep
        self._writing: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.saved_at = time.monotonic()
        (directory / "checkpoints").mkdir(exist_ok=True)

    def save(self, step: int, tensors: Tensors, history: ValidationHistory) -> None:
        """Begin to write a checkpoint; the tensors are the keeper's from now on. Waits for the one before it first.

        Raises:
            OSError: the one before could not be written.
        """
        self.wait()
        self.saved_at = time.monotonic()
        metadata = {"step": step, "validations": list(history.validations)}
        self._writing = threading.Thread(target=self._write, args=(step, tensors, metadata, history.best), name="checkpoint")
        self._writing.start()

    def wait(self) -> None:
        """Return when all that was given is durable; raises as `save`."""
        if self._writing:
            self._writing.join()
            self._writing = None
        if self._failure:
            failure, self._failure = self._failure, None
            raise failure

    def _write(self, step: int, tensors: Tensors, metadata: dict[str, Any], best: dict[str, float] | None) -> None:
        try:
            checkpoint_file.save(self._directory, step, tensors, metadata)
            if best:
                write_json(self._directory / "checkpoints" / BEST_NAME, best)
            found = checkpoint_file.list_checkpoints(self._directory)
            for old, path in found[: -self._keep]:
                if not best or old != best["step"]:
                    path.unlink()
        except BaseException as error:
            self._failure = error


def resume(directory: Path, tell: Callable[[str], None]) -> tuple[int, Tensors, ValidationHistory, Path] | None:
    """The newest checkpoint that is as it was written: its step, tensors, history and path; None where there is none yet.

    Damaged ones after it are told of and set aside.

    Raises:
        CheckpointError: all are damaged.
    """
    found = checkpoint_file.list_checkpoints(directory)
    for place in reversed(range(len(found))):
        step, path = found[place]
        try:
            tensors, metadata = checkpoint_file.load_with_metadata(path)
        except CheckpointError:
            continue
        for _, damaged in found[place + 1 :]:
            tell(f"{damaged} is damaged: it is renamed to {damaged.name}.damaged, and the run goes on from the one before.")
            damaged.replace(damaged.with_name(f"{damaged.name}.damaged"))
        return step, tensors, ValidationHistory(metadata.get("validations", [])), path
    if found:
        raise CheckpointError(
            f"A run goes on from its newest checkpoint, but all {len(found)} in {directory / 'checkpoints'} are damaged: give "
            f"another --train_dir to begin anew."
        )
    return None
