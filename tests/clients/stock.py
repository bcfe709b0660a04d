"""What stock Python clients make of a server: stock.py URL MODEL. One line of JSON for each."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

URL, MODEL = sys.argv[1:]
ASKED: Any = [{"role": "user", "content": "What is the weather in Oslo?"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
ABOUT: Any = {"name": "weather", "description": "The weather in a city", "strict": True}
TOOL: Any = {"type": "function", "function": ABOUT | {"parameters": SCHEMA}}


def openai_async() -> Any:
    import openai

    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="x", max_retries=0) as client:
            create = client.chat.completions.create
            replies = await asyncio.gather(
                *(create(model=MODEL, messages=ASKED, max_tokens=8) for _ in range(4))
            )
            stream = await create(model=MODEL, messages=ASKED, max_tokens=8, stream=True)
            chunks = [chunk async for chunk in stream]
            return [len({reply.id for reply in replies}), chunks[-1].choices[0].finish_reason]

    return asyncio.run(ask())


def openai_responses() -> Any:
    import openai

    client = openai.OpenAI(base_url=f"{URL}/v1", api_key="x", max_retries=0)
    with client.responses.stream(model=MODEL, input="What is 3 + 4?", max_output_tokens=24) as said:
        whole = "".join(e.delta for e in said if e.type == "response.output_text.delta")
        return [said.get_final_response().output_text == whole]


def litellm_tools() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices
    import litellm

    more = {"base_url": f"{URL}/v1", "api_key": "x", "max_tokens": 64, "tool_choice": "required"}
    reply = litellm.completion(model=f"openai/{MODEL}", messages=ASKED, tools=[TOOL], **more)
    (call,) = reply.choices[0].message.tool_calls
    return [call.function.name, list(json.loads(call.function.arguments))]


def langchain_agent() -> Any:
    from langchain.agents import create_agent
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return "7 degrees"

    chat = ChatOpenAI(
        model=MODEL, base_url=f"{URL}/v1", api_key="x", max_completion_tokens=64, max_retries=0
    )
    agent = create_agent(chat, [weather])
    told = agent.invoke({"messages": ASKED}, {"recursion_limit": 50})["messages"]
    bound = chat.bind_tools([weather], tool_choice="required", strict=True).invoke(ASKED)
    return [told[-1].type, bound.tool_calls[0]["name"]]


def agents_sdk() -> Any:
    import openai
    from agents import (
        Agent,
        ModelSettings,
        OpenAIChatCompletionsModel,
        OpenAIResponsesModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )

    set_tracing_disabled(True)

    @function_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return "7 degrees"

    called = []
    for kind in (OpenAIChatCompletionsModel, OpenAIResponsesModel):
        client = openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="x", max_retries=0)
        agent = Agent(
            name="one",
            model=kind(model=MODEL, openai_client=client),
            tools=[weather],
            model_settings=ModelSettings(tool_choice="required", max_tokens=64),
        )
        result = asyncio.run(Runner.run(agent, ASKED[0]["content"], max_turns=6))
        called.append(any(item.type == "tool_call_output_item" for item in result.new_items))
    return called


def anthropic_messages() -> Any:
    import anthropic

    client = anthropic.Anthropic(base_url=URL, api_key="x", max_retries=0)
    tools: Any = [ABOUT | {"input_schema": SCHEMA}]
    more: Any = {"tools": tools, "tool_choice": {"type": "any"}}
    with client.messages.stream(model=MODEL, max_tokens=64, messages=ASKED, **more) as said:
        reply = said.get_final_message()
    counted = client.messages.count_tokens(model=MODEL, messages=ASKED).input_tokens
    named = next(block.name for block in reply.content if block.type == "tool_use")
    return [reply.stop_reason, named, counted > 0]


CASES: list[Callable[[], Any]] = [
    openai_async,
    openai_responses,
    litellm_tools,
    langchain_agent,
    agents_sdk,
    anthropic_messages,
]

for case in CASES:
    try:
        result = case()
    except Exception as error:
        result = [f"{type(error).__name__}: {error}"[:500]]
    print(json.dumps({"name": case.__name__, "result": result}), flush=True)
