"""The configuration file: which service is meant when the command line does not say, and named profiles of services.

It is ``openai-batches.toml`` in ``$XDG_CONFIG_HOME`` or ``~/.config``, and it never holds a key.
"""

import os
import tomllib
from pathlib import Path

import msgspec

from openai_batches.cli.endings import CommandError

__all__ = ["Configuration", "ServiceProfile", "configuration_path", "read_configuration"]

_NAME = "openai-batches.toml"
_KEY_ADVICE = "Name the variable that holds it (api_key_env = ...) or the file (api_key_file = ...)"


class ServiceProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A service, and what is usual with it.

    Attributes:
        provider: the service's name, such as ``openai`` or ``groq``.
        base_url: its address.
        api_key_env: the environment variable that holds the key.
        api_key_file: the file that holds the key, and nothing else.
        organization: sent as ``OpenAI-Organization``.
        project: sent as ``OpenAI-Project``.
        timeout_s: seconds of silence after which an attempt has failed.
        confirm_above_usd: above what estimated cost ``run`` asks first, in dollars.
    """

    provider: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    api_key_file: str | None = None
    organization: str | None = None
    project: str | None = None
    timeout_s: float | None = None
    confirm_above_usd: float | None = None


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the file says.

    Attributes:
        profile: the profile that is meant when none is named.
        local_data: the folder of ``--local``.
        profiles: the profiles, by name.
    """

    profile: str | None = None
    local_data: str | None = None
    profiles: dict[str, ServiceProfile] = {}


def configuration_path(given: Path | None) -> Path | None:
    """Return which file to read: the one that was named, else the usual one if it is there.

    Raises:
        CommandError: the one that was named is not there.
    """
    named = given or _named_in_environment()
    if named is not None:
        if not named.is_file():
            raise CommandError(f"There is no configuration file {named}", "Name another one with --config")
        return named
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    usual = Path(home, _NAME)
    return usual if usual.is_file() else None


def read_configuration(path: Path | None) -> Configuration:
    """Return what the file says; nothing, where there is none.

    Raises:
        CommandError: it cannot be read, is no TOML, or a field is unknown or of the wrong type; the message names the
            file and the line or the field.
    """
    if path is None:
        return Configuration()
    advice = "Mend it, or name another file with --config"
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
        return msgspec.convert(values, Configuration)
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{path} is not TOML: {error}", advice) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not UTF-8", advice) from error
    except msgspec.ValidationError as error:
        if "`api_key`" in str(error):
            raise CommandError(f"{path} holds an api_key, and keys do not belong there", _KEY_ADVICE) from None
        raise CommandError(f"{path}: {error}", f"{advice}; the fields are listed in docs/cli.md") from error
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}", advice) from error


def chosen_profile(configuration: Configuration, name: str | None, path: Path | None) -> ServiceProfile:
    """Return the profile of a name, or the file's own choice without one.

    Raises:
        CommandError: there is none of that name.
    """
    name = name or configuration.profile
    if name is None:
        return ServiceProfile()
    if name not in configuration.profiles:
        known = ", ".join(sorted(configuration.profiles)) or "none"
        where = f" in {path}" if path else ", as there is no configuration file"
        raise CommandError(f"There is no profile {name!r}{where}", f"Known profiles: {known}")
    return configuration.profiles[name]


def _named_in_environment() -> Path | None:
    named = os.environ.get("OPENAI_BATCHES_CONFIG")
    return Path(named).expanduser() if named else None
