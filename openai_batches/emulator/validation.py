"""The checks on an input file: its first line at upload, and every line once a batch is made of it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import msgspec

from openai_batches.emulator.answers import kind
from openai_batches.emulator.json_values import is_array, is_object, members
from openai_batches.emulator.rules import Rules

# What each endpoint's body needs besides its model, and how the service calls the endpoint.
_NEEDED = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
    "/v1/moderations": "input",
}
_TITLES = {"/v1/chat/completions": "Chat Completions", "/v1/responses": "Responses", "/v1/completions": "Completions"}
_BYTES_PER_TOKEN = 4


@attrs.define(kw_only=True)
class Verdict:
    """What validation found: errors in line order, none if the batch may run, and totals over all lines.

    `model` is that of the first line that names one; `tokens` are estimated as a quarter of the file's bytes.
    """

    errors: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    total: int = 0
    model: str | None = None
    tokens: int = 0
    embedding_inputs: int = 0

    def refuse(self, code: str, message: str, *, param: str | None = None, line: int | None = None) -> None:
        """Add one batch error."""
        self.errors.append({"code": code, "message": message, "param": param, "line": line})


def looks_like_batch_input(path: Path, filename: str) -> bool:
    """Tell whether an upload is accepted as batch input: its name ends in .jsonl and its first line is JSON."""
    if not filename.endswith(".jsonl"):
        return False
    with path.open("rb") as source:
        return _parse(source.readline()) is not _NOT_JSON


def first_model(path: Path) -> str | None:
    """Return the model that the first line of the file at `path` names; meant for a worker thread."""
    with path.open("rb") as source:
        record = _parse(source.readline())
    model = members(members(record).get("body")).get("model")
    return model if isinstance(model, str) else None


def estimated_tokens(size: int) -> int:
    """Return the estimated input tokens of a file of `size` bytes."""
    return size // _BYTES_PER_TOKEN


def not_found(file_id: str, organization: str) -> str:
    """Return the sentence for an input file that is not there."""
    return f"Cannot find file {file_id}, or organization {organization} does not have access to it."


def wrong_purpose(file_id: str, purpose: str) -> str:
    """Return the sentence for an input file that is meant for something else."""
    return f"Invalid purpose of file '{file_id}': expected 'batch', but got '{purpose}' instead."


def request_limit_reached(limit: int, organization: str) -> str:
    """Return the sentence for a batch that would exceed the enqueued requests."""
    return (
        f"Enqueued request limit reached in organization {organization}. "
        f"Limit: {limit:,} enqueued requests. Please try again once some in_progress batches have been completed."
    )


def token_limit_reached(model: str | None, limit: int, organization: str) -> str:
    """Return the sentence for a batch that would exceed the enqueued tokens."""
    return (
        f"Enqueued token limit reached for {model} in organization {organization}. "
        f"Limit: {limit:,} enqueued tokens. Please try again once some in_progress batches have been completed."
    )


def validate(path: Path, *, endpoint: str, rules: Rules) -> Verdict:
    """Check every line of the file at `path` for a batch of `endpoint`; meant for a worker thread."""
    size = path.stat().st_size
    check = _Check(endpoint=endpoint, rules=rules, verdict=Verdict(tokens=estimated_tokens(size)))
    with path.open("rb") as source:
        for number, line in enumerate(source, 1):
            if line.strip():
                check.line(number, line)
    check.whole(size)
    del check.verdict.errors[rules.choices.max_batch_errors or len(check.verdict.errors) :]
    return check.verdict


class _NotJSON:
    """Stands for a line that is no JSON; None is JSON."""


_NOT_JSON = _NotJSON()
_decode = msgspec.json.Decoder().decode


def _parse(line: bytes) -> Any:
    try:
        return _decode(line)
    except (ValueError, RecursionError):
        return _NOT_JSON


@attrs.define(kw_only=True)
class _Check:
    """One pass over a file."""

    endpoint: str
    rules: Rules
    verdict: Verdict
    seen: set[str] = attrs.field(factory=set[str])
    longest_id: float = attrs.field(init=False)
    most_errors: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        choices = self.rules.choices
        self.longest_id = choices.max_custom_id_length or math.inf
        self.most_errors = choices.max_batch_errors or math.inf

    def line(self, number: int, line: bytes) -> None:
        self.verdict.total += 1
        # No more errors are shown than the rules allow, and none of lines beyond the limit.
        if self.verdict.total > self.rules.max_lines or len(self.verdict.errors) >= self.most_errors:
            return
        record = _parse(line)
        if not is_object(record):
            self.verdict.refuse("invalid_json_line", "This line is not parseable as valid JSON.", line=number)
            return
        for code, message, param in self.faults(record):
            self.verdict.refuse(code, message, param=param, line=number)

    def faults(self, record: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        for key in self.rules.terms.line_keys:
            if key not in record:
                yield "missing_required_parameter", f"Missing required parameter: '{key}'.", key
        if "custom_id" in record:
            yield from self.custom_id(record["custom_id"])
        if record.get("method", "POST") != "POST":
            yield "invalid_method", "The method of a request in a batch must be 'POST'.", "method"
        if record.get("url", self.endpoint) != self.endpoint:
            message = "The URL provided for this request does not match the batch endpoint."
            yield "invalid_url", message, "url"
        if "body" in record:
            yield from self.body(record["body"])

    def custom_id(self, custom_id: Any) -> Iterator[tuple[str, str, str]]:
        if not isinstance(custom_id, str):
            message = f"Invalid type for 'custom_id': expected a string, but got {kind(custom_id)} instead."
            yield "invalid_type", message, "custom_id"
        elif len(custom_id) > self.longest_id:
            message = (
                f"Invalid 'custom_id': string too long. Expected a string with maximum length {self.longest_id}, "
                f"but got a string with length {len(custom_id)} instead."
            )
            yield "string_above_max_length", message, "custom_id"
        elif custom_id in self.seen and self.rules.terms.needs_unique_ids:
            message = (
                f"The custom_id '{custom_id}' for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch."
            )
            yield "duplicate_custom_id", message, "custom_id"
        else:
            self.seen.add(custom_id)

    def body(self, body: Any) -> Iterator[tuple[str, str, str]]:
        if not is_object(body):
            message = f"Invalid type for 'body': expected an object, but got {kind(body)} instead."
            yield "invalid_type", message, "body"
            return
        yield from self.model(body.get("model"))
        needed = _NEEDED.get(self.endpoint) or _NEEDED.get(f"/v1{self.endpoint}")
        if needed is not None and body.get(needed) is None:
            yield "invalid_request", f"{needed.capitalize()} parameter is required.", f"body.{needed}"
        if body.get("stream"):
            title = _TITLES.get(self.endpoint, self.endpoint)
            yield "streaming_unsupported", f"{title}: Streaming is not supported in the Batch API.", "body.stream"
        if self.endpoint == "/v1/embeddings":
            self.verdict.embedding_inputs += _embedding_inputs(body.get("input"))

    def model(self, model: Any) -> Iterator[tuple[str, str, str]]:
        if not model or not isinstance(model, str):
            if self.rules.terms.needs_model:
                yield "invalid_request", "Model parameter is required.", "body.model"
            return
        if self.verdict.model is None:
            self.verdict.model = model
        if self.rules.models is not None and model not in self.rules.models:
            message = f"The provided model '{model}' is not supported by the Batch API."
            yield "model_not_found", message, "body.model"
        elif model != self.verdict.model and self.rules.terms.needs_one_model:
            message = (
                f"The model '{model}' for this request does not match the rest of the batch. "
                "Each batch must contain requests for a single model."
            )
            yield "mismatched_model", message, "body.model"

    def whole(self, size: int) -> None:
        verdict, rules = self.verdict, self.rules
        if size > rules.max_bytes:
            message = f"The batch input file is larger than the {rules.max_bytes} maximum for the {verdict.model} model"
            verdict.refuse(rules.choices.too_large_code, message)
        if verdict.total > rules.max_lines:
            message = f"The batch input file has {verdict.total} requests. The maximum is {rules.max_lines}."
            verdict.refuse(rules.choices.too_many_lines_code, message)
        if verdict.embedding_inputs > rules.max_embedding_inputs:
            message = (
                f"The batch has {verdict.embedding_inputs} embedding inputs. "
                f"The maximum is {rules.max_embedding_inputs}."
            )
            verdict.refuse("invalid_request", message)
        if not verdict.total:
            message = "The input file is empty. Please ensure that the batch contains at least one request."
            verdict.refuse("empty_file", message)


def _embedding_inputs(value: Any) -> int:
    """Count the inputs; a list of integers is one input given as tokens."""
    if is_array(value) and not all(isinstance(item, int) for item in value):
        return len(value)
    return 1
