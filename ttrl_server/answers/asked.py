r"""What a question says about its answer: of what kind it is, its choices, how it is written, what stays beside it.

The question decides what an answer is. Where it asks for nothing that could be compared (a poem, advice, a list of
ideas), numbers and words that replies happen to share are no agreement: ``Asked.kind`` is then ``open``, and only what
a sample itself marks as its answer counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from ttrl_server.answers.lexicon import COUNTING, words
from ttrl_server.answers.spelling import visible

TAIL = 20_000
"""Characters from the end of a text (or question) that are looked at."""
LONGEST_CHOICE = 300
"""Characters of a choice that are kept, and of an answer that is compared with it."""

Kind = Literal["choice", "verdict", "alternative", "number", "words", "fact", "open", "unknown"]
"""A listed choice; yes or no; one of the words the question offers; a number or formula; nothing but the answer;
who, what, where or when, answered in a sentence; nothing comparable; no question was given."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question says about its answer; made once per question."""

    kind: Kind = "unknown"
    choices: Mapping[str, str] = field(default_factory=dict)
    """Text by capital letter; empty when the question lists none."""
    alternatives: tuple[str, ...] = ()
    """Words between which the question lets choose: even, odd."""
    integer: bool = False
    listed: bool = False
    """Several values between commas."""
    ordered: bool = False
    """Whether the order of several values matters."""
    percent: bool = False
    equation: bool = False
    """Whether an equation is the answer, not the value of its right-hand side."""
    ratio: bool = False
    base: bool = False
    """Whether a number in a base is asked for."""
    cased: bool = False
    """Whether upper and lower case differ: formulas of chemistry, genotypes, symbols, codes."""
    decimal_comma: bool = False
    marked: bool = False
    """Whether the question asks to mark the answer (a box, ``####``, a tag, "Answer: …")."""
    names: frozenset[str] = frozenset()
    """Letters that stand for something in the question, so that they are no units."""
    stems: frozenset[str] = frozenset()
    """Its words without their plural s: what is counted need not stand beside a number."""
    text: str = ""
    """Without spaces: an expression that the question names may name its value (``a+b = 5``)."""

    @property
    def known(self) -> bool:
        """Whether there is a question at all."""
        return bool(self.text)


def asked(question: str | None) -> Asked:
    """What a question says about its answer, from its last ``TAIL`` characters. Never raises."""
    if not question or not question.strip():
        return Asked()
    text = visible(question)[-TAIL:]
    choices = MappingProxyType(listed_choices(text))
    foreign = not choices and _FOREIGN.search(text) is not None
    alternatives = () if choices else _alternatives(text)
    return Asked(
        kind=_kind(text, choices, alternatives),
        choices=choices,
        alternatives=alternatives,
        integer=_INTEGER.search(text) is not None,
        listed=_LISTED.search(text) is not None,
        ordered=_ORDERED.search(text) is not None,
        percent=_PERCENT.search(text) is not None,
        equation=_EQUATION.search(text) is not None,
        ratio=_RATIO.search(text) is not None,
        base=_BASE.search(text) is not None,
        cased=_CASED.search(text) is not None,
        decimal_comma=foreign,
        marked=_MARKED.search(text) is not None,
        names=frozenset(_NAMES.findall(text)) - {"a", "A", "I"},
        stems=frozenset(stem(word) for word in _WORDS.findall(text.lower())),
        text="".join(text[-2_000:].split()),
    )


def stem(word: str) -> str:
    """A word without its plural: houses, boxes and house, box are one."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


_WORDS = re.compile(r"[^\W\d_]{3,}")
_NAMES = re.compile(r"(?<![A-Za-z'\\0-9])(?<!\d\s)([A-Za-z])(?![A-Za-z'])")

# ---------------------------------------------------------------- how the answer is written

_AN_INTEGER = r"(?:[a-z-]{1,20}\s{1,4}){0,3}?(?:integer|whole\s{1,4}number)\b"
_INTEGER = re.compile(
    rf"\bas\s{{1,4}}(?:an?|one)\s{{1,4}}{_AN_INTEGER}"
    rf"|\b(?:answer|result|response|output)\b[^.\n]{{0,40}}?"
    rf"\b(?:be|is)\s{{1,4}}an?\s{{1,4}}{_AN_INTEGER}"
    rf"|\b(?:give|enter|write|provide|return|output|respond|reply|submit)\b[^.\n]{{0,40}}?\s{_AN_INTEGER}"
    r"|\b(?:nearest|closest)\s{1,4}(?:integer|whole)\b|\binteger\s{1,4}answer\b"
    r"|(?<!be\sa\s)(?<!is\sa\s)\bwhole\s{1,4}number\b",
    re.IGNORECASE,
)
"""Said of the answer; "let n be an integer" is said of a variable."""
_LISTED = re.compile(
    r"\bcomma[- ]separated\b|\bseparated\sby\s(?:a\s)?commas?\b"
    r"|\blist\s(?:of\s)?(?:all|the|of|in|every|your|them|its)\b"
    r"|\breturn\s(?:a|the)\slist\b|\bin\sa\slist\b",
    re.IGNORECASE,
)
_ORDERED = re.compile(
    r"\b(?:sort(?:ed)?|rank(?:ed)?|arranged?|ascending|descending|alphabetical(?:ly)?|chronological(?:ly)?|respectively|reverse[sd]?)\b"
    r"|\b(?:in(?:to)?|the|correct|right)\s(?:[a-z]{1,20}\s){0,3}order\b(?!\s(?:to|of\smagnitude|that))|\border\sthe\b|\border\sof\sthe\s"
    r"|\bfirst\b.{1,60}\b(?:then|second|followed)\b|\bfrom\s(?:the\s)?(?:least|smallest|lowest|largest|greatest|highest|oldest|earliest|shortest|left|top)\b"
    r"|\bsequence\b|\bpermutation\b|排序|顺序|順序|reihenfolge|\bordre\b|\borden(?:a|e)?\b",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"\bper\s?cent(?:ages?)?\b|%|\bpourcentage\b|\bprozent\b|\bporcentaje\b|百分", re.IGNORECASE)
_EQUATION = re.compile(
    r"\b(?:equation|formula)\sof\b|\bwhat\sis\s(?:the|an)\s(?:[a-z-]{1,20}\s){0,3}equation\b"
    r"|\b(?:which|write|find|give|determine|state)\s(?:an?\s|the\s|one\s)?(?:[a-z-]{1,20}\s){0,3}equations?\b"
    r"|\b(?:find|determine|what\sis|give|write)\sthe\s(?:[a-z-]{1,20}\s){0,2}(?:line|circle|ellipse|parabola|hyperbola|locus|curve|plane|asymptotes?|tangent\sline|directrix)\b(?!\ssegment)",
    re.IGNORECASE,
)
_RATIO = re.compile(
    r"\bratios?\b|\bodds\b|\bscale\b|\bproportions?\b|比例|比是|\bverhältnis\b|\brapport\b", re.IGNORECASE
)
_BASE = re.compile(
    r"\bbase[- ]?(?:\d|two|three|four|five|six|seven|eight|nine|ten|b\b)|\bbinary\b|\boctal\b|\bhexadecimal\b",
    re.IGNORECASE,
)
_CASED = re.compile(
    r"\b(?:chemical|molecular|empirical|structural)\b|\b(?:just|only|with|give|write|state|what\sis)\s(?:the\s|its\s|a\s)?formula\b"
    r"|\bgenotypes?\b|\balleles?\b"
    r"|\bsymbols?\b|\b(?:code|password|passphrase|token|key|cipher|string|identifier|acronym|abbreviation)s?\b"
    r"|\bcase[- ]sensitive\b"
    r"|\b(?:gas|substance|compound|ion|element|molecule)\b.{0,80}\bformula\b",
    re.IGNORECASE | re.DOTALL,
)
_FOREIGN = re.compile(
    r"[àâçèéêëîïôùûüÿœäößñáíóúõãåøæąćęłńśźżčďěňřšťůžğş]|[а-яё]|¿"
    r"|\b(?:combien|quel(?:le)?s?|wie\s?viele?|welche[rs]?|cu[áa]nt[oa]s?|cu[áa]l|quanto|qual[ei]?|hoeveel|welke|ile|jak|der|die|das|und|ist|sind|wer|wo|wann|est|les|une|qui|quand|come|quando|dove|della|gli|het|een|por|qu[eé]|d[oó]nde|qui[eé]n)\b",
    re.IGNORECASE,
)
_MARKED = re.compile(
    r"\\boxed|\b(?:in|within)\sa\sbox\b|####|<\s?(?:final_)?answer\s?>|\b(?:final\s)?answer\s?:\s{0,4}\Z|['\"`](?:the\s)?(?:final\s)?answer(?:\sis)?\s?:?"
    r"|\banswer\b.{0,20}\btags?\b",
    re.IGNORECASE,
)

# ---------------------------------------------------------------- what kind of answer

_PAIR = r"(?:yes\s?(?:or|/)\s?no|true\s?(?:or|/)\s?false)"
_AUXILIARY = r"(?:is|isn't|are|aren't|was|were|do|does|did|has|have|had|can|could|will|would|should|must|may)"
_ASKED_VERDICT = re.compile(
    rf"\b(?:answer|respond|reply|say|write|state|return|output|decide|determine)\b[^.?!\n]{{0,40}}?\b{_PAIR}\b"
    rf"|\A\s{{0,8}}{_PAIR}\s?[:?]|\b{_PAIR}[?.)]{{0,3}}\Z|\breturn\s(?:true|yes)\sif\b"
    r"|\bverify\sthe\s(?:correctness|truth|statement)\b|\b(?:check|determine|decide)\s(?:if|whether)\b[^.?!\n]{1,120}(?:duplicates?|correct|true|valid|spam(?:\sor\snot)?)\b",
    re.IGNORECASE,
)
_VERDICT = re.compile(
    rf"(?:\A\s{{0,8}}|[.!?:]\s{{1,4}}|\n\s{{0,4}}\n|\n(?-i:(?=[A-Z]))){_AUXILIARY}\s"
    r"(?!(?:you|we|i|u|not|the\sfollowing)\b|there\s(?:any|an?\b)|anyone|somebody|someone)"
    r"(?![^?.!\n]{0,200}\b(?:or|how|what|which|who|where|when|why)\b)(?:[^?.!\n]|\.(?=\S)){1,200}?(?:\?|\Z)\s{0,4}"
    r"(?:\(?(?:please\s)?(?:answer|respond|reply|explain|justify|think)\b[^?]{0,80})?\Z",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"\b(?:answer|respond|reply|return|provide|give|write|state|print|output(?:\sshould\sbe)?)\s{1,4}"
    r"(?:(?:only|just)\s{1,4}(?:with\s{1,4})?|with\s{1,4}(?:only|just)\s{1,4})"
    r"(?:the|an?|one|your)\s{1,4}(?!sentence|paragraph|line|poem|story)[a-z]"
    r"|\b(?:in|with)\s(?:one|a\ssingle)\s(?:word|letter|number|name|date|year)\b"
    r"|\bthe\s(?:result|answer|number|word|name|value|letter)\sonly\b",
    re.IGNORECASE,
)
_WORK = (
    r"simplify\s(?:[\"“]|the\s(?:text|sentence|paragraph|passage|language))|write|explain|describe|summari[sz]e|create|design|draft|compose|discuss|suggest|recommend|brainstorm|rewrite|rephrase"
    r"|paraphrase|expand|elaborate|translate|improve|edit|proofread|correct|analy[sz]e|evaluate\sthe\s(?!expression|integral|sum|limit|function|following\sexpression)|compare|contrast|outline|plan|develop|generate"
    r"|provide\s(?!an?\sesrb|the\s(?:name|answer|number))|prepare|introduce|tell\sme\s(?:about|the\shistory|a)|talk|imagine|pretend|act\sas|simulate|role|help\sme|make|build|implement|code|program"
    r"|list(?!\s(?:the\s(?:\w+\s)?(?:numbers|values|factors|roots|solutions))|\sall\s(?:\w+\s)?(?:integers|values|numbers|factors|solutions|roots|primes))"
    r"|give\s(?:me\s)?(?:an?\s(?:idea|brief|short|example|detailed|overview|recipe|summary|few|list)|some|examples|ideas|tips|advice|\w+\sideas)|come\sup|think\sof|draw\sa|prove|show\sthat|justify|define|convert\sit|react|review"
    r"|add(?!\s\$?\d)|remove|reply\sto|respond\sto|continue|complete\sand|finish\sthe|turn|take|use|learn|teach|guide|walk\sme|set\sup|craft|propose|organi[sz]e|schedule|indicate\sthe\stone"
)
_OPEN = re.compile(
    rf"\A(?:[^a-z]*(?:hi|hello|hey|please|can\syou|could\syou|would\syou|will\syou|kindly|i\s(?:want|need|would\slike|'d\slike)\s(?:you\s)?to|let's|let\sus|you\s(?:should|will|need\sto|must)|your\stask\sis\sto|help\sme|now)[,!\s]*){{0,3}}(?:{_WORK})\b",
    re.IGNORECASE,
)
_OPEN_WH = re.compile(
    r"\b(?:why|how\s(?:do|does|did|can|could|should|would|to|come|is|are|was|were|might|will|about|have|has|else)\b"
    r"|how\s(?:much|big)\sof\sa"
    r"|what\s(?:if|about|causes?|happens?|else|makes?|should|would|could|can|do|does(?!\s\S+\sequal)|did|kinds?\sof|sort\sof|types?\sof|steps|ways|factors|impression|needs)"
    r"|what\s(?:are|were)\s(?:some|the\s(?:most|main|best|key|major|different|differences?|pros|advantages|benefits|important|names\sof\ssome|effects|implications|reasons|steps|signs)|good|different|subtle|african|five|ten|three|your|you|any)"
    r"|what\s(?:is|'s|was)\s(?:the\s(?:best|most|difference|purpose|point|meaning|significance|importance|role|history|reason|impact|effect|idea|plot|theory|process|relationship|distinction|secret|deal|matter|good|easiest|right\sway)|your|needed|good|it\slike|an?\s(?:good|great))"
    r"|what\s(?:is|are)\s(?:an?\s)?(?!(?:the|its|it|this|that)\b|\d)\w+(?:\s\w+){0,2}\?*\s*\Z"
    r"|(?:is|are|was|were)\sthere\s(?:any|an?\b|some)|tell\sme|do\syou\s(?:know|think|have)|can\syou|could\syou|would\syou"
    r"|i\s(?:want|need|would\slike|am\strying|'m\strying|recently)|give\sme\s(?:some|a|an|few|tips|advice)|ideas\sfor|in\sgeneral\sterms)",
    re.IGNORECASE,
)
_QUANTITY = (
    r"\bdifference\s(?:between|of)\s[^?\n]{0,60}?(?:\d|\$|\bsquare|\bsum|\bproduct|\blargest|\bgreatest)"
    r"|\b(?:what(?:'s|\sis|\sare|\swas|\swere)|find|determine|give|estimate|calculate|compute|work\sout|figure\sout|state)\s(?:[\w'-]+,?\s){0,5}?(?:sum|product"
    r"|quotient|remainder|value|area|perimeter|circumference|volume|length|width|height|radius|diameter|hypotenuse|slope|average|mean|median|mode|probability|number|total|cost"
    r"|price|distance|speed|age|degrees?|measure|angle|ratio|percent(?:age)?|solutions?|roots?|domain|range|derivative|integral|limit|determinant|matrix"
    r"|coefficient|result|power|fraction|decimal|greatest|least|minimum|maximum|smallest|largest|greater|lesser|tip|amount)\b"
)
"""A quantity, asked for by its name."""
_NUMBER = re.compile(
    rf"\b(?:{COUNTING}|calculate|compute|evaluate|simplify|solve|differentiate|integrate|factor(?:i[sz]e)?|round|convert)\b"
    r"|多少|几(?:个|天|人|本|只|次|页|元|岁|倍|名|辆|块|分|小时)|いくつ|いくら|何(?:個|人|円|本|枚|分|時|回|歳)|몇|얼마"
    r"|\bfind\s(?:the|all|an?|its|[a-zA-Z$\\(])|\bdetermine\s(?:the|all|its|a\s)|\bwhat\s(?:is|are|was|were|does|percent(?:age)?|fraction|number|value|percentage|year|age|remainder|digit|probability)\b[^?\n]{0,200}\d"
    rf"|{_QUANTITY}"
    r"|\$[^$\n]{1,300}\$|\\\(|\\\[|\\frac|\\boxed|\d\s?[-+*/×÷^]\s?\d[^a-z\n]{0,40}[=?]|[-+*/×÷^]\s?\d{1,20}\s?=\s?\??|\bwhat\snumber\b",
    re.IGNORECASE,
)
_FIGURES = re.compile(r"\d|\bhalf\b|\btwice\b|\bdouble\b|\$|\\")
_FORMULA = re.compile(
    r"\$[^$\n]{1,300}\$|\\\(|\\\[|\\frac|\\boxed|\\begin\{|\d\s?[+*×÷^=]\s?[\d?]|\d\s-\s\d|(?<![\w/])\d{1,6}\s?/\s?\d{1,6}(?![\w/])|[a-z]\s?=\s?-?\d"
)
_MATHEMATICS = re.compile(
    r"\b(?:integers?|polynomial|triangle|equation|probability|fraction|matrix|digits?|divisible|prime\snumbers?|angles?|perimeter|circumference|hypotenuse|(?:square|cube)\sroot|decimal|reciprocal|consecutive|arithmetic|geometric|sphere|cylinder|arrange)\b",
    re.IGNORECASE,
)
_FACT = re.compile(
    r"\b(?:who(?:se|m)?\b(?!\s(?:wants|needs|cares))|where\s(?:is|are|was|were|did|does|do)\b(?!\s(?:i|you|we)\b)|when\s(?:is|was|were|did|does|will)\b"
    r"|which\b|in\swhat\syear|what\s(?:year|day|date|time|month|country|city|state|language|breed|colou?r|animal|planet|sound|name|song|movie|film|book|company|team|sport|word|type\sof\sanimal|material|continent|currency|element|gas|river|ocean|mountain|nationality|religion|genre|shape)\b"
    r"|what\s(?:is|'s|was|are|were)\s(?:the\s)?(?:\w+\s){0,4}?(?:names?|capital|capitals|title|colou?r|currency|language|author|president|inventor|founder|location|birthplace|date|year|largest|biggest|smallest|longest|tallest|highest|deepest|fastest|oldest|first|last|closest|nearest|opposite|abbreviation|symbol|formula|term|word|national|official|scientific|chemical|boiling|freezing|melting|population)\b"
    r"|what\s(?:is|are)\s[^?]{1,60}\s(?:made\s(?:out\s)?of|made\sfrom|called|known\sas)\b"
    r"|\bwhat\scolou?r\b|\b(?:is|are)\s(?:called|known\sas)\s*:?\s*\Z"
    r"|\b(?:identify|classify|categori[sz]e|guess|name|find\sout)\s(?:the|which|what|whether|an?|this|one)\b"
    r"|\b(?:pick|choose|select)\s(?:the|a|one|which)\s(?:\w+\s){0,2}(?:category|label|option|word|answer|class)\b"
    r"|\bgive\sthe\s\w+(?:\s\w+){0,3}\sa\s(?:category|label)|\bdetermine\s(?:whether|the\s(?:type|category|name|sentiment|language|genre))\b|\bprovide\san\sesrb\b|\bextract\sthe\s(?:address|name|date|phone|email|number|price|title)\b|\bwhat\sis\sthe\sname\b)",
    re.IGNORECASE,
)
_HOUSEKEEPING = re.compile(
    r"\A\s{0,8}(?:#{1,6}\s?)?task:\s{0,4}\n?.{0,200}\b(?:title|tags?|follow-?\s?up|quer(?:y|ies)|autocomplet\w*|emojis?|suggest\w*|summar\w*|categor\w*|analy[sz]e\sthe\schat)\b"
    r"|\b(?:generate|create|provide|write|suggest|give)\b[^.\n]{0,80}\b(?:title|headline|topic)\b[^.\n]{0,120}\b(?:conversation|chat|dialogue|discussion|prompt|message|query)\b"
    r"|\b(?:summari[sz]e|summary\sof)\s(?:the|our|this)\s(?:conversation|chat|dialogue|discussion)\b"
    r"|<chat_history>|\bchat\shistory:\s|\bgenerate\s[^.\n]{0,40}\b(?:tags|follow-?\s?up\squestions|search\squeries)\b|\bfour\sto\sfive\sword\stitle\b|\bconversation\stitle\b"
    r"|\b(?:conversation|chat)\sa\s(?:name|title)\b|\bfitting\semoji\b|(?:会话|对话|聊天)[^。\n]{0,30}标题|生成.{0,10}标题|タイトル",
    re.IGNORECASE | re.DOTALL,
)
"""What chat front-ends ask of their own accord: titles, tags, follow-ups, summaries."""


def housekeeping(text: str) -> bool:
    """Whether this is what a chat front-end asks of its own accord: a title, tags, follow-ups, a summary."""
    return _HOUSEKEEPING.search(text[:4_000]) is not None


def _kind(text: str, choices: Mapping[str, str], alternatives: tuple[str, ...]) -> Kind:
    """The first kind that fits, from the surest sign to the weakest."""
    head, tail = text[:4_000].strip(), text[-2_000:].strip()
    if housekeeping(head):
        return "open"
    if choices:
        return "choice"
    if alternatives and (alternatives[-1].startswith("not ") or not _ASKED_VERDICT.search(tail)):
        return "alternative"
    if _ASKED_VERDICT.search(tail):
        return "verdict"
    bare, last = _BARE.search(text) is not None, _last_sentence(tail)
    formula = _FORMULA.search(text) is not None
    if bare:
        return "number" if _NUMBER.search(text) else "words"
    figured = (formula and not _WORDY.search(head)) or _MARKED.search(text)
    if (_OPEN.search(head) or _OPEN.search(last)) and not figured:
        return "open"
    foreign = _FOREIGN.search(text) is not None
    if _VERDICT.search(tail) and not foreign:
        return "verdict"
    if _COUNTED.search(last) or formula or _MARKED.search(text) or _EXPRESSED.search(text):
        return "number"
    figures = _FIGURES.search(text) is not None
    if figures and _NUMBER.search(last) and not _OPEN_WH.match(last):
        return "number"
    if foreign and last.endswith("?") and len(text) <= 300:
        return "number" if figures else "fact"
    if _OPEN_WH.search(last) or (_OPEN_WH.search(head) and not _FACT.search(last)):
        return "open"
    if figures and _NUMBER.search(text) and _MATHEMATICS.search(text):
        return "number"
    if _FACT.search(head[:600]) or _FACT.search(last):
        return "fact"
    if _MATHEMATICS.search(text) and (_NUMBER.search(last) or _NUMBER.search(text)):
        return "number"
    short_question = len(text) <= 300 and last.endswith("?")
    return "unknown" if short_question or not re.search(r"[a-z]{3}", text, re.IGNORECASE) else "open"


_WORDY = re.compile(
    r"\b(?:prove|show\sthat|essay|story|poem|code|program|function\sto|python|java|script|pros\sand\scons|explain|describe|brief|summary|review|recipe|tips|ideas|table)\b",
    re.IGNORECASE,
)
"""Work that is asked for in words or code, whatever figures stand in the request."""
_EXPRESSED = re.compile(
    r"\b(?:express|give|write|leave|state)\s(?:your|the|all|each)\s(?:answers?|results?|solutions?)\b|\bexpress\sthe\sresult\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    rf"\b(?:{COUNTING}|what\s(?:percent(?:age)?|fraction|number|numbers|value|values|total|remainder|digit|sum|cost|price)|(?:total|order)\scost|number\s(?:whose|that|which|such)"
    r"|what\s(?:does|do|did|will|would|must|should)\s[^?.!\n]{1,80}\s(?:cost|pay|earn|owe|weigh|spend|equal|measure|receive|total))\b"
    rf"|{_QUANTITY}|多少|몇|いく|几",
    re.IGNORECASE,
)


def _last_sentence(text: str) -> str:
    parts = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]
    questions = [part for part in parts if part.endswith("?")]
    return (questions or parts or [text])[-1]


_ITEM = r"[\"'“‘]?[A-Za-z][A-Za-z&-]{0,20}(?:\s(?!or\b|and\b)[A-Za-z&][A-Za-z&-]{0,20}){0,3}[\"'”’]?"
_WORD = r"[\"'“‘]?([A-Za-z][A-Za-z-]{1,20})[\"'”’]?"
_OFFERS = re.compile(
    rf"\b(?:one\sof(?:\sthe)?(?:\sfollowing)?(?:\s(?:categories|labels|options|classes|words))?|(?:classif(?:y|ied)|categori[sz]ed?|label(?:led)?)\b[^.?\n:]{{0,80}}?\b(?:as|into)(?:\seither)?"
    rf"|(?:pick|choose|select)[^.?\n]{{0,40}}?\bfrom(?:\sthe\slist\sof)?|(?:answer|respond|reply)\s(?:only\s|just\s)?(?:with\s)?(?:only\s|just\s|either\s){{0,2}})\s?:?\s"
    rf"({_ITEM}(?:\s?[,/]\s?{_ITEM}){{0,12}}(?:,?\s(?:or|and)\s|/){_ITEM})",
    re.IGNORECASE,
)
_OR_NOT = re.compile(
    rf"\b(?:whether|if|as)\s[^?.!\n]{{0,120}}?{_WORD}(?:\s[^?.!\n]{{1,60}})?\sor\snot\b", re.IGNORECASE
)
_EITHER = re.compile(
    r"(?:\A\s{0,8}|[.!?:]\s{1,4}|\n\s{0,4})(?:is|are|was|were|does|do|did|has|have)\s[^?.!\n]{0,80}?\b(?:an?\s|the\s)?"
    rf"{_WORD},?\sor\s(?:an?\s|the\s)?{_WORD}(?:\s[a-z]{{1,20}})?\s{{0,4}}(?:\?|\Z)"
    rf"|\bwhich\b[^?.!\n]{{0,80}}[,:]\s(?:an?\s|the\s)?{_WORD},?\sor\s(?:an?\s|the\s)?{_WORD}\s{{0,4}}(?:\?|\Z)",
    re.IGNORECASE,
)
_NO_OFFER = words("yes no true false not more less so what if why how both neither other two it them letter number")


def _alternatives(text: str) -> tuple[str, ...]:
    """The words of "Is 57 even or odd?", or the labels to choose from; yes and no, true and false are another kind."""
    tail = text[-4_000:]
    denied = [found[1].lower() for found in _OR_NOT.finditer(tail[:1_000])]
    if denied and denied[-1] not in ("true", "correct", "valid", "right"):
        return denied[-1], f"not {denied[-1]}"
    if offers := list(_OFFERS.finditer(tail)):
        listed = [
            item.strip(" \"'“”‘’").lower()
            for item in re.split(r"\s?[,/]\s?(?:or\s|and\s)?|\s(?:or|and)\s", offers[-1][1])
        ]
    elif found := list(_EITHER.finditer(tail)):
        listed = [word.lower() for word in found[-1].groups() if word]
    else:
        return ()
    several = len(set(listed)) == len(listed) > 1 and not _NO_OFFER & {word.split()[-1] for word in listed}
    return tuple(listed) if several else ()


# ---------------------------------------------------------------- listed choices

_MARKER = re.compile(
    r"(?<![A-Za-z0-9(\\])(?:\(([A-Za-z])\)|([A-Za-z])([).:](?=[\s}*\\$]|$)|、|\))|(?<=\n)([A-Z])([.:])(?=[^\s.]))"
)
_CHOICE_HEAD = re.compile(r"(?:[\s}*_:$]|\\[ ,;])+")
_CHOICE_TAIL = re.compile(r"(?:[\s,;*_#>-]|\\q?quad|\\[ ,;]|\\[a-z]{1,10}\{|\bor\b|\band\b)+\Z")


def listed_choices(question: str) -> dict[str, str]:
    """Text by letter of the last run A, B, … of at least two markers in the same style."""
    runs: dict[str, list[re.Match[str]]] = {}
    last: list[re.Match[str]] = []
    for marker in _MARKER.finditer(question):
        style = f"{'()' if marker[1] else marker[3] or marker[5]}{_letter(marker).isupper()}"
        run = runs.setdefault(style, [])
        letter = _letter(marker).upper()
        if letter == "A":
            runs[style] = [marker]
        elif run and ord(letter) == ord(_letter(run[-1]).upper()) + 1:
            run.append(marker)
            last = run
    ends = [*(marker.start() for marker in last[1:]), len(question)]
    return {
        _letter(marker).upper(): _choice_text(question[marker.end() : end])
        for marker, end in zip(last, ends, strict=False)
    }


def _letter(marker: re.Match[str]) -> str:
    return marker[1] or marker[2] or marker[4]


def _choice_text(text: str) -> str:
    """The first line with anything in it, without the markup that joins it to the markers around it."""
    head = _CHOICE_HEAD.match(text)
    line = text[head.end() if head else 0 :][:LONGEST_CHOICE].split("\n", 1)[0]
    return _CHOICE_TAIL.sub("", line).rstrip("$. ")
