"""File formats: bytes to a `Photo`, and new pixels into the bytes of the original.

Nothing here knows of files on a disk, or of networks.
"""
