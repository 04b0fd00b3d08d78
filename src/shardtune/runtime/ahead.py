"""Call a function for the next items on threads while the caller still uses the result of the last one."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

FIRST_THREADS, MAX_THREADS = 8, 32  # so many calls that take 20 ms each give 1,600 results a second
SLOW_SECONDS, SLOW_CALLS = 0.0005, 4  # a busy machine makes some calls slow, but hardly so many in a row
JOIN_SECONDS = 5.0  # for calls that hang in the file system: the end of the process ends them

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Call(Generic[Item, Result]):
    """A call of the function that is to be made, or was."""

    __slots__ = ("cost", "error", "is_done", "item", "result")

    def __init__(self, item: Item, cost: int) -> None:
        self.item, self.cost = item, cost
        self.is_done = threading.Lock()  # released when it is
        self.is_done.acquire()
        self.error: BaseException | None = None
        self.result: Result

    def make(self, function: Callable[[Item], Result]) -> None:
        try:
            self.result = function(self.item)
        except BaseException as error:
            self.error = error
        self.is_done.release()

    def take(self) -> Result:
        """The result, which is then no longer kept here: the thread keeps this until it has its next call."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # it leads here, by its traceback
        result = self.result
        del self.result
        return result


class Ahead(Iterator[Result], Generic[Item, Result]):
    """An iterator over the results of a function for each item, in order, and a context that ends its threads.

    Threads cost time, too: while calls are fast, the caller makes them itself. Once several in a row were slow, threads make
    them, and their number doubles each time the caller has to wait. They stay, also when calls become fast.

    Args:
        function: called on threads, which should do nothing but wait for input. What it raises, the iterator raises in place of
            its result, and goes on with the next item.
        items: each with its cost.
        budget: what the items may cost together whose results are being made, or wait to be used. One alone may cost more.
    """

    def __init__(self, function: Callable[[Item], Result], items: Iterable[tuple[Item, int]], budget: int) -> None:
        self._function, self._items, self._left = function, iter(items), budget
        self._next_item = next(self._items, None)
        self._slow_in_a_row = 0
        self._calls: deque[_Call[Item, Result]] = deque()  # in order, those whose results were not yet used
        self._queue: SimpleQueue[_Call[Item, Result] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_stopped = False

    def __enter__(self) -> "Ahead[Item, Result]":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._is_stopped = True
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def __next__(self) -> Result:
        if self._slow_in_a_row < SLOW_CALLS:
            return self._call_here()
        self._start_calls()
        if not self._calls:
            raise StopIteration
        call = self._calls.popleft()
        if not call.is_done.acquire(blocking=False):
            self._add_threads()
            if not self._threads:
                self._queue.get()  # takes this call, the first of those that wait
                call.make(self._function)
            call.is_done.acquire()
        self._left += call.cost
        return call.take()

    def _call_here(self) -> Result:
        if self._next_item is None:
            raise StopIteration
        (item, _), self._next_item = self._next_item, next(self._items, None)
        started = time.perf_counter()
        try:
            return self._function(item)
        finally:
            is_slow = time.perf_counter() - started > SLOW_SECONDS
            self._slow_in_a_row = self._slow_in_a_row + 1 if is_slow else 0

    def _start_calls(self) -> None:
        most = 2 * max(FIRST_THREADS, len(self._threads))  # more would only leave the processor's cache before they are used
        while self._next_item is not None and len(self._calls) < most and (self._next_item[1] <= self._left or not self._calls):
            call = _Call[Item, Result](*self._next_item)
            self._left -= call.cost
            self._calls.append(call)
            self._queue.put(call)
            self._next_item = next(self._items, None)

    def _add_threads(self) -> None:
        for _ in range(min(max(FIRST_THREADS, len(self._threads)), MAX_THREADS - len(self._threads))):
            thread = threading.Thread(target=self._work, name="ahead", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system allows no more
                break
            self._threads.append(thread)

    def _work(self) -> None:
        while (call := self._queue.get()) is not None and not self._is_stopped:
            call.make(self._function)
