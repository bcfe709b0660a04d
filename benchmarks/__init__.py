"""Each performance claim as a command that measures it beside its peer, in one run."""
