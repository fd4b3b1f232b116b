"""Requests are cut into shards inside every limit, each exactly once and in order."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from openai_batches import OPENAI, InputError
from openai_batches.requests.check_block import BlockChecker, CheckedBlock
from openai_batches.requests.packing import Append, Draft, Finish, Packer, Refuse, Shard, ShardLimits, estimate_tokens

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


def chat(custom_id: str, *, model: str = "m", text: str = "Hi", **others: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **others}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def embedding(custom_id: str, value: Any, *, model: str = "e", **others: Any) -> dict[str, Any]:
    body = {"model": model, "input": value, **others}
    return {"custom_id": custom_id, "method": "POST", "url": EMBEDDINGS, "body": body}


def encode(*requests: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


@attrs.define
class Packed:
    """What a packer made of some requests."""

    shards: list[Shard]
    texts: dict[int, bytes]
    refused: list[Any]
    most_open: int

    def ids(self) -> list[list[str]]:
        """Return the ids in each shard, in the order of the shards' numbers."""
        return [[json.loads(line)["custom_id"] for line in text.splitlines()] for _, text in sorted(self.texts.items())]


def pack(*blocks: bytes, **limits: Any) -> Packed:
    """Run a packer as ``write_shards`` does, in memory."""
    checker = BlockChecker(one_batch=False)
    packer = Packer(ShardLimits(**limits), file="in.jsonl")
    packed = Packed([], {}, [], 0)
    drafts: dict[int, Draft] = {}

    def take(step: Append | Finish | Refuse) -> None:
        if isinstance(step, Refuse):
            packed.refused.append(step.problem)
        elif isinstance(step, Append):
            assert len(step.data)
            assert step.draft.number not in {shard.number for shard in packed.shards}
            drafts[step.draft.number] = step.draft
            packed.texts[step.draft.number] = packed.texts.get(step.draft.number, b"") + bytes(step.data)
            packed.most_open = max(packed.most_open, len(drafts))
        else:
            packed.shards.append(drafts.pop(step.draft.number).finished(Path("x")))

    for block in blocks:
        checked: CheckedBlock = checker.check(block)
        assert not checked.problems
        for group in checked.groups:
            for step in packer.place(group):
                take(step)
    for step in packer.finish():
        take(step)
    assert not drafts
    return packed


def test_what_fits_into_one_shard_is_one_shard() -> None:
    """Block after block goes to the same one, and it knows what it holds."""
    blocks = [encode(chat("a"), chat("b")), encode(chat("c"))]
    packed = pack(*blocks)
    size = sum(map(len, blocks))
    assert packed.shards == [
        Shard(
            path=Path("x"),
            number=1,
            endpoint=CHAT,
            model="m",
            requests=3,
            bytes=size,
            embedding_inputs=0,
            estimated_tokens=-(-size // 4),
            first_line=1,
        )
    ]
    assert packed.texts == {1: b"".join(blocks)}


def test_a_shard_is_whole_as_soon_as_it_is_full() -> None:
    """The 50,000th request ends it, and not the one after it."""
    packer = Packer(ShardLimits(max_requests=2))
    (group,) = BlockChecker().check(encode(chat("a"), chat("b"))).groups
    assert [type(step) for step in packer.place(group)] == [Append, Finish]
    assert list(packer.finish()) == []


def test_the_number_of_requests_is_a_limit() -> None:
    """Shards are filled one after the other, across blocks."""
    packed = pack(encode(*map(chat, "abcde")), encode(*map(chat, "fg")), max_requests=3)
    assert packed.ids() == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert [shard.first_line for shard in packed.shards] == [1, 4, 7]


def test_the_number_of_bytes_is_a_limit() -> None:
    """Line ends count."""
    lines = [encode(chat(custom_id)) for custom_id in "abcd"]
    assert pack(*lines, max_bytes=2 * len(lines[0])).ids() == [["a", "b"], ["c", "d"]]
    assert pack(b"".join(lines), max_bytes=2 * len(lines[0]) - 1).ids() == [["a"], ["b"], ["c"], ["d"]]


def test_embedding_inputs_are_a_limit_of_their_own() -> None:
    """Arrays count as many inputs, an array of token ids as one; requests of other endpoints have none."""
    lines = encode(
        embedding("a", ["x", "y"]),
        embedding("b", "z"),
        embedding("c", [1, 2, 3, 4, 5]),
        embedding("d", [[1], [2], [3]]),
        *map(chat, "efgh"),
    )
    packed = pack(lines, max_embedding_inputs=3)
    assert packed.ids() == [["a", "b"], ["c"], ["d"], ["e", "f", "g", "h"]]
    assert [shard.embedding_inputs for shard in sorted(packed.shards, key=lambda shard: shard.number)] == [3, 1, 3, 0]


def test_a_budget_of_tokens_is_a_limit_if_there_is_one() -> None:
    """Bodies are counted by whatever callable is given, or one token for every 4 bytes."""
    seen = []

    def count(body: bytes) -> int:
        seen.append(json.loads(body)["model"])
        return 10

    packed = pack(encode(*map(chat, "abc")), max_tokens=25, count_tokens=count)
    assert packed.ids() == [["a", "b"], ["c"]]
    assert [shard.estimated_tokens for shard in packed.shards] == [20, 10]
    assert seen == ["m"] * 3
    body = json.dumps(chat("a")["body"]).encode()
    assert estimate_tokens(body) == -(-len(body) // 4)
    assert pack(encode(*map(chat, "ab")), max_tokens=estimate_tokens(body)).ids() == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("request_", "size"),
    [
        (embedding("a", "x", dimensions=100), 1_200),
        (embedding("a", ["x", "y"], dimensions=100), 2_400),
        (embedding("a", "x"), 1_536 * 12),
        (embedding("a", "x", model="text-embedding-3-large"), 3_072 * 12),
        (embedding("a", "x", dimensions="many"), 1_536 * 12),
        (chat("a", max_tokens=50), 200),
        (chat("a", max_completion_tokens=60, max_tokens=50), 240),
        (chat("a", max_output_tokens=70), 280),
        (chat("a"), 0),
    ],
)
def test_the_predicted_output_is_a_limit_if_there_is_one(request_: dict[str, Any], size: int) -> None:
    """Of embeddings the answers are the large side: 12 bytes for each dimension of each."""
    other = {**request_, "custom_id": "b"}
    packed = pack(encode(request_, other), max_output_bytes=max(2 * size, 1))
    assert packed.ids() == [["a", "b"]]
    if size:
        assert pack(encode(request_, other), max_output_bytes=2 * size - 1).ids() == [["a"], ["b"]]
        assert len(pack(encode(request_), max_output_bytes=size - 1).refused) == 1


def test_a_request_that_fits_no_shard_is_refused_by_name() -> None:
    """The others find their places as if it were not there."""
    blocks = [encode(embedding("a", "x"), embedding("b", ["x"] * 9), embedding("c", "x")), encode(embedding("d", "x"))]
    packed = pack(*blocks, max_embedding_inputs=4)
    (problem,) = packed.refused
    assert (problem.code, problem.custom_id, problem.line, problem.file) == ("request_too_large", "b", 2, "in.jsonl")
    assert problem.message == "This request fits no shard: it has 9 embedding inputs where a shard can have 4."
    assert packed.ids() == [["a"], ["c", "d"]]
    packed = pack(encode(chat("a", text="x" * 1_000)), max_bytes=1_000, max_tokens=100)
    assert packed.ids() == []
    assert "bytes where a shard can have 1,000, and" in packed.refused[0].message


def test_each_endpoint_and_model_has_a_shard_of_its_own() -> None:
    """Several at once are sorted into several open shards."""
    lines = encode(chat("a"), chat("b", model="n"), embedding("c", "x", model="m"), chat("d"), chat("e", model="n"))
    packed = pack(lines)
    assert packed.ids() == [["a", "d"], ["b", "e"], ["c"]]
    assert [(shard.endpoint, shard.model) for shard in packed.shards] == [(CHAT, "m"), (CHAT, "n"), (EMBEDDINGS, "m")]
    assert [shard.first_line for shard in packed.shards] == [1, 2, 3]


def test_the_number_of_open_shards_is_bounded() -> None:
    """For one more, the one that was not used for longest is ended, and a new one begun later."""
    lines = [encode(chat(custom_id, model=model)) for custom_id, model in zip("abcdef", "mnmomn", strict=True)]
    packed = pack(*lines, max_open=2)
    assert packed.most_open == 2
    assert packed.ids() == [["a", "c", "e"], ["b"], ["d"], ["f"]]
    assert pack(*lines, max_open=1).ids() == [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]


def test_limits_are_the_services_unless_others_are_asked_for() -> None:
    """OpenAI's megabytes are read as decimal ones, which is right either way."""
    assert ShardLimits.of(OPENAI) == ShardLimits(
        max_requests=50_000, max_bytes=200_000_000, max_embedding_inputs=50_000
    )
    assert ShardLimits.of(attrs.evolve(OPENAI, max_requests=7)).max_requests == 7
    assert ShardLimits() == ShardLimits.of(OPENAI)


@pytest.mark.parametrize(
    "name", ["max_requests", "max_bytes", "max_embedding_inputs", "max_tokens", "max_output_bytes"]
)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "9"])
def test_limits_are_whole_numbers(name: str, value: Any) -> None:
    """A limit of nothing would refuse everything."""
    with pytest.raises(InputError, match=f"^{name} must be a whole number of at least 1"):
        ShardLimits(**{name: value})


models = st.sampled_from("mno")
chats = st.builds(
    lambda model, text, tokens: chat("", model=model, text=text, max_tokens=tokens),
    models,
    st.text(max_size=60),
    st.integers(1, 30),
)
embeddings = st.builds(
    lambda model, value, dimensions: embedding("", value, model=model, dimensions=dimensions),
    models,
    st.text() | st.lists(st.text(max_size=9), min_size=1, max_size=6) | st.lists(st.integers(0, 9), min_size=1),
    st.integers(1, 20),
)


def inputs_of(request: dict[str, Any]) -> int:
    value = request["body"].get("input")
    return len(value) if isinstance(value, list) and isinstance(value[0], str) else int(value is not None)


def weights_of(request: dict[str, Any]) -> list[int]:
    """How much a request has in each measure, said in another way than the code says it."""
    body = request["body"]
    output = body["dimensions"] * 12 * inputs_of(request) if "dimensions" in body else body["max_tokens"] * 4
    return [1, len(encode(request)), inputs_of(request), len(json.dumps(body)) // 3, output]


@given(
    st.lists(chats | embeddings, max_size=40),
    st.lists(st.integers(0, 40), max_size=4),
    st.integers(1, 9),
    st.integers(120, 900),
    st.integers(1, 9),
    st.integers(20, 200) | st.none(),
    st.integers(50, 500) | st.none(),
    st.integers(1, 4),
)
def test_every_request_is_in_exactly_one_shard_and_no_limit_is_exceeded(
    requests: list[dict[str, Any]],
    cuts: list[int],
    max_requests: int,
    max_bytes: int,
    max_inputs: int,
    max_tokens: int | None,
    max_output: int | None,
    max_open: int,
) -> None:
    """In order within each endpoint and model; only what is too large by itself is refused."""
    requests = [{**request, "custom_id": str(number)} for number, request in enumerate(requests)]
    places = [0, *sorted(min(cut, len(requests)) for cut in cuts), len(requests)]
    blocks = [encode(*requests[begin:end]) for begin, end in itertools.pairwise(places) if begin < end]
    packed = pack(
        *blocks,
        max_requests=max_requests,
        max_bytes=max_bytes,
        max_embedding_inputs=max_inputs,
        max_tokens=max_tokens,
        max_output_bytes=max_output,
        count_tokens=lambda body: len(body) // 3,
        max_open=max_open,
    )
    maxima = [max_requests, max_bytes, max_inputs, max_tokens, max_output]

    def breaks(sizes: list[int]) -> bool:
        return any(maximum is not None and size > maximum for size, maximum in zip(sizes, maxima, strict=True))

    too_large = [request["custom_id"] for request in requests if breaks(weights_of(request))]
    assert sorted(problem.custom_id for problem in packed.refused) == sorted(too_large)
    assert packed.most_open <= max_open
    orders: dict[Any, list[str]] = {}
    for shard, ids in zip(sorted(packed.shards, key=lambda shard: shard.number), packed.ids(), strict=True):
        members = [requests[int(custom_id)] for custom_id in ids]
        totals = [sum(column) for column in zip(*map(weights_of, members), strict=True)]
        assert not breaks(totals)
        assert [shard.requests, shard.bytes, shard.embedding_inputs] == totals[:3]
        assert {(member["url"], member["body"]["model"]) for member in members} == {(shard.endpoint, shard.model)}
        assert shard.first_line == int(ids[0]) + 1
        orders.setdefault((shard.endpoint, shard.model), []).extend(ids)
    for (url, model), ids in orders.items():
        assert ids == [
            request["custom_id"]
            for request in requests
            if (request["url"], request["body"]["model"]) == (url, model) and request["custom_id"] not in too_large
        ]
    assert sum(map(len, orders.values())) + len(too_large) == len(requests)
