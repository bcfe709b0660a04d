"""A question's way: room at the door, one version for all its samples, the draw, the vote, the
answer."""
