import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from shardtune.runtime.ahead import MAX_THREADS, Ahead

SECONDS = 0.002  # of a slow call
LOCK = threading.RLock()


class Calls:
    """A slow function that counts its calls: those that are going on, and those whose results the caller has not used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.used = self.unused_cost = self.most_unused_cost = self.going_on = self.most_going_on = 0

    def __call__(self, item: int) -> int:
        with self._lock:
            self.going_on += 1
            self.unused_cost += item
            self.most_going_on = max(self.most_going_on, self.going_on)
            self.most_unused_cost = max(self.most_unused_cost, self.unused_cost)
        time.sleep(SECONDS)
        with self._lock:
            self.going_on -= 1
        if item % 7 == 3:
            raise ValueError(item)
        return item

    def use(self, results: Iterator[int], items: list[int]) -> None:
        """Take all results, and check that each stands in its place."""
        for item in items:
            if item % 7 == 3:
                with pytest.raises(ValueError, match=f"^{item}$"):
                    next(results)
            else:
                assert next(results) == item
            with self._lock:
                self.unused_cost -= item
        assert next(results, None) is None


def threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def test_results_and_errors_keep_their_order_while_many_slow_calls_go_on_at_once() -> None:
    calls, items = Calls(), list(range(400))
    with Ahead(calls, ((item, 1) for item in items), 400) as results:
        calls.use(results, items)
        assert threads() == MAX_THREADS
    assert threads() == 0
    assert calls.most_going_on > MAX_THREADS // 2


class Large:
    """A result that counts how many of its kind are in memory."""

    alive = 0

    def __init__(self) -> None:
        with LOCK:
            Large.alive += 1

    def __del__(self) -> None:
        with LOCK:
            Large.alive -= 1


def test_no_more_results_are_in_memory_than_the_budget_and_the_one_that_is_used() -> None:
    def make(item: int) -> Large:
        time.sleep(SECONDS)
        return Large()

    most = 0
    with Ahead(make, ((item, 1) for item in range(200)), 5) as results:
        for result in results:
            most = max(most, result.alive)
        assert threads() == MAX_THREADS
        del result
        assert Large.alive == 0
    assert 3 < most <= 5 + 1


def test_an_error_is_gone_when_the_caller_has_dealt_with_it() -> None:
    class CountedError(Exception):
        pass

    def fail(item: int) -> None:
        time.sleep(SECONDS)
        raise CountedError

    errors = list[weakref.ref[CountedError]]()
    gc.disable()
    try:
        with Ahead(fail, ((item, 1) for item in range(50)), 5) as results:
            for _ in range(50):
                try:
                    next(results)
                except CountedError as error:
                    errors.append(weakref.ref(error))
        assert [error() for error in errors] == [None] * 50
    finally:
        gc.enable()


def test_results_that_wait_cost_no_more_than_the_budget() -> None:
    calls, items = Calls(), [1, 2, 4, 8, 9, 1, 2, 30, 8, 5] * 20
    with Ahead(calls, ((item, item) for item in items), 30) as results:
        calls.use(results, items)
    assert 15 < calls.most_unused_cost <= 30 + 30  # the item that is used, and what was read ahead of it


def test_one_item_that_costs_more_than_the_budget_waits_alone() -> None:
    calls, items = Calls(), [50] * 20
    with Ahead(calls, ((item, item) for item in items), 30) as results:
        calls.use(results, items)
    assert calls.most_going_on == 1


def test_fast_calls_are_made_without_threads() -> None:
    makers = set()
    with Ahead(lambda item: makers.add(threading.current_thread()), ((item, 1) for item in range(1000)), 100) as results:
        assert len(list(results)) == 1000
    assert makers == {threading.current_thread()}


def test_threads_end_when_the_caller_does_not_use_all(capfd: pytest.CaptureFixture[str]) -> None:
    calls = Calls()
    with Ahead(calls, ((2, 1) for _ in range(1000)), 1000) as results:
        for _ in range(50):
            next(results)
        assert threads() == MAX_THREADS
    assert threads() == calls.going_on == 0
    assert not capfd.readouterr().err


@pytest.mark.parametrize("most", [0, 3])
def test_as_many_threads_are_used_as_the_system_allows(most: int) -> None:
    code = """
import resource, sys, threading, time
from shardtune.runtime.ahead import Ahead

STACK = 1 << 28  # of addresses, of which one thread takes so many
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
threading.stack_size(STACK)
resource.setrlimit(resource.RLIMIT_AS, (used + STACK * int(sys.argv[1]) + STACK // 2,) * 2)
with Ahead(lambda item: time.sleep(0.002) or item, ((item, 1) for item in range(100)), 50) as results:
    assert list(results) == list(range(100))
    print(threading.active_count() - 1)
"""
    done = subprocess.run([sys.executable, "-c", code, str(most)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert (int(done.stdout) > 0) == (most > 0)
    assert int(done.stdout) <= most
