"""The studies, one folder or file each; the engine that computes them is `enxuto.study`."""
