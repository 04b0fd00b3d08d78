"""The reference data in archives that are laid out like the published ones. They are large, and so not compressed."""

import io
import tarfile
from pathlib import Path


def flower_photos(shared_data: Path) -> bytes:
    """650 photographs of both splits."""
    flowers = shared_data / "flowers"
    return _stored({f"flower_photos/{path.parent.name}/{path.name}": path for path in flowers.glob("*/*/*")})


def inception_v3(shared_data: Path) -> bytes:
    """The release 2016-03-01."""
    name = "model.ckpt-157585"
    return _stored({f"inception-v3/{name}": shared_data / "inception-v3-2016-03-01" / name})


def _stored(files: dict[str, Path]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=0) as archive:
        for name, path in files.items():
            archive.add(path, name)
    return out.getvalue()
