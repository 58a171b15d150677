"""One reader for each kind of result: what a file holds, as exhibits of a page."""
