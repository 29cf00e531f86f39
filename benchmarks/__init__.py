"""Measurements to run by hand; README.md has the results and explains them."""
