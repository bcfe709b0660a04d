"""Learning algorithms, one file each: from rewards to advantages, from log-probabilities to a loss per token."""
