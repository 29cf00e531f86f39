"""Make blurred photos from sharp ones: batched PyTorch operations for any device.

A stage is a function of images and of parameters, which are tensors with one entry for
each image. A ``draw_`` function draws such parameters, on the device of its generator.
"""
