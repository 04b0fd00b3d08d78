"""The functions, in this process; training, with a small network in place of Inception v3."""

import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import shardtune
from shardtune.runtime.outcome import read_outcome
from shardtune.train import command
from tests.distributed.train_body import build
from tests.distributed.training import metrics

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class OwnError(Exception):
    """A user's."""


def own_threads() -> set[threading.Thread]:
    """The threads of Python; TensorFlow's that have called Python are dummies."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("Dummy")}


@pytest.fixture
def config(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> shardtune.TrainConfig:
    """A run of 12 steps, in 5 of which are an epoch."""
    monkeypatch.setattr(command, "train", partial(command.train, build_model=build))
    return shardtune.TrainConfig(
        small_data, tmp_path / "run", image_size=75, batch_size=12, max_steps=12, validate_every=6, log_every=1
    )


@pytest.fixture(autouse=True)
def _left_as_it_was(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is printed, no signal is handled, no thread is left."""
    handlers, threads = [signal.getsignal(number) for number in SIGNALS], own_threads()
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    yield
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert signal.set_wakeup_fd(-1) == wakeup
    gc.collect()
    for thread in own_threads() - threads:
        thread.join(10)
        assert not thread.is_alive()


def test_build_returns_the_manifest_and_logs_what_the_command_prints(
    small_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = shardtune.BuildConfig(small_images / "train", output_directory=tmp_path, train_shards=2)
    with caplog.at_level(logging.INFO, "shardtune"):
        manifest = shardtune.build(config)
    assert manifest == shardtune.Manifest.load(tmp_path)
    assert manifest.examples("train") == 60
    assert {record.name for record in caplog.records} == {"shardtune"}
    assert caplog.messages[-1] == "Finished writing all 60 images in data set."
    assert any(message.startswith("images 60 of 60: ") for message in caplog.messages)
    caplog.clear()
    shardtune.build(config)
    assert caplog.messages == []  # by default


def test_train_calls_back_and_returns_what_the_run_has_come_to(config: shardtune.TrainConfig) -> None:
    steps, epochs, validations = dict[int, shardtune.StepMetrics](), list[int](), list[shardtune.Validation]()
    result = shardtune.train(config, on_step=steps.__setitem__, on_epoch=epochs.append, on_validation=validations.append)
    assert {step: each.loss for step, each in steps.items()} == metrics(config.train_dir, "loss")
    assert epochs == [1, 2]
    assert [each.step for each in validations] == [6, 12]
    assert result == shardtune.TrainResult(config.train_dir, 12, tuple(validations), steps[12])
    assert shardtune.train(config, on_step=pytest.fail) == replace(result, last_step=None)


@pytest.mark.parametrize("callback", ["on_step", "on_epoch", "on_validation"])
def test_what_a_callback_raises_ends_the_run_which_can_go_on(config: shardtune.TrainConfig, callback: str) -> None:
    def fail(*_: object) -> None:
        raise OwnError("no more")

    with pytest.raises(OwnError, match="no more"):
        shardtune.train(replace(config, save_every=1), **{callback: fail})  # type: ignore[arg-type]
    outcome = read_outcome(config.train_dir)
    assert (outcome["outcome"], outcome["error"]) == ("failed", "no more")
    assert shardtune.train(replace(config, save_every=1)).steps == 12


def test_what_is_validated_is_saved_before_the_callback(config: shardtune.TrainConfig) -> None:
    def fail(_: shardtune.Validation) -> None:
        raise OwnError

    with pytest.raises(OwnError):
        shardtune.train(config, on_validation=fail)
    first = list[int]()
    shardtune.train(config, on_step=lambda step, _: first.append(step))
    assert first[0] == 7


def test_signals_stop_a_run_where_they_are_asked_for(config: shardtune.TrainConfig) -> None:
    def stop(step: int, _: shardtune.StepMetrics) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(shardtune.StoppedError, match=r"^Stopped after step 4 by signal SIGTERM on rank 0\."):
        shardtune.train(config, on_step=stop, handle_signals=True)
    assert read_outcome(config.train_dir)["outcome"] == "stopped"
    first = list[int]()
    shardtune.train(config, on_step=lambda step, _: first.append(step))
    assert first[0] == 5


def test_a_program_alone_may_do_what_takes_long(config: shardtune.TrainConfig) -> None:
    def wait(step: int, _: shardtune.StepMetrics) -> None:
        time.sleep(2.0 if step == 3 else 0.0)

    shardtune.train(replace(config, hang_timeout=0.1), on_step=wait, handle_signals=True)


def test_signals_are_the_caller_s_where_they_are_not(config: shardtune.TrainConfig) -> None:
    def interrupt(step: int, _: shardtune.StepMetrics) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        shardtune.train(config, on_step=interrupt)
    outcome = read_outcome(config.train_dir)
    assert (outcome["outcome"], outcome["error"]) == ("failed", "KeyboardInterrupt()")


def test_signals_are_for_the_main_thread(config: shardtune.TrainConfig) -> None:
    with ThreadPoolExecutor() as threads, pytest.raises(shardtune.UsageError, match="main thread"):
        threads.submit(shardtune.train, config, handle_signals=True).result()


def test_settings_of_tensorflow_are_as_before(config: shardtune.TrainConfig) -> None:
    import tensorflow as tf

    def settings() -> tuple[bool, bool]:
        options = tf.config.optimizer.get_experimental_options()
        return tf.config.experimental.tensor_float_32_execution_enabled(), options["disable_meta_optimizer"]

    tf.config.experimental.enable_tensor_float_32_execution(True)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    during = list[tuple[bool, bool]]()
    shardtune.train(config, on_step=lambda *_: during.append(settings()))
    assert set(during) == {(False, True)}
    assert settings() == (True, False)


def test_a_schedule_goes_to_the_log(config: shardtune.TrainConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "shardtune"):
        assert shardtune.train(replace(config, show_schedule=True)).steps == 0
    assert caplog.messages[0].split()[:2] == ["step", "epoch"]


def test_errors_are_those_of_the_tree(small_data: Path, tmp_path: Path) -> None:
    none = tmp_path / "none"
    with pytest.raises(shardtune.DataError):
        shardtune.build(shardtune.BuildConfig(none, output_directory=tmp_path / "data"))
    with pytest.raises(shardtune.UsageError, match=r"^build\(\) writes, which --dry_run forbids\."):
        shardtune.build(shardtune.BuildConfig(none, output_directory=tmp_path / "data", dry_run=True))
    with pytest.raises(shardtune.DataError):
        shardtune.train(shardtune.TrainConfig(none, tmp_path / "run"))
    with pytest.raises(shardtune.CheckpointError):
        shardtune.evaluate(shardtune.EvalConfig(none))
    with pytest.raises(shardtune.CheckpointError):
        shardtune.export(shardtune.ExportConfig(none, tmp_path / "export"))
    with pytest.raises(shardtune.CheckpointError):
        shardtune.report(shardtune.ReportConfig((none,)))
    with pytest.raises(shardtune.CheckpointError):
        shardtune.Predictor(none)
    with pytest.raises(shardtune.UsageError, match=r"^--batch_size must be above 0, not 0\."):
        shardtune.TrainConfig(small_data, tmp_path, batch_size=0)
