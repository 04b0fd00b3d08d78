"""The flags of `shardtune doctor`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DoctorConfig:
    """Check what is installed and whether it works together, and say how to repair it.
    Under a launcher (mpirun -n 2 shardtune doctor), also check whether the ranks reach each other, and how fast."""

    directory: Path = Path()
    """Directory whose disk is measured: the one of the data set."""
    json: bool = False
    """Print one JSON object, for programs, instead of the table."""
