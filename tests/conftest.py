"""Profiles for generated tests, and CI's rule that nothing it is meant to run may be skipped."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "fast", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", settings.get_profile("fast"), max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

# A shell starts what runs in the background with SIGINT ignored, and every child inherits that: the
# clients that tests interrupt would not hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NOT_TO_BE_HAD = ("nix-eval-jobs is not installed",)
"""Reasons that CI accepts, loudly: no distribution that we build on has these programs."""

SKIPPED: list[str] = []
NOT_RUN: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped."""
    if report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        (NOT_RUN if why.endswith(NOT_TO_BE_HAD) else SKIPPED).append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure: the machine is ours to prepare."""
    if os.environ.get("CI") and SKIPPED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say so loudly."""
    if os.environ.get("CI") and NOT_RUN:
        terminalreporter.section("NOT RUN IN CI: WHAT THESE NEED IS NOT TO BE HAD", yellow=True)
        for test in NOT_RUN:
            terminalreporter.line(test)
    if os.environ.get("CI") and SKIPPED:
        terminalreporter.section("SKIPPED IN CI: THIS RUN FAILS", red=True)
        for test in SKIPPED:
            terminalreporter.line(test)
