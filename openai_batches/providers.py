"""The services that speak the Batch API: their addresses, keys, limits and endpoints.

Only what is known of a service stands here; else OpenAI's values are taken. Services with another API of their own
(Together, Mistral, xAI, Fireworks) are not among them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import attrs

from openai_batches._names import public
from openai_batches.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

__all__ = [
    "AZURE",
    "DASHSCOPE",
    "DEEPINFRA",
    "DOUBLEWORD",
    "GROQ",
    "NEBIUS",
    "NOVITA",
    "OGX",
    "OPENAI",
    "PARASAIL",
    "SILICONFLOW",
    "ZHIPU",
    "Provider",
    "unknown_endpoint",
    "unknown_window",
]

_WINDOW = re.compile(r"([0-9]{1,6})([hd])", re.ASCII)
_CHAT, _COMPLETIONS, _EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


@public
@attrs.frozen(kw_only=True)
class Provider:
    """What is particular about one service that speaks the Batch API.

    ``attrs.evolve(PROVIDER, ...)`` makes another of one.

    Args:
        name: what the service is called in messages.
        base_url: the address every path is appended to, without a slash at the end; ``""`` where each customer has
            another one, or none is known for certain.
        api_key_env: the environment variable that holds the key; ``""`` where none is known for certain.
        base_url_env: the environment variable that replaces ``base_url``, or ``""``.
        base_url_path: the path that is appended to the value of that variable, because some services' own clients
            expect only the root in it and append the path themselves. A value that ends with the path stays as it is.
        auth_header: the header that carries the key.
        auth_prefix: what stands before the key in that header.
        query: what stands in the query of every request, as ``(("api-version", "2024-10-21"),)``.
        endpoints: the values of ``endpoint`` the service is known to take; for another one a warning is given, not an
            error.
        window_hours: the shortest and the longest completion window the service is known to take, in hours; for one
            outside, a warning is given, not an error. None: not known.
        max_requests: how many requests one input file can hold.
        max_bytes: how large one input file can be, in bytes. OpenAI's limit is 200 MB, which is 209,715,200 in the
            messages that were seen; 200,000,000 is within the limit in both readings.
        max_embedding_inputs: how many inputs the embedding requests of one input file can have together; an array of
            inputs counts as many.
        expiry_s: the shortest and the longest life that a file can be given, in seconds.
        form_keys: how a form names a member: ``expires_after[seconds]`` or ``expires_after.seconds``.
        has_cursors: whether lists have pages; otherwise every answer is the whole list, and is read once.
        has_pending_files: whether a file that was just uploaded may not be ready, so that a batch of it has to wait.
        keeps_metadata: whether a batch keeps its metadata. If it does not, a batch cannot be found again after a lost
            answer, and ``create`` raises ``AmbiguousCreateError`` instead of creating a second batch.
    """

    name: str
    base_url: str = ""
    api_key_env: str = ""
    base_url_env: str = ""
    base_url_path: str = ""
    auth_header: str = "Authorization"
    auth_prefix: str = "Bearer "
    query: tuple[tuple[str, str], ...] = ()
    endpoints: frozenset[str] = frozenset()
    window_hours: tuple[int, int] | None = (24, 24)
    # https://platform.openai.com/docs/api-reference/batch/create
    max_requests: int = 50_000
    max_bytes: int = 200_000_000
    max_embedding_inputs: int = 50_000
    expiry_s: tuple[int, int] = (3_600, 2_592_000)
    form_keys: Literal["brackets", "dots"] = "brackets"
    has_cursors: bool = True
    has_pending_files: bool = False
    keeps_metadata: bool = True


OPENAI = Provider(
    name="OpenAI",
    base_url="https://api.openai.com/v1",
    api_key_env="OPENAI_API_KEY",
    base_url_env="OPENAI_BASE_URL",
    # https://platform.openai.com/docs/api-reference/batch/create
    endpoints=frozenset(
        {
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/embeddings",
            "/v1/images/edits",
            "/v1/images/generations",
            "/v1/moderations",
            "/v1/responses",
            "/v1/videos",
        }
    ),
)

# The key of a resource goes in a header of its own. For a token of Entra ID, which goes where everybody's key goes:
# attrs.evolve(AZURE, auth_header="Authorization", auth_prefix="Bearer ").
# https://learn.microsoft.com/azure/ai-services/openai/how-to/batch
AZURE = Provider(
    name="Azure OpenAI",
    api_key_env="AZURE_OPENAI_API_KEY",
    base_url_env="AZURE_OPENAI_ENDPOINT",
    base_url_path="/openai/v1",
    auth_header="api-key",
    auth_prefix="",
    endpoints=frozenset({"/chat/completions", _CHAT, "/v1/responses"}),
    max_requests=100_000,
    expiry_s=(1_209_600, 2_592_000),
    form_keys="dots",
    has_pending_files=True,
)

# https://console.groq.com/docs/batch
GROQ = Provider(
    name="Groq",
    base_url="https://api.groq.com/openai/v1",
    api_key_env="GROQ_API_KEY",
    base_url_env="GROQ_BASE_URL",
    base_url_path="/openai/v1",
    endpoints=frozenset({_CHAT}),
    window_hours=(24, 168),
    max_bytes=100_000_000,
    has_cursors=False,
)

SILICONFLOW = Provider(
    name="SiliconFlow",
    window_hours=(24, 336),
    max_requests=5_000,
    max_bytes=1_000_000_000,
)

# Outside of China: base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1".
DASHSCOPE = Provider(
    name="DashScope",
    base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
    api_key_env="DASHSCOPE_API_KEY",
    window_hours=(24, 336),
)

ZHIPU = Provider(
    name="Zhipu",
    endpoints=frozenset({"/v4/chat/completions", "/v4/embeddings"}),
)

DOUBLEWORD = Provider(name="Doubleword", window_hours=None)

PARASAIL = Provider(name="Parasail", endpoints=frozenset({_CHAT, _EMBEDDINGS}), max_bytes=100_000_000)

NEBIUS = Provider(name="Nebius", max_requests=5_000_000, max_bytes=10_000_000_000)

DEEPINFRA = Provider(name="DeepInfra", endpoints=frozenset({_CHAT, _COMPLETIONS, _EMBEDDINGS}))

NOVITA = Provider(name="Novita", window_hours=(48, 48))

# The reference server of llama-stack.
OGX = Provider(name="ogx")


def unknown_endpoint(endpoint: str, known: AbstractSet[str], *, service: str) -> str | None:
    """Return a warning about an endpoint the service is not known to take, or None; refuse what cannot be one."""
    if not isinstance(endpoint, str) or not endpoint.startswith("/"):
        raise InputError(f"endpoint must be a path such as '/v1/chat/completions', not {endpoint!r}")
    if not known or endpoint in known:
        return None
    return (
        f"{endpoint!r} is not an endpoint {service} is known to batch ({', '.join(sorted(known))}); it is sent as it is"
    )


def unknown_window(window: str, known_hours: tuple[int, int] | None, *, service: str) -> str | None:
    """Return a warning about a window the service is not known to take, or None; refuse what cannot be one."""
    if not isinstance(window, str) or not window:
        raise InputError(f"completion_window must be a text such as '24h', not {window!r}")
    if known_hours is None:
        return None
    asked = _WINDOW.fullmatch(window)
    hours = int(asked[1]) * (24 if asked[2] == "d" else 1) if asked else 0
    shortest, longest = known_hours
    if shortest <= hours <= longest:
        return None
    known = f"'{shortest}h'" if shortest == longest else f"'{shortest}h' to '{longest}h'"
    return f"{window!r} is not a window {service} is known to take ({known}); it is sent as it is"
