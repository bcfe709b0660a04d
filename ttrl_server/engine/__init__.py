"""Controls vLLM: starts and watches it, calls it, and swaps its adapters while it serves."""
