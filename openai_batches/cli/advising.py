"""Command lines that a person is advised to type: they mean the same service as the one that was typed."""

import shlex

from openai_batches.cli.connecting import Service

__all__ = ["command_line"]


def command_line(*words: str, service: Service) -> str:
    """Return a command line with the options that name the service.

    Args:
        words: the command and its arguments.
        service: the service that is meant.
    """
    options: list[str] = ["--local"] if service.local else []
    named = (
        ("--local-data", service.local_data),
        ("--profile", service.profile),
        ("--provider", service.provider),
        ("--base-url", service.base_url),
        ("--api-key-env", service.api_key_env),
        ("--config", service.config),
    )
    for name, value in named:
        if value is not None:
            options += [name, str(value)]
    return shlex.join(["openai-batches", *words, *options])
