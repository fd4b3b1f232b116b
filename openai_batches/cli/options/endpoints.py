"""Where requests go, as a person names it: ``/v1/chat/completions``, or a part of that which says enough."""

import re
from typing import TYPE_CHECKING

from openai_batches import OPENAI
from openai_batches.cli.errors import CommandError

if TYPE_CHECKING:
    from openai_batches import Provider

__all__ = ["endpoint_of"]

_VERSION = re.compile(r"^/v[0-9]+(?=/)")


def endpoint_of(text: str | None, provider: "Provider") -> str | None:
    """Return the whole path of an endpoint that may be named without ``/v1``, or without a slash in front.

    Args:
        text: what was typed; None where nothing was.
        provider: the service, which knows some endpoints; another one has to be named whole.

    Raises:
        CommandError: it is no path, and the service has no such endpoint.
    """
    known = provider.endpoints or OPENAI.endpoints
    if text is None or text in known:
        return text
    path = f"/{text.lstrip('/')}"
    # The one without a version goes before the one with it, where a service has both.
    for whole in sorted(known, key=len):
        if path in {whole, _VERSION.sub("", whole)}:
            return whole
    if text.startswith("/"):
        return text
    shown = ", ".join(sorted({_VERSION.sub("", whole).lstrip("/") for whole in known}))
    raise CommandError(f"There is no endpoint {text!r}", f"Known are {shown}; name another one whole: /v1/{text}")
