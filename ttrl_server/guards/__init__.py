"""What keeps learning without labels from eating itself (ttrl.md, section 5). Each guard has a setting and a counter.

    a group       admission   aborted, bent sampling, no answer, too few answers, no consensus, unanimous
    a question    history     flips too often, waits already, was held back, is one too many for the lineage
    a version     heldback    worse than the base model on questions that were never trained on: not promoted
    the lineage   watch       majority up while entropy or length falls, KL out of its band: stop, and go back

The first two refuse groups (``ttrl_groups_total{verdict}``), the third a version (``ttrl_versions_total``), the last
ends learning (``ttrl_alarms_total{alarm}``). What is served goes on being served in any case.
"""
