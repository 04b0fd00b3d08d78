"""All that training changes, and how it comes back from a checkpoint."""

from typing import Any

import numpy as np

from shardtune.model import checkpoint_file, pretrained
from shardtune.model.averages import ExponentialMovingAverage
from shardtune.model.checkpoint_file import Tensors
from shardtune.model.inception import named_variables, updated_variables
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World
from shardtune.train import optimizers
from shardtune.train.checkpoint_manager import ValidationHistory, resume
from shardtune.train.config import TrainConfig
from shardtune.train.consistency import check_equal_weights
from shardtune.train.loss_scale import LossScale


class TrainState:
    """The network, its averaged twins, the optimizer, and the loss scale where there is one.

    Attributes:
        weights: the network's variables, by their names in the 2016 release.
        variables: all variables: the weights, their twins, and what is beneath `optimizer/` and `loss_scale/`.
    """

    def __init__(self, model: Any, config: TrainConfig) -> None:
        self.model = model
        self.optimizer = optimizers.make(config.optimizer, model.trainable_variables, config.weight_decay)
        self.averages = ExponentialMovingAverage(updated_variables(model), config.moving_average_decay)
        self.loss_scale = LossScale() if config.precision == "mixed_float16" else None
        self.weights = named_variables(model)
        # By position: Keras's own names carry a counter of all layers that the process ever made.
        slots = {f"optimizer/{position:04d}": variable for position, variable in enumerate(self.optimizer.variables)}
        scale = self.loss_scale.variables if self.loss_scale else {}
        self.variables = {**self.weights, **self.averages.variables, **slots, **scale}

    def copy(self) -> Tensors:
        """The values of all variables, in memory of their own."""
        return {name: np.array(variable.numpy()) for name, variable in self.variables.items()}

    def begin(self, config: TrainConfig, world: World) -> tuple[int, ValidationHistory]:
        """Take the run's newest checkpoint, or else the pretrained weights; returns the steps done and the validations so far.

        Raises:
            CheckpointError: there is none that can be read, or it does not fit.
            TrainingError: the ranks hold other weights than rank 0.
        """
        done, history = world.broadcast_from_root(lambda: self._restore(config, world))
        values = world.broadcast([variable.numpy() for variable in self.variables.values()] if world.is_root else None)
        for variable, value in zip(self.variables.values(), values or [], strict=True):
            variable.assign(value)
        check_equal_weights(world, self.variables)
        return done, history

    def _restore(self, config: TrainConfig, world: World) -> tuple[int, ValidationHistory]:
        found = resume(config.train_dir, lambda text: print_on_root(world, text))
        if found:
            done, tensors, history, path = found
            checkpoint_file.assign_variables(self.variables, tensors, path)
            print_on_root(world, f"Going on after step {done} from {path}.")
            return done, history
        given = config.pretrained_model_checkpoint_path
        if given:
            print_on_root(
                world, str(pretrained.restore(self.model, given, fine_tune=config.fine_tune, averaged=config.pretrained_ema))
            )
        self.averages.reset()
        return 0, ValidationHistory()
