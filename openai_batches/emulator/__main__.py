"""Serve the emulator from the command line: `python -m openai_batches.emulator`."""

import asyncio
import contextlib
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence

from .options import PROGRAM, read_options
from .server import BatchServer


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM and return the exit status."""
    options = read_options(argv)
    try:
        server = BatchServer(**options.server)
        asyncio.run(_serve(server, options.exports))
    except OSError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 1
    except KeyboardInterrupt:
        # Where the loop cannot watch signals, it is interrupted, and closes the server on its way here.
        return 0
    return 0


async def _serve(server: BatchServer, exports: Mapping[str, str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with server:
        words = {"OPENAI_BASE_URL": shlex.quote(server.base_url), **exports}
        sys.stdout.write("".join(f"export {name}={word}\n" for name, word in words.items()))
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":  # pragma: no cover - its test runs it in a process of its own
    raise SystemExit(main())
