"""The requests that results belong to: their ids, and the requests that have to be sent again."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from openai_batches._text import as_count
from openai_batches._threads import in_threads
from openai_batches.errors import InputError
from openai_batches.requests.read import RequestSource, blocks_of_path, iter_blocks
from openai_batches.requests.request import BatchRequest, as_line
from openai_batches.results.bodies import UNREADABLE
from openai_batches.results.line import id_text
from openai_batches.results.result import BatchResult

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Inputs", "ids_in_block", "iter_ids", "to_requests"]

# Requests, or their ids, or several files of requests as Path objects: a str in an iterable is an id.
Inputs: TypeAlias = "RequestSource | Iterable[str | os.PathLike[str]] | AsyncIterable[str | os.PathLike[str]]"

_Pair: TypeAlias = tuple[str, Any]
_ITEMS = 4_096
_SHOWN_IDS = 3


class _Head(msgspec.Struct, gc=False):
    custom_id: str


_decoder = msgspec.json.Decoder(_Head, strict=False)
# How the lines of result files begin; requests have no id but their custom_id.
_RESULT_LINE = re.compile(rb'^\s*\{\s*"id"\s*:.{0,200}"response"\s*:', re.DOTALL)


async def iter_ids(inputs: Inputs) -> AsyncGenerator[list[str], None]:
    """Yield the custom_ids of inputs, in order, many at a time.

    A str in an iterable is a line if it holds a JSON object; any other str is a custom_id.
    """
    async for pairs in _iter_pairs(inputs):
        yield [custom_id for custom_id, _ in pairs]


async def to_requests(
    unfinished: Iterable[BatchResult | str] | AsyncIterable[BatchResult | str],
    inputs: Inputs,
    *,
    retry_failed: bool = False,
) -> AsyncIterator[bytes]:
    r"""Yield the requests that did not run, as lines of an input file, ready to be sent again.

    These are the inputs of results that are ``expired``, ``cancelled`` or ``missing``; results with another outcome are
    passed over, so that all results of a batch can be given. The lines are those of the inputs, in their order, each
    ended by ``\n``: they can be given to ``files.create`` as they are. Only the ids to send again are held in memory.

    Args:
        unfinished: results, or the custom_ids themselves.
        inputs: the requests the batch was made of: a path, or an iterable or async iterable of requests.
        retry_failed: send again, too, what failed for a reason that may pass (``result.is_retryable``).

    Raises:
        InputError: an id is not among the inputs (raised after the last of those that are), the inputs are ids only, or
            lines of a result file, not one of them is in the batch of these results, or these are no results.
        OSError: a file cannot be read.
    """
    wanted = await _all_wanted(unfinished, retry_failed=retry_failed)
    if getattr(getattr(unfinished, "summary", None), "is_of_other_inputs", False):
        raise InputError("not one of the inputs is in the batch of these results: are they those of another one?")
    if not wanted:
        return
    async for pairs in _iter_pairs(inputs):
        for custom_id, item in pairs:
            if custom_id in wanted:
                wanted.discard(custom_id)
                yield _line_of(item)
        if not wanted:
            return
    shown = ", ".join(map(repr, itertools.islice(sorted(wanted), _SHOWN_IDS)))
    count = as_count(len(wanted), "request to send again is", "requests to send again are")
    raise InputError(f"{count} not among the inputs: {shown}")


async def _all_wanted(
    unfinished: Iterable[BatchResult | str] | AsyncIterable[BatchResult | str], *, retry_failed: bool
) -> set[str]:
    wanted: set[str] = set()
    if isinstance(unfinished, AsyncIterable):
        async for item in unfinished:
            wanted.update(_wanted(item, retry_failed=retry_failed))
    elif isinstance(unfinished, Iterable) and not isinstance(unfinished, str | bytes | Mapping):
        for item in unfinished:
            wanted.update(_wanted(item, retry_failed=retry_failed))
    else:
        what = "unfinished requests are an iterable or an async iterable of results or custom_ids"
        raise InputError(f"{what}, not {type(unfinished).__name__}")
    return wanted


def _wanted(item: BatchResult | str, *, retry_failed: bool) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    elif not isinstance(item, BatchResult):
        raise InputError(f"an unfinished request is a BatchResult or a custom_id, not {type(item).__name__}")
    elif item.custom_id is not None and (item.never_ran or (retry_failed and item.is_retryable)):
        yield item.custom_id


def _line_of(item: Any) -> bytes:
    if item is None:
        raise InputError("requests to send again are taken from the inputs, which are custom_ids only")
    if isinstance(item, bytes) and _RESULT_LINE.search(item):
        raise InputError(f"requests to send again are taken from the inputs, and this is a result: {item[:80]!r}")
    return (item if isinstance(item, bytes) else as_line(item)) + b"\n"


async def _iter_pairs(inputs: Inputs) -> AsyncIterator[list[_Pair]]:
    """Yield pairs of id and request, many at a time."""
    if isinstance(inputs, AsyncIterable):
        async for pairs in _pairs_of_async(inputs):
            yield pairs
    elif isinstance(inputs, str | os.PathLike | bytes | bytearray | memoryview) or callable(
        getattr(inputs, "read", None)
    ):
        async for block in iter_blocks(inputs):  # type: ignore[arg-type]  # these are its own
            if found := _pairs_in(block):
                yield found
    elif isinstance(inputs, Iterable) and not isinstance(inputs, Mapping):
        async with aclosing(in_threads(_pairs_of(inputs))) as steps:
            async for pairs in steps:
                yield pairs
    else:
        raise InputError(f"inputs are a path or an iterable, not {type(inputs).__name__}")


async def _pairs_of_async(items: AsyncIterable[Any]) -> AsyncIterator[list[_Pair]]:
    pairs: list[_Pair] = []
    async for item in items:
        if isinstance(item, os.PathLike):
            if pairs:
                yield pairs
                pairs = []
            async for block in iter_blocks(item):
                if found := _pairs_in(block):
                    yield found
            continue
        pairs.append(_pair(item))
        if len(pairs) >= _ITEMS:
            yield pairs
            pairs = []
            await asyncio.sleep(0)
    if pairs:
        yield pairs


def _pairs_of(items: Iterable[Any]) -> Generator[list[_Pair], None, None]:
    pairs: list[_Pair] = []
    for item in items:
        if isinstance(item, os.PathLike):
            if pairs:
                yield pairs
                pairs = []
            for block in blocks_of_path(item):
                if found := _pairs_in(block):
                    yield found
            continue
        pairs.append(_pair(item))
        if len(pairs) >= _ITEMS:
            yield pairs
            pairs = []
    if pairs:
        yield pairs


def _pair(item: Any) -> _Pair:
    """Return the id of an input, and the input if it is more than its id."""
    if isinstance(item, BatchRequest):
        return item.custom_id, item
    if isinstance(item, Mapping):
        custom_id = id_text(item.get("custom_id"))
    elif isinstance(item, bytes | bytearray | memoryview):
        item = bytes(item).strip()
        custom_id = _id_in(item)
    elif isinstance(item, str):
        custom_id = (
            _id_in(item.encode("utf-8", "surrogatepass")) if item.lstrip("\ufeff \t\r\n").startswith("{") else None
        )
        if custom_id is None:
            return item, None
    else:
        raise InputError(f"an input is a request, a mapping, a line, a path or a custom_id, not {type(item).__name__}")
    if custom_id is None:
        raise InputError(f"an input has no custom_id: {item!r:.200}")
    return custom_id, item


def ids_in_block(block: bytes) -> list[str]:
    """Return the ids of the requests in a block of whole lines, each of which must have one."""
    try:
        return [head.custom_id for head in map(_decoder.decode, io.BytesIO(block))]
    except UNREADABLE:
        return [custom_id for custom_id, _ in _pairs_in(block)]


def _pairs_in(block: bytes) -> list[_Pair]:
    lines = [line for line in block.split(b"\n") if line and not line.isspace()]
    try:
        heads = _decoder.decode_lines(block)
    except UNREADABLE:
        heads = []
    if len(heads) == len(lines):
        return [(head.custom_id, line) for head, line in zip(heads, lines, strict=True)]
    return [_pair(line) for line in lines]


def _id_in(line: bytes) -> str | None:
    try:
        return _decoder.decode(line).custom_id
    except UNREADABLE:
        pass
    try:
        document = json.loads(line.decode("utf-8-sig"), strict=False)
    except (ValueError, RecursionError):
        return None
    return id_text(document.get("custom_id")) if isinstance(document, dict) else None
