import pytest

from tests.docs.outputs import check_shown

SLURM = ("docs/slurm.md", "build 1")
PRINTED = """\
build 7, train 8, eval 9, report 10
watch:   squeue --jobs 7,8,9,10; tail -F shardtune-*.log
a warning
cancel:  scancel 7 8 9 10
then:    /home/you/shardtune/results/run/report.html, /home/you/shardtune/results/export/README.md
"""


def test_numbers_may_differ_and_lines_come_in_between() -> None:
    check_shown(*SLURM, PRINTED)
    check_shown(
        "docs/your-photographs.md", "…: precision", "2026-11-29 10:00:00: precision @ 1 = 1.0 recall @ 5 = 1e-5 [3 examples]"
    )


@pytest.mark.parametrize(
    "printed",
    [PRINTED.replace("cancel", "stop"), PRINTED.replace("README.md", ""), "\n".join(reversed(PRINTED.splitlines())), ""],
)
def test_words_order_and_lines_may_not(printed: str) -> None:
    with pytest.raises(AssertionError, match="shows, and nothing printed"):
        check_shown(*SLURM, printed)
