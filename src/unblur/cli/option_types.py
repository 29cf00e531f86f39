"""Types of options: sizes, levels, and flags that set other options."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from unblur.cli.parameters import Option
from unblur.errors import UsageError
from unblur.network.device_kinds import parse_device
from unblur.options import NetworkOptions
from unblur.storage.places import Url, parse_place

if TYPE_CHECKING:
    from typing import Literal


def tile_size(value: str) -> int | Literal["auto"]:
    """Read a number of pixels, or ``auto``."""
    if value == "auto":
        return "auto"
    try:
        side = int(value)
        NetworkOptions(tile=side)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither auto nor a number of pixels") from None
    except UsageError as error:
        raise click.BadParameter(str(error)) from error
    return side


def memory_size(value: str | int) -> int:
    """Read a number of bytes, such as ``800M`` or ``1.5G``."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)([MG])B?", str(value).strip().upper())
    count = float(match[1]) * (1 << (20 if match[2] == "M" else 30)) if match else math.inf
    if count == math.inf:
        raise click.BadParameter(f"{value!r} is not a size such as 800M or 2G")
    return int(count)


def blur_level(value: str | float) -> float:
    """Read a blur score."""
    with contextlib.suppress(ValueError):
        level = float(str(value))  # not the number that True is
        if 0 <= level < float("inf"):
            return level
    raise click.BadParameter(f"{value!r} is not a blur score: a number, 0 or more")


class Share(click.FloatRange):
    """A number from 0 to 1."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(
        self,
        value: Any,  # noqa: ANN401 (as Click)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Read a number; "nan", which is neither below 0 nor above 1, is an error."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number from 0 to 1", param, ctx)
        return number


class Compare(Option):
    """A flag that may have a value: ``--compare`` and ``--compare strengths``.

    Click lets an option take any next word as its value, even a photo. So `respelled` gives
    ``--compare`` its value before Click sees it.
    """

    STRENGTHS = "strengths"
    is_switch = True

    @staticmethod
    def respelled(words: Sequence[str]) -> Iterator[str]:
        """Yield the words of a command line; ``--compare`` and its value become one word."""
        rest = deque(words)
        while rest:
            word = rest.popleft()
            if word == "--compare":
                has_value = bool(rest) and rest[0] == Compare.STRENGTHS
                word += f"={rest.popleft() if has_value else 'yes'}"
            yield word

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the value, or the name of a photo after a flag without one."""
        values = [self.STRENGTHS] if self.STRENGTHS.startswith(incomplete) else []
        return [*map(CompletionItem, values), CompletionItem(incomplete, type="file")]

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ANN401 (as Click)
        """Return whether to compare, or the word ``strengths``."""
        if value == self.STRENGTHS:
            return self.STRENGTHS
        with contextlib.suppress(click.BadParameter):
            return click.BOOL.convert(value, self, ctx)
        raise click.BadParameter(
            f"{value!r} is not {self.STRENGTHS}, the only value", ctx=ctx, param=self
        )


class DeviceName(click.Choice[str]):
    """A kind of device; a number after a colon chooses one of several, such as ``cuda:1``."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 (as Click)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """Read a name; whether the device is there is known later."""
        kind, colon, number = str(value).partition(":")
        name = super().convert(kind, param, ctx) + colon + number
        if name != "auto":
            try:
                parse_device(name)
            except UsageError as error:
                self.fail(str(error), param, ctx)
        return name


class LocalFile(click.Path):
    """A file on this machine, by its path or its ``file://`` address."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 (as Click)
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Read a path; an address in an object store is an error."""
        place = parse_place(os.fsdecode(value))
        if isinstance(place, Url):
            self.fail(f"{place} is an object: name a file on this machine", param, ctx)
        return place


class OnlyBlurry(Option):
    """A flag; the environment and configuration files may also set it to a blur level."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ANN401 (as Click)
        """Read the setting; a level becomes the default of ``--blur-level``."""
        with contextlib.suppress(click.BadParameter):
            return super().type_cast_value(ctx, value)
        _set_default(ctx, "blur_level", blur_level(value))
        return True


class Overwrite(Option):
    """On the command line ``--overwrite`` is ``--on-existing overwrite``: the last one wins.

    In the environment and in configuration files, which have no order, it sets the default.
    """

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:  # noqa: ANN401 (private class)
        """Let the parser store the flag as the value of ``--on-existing``."""
        parser.add_option(
            obj=self, opts=self.opts, dest="on_existing", action="store_const", const="overwrite"
        )

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ANN401 (as Click)
        """Read the setting."""
        chosen = super().type_cast_value(ctx, value)
        if chosen:  # --on-existing is read after this option
            _set_default(ctx, "on_existing", "overwrite")
        return chosen


def _set_default(ctx: click.Context, option: str, value: object) -> None:
    """Set the default of an option that is read later."""
    ctx.default_map = {**(ctx.default_map or {}), option: value}
