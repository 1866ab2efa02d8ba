"""Guarding lists after rewriting."""

from shim.plant.guards import guard_env, guard_structured

RENAMED = {"/cross/lib": ["/native/lib"], "/cross/hook": ["/graft/hook", "/kept/hook"]}


def names(word: str) -> list[str]:
    return RENAMED.get(word, [word])


def test_forbidden_words_get_every_new_name_and_the_native_ones() -> None:
    cross = {"disallowedReferences": "/cross/lib /cross/hook out"}
    native = {"disallowedReferences": "/native/lib /native/gcc"}
    assert guard_env(cross, native, names) == {
        "disallowedReferences": "/native/lib /graft/hook /kept/hook out /native/gcc"
    }


def test_what_only_one_recipe_forbids_is_forbidden() -> None:
    native = {"disallowedRequisites": "/native/gcc"}
    assert guard_env({}, native, names) == native
    cross = {"disallowedRequisites": "/cross/lib"}
    assert guard_env(cross, {}, names) == {"disallowedRequisites": "/native/lib"}


def test_the_native_recipe_says_what_is_allowed_even_when_that_is_nothing() -> None:
    cross = {"allowedReferences": "/cross/lib", "allowedRequisites": "/cross/hook"}
    native = {"allowedReferences": ""}
    assert guard_env(cross, native, names) == {
        "allowedReferences": "",
        "allowedRequisites": "/graft/hook /kept/hook",
    }


def test_checks_of_each_output_are_merged_and_other_keys_stay() -> None:
    cross = {
        "outputChecks": {
            "out": {"disallowedReferences": ["/cross/lib"], "maxSize": 1},
            "mini": {"allowedReferences": ["/cross/lib"]},
        }
    }
    native = {
        "outputChecks": {
            "out": {"disallowedReferences": ["/native/gcc"], "maxClosureSize": 2},
            "dev": {"allowedRequisites": []},
        }
    }
    assert guard_structured(cross, native, names) == {
        "outputChecks": {
            "out": {
                "disallowedReferences": ["/native/lib", "/native/gcc"],
                "maxSize": 1,
                "maxClosureSize": 2,
            },
            "mini": {"allowedReferences": ["/native/lib"]},
            "dev": {"allowedRequisites": []},
        }
    }


def test_recipes_without_lists_get_none() -> None:
    assert guard_env({"name": "x"}, {"name": "y"}, names) == {}
    assert guard_structured({"name": "x"}, {}, names) == {}
