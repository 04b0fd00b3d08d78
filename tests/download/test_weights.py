import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from shardtune.config import WeightSource
from shardtune.download import weights
from shardtune.download.source import RemoteFile
from shardtune.download.weights import WEIGHTS, fetch_weights, find_pretrained
from shardtune.runtime.world import World
from tests.download.archives import packed
from tests.download.server import serving

ARCHIVES: dict[WeightSource, bytes] = {
    "2016": packed(("inception-v3/model.ckpt-157585", b"2016"), ("inception-v3/checkpoint", b"state")),
    "slim": packed(("inception_v3.ckpt", b"slim")),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shardtune"


@pytest.mark.parametrize(("source", "path"), [("2016", "inception-v3/model.ckpt-157585"), ("slim", "inception_v3.ckpt")])
def test_archives_leave_the_checkpoint(tmp_path: Path, source: WeightSource, path: str) -> None:
    with serving(ARCHIVES[source]) as server:
        for _ in range(2):
            found = fetch_weights(source, tmp_path / "to", World(), url=server.url())
            assert found == tmp_path / "to" / path
            assert found.read_text() == source
        assert len(server.ranges) == 1


@pytest.mark.parametrize("source", ["keras", "keras_notop"])
def test_keras_s_file_is_the_checkpoint(tmp_path: Path, source: WeightSource) -> None:
    content = source.encode()
    with serving(content) as server:
        found = fetch_weights(source, tmp_path, World(), url=server.url(), sha256=hashlib.sha256(content).hexdigest().upper())
    assert found.name == WEIGHTS[source].file.name
    assert found.read_bytes() == content


def test_the_published_addresses() -> None:
    assert {name: each.file.url for name, each in WEIGHTS.items()} == {
        "2016": "http://download.tensorflow.org/models/image/imagenet/inception-v3-2016-03-01.tar.gz",
        "slim": "http://download.tensorflow.org/models/inception_v3_2016_08_28.tar.gz",
        "keras": "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
        "inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        "keras_notop": "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
        "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    }


def test_the_word_imagenet_is_keras_s_file_in_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = b"of Keras"
    with serving(content) as server:
        file = RemoteFile("k.h5", server.url(), f"md5:{hashlib.md5(content).hexdigest()}")
        monkeypatch.setitem(weights.WEIGHTS, "keras", replace(WEIGHTS["keras"], file=file, checkpoint="k.h5"))
        for _ in range(2):
            found = find_pretrained(Path("imagenet"), World())
            assert found == cache / "weights" / "k.h5"
            assert found.read_bytes() == content
        assert len(server.ranges) == 1
        (tmp_path / "imagenet").touch()  # what exists is meant
        assert find_pretrained(Path("imagenet"), World()) == Path("imagenet")
        assert find_pretrained(tmp_path / "imagenet", World()) == tmp_path / "imagenet"
    assert find_pretrained(tmp_path / "elsewhere", World()) == tmp_path / "elsewhere"
