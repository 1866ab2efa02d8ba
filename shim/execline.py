"""Exec lines: what an SSH client asks to run, as a value.  Nothing is run, no shell reads them.

Nix's clients build these lines themselves (`SSHStore::openConnection`, `LegacySSHStore`, with
`SSHMaster::startCommand` quoting): up to 2.19 one string whose store URI is in single quotes, from
2.20 on words that `ssh` joins with blanks and without any quotes, so that a URI's `&` arrives bare.
The program's name is the board's to choose (`remote-program`), so its folder and what people put in
front of it (`env`, `sudo`, `nice`) are of no matter.  Commands are told from sessions here; what
they mean, and which of their options are known, is for the daemon (`shim.session.commandline`).

`nix-shim stdio` imports this on every connection, so it must stay small.
"""

from __future__ import annotations

from shim.preamble import Speaks
from shim.small import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

LIMIT: Final = 1 << 17
"""Longest accepted line in characters; Linux gives one argument of a command as much."""

NOT_OFFERED: Final = 127
"""Exit code of what is refused, as shells say that there is no such program."""


class Accepted(Value):
    """A session that the daemon is to open."""

    __slots__ = ("arguments", "greeting", "speaks")

    def __init__(
        self, speaks: Speaks, arguments: tuple[str, ...] = (), greeting: bytes = b""
    ) -> None:
        """See the class.

        Args:
            speaks: what the client will speak.
            arguments: the words of a command, program first; `--write` of a serve session that may
                write.
            greeting: what the line itself prints on standard output first.
        """
        self.speaks: Final = speaks
        self.arguments: Final = arguments
        self.greeting: Final = greeting


class Refused(Value):
    """A line that is not answered."""

    __slots__ = ("message",)

    def __init__(self, message: str) -> None:
        """See the class.

        Args:
            message: one line for the client's standard error.
        """
        self.message: Final = message


_SETTINGS: Final[Mapping[str, int]] = {
    "--option": 2,
    "--extra-experimental-features": 1,
    "--experimental-features": 1,
    "--log-format": 1,
    **dict.fromkeys(("-v", "-vv", "-vvv", "--verbose", "--quiet", "--debug"), 0),
}
"""Options of every program of Nix -> words that belong to each."""

WORKER: Final[Mapping[str, int]] = {
    **_SETTINGS,
    "--stdio": 0,
    "--store": 1,
    "--process-ops": 0,
    **dict.fromkeys(("--force-trusted", "--force-untrusted", "--default-trust"), 0),
}
"""Options of `nix-daemon --stdio`.  Which store is seen and who is trusted is not the client's to
say, so they change nothing."""

SERVE: Final[Mapping[str, int]] = {**_SETTINGS, "--serve": 0, "--write": 0, "--store": 1}
"""Options of `nix-store --serve`."""

_KINDS: Final[Mapping[str, tuple[Speaks, ...]]] = {
    "daemon": (Speaks.WORKER,),
    "nix-daemon": (Speaks.WORKER,),
    "nix-store": (Speaks.SERVE,),
    "stdio": (Speaks.WORKER, Speaks.SERVE),
}
"""Program or subcommand -> the sessions that it can serve."""

_WRAPPERS: Final[Mapping[str, Mapping[str, int]]] = {
    "exec": {},
    "env": {"-i": 0, "-": 0, "--ignore-environment": 0, "-u": 1, "--": 0},
    "sudo": {**dict.fromkeys(("-n", "-E", "-H", "--non-interactive", "--"), 0), "-u": 1},
    "nice": {"-n": 1},
}
"""Programs that run another one -> their options.  We run none: they are left out."""

COMMANDS: Final = frozenset({"nix-store", "nix", "mktemp", "readlink", "realpath", "rm"})
"""Programs of which the daemon may know the rest of the line."""

_STARTED: Final = "echo started"
"""What clients put before a session to know when they are logged in (`SSHMaster`)."""

_QUOTING: Final = frozenset("'\"\\")
_OPERATORS: Final = frozenset("();<>|&")


def parse(line: str) -> Accepted | Refused:
    """What `line` asks for."""
    if len(line) > LIMIT:
        return Refused(
            f"nix-shim: a command of {len(line)} characters is too long: at most {LIMIT}"
        )
    after = _after_started(line)
    rest = line if after is None else after
    try:
        words = _unwrapped(split(rest))
        answer = _session(words) or _command(words, rest)
    except ValueError:  # shlex: a quote or an escape without an end
        answer = None
    if answer is None:
        return Refused(
            f"nix-shim: `{_shown(line)}` is not offered here: boards come for Nix's stores"
            " (ssh-ng://, ssh://) and some of nix-store's commands"
        )
    if after is None:
        return answer
    return Accepted(answer.speaks, answer.arguments, b"started\n")


def _after_started(line: str) -> str | None:
    """What follows `echo started &&` or `echo started;`; None if `line` begins otherwise."""
    rest = line.lstrip()
    if rest.startswith(_STARTED):
        rest = rest.removeprefix(_STARTED).lstrip()
        for operator in ("&&", ";"):
            if rest.startswith(operator):
                return rest.removeprefix(operator).lstrip()
    return None


def split(line: str) -> list[str]:
    """The words of `line` as a shell would see them.

    Raises:
        ValueError: a quote or an escape without an end.
    """
    if line.isascii() and line.isprintable() and _QUOTING.isdisjoint(line):
        return line.split()  # as most lines are, which the library below need not be imported for
    import shlex  # noqa: PLC0415 - see above

    return shlex.split(line)


def _unwrapped(words: Sequence[str]) -> list[str]:
    """`words` from the program on that is meant."""
    left = list(words)
    while left:
        if _is_assignment(left[0]):
            del left[0]
        elif (options := _WRAPPERS.get(_name(left[0]))) is not None:
            del left[0]
            while left and left[0] in options:
                del left[: 1 + options[left[0]]]
            if left and _is_niceness(left[0]):
                del left[0]
        else:
            break
    return left


def _is_assignment(word: str) -> bool:
    name, sign, _ = word.partition("=")
    return bool(sign) and name.isascii() and name.isidentifier()


def _is_niceness(word: str) -> bool:
    """Whether `word` is how `nice` takes a number without a word of its own: `-n19`, `-19`."""
    number = word.removeprefix("-").removeprefix("n").removeprefix("-")
    return word.startswith("-") and number.isascii() and number.isdigit()


def _name(program: str) -> str:
    return program.rpartition("/")[2]


def _session(words: Sequence[str]) -> Accepted | None:
    """The session that a program of Nix, or ours in its place, is to serve; None for no session."""
    program, *rest = words or [""]
    name = _name(program)
    if name == "nix":
        rest = _without(rest, _SETTINGS)
        if rest[:1] != ["daemon"]:
            return None
    elif name == "nix-shim":
        if rest[:1] != ["stdio"]:
            return None
    elif name in {"nix-daemon", "nix-store"}:
        rest = [name, *rest]
    else:
        return None
    return session(rest[1:], *_KINDS[rest[0]])


def session(options: Sequence[str], *kinds: Speaks) -> Accepted | None:
    """The session that `options` ask for, of one of these kinds; None if they ask for none."""
    asked = [
        (Speaks.WORKER, "--stdio", WORKER),
        (Speaks.SERVE, "--serve", SERVE),
    ]
    for kind, sign, known in asked:
        if kind in kinds and sign in options and not _without(options, known):
            writes = kind is Speaks.SERVE and "--write" in options
            return Accepted(kind, ("--write",) if writes else ())
    return None


def _without(words: Sequence[str], known: Mapping[str, int]) -> list[str]:
    """`words` without the `known` options that they begin with."""
    left = list(words)
    while left and left[0] in known and len(left) > known[left[0]]:
        del left[: 1 + known[left[0]]]
    return left


def _command(words: Sequence[str], line: str) -> Accepted | None:
    """The command, unless a shell would read more in `line` than one program and its words."""
    if not words or _name(words[0]) not in COMMANDS or "--serve" in words or "\n" in line:
        return None
    import shlex  # noqa: PLC0415 - sessions, which are most of what is asked for, need none of it

    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if any(token and _OPERATORS.issuperset(token) for token in lexer):
        return None
    return Accepted(Speaks.COMMAND, (_name(words[0]), *words[1:]))


def _shown(line: str) -> str:
    """`line` for a message: one line, no control characters, not too long."""
    plain = "".join(each if each.isprintable() and each != "`" else "?" for each in line)
    return plain if len(plain) <= 200 else f"{plain[:200]}..."
