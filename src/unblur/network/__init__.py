"""Deblur an array with the SRN network: bands of rows, devices and memory.

Nothing here knows of files.
"""
