"""The gate compares a loaded candidate with the base model and with the served version.

    held-back questions   refused if the base model supports the candidate's answers less than
                          its own answers
    witnesses of a form   the same for a few questions of every form that is asked often, each form
                          by itself: one label may spoil a form, and leave the others alone
    sentinels             refused if the candidate is worse than the base model or the served
                          version, or if the gate could not see it if it were
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
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from ttrl_server.answers import asked, form, keys, text_of
from ttrl_server.engine.fleet import Replica
from ttrl_server.engine.placement import Figures
from ttrl_server.errors import EngineError, RejectedVersion
from ttrl_server.promotion import canaries, trials
from ttrl_server.promotion.bands import outside
from ttrl_server.promotion.canaries import Canary, Sheet
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.types import Group, Prompt, Sampling, question_key
from ttrl_server.voting import Ballot, signals

log = structlog.get_logger()

PRIORITY = 1
"""vLLM runs the gate's samples after the samples of clients, which have priority 0."""
BUSY_SHARE, IDLE_SHARE = 0.5, 0.75
"""The gate's share of ``engine.max_num_seqs``: with and without client questions in the engine."""
CHOOSING, HOPELESS = 8, 0.1
"""Samples of the base model that choose the sentinels, half of them where it is always right or
wrong; and its share of right samples at a level of the bank below which no harder one is asked."""
SOMETIMES = (0.3, 0.8)
"""Least and most share of right samples of the base model for a sentinel."""
SENTINELS, LEAST = 16, 6
"""Most sentinels, and fewest to judge by."""
LOOKS = (1, 2, 4)
"""Samples of a sentinel, as multiples of gate.canary_samples."""
FORMS, JUDGED, LONGEST = 256, 16, 1000
"""Forms that are known, the latest of them that are judged, and most tokens of a witness."""
LOST = 0.5
"""A form is lost where the base model supports a candidate's answers less than half as much as its
own, by more than gate.canary_z standard errors. A smaller fall may be learning: the base model's
second answer was right."""
SEED_DIGITS = 7
"""Hexadecimal, of a question's key: vLLM takes seeds of 63 bits, a CPU's generator fewer."""
BLIND = (
    "{} questions of the bank are right often enough for this base model, and not always; the "
    "least fall of right answers that they would show nine times in ten is {:.2f}, more than "
    "gate.sees. Give gate.labelled, or say gate.blind promote"
)
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
        """By the question's key: ``gate.canary_questions``, the newest of every form."""
        self._witnesses: OrderedDict[str, dict[str, Canary]] = OrderedDict()
        """By form, and by the question's key: the first of its questions."""
        sampling = Sampling(config.vote.temperature, config.vote.max_tokens)
        given = config.gate.labelled
        self._labelled_asked = canaries.read_labelled(given, sampling) if given else []
        self._labelled: list[Canary] | None = None
        """``gate.labelled``, once an engine has tokenised it."""
        self._bank: list[list[Canary]] = []
        """The whole bank by level, until the sentinels are chosen."""
        self._chosen: list[Canary] | None = None
        """The sentinels, once the base model was asked the bank."""
        self.sampled = 0
        """Tokens sampled so far, for all candidates."""
        self._drawing = 0
        self._done = asyncio.Condition()

    def offer(self, group: Group, prompt: Prompt) -> None:
        """Keeps a held-back question for later candidates; a known one keeps its answers.

        The limit for its samples is 1.5 times the longest rollout of ``group`` (tokens).
        """
        key = prompt.key
        if key not in self.held_back:
            self.held_back[key] = Canary.of(group, prompt)
        self.held_back.move_to_end(key)
        if len(self.held_back) > self._config.gate.canary_questions:
            forms = Counter(form(canary.prompt.wanted) for canary in self.held_back.values())
            most = max(forms.values())
            full = (k for k, c in self.held_back.items() if forms[form(c.prompt.wanted)] == most)
            del self.held_back[next(full)]

    def witness(self, group: Group, prompt: Prompt) -> None:
        """Keeps a question as one of its form, held back or not: what the base model supports is no
        label that it could have been taught."""
        wanted = self._config.gate.witnesses
        if not (wanted and prompt.wanted and group.rollouts) or len(prompt.token_ids) > LONGEST:
            return
        like = form(prompt.wanted)
        known = self._witnesses.setdefault(like, {})
        self._witnesses.move_to_end(like)
        if len(known) < wanted:
            known.setdefault(prompt.key, Canary.of(group, prompt))
        if len(self._witnesses) > FORMS:
            self._witnesses.popitem(last=False)

    async def examine(self, replica: Replica, candidate: int, served: int, tries: int) -> Figures:
        """The gate's figures for ``candidate``; ``replica`` has it and ``served`` loaded.

        ``tries``: candidates judged on gate.labelled beside ``served``, with this one. Raises
        RejectedVersion("canary", "blind" or "gate", …), or EngineError when the engine fails.
        """
        started, exam = time.monotonic(), Exam(replica, candidate, served, tries)
        if self._labelled is None:
            asked = self._labelled_asked
            self._labelled = await canaries.tokenized(self._config, replica, asked)
        if self._chosen is None and self._config.gate.sentinels:
            self._chosen = await self._choose(replica)
        sentinels, labelled = self._chosen or [], self._labelled
        enough = len(self.held_back) >= self._config.gate.canary_least
        held_back = list(self.held_back.values()) if enough else []
        least = self._config.gate.witnesses
        full = [known.values() for known in self._witnesses.values() if len(known) == least]
        forms = [list(known) for known in full[-JUDGED:]]
        witnesses = [canary for known in forms for canary in known]
        for canary in (*held_back, *sentinels, *labelled, *witnesses):
            # What an examination drew before it ran out of time is kept for the next.
            wanted = (0, served, candidate)
            canary.said = {n: said for n, said in canary.said.items() if n in wanted}
        both = (*held_back, *labelled)
        await self._ask((*both, *witnesses), exam, {served, candidate} - {0})
        await self._ask((*both, *witnesses), exam, {0}, 2 * self._config.gate.canary_samples)
        figures = await asyncio.to_thread(self._movement, both, exam)
        figures |= await asyncio.to_thread(self._support, held_back, exam)
        for known in forms:
            await asyncio.to_thread(self._form, known, exam)
        if self._config.gate.sentinels:
            figures |= await self._sentinels(sentinels, exam)
        figures |= await asyncio.to_thread(self._labels, labelled, exam)
        took = time.monotonic() - started
        return figures | {"gate_seconds": took, "gate_tokens": float(exam.tokens)}

    async def confirm(self, replica: Replica, served: int, asked: Sequence[Canary]) -> str | None:
        """Says what the base model does better on questions that ``served`` answered; else None."""
        # The answers that raised the suspicion are no evidence for it: draw new ones for both.
        self._forget(asked)
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

    async def winners(
        self, replica: Replica, served: int, asked: Sequence[Canary]
    ) -> tuple[list[str | None], list[str | None]]:
        """The winners of the base model and of ``served``, drawn anew for the same questions; None
        where no sample answers."""
        self._forget(asked)
        await self._ask(asked, Exam(replica, served, 0, 0), {0, served})
        both = [await asyncio.to_thread(self._keyed, canary) for canary in asked]

        def winner(canary: Canary, keyed: Keyed, number: int) -> str | None:
            if number not in canary.said:
                return None
            most, _ = signals.largest(keyed[number])
            said = zip(canary.said[number].answers, keyed[number], strict=True)
            return next((answer for answer, key in said if key and key == most), None)

        base, now = (
            [winner(canary, keyed, number) for canary, keyed in zip(asked, both, strict=True)]
            for number in (0, served)
        )
        return base, now

    def _forget(self, asked: Sequence[Canary]) -> None:
        """What is drawn next is drawn with other seeds."""
        for canary in asked:
            canary.said.clear()
            canary.spent += LOOKS[-1] * self._config.gate.canary_samples

    async def _ask(
        self, asked: Sequence[Canary], exam: Exam, numbers: set[int], samples: int | None = None
    ) -> None:
        """Draws what is missing of ``samples`` (default: gate.canary_samples) for each question."""
        wanted = samples or self._config.gate.canary_samples

        # A question at a time, as far as that fills the engine: what is half drawn when the time is
        # up must be drawn again.
        turns = asyncio.Semaphore(2 + 2 * self._config.engine.max_num_seqs // wanted)

        async def one(canary: Canary, number: int) -> None:
            known = canary.said.get(number)
            first = len(known.answers) if known else 0
            if first < wanted:
                async with turns:
                    said = await self._sheet(canary, exam, number, first, wanted)
                if said:
                    canary.said[number] = known + said if known else said

        await _all([one(canary, number) for canary in asked for number in numbers])

    async def _sheet(
        self, canary: Canary, exam: Exam, number: int, first: int, end: int
    ) -> Sheet | None:
        """Draws samples ``first`` to ``end``, each with its own seed, the same for every version;
        None when the engine refuses the question."""
        model = version_name(self._config.name, number)
        seed = int(question_key(canary.prompt.token_ids)[:SEED_DIGITS], 16) + canary.spent
        sampling = replace(canary.sampling, seed=seed)
        ballot, replica = Ballot(canary.prompt.wanted), exam.replica

        async def draw(index: int) -> None:
            async with self._slot(replica), replica.slots:
                sample = replica.client.sample
                ballot.add(await sample(canary.prompt, model, sampling, index, priority=PRIORITY))

        try:
            await _all([draw(index) for index in range(first, end)])
        except EngineError as error:
            if error.status is None or error.status >= 500 or error.status == 404:
                raise
            return None
        sheet = Sheet.of(ballot.rollouts, (await asyncio.to_thread(ballot.count)).answers)
        exam.tokens += sheet.tokens
        self.sampled += sheet.tokens
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

    def _form(self, asked: Sequence[Canary], exam: Exam) -> None:
        """Raises RejectedVersion where the candidate has lost a form."""
        gate = self._config.gate
        keyed = [self._keyed(c) for c in asked if {0, exam.candidate} <= c.said.keys()]

        def is_lost(found: trials.Contrast) -> bool:
            return found.z < -gate.canary_z and found.theirs < LOST * found.ours

        if len(keyed) == gate.witnesses:
            like = f"on {len(keyed)} questions like {str(text_of(asked[0].prompt.wanted))[:80]!r}"
            _supported(keyed, exam, like, is_lost)

    def _support(self, asked: Sequence[Canary], exam: Exam) -> Figures:
        gate, candidate, served = self._config.gate, exam.candidate, exam.served
        keyed = [self._keyed(c) for c in asked if {0, candidate} <= c.said.keys()]
        if len(keyed) < gate.canary_least:
            return {}
        like = f"on {len(keyed)} held-back questions"
        found = _supported(keyed, exam, like, lambda found: found.z < -gate.canary_z)
        both = [(k[served], k[candidate]) for k in keyed if served in k]
        agreed = [signals.largest(old)[0] == signals.largest(new)[0] for old, new in both]
        agreement = {"gate_agreement": sum(agreed) / len(agreed)} if agreed else {}
        support = {"canary_support": found.theirs, "canary_base": found.ours, "canary_z": found.z}
        return agreement | support

    async def _choose(self, replica: Replica) -> list[Canary]:
        """The sentinels: of the bank, what the base model answers right often, but not always; the
        nearest to one half, and no form more often than it must be.

        The draws that choose are no evidence later: a chosen one was lucky, or not.
        """
        if not self._bank:
            given = canaries.bank(self._config)
            self._bank = [await canaries.tokenized(self._config, replica, part) for part in given]
        (least, most), fit = SOMETIMES, list[tuple[float, Canary]]()
        for part in self._bank:  # from easy to hard
            shares = await self._base_right(replica, part, CHOOSING // 2)
            sometimes = [canary for canary, share in shares if 0 < share < 1]
            closer = await self._base_right(replica, sometimes, CHOOSING)
            fit += [(abs(share - 0.5), c) for c, share in closer if least <= share <= most]
            if len(fit) >= SENTINELS or trials.mean([share for _, share in shares]) < HOPELESS:
                break
        chosen: list[Canary] = []
        forms: Counter[str] = Counter()
        while fit and len(chosen) < SENTINELS:
            best = min(fit, key=lambda each: (forms[form(each[1].prompt.wanted)], each[0]))
            fit.remove(best)
            forms[form(best[1].prompt.wanted)] += 1
            chosen.append(best[1])
        for canary in chosen:
            canary.said.clear()
            canary.spent = CHOOSING
        log.info("gate.sentinels", chosen=len(chosen), tokens=self.sampled)
        self._bank = []
        return chosen

    async def _base_right(
        self, replica: Replica, asked: Sequence[Canary], samples: int
    ) -> list[tuple[Canary, float]]:
        """The base model's share of right samples for each question that the engine takes."""
        await self._ask(asked, Exam(replica, 0, 0, 0), {0}, samples)
        said = [canary for canary in asked if 0 in canary.said]
        return await asyncio.to_thread(lambda: [(c, trials.mean(self._right(c)[0])) for c in said])

    async def _sentinels(self, asked: Sequence[Canary], exam: Exam) -> Figures:
        """Compares the candidate with the base model and with the served version, by common seeds.

        Draws on while a fall is suspected, and until a fall of ``gate.sees`` below what is served
        would be found nine times in ten. Raises RejectedVersion: worse than a rival, or the gate is
        blind.
        """
        gate, candidate, rivals = self._config.gate, exam.candidate, {0, exam.served}
        right: list[dict[int, list[float]]] = []
        found: dict[int, trials.Contrast] = {}
        sees = 1.0
        for times in LOOKS if len(asked) >= LEAST else ():
            await self._ask(asked, exam, rivals | {candidate}, times * gate.canary_samples)
            whole = [c for c in asked if rivals | {candidate} <= c.said.keys()]
            right = await asyncio.to_thread(lambda: [self._right(c) for c in whole])  # noqa: B023
            found = {
                rival: trials.paired([r[rival] for r in right], [r[candidate] for r in right])
                for rival in rivals
            }
            if len(right) >= LEAST:
                sees = found[exam.served].sees(gate.canary_z)
            clear = all(each.z >= -gate.canary_z / 2 for each in found.values())
            if sees <= gate.sees and clear:
                break
        for rival, each in found.items():
            if each.z < -gate.canary_z:
                against = f"v{rival}" if rival else "the base model"
                figures = (
                    f"gets {each.theirs:.3f} right, {against} {each.ours:.3f} (z = {each.z:.1f})"
                )
                raise RejectedVersion("canary", f"on {len(right)} sentinel questions it {figures}")
        if gate.blind == "refuse" and sees > gate.sees and not self._labelled_asked:
            raise RejectedVersion("blind", BLIND.format(len(asked), sees))
        if not right:
            return {"gate_sees": sees}
        seen = {"sentinel_right": found[0].theirs, "sentinel_base": found[0].ours}
        if exam.served:
            beside = found[exam.served]
            seen |= {"sentinel_served": beside.ours, "sentinel_served_z": beside.z}
        return seen | {"sentinel_z": found[0].z, "gate_sees": sees}

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
        found = keys(distinct, asked(canary.prompt.wanted))
        return {n: tuple(None if a is None else found[a] for a in r) for n, r in answers.items()}


def _supported(
    keyed: Sequence[Keyed], exam: Exam, like: str, is_lost: Callable[[trials.Contrast], bool]
) -> trials.Contrast:
    """How much the base model supports the candidate's answers, beside its own. Raises
    RejectedVersion where the support ``is_lost``; ``like`` says on which questions."""

    def beside(number: int) -> trials.Contrast:
        pairs = [trials.supports(k[0], k[number]) for k in keyed if number in k]
        return trials.contrast([own for own, _ in pairs], [theirs for _, theirs in pairs])

    def said(found: trials.Contrast) -> str:
        figures = f"{found.theirs:.3f} against {found.ours:.3f}, z = {found.z:.1f}"
        return f"{like} the base model supports its answers less than its own ({figures})"

    found = beside(exam.candidate)
    if is_lost(found):
        # What is served was promoted beside other questions, or with fewer.
        before = beside(exam.served)
        also = said(before) if is_lost(before) else ""
        raise RejectedVersion("canary", said(found), fallen=also)
    return found


async def _all(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Runs all of it; the first error, or a cancellation, ends the rest before it is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
