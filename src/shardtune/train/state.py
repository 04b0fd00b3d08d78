"""Everything that training changes, and its way into and out of a checkpoint."""

from typing import Any

import numpy as np

from shardtune.model import checkpoint_file, pretrained
from shardtune.model.averages import ExponentialMovingAverage
from shardtune.model.checkpoint_file import Tensors
from shardtune.model.inception import named_variables, updated_variables
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import RootOnly, World
from shardtune.train.checkpoint_manager import LoadedCheckpoint
from shardtune.train.config import TrainConfig
from shardtune.train.consistency import check_equal_weights
from shardtune.train.loss_scale import LossScale
from shardtune.train.optimizers import build_optimizer


class TrainState:
    """The network, its averaged weights, the optimizer, and the loss scale where there is one.

    Attributes:
        weights: the network's variables, by their names in the 2016 release.
        variables: all variables: the weights, their averages, and those named `optimizer/…` and `loss_scale/…`.
    """

    def __init__(self, model: Any, config: TrainConfig) -> None:
        self.model = model
        self.optimizer = build_optimizer(config.optimizer, model.trainable_variables, config.weight_decay)
        self.averages = ExponentialMovingAverage(updated_variables(model), config.moving_average_decay)
        self.loss_scale = LossScale() if config.precision == "mixed_float16" else None
        self.weights = named_variables(model)
        # By position: Keras's own names contain a counter of all layers that the process ever made.
        slots = {f"optimizer/{position:04d}": variable for position, variable in enumerate(self.optimizer.variables)}
        scale = self.loss_scale.variables if self.loss_scale else {}
        self.variables = {**self.weights, **self.averages.variables, **slots, **scale}

    def snapshot(self) -> Tensors:
        """The values of all variables, in memory of their own."""
        return {name: np.array(variable.numpy()) for name, variable in self.variables.items()}

    def restore_or_initialize(self, config: TrainConfig, world: World, checkpoint: RootOnly[LoadedCheckpoint | None]) -> None:
        """Take the values of the run's checkpoint, or else those of the pretrained weights, on all ranks.

        Raises:
            CheckpointError: the checkpoint or the weights do not fit the network, or the weights cannot be read.
            TrainingError: the weights of a rank differ from those of rank 0.
        """
        world.run_on_root(lambda: self._restore_or_initialize(config, world, checkpoint.get()))
        values = world.broadcast([variable.numpy() for variable in self.variables.values()] if world.is_root else None)
        for variable, value in zip(self.variables.values(), values or [], strict=True):
            variable.assign(value)
        check_equal_weights(world, self.variables)

    def _restore_or_initialize(self, config: TrainConfig, world: World, checkpoint: LoadedCheckpoint | None) -> None:
        if checkpoint:
            checkpoint_file.assign_variables(self.variables, checkpoint.tensors, checkpoint.path)
            return
        path = config.pretrained_model_checkpoint_path
        if path:
            report = pretrained.restore(self.model, path, fine_tune=config.fine_tune, averaged=config.pretrained_ema)
            print_on_root(world, str(report))
        self.averages.reset()
