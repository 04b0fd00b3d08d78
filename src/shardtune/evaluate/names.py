"""The files that examples come from."""

from typing import Any

from shardtune.dataset.example import decode_example, source_path
from shardtune.input.order import Indices
from shardtune.input.reader import RecordReader


class NamingReader(RecordReader):
    """A reader that remembers the file of each example it has read.

    Attributes:
        names: by the number of the example; whoever needs one takes it out.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.names: dict[int, str] = {}

    def read(self, indices: Indices) -> list[bytes]:
        records = super().read(indices)
        self.names.update(zip(indices.tolist(), map(source_name, records), strict=True))
        return records


def source_name(record: bytes) -> str:
    """The file of an example as its record has it, "" where it has none."""
    try:
        return source_path(decode_example(record)).replace("\0", "\\0")  # which Python 3.10 cannot read again from CSV
    except (ValueError, LookupError, AttributeError):  # another tool's, or damaged: then decoding it says so
        return ""
