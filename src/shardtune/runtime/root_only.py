"""Values that are not on every rank, marked as such."""

from typing import Generic, TypeVar

T = TypeVar("T")


class RootOnly(Generic[T]):
    """A value that exists on rank 0 only."""

    def __init__(self, value: T | None, *, is_root: bool) -> None:
        self._value, self._is_root = value, is_root

    def get(self) -> T:
        """The value.

        Raises:
            RuntimeError: this is not rank 0, which is a bug of the caller.
        """
        if not self._is_root:
            raise RuntimeError("this value exists on rank 0 only")
        return self._value  # type: ignore[return-value]
