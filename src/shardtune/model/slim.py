"""The names of TF-Slim's inception_v3 (tensorflow/models, research/slim/nets/inception_v3.py)."""

from shardtune.model.inception import trunk_names

LOGITS_BIASES = "InceptionV3/Logits/Conv2d_1c_1x1/biases"

# The branches of each block. Irregular names are the original's: in 5c branch 1, 6a (3×3 convolutions called 1x1), 7b branch 1.
_STEM = "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3"
_BLOCKS = {
    "5b": "Conv2d_0a_1x1, Conv2d_0a_1x1 Conv2d_0b_5x5, Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_3x3, Conv2d_0b_1x1",
    "5c": "Conv2d_0a_1x1, Conv2d_0b_1x1 Conv_1_0c_5x5, Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_3x3, Conv2d_0b_1x1",
    "5d": "Conv2d_0a_1x1, Conv2d_0a_1x1 Conv2d_0b_5x5, Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_3x3, Conv2d_0b_1x1",
    "6a": "Conv2d_1a_1x1, Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_1a_1x1",
    **dict.fromkeys(
        ("6b", "6c", "6d", "6e"),
        "Conv2d_0a_1x1, Conv2d_0a_1x1 Conv2d_0b_1x7 Conv2d_0c_7x1, "
        "Conv2d_0a_1x1 Conv2d_0b_7x1 Conv2d_0c_1x7 Conv2d_0d_7x1 Conv2d_0e_1x7, Conv2d_0b_1x1",
    ),
    "7a": "Conv2d_0a_1x1 Conv2d_1a_3x3, Conv2d_0a_1x1 Conv2d_0b_1x7 Conv2d_0c_7x1 Conv2d_1a_3x3",
    "7b": "Conv2d_0a_1x1, Conv2d_0a_1x1 Conv2d_0b_1x3 Conv2d_0b_3x1, "
    "Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_1x3 Conv2d_0d_3x1, Conv2d_0b_1x1",
    "7c": "Conv2d_0a_1x1, Conv2d_0a_1x1 Conv2d_0b_1x3 Conv2d_0c_3x1, "
    "Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_1x3 Conv2d_0d_3x1, Conv2d_0b_1x1",
}
_HEADS = {
    "AuxLogits/Conv2d_1b_1x1": "aux_logits/proj",
    "AuxLogits/Conv2d_2a_5x5": "aux_logits/Conv",
    "AuxLogits/Conv2d_2b_1x1": "aux_logits/FC",
    "Logits/Conv2d_1c_1x1": "logits/logits",
}


def layer_names() -> dict[str, str]:
    """{name of a layer in TF-Slim: its name in the 2016 release}, for the trunk's 94 layers and the heads' 4."""
    layers = _STEM.split()
    for block, branches in _BLOCKS.items():
        for number, branch in enumerate(branches.split(", ")):
            layers += [f"Mixed_{block}/Branch_{number}/{layer}" for layer in branch.split()]
    names = {**dict(zip(layers, trunk_names(), strict=True)), **_HEADS}
    return {f"InceptionV3/{slim_name}": release_name for slim_name, release_name in names.items()}
