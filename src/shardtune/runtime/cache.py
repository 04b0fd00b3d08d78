"""Where files are kept that can be made or downloaded again."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """`~/.cache/shardtune`, or below XDG_CACHE_HOME; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shardtune"
