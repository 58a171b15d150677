"""Which filters decide an answer: DeepLIFT and its rules."""
