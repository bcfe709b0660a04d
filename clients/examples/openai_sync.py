"""One question with the openai package: only base_url differs from any other OpenAI code."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "none"),
)
model = client.models.list().data[0].id
completion = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "What is 7 * 8? Answer with just the number."}],
)
print("answer:  ", completion.choices[0].message.content)
print("evidence:", (completion.model_extra or {}).get("ttrl"))
