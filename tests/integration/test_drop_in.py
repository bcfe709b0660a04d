"""What clients of other servers were seen to fail on, each from a public report."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from tests.integration.conftest import Gateway, Start, asking, problem
from tests.integration.fake_vllm import FakeVLLM, Rendering

CHAT = "/v1/chat/completions"
H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
EVIL = "https://evil.example"
WEATHER = {"name": "weather", "description": "The weather", "input_schema": {"type": "object"}}


# ---------------------------------------------------------------- the connection


def answers(connection: socket.socket) -> str:
    """One response, whole."""
    got = b""
    while True:
        got += connection.recv(65536)
        head, end, body = got.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if end and length and len(body) >= int(length[1]):
            return got.decode()


@pytest.mark.parametrize("chunked", [False, True])
def test_an_offer_of_http2_is_ignored_and_the_body_read(gateway: Gateway, chunked: bool) -> None:
    """The JDK's client offers it with every request (vllm#57203, langchain4j#3016)."""
    body, at = json.dumps(asking()), urlsplit(gateway.url)
    framed = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n" if chunked else body
    how = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    about = f"Host: {at.netloc}\r\nContent-Type: application/json\r\n{how}\r\n"
    plain, offering = (f"POST {CHAT} HTTP/1.1\r\n{about}{more}\r\n{framed}" for more in ("", H2C))
    with socket.create_connection((at.hostname, at.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in (plain, offering, offering, plain):  # one after another, on one connection
            middle = request.index("Upgrade") - 1 if request is offering else 7
            for piece in (request[:middle], request[middle:]):  # also a head that comes in pieces
                connection.sendall(piece.encode())
                time.sleep(0.05)
            assert answers(connection).startswith("HTTP/1.1 200")


def test_no_part_of_a_body_is_taken_for_a_request(start: Start) -> None:
    """A refusal may come before the body; the next reader of the connection must not get another
    answer from it."""
    gateway = start(api={"keys": ["k"]})
    at, inner = urlsplit(gateway.url), f"GET /live HTTP/1.1\r\nHost: x\r\n{H2C}\r\n"
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
    with socket.create_connection((at.hostname, at.port)) as connection:
        connection.sendall(head.encode())
        assert answers(connection).startswith("HTTP/1.1 401")
        connection.sendall(inner.encode().ljust(5000, b"x"))
        connection.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        said = answers(connection)
        assert (said.count("HTTP/1.1"), said.startswith("HTTP/1.1 200")) == (1, True)


@pytest.mark.skipif(not shutil.which("java"), reason="no JDK here")
def test_the_jdks_own_client_gets_its_answers(gateway: Gateway) -> None:
    program = Path(__file__).parents[1] / "clients" / "Ask.java"
    call = ["java", str(program), f"{gateway.url}{CHAT}", json.dumps(asking())]
    said = subprocess.run(call, capture_output=True, text=True, check=True, timeout=60)
    replies = [line.split(" ", 1) for line in said.stdout.splitlines()]
    assert [(code, json.loads(body)["ttrl"]["answer"]) for code, body in replies] == [
        ("200", "7"),
        ("200", "7"),
    ]


def test_an_offer_of_a_websocket_is_refused(gateway: Gateway) -> None:
    at = urlsplit(gateway.url)
    lines = ["GET /v1/realtime HTTP/1.1", f"Host: {at.netloc}", "Connection: Upgrade"]
    lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==", "", ""]
    with socket.create_connection((at.hostname, at.port)) as connection:
        connection.sendall("\r\n".join(lines).encode())
        assert re.match(rb"HTTP/1.1 4\d\d", connection.recv(65536))


# ---------------------------------------------------------------- who calls


@pytest.mark.parametrize("kind", ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded"])
def test_what_any_page_may_send_without_asking_is_not_read(gateway: Gateway, kind: str) -> None:
    """A page could have taught the model (llama.cpp#25606, gpt4all#3681)."""
    body = json.dumps(asking()).encode()
    reply = gateway.http.post(CHAT, content=body, headers={"content-type": kind})
    assert problem(reply) == (415, "unsupported_media_type")
    assert gateway.engine.seen == []


def test_an_encoded_body_is_refused_by_its_name(gateway: Gateway) -> None:
    body = gzip.compress(json.dumps(asking()).encode())
    reply = gateway.http.post(CHAT, content=body, headers={"content-encoding": "gzip"})
    assert reply.status_code == 415
    assert "'gzip'" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example:8000"}, 403),  # DNS rebinding: gpt4all#3587, CVE-2024-28224
        ({"origin": EVIL}, 403),
        ({"origin": "null"}, 403),
        ({"host": "localhost:8000", "origin": "http://localhost:3000"}, 200),
        ({"host": "host.docker.internal:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"host": "0.0.0.0:8000", "origin": "vscode-webview://1abc"}, 200),  # a program's own
        ({"host": "0.0.0.0:8000", "origin": "http://0.0.0.0:8000"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
    ],
)
def test_without_keys_only_this_machine_and_its_pages_are_answered(
    gateway: Gateway, headers: dict[str, str], status: int
) -> None:
    assert gateway.http.get("/v1/models", headers=headers).status_code == status


def test_other_names_and_pages_may_be_let_in(start: Start) -> None:
    gateway = start(api={"hosts": ["Model.lan"], "origins": ["https://chat.lan"]})
    let_in = {"host": "model.lan:8000", "origin": "https://chat.lan"}
    reply = gateway.http.get("/v1/models", headers=let_in)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == "https://chat.lan"
    assert gateway.http.get("/v1/models", headers={"origin": EVIL}).status_code == 403


def test_a_browser_may_ask_before_it_sends_a_key(start: Start) -> None:
    """vllm#4862, open-webui#20604: the question before was refused for want of a key."""
    gateway = start(api={"keys": ["k"], "origins": ["https://chat.lan"]})
    wish = {"access-control-request-method": "POST"}
    wish |= {"access-control-request-headers": "authorization,content-type"}
    for origin in ("https://chat.lan", "http://localhost:3000"):
        reply = gateway.http.options(CHAT, headers=wish | {"origin": origin})
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == origin
        assert "authorization" in reply.headers["access-control-allow-headers"]
    assert gateway.http.options(CHAT, headers=wish | {"origin": EVIL}).status_code == 400
    # With a key a program may name any host, and its origin does not matter.
    key = {"authorization": "Bearer k", "host": "model.lan", "origin": EVIL}
    assert gateway.http.get("/v1/models", headers=key).status_code == 200


def test_the_key_comes_as_clients_write_it(start: Start) -> None:
    gateway = start(api={"keys": ["k"]})
    for name, value in (
        ("authorization", "bearer k"),  # Azure/autorest.typescript#2109; RFC 9110, 11.1
        ("authorization", "BEARER  k"),
        ("x-api-key", "k"),
        ("api-key", "k"),  # litellm#4077
    ):
        assert gateway.http.get("/v1/models", headers={name: value}).status_code == 200


def test_a_slash_at_the_end_changes_nothing(start: Start) -> None:
    """A redirect was taken for an answer (ogx#2496), or went to http (letta#3189)."""
    gateway = start(api={"keys": ["k"]})
    reply = gateway.http.post(f"{CHAT}/", json=asking(), headers={"x-api-key": "k"})
    assert reply.json()["ttrl"]["answer"] == "7"
    assert gateway.http.post("/ttrl/v1/adapters/rollback/", json={}).status_code == 401


# ---------------------------------------------------------------- models, and being ready


def test_a_model_is_found_by_its_name_and_says_what_fits(start: Start) -> None:
    """FreeToken#108, Fastllm-proxy#18, vllm#3486."""
    gateway = start()
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0)
    for name in ("tiny", "tiny@base", "org/tiny"):  # its name on the hub too, as plain vLLM has it
        card: Any = client.models.retrieve(name)
        assert (card.id, card.root, card.max_model_len) == (name, "org/tiny", 128)
        reply = gateway.ask(model=name, max_tokens=4)
        assert reply.json()["model"] == name
    with pytest.raises(openai.NotFoundError, match="tiny"):
        client.models.retrieve("gpt-9")
    first, second = (gateway.http.get("/v1/models").json()["data"] for _ in range(2))
    assert first == second


def test_before_questions_can_be_answered_nothing_says_that_they_can(start: Start) -> None:
    """vLLM opens its port only when it is ready; scripts wait for /health or /v1/models."""
    gateway = start()
    assert [gateway.http.get(p).status_code for p in ("/health", "/live")] == [200, 200]
    (replica,) = gateway.service.fleet.replicas
    replica.ready = False
    for path in ("/health", "/ready", "/v1/models", "/v1/models/tiny"):
        assert gateway.http.get(path).status_code == 503
    assert gateway.http.get("/live").status_code == 200
    assert gateway.http.get("/version").json()["version"]


# ---------------------------------------------------------------- what is asked


def test_what_is_all_but_greedy_is_not_voted_on(gateway: Gateway) -> None:
    """vLLM draws at 0.01 what asks for less; 1e-8 stands for 0 (ragas#939, langchain#6993)."""
    for more in ({"temperature": 1e-8}, {"top_k": 1}):
        assert gateway.ask(**more).headers["x-ttrl-unvoted"] == "temperature"
    gateway.ask(temperature=0.001, ttrl={"samples": 2})
    drawn = [body for path, body in gateway.engine.seen if path == "/v1/completions"]
    assert {body["temperature"] for body in drawn} == {0.01}


def test_a_seed_of_minus_one_is_a_random_one(gateway: Gateway) -> None:
    """vllm#4531; else M − 1 samples would be the same for ever."""
    gateway.ask(seed=-1)
    drawn = [body for path, body in gateway.engine.seen if path == "/v1/completions"]
    assert len(drawn) == 8
    assert not any("seed" in body for body in drawn)


@pytest.mark.parametrize(
    "given", [{"session_id": "s"}, {"request_id": "r"}, {"verbosity": "low"}, {"functions": []}]
)
def test_fields_that_ask_for_nothing_do_not_switch_the_vote_off(
    gateway: Gateway, given: dict[str, Any]
) -> None:
    assert "ttrl" in gateway.ask(**given).json()


def test_special_tokens_are_added_or_not_as_was_asked(gateway: Gateway) -> None:
    """Two BOS tokens (vllm#9519, open-r1#462)."""
    body = {"model": "tiny", "prompt": "1, 2, 3,", "add_special_tokens": False}
    assert "ttrl" in gateway.http.post("/v1/completions", json=body).json()
    (asked,) = (body for path, body in gateway.engine.seen if path == "/tokenize")
    assert asked["add_special_tokens"] is False


def test_a_prompt_may_be_scored_without_a_token_more(gateway: Gateway) -> None:
    """lm-evaluation-harness#1411: echo with max_tokens 0 was refused."""
    body = {"model": "tiny", "prompt": "Yes", "echo": True, "max_tokens": 0, "logprobs": 1}
    reply = gateway.http.post("/v1/completions", json=body)
    assert reply.headers["x-ttrl-unvoted"] in ("max_tokens", "echo")


@pytest.mark.parametrize("temperature", [0, 0.7])
@pytest.mark.parametrize("route", [CHAT, "/v1/messages", "/v1/completions"])
def test_more_tokens_than_fit_are_as_many_as_fit(
    start: Start, route: str, temperature: float
) -> None:
    """vllm#42474: Zed, Factory and opencode ask for more than the context."""
    gateway = start(Rendering(text=lambda i: "7"))
    body = asking(max_tokens=1_000_000, temperature=temperature, prompt="1, 2, 3,")
    body.pop("messages" if route == "/v1/completions" else "prompt")
    assert gateway.http.post(route, json=body).status_code == 200
    asked = [body for path, body in gateway.engine.seen if path.startswith(route)]
    assert {body["max_tokens"] for body in asked if "max_tokens" in body} <= set(range(1, 129))


def test_a_budget_of_thinking_reaches_the_engine_with_a_limit_above_it(start: Start) -> None:
    """vLLM refuses a budget that is not below max_tokens."""
    gateway = start(Rendering(text=lambda i: "7"))
    body = asking(max_tokens=100, thinking={"type": "enabled", "budget_tokens": 64})
    assert "ttrl" in gateway.http.post("/v1/messages", json=body).json()
    *_, asked = (body for path, body in gateway.engine.seen if path == "/v1/messages/render")
    assert asked["thinking"]["budget_tokens"] < asked["max_tokens"]


def test_a_vote_that_ran_out_of_time_is_not_asked_again(start: Start) -> None:
    gateway = start(FakeVLLM(held=lambda i: True))
    reply = gateway.ask(headers={"x-ttrl-timeout": "0.2"})
    assert (reply.status_code, reply.headers["x-should-retry"]) == (504, "false")


def test_what_a_message_has_besides_is_left_to_the_engine(start: Start) -> None:
    """Names, ids and options of editors were refused (vllm#10463, vllm#12864)."""
    gateway = start(Rendering(text=lambda i: "7"))
    said = asking()["messages"][0] | {"name": "bob", "id": 7, "opts": {"visible": False}}
    assert gateway.http.post(CHAT, json={"model": "tiny", "messages": [said]}).json()["ttrl"]
    (rendered,) = (b for path, b in gateway.engine.seen[4:] if path == f"{CHAT}/render")
    assert rendered["messages"] == [said]


def test_tools_that_may_not_be_called_leave_a_vote_on_text(start: Start) -> None:
    """litellm#24443: a choice of none was a 500."""
    gateway = start(Rendering(text=lambda i: "7"))
    body = asking(max_tokens=8, tools=[WEATHER], tool_choice={"type": "none"})
    reply = gateway.http.post("/v1/messages", json=body).json()
    assert (reply["content"][0]["text"], reply["ttrl"]["answer"]) == ("7", "7")


@pytest.mark.parametrize("kind", ["web_search", "namespace", "custom"])
def test_a_tool_that_is_not_the_clients_own_is_for_the_engine_to_judge(
    start: Start, kind: str
) -> None:
    """Codex offers such beside its functions (codex#10635, vllm#42475)."""
    gateway = start(Rendering(text=lambda i: "7"))
    tools = [{"type": "function", "name": "shell", "parameters": {}}, {"type": kind, "name": "x"}]
    body = {"model": "tiny", "input": "What is 3 + 4?", "tools": tools}
    assert gateway.http.post("/v1/responses", json=body).headers["x-ttrl-unvoted"] == "tools"
    assert gateway.engine.seen[-1][1]["tools"] == tools


def test_usage_of_a_response_has_all_its_fields(start: Start) -> None:
    """llama.cpp#22659: one of five was missing."""
    gateway = start(Rendering(text=lambda i: "7"))
    reply = gateway.http.post("/v1/responses", json={"model": "tiny", "input": "What is 3 + 4?"})
    names = {"input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details"}
    assert reply.json()["usage"].keys() == names | {"total_tokens"}


# ---------------------------------------------------------------- streams


def streamed(
    gateway: Gateway, headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    return gateway.ask(stream=True, headers=headers, **more)


def test_a_comment_in_a_stream_is_no_event_to_the_strictest_reader(start: Start) -> None:
    """openai-go#556, #621: a blank line after a comment ended the client."""
    gateway = start(FakeVLLM(delay_s=1.3), vote={"stop": "none"})
    lines = streamed(gateway).text.split("\n")
    comments = [place for place, line in enumerate(lines) if line.startswith(":")]
    assert comments
    assert all(lines[place + 1] for place in comments)


def test_no_proxy_keeps_a_stream_back(gateway: Gateway) -> None:
    """litellm#29557, llama.cpp#24774."""
    asked: list[dict[str, Any]] = [{}, {"temperature": 0}]
    for more in asked:
        assert streamed(gateway, **more).headers["x-accel-buffering"] == "no"


def test_every_chunk_says_what_it_is_and_only_the_last_has_the_usage(start: Start) -> None:
    """TensorRT-Edge-LLM#93, kubeai#283; a called tool without its type or place: vllm#16340,
    ollama#7881."""
    gateway = start(Rendering(text=lambda i: 'call weather {"city": "Oslo"}'))
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    told = streamed(gateway, tools=[tool], stream_options={"include_usage": True}).text
    chunks = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: {")]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert [bool(chunk.get("usage")) for chunk in chunks[-2:]] == [False, True]
    assert not any(chunk.get("usage") for chunk in chunks[:-1])
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    ((call,),) = (delta["tool_calls"] for delta in deltas if delta.get("tool_calls"))
    assert (call["index"], call["type"], bool(call["id"])) == (0, "function", True)
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Oslo"}'}


def test_a_stream_lives_while_its_question_waits_for_room(start: Start) -> None:
    """Balancers end what is silent for a minute (vllm#47647, litellm#34819)."""
    gateway = start(FakeVLLM(delay_s=2.5), limits={"samples_in_flight": 8})
    first = gateway.aside(gateway.ask)
    gateway.until(lambda: gateway.engine.running > 0)
    lines = streamed(gateway).text.splitlines()
    assert ": 0/8 samples" in lines
    assert gateway.engine.most_running < 8  # waves of four
    assert first.result().status_code == 200


async def test_one_that_leaves_while_it_waits_is_not_asked_for(start: Start) -> None:
    gateway = start(FakeVLLM(held=lambda i: True), limits={"samples_in_flight": 8})
    async with httpx.AsyncClient(base_url=gateway.url, verify=False) as http:
        first = asyncio.create_task(http.post(CHAT, json=asking()))
        await asyncio.to_thread(gateway.until, lambda: gateway.engine.running > 0)
        with pytest.raises(httpx.ReadTimeout):  # passed on, and not voted on
            await http.post(CHAT, json=asking(temperature=0), timeout=0.5)
        gateway.engine.held = lambda i: False
        assert (await first).status_code == 200
        assert (await http.post(CHAT, json=asking())).status_code == 200
    assert CHAT not in gateway.engine.paths()


def test_an_error_within_a_stream_ends_it_as_every_stream_ends(start: Start) -> None:
    gateway = start(FakeVLLM(held=lambda i: True))
    events = streamed(gateway, {"x-ttrl-timeout": "1.6"}).text.strip().split("\n\n")
    assert "deadline_exceeded" in events[-2]
    assert events[-1] == "data: [DONE]"


def test_one_key_is_one_vote_and_every_stream_of_it_names_its_group(start: Start) -> None:
    """A retry has the key of the request before it; feedback was a 404 for all but one."""
    gateway = start(FakeVLLM(delay_s=1.3))
    key = {"idempotency-key": "retry-1"}
    asked = [gateway.aside(streamed, gateway, key) for _ in range(3)]
    ids = set()
    for reply in (each.result() for each in asked):
        data = [line[6:] for line in reply.text.splitlines() if line.startswith("data: {")]
        ids |= {json.loads(each)["id"] for each in data}
    assert len(ids) == 1
    assert gateway.engine.drawn == 8
    told = gateway.http.post("/v1/feedback", json={"id": ids.pop(), "score": 1})
    assert told.status_code == 200
