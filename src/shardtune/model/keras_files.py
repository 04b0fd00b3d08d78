"""Read weights from the files of Keras 2 and 3 as HDF5 and zip archives. No code in them is run."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
MAX_WEIGHT_BYTES = 1 << 29  # five times the size of Inception v3
WEIGHTS_MEMBER = "model.weights.h5"
_KERAS_3_VARIABLES = {1: ["kernel"], 2: ["kernel", "bias"], 3: ["beta", "moving_mean", "moving_variance"]}


def read(path: Path, trunk: list[str]) -> dict[str, Array]:
    """Weights of keras.applications.InceptionV3, with or without its top, by their names in the 2016 release.

    Args:
        path: a `.keras` archive, or HDF5 of a whole model or of its weights, in the layout of Keras 2 or 3.
        trunk: release names of the trunk's convolutions in the order of Keras's model.layers. Layers are identified by
            that order, because their names contain a counter of all layers that a process has created.

    Returns:
        The trunk and, if the file has the top, the logits with a background class 0 of zeros in front.

    Raises:
        ValueError: it holds another model, or more data than Inception v3. Also what h5py and zipfile raise.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(WEIGHTS_MEMBER).file_size > MAX_WEIGHT_BYTES:
                raise ValueError(f"{WEIGHTS_MEMBER} is too large")
            with h5py.File(io.BytesIO(archive.read(WEIGHTS_MEMBER))) as file:
                return _name_weights(_read_layers(file), trunk)
    with h5py.File(path) as file:
        return _name_weights(_read_layers(file), trunk)


def _read_layers(file: Any) -> list[dict[str, Array]]:
    """The variables of each layer that has some; layers of one class are in the order of model.layers."""
    is_whole_model = isinstance(file.get("model_weights", getlink=True), h5py.HardLink)  # in the layout of Keras 2
    root = file["model_weights"] if is_whole_model else file
    order = [name.decode() if isinstance(name, bytes) else name for name in root.attrs.get("layer_names", [])]
    layers: dict[tuple[Any, ...], dict[str, Array]] = {}
    for name, dataset in _list_datasets(root).items():
        parts = name.split("/")
        if order and parts[0] in order:  # Keras 2: layer/…/kernel:0
            layers.setdefault((order.index(parts[0]),), {})[parts[-1].split(":")[0]] = dataset[()]
        elif not order and len(parts) == 4 and parts[2] == "vars":  # Keras 3: layers/conv2d_17/vars/0
            kind, number = re.fullmatch(r"(.*?)(?:_(\d+))?", parts[1]).groups()  # type: ignore[union-attr]
            layers.setdefault((kind, int(number or 0)), {})[parts[3]] = dataset[()]
    found = [layers[key] for key in sorted(layers)]
    if order:
        return found
    return [dict(zip(_KERAS_3_VARIABLES.get(len(layer), layer), layer.values(), strict=True)) for layer in found]


def _list_datasets(root: Any) -> dict[str, Any]:
    """All datasets below `root` that are stored in the file. Links and storage outside of it are not followed."""
    found: dict[str, Any] = {}

    def collect(name: str, item: Any) -> None:  # visititems skips soft and external links
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and not item.external and not item.is_virtual:
            found[name] = item

    root.visititems(collect)
    if sum(dataset.nbytes for dataset in found.values()) > MAX_WEIGHT_BYTES:
        raise ValueError("it declares more data than Inception v3 has")
    return found


def _name_weights(layers: list[dict[str, Array]], trunk: list[str]) -> dict[str, Array]:
    kernels = [layer["kernel"] for layer in layers if layer.keys() == {"kernel"}]
    norms = [layer for layer in layers if layer.keys() == {"beta", "moving_mean", "moving_variance"}]
    heads = [layer for layer in layers if layer.keys() == {"kernel", "bias"}]
    others = len(layers) - len(kernels) - len(norms)
    if not (len(kernels) == len(norms) == len(trunk) and others == len(heads) < 2):
        raise ValueError(
            f"it has {len(kernels)} convolutions, {len(norms)} batch normalisations and {others} other layers; "
            f"keras.applications.InceptionV3 has {len(trunk)}, {len(trunk)} and at most 1, its top"
        )
    weights = {f"{name}/weights": kernel for name, kernel in zip(trunk, kernels, strict=True)}
    for name, norm in zip(trunk, norms, strict=True):
        weights |= {f"{name}/BatchNorm/{part}": value for part, value in norm.items()}
    for head in heads:
        weights["logits/logits/weights"] = np.pad(head["kernel"], [(0, 0), (1, 0)])
        weights["logits/logits/biases"] = np.pad(head["bias"], [(1, 0)])
    return weights
