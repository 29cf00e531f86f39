"""Find trained weights by name: catalog, download, import, export and loading."""
