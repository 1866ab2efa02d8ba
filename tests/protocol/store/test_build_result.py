from protocol.store.build_result import BuildResult, BuildStatus


def test_the_numbers_of_nix() -> None:
    assert [status.name for status in BuildStatus] == [
        "BUILT",
        "SUBSTITUTED",
        "ALREADY_VALID",
        "PERMANENT_FAILURE",
        "INPUT_REJECTED",
        "OUTPUT_REJECTED",
        "TRANSIENT_FAILURE",
        "CACHED_FAILURE",
        "TIMED_OUT",
        "MISC_FAILURE",
        "DEPENDENCY_FAILED",
        "LOG_LIMIT_EXCEEDED",
        "NOT_DETERMINISTIC",
        "RESOLVES_TO_ALREADY_VALID",
        "NO_SUBSTITUTERS",
    ]
    assert list(BuildStatus) == list(range(15))


def test_four_of_them_leave_valid_outputs() -> None:
    successes = {status for status in BuildStatus if BuildResult(status=status).is_success}
    assert successes == {
        BuildStatus.BUILT,
        BuildStatus.SUBSTITUTED,
        BuildStatus.ALREADY_VALID,
        BuildStatus.RESOLVES_TO_ALREADY_VALID,
    }
