"""The network: an array to a deblurred array. Bands, devices and memory belong to it.

Nothing here knows of files.
"""
