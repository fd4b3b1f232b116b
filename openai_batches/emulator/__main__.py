"""Serve the emulator from the command line: `python -m openai_batches.emulator`."""

import argparse
import asyncio
import contextlib
import ipaddress
import signal
import sys
from collections.abc import Sequence

from .server import BatchServer

_ANY_KEY = "sk-emulator"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m openai_batches.emulator", description="Emulate the Batch API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--speed", type=float, default=1.0, help="emulated seconds per second (default: %(default)s)")
    parser.add_argument("--api-key", action="append", metavar="KEY", help="accept only this key; may be repeated")
    options = parser.parse_args(argv)
    if not _is_loopback(options.host) and not options.api_key:
        parser.error(f"{options.host} can be reached from outside: give an --api-key")
    if not 0 <= options.port <= 65_535:
        parser.error("--port must be 0 to 65535")
    if not options.speed > 0:
        parser.error("--speed must be above zero")
    server = BatchServer(host=options.host, port=options.port, speed=options.speed, api_keys=options.api_key)
    try:
        asyncio.run(_serve(server, options.api_key[0] if options.api_key else _ANY_KEY))
    except OSError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 1
    return 0


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _serve(server: BatchServer, key: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Where the loop cannot watch signals, SIGINT still ends the program as KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with server:
        sys.stdout.write(f"export OPENAI_BASE_URL={server.base_url}\nexport OPENAI_API_KEY={key}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":  # pragma: no cover - its test runs it in a process of its own
    raise SystemExit(main())
