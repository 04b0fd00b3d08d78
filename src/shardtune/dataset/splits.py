"""The splits of a data set. A module of its own, because the flags of commands need them and nothing else of a data set."""

from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
