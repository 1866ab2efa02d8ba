"""What a difference between two recipes may do to the result: the rule set, as data.

`RULES` says which variable is compared how; `TOKENS` and `LINES` judge single flags and lines of
scripts.  All are read from the top, and the first rule that fits decides.  Nothing here knows a
package; the spellings are those of nixpkgs' `make-derivation.nix` and of common build systems.
Patterns take time linear in the text, which a stranger may have written: what repeats twice in a
row is possessive, or looked for ahead.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from shim.equivalence.grades import DifferenceClass

NONE, BENIGN, NOTABLE, SEMANTIC = DifferenceClass


class How(Enum):
    """What the parts of a variable are."""

    WHOLE = "whole"
    """One value."""
    TOKENS = "tokens"
    """Flags, or a list of paths, between blanks."""
    LINES = "lines"
    """A script."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a difference in some variables means."""

    name: str
    variables: re.Pattern[str]
    how: How
    dropped: DifferenceClass
    """The class when the native recipe says something that the cross one does not."""
    added: DifferenceClass
    """The class of the reverse."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a flag that only one side has means, wherever it stands."""

    name: str
    token: re.Pattern[str]
    difference_class: DifferenceClass


def _rule(
    name: str,
    variables: str,
    how: How,
    dropped: DifferenceClass,
    added: DifferenceClass | None = None,
) -> Rule:
    return Rule(
        name, re.compile(variables, re.DOTALL), how, dropped, dropped if added is None else added
    )


def _token(name: str, pattern: str, difference_class: DifferenceClass) -> Token:
    return Token(name, re.compile(pattern, re.DOTALL), difference_class)


BUILD_TOOLS: Final = "build tools"
TEST_TOOLS: Final = "test tools"
FLAGS: Final = "flags"

RULES: Final = (
    _rule("platform", r"system|builder|stdenv|shell|configurePlatforms", How.WHOLE, BENIGN),
    _rule("strict dependencies", r"strictDeps", How.WHOLE, BENIGN),
    _rule("checks off", r"do(Install)?Check", How.WHOLE, BENIGN),
    _rule(
        "check phase",
        r"(pre|post)?([iI]nstall)?[cC]heck(Phase|Target)?|([iI]nstall)?[cC]heckFlags(Array)?"
        r"|pytest\w*|disabledTest\w*|pythonImportsCheck",
        How.WHOLE,
        BENIGN,
    ),
    _rule("guard", r"(dis)?allowed(References|Requisites)|outputChecks", How.WHOLE, BENIGN),
    _rule(
        "build policy",
        r"enableParallel\w*|preferLocalBuild|allowSubstitutes|requiredSystemFeatures|passAsFile",
        How.WHOLE,
        BENIGN,
    ),
    _rule("stripping", r"dontStrip\w*", How.WHOLE, BENIGN),
    _rule(
        "compilers for the build machine",
        r"depsBuild(Build|Target)(Propagated)?",
        How.TOKENS,
        BENIGN,
    ),
    _rule(
        BUILD_TOOLS, r"(native|(propagated|default)Native)BuildInputs", How.TOKENS, NOTABLE, BENIGN
    ),
    _rule(
        "dependencies",
        r"((propagated|default)B|b)uildInputs|deps(Host|Target)\w*|paths|pkgs",
        How.TOKENS,
        SEMANTIC,
    ),
    _rule("sources and patches", r"srcs?|patches|.*[-_]src|.*Patches", How.TOKENS, SEMANTIC),
    _rule("version", r"p?name|version", How.WHOLE, SEMANTIC),
    _rule(FLAGS, r".*[fF]lags(Array)?(_.*)?|.*FLAGS", How.TOKENS, SEMANTIC),
    _rule("preset configure answer", r"(?=\w+_cv_\w)\w++", How.WHOLE, NOTABLE),
    _rule(
        "script",
        r".*(Phase|Script|Hook|Commands?)|(pre|post)[A-Z].*|setupHooks?|text|args",
        How.LINES,
        SEMANTIC,
    ),
    _rule("value", r".*", How.WHOLE, NOTABLE),
)
"""Variable -> how it is compared and what a difference means; first fit."""

_TOOL: Final = (
    r"(CC|CXX|CPP|LD|AR|AS|NM|RANLIB|STRIP|OBJCOPY|OBJDUMP|READELF|PKG_CONFIG|cc|ar|ranlib)"
)
_PREFIX: Final = r"(cross-prefix|(CROSS_)?PREFIX|CROSS(_COMPILE)?|C?HOST|TARGET|BUILD|host|target)"

TOKENS: Final = (
    _token("platform", r"--(build|host|target)(=.*)?", BENIGN),
    _token(
        "platform",
        r"-DCMAKE_(HOST_)?(SYSTEM|C_COMPILER|CXX_COMPILER|AR|RANLIB|STRIP|CROSSCOMPILING).*",
        BENIGN,
    ),
    _token("platform", r"--(cross|native)-file(=.*)?|cross_compiling=\S*", BENIGN),
    _token("tool names", rf"(--(with-)?)?{_PREFIX}=", BENIGN),
    _token("tool names", rf"\"?(--with-)?{_TOOL}=[\w+./$-]*\"?", BENIGN),
    _token(
        BUILD_TOOLS,
        r"--?(with|enable)-(build|native)-.*|.*_FOR_BUILD=.*|build(CC|_cc)=.*"
        r"|(BUILD|HOST)_?(CC|CXX|AR|LD|CFLAGS)=.*",
        BENIGN,
    ),
    _token(
        "checks off",
        r"(-D|--?(en|dis)able-)(?=[\w-]*((?i:(build|enable)_?test)|tests?))[\w-]*+(:\w++)?(=\w++)?",
        BENIGN,
    ),
    _token("preset configure answer", r"(?=\w+_cv_\w)\w++=.*", NOTABLE),
)
"""Flags that tell how something is made; first fit.  Others are judged by their variable."""

LINES: Final = (
    _token("tool names", rf"(export\s+)?({_PREFIX}|{_TOOL})=\S*", BENIGN),
    _token("preset configure answer", r"(export\s++)?(?=\w+_cv_\w)\w++=\S*", NOTABLE),
)
"""The same for whole lines of scripts."""
