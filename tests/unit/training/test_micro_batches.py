from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.training.tiny import batch_of, experience, tiny_batch, tiny_config
from ttrl_server.training.batch import plan


def test_groups_without_an_advantage_are_left_out_and_counted() -> None:
    batch = batch_of(
        experience(None, 4, (2, 2), (1, 1), seed=1),
        experience(None, 4, (2, 3), (1, 0), seed=2),
        experience(None, 4, (2, 2), (0, 0), seed=3),
    )
    todo = plan(batch, tiny_config().train, ranks=1)
    assert (todo.groups, todo.groups_skipped, todo.tokens) == (1, 2, 5)
    learned = batch.experiences[1].group.prompt_token_ids
    assert {micro.prompt for micro in todo.ranks[0]} == {learned}


def test_a_batch_with_nothing_to_learn_has_no_passes() -> None:
    todo = plan(batch_of(experience(None, 4, (2, 2), (1, 1))), tiny_config().train, ranks=2)
    assert todo.ranks == ((), ())
    assert todo.tokens == 0


def test_only_the_rollouts_with_a_reward_train() -> None:
    todo = plan(batch_of(experience(None, 4, (2, 3, 50), (1, 0))), tiny_config().train, ranks=1)
    assert todo.tokens == 5


def test_an_empty_rollout_counts_in_the_mean_but_is_not_run() -> None:
    batch = batch_of(experience(None, 4, (2, 0), (1, 0)))
    [[micro]] = plan(batch, tiny_config().train, ranks=1).ranks
    assert [completion.advantage for completion in micro.completions] == [0.5]


@given(ranks=st.integers(1, 4), budget=st.integers(1, 60))
def test_every_completion_runs_once_within_the_budget_and_ranks_make_equally_many_passes(
    ranks: int, budget: int
) -> None:
    batch = tiny_batch(None)
    todo = plan(batch, tiny_config(micro_batch_tokens=budget).train, ranks)
    real = [micro for rank in todo.ranks for micro in rank if micro.weight]
    ran = sorted(completion.token_ids for micro in real for completion in micro.completions)
    rollouts = [rollout for e in batch.experiences for rollout in e.group.rollouts]
    assert ran == sorted(rollout.token_ids for rollout in rollouts)
    assert all(micro.cost <= budget or len(micro.completions) == 1 for micro in real)
    assert len({len(rank) for rank in todo.ranks}) == 1
    assert todo.tokens == sum(micro.tokens for micro in real)
