from protocol.serve.messages import REGISTRY, WRITING
from protocol.version import Number
from protocol.wire.operation import Body

MANIFEST = {
    1: ("QueryValidPaths", Number(2, 0), Body.NONE, Body.NONE),
    2: ("QueryPathInfos", Number(2, 0), Body.NONE, Body.NONE),
    3: ("DumpStorePath", Number(2, 0), Body.NONE, Body.NAR),
    4: ("ImportPaths", Number(2, 0), Body.EXPORT, Body.NONE),
    5: ("ExportPaths", Number(2, 0), Body.NONE, Body.EXPORT),
    6: ("BuildPaths", Number(2, 0), Body.NONE, Body.NONE),
    7: ("QueryClosure", Number(2, 0), Body.NONE, Body.NONE),
    8: ("BuildDerivation", Number(2, 1), Body.NONE, Body.NONE),
    9: ("AddToStoreNar", Number(2, 5), Body.NAR, Body.NONE),
}
"""Written by hand from the specification."""


def test_the_registry_is_the_manifest() -> None:
    assert {
        row.code: (row.name, row.gate.since or Number(2, 0), row.body, row.reply_body)
        for row in REGISTRY.by_code.values()
    } == MANIFEST


def test_what_a_server_without_write_refuses() -> None:
    names = {kind.__name__ for kind in WRITING}
    assert {code for code, (name, *_) in MANIFEST.items() if name in names} == {4, 6, 8, 9}
