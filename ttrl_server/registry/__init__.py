"""Adapter versions: published once, checked, promoted, rolled back. ``adapters/README.md`` is
the contract."""
