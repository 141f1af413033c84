"""Settings from four sources: default < configuration file (TOML) < environment (CROSSETTE_…) < flag.

Settings are declared in dataclasses next to the code that uses them. Each class is a section of the file; names are
unique across sections, so that flags and environment variables need no section.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from crossette.errors import ConfigError
from crossette.settings import Panel


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its type, its default and its `--help` text. Every source is validated against it."""

    section: str
    name: str
    type: Any
    default: Any
    help: str
    placeholder: str = ""
    unset: str = ""
    panel: Panel | None = None

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
        """The allowed values of a `Literal`; () for other types."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def metavar(self) -> str:
        """The placeholder of the value in `--help`."""
        kinds: dict[type, str] = {inspect.IntType: "INTEGER", inspect.FloatType: "NUMBER"}
        return self.placeholder or "|".join(self.choices) or kinds.get(type(_info(self.type)), "TEXT")

    @property
    def shown_default(self) -> str:
        """The default in `--help`."""
        if isinstance(self.default, bool):
            return self.unset or ("on" if self.default else "off")
        if isinstance(self.default, float):
            return f"{self.default:g}"
        return self.unset or ("none" if self.default in (None, "", ()) else str(self.default))

    @property
    def expected(self) -> str:
        """A description of valid values for error messages."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        info = _info(self.type)
        if isinstance(info, inspect.IntType | inspect.FloatType):
            kind = "an integer" if isinstance(info, inspect.IntType) else "a number"
            return f"{kind}, {bounds}" if (bounds := " and ".join(_bounds(info))) else kind
        if isinstance(info, inspect.BoolType):
            return "true or false"
        return "a list of strings" if self.repeatable else "a string"


Sections = Mapping[str, type]
"""Settings classes by the name of their section."""


def table(sections: Sections, panels: Mapping[str, Panel] | None = None) -> dict[str, Setting]:
    """All settings of the sections, by name; `panels` are those of the sections.

    Raises TypeError for a name that is declared twice.
    """
    found: dict[str, Setting] = {}
    for section, declared in sections.items():
        hints = get_type_hints(declared, include_extras=True)
        for field in dataclasses.fields(declared):
            if field.name in found:
                raise TypeError(f"The setting {field.name} is declared twice")
            about = field.metadata
            panel = about["panel"] or (panels or {}).get(section)
            found[field.name] = Setting(
                section,
                field.name,
                hints[field.name],
                field.default,
                about["help"],
                about["metavar"],
                about["unset"],
                panel,
            )
    return found


def chosen_file(given: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file: `--config`, else CROSSETTE_CONFIG, else none."""
    named = environ.get("CROSSETTE_CONFIG")
    return given or (Path(named) if named else None)


def load(
    sections: Sections,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
    tables: Collection[str] = (),
) -> dict[str, Any]:
    """Load an instance of each section's class. `flags` holds given flags only.

    `tables` are further sections of the file, which `load_tables` reads. Raises ConfigError with the source.
    """
    settings = table(sections)
    values = {name: setting.default for name, setting in settings.items()}
    if file is not None:
        content = {name: given for name, given in _content(file).items() if name not in tables}
        values |= _from_file(sections, settings, content, file)
    for setting in settings.values():
        text = (environ or {}).get(setting.variable, "")
        if text:
            given = [part.strip() for part in text.split(",")] if setting.repeatable else text
            values[setting.name] = convert(setting, given, setting.variable)
    for name, value in (flags or {}).items():
        values[name] = convert(settings[name], value, settings[name].flag)
    return {
        section: declared(**{field.name: values[field.name] for field in dataclasses.fields(declared)})
        for section, declared in sections.items()
    }


def load_tables(file: Path, section: str, settings: Mapping[str, Setting]) -> dict[str, dict[str, Any]]:
    """The tables `[section.NAME]` of a file by NAME, each with the values that it sets.

    Raises ConfigError with the source.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, given in _content(file).get(section, {}).items():
        where = f"[{section}.{name}] of {file}"
        if not isinstance(given, Mapping):
            raise ConfigError(f"{file} sets '{name}' in [{section}]. It must be a table, [{section}.{name}].")
        found[name] = {}
        for key, value in given.items():
            setting = settings.get(key.replace("-", "_"))
            if setting is None:
                near = _near(key.replace("-", "_"), tuple(settings), ", ".join(settings))
                raise ConfigError(f"{where} sets '{key}', which is an unknown setting{near}")
            found[name][setting.name] = convert(setting, value, f"{key} in {where}")
    return found


def _info(kind: Any) -> inspect.Type:
    """msgspec's description of a setting's type, without the None of an optional setting."""
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


def _content(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Can't read the configuration file {path}: {error}") from error


def _from_file(
    sections: Sections, settings: Mapping[str, Setting], content: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    values = {}
    for section, given in content.items():
        if section not in sections or not isinstance(given, Mapping):
            raise _unknown_section(section, sections, settings, path)
        for key, value in given.items():
            setting = settings.get(key.replace("-", "_"))
            if setting is None or setting.section != section:
                raise _unknown_key(key, section, settings, path)
            values[setting.name] = convert(setting, value, f"{key} in [{section}] of {path}")
    return values


def _unknown_section(name: str, sections: Sections, settings: Mapping[str, Setting], path: Path) -> ConfigError:
    setting = settings.get(name.replace("-", "_"))
    if setting is not None:
        return ConfigError(f"{path} sets '{name}' outside a section. Move it to [{setting.section}].")
    known = ", ".join(f"[{section}]" for section in sections)
    return ConfigError(f"{path} has an unknown section '{name}'{_near(name, (*sections, *settings), known)}")


def _unknown_key(key: str, section: str, settings: Mapping[str, Setting], path: Path) -> ConfigError:
    setting = settings.get(key.replace("-", "_"))
    if setting is not None:
        return ConfigError(f"{path} sets '{key}' in [{section}]. Move it to [{setting.section}].")
    known = [name for name, setting in settings.items() if setting.section == section]
    near = _near(key.replace("-", "_"), tuple(settings), ", ".join(known))
    return ConfigError(f"{path} sets '{key}' in [{section}], which is an unknown setting{near}")


def _near(name: str, known: Sequence[str], listing: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f". Did you mean {near[0]}?" if near else f". Known: {listing}."


def convert(setting: Setting, value: Any, source: str) -> Any:
    """Convert the value of a setting to its type. Raises ConfigError that names `source`."""
    if setting.repeatable and isinstance(value, Mapping):  # [alias] name = "model"
        value = [f"{key}={item}" for key, item in value.items()]
    if setting.repeatable and isinstance(value, str):  # model = "name" in a file
        value = [value]
    try:
        return msgspec.convert(value, setting.type, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source} cannot be {value!r}. It must be {setting.expected}.") from error
