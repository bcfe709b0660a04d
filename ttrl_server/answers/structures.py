r"""Keys of answers that have parts: lists, tuples, intervals, matrices, relations, equations.

Every method takes a text in the notation of ``spelling.clean`` and returns its key, or None for
another kind of text. Methods are tried in order and call each other for parts.
"""

from __future__ import annotations

import re

from ttrl_server.answers import values
from ttrl_server.answers.asked import Asked
from ttrl_server.answers.quantities import Key, alone, in_words, measured, money, spelt, valued
from ttrl_server.answers.spelling import closes_at_the_end, split, unquoted

LONGEST = 1_000
"""Most characters of an answer with parts; a longer answer is compared as plain text."""
_DEEPEST = 6
_MOST_PARTS = 64

_OUTER = ' \t\n,;:`"“”'
_FULL_STOP = re.compile(r"(?:(?<!\.\.)\.|(?<![\da-z)}])!)\Z")


def tidy(text: str) -> str:
    """The text without marks and brackets around the whole text that have no meaning."""
    text = text.strip(_OUTER)
    while len(text) > 1 and _FULL_STOP.search(text):
        text = text[:-1].rstrip(_OUTER)
    if text.startswith("‹") and text.endswith("›") and text.count("‹") == 1:
        text = text[1:-1].strip()
    if text.startswith("{") and closes_at_the_end(text) and "," not in text:
        return tidy(text[1:-1])
    return text


_GROUPED = re.compile(r"-?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL_COMMA = re.compile(r"(-?\d{1,3}(?:\.\d{3})*|-?\d+),(\d+)")
_HEAD = re.compile(r"[$€£¥₹]?(-?\d[\d.,]*(?<![.,]))")
_CURRENCY = re.compile(r"(-?)\s?([$€£¥₹])\s?(-?[\d.].*)")
_LEADING_PLACE = re.compile(r"\d{1,3}\.{1,3}\s?(?=[A-Za-z])")
_MODULO = re.compile(r"(.+?)\s?\(?\s?mod\s?([\w{}]+)\s?\)?")
_PLUS_MINUS = re.compile(r"\s?\\pm\s?")

_OR = ("‹ or ›", "‹or›", " or ", "‹or ", " or›", " oder ", " ou ", " o ", "或")
_AND = ("‹and›", " and ", "‹and ", " and›", " & ", " und ", " et ", "和")
_EITHER = (" and/or ", "‹and/or›")
_WORDS = re.compile(r"[^\W\d_][^\W\d_ .'-]*(?:[ '-][^\W\d_][^\W\d_.'-]*)*\.?")

_RELATION = re.compile(r"<=|>=|!=|<|>")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}
_RAYS = {"<": "(-∞,a)", ">": "(a,∞)", "<=": "(-∞,a]", ">=": "[a,∞)", "!=": "(-∞,a)∪(a,∞)"}
_INTERVAL = re.compile(r"([\[(])([^,]+),([^,]+)([\])])")
_ALL_REALS = re.compile(r"\\mathbb\s?\{?R\}?|(?:all )?reals?(?: numbers?)?")
_CONDITION = re.compile(r"\s?\\?[a-zA-Z]\s?(?:\\in\s?\\mathbb\s?\{?\w\}?\s?)?[|:]\s?(.+)")

_VARIABLE = re.compile(
    r"(?!\\(?:infty|pi)\s?\Z|[ei]\Z|pi\Z)\\?[A-Za-z]+(?:_\{?\w+\}?)?'?(?:\([a-z]\))?"
)
_INDEXED = r"(?:\\?[A-Za-z]{1,12}|‹[^‹›]{1,40}›)(?:_\{?‹?[\w ,]+›?\}?)?'{0,3}"
_NAME = re.compile(
    r"m?\s?\\(?:angle|triangle|overline|overrightarrow|widehat|hat|vec|bar|Delta|mathbf|mathbb|arc)"
    r"\s?\{?[A-Za-z ]{1,6}\}?"  # an angle, a length
    # x_1, f'(x), P(A)
    rf"|{_INDEXED}(?:\^\{{?(?:-1|[A-Za-z]|\(\w\))\}}?)?(?:\s?\([^()=]{{1,30}}\))?"
    r"|\|\s?(?:\\vec)?[A-Za-z{}]{1,8}\s?\|"  # |AB|
    # NO/BO, dy/dx
    r"|\\frac\s?\{\s?[A-Za-z]{1,4}\s?\}\s?\{\s?[A-Za-z]{1,4}\s?\}|[A-Za-z]{1,3}/[A-Za-z]{1,3}"
    r"|\([a-zA-Z](?:_\d)?(?:,\s?[a-zA-Z](?:_\d)?){1,4}\)"  # (x, y)
    r"|[A-Z][a-z]?_?\{?\d?\}?(?:\s?:\s?[A-Z]_?\{?\d?\}?)+"  # V_1:V_2
    r"|\\(?:sin|cos|tan|log|ln)\s?\(?(?:\\?[A-Za-z]+|\d+°?)\s?\)?"
    r"|\\(?:lim|int|sum|prod)(?![a-z])[^=]{1,80}"
    r"|[A-Za-z][A-Za-z ]{1,60}"  # the total cost
)
"""Forms before ``=`` that only name the value after it."""
_SAYS = re.compile(r"\s*(?:=|\\equiv|\\in)\s*(?=\S)")
_GOES_ON = r"[-+*/^=<>\d]|\\(?:leq?|geq?|neq?|times|cdot)(?![a-z])"
_NAMING = ("=", r"\equiv", r"\in ", r"\in⦃", r"\in[", r"\in(")
_APPROXIMATELY = re.compile(r"\\approx|\\simeq|\\sim(?![a-z])")
_POINT = re.compile(r"[A-Z]'?\s?(\(.+,.+\))")


class Structure:
    """Makes the keys of answers to one question."""

    def __init__(self, asked: Asked) -> None:
        self.asked, self._depth = asked, 0

    def key(self, text: str) -> Key:
        """The key of a text or of a part of a text."""
        text = tidy(text)
        if self._depth > _DEEPEST or len(text) > LONGEST:
            return spelt(text, self.asked)
        self._depth += 1
        try:
            return (
                in_words(text, self.asked)
                or self._rewritten(text)
                or self._listed(text)
                or self._ratio(text)
                or self._relation(text)
                or self._named(text)
                or self._bracketed(text)
                or measured(text, self.asked)
                or valued(text, self.asked)
                or spelt(text, self.asked)
            )
        finally:
            self._depth -= 1

    def _rewritten(self, text: str) -> Key | None:
        """Grouped digits, a decimal comma, a currency, a modulus, ±, or the number of a move."""
        head = _HEAD.match(text)
        if head and not self.asked.listed:
            before, after = text[: head.start(1)], text[head.end() :]
            if _GROUPED.fullmatch(head[1]):
                return self.key(before + head[1].replace(",", "") + after)
            if self.asked.decimal_comma and (comma := _DECIMAL_COMMA.fullmatch(head[1])):
                return self.key(f"{comma[1].replace('.', '')}.{comma[2]}{after}")
        if sign := _CURRENCY.fullmatch(text):
            return money(self.key(sign[1] + sign[3]), sign[2], self.asked)
        if modulo := _MODULO.fullmatch(text):
            value = self.key(modulo[1]).bare
            return Key(f"{value} mod {modulo[2]}", value)
        if text.count(r"\pm") == 1 and "," not in text:
            if "=" in text or "<" in text:
                return None
            both = [_PLUS_MINUS.sub(f" {sign} ", text).strip().removeprefix("+") for sign in "+-"]
            return _collected([self.key(one) for one in both], ordered=False)
        place = _LEADING_PLACE.match(text)
        return self.key(text[place.end() :]) if place else None

    # ------------------------------------------------------------ several values

    def _listed(self, text: str) -> Key | None:
        """Several values: separated by commas, or joined by "and" or "or"."""
        # A number with grouped digits makes ", " the comma between values.
        grouped = re.search(r",\s", text) and any(map(_GROUPED.fullmatch, split(text, ", ")))
        comma = ", " if grouped and not self.asked.listed else ","
        parts = [part for part in split(text, *_EITHER, *_OR, *_AND, comma, ";") if part]
        if not 1 < len(parts) <= _MOST_PARTS:
            return None
        wordy = all(map(_WORDS.fullmatch, map(unquoted, parts)))
        if wordy and max(len(part.split()) for part in parts) > 6:
            return None
        named = {
            re.sub(r"[\s(){}]", "", name): said
            for name, said in map(self._name, parts)
            if name and not re.search(r"[<>=]", said)
        }
        if len(named) == len(parts):
            # x = 1, y = 2 is the tuple of values in name order; x_1 and x_2 are two values of x.
            found = [self.key(named[name]) for name in sorted(named)]
            if len({re.sub(r"_.*", "", part) for part in parts}) == 1:
                return _collected(found, ordered=self.asked.ordered)
            return _tuple("(", found, ")")
        found = [self.key(part) for part in parts]
        if all(_RELATION.search(part) for part in parts) and all("∞" in key.full for key in found):
            return _union(found) if len(split(text, *_OR)) > 1 else _both(found)
        joined = len(split(text, *_EITHER, *_OR, *_AND)) > 1
        kept = wordy and not joined and not self.asked.known
        return _collected(found, ordered=self.asked.ordered or kept)

    def _ratio(self, text: str) -> Key | None:
        """``11:21``, ``11 to 21`` in lowest terms, if the question asks for a ratio."""
        parts = split(text.rpartition("=")[2], ":", "‹to›", " to ") if self.asked.ratio else []
        sizes = [size for part in parts if (size := values.number(part)) is not None]
        if len(parts) < 2 or len(sizes) < len(parts) or not sizes[0] or not sizes[-1]:
            return None
        if len(sizes) == 2:
            return alone(str(sizes[0] / sizes[1]))
        return alone(":".join(str(size / sizes[0]) for size in sizes))

    # ------------------------------------------------------------ relations

    def _relation(self, text: str) -> Key | None:
        """``x > 5`` as an interval; two variables as a relation with the smaller side first."""
        sides = [side.strip() for side in _RELATION.split(text)]
        signs = _RELATION.findall(text)
        bracketed = text[:1] in ("⦃", "{", "(") and closes_at_the_end(text)
        if not signs or not all(sides) or "=" in "".join(sides) or bracketed:
            return None
        names = [_VARIABLE.fullmatch(side) is not None for side in sides]
        if len(signs) > 1:
            if len(signs) > 2 or not names[1] or not signs[0][0] == signs[1][0] != "!":
                return alone("".join(text.split()))
            if signs[0][0] == ">":
                sides, signs = sides[::-1], signs[::-1]
            low, high = self.key(sides[0]).bare, self.key(sides[2]).bare
            opens, closes = "[" if "=" in signs[0] else "(", "]" if "=" in signs[1] else ")"
            return alone(f"{opens}{low},{high}{closes}")
        sign = signs[0]
        if names[1] and not names[0]:
            sides.reverse()
            sign = _FLIPPED[sign]
        elif not names[0] or names[1]:
            keys = [self.key(side).full for side in sides]
            keys = sorted(keys) if sign == "!=" else keys[::-1] if sign[0] == ">" else keys
            return alone(f" {sign.replace('>', '<')} ".join(keys))
        value = self.key(sides[1]).bare
        return alone(_RAYS[sign].replace("a", value))

    # ------------------------------------------------------------ names and equations

    def _named(self, text: str) -> Key | None:
        """The value that an answer gives to a name; a chain of equal sides; an equation."""
        if not re.search(r"=|\\equiv|\\approx|\\in(?![a-z])", text):
            point = _POINT.fullmatch(text)
            return self.key(point[1]) if point and closes_at_the_end(point[1]) else None
        exact, *rounded = (part.strip() for part in _APPROXIMATELY.split(text, maxsplit=1))
        text = rounded[0] if rounded and (not exact or _NAME.fullmatch(exact)) else exact
        if self.asked.equation and (equation := self._equation(text)):
            return equation
        name, rest = self._name(text)
        if not name:
            return self._chain(text) if "=" in text else self.key(text)
        value = self.key(rest)
        # If the question has both x and y, the key keeps the name beside the value.
        another = self._depth == 1 and len(self.asked.names) > 1 and name in self.asked.names
        return Key(f"{value.full} ({name})", value.bare) if another else value

    def _name(self, text: str) -> tuple[str, str]:
        """``x`` and ``5`` for ``x = 5``; "" and the text if it does not begin with a name or with
        the expression that is asked for."""
        left = split(text, *_NAMING)[0]
        at = len(text) - len(text.lstrip()) + len(left)
        says = _SAYS.match(text, at)
        if not left or len(left) > 120 or not says or re.search(r"[<>]", left):
            return "", text
        compact, question = left.replace(" ", ""), self.asked.text
        # alone, not as part of a larger expression
        wanted = rf"(?<![-+*/^=(\d]){re.escape(compact)}(?!{_GOES_ON})"
        formula = len(compact) > 2 and re.search("[A-Za-z]", compact) and compact in question
        named = _NAME.fullmatch(left) or (formula and re.search(wanted, question))
        return (left, text[says.end() :]) if named else ("", text)

    def _chain(self, text: str) -> Key | None:
        """The key of sides joined by ``=``: equal figures' value, an equation, else all sides."""
        sides = split(text, "=")
        if len(sides) < 2 or not all(sides) or _RELATION.search(text):
            return None
        found = [self.key(side) for side in sides]
        computed = _is_figures(sides[-1]) and not _is_figures(sides[0])
        if computed and values.expression(sides[0]) is None:
            return found[-1]  # a sum, an integral or a determinant, and its value
        if all(map(_is_figures, sides)):
            exact, last = values.approximate(sides[0]), values.approximate(sides[-1])
            if len({key.bare for key in found}) == 1 or exact is None or last is None:
                return found[-1]
            # If the last side is the first one rounded, the exact first side is the answer.
            rounded = abs(exact - last) <= 0.006 * max(abs(exact), 1e-9)
            return found[0] if rounded else found[-1]
        if equation := self._equation(text):
            return equation
        settled = len(sides) > 2 and len({key.full for key in found[1:]}) == 1
        return found[-1] if settled else alone(" = ".join(key.full for key in found))

    def _equation(self, text: str) -> Key | None:
        """An equation of variables, up to a factor; of figures only if an equation is asked for."""
        sides = split(text, "=")
        if len(sides) != 2 or not all(sides):
            return None
        left, right = re.sub(r"^[fgh]\s?\(\s?x\s?\)$", "y", sides[0]), sides[1]
        if found := values.equation(left, right):
            return alone(found)
        both = map(values.expression, (left, right))
        if self.asked.equation and all(value and ":" not in value for value in both):
            return alone("eq " + "".join(f"{left}={right}".split()))
        return None

    # ------------------------------------------------------------ brackets

    def _bracketed(self, text: str) -> Key | None:
        """Intervals and their unions, matrices, sets, lists and tuples."""
        if len(parts := split(text, r"\cup")) > 1:
            return _union([self.key(part) for part in parts])
        if _ALL_REALS.fullmatch(text):
            return alone("(-∞,∞)")
        if infinite := re.fullmatch(r"([+-]?)\s?\\infty\s?", text):
            return alone("-∞" if infinite[1] == "-" else "∞")
        if text.lstrip("([{ ").startswith("⟦"):
            return self._matrix(text.strip("()[]{} "))
        if not text or text[0] not in "([⦃{]" or not (closes_at_the_end(text) or text[0] == "]"):
            return None
        inner, parts = text[1:-1], split(text[1:-1], ",", ";")
        is_set = text[0] == "⦃" or (text[0] == "{" and len(parts) > 1)
        condition = _CONDITION.match(inner) if is_set else None
        if condition and _RELATION.search(condition[1]):
            return self.key(condition[1])
        parts = [part for part in parts if part or not is_set]
        if len(parts) < 2:
            return None if text[0] == "]" else self.key(inner) if parts else alone("no solution")
        rows = [part for part in parts if part.startswith("[") and closes_at_the_end(part)]
        if text[0] == "[" and len(rows) == len(parts):
            cells = ["".join(f"⟨{cell}⟩" for cell in split(row[1:-1], ",")) for row in rows]
            return self._matrix(f"⟦{';'.join(cells)}⟧")
        found = [self.key(part) for part in parts]
        if is_set or (self.asked.listed and (text[0] == "[" or len(parts) > 2)):
            return _collected(found, ordered=self.asked.ordered)
        opens, closes = text[0].replace("]", "("), text[-1].replace("[", ")")
        return _tuple(opens, found, closes)

    def _matrix(self, text: str) -> Key | None:
        """A matrix as rows of cells; bars around a matrix make it a determinant."""
        if not text.endswith("⟧"):
            return None
        rows = [
            ",".join(self.key(cell).full for cell in re.findall(r"⟨([^⟨⟩]*)⟩", row))
            for row in text[1:-1].removeprefix("|").split(";")
        ]
        return alone(f"{'det' if text.startswith('⟦|') else 'mat'}[{';'.join(rows)}]")


def _tuple(opens: str, found: list[Key], closes: str) -> Key:
    return Key(*(opens + ",".join(key[i] for key in found) + closes for i in (0, 1)))


def _collected(found: list[Key], *, ordered: bool) -> Key:
    full, bare = [key.full for key in found], [key.bare for key in found]
    each = (full, bare) if ordered else (sorted(full), sorted(bare))
    return Key(*("{" + ", ".join(parts) + "}" for parts in each))


def _union(found: list[Key]) -> Key:
    return alone("∪".join(sorted(key.full for key in found)))


def _both(found: list[Key]) -> Key:
    """The interval between, for ``x > 1 and x < 5``; else, or if nothing is between, the union."""
    halves = [_INTERVAL.fullmatch(key.full) for key in found]
    below = next((half for half in halves if half and half[2] != "-∞" and half[3] == "∞"), None)
    above = next((half for half in halves if half and half[2] == "-∞" and half[3] != "∞"), None)
    if len(found) != 2 or not below or not above:
        return _union(found)
    low, high = values.number(below[2]), values.number(above[3])
    if low is not None and high is not None and low >= high:
        return _union(found)
    return alone(f"{below[1]}{below[2]},{above[3]}{above[4]}")


def _is_figures(side: str) -> bool:
    """Whether a side of an equation has no variables; the side may have a unit."""
    value = values.expression(side)
    if value is not None:
        return ":" not in value
    return re.match(r"-?\$?\d", side) is not None and not re.search(r"[A-Za-z]", unquoted(side))
