"""What the tests share: an environment without traces of the machine, a server, and sessions that get closed."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from support import services
from support.http_servers import KEY, QUICK

from openai_batches import BatchSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from support.http_servers import RawServer

    from openai_batches.emulator import BatchServer


# A machine may be slow or busy, which is no defect of ours; and the same commit passes or fails the same way twice.
settings.register_profile(
    "house", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    choices = sorted(services.PROVIDERS)
    parser.addoption("--profile", default="openai", choices=choices, help="the service that the emulator plays")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(capability): what the service of this run must be able to do")
    services.choose(config.getoption("--profile"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("needs"):
            if reason := services.lacking(*mark.args):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    # Thousands of tests are many objects, which every `gc.collect()` of a test would go through again.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _plain_environment() -> Iterator[None]:
    """No key, address or proxy of this machine reaches a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("OPENAI_") or name.lower().endswith("_proxy") or name == "NETRC":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """A run under ``nohup``, or in the background of a script, does not hand deafness on to the programs it starts."""
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture
async def server() -> AsyncIterator[BatchServer]:
    """An emulator of the service of this run, whose time stands still."""
    async with services.emulator() as running:
        yield running


@pytest.fixture
async def open_session() -> AsyncIterator[Callable[..., BatchSession]]:
    """Opens sessions with a server, and closes them."""
    async with AsyncExitStack() as stack:

        def make(server: BatchServer | RawServer | str, **options: Any) -> BatchSession:
            base_url = server if isinstance(server, str) else server.base_url
            given = {"api_key": KEY, "base_url": base_url, "retry": QUICK, "provider": services.provider_of(server)}
            session = BatchSession(**{**given, **options})
            stack.push_async_callback(session.close)
            return session

        yield make


@pytest.fixture
def session(server: BatchServer, open_session: Callable[..., BatchSession]) -> BatchSession:
    """A session with the emulator."""
    return open_session(server)
