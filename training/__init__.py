"""Train the embedded weights; not part of the installed package."""
