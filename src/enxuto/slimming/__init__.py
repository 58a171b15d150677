"""Slimming: filters pruned and weights quantized within one stated loss, so that a model is small and runs faster.

Only `slim` itself (`entry`), its aims and its result can be imported without torch.
"""
