"""Frozen configuration: a pydantic base, recipes in YAML, dotted overrides, and one readable line per mistake."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

C = TypeVar("C", bound="Config")


class ConfigError(ValueError):
    """A recipe or an override that cannot be used; the message has one line per mistake."""


class Config(BaseModel):
    """Base of every configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a YAML recipe as nested plain values.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not text in UTF-8 ({error.reason}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of sections, not {type(values).__name__}")
    return values


def parse_overrides(arguments: Iterable[str]) -> dict[str, Any]:
    """Turn ``--section.key value`` (or ``--section.key=value``) into nested values; values are read as YAML.

    >>> parse_overrides(["--optim.lr", "3e-4", "--seed=7"])
    {'optim': {'lr': 0.0003}, 'seed': 7}
    """
    nested: dict[str, Any] = {}
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        if not argument.startswith("--"):
            raise ConfigError(f"{argument!r}: an override is written --section.key value")
        key, separator, text = argument[2:].partition("=")
        if not separator:
            if not pending:
                raise ConfigError(f"--{key}: has no value; write --{key} VALUE")
            text = pending.pop(0)
        branch = nested
        *sections, leaf = key.split(".")
        for section in sections:
            branch = branch.setdefault(section, {})
            if not isinstance(branch, dict):
                raise ConfigError(f"--{key}: {section!r} was given a value and cannot also be a section")
        try:
            branch[leaf] = _read_scalar(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--{key}: {text!r} is not valid YAML; quote it, or close its brackets") from error
    return nested


def _read_scalar(text: str) -> Any:
    """A YAML value, with 3e-4 read as a number (YAML 1.1 wants 3.0e-4)."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``over`` on ``base``, section by section; neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both and isinstance(below, Mapping) else value
    return merged


def build_config(kind: type[C], values: Mapping[str, Any], source: str = "configuration") -> C:
    """Validate ``values`` as ``kind``.

    Raises:
        ConfigError: with one line per mistake, naming the key and, for a misspelt one, the likely key.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(kind, item) for item in error.errors()]
        raise ConfigError("\n".join(f"{source}: {line}" for line in lines)) from error


def _explain(kind: type[Config], item: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = _known_keys(kind, item["loc"][:-1])
        close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(sorted(known))}"
        return f"{path}: unknown key; {hint}"
    if item["type"] == "missing":
        return f"{path}: is required"
    where = f"{path}: " if path else ""
    message = item["msg"].removeprefix("Value error, ")
    # a whole section as "got" would hide the message
    got = "" if isinstance(item["input"], Mapping | Config) else f" (got {item['input']!r})"
    return f"{where}{message}{got}"


def _known_keys(kind: type[Config], path: Iterable[Any]) -> list[str]:
    """The keys of the section at ``path``, which may lie in optional sections and in dicts or lists of sections."""
    annotation: Any = kind
    for part in path:
        section = _section_in(annotation)
        if section is not None:
            field = section.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            entries = [argument for argument in get_args(annotation) if argument is not ...]
            annotation = entries[-1] if entries else None
    section = _section_in(annotation)
    return list(section.model_fields) if section else []


def _section_in(annotation: Any) -> type[Config] | None:
    """The configuration that an annotation is, or that it allows beside None."""
    choices = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next((one for one in choices if isinstance(one, type) and issubclass(one, Config)), None)
