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
    """

    name: str
    base_url: str
    api_key_env: str
    base_url_env: str
    auth_header: str = "Authorization"
    auth_prefix: str = "Bearer "
    endpoints: frozenset[str] = frozenset()


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
