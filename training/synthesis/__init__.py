"""Make blurred photos from sharp ones: batched PyTorch operations for any device.

A stage is a function of images and of parameters; the parameters are tensors with one entry for
each image. A ``draw_`` function draws the parameters, on the device of its generator.
"""
