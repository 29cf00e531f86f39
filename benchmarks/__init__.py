"""Measurements that are run by hand; results and what they mean are in README.md."""
