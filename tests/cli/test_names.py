"""Names in headers."""

from __future__ import annotations

from mlcc.names import identifier, unique


def test_words_of_c_and_cpp_are_no_names() -> None:
    assert identifier("and") == "m_and" and identifier("float") == "m_float" and identifier("x.1") == "x_1" and identifier("1") == "m_1"
    assert unique(["a.b", "a_b", "class"]) == ["a_b", "a_b_2", "m_class"]
