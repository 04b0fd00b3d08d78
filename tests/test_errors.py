import pytest

from shardtune import errors


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.UsageError, 2),
        (errors.DataError, 1),
        (errors.DownloadError, 1),
        (errors.CheckpointError, 1),
        (errors.WorldError, 1),
        (errors.CollectiveError, 1),
        (errors.ReportedElsewhereError, 1),
        (errors.ExportError, 1),
        (errors.TrainingError, 1),
        (errors.StoppedError, 75),
    ],
)
def test_every_error_has_the_exit_status_that_the_tree_says(kind: type[errors.ShardtuneError], status: int) -> None:
    assert issubclass(kind, errors.ShardtuneError)
    assert kind("x").exit_status == status
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(("arguments", "text"), [(("A fact.",), "A fact."), (("A fact.", "Advice."), "A fact. Advice.")])
def test_an_error_says_what_is_wrong_and_then_what_to_do(arguments: tuple[str, ...], text: str) -> None:
    error = errors.DataError(*arguments)
    assert str(error) == text
    assert (error.message, error.advice) == (*arguments, "")[:2]


def test_when_rank_0_fails_all_have_its_status() -> None:
    assert errors.RootFailedError(errors.UsageError("x")).exit_status == 2
    assert errors.RootFailedError(OSError()).exit_status == 1
