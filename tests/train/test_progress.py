from shardtune.train.progress import RunProgress, Validation


def test_progress_survives_its_metadata() -> None:
    progress = RunProgress(4, (Validation(2, 0.5), Validation(4, 0.25)))
    metadata = progress.to_metadata()
    assert metadata == {
        "step": 4,
        "validations": [{"step": 2, "precision_at_1": 0.5}, {"step": 4, "precision_at_1": 0.25}],
    }
    assert RunProgress.from_metadata(4, metadata) == progress
    assert RunProgress.from_metadata(7, {}) == RunProgress(7)


def test_the_best_is_the_first_of_the_highest() -> None:
    progress = RunProgress()
    assert (progress.best, progress.validations_since_best) == (None, 0)
    for precision in (0.25, 0.75, 0.5, 0.75):
        progress = progress.after_step().after_validation(precision)
    assert progress.best == Validation(2, 0.75)
    assert progress.validations_since_best == 2
    assert progress.is_validated
    assert not progress.after_step().is_validated
