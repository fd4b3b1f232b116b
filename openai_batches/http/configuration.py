"""The address, the key and the headers of a service: from arguments, or else from the environment."""

from __future__ import annotations

import ipaddress
import os
import platform
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from yarl import URL

from openai_batches.errors import BatchesWarning, InputError
from openai_batches.http.client import Secret, checked_key
from openai_batches.policies import RetryPolicy
from openai_batches.providers import OPENAI, Provider
from openai_batches.version import __version__

if TYPE_CHECKING:
    from openai_batches.http.client import ApiKey

__all__ = [
    "check_encryption",
    "check_types",
    "checked_headers",
    "service_address",
    "service_headers",
    "service_key",
]


def check_types(retry: object, headers: object, provider: object) -> None:
    """Refuse what would otherwise fail at the first call, with a message that is harder to understand."""
    if not isinstance(provider, Provider):
        raise InputError(f"provider must be a Provider, such as openai_batches.AZURE, not {provider!r}")
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise InputError(f"retry must be a RetryPolicy, such as RetryPolicy(attempts=3), not {retry!r}")
    if headers is not None and not isinstance(headers, Mapping):
        raise InputError(f"headers must be a mapping of str to str, not {type(headers).__name__}")


def service_key(api_key: ApiKey | None, provider: Provider) -> ApiKey:
    """Return the key, or what gives it: the argument, or else what the environment holds."""
    if api_key is None:
        api_key = Secret(os.environ.get(provider.api_key_env, ""))
        if not api_key:
            variable = f", or set the environment variable {provider.api_key_env}" if provider.api_key_env else ""
            raise InputError(f"No API key for {provider.name}: pass api_key=…{variable}")
    return api_key if callable(api_key) else checked_key(api_key)


def service_address(base_url: str | None, provider: Provider) -> str:
    """Return the address that every path is appended to: the given one, that of the environment, or the provider's."""
    address = _given_address(base_url) or _address_in_environment(provider) or provider.base_url
    return _checked_address(address, provider)


def _given_address(base_url: str | None) -> str | None:
    """Return the address that was given; with an empty one, the key would be sent to a service that was not meant."""
    if base_url == "":
        raise InputError("base_url is empty: leave it out for the service's own address, or pass the one you mean")
    return base_url


def _address_in_environment(provider: Provider) -> str:
    """Return the address that the provider's variable holds, or ``""``."""
    address = os.environ.get(provider.base_url_env, "").strip().rstrip("/")
    if not address or address.endswith(provider.base_url_path):
        return address
    return address + provider.base_url_path


def _checked_address(text: str, provider: Provider) -> str:
    if not text:
        variable = f", or set the environment variable {provider.base_url_env}" if provider.base_url_env else ""
        raise InputError(f"{provider.name} has no address that is everybody's: pass base_url=…{variable}")
    try:
        url = URL(text.strip())
        url.origin()
    except (ValueError, TypeError, AttributeError):
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise InputError(f"base_url must be an address such as https://api.openai.com/v1, not {text!r}")
    if url.user or url.password:
        raise InputError("base_url must not hold a user name or a password: the key travels in a header")
    if url.query_string or url.fragment:
        raise InputError(f"base_url must not have a query or a fragment: {text!r}")
    return str(url).rstrip("/")


def check_encryption(base_url: str, *, require_tls: bool) -> None:
    """Warn of an address to which the key would be sent unencrypted, or refuse it."""
    url = URL(base_url)
    if url.scheme == "https" or _is_loopback(url.host or ""):
        return
    if require_tls:
        raise InputError(f"require_tls is set, and base_url is plain http to {url.host}")
    text = f"The API key travels unencrypted to {url.host}: use https (require_tls=True refuses plain http)"
    warnings.warn(text, BatchesWarning, stacklevel=3)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def service_headers(
    headers: Mapping[str, str] | None, organization: str | None, project: str | None, provider: Provider
) -> dict[str, str]:
    """Return the headers of every request, which those of the user replace; the key is not among them."""
    for name, value in {"organization": organization, "project": project}.items():
        if value is not None and not isinstance(value, str):
            raise InputError(f"{name} must be a str, not {type(value).__name__}")
    given = checked_headers(headers, "the session")
    if provider.auth_header.lower() in {name.lower() for name in given}:
        raise InputError(f"{provider.auth_header} is set from the key: pass it as api_key=…, not among headers")
    environment: Mapping[str, str] = os.environ if provider.api_key_env == OPENAI.api_key_env else {}
    ours = {
        "Accept": "application/json",
        "User-Agent": f"openai_batches/{__version__} Python/{platform.python_version()}",
        "OpenAI-Organization": organization or environment.get("OPENAI_ORG_ID"),
        "OpenAI-Project": project or environment.get("OPENAI_PROJECT_ID"),
    }
    theirs = {name.lower() for name in given}
    return {name: value for name, value in ours.items() if value and name.lower() not in theirs} | given


def checked_headers(headers: Mapping[str, str] | None, whose: str) -> dict[str, str]:
    """Return headers that can be sent as they are."""
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InputError(f"the headers of {whose} must be str, {name!r} is {type(value).__name__}")
        if not name.isascii() or not name.isprintable() or any(character in value for character in "\r\n\0"):
            raise InputError(f"the header {name!r} of {whose} cannot be sent")
    return dict(headers or {})
