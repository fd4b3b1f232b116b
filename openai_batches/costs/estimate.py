"""Estimate what a batch will cost: its requests are read and their tokens counted before anything is sent."""

from __future__ import annotations

import datetime as dt
import functools
import importlib
import os
import threading
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

import attrs
import msgspec

from openai_batches._names import public
from openai_batches._text import why_no_json
from openai_batches._threads import ends_within, in_thread
from openai_batches.costs.prices import PRICES, PriceTable
from openai_batches.costs.tokens import RequestTokens, approximate_tokens, count_lines
from openai_batches.errors import InputError
from openai_batches.requests.read import iter_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai_batches.requests.read import RequestSource

__all__ = ["CountingMethod", "Estimate", "ModelEstimate", "Prices", "estimate", "read_prices"]

CountingMethod: TypeAlias = Literal["tiktoken", "approximation"]
Prices: TypeAlias = "PriceTable | Mapping[str, Any] | str | os.PathLike[str]"
_Amount = TypeVar("_Amount", int, Decimal)

# Each block costs two steps to a thread.
_BLOCK_BYTES = 512 * 1024
# The vocabulary of models that tiktoken has not heard of yet.
_NEWEST_ENCODING = "o200k_base"
# tiktoken's time grows faster than the text where it finds no place to split it, and deep enough it breaks.
_PIECE_CHARS = 16 * 1024
# System prompts and tools are the same in every request; longer texts are not, and would fill the memory.
_CACHED_CHARS = 4 * 1024
_CACHED_TEXTS = 1024


@public
@attrs.frozen(kw_only=True)
class ModelEstimate:
    """What the requests of one model will use and cost in a batch.

    Attributes:
        requests: their number.
        input_tokens: the tokens of what is asked.
        max_output_tokens: the most tokens that can be written; None where a request sets no maximum, or one that cannot
            be read.
        requests_without_maximum: the number of requests that set none.
        cost_low: the price of the input that is counted; None where the table has no price for the model.
        cost_high: the price of the input and of the most output; None where one of them is not known.
        standard_cost_low: what ``cost_low`` would be without a batch; None where only the batch price is known, too.
        standard_cost_high: what ``cost_high`` would be without a batch, likewise.
        method: how the tokens were counted.
        requests_with_unknown_maximum: the number of requests whose maximum, or number of answers, cannot be read.
        stored_parts: the number of prompts, earlier answers and other items that the service keeps and adds to the
            requests; only the service knows their tokens, so where there are any ``cost_high`` is None.
    """

    requests: int
    input_tokens: int
    max_output_tokens: int | None
    requests_without_maximum: int
    cost_low: Decimal | None
    cost_high: Decimal | None
    method: CountingMethod
    standard_cost_low: Decimal | None = None
    standard_cost_high: Decimal | None = None
    requests_with_unknown_maximum: int = 0
    stored_parts: int = 0


@public
@attrs.frozen(kw_only=True)
class Estimate:
    """What a batch will use and cost; what is not known is None, never 0.

    Attributes:
        requests: the number of requests.
        input_tokens: the tokens of what is asked.
        max_output_tokens: the most tokens that can be written; None where a request sets no maximum, or one that cannot
            be read, or where a line is unreadable.
        requests_without_maximum: the number of requests that set none.
        by_model: model → its share; a request that names no model is under ``""``.
        unpriced_models: the models that the table has no price for.
        cost_low: the price of the input that is counted, none of it from the cache; None where a model has no price.
        cost_high: the price of the input and of the most output; None where one of them is not known.
        standard_cost_low: what ``cost_low`` would be without a batch; None where only the batch price is known, too.
        standard_cost_high: what ``cost_high`` would be without a batch, likewise.
        currency: what the prices are in.
        prices_as_of: the day of the prices.
        method: ``"tiktoken"`` where all was counted with the models' own vocabularies, else ``"approximation"``.
        media_parts: the number of images, sounds and files, whose tokens are in none of these numbers.
        unreadable_lines: the number of lines that cannot be read as a request, and are not counted; where there are
            any, ``max_output_tokens`` and ``cost_high`` are None.
        requests_with_unknown_maximum: the number of requests whose maximum, or number of answers, cannot be read.
        stored_parts: the number of prompts, earlier answers and other items that the service keeps and adds to the
            requests; only the service knows their tokens, so where there are any ``cost_high`` is None.
    """

    requests: int
    input_tokens: int
    max_output_tokens: int | None
    requests_without_maximum: int
    by_model: Mapping[str, ModelEstimate] = attrs.field(hash=False)
    unpriced_models: tuple[str, ...]
    cost_low: Decimal | None
    cost_high: Decimal | None
    currency: str
    prices_as_of: dt.date
    method: CountingMethod
    media_parts: int = 0
    unreadable_lines: int = 0
    standard_cost_low: Decimal | None = None
    standard_cost_high: Decimal | None = None
    requests_with_unknown_maximum: int = 0
    stored_parts: int = 0

    def __str__(self) -> str:
        about = "" if self.method == "tiktoken" else "about "
        output = "unknown" if self.max_output_tokens is None else f"at most {self.max_output_tokens:,}"
        low, high = (
            "unknown" if cost is None else f"{cost:,.6f} {self.currency}" for cost in (self.cost_low, self.cost_high)
        )
        notes = [f"no price for {', '.join(map(repr, self.unpriced_models))}"] if self.unpriced_models else []
        notes += [f"{self.media_parts:,} images, sounds or files not counted"] if self.media_parts else []
        notes += (
            [f"{self.stored_parts:,} prompts or items kept at the service not counted"] if self.stored_parts else []
        )
        notes += [f"{self.unreadable_lines:,} lines that are no requests not counted"] if self.unreadable_lines else []
        return "; ".join(
            (
                f"{self.requests:,} requests, {about}{self.input_tokens:,} tokens in, {output} out",
                f"cost {low} for the input, {high} at most (prices of {self.prices_as_of})",
                *notes,
            )
        )


async def estimate(
    source: RequestSource,
    *,
    prices: Prices = PRICES,
    endpoint: str | None = None,
    assumed_output_tokens: int | None = None,
    vocabulary_timeout_s: float = 5.0,
) -> Estimate:
    """Return what a batch of these requests will use and cost.

    The source is read once, in blocks and in threads; only sums by model are held in memory. Tokens are counted with
    tiktoken (``pip install 'openai_batches[tokens]'``) if it has its vocabulary or can load it from the network, and
    otherwise by the length of the texts (:func:`openai_batches.costs.tokens.approximate_tokens` says how). ``method``
    says which of the two was used. Loading is tried once in a process: if it fails, no later call waits for it.

    Args:
        source: a path, or an iterable or async iterable, of requests.
        prices: a :class:`PriceTable`, a mapping as for ``PriceTable.from_mapping``, or the path of a JSON file with
            such a mapping.
        endpoint: the endpoint of requests that name none themselves.
        assumed_output_tokens: what to take for the most output of an answer to a request that sets no maximum; where it
            is not given, ``max_output_tokens`` and ``cost_high`` are None if there is such a request. It is not used in
            place of a maximum that is set but cannot be read.
        vocabulary_timeout_s: seconds to wait for a vocabulary; with 0 or less, tokens are approximated.

    Raises:
        InputError: the source is of no known kind, or the prices are not a price table.
        OSError: a file cannot be read.
    """
    table = await _table(prices)
    sums_by_model: dict[str, RequestTokens] = {}
    counters = _Counters(vocabulary_timeout_s)
    unreadable = 0
    blocks = cast("AsyncGenerator[bytes]", iter_blocks(source, block_bytes=_BLOCK_BYTES))
    async with aclosing(blocks):
        async for block in blocks:
            unreadable += await in_thread(count_lines, block, sums_by_model, counters.of, endpoint=endpoint)
    by_model = {
        model: _priced(model, sums, table, counters.methods.get(model, "approximation"), assumed_output_tokens)
        for model, sums in sums_by_model.items()
    }
    media_parts = sum(sums.media_parts for sums in sums_by_model.values())
    return _together(by_model, table, media_parts=media_parts, unreadable_lines=unreadable)


async def read_prices(path: str | os.PathLike[str]) -> PriceTable:
    """Return the price table of a JSON file, in the form of ``PriceTable.from_mapping``.

    Raises:
        InputError: the file holds no such table.
        OSError: it cannot be read.
    """
    data = await in_thread(Path(path).read_bytes)
    try:
        mapping = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{os.fspath(path)} is no price table: {why_no_json(data)}") from error
    if not isinstance(mapping, dict):
        raise InputError(f"{os.fspath(path)} is no price table: it holds no object")
    return PriceTable.from_mapping(mapping)


async def _table(prices: object) -> PriceTable:
    if isinstance(prices, PriceTable):
        return prices
    if isinstance(prices, Mapping):
        return PriceTable.from_mapping(prices)
    if isinstance(prices, str | os.PathLike):
        return await read_prices(prices)
    raise InputError(f"prices are a PriceTable, a mapping or the path of a JSON file, not {type(prices).__name__}")


def _priced(
    model: str, sums: RequestTokens, table: PriceTable, method: CountingMethod, assumed: int | None
) -> ModelEstimate:
    most: int | None = sums.max_output_tokens
    if sums.requests_without_maximum:
        most = None if assumed is None else sums.max_output_tokens + assumed * sums.answers_without_maximum
    if sums.requests_with_unknown_maximum:
        most = None
    high = None if sums.stored_parts else most
    price = table.find(model)

    def cost(output_tokens: int | None, *, in_batch: bool) -> Decimal | None:
        if price is None or output_tokens is None:
            return None
        return price.cost(input_tokens=sums.input_tokens, output_tokens=output_tokens, in_batch=in_batch)

    return ModelEstimate(
        requests=sums.requests,
        input_tokens=sums.input_tokens,
        max_output_tokens=most,
        requests_without_maximum=sums.requests_without_maximum,
        cost_low=cost(0, in_batch=True),
        cost_high=cost(high, in_batch=True),
        standard_cost_low=cost(0, in_batch=False),
        standard_cost_high=cost(high, in_batch=False),
        method=method,
        requests_with_unknown_maximum=sums.requests_with_unknown_maximum,
        stored_parts=sums.stored_parts,
    )


def _together(
    by_model: dict[str, ModelEstimate], table: PriceTable, *, media_parts: int, unreadable_lines: int
) -> Estimate:
    shares = by_model.values()
    # What a line would add that cannot be read is not known.
    unread = [None] if unreadable_lines else []
    return Estimate(
        requests=sum(share.requests for share in shares),
        input_tokens=sum(share.input_tokens for share in shares),
        max_output_tokens=_sum_of([*(share.max_output_tokens for share in shares), *unread], 0),
        requests_without_maximum=sum(share.requests_without_maximum for share in shares),
        by_model=by_model,
        unpriced_models=tuple(model for model, share in by_model.items() if share.cost_low is None),
        cost_low=_sum_of([share.cost_low for share in shares], Decimal(0)),
        cost_high=_sum_of([*(share.cost_high for share in shares), *unread], Decimal(0)),
        standard_cost_low=_sum_of([share.standard_cost_low for share in shares], Decimal(0)),
        standard_cost_high=_sum_of([*(share.standard_cost_high for share in shares), *unread], Decimal(0)),
        currency=table.currency,
        prices_as_of=table.as_of,
        method="tiktoken" if shares and all(share.method == "tiktoken" for share in shares) else "approximation",
        media_parts=media_parts,
        unreadable_lines=unreadable_lines,
        requests_with_unknown_maximum=sum(share.requests_with_unknown_maximum for share in shares),
        stored_parts=sum(share.stored_parts for share in shares),
    )


def _sum_of(amounts: Iterable[_Amount | None], nothing: _Amount) -> _Amount | None:
    """Return the sum of amounts; None where one is not known."""
    total = nothing
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


class _Counters:
    """Says how the texts of each model are counted, and remembers it."""

    def __init__(self, timeout_s: float) -> None:
        self.methods: dict[str, CountingMethod] = {}
        self._timeout_s = timeout_s
        self._counters: dict[str, Callable[[str], int]] = {}

    def of(self, model: str) -> Callable[[str], int]:
        """Return what counts a model's texts; called in a thread, which may wait here for a vocabulary."""
        if (counter := self._counters.get(model)) is None:
            exact = _VOCABULARIES.counter(model, self._timeout_s)
            self.methods[model] = "approximation" if exact is None else "tiktoken"
            counter = self._counters[model] = exact or approximate_tokens
        return counter


class _Vocabularies:
    """tiktoken's encodings; once loading one has failed, no other is tried."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._encodings: dict[str, Any] = {}
        self._has_failed = False

    def counter(self, model: str, timeout_s: float) -> Callable[[str], int] | None:
        if timeout_s <= 0:
            return None
        try:
            tiktoken = importlib.import_module("tiktoken")
        except ImportError:
            return None
        try:
            name = tiktoken.encoding_name_for_model(model)
        except KeyError:
            name = _NEWEST_ENCODING
        with self._lock:
            if name not in self._encodings and not self._has_failed:
                self._load(tiktoken, name, timeout_s)
            encoding = self._encodings.get(name)
        return None if encoding is None else _counter(encoding)

    def _load(self, tiktoken: Any, name: str, timeout_s: float) -> None:
        def load() -> None:
            try:
                self._encodings[name] = tiktoken.get_encoding(name)
            except Exception:  # noqa: BLE001  # whatever it cannot do without: a network, a disk, requests
                self._has_failed = True

        # Nothing can end a download that hangs; one that ends late serves the next call.
        if not ends_within(load, timeout_s, name=f"openai_batches-{name}"):
            self._has_failed = True


_VOCABULARIES = _Vocabularies()


def _counter(encoding: Any) -> Callable[[str], int]:
    def count(text: str) -> int:
        if len(text) <= _PIECE_CHARS:
            return len(encoding.encode_ordinary(text))
        pieces = range(0, len(text), _PIECE_CHARS)
        return sum(len(encoding.encode_ordinary(text[start : start + _PIECE_CHARS])) for start in pieces)

    cached = functools.lru_cache(maxsize=_CACHED_TEXTS)(count)
    return lambda text: cached(text) if len(text) <= _CACHED_CHARS else count(text)
