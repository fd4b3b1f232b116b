"""The records of a journal: a job, the attempts at its shards, and the step that each has reached."""

from __future__ import annotations

import enum
from typing import Any

import attrs

from openai_batches._names import public
from openai_batches.models import Batch, TokenCounts

__all__ = ["Attempt", "JobRecord", "Step", "Tally"]


@public
class Step(enum.StrEnum):
    """How far an attempt has come; a step whose name ends in -ing is recorded before it is taken."""

    PLANNED = "planned"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    CREATING = "creating"
    CREATED = "created"
    ENDED = "ended"
    COLLECTED = "collected"
    VERIFIED = "verified"


@attrs.frozen(kw_only=True)
class Tally:
    """What became of the requests of one attempt.

    Attributes:
        outcomes: how many requests have found their end in this attempt, by outcome.
        resent: how many are sent again, in the next attempt.
        error_codes: how many of those that found their end here failed with each code.
        tokens: model → the tokens of its answers.
        doubled: lines that were left out because their request has another one.
        foreign: lines that belong to no request.
        is_plain: whether each line of the files is the only one of a request of this attempt, and none lacks its line.
    """

    outcomes: dict[str, int]
    resent: int = 0
    error_codes: dict[str, int] = attrs.field(factory=dict[str, int])
    tokens: dict[str, TokenCounts] = attrs.field(factory=dict[str, TokenCounts])
    doubled: int = 0
    foreign: int = 0
    is_plain: bool = True


@attrs.frozen(kw_only=True)
class Attempt:
    """One attempt at (what is left of) one shard: one input file, one batch.

    Attributes:
        shard: the shard's number, from 1.
        number: the attempt's number, from 1.
        endpoint: where its requests go.
        model: the model of its requests, if known.
        requests: how many requests it has.
        bytes: the size of its input file.
        tokens: about how many tokens its requests have.
        step: how far it has come.
        file_id: its input file at the service.
        file_created_s: when the service says that file was made; its batch cannot be older.
        key: what the batch is found by, written down before it is created.
        batch: the batch as last seen; None before it was created.
        refusals: how often the service created the batch and then failed it for lack of capacity.
        output_name: the name of the downloaded output file.
        output_bytes: its size.
        error_name: the name of the downloaded error file.
        error_bytes: its size.
        tally: what became of its requests, once that is verified.
        is_tidy: whether its input file at the service is deleted, or is not the job's to delete.
        is_adopted: whether its batch was created by somebody else.
    """

    shard: int
    number: int
    endpoint: str
    model: str | None
    requests: int
    bytes: int
    tokens: int
    step: Step = Step.PLANNED
    file_id: str | None = None
    file_created_s: float | None = None
    key: str | None = None
    batch: Batch | None = None
    refusals: int = 0
    output_name: str | None = None
    output_bytes: int | None = None
    error_name: str | None = None
    error_bytes: int | None = None
    tally: Tally | None = None
    is_tidy: bool = False
    is_adopted: bool = False

    @property
    def name(self) -> str:
        """The name of its file of requests, which is unique within the job."""
        return f"shard-{self.shard:05d}.jsonl" if self.number == 1 else f"shard-{self.shard:05d}.{self.number}.jsonl"

    def name_at_service(self, job_id: str) -> str:
        """Return the name of its uploaded file, by which the file is found if the answer to the upload is lost."""
        return f"{job_id}-{self.name}"


@attrs.frozen(kw_only=True)
class JobRecord:
    """What a job is about; it is written once, and does not change.

    Attributes:
        job_id: the job's name at the service, in file names and metadata.
        created_s: when it was planned, by this machine's clock, in Unix seconds.
        base_url: the service.
        source: the path of the requests, or None where they came from memory.
        source_digest: BLAKE2b of the source's bytes.
        source_bytes: the source's size.
        source_mtime_ns: when the source was last changed.
        requests: how many requests there are in all.
        options: what decides about requests and money, and may not change half way.
    """

    job_id: str
    created_s: float
    base_url: str
    source: str | None
    source_digest: str
    source_bytes: int
    source_mtime_ns: int
    requests: int
    options: dict[str, Any] = attrs.field(factory=dict[str, Any])
