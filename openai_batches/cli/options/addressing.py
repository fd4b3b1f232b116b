"""Where requests go, and with whose key: the nearest address counts, and a profile's key goes to its own."""

from typing import TYPE_CHECKING

import attrs

from openai_batches.cli.options.config_file import ServiceProfile
from openai_batches.cli.options.environment import variable

if TYPE_CHECKING:
    from openai_batches import Provider

__all__ = ["Addressed", "Flags", "addressed"]


@attrs.frozen(kw_only=True)
class Addressed:
    """Where requests go, and as whose.

    Attributes:
        base_url: the address; None for that of the environment, or else the provider's own.
        api_key_env: the variable that holds the key; None where there is a file, or no variable is known.
        api_key_file: the file that holds the key.
        organization: the organization; None for that of the environment.
        project: the project; None for that of the environment.
        is_key_withheld: whether the profile has a key, which does not go to this address.
    """

    base_url: str | None
    api_key_env: str | None
    api_key_file: str | None
    organization: str | None
    project: str | None
    is_key_withheld: bool


@attrs.frozen(kw_only=True)
class Flags:
    """What the command line says.

    Attributes:
        is_profile_named: whether it, or a variable, names the profile.
        provider: the name of the service.
        base_url: its address.
        api_key_env: the variable that holds the key.
    """

    is_profile_named: bool
    provider: str | None
    base_url: str | None
    api_key_env: str | None


def addressed(flags: Flags, profile: ServiceProfile, provider: "Provider") -> Addressed:
    """Return what flags, environment and profile come to.

    A profile that was named is as good as flags. One that the configuration file has chosen gives way to the
    environment, and has a word only where its own address is meant.

    Args:
        flags: the flags.
        profile: the profile.
        provider: the service as data.
    """
    is_named = flags.is_profile_named
    if not is_named and _is_for_another(flags, profile):
        profile = ServiceProfile()
    environment = variable(provider.base_url_env)
    base_url = flags.base_url
    if base_url is None and (is_named or environment is None):
        base_url = profile.base_url
    used = base_url if base_url is not None else environment or provider.base_url
    # A service without an address of its own is where the environment says it is.
    own = profile.base_url or provider.base_url or environment or ""
    is_own = is_named or used.strip().rstrip("/") == own.strip().rstrip("/")
    has_key = profile.api_key_env is not None or profile.api_key_file is not None
    is_before_environment = is_named or (is_own and profile.base_url is not None and base_url is not None)
    is_before_usual = is_own and (is_before_environment or not variable(provider.api_key_env))
    is_taken = has_key and is_before_usual and flags.api_key_env is None
    # What belongs to a key goes with it.
    is_whose = is_named or (is_own and (is_taken or not has_key))

    def belonging(value: str | None, name: str) -> str | None:
        return value if is_whose and (has_key or is_before_environment or not variable(name)) else None

    return Addressed(
        base_url=base_url,
        api_key_env=flags.api_key_env or (profile.api_key_env if is_taken else provider.api_key_env or None),
        api_key_file=profile.api_key_file if is_taken else None,
        organization=belonging(profile.organization, "OPENAI_ORG_ID"),
        project=belonging(profile.project, "OPENAI_PROJECT_ID"),
        is_key_withheld=has_key and not is_own,
    )


def _is_for_another(flags: Flags, profile: ServiceProfile) -> bool:
    """Return whether a flag names another service than the profile is for."""
    # A profile with an address and no provider leaves open which service is there.
    known = profile.provider or ("openai" if profile.base_url is None else None)
    return known is not None and flags.provider is not None and known.lower() != flags.provider.lower()
