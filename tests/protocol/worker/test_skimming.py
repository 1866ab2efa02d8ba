"""What is told from bytes alone is what decoding them tells, in every version."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.nar.events import Data, End, Regular
from protocol.nar.writer import NarWriter
from protocol.version import Dialect, Number
from protocol.wire.bodies import END_FRAME, SkippedFrames, frame
from protocol.wire.operation import Body
from protocol.wire.source import WORD
from protocol.worker import skimming, stderr
from protocol.worker.forms import Form, form
from protocol.worker.messages import AddToStoreNar, NarFromPath, QueryPathInfo
from protocol.worker.registry import REGISTRY
from protocol.worker.stderr import Next, NixError
from tests.support.worker import replies, requests

DIALECTS = [Dialect(Number(1, minor)) for minor in range(21, 39)]
ROWS = list(REGISTRY.by_code.values())
OF_A_PATH = [row for row in ROWS if row.code in skimming.OF_A_PATH]
LAST = WORD.pack(stderr.LAST)

NAR = NarWriter().write_all([Regular(executable=False, size=5), Data(b"bytes"), End()])


def asked(row: Any, dialect: Dialect, data: st.DataObject) -> tuple[Any, bytes]:
    request = data.draw(requests(row, dialect))
    return request, WORD.pack(row.code) + row.layout.put(request, dialect)


def existing(row: Any) -> Dialect:
    return next(dialect for dialect in reversed(DIALECTS) if row.exists(dialect))


@pytest.mark.parametrize("row", OF_A_PATH, ids=lambda row: row.name)
@given(data=st.data(), dialect=st.sampled_from(DIALECTS))
def test_a_question_about_a_path_is_known(row: Any, data: st.DataObject, dialect: Dialect) -> None:
    request, said = asked(row, dialect, data)
    assert skimming.request(said) == (row.code, request.path)
    cut = data.draw(st.integers(0, len(said) - 1))
    assert skimming.request(said[:cut]) is None
    assert skimming.request(said + bytes(8)) is None


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.code not in skimming.OF_A_PATH and any(map(row.exists, DIALECTS))],
    ids=lambda row: row.name,
)
@given(data=st.data())
def test_no_other_request_is_taken_for_one(row: Any, data: st.DataObject) -> None:
    _, said = asked(row, existing(row), data)
    assert skimming.request(said) is None


def answers(row: Any, dialect: Dialect, data: st.DataObject) -> tuple[Any, bytes]:
    value = data.draw(replies(row, dialect))
    body = NAR if row.reply_body is Body.NAR else b""
    return value, LAST + row.reply.put(value, dialect) + body


@pytest.mark.parametrize("row", OF_A_PATH, ids=lambda row: row.name)
@given(data=st.data(), dialect=st.sampled_from(DIALECTS))
def test_a_whole_answer_is_known(row: Any, data: st.DataObject, dialect: Dialect) -> None:
    value, said = answers(row, dialect, data)
    assert skimming.is_answer(row.code, said)
    if row.reply_body is Body.NONE:
        valid = row.name != "AddTempRoot" and bool(value)
        assert skimming.says_valid(row.code, said) is valid
    cut = data.draw(st.integers(0, len(said) - 1))
    assert not skimming.is_answer(row.code, said[:cut])
    assert not skimming.is_answer(row.code, said + bytes(8))


@pytest.mark.parametrize("row", OF_A_PATH, ids=lambda row: row.name)
@given(data=st.data(), dialect=st.sampled_from(DIALECTS))
def test_logs_and_errors_are_no_answers(row: Any, data: st.DataObject, dialect: Dialect) -> None:
    _, said = answers(row, dialect, data)
    assert not skimming.is_answer(row.code, stderr.encode_log(Next("a line\n"), dialect) + said)
    assert not skimming.is_answer(row.code, stderr.message.put(NixError("no"), dialect))


@given(st.sampled_from([row.code for row in OF_A_PATH]), st.binary(max_size=200))
def test_junk_is_no_answer_and_raises_nothing(code: int, junk: bytes) -> None:
    for said in (junk, LAST + junk, LAST + WORD.pack(1) + junk):
        skimming.is_answer(code, said)
    skimming.upload(WORD.pack(AddToStoreNar.operation.code) + junk)


def test_a_nar_that_is_none_is_left_to_be_looked_at() -> None:
    broken = NAR.replace(b"regular", b"irregula")
    assert not skimming.is_answer(NarFromPath.operation.code, LAST + broken)


def test_counts_beyond_the_data_are_no_answer() -> None:
    info = LAST + WORD.pack(1) + WORD.pack(0) * 2 + WORD.pack(1 << 63)
    assert not skimming.is_answer(QueryPathInfo.operation.code, info)


FRAMED = [each for each in DIALECTS if form(Body.NAR, each) is Form.FRAMED]


@given(data=st.data(), dialect=st.sampled_from(FRAMED), behind=st.binary(max_size=64))
def test_an_upload_ends_where_its_request_does(
    data: st.DataObject, dialect: Dialect, behind: bytes
) -> None:
    _, said = asked(AddToStoreNar.operation, dialect, data)
    assert skimming.upload(said + behind) == len(said)
    assert skimming.upload(said[: data.draw(st.integers(0, len(said) - 1))]) is None


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row is not AddToStoreNar.operation and any(map(row.exists, DIALECTS))],
    ids=lambda row: row.name,
)
@given(data=st.data())
def test_nothing_else_is_an_upload(row: Any, data: st.DataObject) -> None:
    assert skimming.upload(asked(row, existing(row), data)[1]) is None


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_frames_are_passed_over_wherever_they_are_cut(pieces: list[bytes], cuts: list[int]) -> None:
    said = b"".join(map(frame, pieces)) + END_FRAME
    ends = sorted({len(said), *(cut for cut in cuts if 0 < cut < len(said))})
    body, taken = SkippedFrames(), 0
    for end in ends:
        piece = said[taken:end]
        if body.skim(piece):
            taken = end
        assert body.finished is (taken == len(said))
    assert taken == len(said), "what is whole can be skimmed"


def test_what_is_behind_the_last_frame_is_not_taken() -> None:
    body = SkippedFrames()
    assert not body.skim(frame(b"x") + END_FRAME + b"next")
    assert not body.finished
    assert body.skim(frame(b"x") + END_FRAME)
    assert body.finished
