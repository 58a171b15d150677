"""Difference files: a network that was trained a little further, as what changed in the `.enx` file of the old one."""
