"""Settings from four places: default < configuration file (TOML) < environment (CROSSETTE_…) < flag.

What can be set is declared in settings classes beside their users; this file only fills them.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from crossette.errors import ConfigError

SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the table: what `--help` shows, and what every source is checked against."""

    name: str
    type: Any
    default: Any
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "CROSSETTE_" + self.name.upper()

    @property
    def repeatable(self) -> bool:
        return isinstance(self.default, tuple)

    @property
    def choices(self) -> tuple[str, ...]:
        """All that it can be; () if there is no list of that."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def metavar(self) -> str:
        """What stands for a value in `--help`."""
        kinds: dict[type, str] = {inspect.IntType: "<integer>", inspect.FloatType: "<number>"}
        return "|".join(self.choices) or kinds.get(type(_info(self.type)), "<text>")

    @property
    def wanted(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        info = _info(self.type)
        if isinstance(info, inspect.IntType | inspect.FloatType):
            kind = "a whole number" if isinstance(info, inspect.IntType) else "a number"
            return f"{kind}, {bounds}" if (bounds := " and ".join(_bounds(info))) else kind
        if isinstance(info, inspect.BoolType):
            return "true or false"
        return "a list of texts" if self.repeatable else "a text"


def table(sections: Sequence[type]) -> dict[str, Setting]:
    """Every setting of the classes by name; a name that is declared twice is a mistake of ours."""
    found: dict[str, Setting] = {}
    for section in sections:
        hints = get_type_hints(section, include_extras=True)
        for field in dataclasses.fields(section):
            if field.name in found:
                raise TypeError(f"The setting {field.name} is declared twice")
            found[field.name] = Setting(field.name, hints[field.name], field.default, field.metadata["help"])
    return found


def gather(
    settings: Mapping[str, Setting], *, flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None
) -> dict[str, Any]:
    """The value of every setting. `flags` holds only what was given. Raises ConfigError, naming the source."""
    values = {name: setting.default for name, setting in settings.items()}
    if file is not None:
        values |= _from_file(settings, file)
    for setting in settings.values():
        text = environ.get(setting.variable, "")
        if text:
            given = [part.strip() for part in text.split(",")] if setting.repeatable else text
            values[setting.name] = _convert(setting, given, setting.variable)
    for name, value in flags.items():
        values[name] = _convert(settings[name], value, settings[name].flag)
    return values


def fill(section: type[SettingsT], values: Mapping[str, Any]) -> SettingsT:
    """A settings class with its share of the values."""
    names = [field.name for field in dataclasses.fields(section)]  # type: ignore[arg-type]  # a dataclass, by contract
    return section(**{name: values[name] for name in names})


def _info(kind: Any) -> inspect.Type:
    """What msgspec knows of a setting's type; None, which stands for what was not given, aside."""
    info = inspect.type_info(kind)
    if isinstance(info, inspect.UnionType):
        (info,) = (part for part in info.types if not isinstance(part, inspect.NoneType))
    return info


def _bounds(info: inspect.IntType | inspect.FloatType) -> Iterator[str]:
    if info.gt is not None:
        yield f"more than {info.gt}"
    if info.ge is not None:
        yield f"at least {info.ge}"
    if info.le is not None:
        yield f"at most {info.le}"


def _from_file(settings: Mapping[str, Setting], path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Can't read the configuration file {path}: {error}") from error
    values = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in settings:
            near = difflib.get_close_matches(name, settings, n=1)
            hint = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(settings)}."
            raise ConfigError(f"{path} sets '{key}', which is no setting.{hint}")
        values[name] = _convert(settings[name], value, f"{key} in {path}")
    return values


def _convert(setting: Setting, value: Any, source: str) -> Any:
    if setting.repeatable and isinstance(value, Mapping):  # [alias] name = "model"
        value = [f"{key}={item}" for key, item in value.items()]
    try:
        return msgspec.convert(value, setting.type, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source} cannot be {value!r}. It is {setting.wanted}.") from error
