"""Several questions at once with the asynchronous client; ``ttrl`` in extra_body sets options of
the vote."""

import asyncio
import os

from openai import AsyncOpenAI

QUESTIONS = [f"What is {a} * 6? Answer with just the number." for a in (3, 7, 9)]


async def main() -> None:
    client = AsyncOpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
    )
    model = (await client.models.list()).data[0].id

    async def ask(question: str) -> None:
        completion = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            extra_body={"ttrl": {"samples": 32, "train": True}},
        )
        print(question, "\n  answer:  ", completion.choices[0].message.content)
        print("  evidence:", (completion.model_extra or {}).get("ttrl"))

    await asyncio.gather(*(ask(question) for question in QUESTIONS))


asyncio.run(main())
