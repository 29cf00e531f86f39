"""Files and objects: names, attributes, locks, whole reads and atomic writes.

Nothing here knows what a photo is.
"""
