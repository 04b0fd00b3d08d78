"""`shardtune report`: from run directories to one page, and a list of labels that are probably wrong beside it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from shardtune.errors import DataError, UsageError
from shardtune.model import checkpoint_file
from shardtune.report.config import ReportConfig
from shardtune.report.data_set import DataSet, open_for_report
from shardtune.report.mistakes import suspects_csv
from shardtune.report.model_card import write_card
from shardtune.report.page import render
from shardtune.report.run import Run, read_run
from shardtune.runtime.files import atomic_write
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

REPORT_NAME = "report.html"


def report(config: ReportConfig, world: World) -> Path:
    """Write the page and, where a run was evaluated, the list. A data set that is not there is left out, and the page says so.
    Returns the path of the page.

    Raises:
        CheckpointError: a directory is no run.
        DataError: the result in a --eval_dir, or the data set in --data_dir, cannot be read.
        UsageError: --output is a directory.
    """
    directories = [checkpoint_file.run_directory(directory) for directory in config.train_dir]
    eval_dirs = config.eval_dir or (None,) * len(directories)
    names = _names(directories)
    runs = [read_run(*each) for each in zip(directories, names, eval_dirs, strict=True)]
    data_sets = _open_data_sets(config, runs, world)
    output = config.output or directories[0] / REPORT_NAME
    if output.is_dir():
        raise UsageError(f"--output {output} is a directory.", f"Name a file in it: {output / REPORT_NAME}.")
    labels_path = output.with_suffix(".labels.csv")
    evaluated = [(run.name, run.evaluation) for run in runs if run.evaluation]
    page = render(runs, data_sets, labels_path.name if evaluated else None)
    if evaluated:
        with atomic_write(labels_path) as file:
            file.write(suspects_csv(evaluated))
    with atomic_write(output) as file:
        file.write(page.encode(errors="replace"))
    for run, data_set in zip(runs, data_sets, strict=True):
        print_on_root(world, f"{run.name}: {run.status}")
        if config.output is None and run.evaluation:
            print_on_root(world, write_card(run, run.evaluation.result, data_set))
    beside = f"; labels that are probably wrong: {labels_path}" if evaluated else ""
    print_on_root(world, f"The report is {output}{beside}.")
    return output


def _names(directories: Sequence[Path]) -> list[str]:
    """What each run is called: the name of its directory, with that of the parent, or a number, where others share it."""
    absolute = [directory.absolute() for directory in directories]
    for parts in (1, 2):
        names = ["/".join(directory.parts[-parts:]) for directory in absolute]
        if max(Counter(names).values()) == 1:
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]


def _open_data_sets(config: ReportConfig, runs: Sequence[Run], world: World) -> list[DataSet | str]:
    """For each run its data set, or why it is not there."""
    opened: dict[Path, DataSet | str] = {}
    for run in runs:
        directory = config.data_dir or run.data_dir
        if directory not in opened:
            try:
                opened[directory] = open_for_report(directory, world, augmented=config.augmented)
            except (DataError, OSError) as error:
                if config.data_dir:
                    raise
                opened[directory] = str(error)
    return [opened[config.data_dir or run.data_dir] for run in runs]
