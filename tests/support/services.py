"""The service that the emulator plays in a run of the tests, the client's word for it, and what it cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai_batches
from openai_batches.emulator import BatchServer, SteppedClock
from openai_batches.emulator.profiles.profiles import PROFILES, Profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai_batches import Provider

# vLLM has no service: what writes its files is spoken to like OpenAI.
PROVIDERS: dict[str, Provider] = {
    "openai": openai_batches.OPENAI,
    "azure": openai_batches.AZURE,
    "groq": openai_batches.GROQ,
    "siliconflow": openai_batches.SILICONFLOW,
    "vllm": openai_batches.OPENAI,
    "ogx": openai_batches.OGX,
}

# What a test may need of a service, why some do not have it, and how to tell.
CAPABILITIES: dict[str, tuple[str, Callable[[Profile], bool]]] = {
    "cursors": ("its lists come in one piece", lambda profile: profile.has_cursors),
    "expiry": ("its batches run for as long as they need", lambda profile: not profile.never_expires),
    "openai_wire": (
        "its records are not OpenAI's to the letter, which the official client takes for granted",
        lambda profile: (profile.batch, profile.file) == (None, None),
    ),
}


class _Chosen:
    """The profile of this run, chosen once by `--profile`."""

    profile = PROFILES["openai"]


def choose(name: str) -> None:
    """Let every emulator of this run play a service."""
    _Chosen.profile = PROFILES[name]


def lacking(capability: str) -> str | None:
    """Return why the service of this run does not have a capability, or None if it does."""
    reason, has_it = CAPABILITIES[capability]
    return None if has_it(_Chosen.profile) else f"{_Chosen.profile.name}: {reason}"


def emulator(**options: Any) -> BatchServer:
    """An emulator of the service of this run, whose time stands still unless a clock or a speed is given."""
    if "clock" not in options and "speed" not in options:
        options["clock"] = SteppedClock()
    return BatchServer(**{"profile": _Chosen.profile, **options})


def provider_of(server: object) -> Provider:
    """The provider that fits a server; servers that are no emulator speak like OpenAI."""
    return PROVIDERS[server.profile.name] if isinstance(server, BatchServer) else openai_batches.OPENAI
