"""The word lists for reading and comparing answers, each list once."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


def phrases(text: str) -> frozenset[str]:
    """The phrases of a text, between its commas."""
    return frozenset(phrase.strip() for phrase in text.split(","))


def pairs(text: str) -> dict[str, str]:
    """Every second word of a text by the word before it."""
    each = text.split()
    return dict(zip(each[::2], each[1::2], strict=True))


# ---------------------------------------------------------------- mathematics

FUNCTIONS = words(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh asin acos "
    "atan log ln lg exp sqrt"
)
GREEK = words(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi "
    "rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi "
    "Omega ell"
)

# ---------------------------------------------------------------- numbers in words

_TO_NINETEEN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SCALES = """
    dozen 12 hundred 100 thousand 1_000 lakh 100_000 million 1_000_000 crore 10_000_000
    billion 1_000_000_000 bn 1_000_000_000 trillion 1_000_000_000_000
    quadrillion 1_000_000_000_000_000 万 10_000 亿 100_000_000
    millionen 1_000_000 milliarden 1_000_000_000 millions 1_000_000 milliards 1_000_000_000
    millones 1_000_000
"""
_PARTS = """
    half 2 third 3 quarter 4 fourth 4 fifth 5 sixth 6 seventh 7 eighth 8 ninth 9 tenth 10
    eleventh 11 twelfth 12 twentieth 20 hundredth 100 thousandth 1000
"""
SMALL = {word: value for value, word in enumerate(_TO_NINETEEN.split())}
TENS = {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
SCALES = {word: int(value) for word, value in pairs(_SCALES).items()}
PARTS = {word: int(value) for word, value in pairs(_PARTS).items()}

# ---------------------------------------------------------------- answers, and words that are none

YES = words("yes true yeah yep ja oui sí sì si sim да はい 是 是的 对 예 네 correct")
NO = words("no false nope nein non não nao нет いいえ 否 不是 不 아니요 incorrect")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NO_SOLUTION = phrases(
    "no solution, no solutions, no real solution, no real solutions, there is no solution, "
    "there are no solutions, empty set, the empty set, keine lösung, aucune solution, "
    "sin solución, 无解, 없음"
)
PLACEHOLDERS = phrases(
    "your answer, your answer here, your final answer, your final answer here, answer, "
    "answer here, final answer, the answer, the final answer, insert answer here, value, number, "
    "letter, result, your choice, your choice here, your letter, solution, your solution, n/a, "
    "..., …, ?, ??, todo, tbd, placeholder, blank, xxx, [answer], <answer>"
)
REFUSALS = phrases(
    "don't know, i don't know, i do not know, do not know, i'm not sure, i am not sure, not sure, "
    "unsure, none of the above, none of these, none of the options, none of the choices, "
    "i cannot answer, i can't answer, cannot answer, no answer, not given, not available, "
    "unanswerable"
)
"""Texts that must not win a vote, unless a listed choice has the same text."""
REMARKS = words(
    "correct right incorrect wrong clear verified confirmed helpful useful consistent reasonable "
    "valid unique final above below complete given found here there ready"
)
"""Words of remarks *about* the answer: "This answer is correct." contains no answer."""
DIRECTIONS = words(
    "north south east west northeast northwest southeast southwest up down left right upward "
    "upwards downward downwards forward forwards backward backwards clockwise counterclockwise "
    "anticlockwise inward outward"
)
ARTICLES = words("the a an")
SAYS_NOTHING = words(
    "of the in all total altogether left remaining exactly about approximately roughly around a "
    "an such each every there are is was were on to for from with at as by per more needed "
    "required people unit units square 입니다 이다 이에요 예요 です である 个 個 개"
)
"""Words after a number that do not say what is counted."""
CHANGES_VALUE = FUNCTIONS | words(
    "and but not nor or plus minus times divided over choose mod less than squared cubed "
    "factorial half halves third thirds quarter quarters hundredth hundredths root"
)
"""Words after a number that change its value."""

# ---------------------------------------------------------------- words around an answer
# In the languages that models speak.

ANSWER = (
    r"(?:answers?|ans|antwort(?:en)?|l[öo]sung|ergebnis|r[ée]ponses?|r[ée]sultat"
    r"|respuestas?|resultado|resposta|risposta|risultato|odpowied[źz]|wynik|antwoord"
    r"|svar|vastaus|cevap|sonuç"
    r"|ответ|відповідь|odpověď|válasz|đáp\sán|jawaban)"
)
CHOICE = (
    r"(?:option|choice|letter|optie|opción|opcion|opzione|opção|opcao|réponse|вариант|seçenek|lựa"
    r"\schọn|pilihan)"
)
IS = r"(?:is|are|was|were|equals|ist|lautet|sind|est|sont|es|son|é|è|sono|is|jest|är|er|on|=|:)"
COUNTING = (
    r"how\s(?:many|much(?!\sof\sa\b)|old|tall|far|long|high|deep|wide|heavy|large|big"
    r"|fast|often|hot|cold)"
    r"|combien|wie\s?viele?|wie\s(?:lange?|hoch|weit|alt|gro[ßs]s?|teuer|warm)"
    r"|cu[áa]nt[oa]s?|quant[oiae]s?|hoeveel|ile|hur\smånga|hvor\smange"
    r"|сколько|скільки|kaç|berapa|bao\snhiêu|多少"
    r"|几(?:个|天|人|本|只|次|页|元|岁|倍|名|辆|块|分|小时)|几何|いくつ|いくら|何(?:個|人|円|本|枚|分|時|回|歳)|몇|얼마"
)
"""Words that ask for a number."""
