"""A run: from the paths that a user names to the report of what became of each photo."""
