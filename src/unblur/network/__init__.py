"""Deblur an array with the SRN network: bands of rows, devices and memory.

This package knows nothing of files.
"""
