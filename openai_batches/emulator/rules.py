"""What the emulator is told to be: limits, durations and answers where the published facts are silent."""

from collections.abc import Collection
from typing import Literal

import attrs

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


@attrs.frozen(kw_only=True)
class Timings:
    """How long each state of a batch lasts, in emulated seconds.

    Args:
        validating_s: From creation to the verdict on the input file.
        line_s: Per request line, one after the other.
        finalizing_s: From the last line to the files.
        cancelling_s: From the cancel call to the partial files.
    """

    validating_s: float = attrs.field(default=3.0, validator=attrs.validators.ge(0))
    line_s: float = attrs.field(default=0.05, validator=attrs.validators.ge(0))
    finalizing_s: float = attrs.field(default=2.0, validator=attrs.validators.ge(0))
    cancelling_s: float = attrs.field(default=5.0, validator=attrs.validators.ge(0))


@attrs.frozen(kw_only=True)
class Rules:
    """The limits and choices of one server; `BatchServer` documents each of them."""

    api_keys: Collection[str] | None = None
    models: Collection[str] | None = None
    enqueued_token_limit: int | None = None
    max_lines: int = 50_000
    max_embedding_inputs: int = 50_000
    max_bytes: int = 209_715_200
    max_file_bytes: int = 512 * 1024 * 1024
    unknown_cursor: Literal["restart", "empty", "error"] = attrs.field(
        default="error", validator=attrs.validators.in_(("restart", "empty", "error"))
    )
    unknown_input_file: Literal["fail_batch", "reject"] = attrs.field(
        default="fail_batch", validator=attrs.validators.in_(("fail_batch", "reject"))
    )
