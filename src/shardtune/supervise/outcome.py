"""What became of a run, by the `outcome.json` of its directory: launchers change exit statuses, and this file does not."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shardtune.errors import UsageError
from shardtune.runtime.outcome import read_outcome

# finished  all steps are done, perhaps by an earlier attempt
# stopped   on request, and the same command resumes
# failed    a rank met an error that would come again
# lost      a rank died or hung
# refused   the command ended before training began, and has said why
Result = Literal["finished", "stopped", "failed", "lost", "refused"]


@dataclass(frozen=True)
class Outcome:
    """The fields of outcome.json that a supervisor needs; None for each that is absent.

    Attributes:
        attempt: number of times that training has begun.
        outcome: "running", "finished", "stopped" or "failed".
        rank: the rank that failed.
        error: its error.
        host, pid: where rank 0 runs.
    """

    attempt: Any = None
    outcome: Any = None
    rank: Any = None
    error: Any = None
    host: Any = None
    pid: Any = None

    @property
    def process(self) -> tuple[str, int] | None:
        """Host and pid of rank 0, or None if the file does not name a process: they go into a command line."""
        if not isinstance(self.host, str) or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.host) is None:
            return None
        return (self.host, self.pid) if type(self.pid) is int and self.pid > 0 else None

    def has_begun_since(self, before: "Outcome") -> bool:
        """Whether training has begun after `before` was read."""
        return bool(self.attempt != before.attempt)

    def is_running_since(self, before: "Outcome") -> bool:
        return self.has_begun_since(before) and self.outcome == "running"


def load_outcome(train_dir: Path) -> Outcome:
    """Read outcome.json of a run directory; a file that is absent or damaged has no fields."""
    fields = read_outcome(train_dir)
    return Outcome(**{name: fields.get(name) for name in Outcome.__dataclass_fields__})


def classify(before: Outcome, after: Outcome, *, status: int, stop_requested: bool) -> Result:
    """What became of a run.

    Args:
        before, after: outcome.json before the launcher started and after it ended.
        status: the launcher's exit status.
        stop_requested: whether the supervisor was asked to stop the run.
    """
    if not after.has_begun_since(before):
        return "stopped" if stop_requested else "refused" if status else "finished"
    if after.outcome == "finished":
        return "finished"
    if stop_requested or after.outcome == "stopped":
        return "stopped"
    return "lost" if after.rank is None else "failed"


def find_train_dir(words: Sequence[str]) -> Path:
    """The value of --train_dir in a command line: the last one, as the command itself takes it.

    Raises:
        UsageError: there is none.
    """
    value = ""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flag, equals, rest = word.partition("=")
        if re.fullmatch("--?train[_-]dir", flag):
            value = rest if equals else following
    if not value:
        raise UsageError("The training command has no --train_dir.", "Name the directory of the run.")
    return Path(value)
