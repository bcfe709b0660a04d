"""Decides which version is served: gate, canaries, trials, watch, rollback, operator."""
