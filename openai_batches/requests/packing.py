"""Decide which request goes into which shard, the input file of one batch, within every limit of the service.

Requests are taken in the order in which they come. Those of one endpoint and one model keep that order, from shard to
shard and within each; a shard is full when the next of them would break a limit.

Source: https://platform.openai.com/docs/guides/batch#rate-limits
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import msgspec

from openai_batches._arguments import check_whole
from openai_batches._names import public
from openai_batches.models import Problem
from openai_batches.providers import OPENAI, Provider

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from openai_batches.requests.check_block import RequestGroup

__all__ = ["Append", "Draft", "Finish", "Packer", "Refuse", "Shard", "ShardLimits", "estimate_tokens"]

# Without a statement of their own, these models give vectors of so many numbers; the others 1,536.
_DIMENSIONS = {"text-embedding-3-large": 3_072}
_USUAL_DIMENSIONS = 1_536
_BYTES_PER_DIMENSION = 12
_BYTES_PER_TOKEN = 4


def estimate_tokens(body: bytes) -> int:
    """Return about how many tokens a body has: one for every 4 bytes of its JSON, rounded up."""
    return -(-len(body) // _BYTES_PER_TOKEN)


def _positive(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    check_whole(**{attribute.name: value})


@public
@attrs.frozen(kw_only=True)
class ShardLimits:
    """How large one shard can be, by several measures; a shard is ended by the limit that is reached first.

    Args:
        max_requests: requests.
        max_bytes: bytes, line ends included.
        max_embedding_inputs: inputs of embedding requests; an array counts as many, an array of token ids as one.
        max_tokens: tokens of the bodies, as ``count_tokens`` sees them; None: any number.
        max_output_bytes: bytes of the answers, as far as the requests tell: 12 for each dimension of each embedding, 4
            for each token of ``max_completion_tokens``, ``max_output_tokens`` or ``max_tokens``; None: any number.
        count_tokens: how many tokens a body has, given its JSON in UTF-8; one for every 4 bytes if nothing better is
            given. It is called in a thread, and only for ``max_tokens``.
        max_open: how many shards, of different endpoints and models, can be open at once; for one more, the one that
            was not used for longest is ended before it is full.
    """

    max_requests: int = attrs.field(default=OPENAI.max_requests, validator=_positive)
    max_bytes: int = attrs.field(default=OPENAI.max_bytes, validator=_positive)
    max_embedding_inputs: int = attrs.field(default=OPENAI.max_embedding_inputs, validator=_positive)
    max_tokens: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    max_output_bytes: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    count_tokens: Callable[[bytes], int] = estimate_tokens
    max_open: int = attrs.field(default=16, validator=_positive)

    @classmethod
    def of(cls, provider: Provider) -> ShardLimits:
        """Return the limits of a service; ``attrs.evolve`` makes others of them."""
        return cls(
            max_requests=provider.max_requests,
            max_bytes=provider.max_bytes,
            max_embedding_inputs=provider.max_embedding_inputs,
        )


@public
@attrs.frozen(kw_only=True)
class Shard:
    """The input file of one batch, whole and on disk.

    Attributes:
        path: where it is.
        number: its number among the shards of the same requests, from 1, in the order in which they were begun.
        endpoint: the endpoint of all its requests.
        model: the model of all its requests; None only where bodies are left to the service.
        requests: how many requests it holds.
        bytes: its size.
        embedding_inputs: how many inputs its embedding requests have together; 0 for other endpoints.
        estimated_tokens: about how many tokens its requests have, counted where there is a limit of them, else one for
            every 4 bytes.
        first_line: the line of the source its first request came from.
    """

    path: Path
    number: int
    endpoint: str
    model: str | None
    requests: int
    bytes: int
    embedding_inputs: int
    estimated_tokens: int
    first_line: int

    def __fspath__(self) -> str:
        """Return the path, so that a shard can be given wherever a path can."""
        return str(self.path)


@attrs.define(eq=False)
class Draft:
    """A shard that is not yet complete."""

    number: int
    endpoint: str
    model: str | None
    first_line: int
    # Requests, bytes, embedding inputs, tokens and bytes of output.
    used: list[int] = attrs.Factory(lambda: [0, 0, 0, 0, 0])

    def add(self, amounts: list[int]) -> None:
        """Count what was put in."""
        self.used = [have + more for have, more in zip(self.used, amounts, strict=True)]

    def finished(self, path: Path) -> Shard:
        """Return the shard that this is now, in a file of this path."""
        requests, size, inputs, tokens, _ = self.used
        return Shard(
            path=path,
            number=self.number,
            endpoint=self.endpoint,
            model=self.model,
            requests=requests,
            bytes=size,
            embedding_inputs=inputs,
            estimated_tokens=tokens or -(-size // _BYTES_PER_TOKEN),
            first_line=self.first_line,
        )


@attrs.frozen
class Append:
    """Write these lines to the end of this shard."""

    draft: Draft
    data: bytes | memoryview


@attrs.frozen
class Finish:
    """Nothing more comes to this shard."""

    draft: Draft


@attrs.frozen
class Refuse:
    """A request fits no shard."""

    problem: Problem


Step: TypeAlias = "Append | Finish | Refuse"


class Packer:
    """Says into which shard each request goes, and when a shard is complete."""

    def __init__(self, limits: ShardLimits, *, file: str | None = None) -> None:
        self._limits = limits
        self._file = file
        # In the order of Draft.used.
        self._maxima = (
            limits.max_requests,
            limits.max_bytes,
            limits.max_embedding_inputs,
            limits.max_tokens,
            limits.max_output_bytes,
        )
        self._count = 0
        # Those that are open, in the order of their last use.
        self._drafts: dict[tuple[str, str | None], Draft] = {}

    def place(self, group: RequestGroup) -> Iterator[Step]:
        """Yield what is to be done with these requests; each step must be taken before the next is asked for."""
        weights = self._weights(group)
        totals = [len(group.lines), len(group.data), *map(sum, weights)]
        draft = self._drafts.pop((group.endpoint, group.model), None)
        if self._fits(draft, totals):
            # The usual case: a whole block goes where the one before it went.
            if draft is None:
                draft = yield from self._begin(group, 0)
            draft.add(totals)
            yield Append(draft, group.data)
        else:
            draft = yield from self._cut(group, _sums(group, weights), draft)
        if draft is None:
            return
        if draft.used[0] == self._limits.max_requests:
            yield Finish(draft)
        else:
            self._drafts[draft.endpoint, draft.model] = draft

    def finish(self) -> Iterator[Finish]:
        """Yield the shards that are still open, in the order of their numbers: nothing more comes."""
        drafts = sorted(self._drafts.values(), key=lambda draft: draft.number)
        self._drafts.clear()
        yield from map(Finish, drafts)

    def _fits(self, draft: Draft | None, totals: list[int]) -> bool:
        used = _EMPTY if draft is None else draft.used
        return all(
            maximum is None or have + more <= maximum
            for have, more, maximum in zip(used, totals, self._maxima, strict=True)
        )

    def _begin(self, group: RequestGroup, index: int) -> Generator[Step, None, Draft]:
        if len(self._drafts) >= self._limits.max_open:
            yield Finish(self._drafts.pop(next(iter(self._drafts))))
        self._count += 1
        return Draft(self._count, group.endpoint, group.model, group.lines[index])

    def _cut(
        self, group: RequestGroup, sums: list[Sequence[int]], draft: Draft | None
    ) -> Generator[Step, None, Draft | None]:
        """Place requests of which not all fit where they belong; the shard that is open afterwards is returned."""
        view = memoryview(group.data)
        begun, count = 0, len(group.lines)
        while begun < count:
            end = self._end(sums, begun, draft)
            if end > begun:
                if draft is None:
                    draft = yield from self._begin(group, begun)
                draft.add([run[end] - run[begun] for run in sums])
                yield Append(draft, view[sums[1][begun] : sums[1][end]])
            elif draft is None:
                end = begun + 1
                yield Refuse(self._refusal(group, begun, [run[end] - run[begun] for run in sums]))
            if draft is not None and end < count:
                yield Finish(draft)
                draft = None
            begun = end
        return draft

    def _end(self, sums: list[Sequence[int]], begun: int, draft: Draft | None) -> int:
        """Return the index before which the requests fit, from this one on."""
        used = _EMPTY if draft is None else draft.used
        return min(
            bisect_right(run, maximum - have + run[begun], lo=begun) - 1
            for run, have, maximum in zip(sums, used, self._maxima, strict=True)
            if maximum is not None
        )

    def _refusal(self, group: RequestGroup, index: int, sizes: list[int]) -> Problem:
        reasons = [
            f"{size:,} {name} where a shard can have {maximum:,}"
            for name, size, maximum in zip(_MEASURES, sizes, self._maxima, strict=True)
            if maximum is not None and size > maximum
        ]
        line = group.data.split(b"\n")[index]
        return Problem(
            code="request_too_large",
            message=f"This request fits no shard: it has {', and '.join(reasons)}.",
            line=group.lines[index],
            custom_id=_line_decoder.decode(line).custom_id,
            file=self._file,
        )

    def _weights(self, group: RequestGroup) -> list[Sequence[int]]:
        """Return the inputs, the tokens and the bytes of output of each request; empty where they do not count."""
        inputs = group.inputs or ()
        if self._limits.max_tokens is None and self._limits.max_output_bytes is None:
            return [inputs, (), ()]
        bodies = [bytes(line.body) for line in _line_decoder.decode_lines(group.data)]
        tokens = () if self._limits.max_tokens is None else [self._limits.count_tokens(body) for body in bodies]
        return [inputs, tokens, () if self._limits.max_output_bytes is None else _output_bytes(group, bodies)]


_EMPTY = (0, 0, 0, 0, 0)
_MEASURES = ("requests", "bytes", "embedding inputs", "tokens", "bytes of output")


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    body: msgspec.Raw


class _Wanted(msgspec.Struct, gc=False):
    """What a body says about the size of its answer; what is no number is left to the service."""

    dimensions: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    max_tokens: Any = None


_line_decoder = msgspec.json.Decoder(_Line)
_wanted_decoder = msgspec.json.Decoder(_Wanted)


def _output_bytes(group: RequestGroup, bodies: list[bytes]) -> list[int]:
    wanted = [_wanted_decoder.decode(body) for body in bodies]
    if group.inputs is not None:
        usual = _DIMENSIONS.get(group.model or "", _USUAL_DIMENSIONS)
        return [
            (_number(want.dimensions) or usual) * _BYTES_PER_DIMENSION * inputs
            for want, inputs in zip(wanted, group.inputs, strict=True)
        ]
    return [
        _BYTES_PER_TOKEN
        * (_number(want.max_completion_tokens) or _number(want.max_output_tokens) or _number(want.max_tokens))
        for want in wanted
    ]


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _sums(group: RequestGroup, weights: list[Sequence[int]]) -> list[Sequence[int]]:
    """Return, in each measure, how much the first 0, 1, 2, ... requests have together."""
    count = len(group.lines)
    sizes = list(map(len, BytesIO(group.data)))
    runs = [list(accumulate(measure or [0] * count, initial=0)) for measure in (sizes, *weights)]
    return [range(count + 1), *runs]
