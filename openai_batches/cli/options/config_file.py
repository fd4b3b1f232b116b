"""The configuration file ``openai-batches.toml``: named profiles of services, and the default one.

It is in ``$XDG_CONFIG_HOME`` or ``~/.config``, and it never holds a key.
"""

import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from openai_batches.cli.errors import CommandError
from openai_batches.cli.options.environment import CONFIG, variable
from openai_batches.cli.output.texts import closest

__all__ = ["Configuration", "ServiceProfile", "configuration_path", "read_configuration"]

_NAME = "openai-batches.toml"
_KEY_ADVICE = "Name the variable that holds it (api_key_env = ...) or the file (api_key_file = ...)"

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=sys.float_info.max)]
_Dollars = Annotated[float, msgspec.Meta(ge=0)]
# What a person calls the types of the fields.
_KINDS: dict[Any, str] = {
    str | None: "text in quotes",
    _Seconds | None: "a number above 0 and below inf",
    _Dollars | None: "a number, 0 or above",
}


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
    timeout_s: _Seconds | None = None
    confirm_above_usd: _Dollars | None = None


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
    """Return which file to read: the one that was named, else the usual one if it is there."""
    if (named := given or _named_in_environment()) is not None:
        if named.is_dir():
            raise CommandError(f"{named} is a folder, not a configuration file", "Name the file with --config")
        if not named.is_file():
            raise CommandError(f"There is no configuration file {named}", "Name another one with --config")
        return named
    home = variable("XDG_CONFIG_HOME") or Path.home() / ".config"
    usual = Path(home, _NAME)
    return usual if usual.is_file() else None


def read_configuration(path: Path | None) -> Configuration:
    """Return what the file says; nothing, where there is none."""
    if path is None:
        return Configuration()
    advice = "Correct it, or name another file with --config"
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8-sig"))
        configuration = msgspec.convert(values, Configuration)
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{path} is not TOML: {error}", advice) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not UTF-8", advice) from error
    except msgspec.ValidationError as error:
        if _holds_a_key(values):
            raise CommandError(f"{path} holds an api_key, and keys must not be in this file", _KEY_ADVICE) from None
        problem, known = _first_problem(values)
        raise CommandError(f"{path}: {problem}", f"{known or advice}") from error
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}", advice) from error
    for name, profile in configuration.profiles.items():
        if profile.api_key_env is not None and profile.api_key_file is not None:
            problem = f"profiles.{name} has both api_key_env and api_key_file"
            raise CommandError(f"{path}: {problem}", "Leave one of them out")
    return configuration


def _holds_a_key(values: dict[str, Any]) -> bool:
    profiles = values.get("profiles")
    tables = [values, *profiles.values()] if isinstance(profiles, dict) else [values]
    return any(isinstance(table, dict) and "api_key" in table for table in tables)


def _first_problem(values: dict[str, Any]) -> tuple[str, str]:
    """Return what is wrong with a file, and what is known instead, if it is a name that is not known."""
    profiles = values.get("profiles", {})
    tables: list[tuple[str, dict[str, Any], type[msgspec.Struct]]] = [("", values, Configuration)]
    if isinstance(profiles, dict):
        tables += [(f"profiles.{name}", table, ServiceProfile) for name, table in profiles.items()]
    for place, table, kind in tables:
        if not isinstance(table, dict):
            return f"{place} must be a table of its own, [{place}]", ""
        fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
        where = f"{place}." if place else ""
        for name, value in table.items():
            if name not in fields:
                close = closest(name, fields)
                meant = f": did you mean {close}?" if close else ""
                return f"{where}{name} is not known{meant}", f"Known names are {', '.join(fields)}"
            if name == "profiles" and isinstance(value, dict):
                continue
            try:
                msgspec.convert(value, fields[name])
            except msgspec.ValidationError:
                return f"{where}{name} must be {_KINDS.get(fields[name], 'tables, such as [profiles.work]')}", ""
    raise AssertionError(values)  # pragma: no cover  # msgspec has found one


def chosen_profile(configuration: Configuration, name: str | None, path: Path | None) -> ServiceProfile:
    """Return the profile of a name, or the file's own choice without one."""
    name = name or configuration.profile
    if name is None:
        return ServiceProfile()
    if name not in configuration.profiles:
        known = ", ".join(sorted(configuration.profiles)) or "none"
        where = f" in {path}" if path else ", as there is no configuration file"
        raise CommandError(f"There is no profile {name!r}{where}", f"Known profiles: {known}")
    return configuration.profiles[name]


def _named_in_environment() -> Path | None:
    named = variable(CONFIG)
    return Path(named).expanduser() if named else None
