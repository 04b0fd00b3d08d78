"""One start of a launcher, from its first process to its last: stop requests on the way, and what became of the run."""

import signal
from pathlib import Path

from shardtune.supervise.decisions import End
from shardtune.supervise.launchers import Launch
from shardtune.supervise.machine import Machine
from shardtune.supervise.outcome import classify, load_outcome

POLL_SECONDS = 0.2
OUTCOME_POLL_SECONDS = 5.0  # between two looks at outcome.json, which may be on a network file system
# A launcher may wait for ever for a host that is gone. After the end of its run it is ended by these, after so many seconds.
ENDING_SIGNALS = ((30.0, signal.SIGTERM), (45.0, signal.SIGKILL))
GROUP_SECONDS = 60.0  # for the rest of its group: a shell that horovodrun puts around mpirun may end before mpirun does


class Watch:
    """Starts a launcher and waits for its end.

    Args:
        train_dir: run directory, whose outcome.json says how far the run is.
        signal_launcher: send stop requests to the launcher, which passes them on (srun and mpirun do), in place of a rank.
    """

    def __init__(self, machine: Machine, launch: Launch, train_dir: Path, *, signal_launcher: bool = False) -> None:
        self._machine, self._train_dir, self._signal_launcher = machine, train_dir, signal_launcher
        self._before = load_outcome(train_dir)
        self._signal: signal.Signals | None = None
        self._next_look = self._machine.now()
        self._run_ended_at: float | None = None
        self._launcher_ended_at: float | None = None
        self._sent: set[signal.Signals] = set()
        machine.show(launch.words)
        self._process = machine.start(launch.words, launch.environment)

    def wait(self) -> End:
        """Wait until the launcher and its group have ended. SIGINT, SIGTERM and SIGUSR1 stop the run."""
        while (status := self._final_status()) is None:
            for number in self._machine.take_signals():
                self._request_stop(number)
            self._end_launcher()
            self._machine.sleep(POLL_SECONDS)
        for number in self._machine.take_signals():
            self._signal = number
        after = load_outcome(self._train_dir)
        result = classify(self._before, after, status=status, stop_requested=self._signal is not None)
        return End(result, status, self._signal, str(after.error or ""))

    def _final_status(self) -> int | None:
        """The launcher's status, once nothing of its group is left or the time for that is over."""
        status = self._process.poll()
        if status is None:
            return None
        now = self._machine.now()
        if self._launcher_ended_at is None:
            self._launcher_ended_at = now
        is_over = now - self._launcher_ended_at >= GROUP_SECONDS or not self._process.group_exists()
        return status if is_over else None

    def _request_stop(self, number: signal.Signals) -> None:
        """Ask one rank to stop, and all stop after the same step. A launcher gets a signal that would end its ranks only while
        there is nothing to save."""
        self._signal = number
        outcome = load_outcome(self._train_dir)
        if not outcome.has_begun_since(self._before):
            self._process.signal_group(signal.SIGTERM)
        elif not outcome.is_running_since(self._before):
            return  # it is about to end
        elif self._signal_launcher:
            self._process.send_signal(signal.SIGUSR1)
        elif outcome.process:
            self._machine.stop_rank(*outcome.process)
        else:
            self._machine.say(f"The outcome.json in {self._train_dir} names no process, so none can be asked to stop.")

    def _end_launcher(self) -> None:
        """End a launcher that has not ended some time after its run."""
        now = self._machine.now()
        if self._run_ended_at is None:
            if now < self._next_look:
                return
            self._next_look = now + OUTCOME_POLL_SECONDS
            outcome = load_outcome(self._train_dir)
            if outcome.has_begun_since(self._before) and not outcome.is_running_since(self._before):
                self._run_ended_at = now
            return
        for seconds, number in ENDING_SIGNALS:
            if now - self._run_ended_at >= seconds and number not in self._sent:
                self._sent.add(number)
                self._process.signal_group(number)
