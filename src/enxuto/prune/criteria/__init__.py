"""What a filter is worth: one criterion a file."""
