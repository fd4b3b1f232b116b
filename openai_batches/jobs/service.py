"""What a job needs of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from openai_batches.providers import Provider
    from openai_batches.resources.batches import Batches
    from openai_batches.resources.files import Files

__all__ = ["Service"]


class Service(Protocol):
    """A service to work with, such as a :class:`BatchSession`."""

    @property
    def batches(self) -> Batches:
        """The verbs of batches."""
        ...

    @property
    def files(self) -> Files:
        """The verbs of files."""
        ...

    @property
    def base_url(self) -> str:
        """The service's address, without a slash at the end."""
        ...

    @property
    def provider(self) -> Provider:
        """The service, as data."""
        ...

    def now(self) -> float:
        """Return the wall clock's time in Unix seconds."""
        ...
