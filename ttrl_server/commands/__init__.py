"""The commands: ``ttrl-serve``, ``ttrl-vote``, ``ttrl-adapters`` and the doctor."""
