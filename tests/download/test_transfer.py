import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardtune.download import transfer
from shardtune.download.transfer import download
from shardtune.errors import DownloadError
from shardtune.runtime.world import World
from tests.download.server import Server, serving

CONTENT = random.Random(0).randbytes(2_345_678)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSES_SECONDS", (0, 0, 0, 0))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(CONTENT) as server:
        yield server


def fetched(url: str, directory: Path) -> bytes:
    download(url, directory / "new" / "file", World(), lambda path: None)
    return (directory / "new" / "file").read_bytes()


def left(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_a_file_is_downloaded(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetched(server.url(), tmp_path) == CONTENT
    assert server.ranges == [""]
    assert "MB of file 2 of 2" in capsys.readouterr().out


@pytest.mark.parametrize("tenth", range(10))
def test_a_connection_that_breaks_is_opened_again_where_it_broke(server: Server, tmp_path: Path, tenth: int) -> None:
    server.cuts = [len(CONTENT) * tenth // 10]
    assert fetched(server.url(), tmp_path) == CONTENT
    first, again = server.ranges
    assert first == ""
    cut, begun = len(CONTENT) * tenth // 10, int(again.strip("bytes=-") or 0)
    assert max(0, cut - transfer.CHUNK_BYTES) <= begun <= cut


@pytest.mark.parametrize("has_ranges", [True, False])
def test_every_connection_breaks_after_a_tenth(server: Server, tmp_path: Path, has_ranges: bool) -> None:
    server.cuts, server.has_ranges = [len(CONTENT) // 10] * 40, has_ranges
    if has_ranges:
        assert fetched(server.url(), tmp_path) == CONTENT
        return
    with pytest.raises(DownloadError, match=r"/file cannot be downloaded \(the connection broke\)"):
        fetched(server.url(), tmp_path)  # it would never end
    assert left(tmp_path) == []


def test_a_server_without_ranges_sends_the_whole_again(server: Server, tmp_path: Path) -> None:
    server.cuts, server.has_ranges = [1_000_000, 500_000], False
    assert fetched(server.url(), tmp_path) == CONTENT
    assert len(server.ranges) == 3


def test_a_file_that_becomes_shorter_meanwhile(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.cuts, server.has_ranges = [1_000_000], False
    monkeypatch.setattr(transfer, "print_on_root", lambda world, text: setattr(server, "content", CONTENT[:1000]))
    assert fetched(server.url(), tmp_path) == CONTENT[:1000]


@pytest.mark.parametrize("statuses", [[500], [503, 502, 429, 408]])
def test_a_status_that_may_pass_is_asked_again(server: Server, tmp_path: Path, statuses: list[int]) -> None:
    server.statuses = list(statuses)
    assert fetched(server.url(), tmp_path) == CONTENT
    assert len(server.ranges) == len(statuses) + 1


def test_a_length_that_is_not_announced(server: Server, tmp_path: Path) -> None:
    server.announces_length = False
    assert fetched(server.url(), tmp_path) == CONTENT


def test_a_part_that_the_server_does_not_have_is_forgotten(server: Server, tmp_path: Path) -> None:
    server.cuts, server.statuses = [1_500_000], [0, 416]
    assert fetched(server.url(), tmp_path) == CONTENT
    assert [bool(asked) for asked in server.ranges] == [False, True, False]


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (500, 5)])
def test_a_status_that_stays_is_an_error(server: Server, tmp_path: Path, status: int, requests: int) -> None:
    server.statuses = [status] * 9
    with pytest.raises(DownloadError) as raised:
        fetched(server.url(), tmp_path)
    assert raised.value.message.startswith(f"{server.url()} cannot be downloaded ({status} ")
    assert raised.value.advice == f"Put that file at {tmp_path}/new/file by hand, and run the command again."
    assert len(server.ranges) == requests
    assert left(tmp_path) == []


def test_redirects_are_followed(server: Server, tmp_path: Path) -> None:
    server.redirects, server.cuts = 3, [1_000_000]
    assert fetched(server.url(), tmp_path) == CONTENT


def test_redirects_without_end_are_an_error_at_once(server: Server, tmp_path: Path) -> None:
    server.redirects = 1_000_000
    with pytest.raises(DownloadError, match="Exceeded 30 redirects"):
        fetched(server.url(), tmp_path)
    assert len(server.ranges) == 31


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/file", "Connection refused"),
        ("http://nowhere.invalid/file", "Name or service not known|Temporary failure in name resolution|No address"),
        ("gopher://127.0.0.1/file", "No connection adapters were found for 'gopher://127.0.0.1/file'"),
        ("http://[/file", "Failed to parse"),
        ("http:///file", "Invalid URL 'http:///file': No host supplied"),
    ],
)
def test_what_cannot_be_reached(tmp_path: Path, url: str, reason: str) -> None:
    with pytest.raises(DownloadError, match=rf"{re.escape(url)} cannot be downloaded \(.*({reason})"):
        fetched(url, tmp_path)
    assert left(tmp_path) == []


def test_a_silent_server_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(transfer, "PAUSES_SECONDS", (0,))
    server.is_halted = True
    with pytest.raises(DownloadError, match="cannot be downloaded"):
        fetched(server.url(), tmp_path)


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_file_of_this_machine(tmp_path: Path, form: str) -> None:
    source = tmp_path / "a file"
    source.write_bytes(CONTENT)
    url = form.format(str(source).replace(" ", "%20") if "://" in form else source)
    assert fetched(url, tmp_path) == CONTENT
    with pytest.raises(DownloadError, match=r"none cannot be read \(No such file"):
        fetched(f"{tmp_path}/none", tmp_path)


def test_a_file_that_fails_its_check_does_not_get_its_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    seen = []

    def refuse(path: Path) -> None:
        seen.append(path.read_bytes())
        raise DownloadError("No.")

    with pytest.raises(DownloadError):
        download(server.url(), tmp_path / "file", World(), refuse)
    assert seen == [CONTENT]
    assert left(tmp_path) == [tmp_path / "file"]
    assert (tmp_path / "file").read_bytes() == b"old"
