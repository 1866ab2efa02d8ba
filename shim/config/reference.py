"""The reference of the configuration's keys, taken from `settings` so that it cannot drift."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from shim.config.settings import Config
from shim.systems import Systems

_WORDS: Final[Mapping[Any, str]] = {
    str: "string",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Path: "absolute path",
    Systems: "table",
    NoneType: "",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file."""

    key: str
    """With its sections, such as `deadlines.idle`; NAME stands for a name of the user's."""
    kind: str
    """What its value is, in words."""
    default: str
    """As it would stand in the file; empty where there is none."""
    meaning: str


def reference() -> list[Key]:
    """Every key, in the order of `settings`."""
    return list(_walk(Config, ""))


def _walk(kind: type, prefix: str) -> Iterator[Key]:
    hints, meanings = get_type_hints(kind), _meanings(kind)
    for each in fields(kind):
        key = prefix + each.name.replace("_", "-")
        section, key = _section(hints[each.name], key)
        if section is None:
            default = "those that ship with us" if each.name == "overrides" else _default(each)
            yield Key(key, _words(hints[each.name]), default, meanings.get(each.name, ""))
        else:
            yield from _walk(section, key + ".")


def _section(hint: Any, key: str) -> tuple[Any, str]:
    """The dataclass that describes the keys below `key`, if there are any, and how to name them."""
    arguments = [each for each in get_args(hint) if each is not NoneType]
    if isinstance(hint, type) and is_dataclass(hint):
        return hint, key
    if get_origin(hint) is UnionType and is_dataclass(arguments[0]):
        return arguments[0], key
    if get_origin(hint) is Mapping and is_dataclass(arguments[1]):
        return arguments[1], f"{key}.NAME"
    if get_origin(hint) is tuple and is_dataclass(arguments[0]) and key == "rules":
        return arguments[0], f"{key}[]"
    return None, key


def _words(hint: Any) -> str:
    arguments = get_args(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if get_origin(hint) is tuple:
        return f"list of {_words(arguments[0])}s" if arguments[0] in _WORDS else "list of tables"
    if get_origin(hint) is Mapping:
        return f"table of {_words(arguments[1])}s"
    if get_origin(hint) is UnionType:
        return " or ".join(filter(None, map(_words, arguments)))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(_spelled(member) for member in hint)
    return str(getattr(hint, "__name__", hint))


def _spelled(value: Any) -> str:
    match value:
        case Enum(value=str(text)):
            return f'"{text}"'
        case Enum(name=name):
            return f'"{name.lower()}"'
        case bool():
            return str(value).lower()
        case str() | Path():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(_spelled(each) for each in value)}]"
        case _:
            return str(value)


def _default(each: Field[Any]) -> str:
    if each.default is not MISSING and each.default is not None:
        return f"0o{each.default:o}" if each.name == "socket_mode" else _spelled(each.default)
    return ""


@cache
def _meanings(kind: type) -> dict[str, str]:
    """The text below each field: Python keeps it in the source only."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(kind) or kind))
    body = next(
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    found = {}
    for field, text in pairwise(body):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                found[name] = " ".join(words.split())
            case _:
                pass
    return {**_attributes(inspect.getdoc(kind) or ""), **found}


def _attributes(text: str) -> dict[str, str]:
    """What a docstring says of each field below `Attributes:`."""
    _, _, below = text.partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in below.splitlines():
        head, colon, words = line.strip().partition(": ")
        if colon and head.isidentifier() and not line.startswith(" " * 8):
            name, line = head, words  # noqa: PLW2901 - what is left of the line
        if name:
            found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found
