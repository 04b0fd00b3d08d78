"""What a person can ask of `shardtune doctor`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DoctorConfig:
    """Say what is installed, whether it works together, and what to do where it does not.
    Under a launcher (mpirun -n 2 shardtune doctor), also whether the ranks reach each other, and how fast."""

    directory: Path = Path()
    """Directory whose disk is tried: where the data set lies or will lie."""
    json: bool = False
    """Print one JSON object, for programs, in place of the table."""
