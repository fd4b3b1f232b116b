"""Faults of connections: those that break, and answers that do not come."""

import asyncio
from typing import Self, Unpack

import attrs
from aiohttp import web

from openai_batches.emulator.answers import NoAnswer
from openai_batches.emulator.faults.aim import AimedFault, Where
from openai_batches.emulator.faults.cases import FILES, Case
from openai_batches.emulator.faults.kinds import field, kind

# How often a hanging answer checks whether its client has gone.
_LOOK_S = 0.02


@attrs.frozen(kw_only=True)
class _After:
    """How much of a body passes before the connection is reset; None is half of it."""

    after_bytes: int | None = field(least=0)


async def _lost_answer(case: Case) -> web.StreamResponse:
    await case.act_and_drop()
    return NoAnswer()


async def _reset_before(_: Case) -> web.StreamResponse:
    return NoAnswer()


async def _reset_upload(case: Case, cut: _After) -> web.StreamResponse:
    half = (case.request.content_length or 0) // 2
    limit = half if cut.after_bytes is None else cut.after_bytes
    received = 0
    async for chunk in case.request.content.iter_any():
        received += len(chunk)
        if received >= limit:
            break
    return NoAnswer()


async def _hang_before(case: Case) -> web.StreamResponse:
    while case.request.transport is not None and not case.closing.is_set():  # noqa: ASYNC110 - a lost client sets no event
        await asyncio.sleep(_LOOK_S)
    return NoAnswer()


async def _hang_after(case: Case) -> web.StreamResponse:
    await case.act_and_drop()
    return await _hang_before(case)


class ConnectionFaults(AimedFault):
    """Names the faults of connections."""

    __slots__ = ()

    @classmethod
    @kind(_lost_answer)
    def lost_answer(cls, **where: Unpack[Where]) -> Self:
        """Act, then reset the connection without an answer."""
        return cls("lost_answer", **where)

    @classmethod
    @kind(_reset_before)
    def reset_before(cls, **where: Unpack[Where]) -> Self:
        """Reset the connection before acting."""
        return cls("reset_before", **where)

    @classmethod
    @kind(_reset_upload, _After, method="POST", path=FILES)
    def reset_upload(cls, *, after_bytes: int | None = None, **where: Unpack[Where]) -> Self:
        """Reset the connection in the middle of the request's body."""
        return cls("reset_upload", after_bytes=after_bytes, **where)

    @classmethod
    @kind(_hang_before)
    def hang_before(cls, **where: Unpack[Where]) -> Self:
        """Neither act nor answer, until the client gives up or the server closes."""
        return cls("hang_before", **where)

    @classmethod
    @kind(_hang_after)
    def hang_after(cls, **where: Unpack[Where]) -> Self:
        """Act, then never answer, until the client gives up or the server closes."""
        return cls("hang_after", **where)
