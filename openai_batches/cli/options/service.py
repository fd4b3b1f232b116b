"""The options that name the service and its key: flags, environment or configuration file; and the session."""

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import Group, Parameter

from openai_batches.cli.errors import CommandError
from openai_batches.cli.options.amounts import usd_of
from openai_batches.cli.options.config_file import (
    Configuration,
    ServiceProfile,
    chosen_profile,
    configuration_path,
    read_configuration,
)
from openai_batches.cli.options.environment import CONFIG, CONFIRM_ABOVE_USD, DEBUG, LOCAL_DATA, PROFILE, variable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cyclopts.completion import CompletionContext

    from openai_batches import BatchSession, Provider

__all__ = [
    "DEFAULT_SERVICE",
    "PROVIDERS",
    "USUAL_LOCAL_DATA",
    "Flags",
    "ResolvedService",
    "Service",
    "confirm_above_usd",
    "connected",
    "local_data",
    "provider_of",
    "resolve_service",
    "unconnected",
]

PROVIDERS = (
    "openai",
    "azure",
    "groq",
    "siliconflow",
    "dashscope",
    "zhipu",
    "doubleword",
    "parasail",
    "nebius",
    "deepinfra",
    "novita",
    "ogx",
)
_GROUP = Group("Service", sort_key=90)
USUAL_LOCAL_DATA = "openai-batches-local"
# Where an emulator could be; its port does not matter to a job.
_LOCAL_ADDRESS = "http://127.0.0.1/v1"
_NO_KEY = "no-key"
_ADDRESS_ADVICE = "Check --base-url, the variable that holds it (OPENAI_BASE_URL), and base_url of the profile"
_KEY_ADVICE = "Check the variable or the file that holds the key: it is one word"
# What a person calls a variable; a key has small letters.
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}", re.ASCII)


def _profile_names(context: "CompletionContext") -> list[str]:
    """Return what the shell offers for ``--profile``."""
    config = context["--config"].raw
    return sorted(read_configuration(configuration_path(Path(config) if config else None)).profiles)


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


@attrs.frozen(kw_only=True)
class ResolvedService:
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


@Parameter(name="*", group=_GROUP)
@attrs.frozen(kw_only=True)
class Service:
    """The options that every command has."""

    local: Annotated[
        bool, Parameter(help="Use an emulator on this machine: no key, no cost; the answers repeat the prompts.")
    ] = False
    local_data: Annotated[
        Path | None,
        Parameter(
            metavar="DIR",
            help=f"Where the emulator keeps its batches and files ({LOCAL_DATA}, or else {USUAL_LOCAL_DATA}).",
        ),
    ] = None
    local_speed: Annotated[
        float | None, Parameter(metavar="X", help="How many times faster than usual it works (1).")
    ] = None
    profile: Annotated[
        str | None,
        Parameter(metavar="NAME", completer=_profile_names, help=f"A profile of the configuration file ({PROFILE})."),
    ] = None
    provider: Annotated[
        str | None,
        Parameter(
            metavar="NAME",
            completer=lambda _: PROVIDERS,
            help=f"The service, if not OpenAI: {', '.join(PROVIDERS[1:])}.",
        ),
    ] = None
    base_url: Annotated[str | None, Parameter(metavar="URL", help="The address of the service.")] = None
    api_key_env: Annotated[
        str | None, Parameter(metavar="VARIABLE", help="The environment variable that holds the key (OPENAI_API_KEY).")
    ] = None
    config: Annotated[
        Path | None,
        Parameter(metavar="FILE", help=f"The configuration file ({CONFIG}, or else ~/.config/openai-batches.toml)."),
    ] = None
    debug: Annotated[bool, Parameter(help=f"Show tracebacks, and each request to the service ({DEBUG}).")] = False

    def __attrs_post_init__(self) -> None:
        """Refuse options that would count for nothing, as another service is meant than they are for."""
        there = {"--provider": self.provider, "--base-url": self.base_url, "--api-key-env": self.api_key_env}
        here = {"--local-data": self.local_data, "--local-speed": self.local_speed}
        unused = [name for name, value in (there if self.local else here).items() if value is not None]
        if unused and self.local:
            raise CommandError(
                f"{unused[0]} cannot be used with --local, which is an emulator on this machine",
                "Leave one of them out",
            )
        if unused:
            raise CommandError(
                f"{unused[0]} is only used with --local, the emulator on this machine",
                "Add --local, or leave it out to use a service",
            )

    def profile_name(self) -> str | None:
        """Return the profile that a flag or a variable names; None for the configuration's own choice."""
        return self.profile or variable(PROFILE)

    def flags(self) -> Flags:
        """Return what says where the service is, and whose key goes there."""
        return Flags(
            is_profile_named=self.profile_name() is not None,
            provider=self.provider,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
        )

    def configured(self) -> tuple[Configuration, ServiceProfile]:
        """Return what the configuration file says, and the profile that is meant."""
        path = configuration_path(self.config)
        configuration = read_configuration(path)
        return configuration, chosen_profile(configuration, self.profile_name(), path)


def provider_of(service: Service) -> "Provider":
    """Return the service as data."""
    _, profile = service.configured()
    return _provider(service, profile)


def _provider(service: Service, profile: ServiceProfile) -> "Provider":
    name = (service.provider or profile.provider or "openai").lower()
    if name not in PROVIDERS:
        raise CommandError(f"No provider {name!r} is known", f"Known are {', '.join(PROVIDERS)}")
    # A command's help is shown without loading what talks to services.
    import openai_batches  # noqa: PLC0415

    provider: Provider = getattr(openai_batches, name.upper())
    return provider


@contextlib.asynccontextmanager
async def connected(service: Service) -> "AsyncGenerator[BatchSession]":
    """Open a session with the service that is meant; with ``--local``, with an emulator that is started if need be.

    Flags go before the environment, and that goes before the configuration file; a profile that was named by a flag or
    a variable is as good as flags.
    """
    if service.local:
        from openai_batches.cli.options.local import local_session  # noqa: PLC0415

        async with local_session(local_data(service), speed=service.local_speed) as session:
            yield session
        return
    _, profile = service.configured()
    provider = _provider(service, profile)
    meant = resolve_service(service.flags(), profile, provider)
    async with _session(
        _key(meant, provider),
        base_url=meant.base_url,
        organization=meant.organization,
        project=meant.project,
        timeout=profile.timeout_s,
        provider=provider,
    ) as session:
        yield session


@contextlib.asynccontextmanager
async def unconnected(service: Service) -> "AsyncGenerator[BatchSession]":
    """Open a session that nothing is sent with, such as for a plan: without a key, and without an emulator."""
    if service.local:
        async with _session(_NO_KEY, base_url=_LOCAL_ADDRESS) as session:
            yield session
        return
    _, profile = service.configured()
    provider = _provider(service, profile)
    base_url = resolve_service(service.flags(), profile, provider).base_url
    async with _session(_NO_KEY, base_url=base_url, provider=provider) as session:
        yield session


def _session(key: str, **options: Any) -> "BatchSession":
    from openai_batches import BatchSession, InputError  # noqa: PLC0415

    try:
        return BatchSession(key, **options)
    except InputError as error:
        text = str(error)
        advice = _KEY_ADVICE if "key" in text.casefold() and "base_url" not in text else _ADDRESS_ADVICE
        raise CommandError(text.replace("base_url", "the service's address"), advice) from error


def local_data(service: Service) -> Path:
    """Return the folder of ``--local``."""
    configuration, _ = service.configured()
    named = service.local_data or variable(LOCAL_DATA) or configuration.local_data or USUAL_LOCAL_DATA
    return Path(named).expanduser()


def confirm_above_usd(service: Service) -> float | None:
    """Return above what cost ``run`` asks where no flag says it; None where nothing does."""
    _, profile = service.configured()
    text = variable(CONFIRM_ABOVE_USD)
    if text is None or (service.profile_name() is not None and profile.confirm_above_usd is not None):
        return profile.confirm_above_usd
    try:
        return usd_of(text)
    except ValueError as error:
        raise CommandError(f"{CONFIRM_ABOVE_USD}: {error}", "Correct the variable, or unset it") from error


def _key(meant: ResolvedService, provider: "Provider") -> str:
    if (name := meant.api_key_env) is not None:
        if key := variable(name):
            return key
        if not _VARIABLE.fullmatch(name):
            # It may be the key itself, which is not to be seen.
            raise CommandError(
                f"There is no key for {provider.name}: this is not the name of an environment variable",
                "Put the key in a variable such as OPENAI_API_KEY and name that: --api-key-env OPENAI_API_KEY",
            )
        what = "is empty" if name in os.environ else "is not set"
        withheld = "name the profile, whose key is otherwise sent to its own address only: --profile NAME"
        local = "try it without a key and at no cost: --local"
        raise CommandError(
            f"There is no key for {provider.name}: the environment variable {name} {what}",
            f"Set {name}, or {withheld if meant.is_key_withheld else local}",
        )
    if meant.api_key_file is not None:
        return _key_in(Path(meant.api_key_file).expanduser())
    raise CommandError(
        f"There is no key for {provider.name}", "Name the environment variable that holds it: --api-key-env VARIABLE"
    )


def _key_in(path: Path) -> str:
    try:
        key = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is not UTF-8"
        raise CommandError(
            f"The key cannot be read from {path}: {reason}", "Correct api_key_file in the profile"
        ) from error
    if not key or len(key.split()) > 1:
        raise CommandError(f"{path} must hold a key and nothing else", "Correct api_key_file in the profile")
    return key


DEFAULT_SERVICE = Service()


def resolve_service(flags: Flags, profile: ServiceProfile, provider: "Provider") -> ResolvedService:
    """Return what flags, environment and profile come to.

    A profile that was named is as good as flags. One that the configuration file has chosen gives way to the
    environment, and has a word only where its own address is meant.
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

    return ResolvedService(
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
