r"""The text of `.drv` files: parse and print, byte by byte as Nix writes it.

    file    = "Derive(" body ")" | "DrvWithVersion(" '"xp-dyn-drv"' "," body ")"
    body    = [output] "," [input] "," [source] "," platform "," builder "," [arg] "," [variable]
    output  = "(" name "," path "," algorithm "," hash ")"
    input   = "(" path "," wanted ")"
    wanted  = [name] | "(" [name] "," [ "(" name "," wanted ")" ] ")"
    variable = "(" name "," value ")"

`[x]` is `[` items separated by `,` `]`; every name, path and value is a text in double quotes in
which `"`, `\`, newline, return and tab are written `\"` `\\` `\n` `\r` `\t` and all other bytes
stand for themselves.  There is no white space.

Outputs, inputs, sources, variables and names are written in ascending order of their bytes, and
read in any, as Nix does; what is in order comes back byte by byte.  Everything else that Nix would
not write, such as other escapes or repeated names, is refused although Nix's reader is laxer.  The
second head (dynamic derivations, experimental) is written exactly where an input has children.
Checked against Nix's `parseDerivation` and `Derivation::unparse`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NoReturn, TypeVar

from protocol.errors import LimitExceeded, RemoteProtocolError, inside
from protocol.store.derivation import (
    BadDerivation,
    Derivation,
    InputOutputs,
    Output,
    check_outputs,
    output_texts,
    read_output,
)
from protocol.store.path import DERIVATION_SUFFIX, STORE_DIR, StorePath, check_name

T = TypeVar("T")
Name = TypeVar("Name", bound=str)

MAX_CHILDREN_DEPTH: Final = 32
"""Levels of outputs of outputs: real graphs have one or two, and each costs a Python frame or
two."""

_PLAIN: Final = "Derive("
_DYNAMIC: Final = 'DrvWithVersion("xp-dyn-drv",'

_TEXT: Final = r'"([^"\\\n\r\t]*(?:\\["\\nrt][^"\\\n\r\t]*)*)"'
_text: Final = re.compile(_TEXT).match
_pair: Final = re.compile(rf"\({_TEXT},{_TEXT}\)").match
_quadruple: Final = re.compile(rf"\({_TEXT},{_TEXT},{_TEXT},{_TEXT}\)").match
_escapes: Final = re.compile(r"\\(.)")
_specials: Final = re.compile(r'["\\\n\r\t]')

_MEANING: Final = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_SPELLING: Final = {meaning: f"\\{letter}" for letter, meaning in _MEANING.items()}


def parse(data: bytes, name: str, store_dir: str = STORE_DIR) -> Derivation:
    """Read a `.drv` file.

    Args:
        data: the whole file.
        name: the derivation's name: that of the file's store path without `.drv`.
        store_dir: where all its paths have to lie.

    Raises:
        RemoteProtocolError: the text is not one that Nix writes; `.path` names the field.
    """
    return _Parser(data.decode("utf-8", "surrogateescape"), store_dir).derivation(name)


def parse_file(path: StorePath, data: bytes) -> Derivation:
    """Read the `.drv` file of that store path.

    Raises:
        RemoteProtocolError: as `parse`; `.path` starts with the file's name.
    """
    with inside(path.base):
        if not path.is_derivation:
            raise BadDerivation(f"the name of a derivation's file ends in `.drv`: `{path}`")
        return parse(data, path.name.removesuffix(DERIVATION_SUFFIX), path.store_dir)


def unparse(derivation: Derivation) -> bytes:
    """Write a `.drv` file; the inverse of `parse`."""
    inputs = derivation.input_derivations
    return unparse_with(
        derivation,
        {str(path): inputs[path] for path in inputs},
        derivation.outputs,
        derivation.env,
    )


def unparse_with(
    derivation: Derivation,
    inputs: Mapping[str, InputOutputs],
    outputs: Mapping[str, Output],
    env: Mapping[str, str],
) -> bytes:
    """Write a derivation with other inputs, outputs and variables than its own.

    Hashing modulo puts digests where the paths of the input derivations stand
    (`protocol.store.modulo`), so here those are any text.
    """
    dynamic = any(wanted.children for wanted in inputs.values())
    parts = (
        _list(_output(name, outputs[name]) for name in _sorted(outputs)),
        _list(f'("{path}",{_wanted(inputs[path])})' for path in sorted(inputs)),
        _list(f'"{path}"' for path in sorted(derivation.input_sources)),
        _quote(derivation.platform),
        _quote(derivation.builder),
        _list(map(_quote, derivation.args)),
        _list(f"({_quote(name)},{_quote(env[name])})" for name in _sorted(env)),
    )
    text = f"{_DYNAMIC if dynamic else _PLAIN}{','.join(parts)})"
    return text.encode("utf-8", "surrogateescape")


def _output(name: str, output: Output) -> str:
    path, algorithm, digest = output_texts(output)
    return f'({_quote(name)},"{path}","{algorithm}","{digest}")'


def _list(items: Iterable[str]) -> str:
    return f"[{','.join(items)}]"


def _wanted(wanted: InputOutputs) -> str:
    names = _list(map(_quote, _sorted(wanted.outputs)))
    if not wanted.children:
        return names
    children = wanted.children
    nested = _list(f"({_quote(name)},{_wanted(children[name])})" for name in _sorted(children))
    return f"({names},{nested})"


def _quote(text: str) -> str:
    if _specials.search(text):
        text = _specials.sub(lambda found: _SPELLING[found[0]], text)
    return f'"{text}"'


def _unquote(text: str) -> str:
    return _escapes.sub(lambda found: _MEANING[found[1]], text) if "\\" in text else text


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _sorted(texts: Iterable[str]) -> list[str]:
    # Escaped bytes sort elsewhere among characters than among bytes.
    return sorted(texts, key=_bytes)


class _Parser:
    """One pass over the text; `at` is the index of the next character."""

    def __init__(self, source: str, store_dir: str) -> None:
        self.source = source
        self.store_dir = store_dir
        self.at = 0

    def derivation(self, name: str) -> Derivation:
        dynamic = self.source.startswith(_DYNAMIC)
        self.expect(_DYNAMIC if dynamic else _PLAIN)
        with inside("outputs"):
            outputs = self.keyed(self.output)
            check_outputs(outputs)
        self.expect(",")
        with inside("input_derivations"):
            inputs = self.keyed(self.input)
            if dynamic != any(wanted.children for wanted in inputs.values()):
                self.fail("the head for dynamic derivations, exactly where an input has children")
        self.expect(",")
        with inside("input_sources"):
            sources = self.keyed(self.source_path)
        self.expect(",")
        with inside("platform"):
            platform = self.text()
        self.expect(",")
        with inside("builder"):
            builder = self.text()
        self.expect(",")
        with inside("args"):
            args = self.listed(self.text)
        self.expect(",")
        with inside("env"):
            env = self.keyed(self.variable)
        self.expect(")")
        if self.at != len(self.source):
            self.fail("the end")
        return Derivation(
            name=check_name(name),
            outputs=outputs,
            input_derivations=inputs,
            input_sources=frozenset(sources),
            platform=platform,
            builder=builder,
            args=tuple(args),
            env=env,
        )

    def output(self) -> tuple[str, Output]:
        found = _quadruple(self.source, self.at)
        if found is None:
            self.fail("an output of four texts")
        self.at = found.end()
        name, path, algorithm, digest = map(_unquote, found.groups())
        with inside(name):
            return name, read_output(path, algorithm, digest, self.store_dir)

    def input(self) -> tuple[StorePath, InputOutputs]:
        self.expect("(")
        text = self.text()
        path = StorePath.parse(text, self.store_dir)
        with inside(path.base):
            if not path.is_derivation:
                raise BadDerivation(f"an input derivation's name ends in `.drv`: `{path}`")
            self.expect(",")
            wanted = self.wanted(MAX_CHILDREN_DEPTH)
        self.expect(")")
        return path, wanted

    def wanted(self, depth: int) -> InputOutputs:
        if not self.source.startswith("(", self.at):
            return InputOutputs(frozenset(self.keyed(self.name)))
        if depth == 0:
            raise LimitExceeded(f"outputs of outputs nested more than {MAX_CHILDREN_DEPTH} deep")
        self.expect("(")
        outputs = frozenset(self.keyed(self.name))
        self.expect(",")
        children = self.keyed(lambda: self.child(depth - 1))
        self.expect(")")
        if not children:
            raise BadDerivation("an empty list of children is written by leaving it out")
        return InputOutputs(outputs, children)

    def child(self, depth: int) -> tuple[str, InputOutputs]:
        self.expect("(")
        name = self.text()
        self.expect(",")
        with inside(name):
            wanted = self.wanted(depth)
        self.expect(")")
        return name, wanted

    def name(self) -> tuple[str, None]:
        return self.text(), None

    def source_path(self) -> tuple[StorePath, None]:
        return StorePath.parse(self.text(), self.store_dir), None

    def variable(self) -> tuple[str, str]:
        found = _pair(self.source, self.at)
        if found is None:
            self.fail("a name and a value")
        self.at = found.end()
        name, value = found.groups()
        return _unquote(name), _unquote(value)

    def text(self) -> str:
        found = _text(self.source, self.at)
        if found is None:
            self.fail("a text in double quotes")
        self.at = found.end()
        return _unquote(found[1])

    def listed(self, item: Callable[[], T]) -> list[T]:
        self.expect("[")
        items: list[T] = []
        if self.source.startswith("]", self.at):
            self.at += 1
            return items
        while True:
            items.append(item())
            following = self.source[self.at : self.at + 1]
            self.at += 1
            if following == "]":
                return items
            if following != ",":
                self.at -= 1
                self.fail("`,` or `]`")

    def keyed(self, item: Callable[[], tuple[Name, T]]) -> dict[Name, T]:
        """A list of keyed items without repetition."""
        items = self.listed(item)
        keyed = dict(items)
        if len(keyed) != len(items):
            names = [name for name, _ in items]
            repeated = next(name for name in keyed if names.count(name) > 1)
            raise BadDerivation(f"repeated: `{repeated}`")
        return keyed

    def expect(self, text: str) -> None:
        if not self.source.startswith(text, self.at):
            self.fail(f"`{text}`")
        self.at += len(text)

    def fail(self, expected: str) -> NoReturn:
        found = self.source[self.at : self.at + 20]
        raise RemoteProtocolError(f"expected {expected} at character {self.at}, found `{found}`")
