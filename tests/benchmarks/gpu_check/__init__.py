"""What `launch/gpu_check.sh` measures: `__main__` runs the parts, each in a process of its own."""

SIDE, SMALL_SIDE = 299, 75  # of images, in pixels
