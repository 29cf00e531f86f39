"""Trained weights by name: the catalog, download, import, export and loading."""
