"""Interpolation by the Compose rules, and `.env` files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trees import problems, service

from gitops.desired import dotenv
from gitops.desired.interpolate import substitute
from gitops.desired.problems import Problems
from gitops.errors import GitopsError, InvalidInputError, PermanentError

VARIABLES = {"A": "a", "EMPTY": "", "B_1": "b", "BIG": "x" * 100_000}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A-${A}.$B_1", "a-a.b"),
        ("$$A $${A} $$$A", "$A ${A} $a"),
        ("${NO:-d}${NO-d}${EMPTY:-d}[${EMPTY-d}]", "ddd[]"),
        ("${A:-d}${A-d}", "aa"),
        ("[${NO:+r}${NO+r}${EMPTY:+r}]${EMPTY+r}${A:+r}", "[]rr"),
        ("${A:?m}${EMPTY?m}", "a"),
        ("${NO:-${MISSING:-${A}}}", "a"),
        ("${NO:-x${A}y}z", "xayz"),
        ("${NO:-$$}", "$"),
        ("${NO:-a:-b?c}", "a:-b?c"),
        ("${NO:-{}}", "{}"),
        ("${A:-${MISSING}}", "a"),
        ("${NO:-}", ""),
        ("no variable", "no variable"),
        ("${NO-two\nlines}", "two\nlines"),
    ],
)
def test_expressions_have_the_meaning_of_compose(text: str, expected: str) -> None:
    assert substitute(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$NO", "variable NO is not set"),
        ("${NO}", "variable NO is not set"),
        ("${NO:?set me, $A}", "required variable NO is missing a value: set me, a"),
        ("${EMPTY:?}", "required variable EMPTY is missing a value"),
        ("${NO?x}", "required variable NO is missing a value: x"),
        ("${A", "`${` without its `}`"),
        ("${}", "`${}` is no variable"),
        ("${A B}", "`${A B}` is no variable"),
        ("${A:x}", "`${A:x}` is no variable"),
        ("${X:-" * 20 + "}" * 20, "defaults nested deeper than 16"),
        ("$BIG" * 2, "longer than 131,072 characters once interpolated"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(PermanentError) as refused:
        substitute(text, VARIABLES)
    assert refused.value.message == message


@given(st.text(st.sampled_from("$aA{}é\n:-")))
def test_doubled_dollars_give_back_any_text(text: str) -> None:
    assert substitute(text.replace("$", "$$"), {}) == text


@given(st.text(alphabet=st.sampled_from("${}:-?+ABx\n "), max_size=40))
def test_nothing_but_our_errors_is_raised(text: str) -> None:
    try:
        substitute(text, VARIABLES)
    except GitopsError as error:
        assert error.message  # noqa: PT017 - most texts are refused, all may be


def test_values_come_from_dotenv_and_never_from_the_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_CONTROLLER", "leaked")
    monkeypatch.setenv("TAG", "controller")
    assert service("hostname: h${TAG}", dotenv="TAG=1\n").container.hostname == "h1"
    (problem,) = problems("services: {web: {image: 'x:${FROM_CONTROLLER}'}}")
    hint = "set it in .env, or give a default: `${FROM_CONTROLLER:-}`"
    assert problem == f"compose.yaml:1:25: variable FROM_CONTROLLER is not set ({hint})"


def test_every_unset_variable_is_told_and_has_no_further_consequence() -> None:
    found = problems("services:\n  web:\n    image: ${A}\n    ports: ['${B:?port of the edge}:80', '$C']\n")
    assert [problem.split(" (")[0] for problem in found] == [
        "compose.yaml:3:12: variable A is not set",
        "compose.yaml:4:13: required variable B is missing a value: port of the edge",
        "compose.yaml:4:42: variable C is not set",
    ]


def test_the_name_of_the_application_is_a_variable_as_in_compose() -> None:
    assert service("hostname: $COMPOSE_PROJECT_NAME").container.hostname == "shop"


def test_numbers_and_booleans_may_come_from_variables() -> None:
    web = service("init: ${INIT}\ndeploy: {replicas: $N}", dotenv="INIT=yes\nN=3\n")
    assert (web.container.init, web.replicas) == (True, 3)


def _parse(text: str, variables: dict[str, str] | None = None) -> dict[str, str]:
    found = Problems()
    parsed = dotenv.parse(text.encode(), ".env", variables or {}, found)
    found.raise_if_any()
    return parsed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB = 2 \n\n# c\n  C=3", {"A": "1", "B": "2", "C": "3"}),
        ("export A=1\n", {"A": "1"}),
        ("A=x # comment\nB=x#y\n", {"A": "x", "B": "x#y"}),
        ("A=\nB=''\nC=# no comment\n", {"A": "", "B": "", "C": "# no comment"}),
        ("A='$X ${Y} \\n' # c\n", {"A": "$X ${Y} \\n"}),
        ("A='it\\'s'\n", {"A": "it's"}),
        ('A="a\\nb\\t\\"q\\" \\$X"\n', {"A": 'a\nb\t"q" $X'}),
        ('A="two\nlines"\nB=1\n', {"A": "two\nlines", "B": "1"}),
        ("A='two\nlines'\n", {"A": "two\nlines"}),
        ('A=1\nB=$A${A}\nC="<$B>"\n', {"A": "1", "B": "11", "C": "<11>"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("A: 1\n", {"A": "1"}),
        ("A=1\r\nB='2'\r\n", {"A": "1", "B": "2"}),
        ("A=a=b=c\n", {"A": "a=b=c"}),
        ("A=${NO:-d e}\n", {"A": "d e"}),
        ("", {}),
    ],
)
def test_dotenv_follows_compose(text: str, expected: dict[str, str]) -> None:
    assert _parse(text) == expected


def test_a_bare_name_takes_its_value_from_outside() -> None:
    assert _parse("A\nB=$A\n", {"A": "1"}) == {"A": "1", "B": "1"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A=1\n\nB", ".env:3: B: has no value"),
        ("A='x\ny\n", ".env:1: A: a quote without its end"),
        ('X=1\nA="x', ".env:2: A: a quote without its end"),
        ("A='x' y\n", ".env:1: A: text after the closing quote"),
        ("a b=1\n", ".env:1: not a `KEY=value` line"),
        ("A=pa$sword\n", ".env:1: A: variable sword is not set"),
        ("ok='1\n2'\nA=${", ".env:3: A: `${` without its `}`"),
    ],
)
def test_what_dotenv_refuses_has_its_line_and_no_value(text: str, problem: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        _parse(text)
    assert str(refused.value.problems[0]).split(" (")[0] == problem


@given(st.dictionaries(st.sampled_from("ABC"), st.text(st.sampled_from("aé\"'\\$#{}= \n\t:"))))
def test_quoting_gives_back_any_value(values: dict[str, str]) -> None:
    escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "$": "\\$"})
    lines = (f'{key}="{value.translate(escapes)}"' for key, value in values.items())
    assert _parse("\n".join(lines)) == values


@given(st.text(alphabet=st.sampled_from("AB='\"\\$#{} \n\r:-"), max_size=40))
def test_no_dotenv_takes_the_reader_down(text: str) -> None:
    dotenv.parse(text.encode(), ".env", {}, Problems())


def test_a_dotenv_that_grows_is_refused() -> None:
    lines = ["A0=" + "x" * 1000, *(f"A{n}=$A{n - 1}$A{n - 1}" for n in range(1, 40))]
    with pytest.raises(InvalidInputError, match="longer than 131,072 characters"):
        _parse("\n".join(lines))
    many = ["BIG=" + "x" * 100_000, *(f"B{n}=$BIG" for n in range(100))]
    with pytest.raises(InvalidInputError, match="more than 4,000,000 characters"):
        _parse("\n".join(many))
