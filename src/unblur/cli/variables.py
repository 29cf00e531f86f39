"""Environment variables: those that set options, and those that are only spelled like one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import click

from unblur.config import MIRROR_VARIABLE, MODELS_VARIABLE
from unblur.user_text import did_you_mean

PREFIX = "UNBLUR_"
_ADDRESS = re.compile(r"_(SERVICE|PORT)(_|$)|_VERSION$")
"""Variables that Kubernetes sets for a service of the name ``unblur``, and container images."""


def unknown_variables(program: click.Group, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable with the prefix that has no effect.

    Args:
        program: The program, with all its commands.
        environment: The environment.
    """
    known = {MODELS_VARIABLE, MIRROR_VARIABLE, *_variables(program, PREFIX.rstrip("_"))}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known and not _ADDRESS.search(name):
            yield f"{name} has no effect: it names no option{did_you_mean(name, known, PREFIX)}"


def _variables(command: click.Command, prefix: str) -> Iterator[str]:
    """Yield the variables of a command and its subcommands, as Click names them."""
    prefix = command.context_settings.get("auto_envvar_prefix", prefix)
    for param in command.params:
        if isinstance(param, click.Option) and param.name:
            if isinstance(param.envvar, str):
                yield param.envvar
            elif param.allow_from_autoenv:
                yield f"{prefix}_{param.name}".upper()
    for name, sub in getattr(command, "commands", {}).items():
        yield from _variables(sub, f"{prefix}_{name}".upper().replace("-", "_"))
