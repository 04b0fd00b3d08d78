"""The graph of a step of Inception v3, as TensorFlow runs it on a GPU: to start an operation there costs more than most do."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.training import saver

from shardtune.model import inception
from shardtune.runtime.world import World
from shardtune.train import state
from shardtune.train.config import TrainConfig
from shardtune.train.step import TrainStep

# They start nothing on the device: they name, refer, look at a shape, or give a tensor another one.
NO_KERNEL = {
    *("Const", "ConcatOffset", "ExpandDims", "Identity", "IdentityN", "NoOp", "Placeholder", "PreventGradient", "Rank"),
    *("ReadVariableOp", "Reshape", "Shape", "ShapeN", "Size", "Squeeze", "StopGradient", "VarHandleOp"),
}


def rewritten(function: Any) -> Any:
    """The graph of a concrete function after TensorFlow has rewritten it (grappler)."""
    graph = function.graph
    meta_graph = saver.export_meta_graph(graph_def=graph.as_graph_def(), graph=graph, clear_devices=True)
    needed = meta_graph_pb2.CollectionDef()
    needed.node_list.value.extend([output.op.name for output in function.outputs] + [op.name for op in graph.control_outputs])
    meta_graph.collection_def["train_op"].CopyFrom(needed)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def test_a_step_starts_at_most_1500_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "max_part_size", lambda: sys.maxsize)  # as on a GPU
    config = TrainConfig(Path("d"), Path("d"), batch_size=4, image_size=107)
    step = TrainStep(state.TrainState(inception.build(6, 107), config), World(), config, 4)
    graph = rewritten(step._finish.get_concrete_function())
    kernels = Counter(node.op for node in graph.node if node.op not in NO_KERNEL)
    assert kernels["Conv2D"] == kernels["Conv2DBackpropFilter"] == 96
    assert 1000 < sum(kernels.values()) <= 1500, kernels.most_common(20)
