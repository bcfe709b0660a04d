"""Questions with one right answer each, asked through LangChain and scored by ttrl-replay's
rules: docs/recipes.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from langchain_openai import ChatOpenAI
from ttrl_client.datasets import load
from ttrl_client.scoring import read, same

PRODUCTS = Path(__file__).parent / "products.jsonl"

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", required=True)
parser.add_argument("--questions", default=PRODUCTS, help="any file ttrl-replay reads")
parser.add_argument(
    "--temperature", type=float, help="0: one greedy answer, no vote; default: the server's"
)
parser.add_argument(
    "--votes", type=int, help="vote with so many samples, and learn nothing from it"
)
args = parser.parse_args()

items = load(args.questions).items
ttrl = {"ttrl": {"samples": args.votes, "train": False}} if args.votes else None
chat = ChatOpenAI(model=args.model, temperature=args.temperature, extra_body=ttrl, timeout=600)
replies = chat.batch([item.prompt for item in items], config={"max_concurrency": 8})
said = [
    read(reply.text, reply.response_metadata["finish_reason"], item.asked).answer
    for item, reply in zip(items, replies, strict=True)
]
right = [same(answer, item.answer, item.asked) for answer, item in zip(said, items, strict=True)]
print(f"accuracy {sum(right) / len(right):.3f} ({sum(right)} of {len(right)})")
