"""Which channels of a network go together, and which must stay."""
