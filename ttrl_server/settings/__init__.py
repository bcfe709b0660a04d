"""Every setting: the sections, the tree they make, where a value comes from, which GPUs do what."""
