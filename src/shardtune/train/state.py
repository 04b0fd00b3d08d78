"""Everything that training changes, and its way into and out of a checkpoint."""

from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from shardtune.download.weights import find_pretrained
from shardtune.model import checkpoint_file, pretrained
from shardtune.model.averages import EMA_SUFFIX, ExponentialMovingAverage
from shardtune.model.checkpoint_file import Tensors
from shardtune.model.inception import named_variables, updated_variables
from shardtune.model.packing import PackedVariables
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.root_only import RootOnly
from shardtune.runtime.world import World
from shardtune.train.checkpoint_manager import LoadedCheckpoint
from shardtune.train.config import TrainConfig
from shardtune.train.consistency import check_equal_weights
from shardtune.train.loss_scale import LossScale
from shardtune.train.optimizers import build_optimizer, is_kernel
from shardtune.train.reduction import divide_gradients, max_part_size

RANDOM_START = (
    "Starting from random weights: give --pretrained_model_checkpoint_path imagenet --fine_tune to start from ImageNet's."
)


class _Packed(NamedTuple):
    """A vector that is packed like `group`. In a checkpoint, its part for the variable v is named prefix + v + suffix."""

    prefix: str
    group: PackedVariables
    suffix: str
    vector: Any

    def name(self, variable: str) -> str:
        return f"{self.prefix}{variable}{self.suffix}"


class TrainState:
    """The network, its averaged weights, the optimizer, and the loss scale where there is one.

    Attributes:
        weights: the network's variables, by their names in the 2016 release.
        gradient_parts: of `divide_gradients`.
        trained: what the gradients of each part change.
        statistics: the moving moments of the layers that train.
        groups: trained and statistics.
    """

    def __init__(self, model: Any, config: TrainConfig) -> None:
        self.model = model
        self.weights = named_variables(model)
        trained = model.trainable_variables
        names = {id(variable): name for name, variable in self.weights.items()}
        sizes, kernels = [variable.shape.num_elements() for variable in trained], [is_kernel(each) for each in trained]
        self.gradient_parts = divide_gradients(sizes, kernels, max_part_size())
        self.trained = [
            PackedVariables(
                {names[id(trained[index])]: trained[index] for index in part},
                f"part{number}",
                decays=kernels[part[0]],
            )
            for number, part in enumerate(chain(*self.gradient_parts))
        ]
        updated = updated_variables(model)
        self.statistics = PackedVariables(
            {name: variable for name, variable in updated.items() if not variable.trainable}, "statistics"
        )
        self.groups = [*self.trained, self.statistics]
        vectors, decays = [group.vector for group in self.trained], [group.decays for group in self.trained]
        self.optimizer = build_optimizer(config.optimizer, vectors, decays, config.weight_decay)
        self.averages = ExponentialMovingAverage(self.groups, config.moving_average_decay)
        self.loss_scale = LossScale() if config.precision == "mixed_float16" else None

    def snapshot(self) -> Tensors:
        """The values of everything, in memory of their own: the weights by name, their averages, `optimizer/…` and
        `loss_scale/…`."""
        variables = {name: np.array(variable.numpy()) for name, variable in self._variables().items()}
        packed = {
            part.name(name): array
            for part in self._packed()
            for name, array in part.group.unpack(np.array(part.vector.numpy())).items()
        }
        return {**variables, **packed}

    def restore_or_initialize(self, config: TrainConfig, world: World, checkpoint: RootOnly[LoadedCheckpoint | None]) -> None:
        """Take the values of the run's checkpoint, or else those of the pretrained weights, on all ranks.

        Raises:
            CheckpointError: the checkpoint or the weights do not fit the network, or the weights cannot be read.
            TrainingError: the weights of a rank differ from those of rank 0.
        """
        world.run_on_root(lambda: self._restore_or_initialize(config, world, checkpoint.get()))
        self._assign(world.broadcast(self.snapshot() if world.is_root else {}))
        check_equal_weights(world, self.snapshot())

    def _restore_or_initialize(self, config: TrainConfig, world: World, checkpoint: LoadedCheckpoint | None) -> None:
        if checkpoint:
            tensors = _named_slots(checkpoint.tensors, config, self)
            shapes = {name: tuple(variable.shape) for name, variable in self._variables().items()}
            for part in self._packed():
                shapes |= {part.name(name): tuple(variable.shape) for name, variable in part.group.variables.items()}
            checkpoint_file.check_fit(shapes, tensors, checkpoint.path)
            self._assign(tensors)
            return
        path = config.pretrained_model_checkpoint_path
        if path:
            found = find_pretrained(path, world)
            report = pretrained.restore(self.model, found, fine_tune=config.fine_tune, averaged=config.pretrained_ema)
            print_on_root(world, str(report))
        else:
            print_on_root(world, RANDOM_START)
        self._read_groups()
        self.averages.reset()

    def _assign(self, tensors: Tensors) -> None:
        for name, variable in self._variables().items():
            variable.assign(tensors[name])
        for part in self._packed():
            values = [tensors[part.name(name)].ravel() for name in part.group.variables]
            part.vector.assign(np.concatenate(values) if values else np.empty(0, np.float32))
        self._read_groups()

    def _read_groups(self) -> None:
        for group in self.groups:
            group.read()

    def _variables(self) -> dict[str, Any]:
        """What is not packed."""
        scalars = {f"optimizer/{slot.name}": slot for slot in self.optimizer.variables if slot.shape == ()}
        return {**self.weights, **scalars, **(self.loss_scale.variables if self.loss_scale else {})}

    def _packed(self) -> list[_Packed]:
        averages = zip(self.groups, self.averages.vectors, strict=True)
        slots = [
            _Packed(f"optimizer/{slot.name.removeprefix(f'{group.vector.name}_')}/", group, "", slot)
            for group in self.trained
            for slot in self.optimizer.variables
            if slot.name.startswith(f"{group.vector.name}_")
        ]
        return [*(_Packed("", group, EMA_SUFFIX, vector) for group, vector in averages), *slots]


def _named_slots(tensors: Tensors, config: TrainConfig, state: TrainState) -> Tensors:
    """The tensors of a checkpoint in which the optimizer's bear numbers, as before slots were packed, with today's names."""
    if "optimizer/0000" not in tensors:
        return tensors
    variables = state.model.trainable_variables
    names = {variable.path.replace("/", "_"): name for name, variable in state.weights.items()}
    renamed = dict(tensors)
    for number, slot in enumerate(build_optimizer(config.optimizer, variables, [True] * len(variables), 0.0).variables):
        variable, _, kind = slot.name.rpartition("_")
        name = slot.name if slot.shape == () else f"{kind}/{names[variable]}"
        renamed[f"optimizer/{name}"] = renamed.pop(f"optimizer/{number:04d}")
    return renamed
