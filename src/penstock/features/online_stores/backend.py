"""What a packed online store needs of a key-value store: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

Row = bytes | None
# Takes positions among the keys, and the old values at those; returns the new ones, None for what
# is to stay as it is. It may be called again for some positions, and must not mind.
Combine = Callable[[list[int], list[Row]], list[Row]]


class RowStore(Protocol):
    """Rows by space (a project's view) and entity key. All errors are `PenstockError`s."""

    remote: bool  # whether a read waits for a network

    def read_many(self, asked: Sequence[tuple[str, Sequence[bytes | None]]]) -> list[list[Row]]:
        """The rows of several spaces in one round trip; None for what is not there."""
        ...

    def merge(self, space: str, keys: Sequence[bytes], combine: Combine) -> None:
        """Replaces each row by what `combine` makes of it, atomically for each of the keys.

        Keys are distinct. A reader sees the old row or the new one; a process that dies half way
        leaves some keys with the old.
        """
        ...

    def delete(self, space: str, keys: Sequence[bytes]) -> int:
        """Deletes the rows of some keys; how many were there."""
        ...

    def drop(self, space: str) -> None:
        """Deletes all rows and the note of a space."""
        ...

    def require_lasting(self) -> None:
        """Raises `ResourceError` where the store may delete rows by itself, one here and there.

        A row that is missing could then not be told from one that never was.
        """
        ...

    def get_note(self, space: str) -> Row:
        """What was last put there about a space."""
        ...

    def put_note(self, space: str, note: bytes) -> None: ...

    def teardown(self) -> None:
        """Deletes all that the store keeps."""
        ...
