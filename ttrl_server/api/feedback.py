"""``POST /v1/feedback``: a person's score or label replaces the rewards of an answer's group."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ttrl_server.api import body
from ttrl_server.api.extension import LABEL_LIMIT
from ttrl_server.errors import RequestError
from ttrl_server.learning.feedback import Feedback
from ttrl_server.telemetry import metrics

_LIMIT = 2**16
_ID_LIMIT = 200


class FeedbackRoute:
    """``{"id": "chatcmpl-…", "score": 1 | -1}`` or ``{"id": …, "label": "the right answer"}``."""

    def __init__(self, feedback: Feedback | None) -> None:
        self._feedback = feedback

    async def give(self, request: Request) -> Response:
        data = body.parse(await body.read(request, _LIMIT))
        answer_id = body.text(data, "id", _ID_LIMIT)
        score, label = body.whole(data, "score", -1, 1), body.text(data, "label", LABEL_LIMIT)
        if answer_id is None:
            raise body.wrong("id", "is missing: give the id of the answer.")
        if (score is None) == (label is None) or score == 0:
            message = "Give either score, 1 or -1, or label, the right answer."
            raise RequestError(message, param="score", code="invalid_value")
        if self._feedback is None:
            message = "This server takes no feedback (train.enabled, train.feedback)."
            raise RequestError(message, status=409, code="learning_off")
        question_id, tenant = re.split("[-_]", answer_id)[-1], request.scope["ttrl.tenant"]
        decided = await self._feedback.give(question_id, tenant, score=score, label=label)
        kind = "label" if score is None else "good" if score == 1 else "bad"
        metrics.FEEDBACK.labels(kind).inc()
        return JSONResponse({"id": answer_id, "object": "feedback", "train": decided})
