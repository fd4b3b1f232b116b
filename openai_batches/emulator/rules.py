"""The rules of a server: limits, durations, and what it does where nothing is published about the service."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import attrs

from openai_batches._names import public
from openai_batches.emulator.checking import field, instance, number, one_of, text, texts, token_limit, whole
from openai_batches.emulator.keys import ApiKey

SECONDS_PER_DAY = 86_400
FILE_LIFETIME_S = 30 * SECONDS_PER_DAY
ORGANIZATION = "org-emulator"
PROJECT = "proj_emulator"

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/images/edits",
    "/v1/images/generations",
    "/v1/moderations",
    "/v1/responses",
    "/v1/videos",
)
PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
MIN_LIFETIME_S = 3600


@attrs.frozen(kw_only=True)
class Terms:
    """What a service takes, where services differ; the defaults are OpenAI's.

    Args:
        endpoints: What batches can be made for.
        window_hours: The shortest and the longest completion window.
        lifetime_s: The shortest and the longest life a file can be given.
        form_style: How the keys of a form name a member: `expires_after[seconds]` or `expires_after.seconds`.
        create_fields: Further fields that a new batch may have.
        line_keys: What every line must have.
        needs_model: Whether every line must name a model.
        needs_one_model: Whether all lines must name the same one.
        needs_unique_ids: Whether no two lines may have the same `custom_id`.
    """

    endpoints: tuple[str, ...] = ENDPOINTS
    window_hours: tuple[int, int] = (24, 24)
    lifetime_s: tuple[int, int] = (MIN_LIFETIME_S, FILE_LIFETIME_S)
    form_style: Literal["brackets", "dots"] = "brackets"
    create_fields: tuple[str, ...] = ()
    line_keys: tuple[str, ...] = ("custom_id", "method", "url", "body")
    needs_model: bool = True
    needs_one_model: bool = True
    needs_unique_ids: bool = True


@public
@attrs.frozen(kw_only=True)
class Timings:
    """How long each state of a batch lasts, in emulated seconds.

    Args:
        validating_s: From creation to the verdict on the input file.
        line_s: Per request line, one after the other.
        finalizing_s: From the last line to the files.
        cancelling_s: From the cancel call to the partial files.
    """

    validating_s: float = field(number, default=3.0, least=0)
    line_s: float = field(number, default=0.05, least=0)
    finalizing_s: float = field(number, default=2.0, least=0)
    cancelling_s: float = field(number, default=5.0, least=0)


def _one_of(*values: Any, default: Any = None) -> Any:
    return field(one_of, values, default=default or values[0])


def _limit(default: int | None, *, least: int = 0) -> Any:
    return field(whole, default=default, allows_none=True, least=least)


@public
@attrs.frozen(kw_only=True)
class Choices:
    """What the emulator does where nothing is published about what the service does.

    Args:
        wrong_purpose: A batch of a file of another purpose is refused with 400, or made and fails in validation.
        cancel_while_finalizing: It is accepted, or refused with 409 as for a completed batch.
        cancelled_lines: Lines that a cancel kept from running get a line of the error file each, or none, in which
            case they are not counted as failed either.
        model_while_validating: The key of the record is null until the model is known, or it is not there.
        unknown_batch_code: The error code of a batch that is not there.
        too_many_lines_code: The error code of a batch of too many lines.
        too_large_code: The error code of a batch of too large a file.
        max_custom_id_length: Longest `custom_id` in characters; None has no limit.
        max_batch_errors: How many errors of a batch that failed are shown; None shows all.
        conflict_forbids_retry: Whether answers of status 409 carry `x-should-retry: false`.
        missing_scope_status: HTTP status of an answer to a key that may not do what it asks.
    """

    wrong_purpose: Literal["reject", "fail_batch"] = _one_of("reject", "fail_batch")
    cancel_while_finalizing: Literal["accept", "reject"] = _one_of("accept", "reject")
    cancelled_lines: Literal["written", "omitted"] = _one_of("written", "omitted")
    model_while_validating: Literal["null", "absent"] = _one_of("null", "absent")
    unknown_batch_code: str | None = field(text, default=None, allows_none=True)
    too_many_lines_code: str = field(text, default="too_many_tasks")
    too_large_code: str = field(text, default="invalid_request")
    max_custom_id_length: int | None = _limit(None)
    max_batch_errors: int | None = _limit(None, least=1)
    conflict_forbids_retry: bool = field(instance, bool, "True or False", default=False)
    missing_scope_status: int = _one_of(401, 403, default=403)


@attrs.frozen(kw_only=True)
class Rules:
    """The limits and choices of one server; `BatchServer` documents each of them, and `Profile` the terms."""

    terms: Terms = Terms()

    choices: Choices = field(instance, Choices, "Choices(...)", default=Choices())  # noqa: RUF009 - it is frozen
    timings: Timings = field(instance, Timings, "Timings(...)", default=Timings())  # noqa: RUF009 - it is frozen
    keys: Mapping[str, ApiKey] | None = None
    models: Collection[str] | None = field(texts, default=None, allows_none=True)
    enqueued_token_limit: int | Mapping[str, int] | None = field(token_limit, default=None, allows_none=True)
    enqueued_request_limit: int | None = _limit(None)
    max_batches_per_hour: int | None = _limit(2_000)
    max_uploads_per_minute: int | None = _limit(1_000)
    max_project_bytes: int | None = _limit(2_500_000_000_000)
    batch_retention_s: float | None = field(number, default=None, allows_none=True, least=0)
    max_lines: int = field(whole, default=50_000)
    max_embedding_inputs: int = field(whole, default=50_000)
    max_bytes: int = field(whole, default=209_715_200)
    max_file_bytes: int = field(whole, default=512 * 1024 * 1024)
    client_timeout_s: float = field(number, default=60.0, above=0)
    unknown_cursor: Literal["restart", "empty", "error"] = _one_of("restart", "empty", "error", default="error")
    unknown_input_file: Literal["fail_batch", "reject"] = _one_of("fail_batch", "reject")

    def tokens_of(self, model: str | None) -> int | None:
        """Return the most enqueued tokens of `model`; None has no limit."""
        limit = self.enqueued_token_limit
        return limit.get(model or "") if isinstance(limit, Mapping) else limit
