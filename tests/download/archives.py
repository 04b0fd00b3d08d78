"""Small archives: honest ones, and those that no one should unpack."""

import io
import tarfile
from pathlib import Path
from typing import Any

from tests.pictures import plant


def packed(*members: tuple[str, Any]) -> bytes:
    """A .tar.gz of files (a name and bytes) and of other members (a name and attributes of a TarInfo)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
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
