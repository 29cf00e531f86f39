"""The network: an array to a deblurred array, on a device, in the memory that there is.

Nothing here knows of files.
"""
