"""Makes blurred photos from sharp ones, as batched PyTorch operations."""
