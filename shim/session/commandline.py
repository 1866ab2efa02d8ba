"""Words to commands: which programs and operations a peer may run, and with which options.

What Nix's programs can do besides is known by name, so that a refusal can tell it from a mistake.
Checked against Nix's `nix-store.cc` and `nix/build.cc` of 2.8, 2.26 and 2.34.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shim.session.commands import (
    BadCommand,
    CheckValidity,
    Code,
    Command,
    Dump,
    Export,
    Import,
    MakeFolder,
    Printed,
    Query,
    Question,
    ReadLink,
    Realise,
    RemoveRoots,
    Settings,
    Target,
    Version,
    not_offered,
    usage,
)
from shim.session.words import Common, Words


@dataclass(slots=True)
class _Call:
    """A `nix-store` command line, sorted."""

    flags: list[str]
    operands: list[str]
    settings: Settings
    root: str | None
    prints: bool

    def allow(self, *known: str) -> None:
        """Take no flags but these."""
        for flag in self.flags:
            if flag not in known:
                raise usage(f"unknown flag '{flag}'")


def _realise(call: _Call) -> Command:
    if "--repair" in call.flags:
        raise not_offered("nix-store --realise --repair")
    call.allow("--dry-run", "--check", "--ignore-unknown")
    return Realise(
        targets=tuple(_target(each, "!") for each in call.operands),
        settings=call.settings,
        printed=Printed.ROOTS if call.prints else Printed.NOTHING,
        root=call.root,
        dry_run="--dry-run" in call.flags,
        check="--check" in call.flags,
        ignore_unknown="--ignore-unknown" in call.flags,
    )


def _target(text: str, separator: str) -> Target:
    path, found, names = text.partition(separator)
    outputs = frozenset(names.split(",")) if found and names != "*" else frozenset()
    return Target(path, outputs)


_QUESTIONS: Final[Mapping[str, Question]] = {
    **{f"--{question}": question for question in Question},
    "-R": Question.REQUISITES,
    "-d": Question.DERIVER,
    "-b": Question.BINDING,
    "--referers": Question.REFERRERS,
    "--referers-closure": Question.REFERRERS_CLOSURE,
}

_OTHER_QUESTIONS: Final = frozenset({"--graph", "--graphml"})

_QUERY_SWITCHES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("--use-output", "-u"), "use_output"),
    **dict.fromkeys(("--force-realise", "--force-realize", "-f"), "force_realise"),
    "--include-outputs": "include_outputs",
}


def _query(call: _Call) -> Command:
    question: Question | None = None
    switches: dict[str, bool] = {}
    operands = list(call.operands)
    binding = ""
    for flag in call.flags:
        if flag in _OTHER_QUESTIONS:
            raise not_offered(f"nix-store --query {flag}")
        if flag in _QUERY_SWITCHES:
            switches[_QUERY_SWITCHES[flag]] = True
            continue
        if flag not in _QUESTIONS:
            raise usage(f"unknown flag '{flag}'")
        if question not in {None, _QUESTIONS[flag]}:
            raise usage(f"query type '{flag}' conflicts with earlier flag")
        question = _QUESTIONS[flag]
        if question is Question.BINDING:
            if not operands:
                raise usage("expected binding name")
            binding = operands.pop(0)
    return Query(
        question=question or Question.OUTPUTS,
        paths=tuple(operands),
        settings=call.settings,
        binding=binding,
        **switches,
    )


def _check_validity(call: _Call) -> Command:
    call.allow("--print-invalid")
    return CheckValidity(tuple(call.operands), "--print-invalid" in call.flags)


def _export(call: _Call) -> Command:
    call.allow()
    return Export(tuple(call.operands))


def _import(call: _Call) -> Command:
    call.allow()
    if call.operands:
        raise usage("no arguments expected")
    return Import()


def _dump(call: _Call) -> Command:
    call.allow()
    if len(call.operands) != 1:
        raise usage("only one argument allowed")
    return Dump(call.operands[0])


def _version(_: _Call) -> Command:
    return Version("nix-store")


_OPERATIONS: Final[Mapping[str, Callable[[_Call], Command]]] = {
    **dict.fromkeys(("--realise", "--realize", "-r"), _realise),
    **dict.fromkeys(("--query", "-q"), _query),
    "--check-validity": _check_validity,
    "--export": _export,
    "--import": _import,
    "--dump": _dump,
    "--version": _version,
}

_OTHER_OPERATIONS: Final = frozenset(
    {
        *("--add", "-A", "--add-fixed", "--print-fixed-path", "--delete", "--print-env"),
        *("--read-log", "-l", "--dump-db", "--load-db", "--register-validity", "--gc"),
        *("--restore", "--init", "--verify", "--verify-path", "--repair-path", "--optimise"),
        *("--optimize", "--serve", "--generate-binary-cache-key", "--help", "--stdin"),
    }
)
"""What else `nix-store` can do.  `--serve` is a session of its own protocol, not a command."""


def _nix_store(words: Words) -> Command:
    common = Common()
    operation: Callable[[_Call], Command] | None = None
    call = _Call([], [], Settings(), None, prints=True)
    while words:
        is_option, word = words.next()
        if not is_option:
            call.operands.append(word)
        elif word in _OTHER_OPERATIONS:
            raise not_offered(f"nix-store {word}")
        elif word in _OPERATIONS:
            if operation not in {None, _OPERATIONS[word]}:
                raise usage("only one operation may be specified")
            operation = _OPERATIONS[word]
        elif word == "--add-root":
            call.root = words.value(word)
        elif word == "--no-output":
            call.prints = False
        # `--indirect` has had no effect since Nix 2.4: every root by name is one.
        elif word != "--indirect" and not common.takes(word, words):
            call.flags.append(word)
    if operation is None:
        raise usage("no operation specified")
    call.settings = common.settings
    return operation(call)


_FORMS: Final = frozenset({"--print-out-paths", "--no-link"})
_LINKS: Final = frozenset({"-o", "--out-link"})


def _nix(words: Words) -> Command:
    common = Common()
    subcommand = ""
    forms: set[str] = set()
    link = "result"
    targets: list[Target] = []
    while words:
        is_option, word = words.next()
        if not is_option and not subcommand:
            subcommand = word
        elif not is_option:
            targets.append(_installable(word))
        elif word == "--version":
            return Version("nix")
        elif word in _FORMS:
            forms.add(word)
        elif word in _LINKS:
            link = words.value(word)
        elif not common.takes(word, words):
            raise not_offered(f"nix {subcommand} {word}")
        if subcommand not in {"", "build"}:
            raise not_offered(f"nix {subcommand}")
    if not targets:
        raise not_offered(f"nix {subcommand}".rstrip())
    return Realise(
        targets=tuple(targets),
        settings=common.settings,
        printed=Printed.PATHS if "--print-out-paths" in forms else Printed.NOTHING,
        root=None if "--no-link" in forms else link,
    )


def _installable(text: str) -> Target:
    """`/nix/store/x.drv^out,dev`, `/nix/store/x.drv^*` or `/nix/store/y`; `!` is the older `^`."""
    if not text.startswith("/"):
        raise not_offered(f"nix build {text}")
    return _target(text, "^" if "^" in text else "!")


def _mktemp(words: Words) -> Command:
    options, operands = _plain(words)
    if not {"-d"} <= options <= {"-d", "-t"} or len(operands) > 1:
        raise not_offered("mktemp")
    template = operands[0] if operands else "tmp.XXXXXXXXXX"
    folder, _, name = template.rpartition("/")
    if len(name) - len(name.rstrip("X")) < 3:
        raise BadCommand(f"mktemp: too few X's in template '{template}'", Code.FAILED)
    return MakeFolder(f"{folder or '/tmp'}/{name}")  # noqa: S108 - a name of the peer's, no file


def _readlink(words: Words) -> Command:
    options, operands = _plain(words)
    if not options <= {"-f", "--canonicalize", "-e"} or len(operands) != 1:
        raise not_offered("readlink")
    return ReadLink(operands[0])


def _rm(words: Words) -> Command:
    options, operands = _plain(words)
    if not options <= {"-r", "-f", "-R", "--recursive", "--force"} or not operands:
        raise not_offered("rm")
    return RemoveRoots(tuple(operands))


def _plain(words: Words) -> tuple[set[str], list[str]]:
    options: set[str] = set()
    operands: list[str] = []
    while words:
        is_option, word = words.next()
        if is_option:
            options.add(word)
        else:
            operands.append(word)
    return options, operands


_PROGRAMS: Final[Mapping[str, Callable[[Words], Command]]] = {
    "nix-store": _nix_store,
    "nix": _nix,
    "mktemp": _mktemp,
    "readlink": _readlink,
    "realpath": _readlink,
    "rm": _rm,
}

PROGRAMS: Final = frozenset(_PROGRAMS)
"""First words that `parse` knows."""


def parse(words: Sequence[str]) -> Command:
    """Read a command; the first word is the program, with or without its folder.

    Raises:
        BadCommand: it is none of ours, or its options are wrong.
    """
    program = words[0].rpartition("/")[2] if words else ""
    if program not in _PROGRAMS:
        raise not_offered(program)
    return _PROGRAMS[program](Words(words[1:]))
