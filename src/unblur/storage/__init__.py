"""Read and write files and objects: names, attributes, locks, atomic writes.

This package does not know what a photo is.
"""
