"""Keys from worker processes: which answers meet by value, and what becomes of those that hang, burst or lie."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.voting.equivalence_pairs import DIFFERENT, SAME, SAME_BY_VALUE, flat
from ttrl_server.voting.equivalence import equivalent
from ttrl_server.voting.pool import Pool, _Asker
from ttrl_server.voting.structure import leaves, render
from ttrl_server.voting.symbolic import key
from ttrl_server.voting.tally import vote

PATIENT_S = 30.0
UNLIKE = flat(DIFFERENT)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as pool:
        pool.start()
        yield pool


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def descendants() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


# ---------------------------------------------------------------- what meets


@pytest.mark.parametrize(("a", "b"), SAME)
def test_the_same_answer_has_the_same_key(pool: Pool, a: str, b: str) -> None:
    keys = pool.keys([a, b], PATIENT_S)
    assert keys.of[a] == keys.of[b]
    assert keys.complete


@pytest.mark.parametrize(("a", "b"), UNLIKE)
def test_answers_that_only_look_alike_have_different_keys(pool: Pool, a: str, b: str) -> None:
    keys = pool.keys([a, b], PATIENT_S)
    assert keys.of[a] != keys.of[b]
    assert keys.complete


def test_most_of_what_meets_by_value_does_not_meet_as_text() -> None:
    pairs = flat(SAME_BY_VALUE)
    assert sum(equivalent(a, b) for a, b in pairs) < len(pairs) / 2


MIXED = sorted({text for pair in [*SAME[::3], *UNLIKE[::5]] for text in pair})


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=st.lists(st.sampled_from(MIXED), min_size=2, max_size=24), random=st.randoms(use_true_random=False))
def test_clusters_do_not_depend_on_the_order_of_the_samples(pool: Pool, samples: list[str], random: Any) -> None:
    order = list(range(len(samples)))
    random.shuffle(order)

    def clusters(texts: list[str], names: list[int]) -> set[frozenset[int]]:
        keys = pool.keys(texts, PATIENT_S).of
        found = vote(texts, [-1.0] * len(texts), keys=[keys[text] for text in texts])
        return {frozenset(names[i] for i in cluster.members) for cluster in found.clusters}

    assert clusters([samples[i] for i in order], order) == clusters(samples, list(range(len(samples))))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_answers_key_does_not_depend_on_its_company(pool: Pool, data: st.DataObject) -> None:
    one = data.draw(st.sampled_from(MIXED))
    company = [data.draw(st.lists(st.sampled_from(MIXED), min_size=1, max_size=5)) for _ in range(2)]
    keys = [pool.keys({one, *others, "something else"}, PATIENT_S).of[one] for others in company]
    assert keys[0] == keys[1]


@given(st.text(alphabet="0123456789.,-+/^_*=(){}[]⦃⦄\\ abfcrxpime√&!|", max_size=60))
def test_taking_an_answer_apart_never_raises(text: str) -> None:
    for leaf in leaves(text):
        assert leaf
    assert isinstance(render(text, lambda leaf: leaf), str)


def test_nothing_is_asked_of_a_worker_where_all_agree_or_all_is_plain() -> None:
    before = descendants()
    with Pool() as idle:
        assert idle.keys([r"\frac{\sqrt2}{2}", r"\dfrac{\sqrt{2}}{2}"]).complete
        assert idle.keys(["7", "1/2", "0.5", "Paris", "B", "(1, 2)", "12:30", "2021-03-05"]).complete
        assert descendants() == before


# ---------------------------------------------------------------- what is meant to harm


MONSTERS = [
    "5^{5^{5^{5^5}}}",
    "9^{9^{9^9}}!",
    "(x+y+z)^{99999}",
    r"\sqrt{" * 40 + "2" + "}" * 40,
    "__import__('os').abort()",
    "x" + "+x" * 140,
    "{" * 10_000,
    "\x00" * 50 + r"\sqrt{2}",
    "\u202e" + r"\sqrt{3}" + "\u200f",
    r"\frac{1}{" * 60 + "x" + "}" * 60,
    "1" + "0" * 200 + "!",
    r"\sin" * 60 + "x",
    "^" * 200,
    r"\binom{99999999}{49999999}",
    "2^{-99999999}",
    r"\begin{pmatrix}" + "1&" * 100 + r"\end{pmatrix}",
    r"\pm" * 50,
    "((((((((((1,2),3),4),5),6),7),8),9),10),11)" * 5,
]


@pytest.mark.parametrize("monster", MONSTERS, ids=range(len(MONSTERS)))
def test_a_monster_is_answered_and_the_next_question_is_decided(monster: str) -> None:
    with Pool() as pool:
        pool.start()
        keys = pool.keys([monster, "7"], 2.0)
        assert keys.of["7"] == "7"
        assert set(keys.of) == {monster, "7"}
        after = pool.keys([r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt2}{2}"], PATIENT_S)
        assert after.complete
        assert len(set(after.of.values())) == 1


SLOW = "(" * 60 + "x+{}" + ")" * 60
"""Few characters, and more parsing than there is patience for."""
HUGE = r"\binom{{10^{{9}}+{}}}{{5\cdot10^8}}"


@pytest.mark.parametrize("monster", [SLOW, HUGE], ids=["slow", "huge"])
def test_an_expression_that_cost_a_worker_is_never_asked_again(monster: str) -> None:
    answers = [monster.format(3), "3"]
    with Pool() as pool:
        pool.start()
        first = pool._idle[0].pid
        assert not pool.keys(answers, PATIENT_S).complete
        until(lambda: not psutil.pid_exists(first))
        assert pool.keys([r"\sqrt{18}", r"3\sqrt{2}"], PATIENT_S).complete
        second = pool._idle[0].pid
        assert not pool.keys(answers, PATIENT_S).complete  # one life is enough
        assert pool._idle[0].pid == second


def test_an_expression_is_not_blamed_for_a_machine_that_is_busy() -> None:
    with Pool(answer_s=0.5) as pool:
        pool.start()
        worker = psutil.Process(pool._idle[0].pid)
        worker.suspend()
        threading.Timer(0.8, worker.resume).start()
        assert pool.keys([r"\sqrt{8}", r"2\sqrt{2}"], PATIENT_S).complete
        assert pool._idle[0].pid == worker.pid
        worker.suspend()
        assert not pool.keys([r"\sqrt{5}", "3"], PATIENT_S).complete  # for ever is too long all the same
        assert pool.keys([r"\sqrt{5}", "3"], PATIENT_S).complete


def test_of_those_who_wait_the_one_that_has_used_the_workers_least_comes_first() -> None:
    served: list[float] = []
    with Pool() as pool:
        worker = pool._borrow(_Asker(time.monotonic() + PATIENT_S))
        assert worker

        def ask(used_s: float) -> None:
            borrowed = pool._borrow(_Asker(time.monotonic() + PATIENT_S, used_s))
            assert borrowed
            served.append(used_s)
            pool._give_back(borrowed)

        threads = [threading.Thread(target=ask, args=(used_s,)) for used_s in (2.0, 0.0, 1.0)]
        for n, thread in enumerate(threads, 1):
            thread.start()
            until(lambda n=n: len(pool._waiting) == n)  # type: ignore[misc]
        pool._give_back(worker)
        for thread in threads:
            thread.join()
    assert served == [0.0, 1.0, 2.0]


def test_what_has_no_time_left_costs_no_worker() -> None:
    with Pool() as pool:
        pool.start()
        worker = pool._idle[0].pid
        assert not pool.keys([rf"\sqrt{{{n}}}" for n in range(64)], 0.0).complete
        assert [idle.pid for idle in pool._idle] == [worker]


def test_a_worker_has_its_limit_and_one_that_died_while_idle_costs_no_decision() -> None:
    with Pool(memory_mib=512) as pool:
        pool.start()
        worker = psutil.Process(pool._idle[0].pid)
        assert worker.rlimit(psutil.RLIMIT_AS) == (512 * 2**20, 512 * 2**20)
        worker.kill()  # as the kernel would
        until(lambda: not psutil.pid_exists(worker.pid))
        assert pool.keys([r"\sqrt{18}", r"3\sqrt{2}"], PATIENT_S).complete


def test_without_time_every_answer_counts_as_it_is_spelt() -> None:
    with Pool() as pool:
        keys = pool.keys([r"\sqrt{8}", r"2\sqrt{2}", "0.5", "1/2"], 0.0)
        assert not keys.complete
        assert keys.of[r"\sqrt{8}"] != keys.of[r"2\sqrt{2}"]
        assert keys.of["0.5"] == keys.of["1/2"]


def test_a_pool_that_lost_the_process_that_forks_starts_another() -> None:
    before = descendants()
    with Pool() as pool:
        pool.start()
        assert pool._forker
        pool._forker.kill()
        pool._forker.wait()
        until(lambda: descendants() == before)
        pool.keys([r"\sqrt{8}", "3"], PATIENT_S)  # complete or not: its worker may just be dying
        assert pool.keys([r"\sqrt{18}", "3"], PATIENT_S).complete


def test_threads_share_the_workers_and_get_what_they_asked_for() -> None:
    with Pool(workers=2) as pool:
        seen: dict[int, bool] = {}

        def ask(n: int) -> None:
            a, b = rf"\sqrt{{{4 * n}}}", rf"2\sqrt{{{n}}}"
            keys = pool.keys([a, b], PATIENT_S).of
            seen[n] = keys[a] == keys[b]

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(2, 18)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == dict.fromkeys(range(2, 18), True)
        assert pool._living <= 2


def test_nothing_is_left_after_the_end_and_the_closed_pool_still_answers() -> None:
    before = descendants()
    pool = Pool()
    pool.start()
    assert descendants() > before
    pool.close()
    until(lambda: descendants() == before)
    assert not pool.keys([r"\sqrt{8}", "3"]).complete
    assert descendants() == before


def test_kill_9_of_the_owner_leaves_no_worker(tmp_path: Path) -> None:
    code = "import sys, time; from ttrl_server.voting.pool import Pool\np = Pool(); p.start()\n"
    code += "print(p._forker.pid, p._idle[0].pid, flush=True); time.sleep(60)"
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    os.kill(pids[1], signal.SIGSTOP)  # as one that is lost in a computation: it would not read the end of its socket
    owner.kill()
    owner.wait()
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


# ---------------------------------------------------------------- inside a worker


def test_strings_are_never_evaluated(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    for text in (f"open('{marker}','w')", f"__import__('os').system('touch {marker}')", "exec(1)", "lambda:0"):
        key(text)
    assert not marker.exists()
    import sympy

    with pytest.raises(Exception, match=r"not evaluated|no number"):
        sympy.sympify("1+1")


@pytest.mark.parametrize("text", ["√(", "1/", "x^(", "(((", "", "⦃", "√[3]", "/2", "\\", "1//2", "x^()"])
def test_what_cannot_be_read_is_compared_as_text(text: str) -> None:
    assert key(text) is None or isinstance(key(text), str)


COMPILED = """
import sys
from ttrl_server.voting import structure, symbolic
from ttrl_server.voting.equivalence import canonical
from tests.unit.voting.equivalence_pairs import DIFFERENT, SAME, flat
texts = {text for pair in SAME + flat(DIFFERENT) for text in pair}
forms = "%s", "x+%s", "\\\\sqrt{%s}"
texts |= {form % call for call in ("__import__('os')", "().__class__", "a.b(c)") for form in forms}
texts |= {leaf for text in texts for leaf in structure.leaves(canonical(text))}
for text in texts:  # what is imported late is imported now
    symbolic.key(text)
compiled = []
sys.addaudithook(lambda event, args: event == "compile" and compiled.append(args[0]))
for text in texts:
    symbolic.key(text)
print(len(texts), compiled)
"""


def test_a_worker_compiles_no_text_at_all() -> None:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=root, capture_output=True, text=True, check=True)
    count, compiled = done.stdout.split(maxsplit=1)
    assert int(count) > 500
    assert compiled.strip() == "[]"
