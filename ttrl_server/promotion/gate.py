"""The gate compares a loaded candidate with the base model and with the served version.

    held-back questions   refused if the base model supports the candidate's answers less than
                          its own answers
    sentinels             refused if the candidate is worse than the base model
    gate.labelled         refused if the candidate is shown to be worse than the base model or the
                          served version; strict: also refused unless it is shown to lose at most
                          gate.margin against the served version

The gate asks every version the same questions. It keeps the answers of the base model and of the
served version. ``trials`` has the statistics.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from ttrl_server.answers import asked, keys
from ttrl_server.engine.fleet import Replica
from ttrl_server.engine.placement import Figures
from ttrl_server.errors import EngineError, RejectedVersion
from ttrl_server.promotion import canaries, trials
from ttrl_server.promotion.bands import outside
from ttrl_server.promotion.canaries import Canary, Sheet
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.types import Group, Sampling, question_key
from ttrl_server.voting import Ballot, signals

PRIORITY = 1
"""vLLM runs the gate's samples after the samples of clients, which have priority 0."""
BUSY_SHARE, IDLE_SHARE = 0.5, 0.75
"""The gate's share of ``engine.max_num_seqs``: with and without client questions in the engine."""
TRUTH = -1
"""In ``Keyed``: in the place of a version, the right answer."""
Keyed = dict[int, tuple[str | None, ...]]
"""By version: [K] keys of the answers; equivalent answers have equal keys."""


@dataclass(slots=True)
class Exam:
    """One candidate in one engine, compared with the served version."""

    replica: Replica
    candidate: int
    served: int
    tries: int
    """Candidates judged on gate.labelled while ``served`` was served, including this one."""
    tokens: int = 0
    """Tokens sampled so far."""


class Gate:
    """Examines candidates, and keeps the answers of the base model and the served version."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError when ``gate.labelled`` cannot be used."""
        self._config = config
        self.held_back: OrderedDict[str, Canary] = OrderedDict()
        """By the question's key: the newest ``gate.canary_questions``."""
        sampling = Sampling(config.vote.temperature, config.vote.max_tokens)
        given = config.gate.labelled
        self._labelled_asked = canaries.read_labelled(given, sampling) if given else []
        self._known: list[list[Canary]] | None = None
        """Sentinels and labelled questions, once an engine has tokenised them."""
        self._drawing = 0
        self._done = asyncio.Condition()

    def offer(self, group: Group, text: str | None) -> None:
        """Keeps a held-back question for later candidates; a known one keeps its answers.

        The limit for its samples is 1.5 times the longest rollout of ``group`` (tokens).
        """
        key = question_key(group.prompt_token_ids)
        if key not in self.held_back:
            longest = max((len(rollout.token_ids) for rollout in group.rollouts), default=1)
            sampling = Sampling(group.temperature, max_tokens=longest + longest // 2)
            self.held_back[key] = Canary(group.prompt_token_ids, sampling, text)
        self.held_back.move_to_end(key)
        if len(self.held_back) > self._config.gate.canary_questions:
            self.held_back.popitem(last=False)

    async def examine(self, replica: Replica, candidate: int, served: int, tries: int) -> Figures:
        """The gate's figures for ``candidate``; ``replica`` has it and ``served`` loaded.

        ``tries``: candidates judged on gate.labelled beside ``served``, with this one. Raises
        RejectedVersion("canary" or "gate", …), or EngineError when the engine fails.
        """
        started, exam = time.monotonic(), Exam(replica, candidate, served, tries)
        if self._known is None:
            simple = canaries.sentinels() if self._config.gate.sentinels else []
            given = (simple, self._labelled_asked)
            self._known = [await canaries.tokenized(self._config, replica, q) for q in given]
        sentinels, labelled = self._known
        enough = len(self.held_back) >= self._config.gate.canary_least
        held_back = list(self.held_back.values()) if enough else []
        for canary in (*held_back, *sentinels, *labelled):
            canary.said = {n: said for n, said in canary.said.items() if n in (0, served)}
        both = (*held_back, *labelled)
        await self._ask(both, exam, {served, candidate} - {0})
        await self._ask(both, exam, {0}, 2 * self._config.gate.canary_samples)
        figures = await asyncio.to_thread(self._movement, both, exam)
        figures |= await asyncio.to_thread(self._support, held_back, exam)
        figures |= await self._against_base(sentinels, exam)
        figures |= await asyncio.to_thread(self._labels, labelled, exam)
        took = time.monotonic() - started
        return figures | {"gate_seconds": took, "gate_tokens": float(exam.tokens)}

    async def confirm(self, replica: Replica, served: int, asked: Sequence[Canary]) -> str | None:
        """Says what the base model does better on questions that ``served`` answered; else None."""
        # The answers that raised the suspicion are no evidence for it: draw new ones for both.
        for canary in asked:
            canary.said.clear()
        await self._ask(asked, Exam(replica, served, 0, 0), {0, served})
        both = [canary for canary in asked if {0, served} <= canary.said.keys()]
        if not both:
            return None
        keyed = await asyncio.to_thread(lambda: [self._keyed(canary) for canary in both])
        answered = [{n: [float(a is not None) for a in k[n]] for n in (0, served)} for k in keyed]
        supports = (trials.supports(k[0], k[served]) for k in keyed)
        supported = [{0: base, served: now} for base, now in supports]
        for what, values in (("answers", answered), ("support by the base model", supported)):
            found = trials.contrast([v[0] for v in values], [v[served] for v in values])
            if found.z < -self._config.gate.canary_z:
                base = f"the base model's {found.ours:.3f}"
                return f"{what} {found.theirs:.3f} against {base} (z = {found.z:.1f})"
        return None

    async def _ask(
        self, asked: Sequence[Canary], exam: Exam, numbers: set[int], samples: int | None = None
    ) -> None:
        """Draws what is missing of ``samples`` (default: gate.canary_samples) for each question."""
        wanted = samples or self._config.gate.canary_samples

        async def one(canary: Canary, number: int) -> None:
            known = canary.said.get(number)
            left = wanted - len(known.answers) if known else wanted
            if left > 0 and (said := await self._sheet(canary, exam, number, left)):
                canary.said[number] = known + said if known else said

        await asyncio.gather(*(one(canary, number) for canary in asked for number in numbers))

    async def _sheet(self, canary: Canary, exam: Exam, number: int, samples: int) -> Sheet | None:
        """Draws ``samples`` samples; None when the engine refuses the question."""
        model, sampling = version_name(self._config.name, number), canary.sampling
        if context := self._config.max_model_len:
            left = max(1, context - len(canary.prompt))
            sampling = replace(sampling, max_tokens=min(sampling.max_tokens or left, left))
        ballot, replica = Ballot(canary.text), exam.replica

        async def draw(index: int) -> None:
            async with self._slot(replica), replica.slots:
                sample = replica.client.sample
                ballot.add(await sample(canary.prompt, model, sampling, index, priority=PRIORITY))

        try:
            await asyncio.gather(*(draw(index) for index in range(samples)))
        except EngineError as error:
            if error.status is None or error.status >= 500 or error.status == 404:
                raise
            return None
        sheet = Sheet.of(ballot.rollouts, (await asyncio.to_thread(ballot.count)).answers)
        exam.tokens += sheet.tokens
        return sheet

    @contextlib.asynccontextmanager
    async def _slot(self, replica: Replica) -> AsyncIterator[None]:
        def free() -> bool:
            share = BUSY_SHARE if replica.questions else IDLE_SHARE
            return self._drawing < max(1, int(share * self._config.engine.max_num_seqs))

        async with self._done:
            await self._done.wait_for(free)
            self._drawing += 1
        try:
            yield
        finally:
            self._drawing -= 1
            async with self._done:
                self._done.notify_all()

    def _movement(self, asked: Sequence[Canary], exam: Exam) -> Figures:
        """The candidate's signals. Raises RejectedVersion when they show a collapse."""
        both = [canary for canary in asked if {exam.served, exam.candidate} <= canary.said.keys()]
        if not both:
            return {}
        keyed = [self._keyed(canary) for canary in both]
        then, now = (
            signals.mean([c.said[n].signals(n, k[n]) for c, k in zip(both, keyed, strict=True)])
            for n in (exam.served, exam.candidate)
        )
        if trouble := outside((then, now), self._config.guard):
            said = f"on {len(both)} questions, beside what is served: {trouble}"
            raise RejectedVersion("canary", said)
        shares = {"gate_majority": now.majority, "gate_extractable": now.extractable}
        return shares | {"gate_length": now.length, "gate_entropy": now.entropy}

    def _support(self, asked: Sequence[Canary], exam: Exam) -> Figures:
        gate, candidate, served = self._config.gate, exam.candidate, exam.served
        keyed = [self._keyed(c) for c in asked if {0, candidate} <= c.said.keys()]
        if len(keyed) < gate.canary_least:
            return {}
        pairs = [trials.supports(k[0], k[candidate]) for k in keyed]
        found = trials.contrast([own for own, _ in pairs], [theirs for _, theirs in pairs])
        if found.z < -gate.canary_z:
            figures = f"{found.theirs:.3f} against {found.ours:.3f}, z = {found.z:.1f}"
            said = f"the base model supports its answers less than its own ({figures})"
            raise RejectedVersion("canary", f"on {len(keyed)} held-back questions {said}")
        both = [(k[served], k[candidate]) for k in keyed if served in k]
        agreed = [signals.largest(old)[0] == signals.largest(new)[0] for old, new in both]
        agreement = {"gate_agreement": sum(agreed) / len(agreed)} if agreed else {}
        support = {"canary_support": found.theirs, "canary_base": found.ours, "canary_z": found.z}
        return agreement | support

    async def _against_base(self, asked: Sequence[Canary], exam: Exam) -> Figures:
        """Compares the candidate with the base model, at first with half of the samples.

        Before a refusal, the base model gets more samples. Later candidates are compared with the
        same samples of the base model: a few lucky ones would refuse all these candidates.
        """
        samples, z = self._config.gate.canary_samples, self._config.gate.canary_z
        candidate = exam.candidate
        for look, base, enough in (
            (samples // 2, samples, 0.0),
            (samples, 2 * samples, -z),
            (samples, 4 * samples, -z),
        ):
            await self._ask(asked, exam, {0}, base)
            await self._ask(asked, exam, {candidate}, look)
            right = await asyncio.to_thread(
                lambda: [self._right(c) for c in asked if {0, candidate} <= c.said.keys()]
            )
            if not right:
                return {}
            found = trials.contrast([r[0] for r in right], [r[candidate] for r in right])
            if found.z >= enough:
                break
        if found.z < -z:
            base_model = f"the base model {found.ours:.3f} (z = {found.z:.1f})"
            said = f"of {len(right)} sentinel questions it gets {found.theirs:.3f} right"
            raise RejectedVersion("canary", f"{said}, {base_model}")
        return {"sentinel_right": found.theirs, "sentinel_base": found.ours, "sentinel_z": found.z}

    def _labels(self, asked: Sequence[Canary], exam: Exam) -> Figures:
        gate, candidate, served = self._config.gate, exam.candidate, exam.served
        whole = [c for c in asked if {0, served, candidate} <= c.said.keys()]
        if not whole and self._labelled_asked and gate.mode == "strict":
            raise RejectedVersion("gate", "no question of gate.labelled could be asked")
        if not whole:
            return {}
        needed = trials.needed(gate.alpha, exam.tries)
        right = [self._right(c) for c in whole]
        mean = {n: trials.mean([trials.mean(r[n]) for r in right]) for n in (0, served, candidate)}

        def refusal(rival: int, said: str) -> RejectedVersion:
            against = f"v{rival}" if rival else "the base model"
            figures = f"{mean[candidate]:.3f} right, {against} {mean[rival]:.3f}"
            reason = f"on {len(whole)} labelled questions it {said}: {figures}"
            return RejectedVersion("gate", reason)

        for rival in {0, served}:
            lost = trials.differences([r[candidate] for r in right], [r[rival] for r in right])
            if trials.capital(lost, 0.0) >= needed:
                raise refusal(rival, "is worse")
        gained = trials.differences([r[served] for r in right], [r[candidate] for r in right])
        shown = trials.capital(gained, -gate.margin)
        if gate.mode == "strict" and shown < needed:
            evidence = f"evidence {shown:.3g}, needed {needed:.3g}"
            said = f"is not shown to be within gate.margin {gate.margin:g} ({evidence})"
            raise refusal(served, said)
        shares = {"labelled_right": mean[candidate], "labelled_served": mean[served]}
        return shares | {"labelled_evidence": shown}

    def _right(self, canary: Canary) -> dict[int, list[float]]:
        """By version: [K], 1 for a sample with the right answer, else 0."""
        keyed = self._keyed(canary)
        truth = keyed.pop(TRUTH)[0]
        return {n: [float(answer == truth) for answer in said] for n, said in keyed.items()}

    def _keyed(self, canary: Canary) -> Keyed:
        """The keys of the answers by version, and the key of the right answer under ``TRUTH``."""
        answers = {n: said.answers for n, said in canary.said.items()} | {TRUTH: (canary.truth,)}
        distinct = {answer for row in answers.values() for answer in row if answer is not None}
        found = keys(distinct, asked(canary.text))
        return {n: tuple(None if a is None else found[a] for a in r) for n, r in answers.items()}
