"""Filters are removed from a network: the plan, the removal, its check, files of it, optimizers that follow."""
