"""Training networks: recipes of the sources, resumable, from images in memory."""
