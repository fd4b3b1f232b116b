"""The health check: the version, and how many batches are in each state."""

import asyncio
import functools

from aiohttp import web
from aiohttp.typedefs import Handler

from openai_batches.emulator.answers import json_response
from openai_batches.emulator.http.context import Context

_RUNNING = ("validating", "in_progress", "finalizing", "cancelling")


def healthz(context: Context) -> Handler:
    """Return the handler that tells the version and how many batches are in each state that is not the last."""

    async def answer(_: web.Request) -> web.StreamResponse:
        version = await asyncio.to_thread(package_version)
        counts = context.lifecycle.statuses()
        return json_response(
            {"status": "ok", "version": version, "batches": {status: counts[status] for status in _RUNNING}}
        )

    return answer


@functools.cache
def package_version() -> str:
    """Return the version of the package that is installed."""
    from importlib import metadata  # noqa: PLC0415 - it is rarely needed, and takes milliseconds to import

    try:
        return metadata.version("openai_batches")
    except metadata.PackageNotFoundError:
        return "unknown"
