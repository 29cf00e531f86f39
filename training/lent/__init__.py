"""Train for minutes on a GPU machine that has no network and takes one command at a time.

`prepare` runs here and prints all other commands in order. They run there: `begin`, `add`, `watch`
and `finish`, which need nothing but Python. `training/README.md` describes such a machine.
"""
