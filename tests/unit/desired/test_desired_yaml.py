"""YAML: positions, limits, and values as Compose resolves them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.desired.problems import Problems
from gitops.desired.scalars import resolve, text_of
from gitops.desired.yaml import MAX_BYTES, Node, check_limits, read
from gitops.errors import InvalidInputError


def _read(text: str | bytes) -> Node:
    found = Problems()
    node = read(text.encode() if isinstance(text, str) else text, "a.yaml", found)
    found.raise_if_any()
    assert node is not None
    return node


def _problems(text: str | bytes) -> list[str]:
    with pytest.raises(InvalidInputError) as refused:
        _read(text)
    return [str(problem) for problem in refused.value.problems]


def _plain(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: _plain(value) for key, value in node.value.items()}
    return [_plain(item) for item in node.value] if isinstance(node.value, tuple) else node.value


@pytest.mark.parametrize(
    ("text", "value", "written"),
    [
        # As `docker compose config` has them: go-yaml v3, YAML 1.2 with octal `0` and `_` of 1.1.
        ("yes", "yes", "yes"),
        ("no", "no", "no"),
        ("on", "on", "on"),
        ("y", "y", "y"),
        ("22:22", "22:22", "22:22"),
        ("012", 10, "10"),
        ("0o12", 10, "10"),
        ("08", 8.0, "8"),
        ("0x1F", 31, "31"),
        ("0b101", 5, "5"),
        ("-7", -7, "-7"),
        ("1_000", 1000, "1000"),
        ("1e3", 1000.0, "1000"),
        ("24.10", 24.1, "24.1"),
        (".5", 0.5, "0.5"),
        ("1e21", 1e21, "1e+21"),
        ("1e6", 1e6, "1e+06"),
        ("1234567.5", 1234567.5, "1.2345675e+06"),
        ("999999.5", 999999.5, "999999.5"),
        ("1e-7", 1e-7, "1e-07"),
        ("-0.0", -0.0, "-0"),
        ("12345678901234567890", 12345678901234567890, "12345678901234567890"),
        ("123456789012345678901", 123456789012345678901.0, "1.2345678901234568e+20"),
        ("1e999", "1e999", "1e999"),
        ("1.2.3", "1.2.3", "1.2.3"),
        ("2024-01-01", "2024-01-01", "2024-01-01"),
        ("true", True, "true"),
        ("False", False, "false"),
        ("~", None, ""),
        ("null", None, ""),
        (".inf", float("inf"), "+Inf"),
        (".nan", None, "NaN"),
        ("-", "-", "-"),
        ("", None, ""),
    ],
)
def test_plain_scalars_resolve_as_compose_does(text: str, value: object, written: str) -> None:
    found = resolve(text)
    if text != ".nan":
        assert found == value
        assert type(found) is type(value)
    assert text_of(found) == written


@given(st.text(st.sampled_from("0123456789_.+-eExXoObBaf~ ninfNaN")))
def test_no_plain_scalar_is_beyond_resolving(text: str) -> None:
    assert isinstance(text_of(resolve(text)), str)


def test_quotes_tags_and_styles_keep_their_meaning() -> None:
    node = _read("a: '012'\nb: \"yes\"\nc: !!str 012\nd: !!int '12'\ne: !!float 1\nf: |\n  x\n  y\ng: ! 1\n")
    assert _plain(node) == {"a": "012", "b": "yes", "c": "012", "d": 12, "e": 1.0, "f": "x\ny\n", "g": "1"}


def test_a_node_knows_where_its_key_and_its_value_stand() -> None:
    web = _read("services:\n  web:   \n    image: x\n").entries["services"].entries["web"]
    assert (str(web.place), str(web.where)) == ("a.yaml:2:3", "a.yaml:3:5")


def test_aliases_and_merge_keys_work_as_in_compose() -> None:
    node = _read("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: *a, x: 0}\nd: {<<: [*b, *a]}\ne: *a\n")
    assert _plain(node.entries["c"]) == {"x": 0, "y": 2}
    assert _plain(node.entries["d"]) == {"y": 3, "z": 4, "x": 1}
    assert _plain(node.entries["e"]) == {"x": 1, "y": 2}


def test_duplicate_keys_are_told_with_the_first() -> None:
    assert _problems("a: 1\nb: {c: 1,\n  c: 2}\na: 2\n") == [
        "a.yaml:3:3: duplicate key `c` (the first is at line 2)",
        "a.yaml:4:1: duplicate key `a` (the first is at line 1)",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a.yaml:1:1: the file is empty (an empty file never means: remove everything)"),
        ("# nothing\n", "a.yaml:1:1: the file is empty (an empty file never means: remove everything)"),
        ("---\n...\n", "a.yaml:1:1: the file is empty (an empty file never means: remove everything)"),
        (b"\xef\xbb\xbfa: 1", "a.yaml:1:1: the file begins with a byte-order mark"),
        ("a: 1".encode("utf-16"), "a.yaml:1:1: the file begins with a byte-order mark"),
        (b"a: 1\nb: x\xff", "a.yaml:2:5: not UTF-8 text (save it as UTF-8)"),
        (b"a: 1\n\x7fELF\x00", "a.yaml:2:1: not text: character U+007F"),
        (b"x" * (MAX_BYTES + 1), "a.yaml:1: the file is too large: 1,000,001 bytes, more than 1,000,000"),
        ("a:\n\tb: 1\n", "a.yaml:2:1: not valid YAML: while scanning for the next token, found character"),
        ("a: [1\nb: 2\n", "a.yaml:2:2: not valid YAML: while parsing a flow sequence, did not find expected"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1: a second document in one file (remove the `---`)"),
        ("a: *x\n", "a.yaml:1:4: no anchor `&x` before this alias"),
        ("a: &a [*a]\n", "a.yaml:1:8: alias `*a` contains itself"),
        ("a: !unsafe x\n", "a.yaml:1:4: unknown tag `!unsafe` (Compose has `!reset` and `!override`)"),
        ("a: !!int x\n", "a.yaml:1:4: `x` is no int"),
        ("1: a\n", "a.yaml:1:1: a key must be a string, found a number (put it in quotes)"),
        ("[a]: b\n", "a.yaml:1:1: a key must be a string, found a list (put it in quotes)"),
        ("a: {<<: x}\n", "a.yaml:1:5: `<<` needs a mapping or a list of mappings, found a string"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error_with_its_place(text: str | bytes, problem: str) -> None:
    assert [found[: len(problem)] for found in _problems(text)] == [problem]


def test_a_tab_is_told_to_be_one() -> None:
    assert _problems("a:\n\tb: 1\n")[0].endswith("(indent with spaces, not with tabs)")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "a:\n"])
def test_deep_nesting_is_refused(opening: str) -> None:
    text = "".join(" " * n + "a:\n" for n in range(200)) if opening == "a:\n" else opening * 100_000
    (problem,) = _problems(text)
    assert "nested deeper than 64 levels" in problem


def test_depth_is_counted_with_aliases_expanded() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100))]
    (problem,) = _problems("\n".join(lines))
    assert problem.endswith("nested deeper than 64 levels, aliases expanded")


def test_an_alias_bomb_is_refused_before_it_expands() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (problem,) = _problems("\n".join(lines))
    assert problem.endswith("more than 100,000 nodes, aliases expanded")


def test_merge_keys_count_as_expansion() -> None:
    lines = ["a: &a {" + ", ".join(f"k{n}: 1" for n in range(500)) + "}"]
    lines += [f"b{n}: {{<<: *a}}" for n in range(200)]
    (problem,) = _problems("\n".join(lines))
    assert problem.endswith("more than 100,000 nodes, aliases expanded")


def test_many_aliases_are_refused() -> None:
    (problem,) = _problems("a: &a 1\nb: [" + ", ".join(["*a"] * 1001) + "]\n")
    assert problem.endswith("more than 1,000 aliases")


@given(st.text(alphabet=st.sampled_from("abc:-[]{}&*!|>'\"#\n\t ,?<$%@0~\\"), max_size=60))
def test_no_text_takes_the_reader_down(text: str) -> None:
    found = Problems()
    node = read(text.encode(), "a.yaml", found)
    assert node is not None or found


@given(st.binary(max_size=60))
def test_no_bytes_take_the_reader_down(content: bytes) -> None:
    found = Problems()
    node = read(content, "a.yaml", found)
    assert node is not None or found


def test_limits_of_a_file_that_may_be_something_else() -> None:
    found = Problems()
    check_limits(b"[group]\nhost key=value\n", "hosts.ini", found)
    assert not found
    check_limits(b"[" * 1000, "hosts.yml", found)
    assert found
