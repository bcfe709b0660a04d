"""What went wrong for others who learn from rewards without labels, each with its right outcome
here.

Reports whose kind is covered elsewhere: tenstorrent/tt-metal#46412 (advantages meet other samples
when a micro-batch is small) in ``test_micro_batches`` and ``test_step``; areal-project/AReaL#1559
(groups that lost a sample) in ``test_draw``; lightvector/KataGo#86 (a candidate that passes beside
the old one and is worse than the last) in ``tests/integration/test_guards``;
uhh-pd-ml/sk_cathode#10 (a last batch of one sample weighs as much as a whole one) in
``test_learning_loop``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.learning.test_admission import QUESTION
from ttrl_server.answers import asked, read, same
from ttrl_server.learning.admission import admit
from ttrl_server.settings.sections import GuardConfig
from ttrl_server.types import Group, Question, Rollout, Vote, last_text
from ttrl_server.voting import Ballot, agreement
from ttrl_server.voting.confidence import Forms, anchored

CHOICES = "What kind is it?\nA) a cat\nB) a dog\nC) a bird\nAnswer with the letter."


def vote_of(texts: list[str], question: Question) -> tuple[Group, Vote]:
    ballot = Ballot(last_text(question))
    for i, text in enumerate(texts):
        ballot.add(Rollout(i, (1, 2), (-0.1, -0.2), text, "stop"))
    return Group("q", (1,), ballot.rollouts, 0, 0.6), ballot.count()


def outcome(texts: list[str], prompt: str) -> tuple[str, tuple[float, ...]]:
    """The reason of the admission, and the rewards."""
    question = replace(QUESTION, prompt=prompt)
    group, counted = vote_of(texts, question)
    rewards = agreement(counted, len(texts))
    return admit(question, group, counted, rewards, GuardConfig()).reason, rewards


@pytest.mark.parametrize("hedge", ["A or B or C", "A, B, C", "It is A or B."])
def test_a_sample_that_names_every_choice_earns_nothing(hedge: str) -> None:
    """Liuziyu77/Visual-RFT#79: "A or B or C" was right whatever was asked."""
    reason, rewards = outcome([hedge] * 3 + ["A"] * 8 + ["B"], CHOICES)
    assert (reason, rewards) == ("queued", (0.0,) * 3 + (1.0,) * 8 + (0.0,))
    assert not same(read(hedge, "stop", asked(CHOICES)).answer, "A", asked(CHOICES))


@pytest.mark.parametrize("empty", ["", r"\boxed{}", "<answer></answer>", "####", "**Answer:**"])
def test_an_empty_answer_is_right_of_nothing(empty: str) -> None:
    """Liuziyu77/Visual-RFT#176: the empty text stands in every truth, and all outputs became it."""
    prompt = "Which animal is it? Answer with just the word."
    reason, rewards = outcome([empty] * 6 + ["dog"] * 4, prompt)
    assert (reason, rewards) == ("queued", (0.0,) * 6 + (1.0,) * 4)
    assert not same("", "dog", asked(prompt))
    assert read("#### dog", "stop", asked(prompt)).answer == "dog"


def test_a_copied_operand_is_not_taught_from_a_weak_majority() -> None:
    """jsboige/CoursIA#11312: a reward for the operand out of the question is learned as such."""
    reason, _ = outcome(["48"] * 6 + ["31", "30", "41", "29"], "What is 48 - 17?")
    assert reason == "echo"


def test_words_of_the_question_are_not_what_it_asks_for() -> None:
    """unslothai/unsloth#2690: rewards for keywords were earned with those of the question."""
    prompt = "What is the chemical symbol of iron? Answer with just the symbol."
    assert outcome(["iron"] * 4 + ["Fe"] * 3 + ["Ir"] * 3, prompt)[0] == "echo"
    assert outcome(["Fe"] * 4 + ["iron"] * 3 + ["Ir"] * 3, prompt)[0] == "queued"


def test_a_label_that_the_question_does_not_offer_wins_nothing() -> None:
    """CambioML/uniflow#106: of three wordings of "equal", two were of no class that was offered,
    and the fewer samples of another class won."""
    prompt = "Is it warm or cold? Answer with just the word."
    _, rewards = outcome(["Warm."] * 2 + ["It is warm.", "tepid", "cold", "cold"], prompt)
    assert rewards == (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)


def test_samples_without_an_answer_make_nobody_sure() -> None:
    """rohitg00/ai-engineering-from-scratch#436: three answers that agree, and two that cannot be
    read, counted as unanimous."""
    question, said = QUESTION, ["7", "7", "7"]
    prompt = last_text(question)
    _, sure = vote_of(said, question)
    _, half = vote_of([*said, "I do not know.", "Let me think"], question)
    assert (sure.majority_ratio, half.majority_ratio) == (1.0, 0.6)
    base: list[str | None] = ["7", "7", "7"]
    ratios = [anchored(sure, given, prompt).base_ratio for given in (base, [*base, None, None])]
    assert ratios == [1.0, 0.6]


def test_a_model_that_runs_on_to_the_limit_teaches_nothing() -> None:
    """HarryHsing/EchoInk#5: late in training samples ran on to the last token. A cut sample has
    no answer, and too few answers are no majority."""
    ballot = Ballot("What is 3 + 4?")
    for i in range(8):
        done = i < 1
        text = "The answer is 7." if done else "The answer is 7. The answer is 7. The answer is"
        ballot.add(Rollout(i, (1, 2), (-0.1, -0.2), text, "stop" if done else "length"))
    counted = ballot.count()
    group, rewards = Group("q", (1,), ballot.rollouts, 0, 0.6), agreement(counted, 8)
    assert admit(QUESTION, group, counted, rewards, GuardConfig()).reason == "unextractable"


def test_scattered_answers_that_are_all_wrong_mostly_earn_nothing() -> None:
    """PRIME-RL/TTRL#35: samples are highly scattered and consistently wrong; the paper counts on
    most of them earning nothing all the same. A lucky pair is no consensus."""
    scattered = [str(number) for number in range(30, 44)]
    assert outcome(["29", "29", *scattered], "What is 16 + 9?")[0] == "no_consensus"


def test_a_reward_that_only_one_answer_to_all_can_earn_is_none() -> None:
    """Kidand at huggingface/open-r1#407: a run stays at one answer for long, with a high reward."""
    forms, reasons = Forms(), []
    for number in range(20, 28):
        prompt = f"Is {number} a prime number? Answer yes or no."
        question = replace(QUESTION, prompt=prompt)
        group, counted = vote_of(["yes"] * 9 + ["no"], question)
        alike = forms.note(prompt, counted.pseudo_label)
        rewards = agreement(counted, 10)
        reasons.append(admit(question, group, counted, rewards, GuardConfig(), alike).reason)
    assert reasons == ["queued"] * 6 + ["constant"] * 2


def test_what_is_said_to_be_sure_falls_where_answers_stop_depending_on_the_question() -> None:
    """PRIME-RL/TTRL#29: the reward rises while fewer and fewer rewards are the right ones."""
    forms, stated = Forms(), []
    for n in range(12, 24):
        prompt = f"What is {n} - 9?"
        question = replace(QUESTION, prompt=prompt)
        _, counted = vote_of(["7"] * 10, question)
        alike = forms.note(prompt, counted.pseudo_label)
        base: list[str | None] = ["7", "5", "3", "1", None, "4", "2", "6"]
        stated.append(anchored(counted, base, prompt).confidence(alike))
    assert counted.majority_ratio == 1
    assert stated == sorted(stated, reverse=True)
    assert stated[-1] < stated[0] - 0.1
