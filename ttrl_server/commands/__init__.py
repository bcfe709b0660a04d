"""What a person starts: ``ttrl-serve``, ``ttrl-vote``, ``ttrl-adapters``, the doctor."""
