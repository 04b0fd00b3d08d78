from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from shardtune.dataset.tfrecord import HEADER_BYTES, data_length, frame, unframe


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


@pytest.mark.parametrize("size", range(50))
def test_a_truncated_record_is_found(size: int) -> None:
    message = f"it ends after {size} bytes" if size < HEADER_BYTES else f"it has {size} bytes where its length says 50"
    with pytest.raises(ValueError, match=message):
        unframe(frame(b"x" * 34)[:size])


@given(st.binary(max_size=300))
def test_the_length_of_the_data_stands_in_the_header(data: bytes) -> None:
    assert data_length(frame(data)[:HEADER_BYTES]) == len(data)
