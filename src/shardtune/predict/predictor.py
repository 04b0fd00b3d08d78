"""Predict images on all ranks, in their order."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np

from shardtune.errors import CheckpointError
from shardtune.evaluate.counts import top_classes
from shardtune.evaluate.network import Network
from shardtune.evaluate.predictions import log_softmax
from shardtune.predict.formats import Prediction
from shardtune.predict.listing import Item
from shardtune.predict.pictures import Picture, PictureReader
from shardtune.runtime.world import World

ROUNDS_AHEAD = 1  # whose images are read while the network computes those of another


@dataclass(frozen=True)
class Predictor:
    """Predicts images.

    Attributes:
        threads: read images.
        batch_size: that of the network.
        top_k: classes of each prediction.
    """

    world: World
    reader: PictureReader
    network: Network
    threads: Executor
    batch_size: int
    top_k: int

    def run(self, take: Callable[[int, bool], tuple[list[Item], bool]]) -> Iterator[list[Prediction]]:
        """The predictions of all images, in their order, on every rank: a list for each round, of a batch a rank.

        Args:
            take: on rank 0, returns as many of the next items or fewer, and whether there are no more. It waits for one if its
                second argument is true.

        Raises:
            CheckpointError: the network does not compute finite numbers.
        """
        rounds = deque[list[Future[Picture]]]()
        has_ended = False
        while rounds or not has_ended:
            items: list[Item] = []
            if not has_ended:
                items, has_ended = self.world.broadcast_from_root(lambda: take(self.world.size * self.batch_size, not rounds))
            if items:
                begin = self.world.rank * self.batch_size
                rounds.append([self.threads.submit(self.reader.read, item) for item in items[begin : begin + self.batch_size]])
            if rounds and (len(rounds) > ROUNDS_AHEAD or not items):
                parts = self.world.allgather(self._predict(rounds.popleft()))
                yield [prediction for part in parts for prediction in part]

    def _predict(self, batch: Sequence[Future[Picture]]) -> list[Prediction]:
        pictures = []
        for future in batch:
            self.world.guard.heartbeat("reading images")
            pictures.append(future.result())
        self.world.guard.heartbeat("predicting", compiles=True)  # with the first picture of this rank
        logits = self.network.logits(np.array([each.pixels for each in pictures if each.pixels is not None]))
        if not np.isfinite(logits).all():
            raise CheckpointError("The network does not compute finite numbers.", "Choose another one: --checkpoint STEP.")
        top = top_classes(logits, self.top_k)
        probabilities = np.exp(np.take_along_axis(log_softmax(logits), top, axis=1))
        ranked = zip(top.tolist(), probabilities.tolist(), strict=True)
        return [
            Prediction(each.file, each.error) if each.pixels is None else Prediction(each.file, "", *next(ranked))
            for each in pictures
        ]
