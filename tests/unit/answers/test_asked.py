"""What a question asks for, and that what asks for nothing comparable is open."""

from __future__ import annotations

import json

import pytest

from benchmarks.data import DATA
from benchmarks.votable import outcome
from tests.unit.answers.requests import COMPARABLE, OPEN
from ttrl_server.answers import Kind, asked
from ttrl_server.answers.kinds import housekeeping

KINDS: list[tuple[str, Kind]] = [
    ("What is 7 * 8? Answer with just the number.", "number"),
    ("Calculate 7 times 8. Reply with the result only.", "number"),
    ("Tom has 3 apples and gets 4 more. How many apples has he now?", "number"),
    ("Find the area of a circle with radius 3.", "number"),
    ("If $x + y = 5$ and $x - y = 1$, what is $x$?", "number"),
    ("Simplify $\\frac{8}{22}$.", "number"),
    ("What is the hypotenuse of a right triangle with legs 3 and 4?", "number"),
    ("How long does light take from the sun to the earth?", "number"),
    ("Combien font 3 fois 4 ?", "number"),
    ("3乘以4等于多少？", "number"),
    ("What percentage of 80 is 20?", "number"),
    ("Is 91 a prime number?", "verdict"),
    ("Does water boil at 100 degrees? Answer yes or no.", "verdict"),
    ("True or false: all cats fly.", "verdict"),
    ("Verify the correctness of the given statement.\n\nAll primes are odd.", "verdict"),
    ("Is 57 even or odd? Answer with one word.", "alternative"),
    ("Classify the review as positive, negative or neutral: 'It was fine.'", "alternative"),
    ("Is this mail spam or not? Decide whether it is spam or not.\n\nWin a car!", "alternative"),
    ("Which is prime?\nA. 4\nB. 7\nC. 9\nD. 12", "choice"),
    ("What is the capital of Peru? Answer with just the word.", "words"),
    ("Decrypt it. Provide only the decrypted text as your final answer.", "words"),
    ("What is the capital of Australia?", "fact"),
    ("Who wrote Hamlet?", "fact"),
    ("what language do people speak in brazil", "fact"),
    ("In what year did the war end?", "fact"),
    ("Write a poem about the number 7.", "open"),
    ("How do I make pancakes for 4 people?", "open"),
    ("Give me 5 ideas for a birthday party.", "open"),
    ("Why is the sky blue?", "open"),
    ("Can you help me use my phone less?", "open"),
    ("Explain the difference between TCP and UDP.", "open"),
    ("What are some good books for a 10 year old?", "open"),
    ("Summarize the following article in 3 sentences: …", "open"),
    ("What is a Dyson sphere?", "open"),
    ("Translate 'good morning' into French and German.", "open"),
    ("Implement a queue using two stacks in Python.", "open"),
    ("Prove that $\\sqrt{2}$ is irrational.", "open"),
    ("Hi, I have 3 eggs. Can you give me a recipe?", "open"),
]


@pytest.mark.parametrize("question", COMPARABLE)
def test_a_question_with_one_answer_is_not_open(question: str) -> None:
    assert asked(question).kind != "open"


@pytest.mark.parametrize("question", OPEN)
def test_a_request_for_work_talk_or_advice_is_open(question: str) -> None:
    assert asked(question).kind == "open"


@pytest.mark.parametrize(("question", "kind"), KINDS)
def test_a_question_is_of_the_kind_of_its_answer(question: str, kind: Kind) -> None:
    assert asked(question).kind == kind


def test_nothing_is_known_of_no_question() -> None:
    assert asked(None) == asked("") == asked(" \n")
    assert asked(None).kind == "unknown"


@pytest.mark.parametrize(
    "request_",
    [
        "### Task:\nGenerate 1-3 broad tags categorizing the main "
        "themes.\n<chat_history>7*8?</chat_history>",
        "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might "
        "naturally ask next.",
        "Provide a concise, 5-word-or-less title for the conversation. Only return the title "
        "itself.",
        "Please generate a four to five word title summarizing our conversation without any "
        "lead-in.",
        "Summarize the discussion briefly in 200 words or less to use as a prompt for future "
        "context.",
        "Based on the chat history, give this conversation a name.",
        "请将用户的会话总结为 10 个字以内的标题",
    ],
)
def test_what_front_ends_ask_of_their_own_accord_is_known(request_: str) -> None:
    assert housekeeping(request_)
    assert asked(request_).kind == "open"


@pytest.mark.parametrize("question", [question for question, kind in KINDS if kind != "open"])
def test_a_question_of_a_person_is_no_housekeeping(question: str) -> None:
    assert not housekeeping(question)


# ------------------------------------------------------------ real requests, where they are at hand

with_data = pytest.mark.skipif(
    not (DATA / "chat.jsonl").is_file(), reason=f"no requests in {DATA} (TTRL_TEST_DATA)"
)


@with_data
def test_of_open_requests_hardly_any_is_voted_on_and_of_answers_most() -> None:
    labels = json.loads((DATA / "chat_labels.json").read_text(encoding="utf-8"))
    found: dict[str, list[tuple[bool, bool]]] = {"open": [], "answer": [], "unclear": []}
    for line in (DATA / "chat.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[labels[row["id"]]].append(outcome(row["question"], row["responses"]))
    assert sum(votable for votable, _ in found["open"]) <= 0.02 * len(found["open"])
    assert sum(trained for _, trained in found["open"]) <= 0.005 * len(found["open"])
    assert sum(votable for votable, _ in found["answer"]) >= 0.7 * len(found["answer"])


@with_data
def test_every_question_of_mathematics_is_voted_on() -> None:
    rows = (
        json.loads(line)
        for line in (DATA / "math_samples.jsonl").read_text(encoding="utf-8").splitlines()
    )
    assert all(outcome(row["question"], row["responses"])[0] for row in rows)
