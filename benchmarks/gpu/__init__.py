"""A kit for minutes on a GPU machine: ``pack`` what it lacks, carry it there, ``measure``."""
