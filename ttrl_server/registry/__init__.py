"""Adapter versions: their folders, checks, rules and ledger. Contract: ``adapters/README.md``."""
