"""Decode the bytes of a file to a `Photo`, and encode new pixels into the original's bytes.

Nothing here knows of files on a disk, or of networks.
"""
