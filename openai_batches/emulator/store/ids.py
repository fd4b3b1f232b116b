"""Ids of the service's shapes."""

import random
import string

_BASE62 = string.digits + string.ascii_letters


class Ids:
    """Makes ids of the service's shapes.

    Args:
        seed: Makes the ids repeatable; None draws them from the system's entropy.
    """

    def __init__(self, seed: int | str | None = None) -> None:
        self._random = random.Random(seed)

    def reseed(self, seed: int | str) -> None:
        """Begin another repeatable row of ids."""
        self._random.seed(seed)

    def hex(self, digits: int) -> str:
        """Return `digits` random hexadecimal digits."""
        return f"{self._random.getrandbits(digits * 4):0{digits}x}"

    def timed(self, prefix: str, created_at: float) -> str:
        """Return an id that carries its creation time (Unix seconds) in its first eight digits."""
        return f"{prefix}{int(created_at) & 0xFFFFFFFF:08x}{self.hex(4)}8190{self.hex(16)}"

    def batch(self, created_at: float) -> str:
        """Return the id of a batch."""
        return self.timed("batch_", created_at)

    def file(self) -> str:
        """Return the id of a file."""
        return "file-" + "".join(self._random.choices(_BASE62, k=22))

    def request(self) -> str:
        """Return the id of an HTTP request."""
        return f"req_{self.hex(32)}"
