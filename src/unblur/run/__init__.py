"""Process a batch: from the paths on the command line to the report of each photo's outcome.

`plan` turns paths into jobs, and `done` finds out from the `history` which are done already. A
runner does the jobs: `local` on this machine, `ray_runner` on a Ray cluster. Both run the steps of
`steps` for each photo.

Terms: a job is one photo and the path of its result. A worker is a process on a cluster that
deblurs photos. The dispatcher sends photos to workers.
"""
