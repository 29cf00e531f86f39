"""Trained weights by name: the catalog, download, import and loading."""
