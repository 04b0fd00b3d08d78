"""The flags of `shardtune verify` and `shardtune inspect`."""

from dataclasses import dataclass
from pathlib import Path

from shardtune.config import check_flag, check_types


@dataclass(frozen=True)
class VerifyConfig:
    """Find every bit of a data set that has changed since it was built. Runs on any number of MPI ranks."""

    data_dir: Path
    """Data directory to check."""
    hang_timeout: float = 600.0
    """Seconds without progress after which the job ends and reports which rank is late."""

    def __post_init__(self) -> None:
        check_types(self)
        check_flag(self.hang_timeout > 0, "hang_timeout must be above 0", self.hang_timeout)


@dataclass(frozen=True)
class InspectConfig:
    """Show what is in a data set: counts, classes, sizes, how it was made, and examples of each class as a picture."""

    data_dir: Path
    """Data directory to look at."""
    output: Path = Path("contact.png")
    """File for the picture (PNG): the first 8 training examples of each of the first 50 classes."""
    augmented: bool = False
    """Show instead 8 training examples as the network sees them: several times under each --augment of train."""
    hang_timeout: float = 600.0
    """Seconds without progress after which the job ends and reports which rank is late."""

    def __post_init__(self) -> None:
        check_types(self)
        check_flag(self.hang_timeout > 0, "hang_timeout must be above 0", self.hang_timeout)
