"""Process a batch: from the paths on the command line to the report of each photo's outcome.

`unblur.run.plan` turns paths into jobs, and `unblur.run.known_results` finds out from
`unblur.run.history` which are done already. A runner does the jobs: `unblur.run.local_runner` on
this machine, `unblur.run.ray_runner` on a Ray cluster. Both run the same steps for each
photo: `unblur.run.load_step`, `unblur.run.network_step` and `unblur.run.write_step`.

Terms: a job is one photo and the path of its result. A worker is a process on a cluster that
deblurs photos. The dispatcher sends photos to workers.
"""
