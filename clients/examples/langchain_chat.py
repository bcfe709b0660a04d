"""LangChain's ChatOpenAI; it drops fields it does not know, so the evidence is read from the
HTTP reply."""

import json
import os

from langchain_openai import ChatOpenAI
from openai import DefaultHttpxClient, OpenAI

base_url = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
api_key = os.environ.get("OPENAI_API_KEY", "none")
replies = []
http = DefaultHttpxClient(
    event_hooks={"response": [lambda reply: replies.append(json.loads(reply.read()))]}
)

model = OpenAI(base_url=base_url, api_key=api_key).models.list().data[0].id
chat = ChatOpenAI(base_url=base_url, api_key=api_key, model=model, http_client=http)
print("answer:  ", chat.invoke("What is 7 * 8? Answer with just the number.").content)
print("evidence:", replies[-1].get("ttrl"))
