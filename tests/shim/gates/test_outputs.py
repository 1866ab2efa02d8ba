from tests.support.planted import OUT, Planted, rules, store_path


def test_a_good_result_passes_without_findings(planted: Planted) -> None:
    verdict = planted.judge()
    assert verdict.accepted
    assert verdict.findings == ()


def test_a_missing_output_is_found(planted: Planted) -> None:
    planted.outputs["dev"] = store_path("demo-1.0-dev", "5")
    verdict = planted.judge()
    assert rules(verdict) == ["outputs.missing"]
    assert not verdict.accepted
    assert verdict.findings[0].path == "dev"


def test_an_output_made_elsewhere_is_missing(planted: Planted) -> None:
    assert rules(planted.judge(built={"out": store_path("demo-1.0", "6")})) == ["outputs.missing"]
    assert planted.judge(built={"out": OUT}).accepted


def test_an_extra_output_is_found(planted: Planted) -> None:
    extra = store_path("demo-1.0-mini", "5")
    assert rules(planted.judge(built={"out": OUT, "mini": extra})) == ["outputs.extra"]


def test_another_package_s_name_is_found(planted: Planted) -> None:
    assert rules(planted.judge(name="other-2.0")) == ["outputs.name"]


def test_an_empty_output_is_found(planted: Planted) -> None:
    path = store_path("demo-1.0-man", "5")
    (planted.root / path.lstrip("/")).mkdir()
    planted.outputs["man"] = path
    planted.allowed.add(path)
    verdict = planted.judge()
    assert rules(verdict) == ["outputs.empty"]
    assert not verdict.accepted


def test_an_output_may_be_a_file_or_a_link(planted: Planted) -> None:
    planted.outputs["file"] = store_path("demo-1.0-file", "5")
    planted.outputs["link"] = store_path("demo-1.0-link", "6")
    planted.allowed.update(planted.outputs.values())
    planted.add("", b"text\n", path=planted.outputs["file"])
    planted.add("", str(OUT), path=planted.outputs["link"])
    assert planted.judge().findings == ()
