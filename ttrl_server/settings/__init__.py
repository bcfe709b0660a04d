"""All settings: the sections, the tree, the sources of values, the division of GPUs."""
