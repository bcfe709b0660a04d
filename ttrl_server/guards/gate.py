"""What a loaded candidate must answer before it is served: beside the base model, and beside what is served now.

    held-back questions   the base model must not support its answers less than its own
    sentinels             it must not be worse than the base model
    gate.labelled         strict: shown to be no worse than what is served by more than gate.margin; lenient: not shown
                          to be worse; in neither case shown to be worse than the base model

Every version is asked the same questions, with the same number of samples; what the base model and the served version
said is kept. ``trials`` has the statistics.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from ttrl_server.answers import asked, keys
from ttrl_server.config import Config
from ttrl_server.engine.command import version_name
from ttrl_server.engine.fleet import Replica
from ttrl_server.errors import EngineError, RejectedVersion
from ttrl_server.guards import canaries, trials
from ttrl_server.guards.alarms import outside
from ttrl_server.guards.canaries import Canary, Reservoir, Sheet
from ttrl_server.types import Group, Sampling, Signals
from ttrl_server.voting import Ballot

PRIORITY = 1
"""Behind every client's sample."""
BUSY_SHARE, IDLE_SHARE = 0.5, 0.75
"""Of the sequences an engine runs at once, the gate's: while clients ask, and while nobody does."""

Keyed = dict[int, tuple[str | None, ...]]
"""By version: [K] answers, equal where they are equivalent."""


class Gate:
    """Asks candidates, and remembers what the others said."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError when ``gate.labelled`` cannot be used."""
        self._config = config
        self._reservoir = Reservoir(config.gate.canary_questions)
        sampling = Sampling(config.vote.temperature, config.vote.max_tokens)
        given = config.gate.labelled
        self._labelled_asked = canaries.read_labelled(given, sampling) if given else []
        self._sentinels: list[Canary] | None = None
        self._labelled: list[Canary] | None = None
        self._drawing = 0
        self._done = asyncio.Condition()
        self._rival = 0
        self._tries = 0
        """Candidates that met the labelled set while ``rival`` was served."""
        self._tokens = 0

    def offer(self, group: Group, text: str | None) -> None:
        """A question that was held back from training."""
        self._reservoir.offer(group, text)

    async def check(self, replica: Replica, candidate: int, served: int) -> dict[str, float]:
        """Figures of the candidate, which ``replica`` has loaded as it has ``served``.

        Raises RejectedVersion("canary" or "gate", …), or EngineError when the engine goes away.
        """
        started, self._tokens = time.monotonic(), 0
        await self._prepare(replica)
        held_back, sentinels, labelled = list(self._reservoir), self._sentinels or [], self._labelled or []
        if len(held_back) < self._config.gate.canary_least:
            held_back = []
        asked = [*held_back, *sentinels, *labelled]
        for canary in asked:
            canary.said = {n: said for n, said in canary.said.items() if n in (0, served)}
        both = (*held_back, *labelled)
        await asyncio.gather(*(self._ask(c, replica, {served, candidate} - {0}) for c in both))
        await asyncio.gather(*(self._ask(c, replica, {0}, 2 * self._config.gate.canary_samples) for c in both))
        figures = self._movement(both, candidate, served)
        figures |= await asyncio.to_thread(self._held_back, held_back, candidate, served)
        figures |= await self._against_base(sentinels, replica, candidate)
        figures |= await asyncio.to_thread(self._labels, labelled, candidate, served)
        return figures | {"gate_seconds": time.monotonic() - started, "gate_tokens": self._tokens}

    async def confirm(self, replica: Replica, served: int, asked: Sequence[Canary]) -> str | None:
        """Whether the base model is better on questions that clients asked ``served``; what is wrong, if it is."""
        for canary in asked:  # what raised the suspicion is no evidence for it, nor was it drawn as this is
            canary.said.clear()
        await asyncio.gather(*(self._ask(canary, replica, {0, served}) for canary in asked))
        both = [canary for canary in asked if {0, served} <= canary.said.keys()]
        if not both:
            return None
        keyed = await asyncio.to_thread(lambda: [self._keyed(canary) for canary in both])
        answered = [{n: [float(a is not None) for a in said] for n, said in k.items()} for k in keyed]
        supported = [dict(zip((0, served), trials.supports(k[0], k[served]), strict=True)) for k in keyed]
        for what, values in (("answers", answered), ("support by the base model", supported)):
            found = trials.contrast([v[0] for v in values], [v[served] for v in values])
            if found.z < -self._config.gate.canary_z:
                return f"{what} {found.theirs:.3f} against the base model's {found.ours:.3f} (z = {found.z:.1f})"
        return None

    async def _prepare(self, replica: Replica) -> None:
        if self._sentinels is None:
            wanted = canaries.sentinels() if self._config.gate.sentinels else []
            self._sentinels = await canaries.tokenized(self._config, replica, wanted)
        if self._labelled is None:
            self._labelled = await canaries.tokenized(self._config, replica, self._labelled_asked)

    # ------------------------------------------------------------ asking

    async def _ask(self, canary: Canary, replica: Replica, numbers: set[int], samples: int | None = None) -> None:
        """Draws what versions have not said yet of ``samples`` (default: gate.canary_samples)."""
        wanted = samples or self._config.gate.canary_samples
        known = {n: len(canary.said[n].answers) if n in canary.said else 0 for n in numbers}
        asked = [n for n in numbers if known[n] < wanted]
        sheets = await asyncio.gather(*(self._sheet(canary, replica, n, wanted - known[n]) for n in asked))
        for number, said in zip(asked, sheets, strict=True):
            if said:
                canary.said[number] = canary.said[number] + said if number in canary.said else said

    async def _sheet(self, canary: Canary, replica: Replica, number: int, samples: int) -> Sheet | None:
        """None where the engine will not take the question as it is kept."""
        model, sampling = version_name(self._config, number), self._room(canary)
        ballot = Ballot(canary.text)

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
        self._tokens += sum(len(rollout.token_ids) for rollout in ballot.rollouts)
        return canaries.sheet(ballot.rollouts, (await asyncio.to_thread(ballot.count)).answers)

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

    def _room(self, canary: Canary) -> Sampling:
        """The sampling within the context, where that is known here."""
        context, wanted = self._config.max_model_len, canary.sampling.max_tokens
        if not context:
            return canary.sampling
        left = max(1, context - len(canary.prompt))
        return replace(canary.sampling, max_tokens=min(wanted or left, left))

    # ------------------------------------------------------------ judging

    def _movement(self, asked: Sequence[Canary], candidate: int, served: int) -> dict[str, float]:
        """What changed from the served version on unlabelled and labelled questions; refuses a collapse."""
        both = [c.said for c in asked if {served, candidate} <= c.said.keys()]
        if not both:
            return {}
        then, now = (_signals(number, [said[number] for said in both]) for number in (served, candidate))
        if trouble := outside((then, now), self._config.guard):
            raise RejectedVersion("canary", f"on {len(both)} questions, beside what is served: {trouble}")
        return {
            "gate_majority": now.majority,
            "gate_extractable": now.extractable,
            "gate_length": now.length,
            "gate_entropy": now.entropy,
        }

    def _held_back(self, asked: Sequence[Canary], candidate: int, served: int) -> dict[str, float]:
        gate = self._config.gate
        keyed = [self._keyed(c) for c in asked if {0, candidate} <= c.said.keys()]
        if len(keyed) < gate.canary_least:
            return {}
        pairs = [trials.supports(k[0], k[candidate]) for k in keyed]
        found = trials.contrast([own for own, _ in pairs], [theirs for _, theirs in pairs])
        if found.z < -gate.canary_z:
            raise RejectedVersion(
                "canary",
                f"on {len(keyed)} held-back questions the base model supports its answers less than its own "
                f"({found.theirs:.3f} against {found.ours:.3f}, z = {found.z:.1f})",
            )
        agreed = [_winner(k[served]) == _winner(k[candidate]) for k in keyed if served in k]
        agreement = {"gate_agreement": sum(agreed) / len(agreed)} if agreed else {}
        return agreement | {"canary_support": found.theirs, "canary_base": found.ours, "canary_z": found.z}

    async def _against_base(self, asked: Sequence[Canary], replica: Replica, candidate: int) -> dict[str, float]:
        """Half of the samples will do where they show no loss; before a refusal the base model gets a closer look.

        Its samples serve all later candidates too: a few lucky ones would have every one of them refused.
        """
        samples, z = self._config.gate.canary_samples, self._config.gate.canary_z
        for look, base, enough in (
            (samples // 2, samples, 0.0),
            (samples, 2 * samples, -z),
            (samples, 4 * samples, -z),
        ):
            await asyncio.gather(*(self._ask(c, replica, {0}, base) for c in asked))
            await asyncio.gather(*(self._ask(c, replica, {candidate}, look) for c in asked))
            right = await asyncio.to_thread(lambda: [self._right(c) for c in asked if {0, candidate} <= c.said.keys()])
            if not right:
                return {}
            found = trials.contrast([r[0] for r in right], [r[candidate] for r in right])
            if found.z >= enough:
                break
        if found.z < -z:
            raise RejectedVersion(
                "canary",
                f"of {len(right)} sentinel questions it gets {found.theirs:.3f} right, the base model {found.ours:.3f} "
                f"(z = {found.z:.1f})",
            )
        return {"sentinel_right": found.theirs, "sentinel_base": found.ours, "sentinel_z": found.z}

    def _labels(self, asked: Sequence[Canary], candidate: int, served: int) -> dict[str, float]:
        gate = self._config.gate
        whole = [c for c in asked if {0, served, candidate} <= c.said.keys()]
        if not whole and self._labelled_asked and gate.mode == "strict":
            raise RejectedVersion("gate", "no question of gate.labelled could be asked")
        if not whole:
            return {}
        self._tries = self._tries + 1 if served == self._rival else 1
        self._rival = served
        needed = trials.needed(gate.alpha, self._tries)
        right = [self._right(c) for c in whole]
        mean = {n: trials.mean([trials.mean(r[n]) for r in right]) for n in (0, served, candidate)}
        for rival in {0, served}:
            lost = trials.differences([r[candidate] for r in right], [r[rival] for r in right])
            if trials.capital(lost, 0.0) >= needed:
                raise RejectedVersion("gate", _worse(whole, mean, candidate, rival, "is worse"))
        gained = trials.differences([r[served] for r in right], [r[candidate] for r in right])
        shown = trials.capital(gained, -gate.margin)
        if gate.mode == "strict" and shown < needed:
            said = f"is not shown to be within gate.margin {gate.margin:g} (evidence {shown:.3g}, needed {needed:.3g})"
            raise RejectedVersion("gate", _worse(whole, mean, candidate, served, said))
        return {"labelled_right": mean[candidate], "labelled_served": mean[served], "labelled_evidence": shown}

    def _right(self, canary: Canary) -> dict[int, list[float]]:
        """By version: [K] whether each sample is right."""
        keyed = self._keyed(canary)
        truth = keyed.pop(TRUTH)[0]
        return {number: [float(answer == truth) for answer in answers] for number, answers in keyed.items()}

    def _keyed(self, canary: Canary) -> Keyed:
        """The answers, and the truth under ``TRUTH``, as keys that are equal where they are equivalent."""
        answers = {number: said.answers for number, said in canary.said.items()} | {TRUTH: (canary.truth,)}
        distinct = {answer for row in answers.values() for answer in row if answer is not None}
        found = keys(distinct, asked(canary.text))
        return {number: tuple(None if a is None else found[a] for a in row) for number, row in answers.items()}


TRUTH = -1


def _signals(number: int, sheets: Sequence[Sheet]) -> Signals:
    """Means over questions; the majority is of equal texts."""
    return Signals(
        number,
        len(sheets),
        majority=trials.mean([_votes(sheet.answers) / len(sheet.answers) for sheet in sheets]),
        entropy=trials.mean([sheet.entropy for sheet in sheets]),
        length=trials.mean([sheet.length for sheet in sheets]),
        extractable=trials.mean([sheet.answered for sheet in sheets]),
    )


def _votes(answers: Sequence[str | None]) -> int:
    return max((answers.count(answer) for answer in set(answers) if answer is not None), default=0)


def _winner(answers: Sequence[str | None]) -> str | None:
    """The first of the answers that are given most often."""
    most = _votes(answers)
    return next((answer for answer in answers if answer is not None and answers.count(answer) == most), None)


def _worse(asked: Sequence[Canary], mean: dict[int, float], candidate: int, rival: int, said: str) -> str:
    against = f"v{rival}" if rival else "the base model"
    return f"on {len(asked)} labelled questions it {said}: {mean[candidate]:.3f} right, {against} {mean[rival]:.3f}"
