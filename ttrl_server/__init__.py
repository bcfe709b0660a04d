"""A drop-in OpenAI endpoint that improves itself by test-time reinforcement learning."""

__version__ = "0.1.0"
