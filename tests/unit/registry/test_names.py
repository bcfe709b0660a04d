"""A version's name is spelt and parsed in one place."""

from __future__ import annotations

import pytest

from ttrl_server.registry import names
from ttrl_server.registry.names import number_in, number_of_folder


@pytest.mark.parametrize("number", [0, 1, 7, 1_000_000])
def test_what_is_spelt_is_parsed(number: int) -> None:
    name = names.version_name("org/tiny@x", number)
    assert number_in(name) == names.number_of_pin(name.rpartition("@")[2]) == number
    folder = names.folder_name(number, "ab12cd34" * 8)
    assert number_of_folder(folder) == number_in(folder) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("v7", 7), ("v000007-ab12cd34", 7), ("base", 0), ("tiny@base", 0), ("tiny@v7", 7)]
    + [
        (text, None)
        for text in ("", "v", "-7", "v-7", "x7", "7.0", "٧", "v²", "based", "v" + "9" * 99, "v7-ab")
    ],
)
def test_what_a_person_means(text: str, number: int | None) -> None:
    assert number_in(text) == number


def test_only_versions_of_this_model_are_found_among_an_engines_names() -> None:
    loaded = {"tiny@v3", "tiny@base", "tiny", "other@v4", "xtiny@v5", "tiny@v6x"}
    assert names.numbers_among(loaded, "tiny") == {3}
