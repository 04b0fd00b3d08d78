"""Files and folders among the images that are none: what systems and file managers leave, and what a person names."""

import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import translate

# Names that are matched in any case. Whatever is hidden comes first.
JUNK = (
    *(".*", "Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"),
    *("Icon\r", "__MACOSX", "lost+found", "@eaDir"),
)


class Ignored:
    """Which files and folders are left out, and how many were.

    Args:
        patterns: beside `JUNK`, shell patterns of paths from the split's directory, or of their last parts.

    Attributes:
        counts: of what was left out, by pattern; a folder counts once, whatever it holds.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self.counts = Counter[str]()
        names = [(pattern, f"(?i:{translate(pattern)})") for pattern in JUNK]
        names += [(pattern, translate(pattern)) for pattern in patterns]
        self._names = [(pattern, re.compile(form)) for pattern, form in names]
        # One look at most names: there may be a million of them.
        self._any_name = re.compile("|".join(form for _, form in names))
        self._paths = [(pattern, re.compile(translate(pattern))) for pattern in patterns]

    def covers(self, path: str) -> bool:
        """Whether to leave out `path`, which is relative to the split's directory; if so, it is counted."""
        name = path.rpartition("/")[2]
        hits = [pattern for pattern, form in self._paths if form.match(path)]
        if self._any_name.match(name):
            hits += [pattern for pattern, form in self._names if form.match(name)]
        self.counts.update(hits[:1])
        return bool(hits)
