"""From a question to its answer: room, a hold on one version, samples, vote, record."""
