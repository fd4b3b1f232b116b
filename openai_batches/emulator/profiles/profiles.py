"""Which service the emulator plays: what differs from OpenAI, as data and a few pure functions.

Facts that are not known of a service are as at OpenAI.
"""

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import attrs

from openai_batches._names import public
from openai_batches.emulator.profiles import shaping
from openai_batches.emulator.profiles.result_style import ResultStyle
from openai_batches.emulator.profiles.shaping import Record, Shape
from openai_batches.emulator.rules import Terms
from openai_batches.emulator.store.records import Ids, StoredBatch, StoredFile

_MEBIBYTE = 1024 * 1024
_CHAT = "/v1/chat/completions"


class AzureIds(Ids):
    """Ids as Azure makes them."""

    def batch(self, created_at: float) -> str:  # noqa: ARG002 - the time does not show in it
        """Return the id of a batch."""
        return f"batch_{uuid.UUID(hex=self.hex(32), version=4)}"

    def file(self) -> str:
        """Return the id of a file."""
        return f"file-{self.hex(32)}"


@public
@attrs.frozen(kw_only=True)
class Profile:
    """What is particular about one service; the defaults are OpenAI's. `attrs.evolve` makes others of it.

    Args:
        name: What the service is called.
        prefixes: Where its operations are; the first one is in `base_url`.
        dated_prefix: Where they are with an `api-version` in the query as well; "" is nowhere.
        root_variable: Variable in which the service's own client looks for the address, without the prefix; "" is none.
        key_variable: Variable in which it looks for the key.
        key_headers: Headers that may carry the bare key, beside `Authorization: Bearer`.
        terms: What it takes.
        max_lines: Most requests of a batch, unless the server is told otherwise.
        max_bytes: Longest input file in bytes, unless the server is told otherwise.
        unknown_cursor: What a listing does with an `after` it does not know, unless the server is told otherwise.
        has_cursors: Whether listings come in pages; else every reply is the whole list.
        never_expires: Whether batches run for as long as they need.
        fails_fast: Whether a batch that is too large for the token limit is refused when it is made.
        pending_s: Emulated seconds for which a new file of a batch is `pending`, in which no batch can be made of it.
        pending_looks: After how often its record was read it is not pending any more, if that is sooner: a client that
            waits for it is not held up by a clock that stands still.
        ids: Makes the ids.
        batch: Shapes the record of a batch.
        file: Shapes the record of a file.
        refusal: Shapes the body of an error.
        results: How the result files are written.
    """

    name: str
    prefixes: tuple[str, ...] = ("/v1",)
    dated_prefix: str = ""
    root_variable: str = ""
    key_variable: str = ""
    key_headers: tuple[str, ...] = ()
    terms: Terms = attrs.field(factory=Terms)
    max_lines: int = 50_000
    max_bytes: int = 209_715_200
    unknown_cursor: Literal["restart", "empty", "error"] = "error"
    has_cursors: bool = True
    never_expires: bool = False
    fails_fast: bool = False
    pending_s: float = 0.0
    pending_looks: int = 0
    ids: type[Ids] = Ids
    batch: Shape | None = None
    file: Shape | None = None
    refusal: Shape | None = None
    results: ResultStyle = attrs.field(factory=ResultStyle)

    def plain_path(self, path: str, query: Mapping[str, str]) -> str | None:
        """Return the path under `/v1` that a path of this service means; None means nothing."""
        dated = (self.dated_prefix,) if self.dated_prefix and query.get("api-version") else ()
        for prefix in (*self.prefixes, *dated):
            if path.startswith(f"{prefix}/"):
                return f"/v1{path.removeprefix(prefix)}"
        return None

    def show(self, item: StoredBatch | StoredFile) -> Record:
        """Return the record of a batch or a file as the service shows it."""
        shape = self.batch if isinstance(item, StoredBatch) else self.file
        record = item.to_wire()
        return record if shape is None else shape(_copied(record))


def _copied(record: Record) -> Record:
    """Return a record whose errors can be changed without changing what is stored."""
    errors = record.get("errors")
    if errors is None:
        return record
    data: list[Any] = [dict(error) for error in errors["data"]]
    return {**record, "errors": {**errors, "data": data}}


OPENAI = Profile(name="openai")
AZURE = Profile(
    name="azure",
    prefixes=("/openai/v1",),
    dated_prefix="/openai",
    root_variable="AZURE_OPENAI_ENDPOINT",
    key_variable="AZURE_OPENAI_API_KEY",
    key_headers=("api-key",),
    terms=Terms(
        endpoints=("/chat/completions", _CHAT, "/v1/responses"),
        lifetime_s=(1_209_600, 2_592_000),
        form_style="dots",
    ),
    max_lines=100_000,
    max_bytes=200_000_000,
    never_expires=True,
    fails_fast=True,
    pending_s=2.0,
    pending_looks=1,
    ids=AzureIds,
    batch=shaping.azure_batch,
    file=shaping.azure_file,
    refusal=shaping.azure_refusal,
    results=ResultStyle(line=shaping.azure_line, always=frozenset({"error"})),
)
GROQ = Profile(
    name="groq",
    prefixes=("/openai/v1",),
    root_variable="GROQ_BASE_URL",
    key_variable="GROQ_API_KEY",
    terms=Terms(endpoints=(_CHAT,), window_hours=(24, 168)),
    max_bytes=100_000_000,
    has_cursors=False,
    batch=shaping.groq_batch,
    file=shaping.groq_file,
)
SILICONFLOW = Profile(
    name="siliconflow",
    terms=Terms(window_hours=(24, 336), line_keys=("custom_id", "body"), needs_model=False),
    max_lines=5_000,
    max_bytes=1024 * _MEBIBYTE,
    batch=shaping.siliconflow_batch,
)
VLLM = Profile(
    name="vllm",
    terms=Terms(needs_model=False, needs_one_model=False, needs_unique_ids=False),
    results=ResultStyle(line=shaping.vllm_line, is_mixed=True),
)
OGX = Profile(
    name="ogx",
    terms=Terms(create_fields=("idempotency_key",)),
    unknown_cursor="restart",
    never_expires=True,
    batch=shaping.ogx_batch,
    results=ResultStyle(line=shaping.ogx_line, always=frozenset({"output", "error"})),
)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {profile.name: profile for profile in (OPENAI, AZURE, GROQ, SILICONFLOW, VLLM, OGX)}
)


def named(profile: Profile | str) -> Profile:
    """Return the profile, which may be given by its name."""
    if isinstance(profile, Profile):
        return profile
    if isinstance(profile, str) and profile in PROFILES:
        return PROFILES[profile]
    raise ValueError(f"profile must be a Profile or one of {', '.join(PROFILES)}, not {profile!r}")
