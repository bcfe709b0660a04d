"""Times, dates, small numbers in words, and yes or no, each in the one form all its spellings share."""

from __future__ import annotations

import re

_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_VALUE = {word: str(value) for value, word in enumerate(_NUMBERS.split())} | {"true": "yes", "false": "no"}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec|january|february|march|april|june|july|august|september|"
    r"october|november|december)\.?"
)
_DAY, _YEAR = r"([0-9]{1,2})(?:st|nd|rd|th)?", r"([0-9]{4})"

_TIME = re.compile(r"([0-9]{1,2})(?::([0-5][0-9]))?\s?([ap])\.?\s?m\.?")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-5][0-9])")
_DATES = (
    re.compile(rf"(?:[a-z]+day,? )?{_MONTH} {_DAY},? {_YEAR}"),
    re.compile(rf"(?:[a-z]+day,? )?(?:the )?{_DAY}(?: of)? {_MONTH},? {_YEAR}"),
)
_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")


def is_date(text: str) -> bool:
    """Whether this is a date in ISO form, and no subtraction."""
    return _ISO.fullmatch(text) is not None


def plain(text: str) -> str:
    """``3:30 p.m.`` as ``15:30``, ``March 5th, 2021`` as ``2021-03-05``, ``seven`` as ``7``, ``true`` as ``yes``.

    ``text`` is in lower case; any other is returned as it is, also a day and month in figures (5/3/2021), whose
    meaning depends on the country, and a number word with others after it: ``Seven Samurai`` are not 7.
    """
    if time := _TIME.fullmatch(text) or _CLOCK.fullmatch(text):
        return _on_24_hours(text, int(time[1]), time[2] or "00", time[3] if time.re is _TIME else "")
    if (date := _DATES[0].fullmatch(text)) and 1 <= int(date[2]) <= 31:
        return _iso(date[3], date[1], date[2])
    if (date := _DATES[1].fullmatch(text)) and 1 <= int(date[1]) <= 31:
        return _iso(date[3], date[2], date[1])
    return _VALUE.get(text, text)


def _on_24_hours(text: str, hour: int, minute: str, half: str) -> str:
    if hour > (12 if half else 23) or (half and hour == 0):
        return text
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return f"{hour:02d}:{minute}"


def _iso(year: str, month: str, day: str) -> str:
    return f"{year}-{_MONTHS.index(month[:3]) + 1:02d}-{int(day):02d}"
