"""Write checkpoints on a background thread, delete old ones, load the newest valid one."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file
from shardtune.model.checkpoint_file import Tensors
from shardtune.runtime.files import write_json
from shardtune.train.progress import RunProgress
from shardtune.train.ranklog import RankLog


@dataclass(frozen=True)
class LoadedCheckpoint:
    """What a checkpoint contains, and its path."""

    progress: RunProgress
    tensors: Tensors
    path: Path


class NullCheckpointManager:
    """Saves nothing: for ranks other than 0."""

    @property
    def seconds_since_save(self) -> float:
        return 0.0

    def save(self, progress: RunProgress, snapshot: Callable[[], Tensors]) -> None:
        """Does nothing."""

    def wait(self) -> None:
        """Does nothing."""


class CheckpointManager:
    """Writes the checkpoints of the run in `directory` on a thread of its own. For rank 0.

    Args:
        keep: how many of the newest checkpoints stay; the best by validation stays too.
        log: where to write how long training waited for each.
    """

    def __init__(self, directory: Path, keep: int, log: RankLog) -> None:
        self._directory, self._keep, self._log = directory, keep, log
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._saved_at = time.monotonic()
        (directory / "checkpoints").mkdir(exist_ok=True)

    @property
    def seconds_since_save(self) -> float:
        """Seconds since the last call of `save`, or since the start."""
        return time.monotonic() - self._saved_at

    def save(self, progress: RunProgress, snapshot: Callable[[], Tensors]) -> None:
        """Begin to write a checkpoint; waits for the one before it first.

        Args:
            snapshot: returns the tensors to save, which nobody changes afterwards.

        Raises:
            OSError: the one before could not be written.
        """
        started = time.monotonic()
        tensors = snapshot()
        self.wait()
        self._saved_at = time.monotonic()
        self._thread = threading.Thread(target=self._write, args=(progress, tensors), name="checkpoint")
        self._thread.start()
        seconds = time.monotonic() - started
        self._log.write(f"step {progress.step}: training waited {seconds:.3f} s for a checkpoint")

    def wait(self) -> None:
        """Return when all checkpoints are durable; raises as `save`."""
        if self._thread:
            self._thread.join()
            self._thread = None
        if self._failure:
            failure, self._failure = self._failure, None
            raise failure

    def _write(self, progress: RunProgress, tensors: Tensors) -> None:
        try:
            checkpoint_file.save(self._directory, progress.step, tensors, progress.to_metadata())
            best = progress.best
            if best:
                write_json(checkpoint_file.best_path(self._directory), asdict(best))
            paths = dict(checkpoint_file.list_checkpoints(self._directory))
            for step in expired_steps(list(paths), self._keep, best.step if best else None):
                paths[step].unlink()
        except BaseException as error:
            self._failure = error


def expired_steps(steps: Sequence[int], keep: int, best_step: int | None) -> list[int]:
    """The checkpoints to delete, of those of `steps` in rising order: not the `keep` newest, nor that of `best_step`."""
    return [step for step in steps[:-keep] if step != best_step]


def load_latest_valid(directory: Path, report: Callable[[str], None]) -> LoadedCheckpoint | None:
    """Load the newest checkpoint that is as it was written; None where there is no checkpoint yet.

    Damaged newer ones are reported and renamed.

    Raises:
        CheckpointError: all are damaged, or one cannot be read, which may pass.
    """
    found = checkpoint_file.list_checkpoints(directory)
    damaged: list[Path] = []
    for step, path in reversed(found):
        content = checkpoint_file.read(path)
        try:
            tensors, metadata = checkpoint_file.parse(content, path)
        except CheckpointError:
            damaged.append(path)
            continue
        for bad in reversed(damaged):
            report(f"{bad} is damaged. It is renamed to {bad.name}.damaged, and the run resumes from the checkpoint before.")
            bad.replace(bad.with_name(f"{bad.name}.damaged"))
        return LoadedCheckpoint(RunProgress.from_metadata(step, metadata), tensors, path)
    if found:
        raise CheckpointError(
            f"All {len(found)} checkpoints in {directory / 'checkpoints'} are damaged.",
            "Choose another --train_dir to start a new run.",
        )
    return None
