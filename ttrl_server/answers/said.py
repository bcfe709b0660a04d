"""What a sample says to its reader: no thinking, no next question that the model invents."""

from __future__ import annotations

import re

_NAMES = (
    r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis|cot|inner_monologue"
    r"|seed:think|seed:cot_budget_reflect)"
)
_TAG = re.compile(
    rf"(?i)<(?P<a>/?){_NAMES}>|\[(?P<b>/?){_NAMES}\]|◁(?P<c>/?){_NAMES}▷"
    r"|<\|(?P<d>begin|end)_of_thought\|>"
)
_CHANNEL = re.compile(
    r"(?:<\|start\|>\s?assistant)?<\|channel\|>\s?(?P<tagged>\w+)"
    r"(?:\s?<\|constrain\|>\s?\w+)?\s?<\|message\|>"
    r"|(?:\A\s{0,8}|assistant)(?P<plain>analysis|commentary|final)(?=\W|[A-Z]|\w)"
)
"""Channels of gpt-oss: by their tokens, or by the words that remain when the tokens are removed."""
_TOKEN = re.compile(r"<\|[a-z_]{1,40}\|>|</?s>|<(?:start|end)_of_turn>(?:model)?|\[/?INST\]")
_NEXT_TURN = re.compile(
    r"<\|im_end\|>|<\|im_start\|>|<\|endoftext\|>|<\|eot_id\|>|<\|end_of_text\|>"
    r"|<\|return\|>|<\|end\|>|</s>|<end_of_turn>|<start_of_turn>user|\[INST\]"
    r"|(?:\n|</answer>|(?<=[.!?\]])[ \t]{0,4})[ \t*#]{0,8}"
    r"(?:Human|User|Question|Q|Problem|Instruction|Exercise"
    r"|###\s?Question|###\s?Instruction)\s?\d{0,3}[ \t*]{0,3}:"
)
"""The start of another speaker's text or of another question."""


def said(text: str) -> str:
    """The text outside the thinking, which tags or channels mark; empty if the thinking does not
    end. The prompt may hold the opening tag, so text before a closing tag alone is thinking too."""
    text = _final_channel(text)
    kept: list[str] = []
    start, thinking = 0, False
    for tag in _TAG.finditer(text):
        opens = tag["d"] == "begin" or not any(tag.groups())
        if opens and not thinking:
            kept.append(text[start : tag.start()])
        elif not opens and not thinking:
            kept.clear()
        thinking, start = opens, tag.end()
    spoken = "" if thinking else "".join([*kept, text[start:]])
    for mark in _NEXT_TURN.finditer(spoken):
        if _TOKEN.sub("", spoken[: mark.start()]).strip():
            closing = "</answer>" if mark[0].startswith("</answer>") else ""
            return _TOKEN.sub("", spoken[: mark.start()] + closing)
    return _TOKEN.sub("", spoken)


def _final_channel(text: str) -> str:
    """The text of the channel ``final``, "" if only other channels are there, else the text."""
    marks = list(_CHANNEL.finditer(text))
    if not marks or not (marks[0]["tagged"] or marks[0].start() == 0):
        return text
    if marks[0]["plain"] and not any(mark["plain"] == "final" for mark in marks):
        # A sentence may begin with such a word ("analysis of …"); otherwise the sample was cut off.
        return text if re.match(r"\s*(?:analysis|commentary|final)[\s:,]", text) else ""
    finals = [i for i, mark in enumerate(marks) if (mark["tagged"] or mark["plain"]) == "final"]
    if not finals:
        return ""
    start, *after = marks[finals[-1] :]
    return text[start.end() : after[0].start() if after else None]
