#!/bin/sh
# One voted question with curl, then what the server has learned so far.
#   OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=… ./curl.sh [MODEL]
set -eu
base=${OPENAI_BASE_URL:-http://127.0.0.1:8000/v1}
key=${OPENAI_API_KEY:-none}
model=${1:-$(curl -sSf "$base/models" -H "Authorization: Bearer $key" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')}

curl -sSf "$base/chat/completions" \
    -H "Authorization: Bearer $key" -H "Content-Type: application/json" \
    -d '{"model": "'"$model"'", "messages": [{"role": "user", "content": "What is 7 * 8? Answer with just the number."}]}' |
    python3 -c 'import json, sys
reply = json.load(sys.stdin)
print("answer:  ", reply["choices"][0]["message"]["content"])
print("evidence:", json.dumps(reply.get("ttrl")))'

echo "status:   $(curl -sSf "${base%/v1}/ttrl/v1/status" -H "Authorization: Bearer $key")"
