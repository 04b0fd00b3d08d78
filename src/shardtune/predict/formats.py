"""How predictions are written."""

import json
import os
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from shardtune.evaluate.predictions import csv_row
from shardtune.predict.config import Format
from shardtune.runtime.launcher import detect_launcher
from shardtune.runtime.progress import escape_line


class Prediction(NamedTuple):
    """What the network says of an image.

    Attributes:
        file: as `Picture.file`.
        error: why there is no prediction; else "".
        top: the most probable classes, in their order.
        probabilities: of these.
    """

    file: str
    error: str
    top: Sequence[int] = ()
    probabilities: Sequence[float] = ()


def choose_format(asked: Format | None, to_file: bool) -> Format:
    """The format that --format asks for; without it a table if a person reads it, else CSV."""
    # Under mpirun stdout is a terminal even where mpirun's own output goes to a file.
    is_read = not to_file and detect_launcher(os.environ) is None and sys.stdout.isatty()
    return asked or ("table" if is_read else "csv")


class Formatter:
    """Turns predictions into lines.

    Args:
        class_names: by label, that of the background class included.
        top_k: classes of each prediction.
    """

    def __init__(self, chosen: Format, class_names: Sequence[str], top_k: int) -> None:
        self._format, self._names, self._top_k = chosen, class_names, min(top_k, len(class_names))

    def header(self) -> bytes:
        """What comes before the first prediction."""
        ranked = [f"{name}_{rank}" for rank in range(1, self._top_k + 1) for name in ("label", "class", "probability")]
        return csv_row(["file", "error", *ranked]) if self._format == "csv" else b""

    def rows(self, prediction: Prediction) -> bytes:
        """The lines of a prediction.

        csv: file, error, then label_i, class_i and probability_i of the classes of rank i = 1 … k; empty after an error.
        Text is in quotes, and a name has the bytes that it has in the file system. jsonl: an object with file, error (null if
        there is none) and predictions (label, class and probability of each). Bytes of a name that are not UTF-8 are \\udc80 to
        \\udcff, as os.fsencode of Python takes them. table: the file in a line, and below it its classes or the error; control
        characters are escaped, because a terminal would obey them.
        """
        ranked = [
            (label, self._names[label], value) for label, value in zip(prediction.top, prediction.probabilities, strict=True)
        ]
        if self._format == "csv":
            row = csv_row([prediction.file, prediction.error, *(value for each in ranked for value in each)])
            return row if ranked else row[:-1] + b"," * (3 * self._top_k) + row[-1:]
        if self._format == "jsonl":
            classes = [dict(zip(("label", "class", "probability"), each, strict=True)) for each in ranked]
            value = {"file": prediction.file, "error": prediction.error or None, "predictions": classes}
            # Terminals obey these characters, which JSON leaves as they are.
            text = re.sub(r"[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
            return f"{text}\n".encode("utf-8", "backslashreplace")
        lines = [prediction.file, *(f"  {value:.4f}  {name}" for _, name, value in ranked)]
        lines += [f"  {prediction.error}"] if prediction.error else []
        text = "".join(f"{escape_line(line)}\n" for line in lines)
        return text.encode(sys.stdout.encoding, "backslashreplace")
