from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from shardtune.dataset.tfrecord import frame, unframe


@given(st.binary(max_size=2000))
def test_unframe_undoes_frame(data: bytes) -> None:
    assert unframe(frame(data)) == data


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_our_bytes_are_tensorflow_s(tmp_path: Path, payloads: list[bytes]) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_bytes(b"".join(map(frame, payloads)))
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for payload in payloads:
            writer.write(payload)
    assert ours.read_bytes() == theirs.read_bytes()
    assert list(tf.data.TFRecordDataset(str(ours)).as_numpy_iterator()) == payloads


def test_every_flipped_bit_is_found() -> None:
    record = frame(b"a small record, but not an empty one")
    for bit in range(8 * len(record)):
        damaged = bytearray(record)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"CRC of its (length|data) does not match"):
            unframe(bytes(damaged))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 30, 49])
def test_a_truncated_record_is_found(size: int) -> None:
    record = frame(b"x" * 34)
    with pytest.raises(ValueError, match=f"it is {size} bytes long|room for {size - 16}"):
        unframe(record[:size])
