from pathlib import Path

import pytest

from protocol.store.build_result import BuildResult, BuildStatus
from shim.gates.verdict import Finding, Severity, Verdict
from shim.plan.failures import CLASSES, Failure, Kind, Lasting, StepFailed, classify, status

DOCS = Path(__file__).parents[3] / "docs" / "builds.md"

LOGS = [
    ("cc1plus: out of memory allocating 65536 bytes", Kind.MEMORY),
    ("virtual memory exhausted: Cannot allocate memory", Kind.MEMORY),
    ("terminate called after throwing an instance of 'std::bad_alloc'", Kind.MEMORY),
    ("g++: fatal error: Killed signal terminated program cc1plus", Kind.MEMORY),
    ("builder for '/nix/store/x.drv' failed due to signal 9 (Killed)", Kind.MEMORY),
    ("fatal error: error writing to /build/ccX.s: No space left on device", Kind.DISK),
    ("error: building of '/nix/store/x.drv' timed out after 30 seconds of silence", Kind.TIME_OUT),
    ("configure: error: cannot run C compiled programs.", Kind.NOT_CROSS_AWARE),
    ("If you meant to cross compile, use `--host'.", Kind.NOT_CROSS_AWARE),
    (
        "configure: error: cannot run test program while cross compiling",
        Kind.NOT_CROSS_AWARE,
    ),
    (
        "CMake Error: TRY_RUN() invoked in cross-compiling mode, please set the following",
        Kind.NOT_CROSS_AWARE,
    ),
    (
        "meson.build:3:0: ERROR: Can not run test applications in this cross environment.",
        Kind.NOT_CROSS_AWARE,
    ),
    ("./make-table: cannot execute binary file: Exec format error", Kind.FOREIGN_PROGRAM),
    ("/bin/sh: 1: ./gen: Exec format error", Kind.FOREIGN_PROGRAM),
    ("OSError: [Errno 8] Exec format error: './conftest'", Kind.FOREIGN_PROGRAM),
    ("/build/x.o: file not recognized: file format not recognized", Kind.WRONG_ARCH),
    ("ld: skipping incompatible /nix/store/a/libz.so when searching for -lz", Kind.WRONG_ARCH),
    ("ImportError: libz.so: wrong ELF class: ELFCLASS32", Kind.WRONG_ARCH),
    ("gcc: error: unrecognized command-line option '-mfpu=neon'", Kind.WRONG_ARCH),
    (
        "error: output '/nix/store/a' is not allowed to refer to the following paths:",
        Kind.FOREIGN_REFERENCE,
    ),
    ("builder for 'x' failed to produce output path for output 'dev'", Kind.MISSING_OUTPUT),
    ("curl: (22) The requested URL returned error: 404", Kind.DOWNLOAD),
    ("error: cannot download x.tar.gz from any mirror", Kind.DOWNLOAD),
    ("wget: server returned error: HTTP/1.0 404 Not Found", Kind.DOWNLOAD),
    ("error: unable to download 'http://x.org/x': HTTP error 404", Kind.DOWNLOAD),
    ("fatal: unable to access 'https://x.org/': Could not resolve host: x.org", Kind.DOWNLOAD),
    ("error: hash mismatch in fixed-output derivation '/nix/store/x.drv':", Kind.HASH),
    ("make: *** [Makefile:9: check] Error 1", Kind.TESTS),
    ("FAIL: t/basic.test", Kind.TESTS),
    ("3 tests failed", Kind.TESTS),
    ("make: *** [Makefile:9: all] Error 1", Kind.UNKNOWN),
]


@pytest.mark.parametrize(("line", "kind"), LOGS, ids=[line[:40] for line, _ in LOGS])
def test_a_line_tells_the_class(line: str, kind: Kind) -> None:
    failed = StepFailed("builder failed with exit code 2")
    assert classify(failed, ["configuring", line], "").kind is kind


def test_the_line_nearest_to_the_end_decides() -> None:
    said = [
        "checking whether we are cross compiling... Exec format error",
        "No space left on device",
    ]
    assert classify(StepFailed("it failed"), said, "buildPhase").kind is Kind.DISK
    assert classify(StepFailed("it failed"), said[:1], "buildPhase").kind is Kind.FOREIGN_PROGRAM


def test_what_fails_in_a_check_phase_is_a_test_unless_the_machine_failed() -> None:
    assert classify(StepFailed("x"), ["make: *** [all] Error 1"], "checkPhase").kind is Kind.TESTS
    assert classify(StepFailed("x"), ["No space left on device"], "checkPhase").kind is Kind.DISK


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ("outputs.missing", Kind.MISSING_OUTPUT),
        ("elf.machine", Kind.WRONG_ARCH),
        ("scripts.foreign", Kind.WRONG_ARCH),
        ("references.forbidden", Kind.FOREIGN_REFERENCE),
        ("loading.needed", Kind.FOREIGN_REFERENCE),
        ("gate.crashed", Kind.UNKNOWN),
    ],
)
def test_the_worst_finding_tells_the_class(rule: str, kind: Kind) -> None:
    findings = (Finding(rule, Severity.ERROR, "out/x", None, "found", "do"),)
    failed = StepFailed("gates rejected it", verdict=Verdict(False, findings, 1, 1))
    assert classify(failed, ["No space left on device"], "").kind is kind


def test_statuses_that_say_it_all() -> None:
    result = BuildResult(status=BuildStatus.TIMED_OUT)
    assert classify(StepFailed("x", result=result), [], "").kind is Kind.TIME_OUT


def test_what_fails_for_now_is_the_daemons_unless_a_hash_fixes_the_result() -> None:
    failed = StepFailed("x", result=BuildResult(status=BuildStatus.TRANSIENT_FAILURE))
    assert classify(failed, ["npm ERR! network"], "").kind is Kind.DAEMON
    assert classify(failed, ["npm ERR! network"], "", fixed=True).kind is Kind.DOWNLOAD
    assert classify(failed, ["No space left on device"], "", fixed=True).kind is Kind.DISK


def test_the_status_tells_clients_whether_to_ask_again() -> None:
    result = BuildResult(status=BuildStatus.PERMANENT_FAILURE)
    rows = [
        (StepFailed("x", result=result), Kind.TESTS, BuildStatus.PERMANENT_FAILURE),
        (StepFailed("x", result=result), Kind.DISK, BuildStatus.TRANSIENT_FAILURE),
        (StepFailed("x", result=result), Kind.TIME_OUT, BuildStatus.TIMED_OUT),
        (StepFailed("x"), Kind.HOST, BuildStatus.MISC_FAILURE),
        (StepFailed("x"), Kind.WRONG_ARCH, BuildStatus.PERMANENT_FAILURE),
    ]
    assert [status(failed, Failure(kind, "x")) for failed, kind, _ in rows] == [
        wanted for *_, wanted in rows
    ]


def test_only_machine_and_network_are_forgiven() -> None:
    transient = {kind for kind, each in CLASSES.items() if each.lasting is Lasting.TRANSIENT}
    assert transient == {
        *(Kind.MEMORY, Kind.DISK, Kind.TIME_OUT, Kind.INPUT, Kind.DOWNLOAD, Kind.DAEMON)
    }


def test_every_class_is_described() -> None:
    assert set(CLASSES) == set(Kind)


def test_the_documentation_has_every_class_with_its_meaning() -> None:
    text = DOCS.read_text(encoding="utf-8")
    rows = [
        f"| `{kind}` | {each.lasting} | {each.meaning} | {each.advice} |"
        for kind, each in CLASSES.items()
    ]
    assert [row for row in rows if row not in text] == []
