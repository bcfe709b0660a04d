"""A drop-in OpenAI endpoint that improves itself by test-time reinforcement learning."""
