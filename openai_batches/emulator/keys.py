"""Keys: whose they are, and what they may do."""

from collections.abc import Collection, Iterable, Mapping
from typing import cast

import attrs
from aiohttp import web

from openai_batches._names import public
from openai_batches.emulator.answers import APIError

# The key for clients of a server that accepts any.
ANY_KEY = "sk-emulator"
SCOPES = (
    "api.batch.read",
    "api.batch.write",
    "api.files.read",
    "api.files.write",
    "api.webhooks.read",
    "api.webhooks.write",
)


@public
@attrs.frozen
class ApiKey:
    """One key of a server.

    Args:
        key: What clients send.
        project: Whose batches and files it sees, shared with the project's other keys; None makes the key a project
            of its own, which any `OpenAI-Project` header fits.
        organization: What an `OpenAI-Organization` header must say; None lets it say anything.
        scopes: What a restricted key may do, of `SCOPES`; writing includes reading. None may do all.

    Raises:
        TypeError: The key is no str, or the scopes are one.
        ValueError: The key is empty, or a scope unknown.
    """

    key: str = attrs.field(repr=False)
    project: str | None = attrs.field(default=None, kw_only=True)
    organization: str | None = attrs.field(default=None, kw_only=True)
    scopes: Collection[str] | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.key, str):
            raise TypeError(f"an API key must be a str, not {type(self.key).__name__}")
        if not self.key:
            raise ValueError("an API key must not be empty")
        if isinstance(self.scopes, str):
            raise TypeError("scopes must be a collection of scopes, not one str")
        for scope in self.scopes or ():
            if scope not in SCOPES:
                raise ValueError(f"unknown scope {scope!r}; there are {', '.join(SCOPES)}")

    @property
    def owner(self) -> str:
        """The name under which its batches and files are kept."""
        return self.key if self.project is None else self.project

    def may(self, scope: str) -> bool:
        """Tell whether the key has `scope`, or that of writing where `scope` is that of reading."""
        return self.scopes is None or not {scope, scope.replace(".read", ".write")}.isdisjoint(self.scopes)

    @property
    def answer_headers(self) -> dict[str, str]:
        """The headers of answers that say whose key it is, as far as that is settled."""
        named = (("openai-organization", self.organization), ("openai-project", self.project))
        return {name: value for name, value in named if value is not None}

    def check(self, request: web.Request, *, refusal_status: int) -> None:
        """Check that the request's headers fit the key and that the key may do what is asked.

        Args:
            request: What is asked.
            refusal_status: HTTP status of an answer to a restricted key.

        Raises:
            APIError: It does not fit, or may not.
        """
        for name, own in (("Organization", self.organization), ("Project", self.project)):
            if own is not None and request.headers.get(f"OpenAI-{name}", own) != own:
                message = f"OpenAI-{name} header should match {name.lower()} for API key"
                raise APIError(message, status=401, code=f"mismatched_{name.lower()}")
        needed = _needed_scope(request)
        if not self.may(needed):
            message = (
                f"You have insufficient permissions for this operation. Missing scopes: {needed}. "
                "A restricted API key needs them, and so does your role in the organization and the project."
            )
            raise APIError(message, status=refusal_status)


def keys_by_name(
    keys: Mapping[str, str | None] | Iterable[str | ApiKey] | None,
) -> Mapping[str, ApiKey] | None:
    """Return the keys of a server by what clients send; None lets in any."""
    if keys is None:
        return None
    if isinstance(keys, Mapping):
        projects = cast("Mapping[str, str | None]", keys)
        made = [ApiKey(key, project=project) for key, project in projects.items()]
    else:
        made = [key if isinstance(key, ApiKey) else ApiKey(key) for key in keys]
    for key in made:
        if not (key.key.isascii() and key.key.isprintable()) or key.key != key.key.strip():
            raise ValueError("an API key must be of printable ASCII, without spaces around it: it travels in a header")
    return {key.key: key for key in made}


def _needed_scope(request: web.Request) -> str:
    families = {"batches": "batch", "webhook_endpoints": "webhooks", "webhook_event_types": "webhooks"}
    family = next((families[part] for part in request.path.split("/") if part in families), "files")
    return f"api.{family}.{'read' if request.method == 'GET' else 'write'}"
