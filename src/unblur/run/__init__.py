"""A run: from the paths on the command line to the report of each photo's outcome.

The plan turns paths into jobs, and history tells which are done already. A runner does the jobs:
`local` on this machine, `ray_runner` on a Ray cluster. Both do the steps of `steps` for each photo.

Words: a job is one photo and the place of its result. A runner does jobs somewhere. A worker is a
process on a cluster that does photos, and the dispatcher hands photos to workers.
"""
