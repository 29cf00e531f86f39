"""A run, from the paths that a user names to the report of what became of each photo.

It plans, knows what is done already, works on each photo, and has runners for this machine and
for a Ray cluster.
"""
