"""Files and folders that are left out: those of operating systems and file managers, and those that --ignore names."""

import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import translate

# Names that are matched in any case. The first pattern is every hidden file.
JUNK = (
    *(".*", "Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"),
    *("Icon\r", "__MACOSX", "lost+found", "@eaDir"),
)


class Ignored:
    """Decides which files and folders are left out, and counts them.

    Args:
        patterns: in addition to `JUNK`, shell patterns of paths relative to the split's directory, or of their last parts.

    Attributes:
        counts: how many were left out, by pattern; a folder counts once, whatever it holds.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self.counts = Counter[str]()
        names = [(pattern, f"(?i:{translate(pattern)})") for pattern in JUNK]
        names += [(pattern, translate(pattern)) for pattern in patterns]
        self._names = [(pattern, re.compile(regex)) for pattern, regex in names]
        # Most of a million names match nothing, which this one search finds.
        self._any_name = re.compile("|".join(regex for _, regex in names))
        self._paths = [(pattern, re.compile(translate(pattern))) for pattern in patterns]

    def covers(self, path: str) -> bool:
        """Whether to leave out `path`, which is relative to the split's directory. If so, it is counted."""
        name = path.rpartition("/")[2]
        matches = [pattern for pattern, regex in self._paths if regex.match(path)]
        if self._any_name.match(name):
            matches += [pattern for pattern, regex in self._names if regex.match(name)]
        self.counts.update(matches[:1])
        return bool(matches)
