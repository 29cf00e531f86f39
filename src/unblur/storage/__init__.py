"""Read and write files and objects: names, attributes, locks, atomic writes.

Nothing here knows what a photo is.
"""
