"""Which tests one process of pytest-xdist runs."""

from pathlib import PurePosixPath

from xdist.scheduler import LoadFileScheduling

TOGETHER = ("tests/export", "tests/model")  # making what their files share takes a minute


class FileScheduling(LoadFileScheduling):
    """Those of a file, or of a folder of `TOGETHER`: the process makes their session fixtures, and no other does too."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        folder = str(PurePosixPath(file).parent)
        return folder if folder in TOGETHER else file
