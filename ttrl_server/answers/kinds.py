"""Finds the kind of answer that a question asks for.

The most reliable phrases are tried first. Requests for work (write, explain, list …) and questions
for reasons, ways and advice are ``open``. A text that no list matches is ``open`` too, unless the
text is one short question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from ttrl_server.answers.lexicon import COUNTING, words

Kind = Literal["choice", "verdict", "alternative", "number", "words", "fact", "open", "unknown"]
"""In this order: a listed choice; yes or no; one of the words that the question offers; a number or
formula; a reply of nothing but the answer; who, what, where or when, answered in a sentence;
nothing that can be compared; not known."""


def _any(text: str) -> str:
    """A pattern for any of the phrases between commas; their spaces match any white space."""
    return "(?:" + re.sub(r",\s+", "|", text).replace(" ", r"\s{1,3}") + ")"


def _pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


# ---------------------------------------------------------------- what front-ends ask

_TASKS = _any(
    r"titles?, tags?, follow[- ]?up, quer(?:y|ies), autocomplet\w*, emojis?, suggest\w*, "
    r"summar\w*, categor\w*, analy[sz]e the chat"
)
_HOUSEKEEPING = _pattern(
    rf"(?s)\A\s{{0,8}}(?:#{{1,6}}\s?)?task:\s{{0,4}}.{{0,200}}\b{_TASKS}\b",
    r"\b(?:generate|create|provide|write|suggest|give)\b[^.\n]{0,80}"
    r"\b(?:title|headline|topic)\b[^.\n]{0,120}"
    r"\b(?:conversation|chat|dialogue|discussion|prompt|message|query)\b",
    r"\b(?:summari[sz]e|summary\sof)\s(?:the|our|this)\s"
    r"(?:conversation|chat|dialogue|discussion)\b",
    r"\bgenerate\s[^.\n]{0,40}\b(?:tags|follow-?\s?up\squestions|search\squeries)\b",
    r"<chat_history>|\bchat\shistory:\s|\b(?:four\sto\sfive\sword|conversation)\stitle\b",
    r"\b(?:conversation|chat)\sa\s(?:name|title)\b|\bfitting\semoji\b",
    r"(?:会话|对话|聊天)[^。\n]{0,30}标题|生成.{0,10}标题|タイトル",
)


def housekeeping(text: str) -> bool:
    """Whether a chat front-end asks, not its user: for a title, tags, follow-ups or a summary."""
    return _HOUSEKEEPING.search(text[:4_000]) is not None


# ---------------------------------------------------------------- work, reasons, ways, advice

_POLITE = _any(
    "hi, hello, hey, please, kindly, now, (?:can|could|would|will) you, help me, let's, let us, "
    "i (?:want|need|would like|'d like) (?:you )?to, you (?:should|will|need to|must), "
    "your task is to"
)
_WORK = _any(
    "write, explain, describe, summari[sz]e, create, design, draft, compose, discuss, suggest, "
    "recommend, brainstorm, rewrite, rephrase, paraphrase, expand, elaborate, translate, "
    "improve, edit, proofread, correct, analy[sz]e, compare, contrast, outline, plan, develop, "
    "generate, prepare, introduce, talk, imagine, pretend, act as, simulate, help me, make, "
    "build, implement, code, program, come up, think of, draw an?, prove, show that, justify, "
    "define, review, remove, reply to, respond to, continue, complete and, finish the, turn, "
    "take, use, learn, teach, guide, walk me, optimi[sz]e, refactor, debug, fix, set up, craft, "
    "propose, organi[sz]e, schedule, react, role, convert it, "
    "identify the (?:main|key|themes?|most), tell me (?:about|the history|an?), "
    "convert (?:the (?:following )?|this )(?:sentence|text|paragraph|code|passage|list), "
    r'simplify (?:["“]|the (?:text|sentence|paragraph|passage|language)), add(?! \$?\d), '
    r"provide (?!the (?:name|answer|number|word|date|value)|an? \w+ (?:rating|label|score)), "
    r"list(?! (?:all|the) (?:\w+ )?(?:integers|values|numbers|factors|roots|solutions|primes)), "
    r"give (?:me )?(?:some|examples|ideas|tips|advice|\w+ ideas), give (?:me )?an? "
    "(?:idea|brief|short|example|detailed|overview|recipe|summary|few|list), "
    "evaluate the (?!expression|integral|sum|limit|function|following expression|product"
    "|determinant|value)"
)
_ASKS_FOR_WORK = _pattern(rf"\A(?:[^a-z]*{_POLITE}[,!\s]*){{0,3}}{_WORK}\b")
_IN_WORDS = _any(
    "prove, show that, essay, story, poem, code, program, function to, python, java, script, "
    "pros and cons, explain, describe, brief, summary, review, recipe, tips, ideas, table, "
    "query, sentence, paragraph, e-?mail"
)
_WORDY = _pattern(rf"\b{_IN_WORDS}\b")
"""Requests for work in words or code, even if the request contains figures."""
_HOW = _any(
    r"why, how (?:do(?! you (?:say|spell|write))|does|did|can|could|should|would|to|come)\b, "
    r"how (?:is|are|was|were|might|will|about|have|has|else)\b, how (?:much|big) of an?, "
    r"tell me(?! (?:the|how many|how much|who|when)\b), (?:can|could|would) you, "
    "do you (?:know|think|have|like|feel|want|enjoy|remember|believe), "
    r"(?:can|may|could|should) (?:i|we)\b, which \w+s (?:are|should|would)\b, "
    r"which (?:\w+ )?(?:is|are) (?:the )?(?:better|best)\b, "
    r"what (?:if|about|causes?|happen(?:s|ed)?|else|makes?|should|would|could|can)\b, "
    r"what (?:do|did|steps|ways|factors|needs)\b, what does(?! \S+ equal| .+ stand for), "
    r"what (?:kinds?|sorts?|types?) of, what (?:are|were) (?:some|good|different|your|you|any)\b, "
    r"what (?:is|was) (?:your|needed|good|it like|an? (?:good|great|nice|fun))\b, "
    r"what (?:is|was) wrong, what (?:are|were) the (?:most|main|best|key|major|differen(?:t|ces?)"
    r"|pros|advantages|benefits|important|effects|implications|reasons|steps|signs"
    r"|names of some)\b, what (?:are|were) the \w+ (?:\w+ )?(?:of|in|for|to)\b, "
    r"what (?:is|was) the (?:best|most|difference|purpose|point|meaning|significance|importance"
    r"|role|history|reason|syntax|story|way|secret|impact|effect|idea|plot|theory|process"
    r"|relationship|distinction|easiest)\b, who (?:are|were) the\b, "
    r"(?:where|when|which) (?:\w+ )?(?:can|could|should|would) (?:i|we|you)\b, "
    r"(?:is|are|was|were) there (?:any|an?|some)\b, give me (?:some|an?|few|tips|advice)\b, "
    r"i (?:want|need|would like|am trying|'m trying)\b, ideas for"
)
_ASKS_HOW = _pattern(
    rf"\b{_HOW}",
    r"\b(?:what|who)\s(?:is|are|was|were)\s(?:an?\s)?(?!(?:the|its|it|this|that)\b|\d)\w+"
    r"(?:\s(?!(?:of|in|on|at|during|when)\b)\w+){0,2}\?*\s*\Z",
    r"\Ashould\s|怎么|怎样|如何|为什么|为何|推荐|介绍|什么是|おすすめ|なぜ|どうやって|方法|어떻게|왜|추천",
    r"\bwhat\s(?:are|were)\s(?:\d{1,2}|two|three|four|five|six|seven|ten)\s[a-z]",
)

# ------------------------------------------------------------ yes or no, and nothing but the answer

_PAIR = r"(?:yes\s?(?:or|/)\s?no|true\s?(?:or|/)\s?false)"
_AUXILIARY = _any(
    "is, isn't, are, aren't, was, were, do, does, did, has, have, had, can, could, will, would, "
    "must, may"
)
_ASKS_VERDICT = _pattern(
    r"\b(?:answer|respond|reply|say|write|state|return|output|decide|determine)\b"
    rf"[^.?!\n]{{0,40}}?\b{_PAIR}\b",
    rf"\A\s{{0,8}}{_PAIR}\s?[:?]|\b{_PAIR}[?.)]{{0,3}}\Z|\breturn\s(?:true|yes)\sif\b",
    r"\bverify\sthe\s(?:correctness|truth|statement)\b",
    r"\b(?:check|determine|decide)\s(?:if|whether)\b[^.?!\n]{1,120}"
    r"(?:duplicates?|correct|true|valid|equal)\b",
)
_IS_VERDICT = _pattern(
    rf"(?:\A\s{{0,8}}|[.!?:]\s{{1,4}}|\n\s{{0,4}}\n|\n(?-i:(?=[A-Z]))){_AUXILIARY}\s"
    r"(?!(?:you|we|i|u|not|the\sfollowing)\b|there\s(?:any|an?\b)|anyone|somebody|someone)"
    r"(?![^?.!\n]{0,200}\b(?:or|how|what|which|who|where|when|why)\b)"
    r"(?:[^?.!\n]|\.(?=\S)){1,200}?(?:\?|\Z)\s{0,4}"
    r"(?:\(?(?:please\s)?(?:answer|respond|reply|explain|justify|think)\b[^?]{0,80})?\Z"
)
"""Forms of the last sentence that ask for this kind."""
_ASKS_BARE = _pattern(
    r"\b(?:answer|respond|reply|return|provide|give|write|state|print|output(?:\sshould\sbe)?)"
    r"\s{1,4}(?:(?:only|just)\s{1,4}(?:with\s{1,4})?|with\s{1,4}(?:only|just)\s{1,4})"
    r"(?:the|an?|one|your)\s{1,4}(?!sentence|paragraph|line|poem|story)[a-z]",
    r"\b(?:in|with)\s(?:one|a\ssingle)\s(?:word|letter|number|name|date|year)\b",
    r"\bthe\s(?:result|answer|number|word|name|value|letter)\sonly\b",
)

_BARE_NUMBER = _pattern(
    r"\b(?:only|just)\s(?:with\s)?(?:the|an?|one|your)\s(?:\w+\s){0,2}"
    r"(?:number|integer|value|digits?|amount|sum)\b",
    r"\b(?:one|a\ssingle)\snumber\b|\bthe\snumber\sonly\b",
)

# ---------------------------------------------------------------- numbers and formulas

_QUANTITIES = _any(
    "sum, product, quotient, remainder, value, area, perimeter, circumference, volume, length, "
    "width, height, radius, diameter, hypotenuse, slope, average, mean, median, mode, "
    "probability, number, total, cost, price, distance, speed, age, degrees?, measure, angle, "
    "ratio, percent(?:age)?, solutions?, roots?, domain, range, derivative, integral, limit, "
    "determinant, matrix, coefficient, result, power, fraction, decimal, greatest, least, "
    "minimum, maximum, smallest, largest, greater, lesser, tip, amount, odds, chances?, "
    "temperature, mass, density, depth, altitude, gdp"
)
_QUANTITY = (
    r"\bdifference\s(?:between|of)\s[^?\n]{0,60}?"
    r"(?:\d|\$|\bsquare|\bsum|\bproduct|\blargest|\bgreatest)"
    r"|\b(?:what\s(?:is|are|was|were)|find|determine|give|estimate|calculate|compute"
    r"|work\sout|figure\sout|state)"
    r"\s(?:(?!history|origin|meaning|purpose|role|concept|definition)[\w'-]+,?\s){0,5}?"
    rf"{_QUANTITIES}\b"
)
"""Questions that ask for a quantity by its name."""
_COUNTED = _pattern(
    rf"\b(?:{COUNTING})\b|\bcount\s(?:the|how)\b|{_QUANTITY}|多少|几|몇|いく",
    r"\bwhat\s(?:percent(?:age)?|fraction|temperature|age|numbers?|values?|total|remainder"
    r"|digit|sum|cost|price)\b",
    r"\b(?:total|order)\scost\b|\bnumber\s(?:whose|that|which|such)\b",
    r"\bwhat\s(?:does|do|did|will|would|must|should)\s[^?.!\n]{1,80}\s"
    r"(?:cost|pay|earn|owe|weigh|spend|equal|measure|receive|total)\b",
)
_CALCULATED = _pattern(
    r"\b(?:calculate|compute|evaluate|simplify|solve|differentiate|integrate|factor(?:i[sz]e)?"
    r"|round|convert)\b",
    r"\bfind\s(?:the|all|an?|its|[a-zA-Z$\\(])|\bdetermine\s(?:the|all|its|a\s)|\bwhat\snumber\b",
    r"\bwhat\s(?:is|are|was|were|does|percent(?:age)?|fraction|number|value|year|age|digit)\b"
    r"[^?\n]{0,200}\d",
    r"[-+*/×÷^]\s?\d{1,20}\s?=\s?\??|求|计算|計算|等于|구하",
)
_FORMULA = re.compile(
    r"\$[^$\n]{1,300}\$|\\\(|\\\[|\\frac|\\boxed|\\begin\{|\d\s?[+*×÷^=]\s?[\d?]|\d\s-\s\d"
    r"|(?<![\w/])\d{1,6}\s?/\s?\d{1,6}(?![\w/])|[a-z]\s?=\s?-?\d"
)
_FIGURES = _pattern(r"\d|\bhalf\b|\btwice\b|\bdouble\b|\$|\\")
_OF_MATHEMATICS = _any(
    "integers?, polynomial, triangle, equation, probability, fraction, matrix, digits?, "
    "divisible, prime numbers?, angles?, perimeter, circumference, hypotenuse, "
    "(?:square|cube) root, decimal, reciprocal, consecutive, arithmetic, geometric, sphere, "
    "cylinder, arrange"
)
_MATHEMATICS = _pattern(rf"\b{_OF_MATHEMATICS}\b")
_EXPRESSED = _pattern(
    r"\b(?:express|give|write|leave|state)\s(?:your|the|all|each)\s"
    r"(?:answers?|results?|solutions?)\b"
)
MARKED = _pattern(
    r"\\boxed|\b(?:in|within)\sa\sbox\b|####|<\s?(?:final_)?answer\s?>"
    r"|\b(?:final\s)?answer\s?:\s{0,4}\Z",
    r"['\"`](?:the\s)?(?:final\s)?answer(?:\sis)?\s?:?|\banswer\b.{0,20}\btags?\b",
)
"""Whether the question asks to mark the answer."""

# ---------------------------------------------------------------- facts

_WHO = _any(
    r"who(?:se|m)?\b(?! (?:wants|needs|cares)), which\b, in what year, what colou?r, "
    r"where (?:is|are|was|were|did|does|do)\b(?! (?:i|you|we)\b), "
    r"when (?:is|was|were|did|does|will)\b"
)
_WHAT = _any(
    "year, day, date, time, month, country, city, state, language, breed, animal, planet, sound, "
    "name, song, movie, film, book, company, team, sport, word, material, continent, currency, "
    "element, gas, river, ocean, mountain, nationality, religion, genre, shape, letter, port, "
    "protocol"
)
_WHAT_IS_THE = _any(
    "names?, capitals?, title, colou?r, currency, language, author, president, inventor, "
    "founder, location, birthplace, date, year, largest, biggest, smallest, longest, tallest, "
    "highest, deepest, fastest, oldest, first, last, next, closest, nearest, opposite, "
    "abbreviation, symbol, formula, term, word, national, official, scientific, chemical, "
    "boiling, freezing, melting, population"
)
_FACT = _pattern(
    rf"\b{_WHO}|\bwhat\s{_WHAT}\b",
    rf"\bwhat\s(?:is|was|are|were)\s(?:the\s)?(?:\w+\s){{0,4}}?{_WHAT_IS_THE}\b",
    r"\bwhat\s(?:is|are)\s[^?]{1,60}\s(?:made\s(?:out\s)?of|made\sfrom|called|known\sas)\b",
    r"\b(?:is|are)\s(?:called|known\sas)\s*:?\s*\Z",
    r"\bfill\sin\sthe\sblank|\bcomplete\sthe\s(?:analogy|sequence|series|pattern)\b"
    r"|\bhow\sdo\syou\s(?:say|spell|write)\b",
    r"\bwhat\s(?:does|do|did)\s[^?\n]{1,60}\sstand\sfor\b"
    r"|\A(?:spell|unscramble|rearrange|select)\b",
    r"(?:\A|\b(?:find|tell\sme|give\sme|state)\s)(?:the\s)?"
    r"(?:capital|population|currency|president|author|inventor|founder)\s(?:city\s)?of\s",
    r"\b(?:identify|classify|categori[sz]e|guess|name|find\sout)\s"
    r"(?:the|which|what|whether|an?|this|one)\b",
    r"\b(?:pick|choose|select)\s(?:the|a|one|which)\s(?:\w+\s){0,2}"
    r"(?:category|label|option|word|answer|class)\b",
    r"\bgive\sthe\s\w+(?:\s\w+){0,3}\sa\s(?:category|label)"
    r"|\bprovide\san?\s\w+\s(?:rating|label|score)\b",
    r"\bdetermine\s(?:whether|the\s(?:type|category|name|sentiment|language|genre))\b",
    r"\bextract\sthe\s(?:address|name|date|phone|email|number|price|title)\b",
)

_FREQUENT = _any(
    "combien, quel(?:le)?s?, est, les, une, qui, quand, wie viele?, welche[rs]?, der, die, das, "
    "und, ist, sind, wer, wo, wann, cu[áa]nt[oa]s?, cu[áa]l, por, qu[eé], d[oó]nde, qui[eé]n, "
    "quanto, qual[ei]?, come, quando, dove, della, gli, hoeveel, welke, het, een, ile, jak"
)
FOREIGN = _pattern(
    "[àâçèéêëîïôùûüÿœäößñáíóúõãåøæąćęłńśźżčďěňřšťůžğş]", "[а-яё]", "¿", rf"\b{_FREQUENT}\b"
)
"""Matches letters and frequent words of languages that write decimals with a comma."""

_HOW_ABROAD = _any(
    "c[óo]mo, por qu[ée], qu[ée] es, qu'est-ce, comment, pourquoi, warum, wieso, come, "
    r"perch[ée], как, почему, wie (?:geht|kann|funktioniert|macht|man), was ist (?!\d)"
)
_FOREIGN_HOW = _pattern(rf"[\W_]*{_HOW_ABROAD}\b")
_OF_THE_MODEL = _pattern(
    r"\b(?:(?:who|what|where|how(?:\sold)?)\sare|(?:who|when)\s(?:made|created|built|trained|were)"
    r"|what\smodel\sare|^(?:are|do|have|did)|where\sdo)\syou\b"
    r"(?!\s(?:left|given|going|know|remember|find|buy|get))",
    r"\byour\s(?:favou?rite|name|opinion|hobbies|purpose|age|training)\b|你是|你叫",
)
_CONTRACTED = re.compile(r"\b(what|who|where|when|which|how)['\u2019]?s\b", re.IGNORECASE)
_SHORT = 300


def kind(text: str, choices: bool, alternatives: Sequence[str]) -> Kind:
    """The first kind whose conditions hold."""
    text = _CONTRACTED.sub(r"\1 is", text)
    head, tail = text[:4_000].strip(), text[-2_000:].strip()
    parts = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", tail) if part.strip()]
    # Take the last question, or else the last sentence.
    last = ([part for part in parts if part.endswith("?")] or parts or [tail])[-1]
    if housekeeping(head):
        return "open"
    if choices:
        return "choice"
    verdict = _ASKS_VERDICT.search(tail) is not None
    if alternatives and (alternatives[-1].startswith("not ") or not verdict):
        return "alternative"
    if verdict:
        return "verdict"
    if _ASKS_BARE.search(text):
        numeric = (_BARE_NUMBER, _COUNTED, _CALCULATED, _FORMULA)
        return "number" if any(form.search(text) for form in numeric) else "words"
    formula = _FORMULA.search(text) is not None
    marked = MARKED.search(text) is not None
    works = _ASKS_FOR_WORK.search(head) or _ASKS_FOR_WORK.search(last)
    if works and not marked and (not formula or _WORDY.search(head)):
        return "open"
    foreign = FOREIGN.search(text) is not None
    if _IS_VERDICT.search(tail) and not foreign:
        return "verdict"
    why = last.casefold().startswith("why ") or _OF_THE_MODEL.search(last)
    if marked or (not why and (formula or _COUNTED.search(last) or _EXPRESSED.search(text))):
        return "number"
    return _asked_in_words(text, head, last, foreign)


def _asked_in_words(text: str, head: str, last: str, foreign: bool) -> Kind:
    """The kind for a question that has no formula and says nothing about the answer's form."""
    figures = _FIGURES.search(text) is not None
    calculated = _CALCULATED.search(text) or _COUNTED.search(text)
    at_the_end = _CALCULATED.search(last) or _COUNTED.search(last)
    if figures and at_the_end and not _ASKS_HOW.match(last):
        return "number"
    if _OF_THE_MODEL.search(last):
        return "open"
    if foreign and last.endswith("?") and len(text) <= _SHORT:
        return "number" if figures else "open" if _FOREIGN_HOW.match(last) else "fact"
    if _ASKS_HOW.search(last) or (_ASKS_HOW.search(head) and not _FACT.search(last)):
        return "open"
    mathematics = calculated and _MATHEMATICS.search(text)
    if not (figures and mathematics) and (_FACT.search(head[:600]) or _FACT.search(last)):
        return "fact"
    if mathematics:
        return "number"
    asks = len(text) <= _SHORT and last.endswith(("?", "？"))
    return "unknown" if asks or (figures and not re.search(r"[^\W\d_]{2}", text)) else "open"


# ---------------------------------------------------------------- words that the question offers

_ITEM = (
    r"[\"'“‘]?[A-Za-z][A-Za-z&-]{0,20}(?:\s(?!or\b|and\b)[A-Za-z&][A-Za-z&-]{0,20}){0,3}[\"'”’]?"
)
_WORD = r"[\"'“‘]?([A-Za-z][A-Za-z-]{1,20})[\"'”’]?"
_OFFERS = _pattern(
    r"\b(?:one\sof(?:\sthe)?(?:\sfollowing)?(?:\s(?:categories|labels|options|classes|words))?"
    r"|(?:classif(?:y|ied)|categori[sz]ed?|label(?:led)?)\b[^.?\n:]{0,80}?"
    r"\b(?:as|into)(?:\seither)?"
    r"|(?:pick|choose|select)[^.?\n]{0,40}?\bfrom(?:\sthe\slist\sof)?"
    r"|(?:answer|respond|reply)\s(?:only\s|just\s)?(?:with\s)?(?:only\s|just\s|either\s){0,2})"
    rf"\s?:?\s({_ITEM}(?:\s?[,/]\s?{_ITEM}){{0,12}}(?:,?\s(?:or|and)\s|/){_ITEM})"
)
_OR_NOT = _pattern(
    rf"\b(?:whether|if|as)\s[^?.!\n]{{0,120}}?{_WORD}(?:\s[^?.!\n]{{1,60}})?\sor\snot\b"
)
_EITHER = _pattern(
    r"(?:\A\s{0,8}|[.!?:]\s{1,4}|\n\s{0,4})(?:is|are|was|were|does|do|did|has|have)\s"
    r"[^?.!\n]{0,80}?\b(?:an?\s|the\s)?"
    rf"{_WORD},?\sor\s(?:an?\s|the\s)?{_WORD}(?:\s[a-z]{{1,20}})?\s{{0,4}}(?:\?|\Z)",
    rf"\bwhich\b[^?.!\n]{{0,80}}[,:]\s(?:an?\s|the\s)?"
    rf"{_WORD},?\sor\s(?:an?\s|the\s)?{_WORD}\s{{0,4}}(?:\?|\Z)",
)
_NO_OFFER = words(
    "yes no true false not more less so what if why how both neither other two it them letter "
    "number"
)


def alternatives(text: str) -> tuple[str, ...]:
    """The words that a question offers ("Is 57 even or odd?"), or its labels; never yes and no."""
    tail = text[-4_000:]
    denied = [found[1].lower() for found in _OR_NOT.finditer(tail[:1_000])]
    if denied and denied[-1] not in ("true", "correct", "valid", "right"):
        return denied[-1], f"not {denied[-1]}"
    if offers := list(_OFFERS.finditer(tail)):
        split = re.split(r"\s?[,/]\s?(?:or\s|and\s)?|\s(?:or|and)\s", offers[-1][1])
        offered = [item.strip(" \"'“”‘’").lower() for item in split]
    elif found := list(_EITHER.finditer(tail)):
        offered = [word.lower() for word in found[-1].groups() if word]
    else:
        return ()
    several = len(set(offered)) == len(offered) > 1
    several = several and _NO_OFFER.isdisjoint(item.split()[-1] for item in offered)
    return tuple(offered) if several else ()
