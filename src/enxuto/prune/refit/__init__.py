"""Pruning without training: what reads the removed filters is refitted by least squares, on images without labels."""
