"""Units of measurement, in one closed table."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

_TABLE = """
length    mm 1/1000 millimeter millimetre | cm 1/100 centimeter centimetre | dm 1/10 decimeter
length    m 1 meter metre | km 1000 kilometer kilometre | µm 1/1000000 um micrometer micron
length    nm 1/1000000000 nanometer | in 127/5000 inch inches | ft 381/1250 foot feet
length    yd 1143/1250 yard | mi 201168/125 mile | ly 9460730472580800 lightyear
mass      mg 1/1000 milligram | g 1 gram gramme | kg 1000 kilogram kilo | t 1000000 tonne
mass      lb 45359237/100000 lbs pound | oz 45359237/1600000 ounce
time      ms 1/1000 millisecond | s 1 sec second | min 60 mins minute | h 3600 hr hrs hour
time      day 86400 | week 604800 | µs 1/1000000 us microsecond | ns 1/1000000000 nanosecond
month     month 1 | year 12 yr yrs | decade 120 | century 1200 centuries
volume    ml 1/1000 mL milliliter millilitre | cl 1/100 cL | dl 1/10 dL | l 1 L liter litre
volume    gallon 1 gal | cup 1/16 | pint 1/8 | quart 1/4
money     dollar 1 usd $ buck | cent 1/100 ¢
euro      euro 1 eur €
pound     pound-sterling 1 gbp £
rupee     rupee 1 inr ₹
yuan      yuan 1 cny rmb 元 块
yen       yen 1 jpy ¥ 円
angle     ° 1 deg degree
radian    rad 1 radian
celsius   °C 1 celsius
fahrenheit °F 1 fahrenheit
kelvin    K 1 kelvin
percent   % 1 percent pct per-cent
point     percentage-point 1 pp
force     N 1 newton | kN 1000 kilonewton
energy    J 1 joule | kJ 1000 kilojoule | MJ 1000000 megajoule | cal 523/125 calorie
energy    kcal 4184 kilocalorie | Wh 3600 | kWh 3600000 kilowatt-hour
electronvolt eV 1 electronvolt | keV 1000 | MeV 1000000 | GeV 1000000000 | TeV 1000000000000
power     W 1 watt | kW 1000 kilowatt | MW 1000000 megawatt | mW 1/1000 milliwatt
pressure  Pa 1 pascal | kPa 1000 | hPa 100 | MPa 1000000 | bar 100000 | atm 101325 atmosphere
voltage   V 1 volt | mV 1/1000 millivolt | kV 1000 kilovolt
current   A 1 ampere amp | mA 1/1000 milliampere
resistance Ω 1 ohm | kΩ 1000 kilohm
charge    C 1 coulomb | µC 1/1000000 uC
field     T 1 tesla
frequency Hz 1 hertz | kHz 1000 kilohertz | MHz 1000000 megahertz | GHz 1000000000 gigahertz
amount    mol 1 mole | mmol 1/1000
data      bit 1 | byte 8 B | kB 8000 KB | MB 8000000 | GB 8000000000 | TB 8000000000000
speed     mph 1397/3125 | kmh 5/18 kph km/h
unit      unit 1
time-of   times 1 time fold
"""
"""A line has a dimension and its units. A unit has a name, its size in base units, other names."""


class Unit(NamedTuple):
    """A unit: its dimension, and the factor that converts a value to the dimension's base unit."""

    scale: Fraction
    dimension: str


_UNITS = {
    spelling: Unit(Fraction(scale), dimension)
    for dimension, _, entries in (line.partition(" ") for line in _TABLE.strip().splitlines())
    for name, scale, *others in (entry.split() for entry in entries.split("|"))
    for word in (name, *others)
    for spelling in ((word, f"{word}s") if len(word) > 3 and word.isalpha() else (word,))
}
_UNITS |= {f"{name}s": _UNITS[name] for name in ("day", "cup", "bit")}
_SHORT = frozenset(name for name in _UNITS if len(name) == 1)
_CASELESS = {name.lower(): unit for name, unit in reversed(_UNITS.items()) if len(name) > 3}
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_TEMPERATURE = {f"angle*{scale}": scale for scale in ("celsius", "fahrenheit", "kelvin")}
_TOKEN = re.compile(
    r"\s*(?:(?P<times>[*·.\-]|(?<=\w) (?=\w))|(?P<per>/|\bper\b|\bpro\b)"
    r"|(?P<name>°\s?[CF]?(?![A-Za-z])|[^\W\d_]+(?:-[a-z]+)?|[%$€£₹¥¢Ω])"
    r"(?:\s?\^?\s?[{(]?(?P<power>-?[1-9])[)}]?)?)"
)


def unit(text: str, *, spaced: bool = True) -> Unit | None:
    """The unit that a whole text names: ``km/h``, ``m/s^2``, ``J T^-1``, ``square feet``; None for
    any other text. If no space separates it from its number, one letter (5m) is a variable."""
    text = text.strip().rstrip(".")
    if not text or text[0] in "/*-." or (not spaced and text in _SHORT and text.isalpha()):
        return None
    scale, powers, sign, raised, at = Fraction(1), Counter[str](), 1, 1, 0
    last: tuple[Unit, int] | None = None
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or token.end() == at:
            return None
        at = token.end()
        if token["per"]:
            sign = -1
        elif token["name"]:
            word = token["name"].replace("° ", "°")
            known = _UNITS.get(word) or _CASELESS.get(word.lower())
            if word.lower() in _POWERS and not token["power"]:
                raised = _POWERS[word.lower()]
                if last is None or not word.lower().endswith("ed"):
                    continue
                known, power = last[0], last[1] * (raised - 1)  # "cm squared": once is counted
            elif known is None:
                return None
            else:
                power = sign * raised * int(token["power"] or 1)
            last = known, power
            scale *= known.scale**power
            powers[known.dimension] += power
            sign, raised = (sign if sign < 0 and token["power"] else 1), 1
    parts = ((name, power) for name, power in sorted(powers.items()) if power)
    named = "*".join(name if power == 1 else f"{name}^{power}" for name, power in parts)
    return Unit(scale, _TEMPERATURE.get(named, named)) if named else None
