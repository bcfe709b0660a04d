"""The commands of docs/recipes.md against the gateway: their scores, what was voted on and what
was kept."""

from __future__ import annotations

import json
import subprocess
import venv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests import recipes
from tests.integration.conftest import Gateway, Start
from tests.integration.fake_vllm import FakeVLLM

KEY = "a-clients-key"
HARNESSES = ["lm-eval", "Inspect", "LangChain"]
SLOW = pytest.param("lm-eval", marks=pytest.mark.slow)
GREEDY = [SLOW, "Inspect", "LangChain"]
VOTED = [SLOW, pytest.param("Inspect", marks=pytest.mark.slow), "LangChain"]
OWN = {
    "lm-eval": "--metadata questions=mine.jsonl",
    "Inspect": "-T questions=$PWD/mine.jsonl",
    "LangChain": "--questions mine.jsonl",
}
"""How the document says that other questions are asked."""
PRODUCTS = [
    json.loads(line)
    for line in (recipes.ROOT / "clients/recipes/products.jsonl").read_text().splitlines()
]
PLACES = {product["prompt"]: place for place, product in enumerate(PRODUCTS)}


@dataclass
class Pupil(FakeVLLM):
    """Knows every other product when it is greedy, three of four by the majority of its samples.

    A prompt's tokens are its characters, so that the pupil can read what it is asked.
    """

    samples: Counter[str] = field(default_factory=Counter)

    def says(self, prompt: str, *, rightly: bool) -> str:
        answer = int(PRODUCTS[PLACES[prompt]]["answer"])
        return f"The answer is {answer if rightly else answer + 1}."

    async def tokenize(self, request: Request) -> Response:
        ids = [*map(ord, (await self._body(request))["messages"][-1]["content"])]
        return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": 1024})

    async def completions(self, request: Request) -> Response:
        prompt = "".join(map(chr, (await self._body(request))["prompt"]))
        agrees = self.samples[prompt] % 4 != 3
        self.samples[prompt] += 1
        text = self.says(prompt, rightly=agrees == (PLACES[prompt] % 4 != 3))
        ids = [*map(ord, text)]
        choice = {"text": text, "token_ids": ids, "finish_reason": "stop"}
        logprobs = {"token_logprobs": [-0.5] * len(ids)}
        return JSONResponse({"choices": [choice | {"logprobs": logprobs}]})

    async def chat(self, request: Request) -> Response:
        body = await self._body(request)
        prompt = body["messages"][-1]["content"]
        text = self.says(prompt, rightly=PLACES[prompt] % 2 == 0)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        about = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        more = {"model": body["model"], "choices": [choice], "usage": usage}
        return JSONResponse(about | more)


@pytest.fixture
def gateway(start: Start) -> Gateway:
    gateway = start(Pupil(), api={"keys": [KEY]}, vote={"deadline_s": 120})
    gateway.http.headers["authorization"] = f"Bearer {KEY}"
    return gateway


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """The prompts of a file with no more than prompt and answer, one question that is voted
    wrongly among four."""
    few = [{"prompt": product["prompt"], "answer": product["answer"]} for product in PRODUCTS[:4]]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(question) + "\n" for question in few))
    return [question["prompt"] for question in few]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the ``openai`` command, from a release of the package that has it."""
    folder = tmp_path_factory.mktemp("openai")
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "openai<2.35"], capture_output=True, text=True, timeout=240)
    if done.returncode != 0:
        pytest.skip(f"no package index to install the command from: {done.stderr[-500:]}")
    return folder / "bin"


def asked(gateway: Gateway) -> Counter[str]:
    """How often the engine was asked for what: whole answers (chat) and samples of votes
    (completions)."""
    asked_for = (path.rpartition("/v1/")[2] for path in gateway.engine.paths())
    return Counter(path for path in asked_for if path.endswith("completions"))


def kept(gateway: Gateway) -> int:
    return sum(gateway.status()["groups"].values())


def run(name: str, gateway: Gateway, folder: Path, more: str = "", path: Path | None = None) -> str:
    changes = {recipes.ADDRESS: gateway.url, recipes.KEY: f"={KEY}", recipes.MODEL: "tiny"}
    return recipes.run(name, folder, changes, more, path)


def test_every_command_of_the_document_is_run_here() -> None:
    kinds = [f"{name}, {kind}" for name in [*HARNESSES, "openai"] for kind in ("greedy", "voted")]
    assert list(recipes.blocks()) == [recipes.SETUP, *kinds]
    assert recipes.DOCUMENT.read_text().count("```") == 2 * len(recipes.blocks())


@pytest.mark.parametrize("harness", GREEDY)
def test_a_greedy_evaluation_scores_the_engines_own_answers_and_nothing_is_kept(
    harness: str, gateway: Gateway, tmp_path: Path
) -> None:
    assert recipes.score(run(f"{harness}, greedy", gateway, tmp_path)) == 0.5
    assert asked(gateway) == {"chat/completions": len(PRODUCTS)}
    assert {body["temperature"] for _, body in gateway.engine.seen} == {0}
    assert kept(gateway) == 0


@pytest.mark.parametrize("harness", VOTED)
def test_a_voted_evaluation_of_ones_own_questions_scores_the_votes_and_nothing_is_kept(
    harness: str, gateway: Gateway, own: list[str], tmp_path: Path
) -> None:
    assert recipes.score(run(f"{harness}, voted", gateway, tmp_path, more=OWN[harness])) == 0.75
    assert set(asked(gateway)) == {"completions"}
    assert isinstance(gateway.engine, Pupil)
    assert sorted(gateway.engine.samples) == sorted(own)
    assert min(gateway.engine.samples.values()) > 8
    assert kept(gateway) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "says", "asks", "keeps"),
    [
        ("greedy", "The answer is 57.", {"chat/completions": 1}, 0),  # the second product: unknown
        ("voted", "The answer is 56.", {"completions": 8}, 1),
    ],
)
def test_the_openai_command_prints_the_engines_own_answer_or_the_votes_which_is_learned_from(
    command: Path,
    gateway: Gateway,
    tmp_path: Path,
    kind: str,
    says: str,
    asks: dict[str, int],
    keeps: int,
) -> None:
    assert says in run(f"openai, {kind}", gateway, tmp_path, path=command)
    assert asked(gateway) == asks
    assert kept(gateway) == gateway.status()["groups"]["pending"] == keeps
