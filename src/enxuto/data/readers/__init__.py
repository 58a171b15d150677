"""One reader a file: each turns a path into a `Source` and knows nothing of the others."""
