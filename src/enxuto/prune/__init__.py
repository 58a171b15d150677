"""Structured pruning: filters really removed.

    channels = trace(network, torch.zeros(1, 3, 32, 32))      # which channels go together, which must stay and why
    kept = channels.without([0, 5, 7])                        # a plan: three of channels.groups are to go
    smaller = remove(network, channels, kept)                 # a new network, compared with the original
"""
