"""The pytest plugin: an emulator for each test that asks for one, and a session with it.

Nothing of the package is loaded before a test asks. `-p no:openai_batches` leaves the plugin out.
"""

from __future__ import annotations

import asyncio
import copy
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from openai_batches import BatchSession, Provider
    from openai_batches.emulator import BackgroundServer

__all__ = ["batch_environment", "batch_server", "batch_server_options", "batch_session"]

_MARK = "batch_server"
_MARK_LINE = f"{_MARK}(**options): parameters of the test's batch_server, such as models=[...] or clock=SteppedClock()"
# Its reader of forms hides this warning from itself, which other threads can undo; as an error it would cut uploads.
_AIOHTTPS_OWN = r"ignore:unread_data\(\) is deprecated:DeprecationWarning"
# An hour in a second: a batch of some lines is over within milliseconds.
_SPEED = 3600.0
_FIRST_RETRY_S = 0.01
# A test's clock and faults have a memory, which the next test must not see.
_STATEFUL = ("clock", "faults")
_ELSEWHERE = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID")


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, and let aiohttp use its own deprecated method where warnings are errors."""
    config.addinivalue_line("markers", _MARK_LINE)
    config.addinivalue_line("filterwarnings", _AIOHTTPS_OWN)


@pytest.fixture
def batch_server_options() -> dict[str, Any]:
    """Parameters of each `batch_server`; override the fixture to set them for a folder, a module or a class."""
    return {}


@pytest.fixture
def batch_server(request: pytest.FixtureRequest, batch_server_options: dict[str, Any]) -> Iterator[BackgroundServer]:
    """An emulator of the Batch API, for this test alone, in a thread of its own.

    Its clock runs an hour in a second, unless `clock` or `speed` is given. Parameters come from the marks
    `@pytest.mark.batch_server(...)` of the test, its class and its module, the nearest first, then from
    `batch_server_options`. Blocking and asynchronous tests use it alike.
    """
    from openai_batches.emulator import BackgroundServer  # noqa: PLC0415 - loaded for those who use it

    with BackgroundServer(**_options(request, batch_server_options)) as server:
        yield server


@pytest.fixture
def batch_environment(batch_server: BackgroundServer, monkeypatch: pytest.MonkeyPatch) -> BackgroundServer:
    """The test's `batch_server`, with an environment in which every client that is made talks to it.

    Sets `OPENAI_BASE_URL` and `OPENAI_API_KEY`, and the variables of the service that the server plays; takes the
    address from proxies, and removes organization and project, and the keys and addresses of other services that the
    package knows: a client of theirs is not made, rather than let out to them.
    """
    for name in _variables_of_others():
        monkeypatch.delenv(name, raising=False)
    for name, value in _variables(batch_server).items():
        monkeypatch.setenv(name, value)
    for name in _ELSEWHERE:
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        others = os.environ.get(name)
        monkeypatch.setenv(name, f"{others},127.0.0.1,localhost" if others else "127.0.0.1,localhost")
    return batch_server


@pytest.fixture
def batch_session(batch_server: BackgroundServer) -> Iterator[BatchSession]:
    """A session with the test's `batch_server`, for one event loop of any runner; it closes by itself.

    It repeats failed attempts as every session does, but the first time after some milliseconds.
    """
    from openai_batches import BatchSession, RetryPolicy  # noqa: PLC0415 - loaded for those who use it

    lease = _Lease(batch_server.api_key)
    retry = RetryPolicy(initial_delay_s=_FIRST_RETRY_S)
    lease.session = BatchSession(
        lease.key, base_url=batch_server.base_url, provider=_provider(batch_server), retry=retry, trust_env=False
    )
    yield lease.session
    lease.end()


def _options(request: pytest.FixtureRequest, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a test's server."""
    options = dict(defaults)
    item: pytest.Item = request.node
    for mark in reversed(list(item.iter_markers(_MARK))):
        if mark.args:
            raise pytest.UsageError(f"@pytest.mark.{_MARK} takes keyword arguments only, those of BatchServer")
        options |= mark.kwargs
    if "clock" not in options:
        options.setdefault("speed", _SPEED)
    return {name: copy.deepcopy(value) if name in _STATEFUL else value for name, value in options.items()}


def _provider(server: BackgroundServer) -> Provider:
    """Return the client's idea of the service that the server plays."""
    from openai_batches import providers  # noqa: PLC0415 - loaded for those who use it

    provider: Provider = getattr(providers, server.server.profile.name.upper(), providers.OPENAI)
    return provider


def _variables(server: BackgroundServer) -> dict[str, str]:
    """Return the environment of clients of the server."""
    provider = _provider(server)
    variables = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.api_key}
    # The service's own client adds the path by itself, and so does the provider.
    root = server.base_url.removesuffix(provider.base_url_path)
    variables |= {provider.base_url_env: root, provider.api_key_env: server.api_key}
    return {name: value for name, value in variables.items() if name}


def _variables_of_others() -> set[str]:
    """Return the names of all variables that lead a client to a service."""
    from openai_batches import Provider, providers  # noqa: PLC0415 - loaded for those who use it

    known = [each for each in vars(providers).values() if isinstance(each, Provider)]
    return {name for each in known for name in (each.api_key_env, each.base_url_env) if name}


class _Lease:
    """Closes a session no later than the event loop in which it was used, whatever runs and closes that loop.

    Fixtures that are coroutines would need to know the plugin that runs them. A loop, however, ends its asynchronous
    generators before it closes, and asking for the key is the first thing that a session does in a loop.
    """

    session: BatchSession

    def __init__(self, key: str) -> None:
        self._key = key
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: AsyncGenerator[None, None] | None = None

    async def key(self) -> str:
        """Return the key, and bind the session to the running loop."""
        if self._end is None:
            self._loop = asyncio.get_running_loop()
            self._end = self._close_at_the_end()
            await anext(self._end)
        return self._key

    def end(self) -> None:
        """Close the session if its loop is still there to do so."""
        if self._loop is None or self._end is None or self._loop.is_closed():
            return
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self.session.close(), self._loop)
        else:
            self._loop.run_until_complete(self._end.aclose())

    async def _close_at_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.session.close()
