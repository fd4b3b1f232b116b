"""Services as data: where they are, how they want the key, what they know."""

from __future__ import annotations

import attrs

__all__ = ["OPENAI", "Provider"]


@attrs.frozen(kw_only=True)
class Provider:
    """What is particular about one service that speaks the Batch API.

    Args:
        name: what the service is called in messages.
        base_url: the address every path is appended to, without a slash at the end.
        api_key_env: the environment variable that holds the key.
        base_url_env: the environment variable that replaces ``base_url``.
        auth_header: the header that carries the key.
        auth_prefix: what stands before the key in that header.
        endpoints: the values of ``endpoint`` the service is known to take; another one is warned of, not refused.
        max_requests: how many requests one input file can hold.
        max_bytes: how large one input file can be, in bytes. OpenAI says 200 MB and means 209,715,200 in the messages
            that were seen; the decimal reading is the one that is right either way.
        max_embedding_inputs: how many inputs the embedding requests of one input file can have together; an array of
            inputs counts as many.
    """

    name: str
    base_url: str
    api_key_env: str
    base_url_env: str
    auth_header: str = "Authorization"
    auth_prefix: str = "Bearer "
    endpoints: frozenset[str] = frozenset()
    # https://platform.openai.com/docs/api-reference/batch/create
    max_requests: int = 50_000
    max_bytes: int = 200_000_000
    max_embedding_inputs: int = 50_000


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
