"""YAML's plain scalars as `docker compose config` reads them.

Compose reads YAML with go-yaml v3, which is YAML 1.2 with a few habits of 1.1:
`yes`, `no`, `on`, `off` and `22:22` are strings; `012` is octal, so 10; `1_000`
is 1000; `1e3` is the float 1000. Timestamps stay strings here.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|0[bB]([01]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LONGEST_NUMBER = 400  # characters; what is longer is text, and no float has so many
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # what Go's integers hold; beyond, go-yaml reads a float
_POSITIONAL_FROM, _POSITIONAL_BELOW = -4, 6  # decimal exponents that Go prints without an `e`


def resolve(text: str) -> Scalar:
    """The value of a plain (unquoted, untagged) scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789" or len(text) > _LONGEST_NUMBER:
        return text
    plain = text.replace("_", "")
    if match := _INTEGER.fullmatch(plain):
        sign, hexadecimal, octal, binary, decimal = match.groups()
        digits, base = next(
            (found, radix)
            for found, radix in ((hexadecimal, 16), (octal, 8), (binary, 2), (decimal, 10))
            if found is not None
        )
        number = int(sign + digits, base)
        if _SMALLEST <= number <= _LARGEST:
            return number
    if _FLOAT.fullmatch(plain):
        # Beyond the range of a float Go keeps the text.
        value = float(plain)
        return text if math.isinf(value) else value
    return text


def text_of(value: Scalar) -> str:
    """A scalar as Compose writes it where a string is needed, such as in `environment`."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return _float_text(value)
        case _:
            return str(value)


def _float_text(value: float) -> str:
    """As Go's `%v`: shortest digits, an exponent only for very large and very small numbers."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    shortest = Decimal(repr(value)).normalize()
    if _POSITIONAL_FROM <= shortest.adjusted() < _POSITIONAL_BELOW:
        return f"{shortest:f}"
    mantissa, exponent = f"{shortest:e}".split("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:]:0>2}"
