"""Serving until somebody says stop."""

import asyncio
import contextlib
import shlex
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager

from openai_batches.emulator.options import Options, say
from openai_batches.emulator.server import BatchServer


async def serve(
    server: BatchServer,
    options: Options,
    *,
    around: Callable[[BatchServer], AbstractContextManager[object]] = contextlib.nullcontext,
) -> None:
    """Serve until SIGINT or SIGTERM, and say on standard output what a client's shell has to export.

    Args:
        server: The server, which was not started yet.
        options: What the program was told.
        around: Makes what is entered when the server listens, and left before it ends.

    Raises:
        OSError: The address or the data folder cannot be used, or standard output cannot be written.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with server:
        with around(server):
            say("".join(f"export {name}={word}\n" for name, word in _words(server, options).items()))
            await stop.wait()


def _words(server: BatchServer, options: Options) -> dict[str, str]:
    profile = server.profile
    words = {"OPENAI_BASE_URL": shlex.quote(server.base_url), **options.exports}
    if profile.root_variable:
        words[profile.root_variable] = shlex.quote(server.base_url.removesuffix(profile.prefixes[0]))
        words[profile.key_variable] = words["OPENAI_API_KEY"]
    return words
