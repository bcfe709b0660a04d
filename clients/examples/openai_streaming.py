"""A streamed answer: the vote runs first, then the chosen completion comes as ordinary chunks."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "none"),
)
model = client.models.list().data[0].id
evidence = None
print("answer:   ", end="")
for chunk in client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "What is 7 * 8? Answer with just the number."}],
    stream=True,
):
    evidence = (chunk.model_extra or {}).get("ttrl", evidence)
    for choice in chunk.choices:
        print(choice.delta.content or "", end="", flush=True)
print("\nevidence:", evidence)
