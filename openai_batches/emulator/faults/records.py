"""Faults of records: answers whose JSON is broken, or says what is not so."""

from collections.abc import Callable, Iterator
from typing import Any, Self, Unpack

import attrs
import msgspec
from aiohttp import web

from openai_batches.emulator.faults.aim import AimedFault, Where
from openai_batches.emulator.faults.cases import BATCHES, Case
from openai_batches.emulator.faults.kinds import field, kind

_FILE_IDS = ("output_file_id", "error_file_id")
_COUNTS = ("total", "completed", "failed")


@attrs.frozen(kw_only=True)
class _Nulls:
    """Whether the counts are there, and their members are null."""

    has_members: bool = field()


@attrs.frozen(kw_only=True)
class _Word:
    """The status that the service makes up."""

    word: str = field()


async def changed(case: Case, change: Callable[[dict[str, Any]], None]) -> web.StreamResponse:
    """Do what was asked, and let `change` alter the JSON object of a good answer."""

    def rewrite(data: bytes) -> bytes:
        body = msgspec.json.decode(data, type=dict[str, Any])
        change(body)
        return msgspec.json.encode(body)

    return await _rewritten(case, rewrite)


async def _rewritten(case: Case, rewrite: Callable[[bytes], bytes]) -> web.StreamResponse:
    answer = await case.act()
    if isinstance(answer, web.Response) and isinstance(answer.body, bytes):
        is_good = answer.status == 200 and answer.content_type == "application/json"
        answer.body = rewrite(answer.body) if is_good else answer.body
    return answer


def _batches(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every batch in an answer: the answer itself, or those of a page."""
    found = body.get("data") if body.get("object") == "list" else [body]
    yield from (batch for batch in found or () if isinstance(batch, dict) and "input_file_id" in batch)


async def _garbled_json(case: Case) -> web.StreamResponse:
    return await _rewritten(case, lambda data: data[: len(data) // 2])


async def _blank_file_ids(case: Case) -> web.StreamResponse:
    def blank(body: dict[str, Any]) -> None:
        for batch in _batches(body):
            batch |= {name: batch.get(name) or "" for name in _FILE_IDS}

    return await changed(case, blank)


async def _lying_counts(case: Case) -> web.StreamResponse:
    def lie(body: dict[str, Any]) -> None:
        for batch in _batches(body):
            counts: dict[str, Any] = batch.get("request_counts") or {}
            total = counts.get("total", 0)
            batch["request_counts"] = {"total": total, "completed": total, "failed": 0}

    return await changed(case, lie)


async def _null_counts(case: Case, nulls: _Nulls) -> web.StreamResponse:
    def erase(body: dict[str, Any]) -> None:
        for batch in _batches(body):
            batch["request_counts"] = dict.fromkeys(_COUNTS) if nulls.has_members else None

    return await changed(case, erase)


async def _unknown_status(case: Case, made_up: _Word) -> web.StreamResponse:
    def rename(body: dict[str, Any]) -> None:
        for batch in _batches(body):
            batch["status"] = made_up.word

    return await changed(case, rename)


class RecordFaults(AimedFault):
    """Names the faults of records."""

    __slots__ = ()

    @classmethod
    @kind(_garbled_json, subject="answer")
    def garbled_json(cls, **where: Unpack[Where]) -> Self:
        """Act, and answer 200 with the first half of the JSON alone."""
        return cls("garbled_json", **where)

    @classmethod
    @kind(_blank_file_ids, subject="answer", path=BATCHES)
    def blank_file_ids(cls, **where: Unpack[Where]) -> Self:
        """Say `""` where the id of a result file is null."""
        return cls("blank_file_ids", **where)

    @classmethod
    @kind(_lying_counts, subject="answer", path=BATCHES)
    def lying_counts(cls, **where: Unpack[Where]) -> Self:
        """Count every request as completed and none as failed."""
        return cls("lying_counts", **where)

    @classmethod
    @kind(_null_counts, _Nulls, subject="answer", path=BATCHES)
    def null_counts(cls, *, has_members: bool = False, **where: Unpack[Where]) -> Self:
        """Say null instead of the counts, or for each of their members."""
        return cls("null_counts", has_members=has_members, **where)

    @classmethod
    @kind(_unknown_status, _Word, subject="answer", path=BATCHES)
    def unknown_status(cls, word: str = "paused", **where: Unpack[Where]) -> Self:
        """Give a batch a status that no document names."""
        return cls("unknown_status", word=word, **where)
