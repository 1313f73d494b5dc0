"""Which recipes ship with the package and what each needs, and every key that a recipe may have.

All of it is read from the recipes and from the pydantic models that check them.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache
from importlib import resources
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from echoapex.config import Config, ConfigError, read_recipe
from echoapex.recipes.recipe import Provenance, TaskRecipe
from echoapex.recipes.runner import TASK_KINDS, find_recipe
from echoapex.train.trainer import TrainConfig

REQUIRED = "required"
"""Stands for the default of a key that has none."""
_LONGEST_PURPOSE = 160
_STARTS = ("start", "encoder_bundle", "decoder_bundle", "decoders")
_LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "length >=", "max_length": "length <="}
_PLAIN_TYPES = {"str": "text", "bool": "true or false", "float": "number", "int": "whole number", "Path": "path"}


class ShippedRecipe(NamedTuple):
    """A recipe of the package, in words."""

    name: str
    kind: str
    purpose: str
    data: str
    start: str
    licence: str


class RecipeKey(NamedTuple):
    """A key of a recipe, as it is typed on the command line after ``--``; of a section the default is empty."""

    name: str
    type: str
    default: str
    description: str


def shipped_recipes() -> list[ShippedRecipe]:
    """All recipes of the package, by name."""
    folder = Path(str(resources.files("echoapex") / "recipes"))
    return [describe_recipe(path) for path in sorted(folder.glob("*.yaml"))]


def describe_recipe(path: Path) -> ShippedRecipe:
    """What a recipe trains, on which data, from which start, and under which licence.

    Raises:
        ConfigError: it cannot be read, or its kind is not known.
    """
    sections = read_recipe(path)
    task = sections["task"]
    kind = _known_kind(task.get("kind"), path.name)
    provenance = sections["provenance"]
    licence = provenance.get("licence", Provenance.model_fields["licence"].default)
    if "dataset" in kind.model_fields:
        licence = "that of the data"
    marked = f"{licence} (non-commercial)" if provenance.get("non_commercial") else licence
    return ShippedRecipe(path.stem, task["kind"], _purpose(path), _data(task, kind), _start(task, kind), marked)


def _known_kind(kind: object, source: str) -> type[TaskRecipe]:
    if kind not in TASK_KINDS:
        raise ConfigError(f"{source}: task.kind must be one of {', '.join(TASK_KINDS)}, not {kind!r}")
    return TASK_KINDS[str(kind)]


def _purpose(path: Path) -> str:
    """The first sentence of the comment at the top, or its beginning."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.removeprefix("#").strip()
        if not line.startswith("#") or words.startswith(("Rerun", "Run")):
            break
        comment.append(words)
    sentence = re.split(r"(?<=\.)\s", " ".join(comment), maxsplit=1)[0]
    return textwrap.shorten(sentence, _LONGEST_PURPOSE, placeholder=" ...")


def _data(task: Mapping[str, Any], kind: type[TaskRecipe]) -> str:
    """The data that a recipe learns from, in words."""
    data = ["simulated clips"] if task.get("stores") else []
    if task.get("archives"):
        data.append("a frame store of echoapex ingest")
    if "root" in kind.model_fields:
        dataset = kind.model_fields.get("dataset")
        named = " or ".join(get_args(dataset.annotation)) if dataset else "camus"
        data.append(f"{named} (--dataset, --root)")
    data += sorted({str(source["dataset"]) for source in task.get("real", {}).values()})
    return ", ".join(data)


def _start(task: Mapping[str, Any], kind: type[TaskRecipe]) -> str:
    """The weights that a recipe goes on from, in words."""
    given = [task.get(key, kind.model_fields[key].default) for key in _STARTS if key in kind.model_fields]
    given.append(task.get("setting", {}).get("start"))
    return ", ".join(str(place) for place in given if isinstance(place, str | Path)) or "fresh weights"


def recipe_keys(kind_or_recipe: str) -> list[RecipeKey]:
    """Every key of the sections ``task``, ``train`` and ``provenance``, nested ones too.

    Args:
        kind_or_recipe: a kind of task, the name of a recipe of the package, or a .yaml file.

    Raises:
        ConfigError: there is neither such a kind nor such a recipe.
    """
    if kind_or_recipe in TASK_KINDS:
        task = TASK_KINDS[kind_or_recipe]
    else:
        try:
            path = find_recipe(kind_or_recipe)
        except ConfigError as error:
            raise ConfigError(f"{error}; or a kind of task: {', '.join(TASK_KINDS)}") from error
        task = _known_kind(read_recipe(path).get("task", {}).get("kind"), path.name)
    sections: dict[str, type[Config]] = {"task": task, "train": TrainConfig, "provenance": Provenance}
    return [key for name, model in sections.items() for key in _keys_of(model, name, None)]


def _keys_of(model: type[Config], prefix: str, values: Config | None) -> Iterator[RecipeKey]:
    """The keys of a section; ``values`` are those it has where it is left out, if it may be."""
    for name, field in model.model_fields.items():
        default = getattr(values, name) if values is not None else field.get_default(call_default_factory=True)
        missing = values is None and field.is_required()
        section, places = _section_in(field.annotation)
        described = field.description or _described(model).get(name, "")
        if section is None:
            shown = REQUIRED if missing else _shown(default)
            yield RecipeKey(f"{prefix}.{name}", _type_in_words(field), shown, described)
            continue
        own = default if isinstance(default, Config) else None
        shown = REQUIRED if missing else "" if own is not None else _shown(default)
        about = described or (inspect.getdoc(section) or "").partition("\n")[0]
        yield RecipeKey(f"{prefix}.{name}", "section" if not places else "sections by name", shown, about)
        yield from _keys_of(section, ".".join([f"{prefix}.{name}", *places]), own)


def _section_in(annotation: Any) -> tuple[type[Config] | None, list[str]]:
    """The section that an annotation is or holds, and what stands in its name for the key of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation, []
    for part in get_args(annotation):
        section, places = _section_in(part)
        if section is not None:
            return section, ["NAME", *places] if get_origin(annotation) is dict else places
    return None, []


@lru_cache(maxsize=256)
def _described(model: type[Config]) -> dict[str, str]:
    """The strings below the fields of a class and of its bases, by field."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not (issubclass(kind, Config) and kind is not Config):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        assert isinstance(body, ast.ClassDef)
        for line, after in zip(body.body, body.body[1:], strict=False):
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and is_text:
                found[line.target.id] = " ".join(str(ast.literal_eval(after.value)).split())  # type: ignore[attr-defined]
    return found


def _type_in_words(field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, sign in _LIMITS.items()
        if getattr(rule, name, None) is not None
    ]
    return ", ".join([_annotation_in_words(field.annotation), *limits])


def _annotation_in_words(annotation: Any) -> str:
    """A type as people say it.

    >>> _annotation_in_words(tuple[int, ...]), _annotation_in_words(Literal["a", "b"] | None)
    ('list of whole number', 'a or b or null')
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is NoneType:
        return "null"
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin is dict:
        return f"mapping of {_annotation_in_words(parts[0])} to {_annotation_in_words(parts[1])}"
    if origin in (tuple, list, frozenset):
        inner = [_annotation_in_words(part) for part in parts if part is not ...]
        return f"list of {inner[0]}" if len(set(inner)) == 1 else f"list of {', '.join(inner)}"
    if isinstance(annotation, UnionType) or parts:
        return " or ".join(map(_annotation_in_words, parts))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return annotation.__name__
    name = str(annotation.__name__)
    return _PLAIN_TYPES.get(name, name)


def _shown(value: object) -> str:
    """A default as it is written in YAML, on one line.

    >>> _shown(None), _shown(True), _shown((1, 2)), _shown("auto")
    ('null', 'true', '[1, 2]', 'auto')
    """
    plain = to_jsonable_python(value)
    return str(plain) if isinstance(plain, str) else json.dumps(plain).replace('"', "")
