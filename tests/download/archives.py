"""Small archives: honest ones, and those that no one should unpack."""

import io
import tarfile
from pathlib import Path
from typing import Any

from tests.pictures import plant


def packed(*members: tuple[str, Any], level: int = 9) -> bytes:
    """A .tar.gz of files (a name and bytes) and of other members (a name and attributes of a TarInfo).

    Args:
        level: of gzip; 0 compresses nothing.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=level) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                for attribute, value in content.items():
                    setattr(info, attribute, value)
                archive.addfile(info)
    return out.getvalue()


def of_photographs(folder: Path, per_class: int = 10) -> bytes:
    """In the layout of flower_photos.tgz, with its licence."""
    plant(folder, per_class=per_class)
    (folder / "LICENSE.txt").write_text("Of each photograph.")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.add(folder, "flower_photos")
    return out.getvalue()


def of_weights(shared_data: Path) -> bytes:
    """The release inception-v3-2016-03-01, whose weights are in the reference data, hardly compressed."""
    name = "model.ckpt-157585"
    checkpoint = (shared_data / "inception-v3-2016-03-01" / name).read_bytes()
    return packed((f"inception-v3/{name}", checkpoint), level=0)
