"""Check the lines of an input file a block at a time.

A block is first decoded in one call and looked at as a whole: if its requests are all as they should be, no line of it
costs a step of Python. Only in a block with anything unusual is each line checked by itself, as ``check_line`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

import attrs
import msgspec

from openai_batches.models import Problem, Repair
from openai_batches.requests.check_line import check_line, count_inputs, is_embedding, needed_fields, shown

if TYPE_CHECKING:
    from openai_batches.requests.check_line import CheckedLine

__all__ = ["BlockChecker", "CheckedBlock", "RequestGroup"]

# The numbers of lines: a range where they follow each other.
LineNumbers: TypeAlias = "Sequence[int]"
_Key: TypeAlias = "tuple[str, str | None]"

_BOM = b"\xef\xbb\xbf"
# What msgspec raises for bytes that are no such JSON; Python decodes the strings for it.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# msgspec takes no factory for a Raw.
_NOTHING = msgspec.Raw()
# Nothing shorter than this can be told from an absent value by its length alone.
_NULL = b"null"
_FIRST, _LAST = itemgetter(0), itemgetter(-2)
_OPENING, _CLOSING = b"{}"


@attrs.frozen(kw_only=True)
class RequestGroup:
    """Good requests of one endpoint and one model, in the order in which they came, and the numbers of their lines."""

    endpoint: str
    # None only where the body is left to the service.
    model: str | None
    # Whole lines.
    data: bytes
    lines: LineNumbers
    # How many inputs each asks the embeddings of; None for other endpoints.
    inputs: Sequence[int] | None = None


@attrs.frozen(kw_only=True)
class CheckedBlock:
    """The good requests of a block, and the problems of the others."""

    groups: Sequence[RequestGroup] = ()
    # Of all requests, good and bad, with the numbers of their lines.
    custom_ids: Sequence[str] = ()
    lines: LineNumbers = ()
    problems: Sequence[Problem] = ()


class _Body(msgspec.Struct, gc=False):
    model: str | None = None
    stream: bool | None = None
    messages: msgspec.Raw = _NOTHING
    input: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING


class _EmbeddingBody(msgspec.Struct, gc=False):
    model: str | None = None
    stream: bool | None = None
    input: Any = None


class _LaxBody(msgspec.Struct, gc=False):
    model: str | None = None
    input: msgspec.Raw = _NOTHING


class _LaxEmbeddingBody(msgspec.Struct, gc=False):
    model: str | None = None
    input: Any = None


_BodyT = TypeVar("_BodyT")


class _Line(msgspec.Struct, Generic[_BodyT], gc=False):
    custom_id: str
    method: Literal["POST"]
    url: str
    body: _BodyT


def _decoder(body: type[Any]) -> msgspec.json.Decoder[Any]:
    # Numbers beyond a float are correct JSON, and no more than that is checked.
    return msgspec.json.Decoder(_Line[body], float_hook=float)  # type: ignore[valid-type]


# Where inputs are counted they are decoded with the rest; elsewhere they are skipped, which is faster.
_decoders = {True: _decoder(_Body), False: _decoder(_LaxBody)}
_embedding_decoders = {True: _decoder(_EmbeddingBody), False: _decoder(_LaxEmbeddingBody)}
_input_decoder = msgspec.json.Decoder(Any, float_hook=float)


class BlockChecker:
    """Checks an input file, block by block, and counts what is in it.

    With ``one_batch``, all requests must have one model and one endpoint: the one given, or that of the first. Without
    ``strict``, what is in the bodies is left to the service.
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        one_batch: bool = True,
        strict: bool = True,
        max_line_bytes: int | None = None,
        file: str | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._endpoint_line: int | None = None
        self._model: str | None = None
        self._model_line: int | None = None
        self._one_batch = one_batch
        self._one_model = one_batch and strict
        self._strict = strict
        self._max_line_bytes = max_line_bytes
        self.file = file
        self._expects_embeddings = False
        self.lines: int = 0
        self.requests: int = 0
        self.bytes: int = 0
        self.inputs: int = 0
        # Dicts, for their order.
        self.models: dict[str, None] = {}
        self.endpoints: dict[str, None] = {}
        self.repairs: dict[str, Repair] = {}

    def check(self, block: bytes) -> CheckedBlock:
        r"""Return what is in a block of whole lines, each ended by ``\n``: good requests, ids and problems."""
        first = self.lines + 1
        # A search for one byte is many times faster than one for two.
        if b"\r" in block and (ends := block.count(b"\r\n")):
            place = block.index(b"\r\n")
            self._repaired("crlf", first + block.count(b"\n", 0, place), ends)
            # A control character cannot stand in a string: no request is changed by this.
            block = block.replace(b"\r\n", b"\n")
        checked = self._read_at_once(block, first) or self._read_each(block, first)
        for group in checked.groups:
            self.bytes += len(group.data)
            self.inputs += sum(group.inputs or ())
            self.endpoints[group.endpoint] = None
            if group.model is not None:
                self.models[group.model] = None
        return checked

    def _repaired(self, code: str, line: int, count: int = 1) -> None:
        before = self.repairs.get(code)
        if before is not None:
            line, count = before.first_line, before.count + count
        self.repairs[code] = Repair(code=code, count=count, first_line=line)

    def _read_at_once(self, block: bytes, first: int) -> CheckedBlock | None:
        """Return the requests of a block in which everything is as it should be, or None."""
        if self._max_line_bytes is not None and len(block) > self._max_line_bytes:
            return None
        try:
            parsed = self._parsed(block)
        except _UNREADABLE:
            return None
        texts = BytesIO(block).readlines()
        if not _has_one_line_each(texts, len(parsed)) or not (block.isascii() or _are_utf8(texts)):
            return None
        custom_ids = [line.custom_id for line in parsed]
        if not all(custom_ids):
            return None
        lines = range(first, first + len(parsed))
        groups = self._groups(block, texts, parsed, lines)
        if groups is None:
            return None
        self.lines += len(parsed)
        self.requests += len(parsed)
        return CheckedBlock(groups=groups, custom_ids=custom_ids, lines=lines)

    def _parsed(self, block: bytes) -> list[Any]:
        if self._expects_embeddings:
            parsed: list[Any] = _embedding_decoders[self._strict].decode_lines(block)
            if all(map(is_embedding, {line.url for line in parsed})):
                return parsed
        parsed = _decoders[self._strict].decode_lines(block)
        self._expects_embeddings = all(map(is_embedding, {line.url for line in parsed}))
        return parsed

    def _groups(
        self, block: bytes, texts: list[bytes], parsed: list[Any], lines: LineNumbers
    ) -> list[RequestGroup] | None:
        urls = {line.url for line in parsed}
        models = {line.body.model or None for line in parsed}
        if not self._is_expected(urls, models, lines[0]):
            return None
        if len(urls) == len(models) == 1:
            whole = self._group((urls.pop(), models.pop()), block, parsed, lines)
            return None if whole is None else [whole]
        members_by_key: dict[_Key, list[int]] = {}
        for index, line in enumerate(parsed):
            members_by_key.setdefault((line.url, line.body.model or None), []).append(index)
        groups = []
        for key, indexes in members_by_key.items():
            group = self._group(
                key,
                b"".join([texts[index] for index in indexes]),
                [parsed[index] for index in indexes],
                [lines[index] for index in indexes],
            )
            if group is None:
                return None
            groups.append(group)
        return groups

    def _is_expected(self, urls: set[str], models: set[str | None], line: int) -> bool:
        if self._strict and None in models:
            return False
        if self._endpoint is None and not self._one_batch:
            return all(url.startswith("/") for url in urls)
        # One batch has one of each: which line has another is found by checking each.
        if len(urls) > 1 or (self._one_model and len(models) > 1):
            return False
        if self._endpoint is None and all(url.startswith("/") for url in urls):
            (self._endpoint,), self._endpoint_line = urls, line
        if self._one_model and self._model is None:
            (self._model,), self._model_line = models, line
        return urls == {self._endpoint} and (not self._one_model or models == {self._model})

    def _group(self, key: _Key, data: bytes, parsed: list[Any], lines: LineNumbers) -> RequestGroup | None:
        url, model = key
        bodies = [line.body for line in parsed]
        if self._strict and not {body.stream for body in bodies} <= {False, None}:
            return None
        inputs = None
        if is_embedding(url):
            values = _inputs(bodies)
            if self._strict and None in values:
                return None
            inputs = [1 if type(value) is str else count_inputs(value) for value in values]
        elif self._strict and not _are_complete(url, bodies):
            return None
        return RequestGroup(endpoint=url, model=model, data=data, lines=lines, inputs=inputs)

    def _read_each(self, block: bytes, first: int) -> CheckedBlock:
        """Return what is in a block, line by line."""
        members_by_key: dict[_Key, list[tuple[bytes, CheckedLine]]] = {}
        custom_ids: list[str] = []
        lines: list[int] = []
        problems: list[Problem] = []
        for number, line in enumerate(block.split(b"\n")[:-1], start=first):
            self.lines = number
            text = line
            if line.startswith(_BOM):
                self._repaired("bom", number)
                text = line.removeprefix(_BOM)
            if not text.strip(b" \t\r"):
                self._repaired("blank_line", number)
                continue
            self.requests += 1
            found = check_line(text, number, max_line_bytes=self._max_line_bytes, strict=self._strict, file=self.file)
            self._compare(found)
            if found.custom_id is not None:
                custom_ids.append(found.custom_id)
                lines.append(number)
            problems.extend(found.problems)
            if not found.problems:
                members_by_key.setdefault((found.url, found.model), []).append((text, found))
        groups = [_group_of(key, members) for key, members in members_by_key.items()]
        return CheckedBlock(groups=groups, custom_ids=custom_ids, lines=lines, problems=problems)

    def _compare(self, found: CheckedLine) -> None:
        """Note where a request contradicts those before it."""
        url, model = found.url, found.model
        if url and not url.startswith("/"):
            message = f"The URL must be a path such as '/v1/chat/completions', not {shown(url)}."
            found.add_problem("invalid_url", message, param="url")
        elif url and self._endpoint is None and self._one_batch:
            self._endpoint, self._endpoint_line = url, found.line
        elif url and self._endpoint is not None and url != self._endpoint:
            message = (
                "The URL provided for this request does not match the batch endpoint: "
                f"{shown(url)} is not {shown(self._endpoint)}."
            )
            found.add_problem("invalid_url", message, param="url", first_line=self._endpoint_line)
        if not self._one_model or model is None:
            return
        if self._model is None:
            self._model, self._model_line = model, found.line
        elif model != self._model:
            message = (
                f"The model {shown(model)} for this request does not match the rest of the batch, which began with "
                f"{shown(self._model)} on line {self._model_line}. Each batch must contain requests for a single model."
            )
            found.add_problem("mismatched_model", message, param="body.model", first_line=self._model_line)


def _inputs(bodies: list[Any]) -> list[Any]:
    values = [body.input for body in bodies]
    if isinstance(values[0], msgspec.Raw):
        return [_input_decoder.decode(value) if value else None for value in values]
    return values


def _are_complete(url: str, bodies: list[_Body]) -> bool:
    needed = needed_fields(url)
    if not needed:
        return True
    name = needed[0]
    raws = [getattr(body, name) or body.prompt for body in bodies] if len(needed) > 1 else _fields(bodies, name)
    return min(map(len, raws)) > len(_NULL) or not any(bytes(raw) in {b"", _NULL} for raw in raws)


def _fields(bodies: list[_Body], name: str) -> list[msgspec.Raw]:
    return [getattr(body, name) for body in bodies]


def _has_one_line_each(texts: list[bytes], count: int) -> bool:
    """Return whether each of so many objects has a line of its own."""
    # Where a line ends after "}" and the next begins with "{", one object has ended and another begins.
    return len(texts) == count and set(map(_FIRST, texts)) == {_OPENING} and set(map(_LAST, texts)) == {_CLOSING}


def _are_utf8(texts: list[bytes]) -> bool:
    """Return whether lines are UTF-8: the decoder does not check the strings that it skips."""
    try:
        # A line at a time: whole blocks make wide strings, which take three times as long.
        for text in texts:
            if not text.isascii():
                text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _group_of(key: _Key, members: list[tuple[bytes, CheckedLine]]) -> RequestGroup:
    return RequestGroup(
        endpoint=key[0],
        model=key[1],
        data=b"\n".join([text for text, _ in members]) + b"\n",
        lines=[found.line for _, found in members],
        inputs=[found.inputs for _, found in members] if is_embedding(key[0]) else None,
    )
