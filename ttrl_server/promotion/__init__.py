"""What may become and stay the served version: gate, canaries, trials, watch, the way back, the
operator."""
