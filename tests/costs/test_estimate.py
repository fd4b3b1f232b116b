"""What a batch will cost: read in blocks, counted with a vocabulary or without, priced by model."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import sys
import threading
import time
import types
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from openai_batches.costs import estimate as estimate_module
from openai_batches.costs.estimate import Estimate, ModelEstimate, estimate, read_prices
from openai_batches.costs.prices import PRICES, PriceTable
from openai_batches.errors import InputError
from openai_batches.requests.request import BatchRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MAPPING = {
    "as_of": "2026-01-31",
    "currency": "EUR",
    "models": {"a": {"input": 2, "output": 4}, "b": {"input": 20, "output": 40}},
}
TABLE = PriceTable.from_mapping(MAPPING)
MILLION = 1_000_000


@pytest.fixture(autouse=True)
def no_vocabularies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts as a process does, and without tiktoken."""
    monkeypatch.setattr(estimate_module, "_VOCABULARIES", estimate_module._Vocabularies())
    monkeypatch.setitem(sys.modules, "tiktoken", None)


def request(number: int = 0, *, model: str | None = "a", text: str = "12345678", **more: Any) -> BatchRequest:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return BatchRequest(f"r{number}", body, "/v1/chat/completions")


class FakeTiktoken(types.ModuleType):
    """One token for each character."""

    def __init__(self, get_encoding: Callable[[str], Any] | None = None) -> None:
        super().__init__("tiktoken")
        self.asked: list[str] = []
        self.texts: list[str] = []
        self._get_encoding = get_encoding

    def encoding_name_for_model(self, model: str) -> str:
        return {"a": "o200k_base", "b": "cl100k_base"}[model]

    def get_encoding(self, name: str) -> Any:
        self.asked.append(name)
        return self if self._get_encoding is None else self._get_encoding(name)

    def encode_ordinary(self, text: str) -> list[str]:
        self.texts.append(text)
        return list(text)


@pytest.fixture
def tiktoken(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeTiktoken]:
    def install(get_encoding: Callable[[str], Any] | None = None) -> FakeTiktoken:
        fake = FakeTiktoken(get_encoding)
        monkeypatch.setitem(sys.modules, "tiktoken", fake)
        return fake

    return install


async def test_an_estimate_has_tokens_and_costs_by_model() -> None:
    """Input at the batch price is the low end; with the most output that the requests allow, it is the high end."""
    requests = [request(0, max_tokens=100), request(1, max_tokens=100), request(2, model="b", max_tokens=10)]
    found = await estimate(requests, prices=TABLE)
    tokens = 3 + 4 + 2
    assert found == Estimate(
        requests=3,
        input_tokens=3 * tokens,
        max_output_tokens=210,
        requests_without_maximum=0,
        by_model=found.by_model,
        unpriced_models=(),
        cost_low=Decimal(2 * tokens + 10 * tokens) / MILLION,
        cost_high=Decimal(2 * tokens + 10 * tokens + 400 + 200) / MILLION,
        standard_cost_low=Decimal(4 * tokens + 20 * tokens) / MILLION,
        standard_cost_high=Decimal(4 * tokens + 20 * tokens + 800 + 400) / MILLION,
        currency="EUR",
        prices_as_of=dt.date(2026, 1, 31),
        method="approximation",
    )
    assert found.by_model["b"] == ModelEstimate(
        requests=1,
        input_tokens=tokens,
        max_output_tokens=10,
        requests_without_maximum=0,
        cost_low=Decimal(10 * tokens) / MILLION,
        cost_high=Decimal(10 * tokens + 200) / MILLION,
        standard_cost_low=Decimal(20 * tokens) / MILLION,
        standard_cost_high=Decimal(20 * tokens + 400) / MILLION,
        method="approximation",
    )
    assert str(found) == (
        "3 requests, about 27 tokens in, at most 210 out; cost 0.000108 EUR for the input, 0.000708 EUR at most "
        "(prices of 2026-01-31)"
    )


async def test_a_request_without_a_maximum_makes_the_high_end_unknown() -> None:
    """It is None, not the low end; an assumption that the caller states takes its place."""
    requests = [request(0, max_tokens=100), request(1, n=2)]
    found = await estimate(requests, prices=TABLE)
    assert (found.max_output_tokens, found.cost_high, found.requests_without_maximum) == (None, None, 1)
    assert found.cost_low is not None
    assert "unknown out" in str(found)
    assumed = await estimate(requests, prices=TABLE, assumed_output_tokens=1000)
    assert assumed.max_output_tokens == 2100
    assert assumed.cost_high == found.cost_low + Decimal(2 * 2100) / MILLION
    assert assumed.requests_without_maximum == 1


async def test_a_model_without_a_price_makes_the_cost_unknown() -> None:
    """It is named, and the tokens are counted; so is a request that names no model."""
    found = await estimate([request(0), request(1, model="c", max_tokens=5), request(2, model=None)], prices=TABLE)
    assert found.unpriced_models == ("c", "")
    assert (found.cost_low, found.cost_high) == (None, None)
    assert found.by_model["a"].cost_low is not None
    assert (found.by_model["c"].cost_low, found.by_model["c"].cost_high) == (None, None)
    assert found.by_model["c"].max_output_tokens == 5
    assert "cost unknown for the input" in str(found)


async def test_embeddings_cost_their_input_alone() -> None:
    """They write nothing, so both ends are the same, and known; the endpoint may be said once for all requests."""
    found = await estimate(
        [{"custom_id": "1", "body": {"model": "text-embedding-3-small", "input": ["1234"] * 10}}],
        endpoint="/v1/embeddings",
    )
    assert found.max_output_tokens == 0
    assert found.cost_low == found.cost_high == Decimal("0.01") * 10 / MILLION
    assert (found.currency, found.prices_as_of) == ("USD", PRICES.as_of)


async def test_nothing_costs_nothing() -> None:
    """An empty source is an estimate of 0, which is known."""
    found = await estimate([])
    assert (found.requests, found.input_tokens, found.max_output_tokens) == (0, 0, 0)
    assert (found.cost_low, found.cost_high, found.method) == (0, 0, "approximation")


async def test_every_source_gives_the_same_estimate(tmp_path: Path) -> None:
    """A path, a compressed one, a list and an async iterable of requests, and their raw lines."""
    requests = [request(number, text="x" * number) for number in range(3_000)]
    lines = [msgspec.json.encode({"custom_id": r.custom_id, "url": r.url, "body": r.body}) for r in requests]
    path, packed = tmp_path / "in.jsonl", tmp_path / "in.jsonl.gz"
    path.write_bytes(b"\n".join(lines))
    packed.write_bytes(gzip.compress(path.read_bytes()))

    async def coming() -> AsyncIterator[BatchRequest]:
        for item in requests:
            yield item

    expected = await estimate(requests, prices=TABLE)
    assert expected.requests == 3_000
    for source in (path, str(path), packed, lines, coming()):
        assert await estimate(source, prices=TABLE) == expected


async def test_unreadable_lines_make_the_high_end_unknown() -> None:
    """What they would add is not known, whatever is assumed for others; the shares of models stay what they are."""
    found = await estimate([b"{no", request(0, max_tokens=100)], prices=TABLE, assumed_output_tokens=5)
    assert (found.max_output_tokens, found.cost_high, found.standard_cost_high) == (None, None, None)
    assert found.cost_low is not None
    assert found.by_model["a"].cost_high is not None
    nothing = await estimate([b"{no"], prices=TABLE)
    assert (nothing.requests, nothing.unreadable_lines, nothing.cost_high) == (0, 1, None)


async def test_a_maximum_that_cannot_be_read_makes_the_high_end_unknown() -> None:
    """No assumption takes its place: the request does state one."""
    requests = [request(0, max_tokens="many"), request(1, model="b", max_tokens=10)]
    found = await estimate(requests, prices=TABLE, assumed_output_tokens=5)
    assert (found.max_output_tokens, found.cost_high, found.standard_cost_high) == (None, None, None)
    assert (found.requests_with_unknown_maximum, found.requests_without_maximum) == (1, 0)
    assert [share.requests_with_unknown_maximum for share in found.by_model.values()] == [1, 0]
    assert found.by_model["b"].max_output_tokens == 10


async def test_what_the_service_keeps_makes_the_high_end_unknown() -> None:
    """The most output is known all the same, and the low end is what is known of the input."""
    body = {"model": "a", "prompt": {"id": "pmpt_1"}, "input": "12345678", "max_output_tokens": 16_000}
    found = await estimate([BatchRequest("1", body, "/v1/responses")], prices=TABLE)
    assert (found.max_output_tokens, found.stored_parts, found.by_model["a"].stored_parts) == (16_000, 1, 1)
    assert (found.cost_low, found.cost_high, found.standard_cost_high) == (Decimal(2) / MILLION, None, None)
    assert "1 prompts or items kept at the service not counted" in str(found)


async def test_numbers_that_were_written_as_decimals_are_no_less() -> None:
    """A table that was read and written again costs what it did before."""
    whole, decimal = [
        await estimate([request(0, max_tokens=kind(16_000), n=kind(4))], prices=TABLE) for kind in (int, float)
    ]
    assert whole == decimal
    assert whole.max_output_tokens == 64_000


async def test_the_loop_stays_free_while_a_file_is_counted(tmp_path: Path) -> None:
    """Reading and counting go on in threads: the loop turns hundreds of times meanwhile."""
    path = tmp_path / "in.jsonl"
    path.write_bytes((msgspec.json.encode({"body": request(0, text="word " * 200).body}) + b"\n") * 20_000)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.ensure_future(turn())
    await estimate(path, prices=TABLE)
    turning.cancel()
    assert turns > 200


@pytest.mark.parametrize("make", [str, Path])
async def test_prices_come_from_a_table_a_mapping_or_a_file(tmp_path: Path, make: Callable[[str], Any]) -> None:
    """All three are the same prices."""
    path = tmp_path / "prices.json"
    path.write_bytes(msgspec.json.encode(MAPPING))
    assert await read_prices(path) == TABLE
    expected = await estimate([request()], prices=TABLE)
    assert await estimate([request()], prices=MAPPING) == expected
    assert await estimate([request()], prices=make(str(path))) == expected


async def test_prices_that_are_none_are_refused(tmp_path: Path) -> None:
    """By name, and before anything is read."""
    path = tmp_path / "prices.json"
    for content in (b"{no", b"\xff", b"[]", b'"prices.json"', b"{}"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"price table|needs models"):
            await estimate([request()], prices=path)
    with pytest.raises(InputError, match="not int"):
        await estimate([request()], prices=5)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        await estimate([request()], prices=tmp_path / "nowhere.json")


async def test_a_source_that_fails_fails_the_estimate() -> None:
    """What a source raises comes through, and no sum of a half passes for one of the whole."""

    async def broken() -> AsyncIterator[BatchRequest]:
        yield request()
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await estimate(broken())


async def test_tokens_are_counted_with_tiktoken_where_it_is(tiktoken: Callable[..., FakeTiktoken]) -> None:
    """With each model's vocabulary, the newest one for a model it does not know, each loaded once."""
    fake = tiktoken()
    requests = [request(0), request(1, model="b"), request(2, model="brand-new"), request(3)]
    found = await estimate(requests, prices=TABLE)
    assert found.input_tokens == 4 * (3 + 4 + 8)
    assert found.method == "tiktoken"
    assert "about" not in str(found)
    await estimate(requests, prices=TABLE)
    assert sorted(fake.asked) == ["cl100k_base", "o200k_base"]


async def test_long_texts_are_counted_in_pieces(tiktoken: Callable[..., FakeTiktoken]) -> None:
    """No text is long enough to slow the tokenizer down; short ones, which repeat, are counted once."""
    fake = tiktoken()
    found = await estimate([request(0), request(1), request(2, text="x" * 100_000)], prices=TABLE)
    assert found.input_tokens == 3 * 7 + 2 * 8 + 100_000
    assert max(map(len, fake.texts)) <= 16 * 1024
    assert fake.texts.count("12345678") == 1


async def test_the_real_tiktoken_is_used_rightly(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the library itself and a vocabulary of single bytes: names of special tokens are text like any other."""
    monkeypatch.delitem(sys.modules, "tiktoken")
    real = pytest.importorskip("tiktoken")
    names = [bytes([number]) for number in range(256)]
    encoding = real.Encoding(
        "bytes",
        pat_str=r"(?s:.)",
        mergeable_ranks={name: number for number, name in enumerate(names)},
        special_tokens={"<|endoftext|>": 256},
    )
    monkeypatch.setattr(real, "get_encoding", lambda name: encoding)
    found = await estimate([request(0, model="gpt-4o", text="<|endoftext|>é")], prices=TABLE)
    assert (found.input_tokens, found.method) == (7 + 15, "tiktoken")


async def test_a_vocabulary_that_cannot_be_loaded_is_tried_once(tiktoken: Callable[..., FakeTiktoken]) -> None:
    """Without a network the estimate is an approximation, quietly, and the next one does not try again."""

    def fail(name: str) -> Any:
        raise ConnectionError(name)

    fake = tiktoken(fail)
    for _ in range(2):
        found = await estimate([request(0), request(1, model="b")], prices=TABLE)
        assert (found.method, found.input_tokens) == ("approximation", 2 * (7 + 2))
    assert fake.asked == ["o200k_base"]


async def test_a_network_that_hangs_is_not_waited_for(tiktoken: Callable[..., FakeTiktoken]) -> None:
    """After the timeout the estimate goes on without; a vocabulary that comes later serves later estimates."""
    released = threading.Event()

    def hang(name: str) -> Any:
        released.wait(200)
        return fake

    fake = tiktoken(hang)
    started = time.monotonic()
    found = await estimate([request()], prices=TABLE, vocabulary_timeout_s=0.05)
    assert found.method == "approximation"
    assert (await estimate([request()], prices=TABLE)).method == "approximation"
    assert time.monotonic() - started < 100
    released.set()
    for thread in threading.enumerate():
        if thread.name == "openai_batches-o200k_base":
            thread.join(30)
    assert (await estimate([request()], prices=TABLE)).method == "tiktoken"


async def test_the_approximation_can_be_asked_for(tiktoken: Callable[..., FakeTiktoken]) -> None:
    """A timeout of 0 asks for no vocabulary at all, one that is there included."""
    fake = tiktoken()
    found = await estimate([request()], prices=TABLE, vocabulary_timeout_s=0)
    assert (found.method, fake.asked) == ("approximation", [])


async def test_a_model_counted_otherwise_makes_the_whole_an_approximation(
    tiktoken: Callable[..., FakeTiktoken],
) -> None:
    """``method`` claims no more than holds for every model."""

    def only_one(name: str) -> Any:
        if name != "o200k_base":
            raise ConnectionError(name)
        return fake

    fake = tiktoken(only_one)
    found = await estimate([request(0), request(1, model="b")], prices=TABLE)
    assert found.method == "approximation"
    assert [share.method for share in found.by_model.values()] == ["tiktoken", "approximation"]


async def test_an_estimate_says_what_it_does_not_count() -> None:
    """Lines that are no requests, pictures, and models without a price are counted, and named in the text."""
    picture: Any = [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]
    found = await estimate([request(model="unknown", text=picture), b"nonsense"])
    assert (found.requests, found.unreadable_lines, found.media_parts) == (1, 1, 1)
    assert "no price for 'unknown'" in str(found)
    assert "1 images, sounds or files not counted" in str(found)
    assert "1 lines that are no requests not counted" in str(found)
